//! Crates that are named for their features only.
//!
//! What the tensor framework is built on has fewer features when one crate of the workspace is
//! built alone, and each set of features is another build of the framework, of minutes. Depending
//! on these makes the sets one; `cargo xtask map` says when one is missing.

use {
    ahash as _, bitflags as _, bytes as _, either as _, fastrand as _, futures_core as _,
    getrandom as _, indexmap as _, libc as _, log as _, memchr as _, miniz_oxide as _,
    num_complex as _, num_traits as _, portable_atomic as _, regex as _, regex_automata as _,
    serde_core as _, simd_adler32 as _,
};

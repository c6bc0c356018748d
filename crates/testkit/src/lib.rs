//! What tests share: goldens, comparisons, slopes by finite differences, counted allocations.
//!
//! Only a dev-dependency. It knows slices, not tensors, so every crate can use it. Its public
//! functions fail a test by panicking with a message that says where to look; a parity test reads
//!
//! ```
//! use sensorium_testkit::{Golden, Report};
//!
//! let golden = Golden::open("vit");
//! let mut report = Report::new(&golden, 1e-4);
//! for (name, (shape, values)) in golden.outputs() {
//!     report.check(&name, &shape, &values); // here: the model's own intermediates
//! }
//! report.finish();
//! ```

mod allocations;
mod close;
mod error;
pub mod fault;
mod golden;
mod report;
mod slope;

pub use allocations::{CountingAllocator, Usage};
pub use close::{assert_close, assert_gradients, assert_losses, assert_tensor};
pub use error::Error;
pub use golden::{Golden, Tensors};
pub use report::Report;
pub use slope::finite_difference;

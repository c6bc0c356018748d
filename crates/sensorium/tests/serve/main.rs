//! The server as its clients see it: every dialect, and whatever strangers send.

mod client;
mod dialects;
mod edits;
mod faults;
mod fetching;
mod limits;
mod parameters;
mod remote;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The picture that all know, as a URL.
fn scene() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/pictures/scene.png");
    format!("data:image/png;base64,{}", STANDARD.encode(std::fs::read(path).expect("a picture")))
}

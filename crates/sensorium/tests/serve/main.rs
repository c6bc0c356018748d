//! The server as its clients see it: every dialect, and whatever strangers send.

mod client;
mod dialects;
mod limits;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::Server;

/// One for all tests that leave it as it is.
static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));

/// The picture that all know, as a URL.
fn scene() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/pictures/scene.png");
    format!("data:image/png;base64,{}", STANDARD.encode(std::fs::read(path).expect("a picture")))
}

//! Another server, on loopback: it has what a test gives it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What it sends for a path: the whole answer, its head included.
type Answers = BTreeMap<String, Vec<u8>>;

/// A server that goes on until the test's process ends.
pub struct Remote {
    pub address: String,
    asked: Arc<AtomicUsize>,
}

impl Remote {
    /// With answers that may need its address.
    pub fn start(answers: impl FnOnce(&str) -> Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (answers, asked) = (answers(&address), Arc::new(AtomicUsize::new(0)));
        let counter = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::Relaxed);
                let answers = answers.clone();
                thread::spawn(move || answer(stream, &answers));
            }
        });
        Self { address, asked }
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn answer(mut stream: TcpStream, answers: &Answers) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let mut words = first.split(' ');
    let (is_head, path) = (words.next() == Some("HEAD"), words.next().unwrap_or_default());
    let path = path.split('?').next().unwrap_or_default();
    let answer = answers.get(path).cloned().unwrap_or_else(|| file("404 Not Found", "", b""));
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    // A reader that has enough goes away.
    let _ = stream.write_all(if is_head { &answer[..end] } else { &answer });
    while path == "/endless" && stream.write_all(&[b' '; 1 << 16]).is_ok() {}
    if path == "/silent" {
        thread::sleep(std::time::Duration::from_secs(60));
    }
}

/// An answer of a status with further headers.
pub fn file(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    [head.as_bytes(), body].concat()
}

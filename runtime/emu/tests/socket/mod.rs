//! Sockets of emulators that tests start.

#![allow(dead_code, reason = "each test uses what it needs")]

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Waits until somebody listens: a socket has its name a moment before. Linux says so in the flags (`SO_ACCEPTCON`) of `/proc/net/unix`.
pub fn wait(path: &Path) {
    let name = format!(" {}", path.display());
    let listens = |line: &str| line.ends_with(&name) && line.split(' ').nth(3) == Some("00010000");
    // The suite may share two cores with a build.
    let end = Instant::now() + Duration::from_secs(60);
    while !std::fs::read_to_string("/proc/net/unix").unwrap().lines().any(listens) {
        assert!(Instant::now() < end, "nobody listens at {}", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Connects as soon as somebody listens.
pub fn connect(path: &Path) -> UnixStream {
    wait(path);
    UnixStream::connect(path).expect("the server listens")
}

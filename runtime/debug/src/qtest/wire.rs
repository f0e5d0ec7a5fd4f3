//! The connection of a qtest client: its lines, what it is sent, and the log of both.
//!
//! Source: QEMU 7.2, `softmmu/qtest.c`, for the form of the log.

use std::io::{self, BufRead, Write};
use std::time::Instant;

/// The longest line a client may send: that of a `write` of [`super::MOST`] bytes.
const LONGEST: usize = 2 * super::MOST + 256;

/// Where answers go, and the log.
pub(crate) struct Wire {
    out: Box<dyn Write + Send>,
    log: Option<Box<dyn Write + Send>>,
    opened: Instant,
}

impl Wire {
    pub fn new(out: Box<dyn Write + Send>, log: Option<Box<dyn Write + Send>>) -> Wire {
        Wire { out, log, opened: Instant::now() }
    }

    /// Sends a line. A client that is gone is noticed by who reads.
    pub fn send(&mut self, text: &str) {
        self.log('S', text);
        _ = self.out.write_all(format!("{text}\n").as_bytes()).and_then(|()| self.out.flush());
    }

    /// Writes an entry of the log: `S`ent, `R`eceived or `I`nformation.
    pub fn log(&mut self, kind: char, text: &str) {
        if let Some(log) = &mut self.log {
            let at = self.opened.elapsed().as_secs_f64();
            _ = log.write_all(format!("[{kind} +{at:.6}] {text}\n").as_bytes()).and_then(|()| log.flush());
        }
    }
}

/// A line that was read.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Input {
    /// A line without its end.
    Line(String),
    /// One that was longer than any may be; it is skipped.
    TooLong,
    /// There are no more. What came without an end of line is no command.
    End,
}

/// Reads the next line.
pub(crate) fn line(from: &mut dyn BufRead) -> Input {
    let mut bytes = Vec::new();
    let mut too_long = false;
    loop {
        let buffer = match from.fill_buf() {
            Ok(buffer) => buffer,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Input::End,
        };
        if buffer.is_empty() {
            return Input::End;
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        too_long |= bytes.len() + part.len() > LONGEST;
        if too_long {
            bytes = Vec::new();
        } else {
            bytes.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        from.consume(used);
        if end.is_some() {
            return if too_long { Input::TooLong } else { Input::Line(String::from_utf8_lossy(&bytes).into_owned()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_bytes_that_are_no_text_do_no_harm() {
        let mut bytes = b"one\n\n\xff\r\n".to_vec();
        bytes.extend(vec![b'x'; LONGEST + 1]);
        bytes.extend(b"\nlast\nwithout end");
        let mut from = io::BufReader::with_capacity(1000, bytes.as_slice());
        let text = |t: &str| Input::Line(t.into());
        for expected in [text("one"), text(""), text("\u{fffd}\r"), Input::TooLong, text("last"), Input::End, Input::End] {
            assert_eq!(line(&mut from), expected);
        }
    }
}

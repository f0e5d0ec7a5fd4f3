//! The user's terminal as a serial console: raw mode while a machine runs, and the Ctrl-A escape.

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::sync::Mutex;

/// The settings to give back, while raw mode is on.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Puts standard input into raw mode (no echo, no line editing, no signals from keys) if it is a terminal. Undone by [`restore`].
pub fn raw() {
    let stdin = std::io::stdin();
    if !isatty(&stdin) {
        return;
    }
    let Ok(saved) = tcgetattr(&stdin) else { return };
    let mut raw = saved.clone();
    raw.make_raw();
    // Output keeps its processing, so that host messages still begin at the left margin.
    raw.output_modes = saved.output_modes;
    if tcsetattr(&stdin, OptionalActions::Now, &raw).is_ok() {
        *SAVED.lock().unwrap_or_else(|e| e.into_inner()) = Some(saved);
    }
}

/// Gives the terminal back its settings. May be called at any time, also from a panic hook.
pub fn restore() {
    let saved = match SAVED.try_lock() {
        Ok(mut saved) => saved.take(),
        Err(_) => None,
    };
    if let Some(saved) = saved {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &saved);
    }
}

/// What the user asked for with Ctrl-A.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// `Ctrl-A x`: end the run.
    Quit,
    /// `Ctrl-A h`: show the list of escapes.
    Help,
    /// `Ctrl-A c`: switch to the monitor.
    Monitor,
}

/// The text of `Ctrl-A h`.
pub const HELP: &str = "\r\nCtrl-A h  this help\r\nCtrl-A x  quit\r\nCtrl-A c  monitor\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n";

const CTRL_A: u8 = 1;

/// What was typed, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Typed {
    /// Input.
    Bytes(Vec<u8>),
    /// An escape.
    Command(Command),
}

/// Separates escapes from input.
#[derive(Clone, Debug, Default)]
pub struct Escape {
    seen: bool,
}

impl Escape {
    /// Takes typed bytes; gives the input, and the commands among it.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Typed> {
        let mut all = Vec::new();
        for &byte in bytes {
            let escaped = self.seen;
            self.seen = !escaped && byte == CTRL_A;
            let command = match byte {
                CTRL_A if !escaped => continue,
                b'x' if escaped => Command::Quit,
                b'h' | b'?' if escaped => Command::Help,
                b'c' if escaped => Command::Monitor,
                _ => {
                    match all.last_mut() {
                        Some(Typed::Bytes(bytes)) => bytes.push(byte),
                        _ => all.push(Typed::Bytes(vec![byte])),
                    }
                    continue;
                }
            };
            all.push(Typed::Command(command));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_found_across_reads() {
        let mut escape = Escape::default();
        let bytes = |bytes: &[u8]| Typed::Bytes(bytes.to_vec());
        assert_eq!(escape.feed(b"ab\x01"), [bytes(b"ab")]);
        assert_eq!(escape.feed(b"xc\x01\x01d\x01"), [Typed::Command(Command::Quit), bytes(b"c\x01d")]);
        assert_eq!(escape.feed(b"cinfo"), [Typed::Command(Command::Monitor), bytes(b"info")]);
    }
}

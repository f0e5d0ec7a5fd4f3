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

/// Separates escapes from input.
#[derive(Clone, Debug, Default)]
pub struct Escape {
    seen: bool,
}

impl Escape {
    /// Takes typed bytes; gives what goes to the guest, and the commands among them.
    pub fn feed(&mut self, bytes: &[u8]) -> (Vec<u8>, Vec<Command>) {
        let (mut out, mut commands) = (Vec::new(), Vec::new());
        for &byte in bytes {
            if !self.seen {
                if byte == CTRL_A {
                    self.seen = true;
                } else {
                    out.push(byte);
                }
                continue;
            }
            self.seen = false;
            match byte {
                b'x' => commands.push(Command::Quit),
                b'h' | b'?' => commands.push(Command::Help),
                b'c' => commands.push(Command::Monitor),
                CTRL_A => out.push(CTRL_A),
                other => out.push(other),
            }
        }
        (out, commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_found_across_reads() {
        let mut escape = Escape::default();
        assert_eq!(escape.feed(b"ab\x01"), (b"ab".to_vec(), vec![]));
        assert_eq!(escape.feed(b"xc\x01\x01"), (b"c\x01".to_vec(), vec![Command::Quit]));
    }
}

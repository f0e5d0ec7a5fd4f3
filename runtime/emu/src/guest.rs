//! A guest as a test sees it: boots a board, waits for what its console shows, types, runs commands in its shell.
//!
//! ```no_run
//! let mut guest = emu::guest::Guest::boot(["--board", "zynq7000", "--kernel", "zImage", "--initrd", "root.cpio.gz"])?;
//! guest.wait_for("login:")?;
//! guest.type_in("root\n");
//! assert_eq!(guest.sh("nproc")?.text, "2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Data path: the machine runs on a thread of its own; its first serial port's bytes -> the screen -> whoever waits. Times are the host's.

use crate::{Cli, Ready, set_up};
use clap::Parser;
use emu_machine::backend::SerialLine;
use emu_machine::{Exit, Handle};
use std::ffi::OsString;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long to wait for a text, if nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The screen keeps so many bytes; what is older, and was waited for or not, is gone.
const SCREEN: usize = 16 << 20;
/// What of the screen a failure shows.
const TAIL: usize = 2000;

/// Why what was expected did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It did not appear in time.
    #[error("`{wanted}` did not appear within {seconds} s; the last that did:\n{tail}")]
    Late {
        /// What was waited for.
        wanted: String,
        /// How long.
        seconds: u64,
        /// The end of the screen.
        tail: String,
    },
    /// Something appeared that must not.
    #[error("`{text}` appeared:\n{tail}")]
    Forbidden {
        /// What.
        text: String,
        /// The end of the screen.
        tail: String,
    },
    /// The machine ended before.
    #[error("the machine ended ({how}) before `{wanted}` appeared; the last that did:\n{tail}")]
    Ended {
        /// What was waited for.
        wanted: String,
        /// Its exit code, or what went wrong.
        how: String,
        /// The end of the screen.
        tail: String,
    },
}

/// What a command printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Printed {
    /// Its output, with newlines only, without the last.
    pub text: String,
    /// Its exit status.
    pub status: i32,
}

#[derive(Default)]
struct Screen {
    shown: Mutex<Shown>,
    changed: Condvar,
}

#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    /// Up to where was waited for.
    read: usize,
    /// Texts that must not appear.
    forbidden: Vec<String>,
    ended: Option<Result<i32, String>>,
}

impl Shown {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > SCREEN {
            let gone = self.bytes.len() - SCREEN / 2;
            self.bytes.drain(..gone);
            self.read = self.read.saturating_sub(gone);
        }
    }

    fn tail(&self) -> String {
        String::from_utf8_lossy(&self.bytes[self.bytes.len().saturating_sub(TAIL)..]).replace('\r', "")
    }

    /// What came before the text, if it is there; from then on it has been read.
    fn take(&mut self, text: &str) -> Option<String> {
        let new = &self.bytes[self.read..];
        let at = find(new, text.as_bytes())?;
        let before = String::from_utf8_lossy(&new[..at]).replace('\r', "");
        self.read += at + text.len();
        Some(before)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() { Some(0) } else { bytes.windows(wanted.len()).position(|w| w == wanted) }
}

/// A running guest; dropped, it ends.
pub struct Guest {
    screen: Arc<Screen>,
    line: SerialLine,
    handle: Handle,
    machine: Option<JoinHandle<()>>,
    /// How long to wait for each text.
    pub patience: Duration,
}

impl Guest {
    /// Boots what these flags of the command line say. The serial port that would be on the standard streams is the guest's console.
    ///
    /// # Errors
    /// As the command line's; a board without such a port.
    pub fn boot<T: Into<OsString>>(flags: impl IntoIterator<Item = T>) -> Result<Guest, String> {
        let flags = flags.into_iter().map(Into::into);
        let cli = Cli::try_parse_from(std::iter::once(OsString::from("emu")).chain(flags)).map_err(|e| e.to_string())?;
        let screen = Arc::<Screen>::default();
        let (show, line) = (screen.clone(), Arc::<Mutex<Option<SerialLine>>>::default());
        let found = line.clone();
        let console = move |line| {
            *lock(&found) = Some(line);
            let sink: Box<dyn FnMut(&[u8]) + Send> = Box::new(move |bytes| {
                lock(&show.shown).add(bytes);
                show.changed.notify_all();
            });
            sink
        };
        let Ready { mut machine, .. } = set_up(&cli.run, false, Some(Box::new(console))).map_err(|(_, message)| message)?;
        let line = lock(&line).take().ok_or("the board has no serial port on the standard streams")?;
        let (handle, ends) = (machine.handle(), screen.clone());
        let run = move || {
            let ended = machine.run().map(|exit| if let Exit::Stopped(code) = exit { code } else { 0 });
            drop(machine);
            lock(&ends.shown).ended = Some(ended);
            ends.changed.notify_all();
        };
        let machine = thread::Builder::new().name("guest".into()).spawn(run).map_err(|e| e.to_string())?;
        Ok(Guest { screen, line, handle, machine: Some(machine), patience: PATIENCE })
    }

    /// The machine, for everything else.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// From now on this text must not appear: whoever waits fails. What has been read does not count.
    pub fn never(&mut self, text: &str) {
        lock(&self.screen.shown).forbidden.push(text.to_string());
    }

    /// Waits until the text appears behind what was waited for before; gives what came before it, with newlines only.
    ///
    /// # Errors
    /// It does not come in time, the machine ends, or something forbidden appears first.
    pub fn wait_for(&mut self, wanted: &str) -> Result<String, Failure> {
        let end = Instant::now() + self.patience;
        let mut shown = lock(&self.screen.shown);
        loop {
            let start = shown.read;
            let found = shown.take(wanted);
            let new = &shown.bytes[start..if found.is_some() { shown.read } else { shown.bytes.len() }];
            if let Some(text) = shown.forbidden.iter().find(|text| find(new, text.as_bytes()).is_some()) {
                return Err(Failure::Forbidden { text: text.clone(), tail: shown.tail() });
            }
            if let Some(before) = found {
                return Ok(before);
            }
            if let Some(ended) = &shown.ended {
                let how = ended.as_ref().map_or_else(Clone::clone, |code| format!("exit code {code}"));
                return Err(Failure::Ended { wanted: wanted.into(), how, tail: shown.tail() });
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Late { wanted: wanted.into(), seconds: self.patience.as_secs(), tail: shown.tail() });
            }
            shown = self.screen.changed.wait_timeout(shown, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// Types at the console.
    pub fn type_in(&mut self, text: &str) {
        self.line.receive(text.as_bytes());
    }

    /// Runs a command in the guest's POSIX shell, which must be waiting for one.
    ///
    /// # Errors
    /// As [`Guest::wait_for`].
    pub fn sh(&mut self, command: &str) -> Result<Printed, Failure> {
        // The echo of the line does not hold the marks in one piece.
        self.type_in(&format!("echo BE\"\"GIN; {command}; echo E\"\"ND=$?=\n"));
        self.wait_for("BEGIN")?;
        let printed = self.wait_for("END=")?;
        let status = self.wait_for("=")?.parse().unwrap_or(-1);
        let text = printed.strip_prefix('\n').unwrap_or(&printed);
        Ok(Printed { text: text.strip_suffix('\n').unwrap_or(text).to_string(), status })
    }

    /// Waits until the machine has ended; its exit code.
    ///
    /// # Errors
    /// It does not end in time, or with an error.
    pub fn wait_end(&mut self) -> Result<i32, Failure> {
        let running = |shown: &mut Shown| shown.ended.is_none();
        let (shown, _) =
            self.screen.changed.wait_timeout_while(lock(&self.screen.shown), self.patience, running).unwrap_or_else(|e| e.into_inner());
        match &shown.ended {
            Some(Ok(code)) => Ok(*code),
            Some(Err(how)) => Err(Failure::Ended { wanted: "its end".into(), how: how.clone(), tail: shown.tail() }),
            None => Err(Failure::Late { wanted: "its end".into(), seconds: self.patience.as_secs(), tail: shown.tail() }),
        }
    }

    /// All the console has shown (of the last megabytes).
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&lock(&self.screen.shown).bytes).into_owned()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.handle.stop(0);
        if let Some(machine) = self.machine.take() {
            _ = machine.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

//! The emulator on a pseudo-terminal of the tests' own.

#![allow(dead_code)]

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longest wait for any text: the suite may share two cores with a build.
const PATIENCE: Duration = Duration::from_secs(240);

/// The program at a terminal.
pub struct Terminal {
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    /// What appeared and was not waited for yet.
    text: String,
}

impl Terminal {
    pub fn start(args: &[&str]) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("its name").into_string().expect("ASCII");
        let side = || Stdio::from(OpenOptions::new().read(true).write(true).open(&name).expect("its other side"));
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let child = Command::new(env!("CARGO_BIN_EXE_emu"))
            .args(args)
            .current_dir(root)
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("the emulator starts");
        let keys = File::from(master);
        let mut output = keys.try_clone().expect("a second handle");
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = output.read(&mut bytes) {
                if n == 0 || send.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal { child, keys, screen, text: String::new() }
    }

    pub fn type_in(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits for `wanted`; returns what came before it.
    pub fn expect(&mut self, wanted: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.text.find(wanted) {
                let before = self.text[..at].to_string();
                self.text.drain(..at + wanted.len());
                return before;
            }
            match self.screen.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("`{wanted}` did not appear; what did:\n{}", self.text),
            }
        }
    }

    /// Runs a shell command; returns what it printed.
    pub fn shell(&mut self, command: &str) -> String {
        // The echoed command line does not hold the marker's text in one piece.
        self.type_in(&format!("{command}; echo DO\"\"NE\n"));
        self.expect("\nDONE")
    }

    /// Waits for its end; the exit code.
    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("an exit status").code()
    }

    /// Ends the emulator with its escape key.
    pub fn quit(mut self) {
        self.type_in("\x01x");
        assert_eq!(self.wait(), Some(0));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

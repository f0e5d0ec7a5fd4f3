//! The program as a user at a terminal sees it: a pseudo-terminal, keys, and what appears.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longest wait for any text: the suite may share two cores with a build.
const PATIENCE: Duration = Duration::from_secs(240);

struct Terminal {
    child: Child,
    keys: File,
    screen: Receiver<Vec<u8>>,
    /// What appeared and was not waited for yet.
    text: String,
}

impl Terminal {
    fn start(args: &[&str]) -> Terminal {
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

    fn type_in(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits for `wanted`; returns what came before it.
    fn expect(&mut self, wanted: &str) -> String {
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
    fn shell(&mut self, command: &str) -> String {
        // The echoed command line does not hold the marker's text in one piece.
        self.type_in(&format!("{command}; echo DO\"\"NE\n"));
        self.expect("\nDONE")
    }

    /// Ends the emulator with its escape key.
    fn quit(mut self) {
        self.type_in("\x01x");
        let status = self.child.wait().expect("an exit status");
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn the_demo_s_monitor_answers() {
    let mut t = Terminal::start(&["--board", "boards/zynq7000.kdl"]);
    t.expect("emu demo: zynq7000 ready");
    t.type_in("primes 1000\r");
    t.expect("168 primes up to 1000");
    t.type_in("poke 0x200000 0x1234abcd\rmd 0x200000 4\r");
    t.expect("00200000: 1234abcd");
    t.type_in("peek 0x50000000\r");
    t.expect("fault: nothing answers there");
    t.type_in("reboot\r");
    t.expect("emu demo: zynq7000 ready");
    t.quit();
}

#[test]
fn a_linux_shell_works_powers_off_and_reboots() {
    let shared =
        std::env::var_os("EMU_SHARED").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let guest = shared.join("guests/zynq7000");
    if !guest.join("zImage-zynq").exists() {
        eprintln!("skipped: no kernel in {}", guest.display());
        return;
    }
    let file = |name: &str| guest.join(name).to_string_lossy().into_owned();
    let (kernel, dtb, initrd) = (file("zImage-zynq"), file("zynq-zc702.dtb"), file("initramfs-armhf.cpio.gz"));
    let arguments = ["--board", "zynq7000", "--kernel", &kernel, "--dtb", &dtb, "--initrd", &initrd, "--append", "console=ttyPS0,115200"];
    let mut t = Terminal::start(&arguments);
    t.expect("GUEST-SHELL");
    assert!(t.shell("ls /").contains("proc"));
    let interrupts = t.shell("cat /proc/interrupts");
    assert!(interrupts.contains("CPU1") && interrupts.contains("xuartps"), "{interrupts}");
    let log = t.shell("dmesg");
    assert!(log.contains("SMP: Total of 2 processors activated"), "{log}");
    for bad in ["Unhandled fault", "Oops", "BUG:", "WARNING:", "rcu_sched detected", "nobody cared"] {
        assert!(!log.contains(bad), "{bad} in:\n{log}");
    }
    t.type_in("reboot -f\n");
    t.expect("Booting Linux on physical CPU 0x0");
    t.expect("GUEST-SHELL");
    // The kernel has no way to power the board off: it halts, and the CPUs spin until the user leaves.
    t.type_in("poweroff -f\n");
    t.expect("reboot: System halted");
    t.quit();
}

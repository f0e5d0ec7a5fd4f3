//! A small client of the qtest protocol: of our emulator, and of QEMU's.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An emulator that does what a test says. It ends with the test.
pub struct Qtest {
    child: Child,
    from: BufReader<UnixStream>,
    to: UnixStream,
    /// `IRQ` lines since they were asked for last.
    heard: Vec<(u32, bool)>,
    pub folder: TempDir,
}

impl Qtest {
    /// A board of ours, with nothing connected.
    pub fn start(board: &str) -> Qtest {
        Qtest::with(&["--board", board])
    }

    /// The same with other arguments; `{}` in them stands for a folder of the test's own.
    pub fn with(arguments: &[&str]) -> Qtest {
        Qtest::run(|folder| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
            command.args(arguments.iter().map(|a| a.replace("{}", folder)));
            command.args(["--qtest-log", "none", "--timeout", "120", "--qtest"]).arg(format!("unix:{folder}/qtest"));
            command
        })
    }

    /// A machine of QEMU's with its CPUs stopped; `None` without this QEMU.
    pub fn qemu(program: &str, machine: &str) -> Option<Qtest> {
        Qtest::qemu_with(program, machine, &[])
    }

    /// The same with more arguments.
    pub fn qemu_with(program: &str, machine: &str, more: &[&str]) -> Option<Qtest> {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        Some(Qtest::run(|folder| {
            let mut command = Command::new(program);
            command.args(["-M", machine, "-S", "-display", "none", "-serial", "null", "-monitor", "none", "-qtest-log", "none"]);
            command.args(more).arg("-qtest").arg(format!("unix:{folder}/qtest"));
            command
        }))
    }

    fn run(command: impl FnOnce(&str) -> Command) -> Qtest {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("its name is text");
        let listener = UnixListener::bind(folder.path().join("qtest")).expect("a socket");
        listener.set_nonblocking(true).unwrap();
        let mut child =
            command(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the emulator starts");
        let end = Instant::now() + Duration::from_secs(60);
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(e) if e.kind() == ErrorKind::WouldBlock && Instant::now() < end => {}
                Err(e) => panic!("it does not connect: {e}"),
            }
            assert_eq!(child.try_wait().unwrap(), None, "it ends before it connects");
            std::thread::sleep(Duration::from_millis(2));
        };
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Qtest { child, from: BufReader::new(stream.try_clone().unwrap()), to: stream, heard: Vec::new(), folder }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.to.write_all(bytes).expect("it listens");
    }

    /// The next line that is no `IRQ`.
    pub fn answer(&mut self) -> String {
        loop {
            let line = self.line();
            let Some(irq) = line.strip_prefix("IRQ ") else { return line };
            let (what, number) = irq.split_once(' ').expect("IRQ raise|lower NUM");
            assert!(["raise", "lower"].contains(&what), "{line}");
            self.heard.push((number.parse().expect("a number"), what == "raise"));
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("an answer");
        line.strip_suffix('\n').expect("a whole line").to_string()
    }

    /// The answer to a command, whatever it is.
    pub fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\n").as_bytes());
        self.answer()
    }

    /// The value a command answers.
    pub fn ok(&mut self, command: &str) -> String {
        let answer = self.ask(command);
        answer.strip_prefix("OK").unwrap_or_else(|| panic!("{command}: {answer}")).trim_start().to_string()
    }

    /// Why a command fails.
    pub fn fail(&mut self, command: &str) -> String {
        let answer = self.ask(command);
        answer.strip_prefix("FAIL ").unwrap_or_else(|| panic!("{command}: {answer}")).to_string()
    }

    fn number(&mut self, command: &str) -> u64 {
        let value = self.ok(command);
        let digits = value.strip_prefix("0x").filter(|d| d.len() == 16).unwrap_or_else(|| panic!("{command}: {value}"));
        u64::from_str_radix(digits, 16).expect("hexadecimal")
    }

    pub fn readb(&mut self, at: u64) -> u8 {
        self.number(&format!("readb {at:#x}")) as u8
    }

    pub fn readl(&mut self, at: u64) -> u32 {
        self.number(&format!("readl {at:#x}")) as u32
    }

    pub fn writeb(&mut self, at: u64, value: u8) {
        self.ok(&format!("writeb {at:#x} {value:#x}"));
    }

    pub fn writel(&mut self, at: u64, value: u32) {
        self.ok(&format!("writel {at:#x} {value:#x}"));
    }

    /// Lets time pass; what time it is then, ns.
    pub fn clock_step(&mut self, ns: u64) -> u64 {
        self.ok(&format!("clock_step {ns}")).parse().expect("nanoseconds")
    }

    /// Goes to the next timer; what time it is then, ns.
    pub fn clock_next(&mut self) -> u64 {
        self.ok("clock_step").parse().expect("nanoseconds")
    }

    /// Lines that changed since the last call, with their levels.
    pub fn irqs(&mut self) -> Vec<(u32, bool)> {
        std::mem::take(&mut self.heard)
    }

    /// The next `IRQ` line, which comes by itself.
    pub fn irq(&mut self) -> String {
        self.line()
    }

    /// Leaves; how the emulator ends then.
    pub fn leave(mut self) -> ExitStatus {
        self.to.shutdown(Shutdown::Write).unwrap();
        self.ended()
    }

    /// How the emulator ends by itself. It says nothing more.
    pub fn ended(&mut self) -> ExitStatus {
        let mut rest = String::new();
        self.from.read_to_string(&mut rest).expect("the end");
        assert_eq!(rest, "");
        self.child.wait().expect("an exit status")
    }
}

impl Drop for Qtest {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

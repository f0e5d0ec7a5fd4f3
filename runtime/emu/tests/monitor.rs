//! Monitor and control socket of the program itself, on the demo board: through sockets, a pseudo-terminal, pipes, and QEMU's own client.

mod pty;
mod socket;

use pty::Terminal;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// The demo board with sockets in a folder of its own.
struct Board {
    child: Child,
    folder: tempfile::TempDir,
}

impl Board {
    fn start(more: &[&str]) -> Board {
        let folder = tempfile::tempdir().unwrap();
        let socket = |name: &str| format!("unix:{},server", folder.path().join(name).display());
        let child = Command::new(env!("CARGO_BIN_EXE_emu"))
            .args(["--board", "zynq7000", "--timeout", "300", "--serial", "null"])
            .args(["--monitor", &socket("monitor"), "--qmp", &socket("qmp")])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the emulator starts");
        Board { child, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn connect(&self, name: &str) -> Client {
        let stream = socket::connect(&self.path(name));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().expect("an exit status").code()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

struct Client {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Client {
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.reader.read_line(&mut line).unwrap() > 0, "the connection ended");
        line
    }

    /// What comes before the monitor's prompt.
    fn until_prompt(&mut self) -> String {
        let (mut text, mut byte) = (Vec::new(), [0]);
        while !text.ends_with(b"(emu) ") {
            self.reader.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
        String::from_utf8_lossy(&text[..text.len() - 6]).into_owned()
    }

    fn command(&mut self, line: &str) -> String {
        writeln!(self.stream, "{line}").unwrap();
        self.until_prompt()
    }

    fn qmp(&mut self, text: &str) -> serde_json::Value {
        self.stream.write_all(text.as_bytes()).unwrap();
        loop {
            let value: serde_json::Value = serde_json::from_str(&self.line()).unwrap();
            if value.get("event").is_none() {
                return value;
            }
        }
    }
}

#[test]
fn a_socket_has_the_monitor_of_the_board() {
    let mut board = Board::start(&[]);
    let mut m = board.connect("monitor");
    m.until_prompt();
    assert_eq!(m.command("info status"), "VM status: running\n");
    assert!(m.command("info map").contains("00000000-1fffffff ddr, RAM"));
    assert!(m.command("info devices").contains("cdns,uart"));
    assert!(m.command("info clocks").contains("MHz"));
    assert!(m.command("info irq uart1").contains("gic.spi"), "{}", m.command("info irq"));
    assert!(m.command("info jit").contains("cpu1"));
    // Once the demo runs its serial port is on.
    let end = Instant::now() + PATIENCE;
    while m.command("uart1.CR.TXEN") != "CR.TXEN = 0x1\n" {
        assert!(Instant::now() < end, "{}", m.command("uart1"));
        std::thread::sleep(Duration::from_millis(20));
    }
    m.command("stop");
    let all = m.command("uart1");
    assert!(all.contains("cdns,uart") && all.contains("TXEN=1"), "{all}");
    m.command("uart1.CR.TXEN = 0");
    assert_eq!(m.command("uart1.CR.TXEN"), "CR.TXEN = 0x0\n");
    let registers = m.command("info registers");
    assert!(registers.contains("cpsr") && registers.contains("pc "), "{registers}");
    let code = m.command("x/4i $pc");
    assert_eq!(code.lines().count(), 4, "{code}");
    assert!(!code.contains("undefined") && !code.contains("no disassembler"), "{code}");
    // ARM's first instruction of the image that was loaded, disassembled from a word of ours.
    m.command("pokep 0x300000 0xe1a00001");
    assert_eq!(m.command("xp/i 0x300000"), "00300000: e1a00001  mov r0, r1\n");
    assert!(m.command("powerdown").contains("no power button"));
    assert!(m.command("trace nonsense=nonsense=").contains("error"));
    assert_eq!(m.command("trace dev=warn"), "");
    m.command("cont");
    // Another client may come when this one has left.
    drop(m);
    let mut m = board.connect("monitor");
    m.until_prompt();
    m.stream.write_all(b"quit\n").unwrap();
    assert_eq!(board.exit_code(), Some(0));
}

#[test]
fn the_control_socket_says_good_bye() {
    let mut board = Board::start(&["--paused"]);
    let mut q = board.connect("qmp");
    assert!(q.line().contains("QMP"));
    q.qmp(r#"{"execute":"qmp_capabilities"}"#);
    assert_eq!(q.qmp(r#"{"execute":"query-status"}"#)["return"]["running"], false);
    assert_eq!(q.qmp(r#"{"execute":"query-cpus-fast"}"#)["return"].as_array().map(Vec::len), Some(2));
    assert_eq!(q.qmp(r#"{"execute":"query-target"}"#)["return"]["arch"], "arm");
    q.qmp(r#"{"execute":"cont"}"#);
    assert_eq!(q.qmp(r#"{"execute":"query-status"}"#)["return"]["running"], true);
    q.stream.write_all(br#"{"execute":"quit"}"#).unwrap();
    let mut rest = String::new();
    q.reader.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("{\"return\":{}}") && rest.contains("host-qmp-quit"), "{rest}");
    assert_eq!(board.exit_code(), Some(0));
}

#[test]
fn a_signal_is_a_shutdown() {
    let mut board = Board::start(&[]);
    let mut q = board.connect("qmp");
    q.line();
    q.qmp(r#"{"execute":"qmp_capabilities"}"#);
    rustix::process::kill_process(rustix::process::Pid::from_child(&board.child), rustix::process::Signal::TERM).unwrap();
    let last = q.line();
    assert!(last.contains("SHUTDOWN") && last.contains("host-signal"), "{last}");
    assert_eq!(board.exit_code(), Some(130));
}

#[test]
fn the_terminal_is_shared_with_ctrl_a_c() {
    let mut t = Terminal::start(&["--board", "boards/zynq7000.kdl"]);
    t.expect("emu demo: zynq7000 ready");
    // All in one go, so that the order counts.
    t.type_in("\x01cinfo status\r");
    t.expect("monitor, type `help`");
    t.expect("VM status: running");
    t.type_in("uart1.C\t.TXE\t\r");
    t.expect("CR.TXEN = 0x1");
    t.type_in("info nam\t\r");
    t.expect("zynq7000");
    // What the guest writes is shown meanwhile: a reset from here makes it greet again.
    t.type_in("reset\r");
    t.expect("emu demo: zynq7000 ready");
    t.type_in("\x01cprimes 1000\r");
    t.expect("168 primes up to 1000");
    // The history is still there.
    t.type_in("\x01c\x1b[A\x1b[A\r");
    t.expect("info name");
    t.expect("zynq7000");
    t.type_in("\x01cprimes 100\r");
    t.expect("25 primes up to 100");
    t.quit();
}

#[test]
fn a_terminal_may_begin_with_the_monitor() {
    let mut t = Terminal::start(&["--board", "zynq7000", "--monitor", "stdio", "--paused"]);
    t.expect("(emu) ");
    t.type_in("info status\r");
    t.expect("VM status: paused");
    t.type_in("cont\r");
    t.expect("emu demo: zynq7000 ready");
    t.type_in("quit\r");
    assert_eq!(t.wait(), Some(0));
}

#[test]
fn a_pipe_is_the_monitor_s_alone() {
    let run = |arguments: &[&str], input: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_emu"))
            .args(["--board", "zynq7000", "--timeout", "300"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let out = child.wait_with_output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, out, _) = run(&["--monitor", "stdio", "--paused"], "info status\ncont\nquit\n");
    assert!(code == Some(0) && out.contains("VM status: paused") && !out.contains("demo firmware"), "{out}");
    for (arguments, says) in [
        (&["--monitor", "stdio", "--serial", "stdio"][..], "only a terminal can share"),
        (&["--monitor", "null"], "nobody can speak through"),
        (&["--monitor", "sdtio"], "--monitor sdtio: unknown back end"),
        (&["--qmp", "stdio"], "speaks through sockets"),
        (&["--qmp", "unix:/nowhere/at/all"], "cannot open"),
        (&["--paused"], "nobody could let it go on"),
    ] {
        let (code, _, err) = run(arguments, "");
        assert!(code == Some(2) && err.contains(says), "{arguments:?}: {code:?} {err}");
    }
}

#[test]
fn monitor_and_debugger_work_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let gdb = folder.path().join("gdb");
    let mut board = Board::start(&["--paused", "--gdb", &format!("unix:{}", gdb.display())]);
    let mut m = board.connect("monitor");
    m.until_prompt();
    assert_eq!(m.command("info status"), "VM status: paused\n");
    let mut debugger = socket::connect(&gdb);
    debugger.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut packet = |text: &str| {
        let sum = text.bytes().fold(0u8, u8::wrapping_add);
        write!(debugger, "+${text}#{sum:02x}").unwrap();
        let (mut answer, mut byte) = (Vec::new(), [0]);
        // Two digits follow the end.
        while answer.iter().rev().nth(2) != Some(&b'#') {
            debugger.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8_lossy(&answer[..answer.len() - 3]).into_owned();
        answer.trim_start_matches(['+', '$']).to_string()
    };
    assert!(packet("?").starts_with("T05"));
    // The debugger holds the machine, and the monitor looks at it and changes it.
    let pc = m.command("cpu0.pc");
    m.command("pokep 0x300000 0x64636261");
    assert_eq!(packet("m300000,4"), "61626364");
    assert!(packet("vCont;s:1").starts_with("T05"));
    assert_ne!(m.command("cpu0.pc"), pc);
    // What the monitor holds does not go on for the debugger.
    m.command("stop");
    let pc = m.command("cpu0.pc");
    debugger.write_all(b"+$vCont;s:1#23").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(m.command("cpu0.pc"), pc);
    m.command("cont");
    let mut answer = [0; 5];
    debugger.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[1..], b"$T05");
    m.stream.write_all(b"quit\n").unwrap();
    assert_eq!(board.exit_code(), Some(0));
}

#[test]
fn qemu_s_own_client_gets_along() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/qmp/client.py");
    let python = std::env::var("EMU_QMP_PYTHON").unwrap_or_else(|_| "python3".into());
    match Command::new(&python).args(["-c", "import qemu.qmp"]).stderr(Stdio::null()).status() {
        Ok(status) if status.success() => {}
        _ => {
            eprintln!("skipped: {python} has no package qemu.qmp (EMU_QMP_PYTHON names a Python that has)");
            return;
        }
    }
    let mut board = Board::start(&[]);
    drop(board.connect("monitor"));
    let out = Command::new(&python).arg(&script).arg(board.path("qmp")).output().unwrap();
    assert!(out.status.success(), "{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(board.exit_code(), Some(0));
}

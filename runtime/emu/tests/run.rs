//! What `emu run` has for who debugs a program. Each test is skipped where there is no compiler for ARM, or no GDB.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod socket;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("emu-run-{name}-{}", std::process::id()));
        _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    /// Compiles a program of `tests/user`; `None`: there is no compiler.
    fn program(&self, source: &str) -> Option<PathBuf> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/user").join(source);
        let program = self.0.join(source.trim_end_matches(".c"));
        let mut compiler = Command::new("arm-linux-gnueabihf-gcc");
        let done = compiler.args(["-g", "-O1", "-static", "-pthread", "-o"]).arg(&program).arg(file).status();
        match done {
            Ok(status) => {
                assert!(status.success(), "{source} is compiled");
                Some(program)
            }
            Err(_) => {
                eprintln!("skipped: there is no arm-linux-gnueabihf-gcc");
                None
            }
        }
    }

    fn emu(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
        command.arg("run").args(arguments).current_dir(&self.0).stdin(Stdio::null());
        command
    }

    fn file(&self, begins: &str) -> Option<PathBuf> {
        let all = std::fs::read_dir(&self.0).unwrap().map(|e| e.unwrap());
        all.filter(|e| e.file_name().to_string_lossy().starts_with(begins)).map(|e| e.path()).next()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What GDB prints; `None`: there is no GDB.
fn gdb(arguments: &[&Path], commands: &[&str]) -> Option<String> {
    let mut gdb = Command::new("gdb-multiarch");
    gdb.args(["-nx", "-batch", "-ex", "set pagination off", "-ex", "set confirm off"]);
    commands.iter().for_each(|c| _ = gdb.args(["-ex", c]));
    let Ok(Output { stdout, stderr, .. }) = gdb.args(arguments).stdin(Stdio::null()).output() else {
        eprintln!("skipped: there is no gdb-multiarch");
        return None;
    };
    Some(format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

fn has(text: &str, wanted: &[&str]) {
    wanted.iter().for_each(|wanted| assert!(text.contains(wanted), "no `{wanted}` in:\n{text}"));
}

#[test]
fn gdb_reads_core_dumps() {
    let folder = Folder::new("core");
    let Some(program) = folder.program("crash.c") else { return };
    for (how, signal) in [("0", "SIGSEGV"), ("1", "SIGABRT")] {
        assert_eq!(folder.emu(&["--core", "crash", how, "two"]).stderr(Stdio::null()).status().unwrap().code(), None);
        let core = folder.file("crash.core.").expect("a core dump");
        let Some(text) = gdb(&[&program, &core], &["bt", "info threads", "print global", "info auxv"]) else { return };
        has(&text, &[signal, &format!("crash {how} two"), "crash (how=", "main (", "$1 = 42", "AT_PHDR", "\n* 1 ", "\n  2 "]);
        std::fs::remove_file(core).unwrap();
    }
}

#[test]
fn a_signal_from_outside_dumps_core() {
    let folder = Folder::new("quit");
    if folder.program("crash.c").is_none() {
        return;
    }
    let mut child = folder.emu(&["--core=.", "crash", "2"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(Command::new("kill").args(["-QUIT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(3));
    let core = std::fs::read(folder.file(&format!("crash.core.{}", child.id())).unwrap()).unwrap();
    assert!(core.starts_with(b"\x7fELF\x01\x01\x01") && core.len() > 8 << 20);
}

/// What a tracefile says of the line of `lines.c` with this comment.
fn count(file: &Path, comment: &str) -> Option<u64> {
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/user/lines.c")).unwrap();
    let line = source.lines().position(|l| l.contains(&format!("/* {comment} */"))).unwrap() + 1;
    let text = std::fs::read_to_string(file).unwrap();
    let record = text.split("end_of_record\n").find(|r| r.lines().any(|l| l.starts_with("SF:") && l.ends_with("/lines.c")))?;
    record.lines().find_map(|l| l.strip_prefix(&format!("DA:{line},"))).map(|n| n.parse().unwrap())
}

#[test]
fn executed_lines_are_counted() {
    let folder = Folder::new("coverage");
    if folder.program("lines.c").is_none() {
        return;
    }
    assert!(folder.emu(&["--coverage", "out.lcov", "lines"]).status().unwrap().success());
    let (own, child) = (folder.0.join("out.lcov"), folder.file("out.lcov.").expect("the child's file"));
    assert_eq!(["seven", "never", "child"].map(|line| count(&own, line)), [Some(7), Some(0), Some(0)]);
    assert_eq!(["seven", "never", "child"].map(|line| count(&child, line)), [Some(0), Some(0), Some(1)]);
}

#[test]
fn every_system_call_is_printed() {
    let folder = Folder::new("strace");
    if folder.program("calls.c").is_none() {
        return;
    }
    let Output { status, stdout, stderr } = folder.emu(&["--strace", "calls"]).output().unwrap();
    let text = String::from_utf8_lossy(&stderr);
    assert!(status.success() && stdout == b"end\n");
    assert_eq!(text.lines().filter(|line| line.contains(" getppid() = ")).count(), 50, "{text}");
    has(&text, &[" write(1, \"end\\n\", 4) = 4", " exit_group(0) = ?"]);
}

#[test]
fn instructions_are_traced() {
    let folder = Folder::new("trace");
    let Some(program) = folder.program("lines.c") else { return };
    assert!(folder.emu(&["--trace=out", "lines"]).status().unwrap().success());
    let text = std::fs::read_to_string(folder.0.join("out")).unwrap();
    let entry = std::fs::read(program).unwrap()[24..28].iter().rev().fold(String::new(), |all, b| all + &format!("{b:02x}"));
    let entry = u32::from_str_radix(&entry, 16).unwrap() & !1;
    let first = text.lines().next().unwrap();
    assert!(first.contains(&format!(" {entry:08x} ")), "{first}");
    // Two threads of control: the parent's and the child's.
    let threads: std::collections::BTreeSet<&str> = text.lines().map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(threads.len(), 2, "{threads:?}");
    has(&text, &[" svc ", " bl ", "  ; r0=0x", " -- "]);
    assert!(!text.contains("undefined"));
}

/// A program that waits for a debugger on a socket of its own.
fn debugged(folder: &Folder, arguments: &[&str]) -> std::process::Child {
    let socket = format!("unix:{}", folder.0.join("socket").display());
    let mut all = vec!["--gdb", &socket];
    all.extend(arguments);
    let child = folder.emu(&all).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    socket::wait(&folder.0.join("socket"));
    child
}

/// Sends a packet, and gives the next packet that comes, with runs of characters written out.
fn ask(stream: &mut UnixStream, packet: &str) -> String {
    let sum = packet.bytes().fold(0u8, u8::wrapping_add);
    write!(stream, "${packet}#{sum:02x}").unwrap();
    answer(stream)
}

fn answer(stream: &mut UnixStream) -> String {
    let mut byte = || {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        byte[0]
    };
    while byte() != b'$' {}
    let mut text = String::new();
    loop {
        match byte() {
            b'#' => break,
            b'*' => {
                let (last, count) = (text.chars().last().unwrap(), usize::from(byte()) - 29);
                text.extend(std::iter::repeat_n(last, count));
            }
            c => text.push(c.into()),
        }
    }
    _ = (byte(), byte());
    // It may be gone after its last answer.
    _ = stream.write_all(b"+");
    text
}

#[test]
fn a_client_debugs_a_program() {
    let folder = Folder::new("client");
    let Some(program) = folder.program("lines.c") else { return };
    let mut child = debugged(&folder, &["lines"]);
    let mut s = socket::connect(&folder.0.join("socket"));
    s.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let supported = ask(&mut s, "qSupported:multiprocess+;swbreak+;vContSupported+");
    has(&supported, &["qXfer:auxv:read+", "qXfer:exec-file:read+", "qXfer:features:read+"]);
    assert_eq!(ask(&mut s, "qfThreadInfo"), format!("mp01.{:04x}", child.id()));
    has(&ask(&mut s, "qXfer:exec-file:read:1:0,400"), &[program.to_str().unwrap()]);
    assert!(ask(&mut s, "qXfer:auxv:read::0,400").starts_with(['l', 'm']));
    assert_eq!(ask(&mut s, &format!("Hgp1.{:x}", child.id())), "OK");
    // Register 15 is pc, at the program's entry; in Thumb state an instruction has 2 or 4 bytes.
    let pc = |s: &mut UnixStream| u32::from_str_radix(&ask(s, "pf"), 16).unwrap().swap_bytes();
    let entry = u32::from_le_bytes(std::fs::read(&program).unwrap()[24..28].try_into().unwrap()) & !1;
    assert_eq!(pc(&mut s), entry);
    let thread = child.id();
    assert!(ask(&mut s, &format!("vCont;s:p1.{thread:x}")).starts_with("T05"));
    let next = pc(&mut s);
    assert!(next > entry && next <= entry + 4, "{next:#x}");
    // A breakpoint, which changes no memory; what may not be read; an end.
    let third = next + 4;
    let before = ask(&mut s, &format!("m{third:x},4"));
    assert!(ask(&mut s, "m0,4").starts_with('E'));
    assert_eq!(ask(&mut s, &format!("Z0,{third:x},2")), "OK");
    assert_eq!(ask(&mut s, &format!("m{third:x},4")), before);
    let stop = ask(&mut s, "vCont;c");
    assert!(stop.starts_with("T05") && stop.contains("swbreak"), "{stop}");
    assert_eq!(pc(&mut s), third);
    assert_eq!(ask(&mut s, "P0=78563412"), "OK");
    assert_eq!(ask(&mut s, "p0"), "78563412");
    assert_eq!(ask(&mut s, "P0=00000000"), "OK");
    assert_eq!(ask(&mut s, &format!("z0,{third:x},2")), "OK");
    // SIGCHLD is reported (GDB's number is 20), and goes to the program.
    let mut end = ask(&mut s, "vCont;c");
    if end.starts_with("T14") {
        end = ask(&mut s, "vCont;C14;c");
    }
    assert_eq!(end.get(..3), Some("W00"), "{end}");
    drop(s);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn gdb_debugs_a_program() {
    let folder = Folder::new("gdb");
    let Some(program) = folder.program("crash.c") else { return };
    let mut child = debugged(&folder, &["crash", "0", "two"]);
    let target = format!("target remote {}", folder.0.join("socket").display());
    let commands = [
        &target,
        "info auxv",
        "break crash",
        "continue",
        "bt",
        "info threads",
        "watch global",
        "continue",
        "print global",
        "delete",
        "stepi",
        "continue",
        "print $_siginfo",
        "continue",
    ];
    let Some(text) = gdb(&[&program], &commands) else {
        _ = child.kill();
        _ = child.wait();
        return;
    };
    let wanted = [
        "AT_PHDR",
        "hit Breakpoint 1, crash (how=0)",
        "main (",
        "\n  2 ",
        "hit Hardware watchpoint 2: global",
        "New value = 42",
        "$1 = 42",
        "received signal SIGSEGV",
        "Program terminated with signal SIGSEGV",
    ];
    has(&text, &wanted);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(11));
}

#[test]
fn gdb_interrupts_and_leaves_a_program() {
    let folder = Folder::new("interrupt");
    if folder.program("crash.c").is_none() {
        return;
    }
    let mut child = debugged(&folder, &["crash", "2", "two"]);
    for _ in 0..20 {
        let mut s = socket::connect(&folder.0.join("socket"));
        s.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert!(ask(&mut s, "qSupported:multiprocess+;vContSupported+").contains("PacketSize"));
        s.write_all(b"$vCont;c#a8").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        s.write_all(b"\x03").unwrap();
        assert!(answer(&mut s).starts_with("T02"));
        assert_eq!(ask(&mut s, "D;1"), "OK");
    }
    let mut s = socket::connect(&folder.0.join("socket"));
    s.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert!(ask(&mut s, "qSupported:multiprocess+").contains("PacketSize"));
    assert_eq!(ask(&mut s, "qfThreadInfo").split(',').count(), 2);
    s.write_all(b"$k#6b").unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
}

#[test]
fn gdb_stops_every_thread_at_breakpoints() {
    let folder = Folder::new("threads");
    let Some(program) = folder.program("threads.c") else { return };
    let mut child = debugged(&folder, &["threads"]);
    let target = format!("target remote {}", folder.0.join("socket").display());
    let next = "continue";
    let commands = [&target, "break hit if number == 99", next, next, next, next, "delete", next, "print hits", next];
    let Some(text) = gdb(&[&program], &commands) else {
        _ = child.kill();
        _ = child.wait();
        return;
    };
    assert_eq!(text.matches("hit Breakpoint 1, hit (number=").count(), 4, "{text}");
    has(&text, &["received signal SIGUSR1", "$1 = 400", "exited with code 07"]);
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

//! What `emu run` has for who debugs a program. Each test is skipped where there is no compiler for ARM, or no GDB.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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

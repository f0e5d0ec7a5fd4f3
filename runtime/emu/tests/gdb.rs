//! GDB itself on the demo board, and a client of ours that speaks the protocol badly.

mod socket;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A demo board that waits for a debugger on a socket of its own.
struct Board {
    child: Child,
    socket: PathBuf,
}

impl Board {
    fn start(name: &str) -> Board {
        Board::with(name, &["--board", "zynq7000"])
    }

    fn with(name: &str, arguments: &[&str]) -> Board {
        let socket = std::env::temp_dir().join(format!("emu-gdb-{name}-{}", std::process::id()));
        let child = Command::new(env!("CARGO_BIN_EXE_emu"))
            .args(arguments)
            .args(["--paused", "--timeout", "120", "--gdb"])
            .arg(format!("unix:{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the emulator starts");
        socket::wait(&socket);
        Board { child, socket }
    }

    fn connect(&self) -> UnixStream {
        let stream = socket::connect(&self.socket);
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// It still runs, serves a debugger, and ends when that says so.
    fn finish(mut self) {
        let mut s = self.connect();
        assert_eq!(ask(&mut s, "?").get(..3), Some("T05"));
        s.write_all(b"$k#6b").unwrap();
        assert_eq!(self.child.wait().expect("an exit status").code(), Some(0));
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = std::fs::remove_file(&self.socket);
    }
}

/// Sends a packet, and gives the next packet that comes.
fn ask(stream: &mut UnixStream, packet: &str) -> String {
    let sum = packet.bytes().fold(0u8, u8::wrapping_add);
    write!(stream, "${packet}#{sum:02x}").unwrap();
    answer(stream)
}

fn answer(stream: &mut UnixStream) -> String {
    let mut byte = [0];
    let mut text = Vec::new();
    let mut inside = false;
    loop {
        stream.read_exact(&mut byte).expect("an answer");
        match byte[0] {
            b'$' => (inside, text) = (true, Vec::new()),
            b'#' if inside => break,
            c if inside => text.push(c),
            _ => {}
        }
    }
    stream.read_exact(&mut [0; 2]).unwrap();
    _ = stream.write_all(b"+");
    // Run lengths: `0* ` is four zeros.
    let mut plain: Vec<u8> = Vec::new();
    let mut rest = text.iter();
    while let Some(c) = rest.next() {
        match (c, plain.last().copied()) {
            (b'*', Some(last)) => plain.extend(std::iter::repeat_n(last, usize::from(rest.next().map_or(0, |n| n - 29)))),
            _ => plain.push(*c),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[test]
fn a_client_sees_threads_registers_memory_and_stops() {
    let board = Board::start("client");
    let mut s = board.connect();
    assert!(ask(&mut s, "qSupported:multiprocess+;swbreak+;vContSupported+").contains("qXfer:features:read+"));
    let xml = ask(&mut s, "qXfer:features:read:target.xml:0,4000");
    assert!(xml.contains("org.gnu.gdb.arm.core") && xml.contains("name=\"fpscr\"") && xml.contains("name=\"sctlr\""), "{xml}");
    assert_eq!(ask(&mut s, "qfThreadInfo"), "mp01.01,p01.02");
    // The demo begins at 0x100000; register 15 is pc.
    assert_eq!(ask(&mut s, "Hgp1.1"), "OK");
    assert_eq!(ask(&mut s, "pf"), "00001000");
    // Memory, and what is not mapped.
    assert_eq!(ask(&mut s, "M200000,4:78563412"), "OK");
    assert_eq!(ask(&mut s, "m200000,4"), "78563412");
    assert!(ask(&mut s, "m60000000,4").starts_with('E'));
    // A step of one CPU, then a breakpoint, which stops before its instruction and changes no memory.
    assert!(ask(&mut s, "vCont;s:p1.1").starts_with("T05"));
    assert_eq!(ask(&mut s, "pf"), "04001000");
    let before = ask(&mut s, "m100020,4");
    assert_eq!(ask(&mut s, "Z0,100020,4"), "OK");
    assert_eq!(ask(&mut s, "m100020,4"), before);
    let stop = ask(&mut s, "vCont;c");
    assert!(stop.contains("swbreak") && stop.contains("p01.01"), "{stop}");
    assert_eq!(ask(&mut s, "pf"), "20001000");
    assert_eq!(ask(&mut s, "z0,100020,4"), "OK");
    // The demo wakes CPU1 by a store to 0xfffffff0.
    assert_eq!(ask(&mut s, "Z2,fffffff0,4"), "OK");
    let stop = ask(&mut s, "vCont;c");
    assert!(stop.contains("watch:fffffff0") && stop.contains("p01.01"), "{stop}");
    assert_ne!(ask(&mut s, "mfffffff0,4"), "00000000");
    assert_eq!(ask(&mut s, "z2,fffffff0,4"), "OK");
    // The machine resets (SLCR_UNLOCK, PSS_RST_CTRL), and the debugger is still there when the demo begins again.
    assert_eq!(ask(&mut s, "Z0,100020,4"), "OK");
    assert_eq!(ask(&mut s, "Mf8000008,4:0ddf0000"), "OK");
    assert_eq!(ask(&mut s, "Mf8000200,4:01000000"), "OK");
    let stop = ask(&mut s, "vCont;c");
    assert!(stop.contains("swbreak") && stop.contains("p01.01"), "{stop}");
    assert_eq!((ask(&mut s, "pf"), ask(&mut s, "mfffffff0,4")), ("20001000".into(), "00000000".into()));
    assert_eq!(ask(&mut s, "z0,100020,4"), "OK");
    assert_eq!(ask(&mut s, "D;1"), "OK");
    board.finish();
}

/// gdb-multiarch has no MicroBlaze; its registers have the numbers of GDB's MicroBlaze port, in the board's byte order.
#[test]
fn a_client_debugs_microblaze_of_both_byte_orders() {
    // addik r3, r0, 5; loop: addik r3, r3, 1; swi r3, r0, 0x100; bri loop
    let code = [0x3060_0005u32, 0x3063_0001, 0xf860_0100, 0xb800_fff8];
    for (board, big) in [("petalogix-s3adsp1800", true), ("petalogix-ml605", false)] {
        let word = |w: u32| {
            let bytes = if big { w.to_be_bytes() } else { w.to_le_bytes() };
            bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()
        };
        let file = std::env::temp_dir().join(format!("emu-gdb-{board}-{}.bin", std::process::id()));
        let bytes: Vec<u8> = code.iter().flat_map(|w| if big { w.to_be_bytes() } else { w.to_le_bytes() }).collect();
        std::fs::write(&file, bytes).unwrap();
        let b = Board::with(board, &["--board", board, "--firmware", file.to_str().unwrap(), "--set", "boot.firmware.at=0"]);
        let mut s = b.connect();
        let xml = ask(&mut s, "qXfer:features:read:target.xml:0,4000");
        assert!(xml.contains("org.gnu.gdb.microblaze.core") && xml.contains("name=\"rpid\" bitsize=\"32\""), "{xml}");
        assert_eq!((ask(&mut s, "m0,4"), ask(&mut s, "p20")), (word(code[0]), word(0)));
        assert!(ask(&mut s, "vCont;s:p1.1").starts_with("T05"));
        assert_eq!((ask(&mut s, "p3"), ask(&mut s, "p20")), (word(5), word(4)));
        let all = ask(&mut s, "g");
        assert_eq!((all.len(), &all[24..32], &all[256..264]), (8 * 54, word(5).as_str(), word(4).as_str()));
        assert_eq!(ask(&mut s, "Z0,c,4"), "OK");
        assert!(ask(&mut s, "vCont;c").contains("swbreak"));
        assert_eq!((ask(&mut s, "p3"), ask(&mut s, "p20"), ask(&mut s, "m100,4")), (word(6), word(12), word(6)));
        assert_eq!(ask(&mut s, "z0,c,4"), "OK");
        assert_eq!(ask(&mut s, &format!("P3={}", word(0x1234_5678))), "OK");
        assert_eq!(ask(&mut s, "Z2,100,4"), "OK");
        assert!(ask(&mut s, "vCont;c").contains("watch:"));
        assert_eq!((ask(&mut s, "m100,4"), ask(&mut s, "p20")), (word(0x1234_5679), word(12)));
        assert_eq!(ask(&mut s, "z2,100,4"), "OK");
        assert_eq!(ask(&mut s, "D;1"), "OK");
        b.finish();
        _ = std::fs::remove_file(file);
    }
}

#[test]
fn what_is_no_packet_harms_nothing() {
    let board = Board::start("noise");
    let mut random = 0x2545_f491_4f6c_dd1du64;
    for round in 0..40 {
        let mut s = board.connect();
        let mut noise: Vec<u8> = Vec::new();
        for _ in 0..200 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Mostly characters of the protocol, so that some of it is taken for packets. Not those that let the machine run.
            noise.push(b"$#+-:;,0123456789abdefghijlmnopqrtuvwxyzGHMPQTXZ\x04\xff"[(random >> 33) as usize % 50]);
        }
        if round % 2 == 1 {
            let sum = noise[1..].iter().filter(|b| **b != b'#' && **b != b'$').fold(0u8, |a, b| a.wrapping_add(*b));
            noise = noise[1..].iter().copied().filter(|b| *b != b'#' && *b != b'$').collect();
            noise.insert(0, b'$');
            noise.extend(format!("#{sum:02x}").bytes());
        }
        _ = s.write_all(&noise);
        _ = s.shutdown(std::net::Shutdown::Write);
        _ = s.read_to_end(&mut Vec::new());
    }
    board.finish();
}

#[test]
fn gdb_debugs_the_demo() {
    if Command::new("gdb-multiarch").arg("--version").output().is_err() {
        eprintln!("skipped: there is no gdb-multiarch");
        return;
    }
    let board = Board::start("gdb");
    let target = format!("target remote {}", board.socket.display());
    let commands = [
        "set pagination off",
        "set confirm off",
        "set architecture arm",
        &target,
        "info threads",
        "stepi",
        "print/x $pc",
        "print/x $sctlr",
        "print $d0",
        "thread 2",
        "print/x $pc",
        "thread 1",
        "break *0x100020",
        "continue",
        "delete",
        "watch *(int*)0xfffffff0",
        "continue",
        "delete",
        "detach",
    ];
    let mut gdb = Command::new("gdb-multiarch");
    gdb.args(["-nx", "-batch"]);
    commands.iter().for_each(|c| _ = gdb.args(["-ex", c]));
    let output = gdb.output().expect("gdb runs");
    let text = String::from_utf8_lossy(&output.stdout);
    for wanted in [
        "(cpu0)",
        "(cpu1)",
        "$1 = 0x100004",
        "$2 = 0xc50078",
        "$3 = 0",
        "$4 = 0xffffff00",
        "hit Breakpoint",
        "hit Hardware watchpoint",
        "detached",
    ] {
        assert!(text.contains(wanted), "no `{wanted}` in:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    board.finish();
}

#[test]
fn a_client_goes_back_where_runs_are_the_same() {
    let board = Board::with("reverse", &["--board", "zynq7000", "--time", "deterministic"]);
    let mut s = board.connect();
    assert!(ask(&mut s, "qSupported:multiprocess+;swbreak+;vContSupported+").contains("ReverseStep+"));
    assert_eq!((ask(&mut s, "Hgp1.1"), ask(&mut s, "Hcp1.1")), ("OK".into(), "OK".into()));
    // The demo wakes CPU1 by a store to 0xfffffff0: undone, the word is zero again.
    assert_eq!(ask(&mut s, "Z2,fffffff0,4"), "OK");
    assert!(ask(&mut s, "vCont;c").contains("watch:fffffff0"));
    let stored = ask(&mut s, "mfffffff0,4");
    assert_ne!(stored, "00000000");
    let behind = ask(&mut s, "pf");
    assert_eq!(ask(&mut s, "z2,fffffff0,4"), "OK");
    let mut places = Vec::new();
    for _ in 0..100 {
        places.push(ask(&mut s, "g"));
        assert!(ask(&mut s, "vCont;s:p1.1").starts_with("T05"));
    }
    for (n, place) in places.iter().enumerate().rev() {
        assert!(ask(&mut s, "bs").starts_with("T05"));
        assert_eq!(ask(&mut s, "g"), *place, "step {n}");
    }
    // In the past nobody changes anything once something else came; here nothing did. Back to the store, and before it.
    assert_eq!((ask(&mut s, "pf"), ask(&mut s, "mfffffff0,4")), (behind, stored.clone()));
    assert_eq!(ask(&mut s, "Z2,fffffff0,4"), "OK");
    assert!(ask(&mut s, "vCont;s:p1.1").starts_with("T05"));
    assert!(ask(&mut s, "bc").contains("watch:fffffff0"));
    assert_eq!(ask(&mut s, "mfffffff0,4"), "00000000");
    assert_eq!(ask(&mut s, "z2,fffffff0,4"), "OK");
    // To a breakpoint of long ago, and to the beginning.
    assert_eq!(ask(&mut s, "Z0,100020,4"), "OK");
    assert!(ask(&mut s, "bc").contains("swbreak"));
    assert_eq!(ask(&mut s, "pf"), "20001000");
    assert!(ask(&mut s, "bc").contains("replaylog:begin"));
    assert_eq!(ask(&mut s, "pf"), "00001000");
    // Forward again, to the same store.
    assert_eq!((ask(&mut s, "z0,100020,4"), ask(&mut s, "Z2,fffffff0,4")), ("OK".into(), "OK".into()));
    assert!(ask(&mut s, "vCont;c").contains("watch:fffffff0"));
    assert_eq!(ask(&mut s, "mfffffff0,4"), stored);
    assert_eq!(ask(&mut s, "D;1"), "OK");
    board.finish();
}

#[test]
fn where_runs_differ_nobody_goes_back() {
    let board = Board::start("forward");
    let mut s = board.connect();
    assert!(!ask(&mut s, "qSupported:multiprocess+;swbreak+;vContSupported+").contains("ReverseStep+"));
    drop(s);
    board.finish();
}

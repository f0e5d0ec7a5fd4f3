//! The protocol: every command, everything that can be wrong with one, how a run ends.

use crate::client::Qtest;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// An address of the Zynq where nothing is.
const NOWHERE: u64 = 0x5000_0000;

#[test]
fn accesses_of_all_sizes_see_the_same_memory() {
    let mut q = Qtest::start("zynq7000");
    assert_eq!(q.ok("endianness"), "little");
    assert_eq!(q.ok("writeq 0xfffc0000 0x8877665544332211"), "");
    assert_eq!(q.ok("readq 0xfffc0000"), "0x8877665544332211");
    assert_eq!(q.ok("readl 0xfffc0001"), "0x0000000055443322");
    assert_eq!(q.ok("readw 4294705158"), "0x0000000000008877");
    assert_eq!(q.ok("readb 037777000007"), "0x0000000000000088");
    q.ok("writew 0xfffc0002 0xabcd1234");
    q.ok("writeb 0xfffc0000 -1");
    assert_eq!(q.ok("read 0xfffc0000 9"), "0xff2234125566778800");
    q.ok("write 0xfffc0100 6 0x01aB");
    assert_eq!(q.ok("read 0xfffc0100 6"), "0x01ab00000000");
    q.ok("write 0xfffc0100 1 0x7fff");
    assert_eq!(q.ok("read 0xfffc0100 2"), "0x7fab");
    q.ok("memset 0xfffc0100 5 0x1ee");
    q.ok("memset 0xfffc0100 0 0");
    assert_eq!(q.ok("b64read 0xfffc0100 6"), "7u7u7u4A");
    q.ok("b64write 0xfffc0200 5 aGVsbG8=");
    assert_eq!(q.ok("read 0xfffc0200 5"), "0x68656c6c6f");
    q.ok("b64write 0xfffc0200 1 SmFtZXM=");
    assert_eq!(q.ok("read 0xfffc0200 5"), "0x4a656c6c6f");
    // Addresses are 32 bits wide: behind the last comes the first.
    q.ok("writel 0xfffffffe 0x04030201");
    assert_eq!(q.ok("read 0xfffffffe 4"), "0x01020304");
    assert_eq!(q.ok("readw 0x100000000"), "0x0000000000000403");
}

#[test]
fn memory_is_empty_as_nothing_is_started() {
    let mut q = Qtest::start("zynq7000");
    for at in [0, 0x0010_0000, 0x0800_0000] {
        assert_eq!(q.ok(&format!("read {at:#x} 4096")), format!("0x{}", "00".repeat(4096)));
    }
    // What is asked for is loaded.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [1, 2, 3, 4]).unwrap();
    let mut q = Qtest::with(&["--board", "zynq7000", "--firmware", file.path().to_str().unwrap()]);
    assert_eq!(q.readl(0x0010_0000), 0x0403_0201);
}

#[test]
fn the_clock_is_the_clients() {
    let mut q = Qtest::start("zynq7000");
    assert_eq!(q.ok("clock_step 0"), "0");
    assert_eq!(q.ok("clock_step 1000"), "1000");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(q.ok("clock_set 0x800"), "2048");
    assert_eq!(q.ok("clock_set 10"), "2048");
    // The watchdog is off and the board has no other timer armed.
    assert_eq!(q.ok("clock_step"), "2048");
    assert_eq!(q.ok("clock_set 9223372036854775807"), "9223372036854775807");
    assert_eq!(q.ok("clock_step 1000"), "9223372036854776807");
    assert!(q.fail("clock_step -1").contains("no time"));
    assert!(q.fail("clock_set 9223372036854775808").contains("no time"));
}

#[test]
fn what_is_wrong_fails_and_the_next_command_works() {
    let mut q = Qtest::start("zynq7000");
    for (command, reason) in [
        ("", "There is no command in this line"),
        ("   ", "There is no command in this line"),
        ("frobnicate 1 2", "Unknown command 'frobnicate'"),
        ("READL 0", "Unknown command 'READL'"),
        ("rtas 1", "Unknown command 'rtas'"),
        ("readl", "Usage: readl ADDR"),
        ("readl 1 2", "Usage: readl ADDR"),
        ("writel 0x0", "Usage: writel ADDR VALUE"),
        ("endianness x", "Usage: endianness"),
        ("set_irq_in uart0 irq 0", "Usage: set_irq_in PATH NAME NUM LEVEL"),
        ("readl 0xg", "`0xg` is no number"),
        ("readl 0x", "`0x` is no number"),
        ("readl 08", "`08` is no number"),
        ("readl +1", "`+1` is no number"),
        ("readl 0x+1", "`0x+1` is no number"),
        ("readl 0x10000000000000000", "`0x10000000000000000` is no number"),
        ("readl \u{1b}[2J\t", "`\\u{1b}[2J` is no number"),
        ("read 0 0x1000001", "16777217 bytes are too many: at most 16777216"),
        ("b64read 0 -1", "18446744073709551615 bytes are too many: at most 16777216"),
        ("memset 0 0x7fffffffffffffff 0", "9223372036854775807 bytes are too many: at most 16777216"),
        ("write 0 1 ab", "`ab` is no hexadecimal data"),
        ("write 0 1 0xabc", "`0xabc` is no hexadecimal data"),
        ("write 0 1 0xzz", "`0xzz` is no hexadecimal data"),
        ("b64write 0 1 A", "`A` is no base64 data"),
        ("inb 0x60", "This board has no I/O ports"),
        ("outl 0x60 1", "This board has no I/O ports"),
        ("irq_intercept_in nobody", "Unknown device 'nobody'"),
        ("irq_intercept_out /machine/", "Unknown device '/machine/'"),
        ("irq_intercept_out_named uart0 tx", "There is no output 'tx': it has irq"),
        ("set_irq_in gic nmi 0 1", "There is no input 'nmi': it has spi, ppi"),
        ("set_irq_in gic spi 64 1", "'spi' has 64 lines"),
        ("set_irq_in gic spi -1 1", "'spi' has 64 lines"),
        ("set_irq_in cpu0 irq 0 1", "CPUs do not run: their inputs cannot be set"),
    ] {
        assert_eq!(q.fail(command), reason, "{command}");
    }
    assert_eq!(q.fail(&format!("readl {NOWHERE:#x}")), "0x50000000: no device or memory answers at this address");
    assert_eq!(q.fail(&format!("read {:#x} 4", 0x2000_0000 - 2)), "0x1ffffffe: no device or memory answers at this address");
    assert_eq!(q.fail("readb 0xf8001000"), "0xf8001000: the device refused the access");
    // Bytes that are no text, and the end of a line in both fashions.
    q.send(b"\xff\xfe\x00\x80\nreadl 0\r\n");
    assert!(q.answer().starts_with("FAIL Unknown command"));
    assert_eq!(q.answer(), "OK 0x0000000000000000");
    assert_eq!(q.ok("module_load a b"), "");
}

#[test]
fn a_line_without_end_is_skipped_and_the_longest_is_not() {
    let mut q = Qtest::start("zynq7000");
    let data = "5a".repeat(16 << 20);
    q.send(format!("write 0 0x1000000 0x{data}\n").as_bytes());
    assert_eq!(q.answer(), "OK");
    assert_eq!(q.readl(0x00ff_fffc), 0x5a5a_5a5a);
    q.send(format!("write 0 0x1000000 0x{data}{}\n", "0".repeat(1024)).as_bytes());
    assert_eq!(q.answer(), "FAIL The line is too long");
    assert_eq!(q.ok(&format!("read 0 {}", 16 << 20)), format!("0x{data}"));
}

#[test]
fn a_client_that_leaves_ends_the_run_with_0() {
    let mut q = Qtest::start("zynq7000");
    q.send(b"clock_step 10\nclock_step 10");
    assert_eq!(q.answer(), "OK 10");
    assert_eq!(q.leave().code(), Some(0));
}

#[test]
fn a_client_that_dies_ends_the_run_with_0() {
    let (listener, mut child) = tcp("60");
    drop(listener.accept().unwrap().0);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The emulator as it connects to us.
fn tcp(timeout: &str) -> (TcpListener, std::process::Child) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
    command.args(["--board", "zynq7000", "--timeout", timeout, "--qtest"]).arg(format!("tcp:{}", listener.local_addr().unwrap()));
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    (listener, child)
}

#[test]
fn a_timeout_ends_a_step_that_does_not_end() {
    // A counter that ends every nine nanoseconds, for three hundred years.
    let (listener, mut child) = tcp("2");
    let mut stream = listener.accept().unwrap().0;
    stream.write_all(b"writel 0xf8001060 1\nwritel 0xf800100c 0x22\nclock_step 9223372036854775807\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(124));
}

#[test]
fn a_server_waits_for_its_client_and_says_what_is_wrong_before() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, log) = (folder.path().join("s"), folder.path().join("log"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
    command.args(["--board", "zynq7000", "--timeout", "60", "--qtest-log"]).arg(&log);
    let mut child = command.arg("--qtest").arg(format!("unix:{},server", socket.display())).spawn().unwrap();
    let mut stream = crate::socket::connect(&socket);
    stream.write_all(b"readl 0xf8000530\nhello\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "OK 0x0000000003727093\nFAIL Unknown command 'hello'\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let log = std::fs::read_to_string(log).unwrap();
    let entries: Vec<(&str, &str)> = log.lines().map(|l| (&l[..4], l.split_once("] ").unwrap().1)).collect();
    let expected = [
        ("[I +", "OPENED"),
        ("[R +", "readl 0xf8000530"),
        ("[S +", "OK 0x0000000003727093"),
        ("[R +", "hello"),
        ("[S +", "FAIL Unknown command 'hello'"),
        ("[I +", "CLOSED"),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn a_server_that_nobody_connects_to_ends_in_time() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
    let mut child = command.args(["--board", "zynq7000", "--timeout", "1", "--qtest", "tcp:127.0.0.1:0,server"]).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(124));
}

#[test]
fn standard_streams_carry_it_and_the_log_is_apart() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
    command.args(["--board", "petalogix-s3adsp1800", "--timeout", "60", "--qtest", "stdio"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A byte for the UART goes nowhere: its back end would be the standard stream.
    child.stdin.take().unwrap().write_all(b"writel 0x84000004 0x41\nendianness\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "OK\nOK big\n");
    assert!(String::from_utf8(output.stderr).unwrap().contains("] endianness\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    for (arguments, message) in [
        (&["--qtest", "pty"][..], "it is no connection"),
        (&["--qtest", "serial"], "it is no connection"),
        (&["--qtest", "unix:/nonexistent/socket"], "No such file"),
        (&["--qtest", "stdio", "--serial", "stdio"], "cannot both be stdio"),
        (&["--qtest", "stdio", "--gdb", "1"], "cannot be used with"),
        (&["--qtest", "stdio", "--time", "virtual"], "cannot be used with"),
        (&["--qtest-log", "none"], "--qtest <BACKEND>"),
        (&["--qtest", "stdio", "--qtest-log", "/nonexistent/log"], "--qtest-log /nonexistent/log"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
        let output = command.args(["--board", "zynq7000"]).args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(message), "{arguments:?}: {text}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn one_unit_is_intercepted_under_any_of_its_names() {
    let mut q = Qtest::start("zynq7000");
    q.ok("irq_intercept_out /machine/soc/serial0");
    q.ok("irq_intercept_out uart1");
    assert_eq!(q.fail("irq_intercept_in uart1"), "IRQ intercept already enabled");
    assert_eq!(q.fail("irq_intercept_out uart0"), "IRQ intercept already enabled");
    assert!(q.irqs().is_empty());
    // IER: the transmitter is empty.
    q.writel(0xe000_1008, 8);
    assert_eq!(q.irqs(), [(0, true)]);
    q.writel(0xe000_0008, 8);
    q.writel(0xe000_100c, 8);
    assert_eq!(q.irqs(), [(0, false)]);
}

#[test]
fn lines_that_are_high_are_told_at_once() {
    let mut q = Qtest::start("zynq7000");
    q.writel(0xe000_1008, 8);
    q.ok("irq_intercept_in gic");
    // Shared interrupt 50, and those after it are the private ones of each CPU: 64 + 16 * cpu + id - 16.
    assert_eq!(q.irqs(), [(50, true)]);
    q.writel(0xf8f0_0600, 1);
    q.writel(0xf8f0_0608, 5);
    q.clock_step(100);
    assert_eq!(q.irqs(), [(64 + 29 - 16, true)]);
    q.ok("set_irq_in gic spi 3 1");
    q.ok("set_irq_in gic unnamed-gpio-in 4 -7");
    q.ok("set_irq_in gic spi 3 0");
    q.ok("set_irq_in gic spi 3 0");
    assert_eq!(q.irqs(), [(3, true), (4, true), (3, false)]);
    // ISPENDR1: what the GIC itself sees.
    assert_eq!(q.readl(0xf8f0_1204), 1 << 4);
}

#[test]
fn input_of_a_serial_port_raises_a_line_by_itself() {
    let mut q = Qtest::with(&["--board", "zynq7000", "--serial", "uart0=unix:{}/serial,server"]);
    q.ok("irq_intercept_out uart0");
    // Receiver on, trigger level 1, its interrupt enabled.
    q.writel(0xe000_0000, 0x14);
    q.writel(0xe000_0020, 1);
    q.writel(0xe000_0014, 0x1fff);
    q.writel(0xe000_0008, 1);
    assert!(q.irqs().is_empty());
    let mut serial = std::os::unix::net::UnixStream::connect(q.folder.path().join("serial")).unwrap();
    serial.write_all(b"x").unwrap();
    assert_eq!(q.irq(), "IRQ raise 0");
    assert_eq!(q.readl(0xe000_0030), u32::from(b'x'));
    q.writel(0xe000_0030, u32::from(b'y'));
    let mut byte = [0];
    serial.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"y");
}

#[test]
fn a_second_client_is_not_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
    command.args(["--board", "zynq7000", "--timeout", "60", "--qtest-log", "none"]);
    let mut child = command.arg("--qtest").arg(format!("tcp:{address},server")).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(e) => assert!(Instant::now() < end, "{e}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    stream.write_all(b"endianness\n").unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"OK little\n");
    assert!(TcpStream::connect(address).is_err());
    drop(stream);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

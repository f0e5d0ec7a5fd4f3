//! The monitor's commands over a small machine, and the text monitor itself.

mod common;

use common::{Running, start, start_with};
use emu_debug::monitor::{COMMANDS, Monitor, TOPICS, serve};
use emu_machine::Exit;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// It counts further within a while.
fn counts(m: &mut Running) -> bool {
    let before = m.counted();
    (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(2));
        m.counted() != before
    })
}

#[test]
fn the_machine_is_held_goes_on_is_reset_and_ends() {
    let mut m = start();
    assert_eq!(m.ok("info status"), "VM status: running\n");
    assert!(counts(&mut m));
    m.ok("stop");
    assert_eq!(m.ok("info status"), "VM status: paused\n");
    let (count, time) = (m.counted(), m.ok("info time"));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((m.counted(), m.ok("info time")), (count, time));
    // A reset of a held machine happens at once, and it stays held.
    m.ok("cpu0.r5 = 77");
    assert_eq!(m.ok("cpu0.r5"), "cpu0.r5 = 0x0000004d\n");
    m.ok("reset");
    assert_eq!(m.ok("cpu0.r5"), "cpu0.r5 = 0x00000000\n");
    assert_eq!((m.ok("cpu0.pc"), m.ok("info status")), ("cpu0.pc = 0x00001000\n".into(), "VM status: paused\n".into()));
    m.ok("c");
    assert!(counts(&mut m));
    m.ok("quit");
    let mut session = m.session.clone();
    assert_eq!(m.exit(), Exit::Stopped(0));
    assert_eq!(session.execute("info status"), Err("the machine has ended".into()));
}

#[test]
fn a_reset_ends_a_run_that_is_to_end_there() {
    let mut m = start_with(|machine| machine.no_reboot = true);
    m.ok("stop");
    m.ok("system_reset");
    assert_eq!(m.exit(), Exit::Stopped(0));
}

#[test]
fn memory_is_shown_in_all_formats_and_written() {
    let mut m = start();
    m.ok("stop");
    m.ok("poke 0x4000 0x64636261");
    m.ok("pokep/h 0x4004 0x0065");
    assert_eq!(m.ok("x/2 0x4000"), "00004000: 0x64636261 0x00000065\n");
    assert_eq!(m.ok("xp /6xb 0x4000"), "00004000: 0x61 0x62 0x63 0x64 0x65 0x00\n");
    assert_eq!(m.ok("x/s 0x4000"), "00004000: \"abcde\"\n");
    assert_eq!(m.ok("x/2c 0x4000"), "00004000: 'a' 'b'\n");
    assert_eq!(m.ok("peek/h 0x4002"), "00004002: 0x6463\n");
    assert_eq!(m.ok("x/1g 0x4000"), "00004000: 0x0000006564636261\n");
    assert_eq!(m.ok("x/2i $pc-$pc+0x1000"), "00001000: 13000001  toy1 0 op19 at 1000\n00001004: 0a120000  toy1 0 op10 at 1004\n");
    // Where nothing is, and at the end of memory.
    assert_eq!(m.ok("xp/8 0xfff8"), "0000fff8: 0x00000000 0x00000000\n00010000: cannot be accessed\n");
    assert_eq!(m.ok("x/s 0x30000000"), "30000000: cannot be accessed\n");
    assert!(m.error("peekp 0x30000000").contains("cannot be read"));
    assert!(m.error("pokep 0x30000000 1").contains("cannot be written"));
    assert!(m.error("poke/b 0x4000 256").contains("does not fit"));
    assert!(m.error("peek 0x4001").contains("multiple of 4"));
    assert!(m.error("x/9999999999 0").contains("too much"));
    // Virtual addresses are the CPU's: its second window page is at physical 0x1000.
    assert_eq!(m.ok("peek 0x40001000"), "40001000: 0x13000001\n");
    assert!(m.error("peekp 0x40001000").contains("cannot be read"));
    // ROM can be patched from here.
    m.ok("pokep 0x20000000 5");
    assert_eq!(m.ok("peekp 0x20000000"), "20000000: 0x00000005\n");
}

#[test]
fn memory_is_saved_to_files() {
    let mut m = start();
    m.ok("stop");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("with space");
    m.ok("poke 0x4000 0x64636261");
    m.ok(&format!("pmemsave 0x4000 6 \"{}\"", file.display()));
    assert_eq!(std::fs::read(&file).unwrap(), b"abcd\0\0");
    m.ok(&format!("memsave 0x40001000 4 \"{}\"", file.display()));
    assert_eq!(std::fs::read(&file).unwrap(), [1, 0, 0, 0x13]);
    assert!(m.error(&format!("pmemsave 0xfff0 0x100 \"{}\"", file.display())).contains("not all memory"));
    assert!(m.error("pmemsave 0 1 /nowhere/at/all").contains("cannot write"));
}

#[test]
fn device_registers_go_by_name() {
    let mut m = start();
    m.ok("stop");
    m.ok("uart0.CR = 0x304");
    assert_eq!(m.ok("uart0.CR"), "CR = 0x00000304 RST=0 RXEN=1 TXEN=0 MODE=3\n");
    m.ok("uart0.CR.TXEN=1");
    assert_eq!((m.ok("uart0.cr.txen"), m.ok("console.CR.MODE")), ("CR.TXEN = 0x1\n".into(), "CR.MODE = 0x3\n".into()));
    assert_eq!(m.ok("uart0.CR"), "CR = 0x00000314 RST=0 RXEN=1 TXEN=1 MODE=3\n");
    // Writing a field does not clear others that ones clear.
    m.ok("uart0.ISR.MASK = 2");
    assert_eq!(m.ok("uart0.ISR"), "ISR = 0x00000203 DONE=1 FULL=1 MASK=2\n");
    m.ok("uart0.ISR.DONE = 1");
    assert_eq!(m.ok("uart0.ISR"), "ISR = 0x00000202 DONE=0 FULL=1 MASK=2\n");
    m.ok("uart0.MATCH[2] = 9");
    assert_eq!(m.ok("uart0.MATCH[2].VALUE"), "MATCH.VALUE = 0x9\n".replace("MATCH", "MATCH[2]"));
    let all = m.ok("uart0");
    for line in ["CR             0x0000  00000314  RXEN=1 TXEN=1 MODE=3", "MATCH          0x0010  00000000 00000000 00000009 00000000"] {
        assert!(all.contains(line), "{all}");
    }
    // Looking at everything took nothing and cleared nothing.
    assert!(all.contains("FIFO           0x0008  00000000\n") && all.contains("not read"), "{all}");
    assert_eq!((m.ok("uart0.CLR"), m.ok("uart0.CLR")), ("CLR = 0x00000007\n".into(), "CLR = 0x00000000\n".into()));
    assert_eq!(m.ok("uart0.FIFO"), "FIFO = 0x00000000\n");
    for (line, says) in [
        ("uart0.XX", "it has CR, ISR, FIFO, CLR, MATCH"),
        ("uart0.CR.XX", "it has RST, RXEN"),
        ("uart0.CR.TXEN = 2", "does not fit into 1 bits"),
        ("uart0.MATCH[4]", "has 4 registers"),
        ("uart0.MATCH = 1", "which of them"),
        ("uart0 = 1", "which register"),
        ("uart0.CR 5", "to write a register"),
        ("uart0.CR = x", "is no number"),
        ("uart9.CR", "no command and no device"),
        ("frobnicate", "no command and no device"),
        ("cpu0.zz", "no register"),
        ("cpu0", "which register"),
    ] {
        assert!(m.error(line).contains(says), "{line}: {}", m.error(line));
    }
}

#[test]
fn info_says_what_there_is() {
    let mut m = start();
    m.ok("stop");
    m.ok("uart0.CR = 0x10");
    for (topic, says) in [
        ("irq", "cpu0.irq                 high        1 rises, from uart0.irq"),
        ("map", "  10000000-100000ff uart0, test,all"),
        ("map", "  20000000-20000fff rom, ROM"),
        ("devices", "uart0          test,all"),
        ("cpus", "* 0: cpu0 toy1 at 0x0000"),
        ("chardev", "uart0: unix:/tmp/serial,server"),
        ("block", "uart0: empty"),
        ("network", "uart0: link down"),
        ("name", "small\n"),
        ("jit", "cpu0\n  "),
        ("time", "stands still"),
    ] {
        let text = m.ok(&format!("info {topic}"));
        assert!(text.contains(says), "info {topic}: {text}");
    }
    for topic in TOPICS {
        m.ok(&format!("info {}", topic.names[0]));
    }
    assert_eq!(m.ok("info irq nothing"), "");
    assert!(m.error("info nonsense").contains("knows nothing of"));
    assert!(m.error("info status now").contains("too many"));
    assert!(m.ok("help").lines().count() > COMMANDS.len());
    assert!(m.ok("help c").contains("also called c"));
}

#[test]
fn drives_cables_buttons_and_filters() {
    let mut m = start();
    m.ok("drive sd0 12345678");
    assert_eq!(m.ok("info block"), "uart0: 4096 bytes: 12345678\n");
    m.ok("change uart0 ab,readonly");
    assert_eq!(m.ok("info block"), "uart0: 5632 bytes, read-only: ab,readonly\n");
    assert!(m.error("drive sd0 missing").contains("no such file"));
    assert!(m.error("drive sd7 x").contains("this board has uart0"));
    m.ok("eject sd0");
    assert_eq!(m.ok("info block"), "uart0: empty\n");
    m.ok("net eth0 up");
    let up = |m: &mut Running| {
        (0..500).any(|_| {
            m.ok("info network").contains("link up") || {
                std::thread::sleep(Duration::from_millis(2));
                false
            }
        })
    };
    assert!(up(&mut m));
    assert!(m.error("net eth0 sideways").contains("neither up nor down"));
    m.ok("powerdown");
    m.ok("system_powerdown");
    assert_eq!(m.ok("uart0.MATCH[3]"), "MATCH[3] = 0x00000002 VALUE=2\n");
    m.ok("trace dev=trace");
    assert_eq!(*m.host.0.lock().unwrap(), "dev=trace");
    assert!(m.error("log !").contains("no filter"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot").display().to_string();
    m.ok(&format!("savevm {file}"));
    m.ok(&format!("loadvm {file}"));
    m.ok(&format!("delvm {file}"));
    assert!(m.error(&format!("loadvm {file}")).contains("cannot load"));
    std::fs::write(&file, "text").unwrap();
    assert!(m.error(&format!("delvm {file}")).contains("no snapshot"));
}

#[test]
fn a_terminal_completes_and_a_pipe_is_plain() {
    let m = start();
    let mut monitor = Monitor::new(m.session.clone(), true);
    let mut type_in = |keys: &str| {
        let mut shown = String::new();
        assert!(monitor.feed(keys.as_bytes(), &mut |text| shown += text));
        shown
    };
    assert!(type_in("uart0.c\t\t").contains("CLR"));
    assert!(type_in("\x15uart0.CR.t\t\r").contains("CR.TXEN = 0x0\r\n"));
    assert!(type_in("info net\t\r").contains("uart0: link"));
    assert!(type_in("he\tinf\t\r").contains("info [TOPIC]"));
    assert!(type_in("\x1b[A\r").contains("info [TOPIC]"));
    assert!(!monitor.feed(b"\x04", &mut |_| {}));
    let mut monitor = Monitor::new(m.session.clone(), false);
    let mut shown = String::new();
    monitor.feed(b"info sta", &mut |text| shown += text);
    monitor.feed(b"tus\r\nnonsense\n\xff\xfe\n", &mut |text| shown += text);
    monitor.feed(&[b'x'; 100_000], &mut |text| shown += text);
    monitor.feed(b"\n", &mut |text| shown += text);
    let lines: Vec<&str> = shown.split('\n').collect();
    assert_eq!(lines[0], "VM status: running");
    assert!(
        lines[1].starts_with("(emu) error: there is no command") && lines[2].contains("no UTF-8") && lines[3].contains("too long"),
        "{shown}"
    );
}

#[test]
fn clients_are_served_until_they_leave() {
    use std::io::{Read, Write};
    let m = start();
    let (mut client, server) = UnixStream::pair().unwrap();
    let (session, reader) = (m.session.clone(), server.try_clone().unwrap());
    let serving = std::thread::spawn(move || serve(session, reader, server, false));
    client.write_all(b"info status\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert!(text.contains("(emu) VM status: running\n(emu) "), "{text}");
    serving.join().unwrap();
}

/// The book's page shows the program's own tables.
#[test]
fn the_book_has_every_command() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../book/src/reference/monitor.md");
    let old = std::fs::read_to_string(file).unwrap();
    let code = |name: &str, args: &str| {
        let space = if args.is_empty() || args.starts_with('/') { "" } else { " " };
        format!("`{name}{space}{}`", args.replace('|', "\\|"))
    };
    let mut commands = String::from("| command | what it does |\n|---|---|\n");
    for c in COMMANDS {
        let also: String = c.names[1..].iter().map(|name| format!(", `{name}`")).collect();
        commands += &format!("| {}{also} | {} |\n", code(c.names[0], c.args), c.help);
    }
    let mut topics = String::from("| topic | what it shows |\n|---|---|\n");
    for t in TOPICS {
        let also: String = t.names[1..].iter().map(|name| format!(", `{name}`")).collect();
        topics += &format!("| {}{also} | {} |\n", code(t.names[0], t.args), t.help);
    }
    let names: Vec<String> = emu_debug::qmp::COMMANDS.iter().map(|c| format!("`{}`", c.name)).collect();
    let qmp = format!("Commands: {}.\n", names.join(", "));
    let mut new = old.clone();
    for (what, text) in [("commands", commands), ("topics", topics), ("qmp", qmp)] {
        let start = new.find(&format!("<!-- {what}:")).and_then(|at| Some(at + new[at..].find('\n')? + 1)).expect("its place");
        let end = start + new[start..].find("<!-- end -->").expect("its end");
        new.replace_range(start..end, &format!("\n{text}\n"));
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(file, &new).unwrap();
    } else if new != old {
        panic!("{file} is not what the program says; BLESS=1 writes it");
    }
}

#[test]
fn keys_are_pressed_and_released() {
    let mut m = start();
    let name = m.session.names().devices.last().unwrap().name.clone();
    // What is posted takes a moment.
    let seen = |m: &mut Running, value: &str| {
        (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(2));
            m.ok(&format!("{name}.MATCH[1]")).contains(value)
        })
    };
    m.ok("sendkey ctrl-alt-delete 1");
    assert!(seen(&mut m, "= 0x00000006"));
    assert!(m.ok(&format!("{name}.MATCH[2]")).contains(&format!("{:#010x}", 0xe0 << 1)), "the first is released last");
    m.ok("sendkey a");
    assert!(seen(&mut m, "= 0x00000008"));
    assert_eq!(m.error("sendkey nokey"), "there is no key `nokey`; keys are called as in QEMU, such as a, 1, ret, spc, shift, f1");
    assert!(m.error("sendkey").starts_with("the keys"));
    assert!(m.error("sendkey a 99999999").contains("too long"));
    assert!(m.error("mouse_move 1 -1").contains("does not have a relative pointer"));
    assert!(m.error("mouse_move 1 x").contains("no number of steps"));
    assert!(m.error("mouse_button 8").contains("no sum"));
}

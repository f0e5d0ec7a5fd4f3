//! What is plugged into USB: sticks, keyboards, pointers, hubs.

use crate::usb::{HALT, PORT, Usb, kind};
use emu_machine::input::{Button, InputEvent};
use emu_machine::schema::Value;
use emu_machine::testing::TestBench;

/// Address 5, configuration 1.
fn configure(usb: &mut Usb, address: u8) {
    assert!(usb.control(0, [0, 5, address, 0, 0, 0, 0, 0], &[]).is_some());
    assert!(usb.control(address, [0, 9, 1, 0, 0, 0, 0, 0], &[]).is_some());
}

fn plugged(name: &str) -> Usb {
    let mut usb = Usb::with(&kind(name), &[("serial".into(), Value::Text("A1B2".into())), ("removable".into(), Value::Bool(true))]);
    configure(&mut usb, 5);
    usb
}

fn part(usb: &mut Usb) -> &mut TestBench {
    usb.b.bench.part(0, 1)
}

#[test]
fn all_parts_describe_themselves_consistently() {
    for name in ["usb-storage", "usb-kbd", "usb-tablet", "usb-mouse", "usb-hub", "usb-hub-8"] {
        let mut usb = plugged(name);
        let mut get = |kind: u8, value: u8, of: u8, len: u8| usb.control(5, [kind, 6, value, of, 0, 0, len, 0], &[]);
        let device = get(0x80, 0, 1, 64).unwrap();
        assert_eq!((device.len(), device[0], device[1], device[17]), (18, 18, 1, 1), "{name}");
        assert_eq!(get(0x80, 0, 1, 8).unwrap(), device[..8]);
        let whole = get(0x80, 0, 2, 255).unwrap();
        assert_eq!(usize::from(whole[2]), whole.len(), "{name}");
        // One behind the other, to the end; as many endpoints as the interface says.
        let (mut at, mut kinds) = (0, vec![]);
        while let Some(len) = whole.get(at).filter(|len| **len > 1) {
            kinds.push(whole[at + 1]);
            at += usize::from(*len);
        }
        assert_eq!(at, whole.len(), "{name}");
        assert_eq!(kinds.iter().filter(|k| **k == 5).count(), usize::from(whole[13]), "{name}");
        if kinds.contains(&0x21) {
            let report = get(0x81, 0, 0x22, 255).unwrap();
            assert_eq!(report.len(), usize::from(whole[9 + 9 + 7]), "{name}");
            assert_eq!(get(0x81, 0, 0x21, 255).unwrap(), whole[18..27]);
        }
        assert_eq!(get(0x80, 3, 3, 255).unwrap(), [10, 3, b'A', 0, b'1', 0, b'B', 0, b'2', 0]);
        assert_eq!(get(0x80, 0, 3, 255).unwrap(), [4, 3, 9, 4]);
        assert_eq!(get(0x80, 9, 3, 255), None);
        // Unknown requests stall, and the pipe goes on.
        assert_eq!(usb.control(5, [0xc0, 77, 0, 0, 0, 0, 8, 0], &[]), None);
        assert_eq!(usb.control(5, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]), Some(vec![1]));
        // An endpoint is halted, and not any more.
        assert_eq!(usb.control(5, [2, 3, 0, 0, 0x81, 0, 0, 0], &[]), Some(vec![]));
        assert_eq!(usb.control(5, [0x82, 0, 0, 0, 0x81, 0, 2, 0], &[]), Some(vec![1, 0]));
        assert_eq!(usb.receive(5, 1, 64, 8).0, HALT);
        assert_eq!(usb.control(5, [2, 1, 0, 0, 0x81, 0, 0, 0], &[]), Some(vec![]));
        assert_eq!(usb.control(5, [0x82, 0, 0, 0, 0x81, 0, 2, 0], &[]), Some(vec![0, 0]));
        // A reset of the port: address 0, no configuration.
        usb.reset_port();
        assert_eq!(usb.control(5, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]), None);
        assert_eq!(usb.control(0, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]), Some(vec![0]));
    }
}

/// A command of the bulk-only transport: data from the part, and the status with its residue.
fn command(usb: &mut Usb, block: &[u8], to_host: bool, expected: u32, data: &[u8]) -> (Vec<u8>, u8, u32) {
    let mut wrapper = b"USBCtag!".to_vec();
    wrapper.extend(expected.to_le_bytes());
    wrapper.extend([if to_host { 0x80 } else { 0 }, 0, block.len() as u8]);
    wrapper.extend(block);
    wrapper.resize(31, 0);
    assert_eq!(usb.send(5, 2, 512, &wrapper), 0);
    let mut came = vec![];
    if expected > 0 && to_host {
        let (status, bytes) = usb.receive(5, 1, 512, expected);
        came = bytes;
        if status & HALT != 0 {
            usb.control(5, [2, 1, 0, 0, 0x81, 0, 0, 0], &[]).unwrap();
        }
    } else if expected > 0 && usb.send(5, 2, 512, data) & HALT != 0 {
        usb.control(5, [2, 1, 0, 0, 0x02, 0, 0, 0], &[]).unwrap();
    }
    let (mut status, mut csw) = usb.receive(5, 1, 512, 13);
    if status & HALT != 0 {
        usb.control(5, [2, 1, 0, 0, 0x81, 0, 0, 0], &[]).unwrap();
        (status, csw) = usb.receive(5, 1, 512, 13);
    }
    assert_eq!((status, &csw[..8]), (0, &b"USBStag!"[..]));
    (came, csw[12], u32::from_le_bytes(csw[8..12].try_into().unwrap()))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0] ^ (i / 512) as u8).collect()
}

/// A stick with 1 MiB, whose host knows of its medium.
fn stick() -> Usb {
    let mut usb = plugged("usb-storage");
    part(&mut usb).insert(pattern(1 << 20), false);
    assert_eq!(command(&mut usb, &[0; 6], true, 0, &[]).1, 1);
    assert_eq!(sense(&mut usb), (6, 0x28, 0));
    usb
}

fn sense(usb: &mut Usb) -> (u8, u8, u8) {
    let (data, status, _) = command(usb, &[3, 0, 0, 0, 18, 0], true, 18, &[]);
    assert_eq!((data.len(), data[0], status), (18, 0x70, 0));
    (data[2], data[12], data[13])
}

#[test]
fn a_stick_says_what_it_is() {
    let mut usb = stick();
    let (data, status, residue) = command(&mut usb, &[0x12, 0, 0, 0, 36, 0], true, 36, &[]);
    assert_eq!((status, residue, &data[..5], &data[8..16]), (0, 0, &[0, 0x80, 5, 2, 31][..], &b"EMU     "[..]));
    let (data, _, residue) = command(&mut usb, &[0x12, 1, 0x80, 0, 255, 0], true, 255, &[]);
    assert_eq!((&data[..], residue), (&b"\0\x80\0\x04A1B2"[..], 255 - 8));
    assert_eq!(command(&mut usb, &[0x12, 1, 0, 0, 255, 0], true, 255, &[]).0, [0, 0, 0, 3, 0, 0x80, 0x83]);
    assert_eq!(command(&mut usb, &[0x12, 1, 0x55, 0, 255, 0], true, 255, &[]).1, 1);
    assert_eq!(sense(&mut usb), (5, 0x24, 0));
    assert_eq!(command(&mut usb, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], true, 8, &[]).0, [0, 0, 7, 0xff, 0, 0, 2, 0]);
    let long = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
    assert_eq!(command(&mut usb, &long, true, 32, &[]).0[..12], [0, 0, 0, 0, 0, 0, 7, 0xff, 0, 0, 2, 0]);
    assert_eq!(command(&mut usb, &[0x23, 0, 0, 0, 0, 0, 0, 0, 252, 0], true, 252, &[]).0, [0, 0, 0, 8, 0, 0, 8, 0, 2, 0, 2, 0]);
    assert_eq!(command(&mut usb, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], true, 16, &[]).0[..4], [0, 0, 0, 8]);
    let (modes, ..) = command(&mut usb, &[0x1a, 0, 0x3f, 0, 192, 0], true, 192, &[]);
    assert_eq!((modes.len(), &modes[..7]), (24, &[23, 0, 0, 0, 8, 18, 4][..]));
    let (modes, ..) = command(&mut usb, &[0x5a, 0, 8, 0, 0, 0, 0, 0, 8, 0], true, 8, &[]);
    assert_eq!(modes, [0, 26, 0, 0, 0, 0, 0, 0]);
    assert_eq!(usb.control(5, [0xa1, 0xfe, 0, 0, 0, 0, 1, 0], &[]), Some(vec![0]));
    assert_eq!(command(&mut usb, &[0x99, 0, 0, 0, 0, 0], true, 0, &[]).1, 1);
    assert_eq!(sense(&mut usb), (5, 0x20, 0));
    assert_eq!(sense(&mut usb), (0, 0, 0));
}

#[test]
fn a_stick_is_read_and_written() {
    let mut usb = stick();
    let all = pattern(1 << 20);
    for (block, at, len) in [
        (&[0x08, 0, 0, 3, 2, 0][..], 3, 2),
        (&[0x28, 0, 0, 0, 1, 0, 0, 0, 32, 0], 256, 32),
        (&[0xa8, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0], 7, 1),
        (&[0x88, 0, 0, 0, 0, 0, 0, 0, 7, 0xff, 0, 0, 0, 1, 0, 0], 2047, 1),
    ] {
        let (data, status, residue) = command(&mut usb, block, true, len * 512, &[]);
        assert_eq!((status, residue), (0, 0));
        assert!(data == all[at * 512..(at + len as usize) * 512]);
    }
    for (block, at) in [
        (&[0x0a, 0, 0, 3, 2, 0][..], 3),
        (&[0x2a, 0, 0, 0, 1, 0, 0, 0, 2, 0], 256),
        (&[0xaa, 0, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0], 7),
        (&[0x8a, 0, 0, 0, 0, 0, 0, 0, 7, 0xfe, 0, 0, 0, 2, 0, 0], 2046),
    ] {
        assert_eq!(command(&mut usb, block, false, 1024, &[at as u8; 1024]).1, 0);
        assert_eq!(part(&mut usb).on_disk(at * 512, 1024), [at as u8; 1024]);
    }
    assert_eq!(command(&mut usb, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], false, 0, &[]).1, 0);
    assert_eq!(command(&mut usb, &[0x2f, 0, 0, 0, 0, 0, 0, 0, 9, 0], false, 0, &[]).1, 0);
    // Beyond the end.
    assert_eq!(command(&mut usb, &[0x28, 0, 0, 0, 7, 0xff, 0, 0, 2, 0], true, 1024, &[]), (vec![], 1, 1024));
    assert_eq!(sense(&mut usb), (5, 0x21, 0));
    assert_eq!(command(&mut usb, &[0x2a, 0, 0, 0, 8, 0, 0, 0, 1, 0], false, 512, &[1; 512]).1, 1);
}

#[test]
fn a_stick_answers_when_its_drive_has() {
    let mut usb = stick();
    part(&mut usb).answers_at_once = false;
    let mut wrapper = b"USBCtag!\0\x02\0\0\x80\0\x0a\x28\0\0\0\0\x05\0\0\x01\0".to_vec();
    wrapper.resize(31, 0);
    assert_eq!(usb.send(5, 2, 512, &wrapper), 0);
    assert_eq!(usb.receive(5, 1, 512, 512).0, crate::usb::ACTIVE);
    part(&mut usb).answer();
    usb.b.bench.hear();
    assert_eq!(usb.receive(5, 1, 512, 512), (0, pattern(6 * 512)[5 * 512..].to_vec()));
    assert_eq!(usb.receive(5, 1, 512, 13).1[12], 0);
    // A reset in the middle: the late answer is for nobody.
    assert_eq!(usb.send(5, 2, 512, &wrapper), 0);
    assert_eq!(usb.control(5, [0x21, 0xff, 0, 0, 0, 0, 0, 0], &[]), Some(vec![]));
    part(&mut usb).answer();
    part(&mut usb).answers_at_once = true;
    assert_eq!(command(&mut usb, &[0; 6], true, 0, &[]).1, 0);
}

#[test]
fn more_or_less_data_than_expected() {
    let mut usb = stick();
    // The host expects more than there is: a halt, and what is missing.
    let (data, status, residue) = command(&mut usb, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], true, 1536, &[]);
    assert_eq!((data.len(), status, residue), (512, 0, 1024));
    // Less, none, or the other direction: phase errors.
    assert_eq!(command(&mut usb, &[0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0], true, 512, &[]).1, 2);
    assert_eq!(command(&mut usb, &[0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0], true, 0, &[]).1, 2);
    assert_eq!(command(&mut usb, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], false, 512, &[0; 512]).1, 2);
    assert_eq!(command(&mut usb, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], true, 512, &[]).1, 2);
    assert_eq!(part(&mut usb).on_disk(0, 512), pattern(512));
    // What is no command wrapper: nothing but a reset helps.
    assert_eq!(usb.send(5, 2, 512, &[0x55; 31]), HALT);
    usb.control(5, [2, 1, 0, 0, 0x02, 0, 0, 0], &[]).unwrap();
    assert_eq!(usb.receive(5, 1, 512, 13).0, HALT);
    for request in [[0x21, 0xff, 0, 0, 0, 0, 0, 0], [2, 1, 0, 0, 0x81, 0, 0, 0], [2, 1, 0, 0, 0x02, 0, 0, 0]] {
        usb.control(5, request, &[]).unwrap();
    }
    assert_eq!(command(&mut usb, &[0; 6], true, 0, &[]).1, 0);
}

#[test]
fn a_stick_without_a_medium_or_with_a_protected_one() {
    let mut usb = stick();
    // Ejected by the host, and loaded again.
    assert_eq!(command(&mut usb, &[0x1b, 0, 0, 0, 2, 0], false, 0, &[]).1, 0);
    assert_eq!(command(&mut usb, &[0; 6], true, 0, &[]).1, 1);
    assert_eq!(sense(&mut usb), (2, 0x3a, 0));
    assert_eq!(command(&mut usb, &[0x1b, 0, 0, 0, 3, 0], false, 0, &[]).1, 0);
    assert_eq!(command(&mut usb, &[0; 6], true, 0, &[]).1, 0);
    part(&mut usb).eject();
    assert_eq!(command(&mut usb, &[0; 6], true, 0, &[]).1, 1);
    assert_eq!(sense(&mut usb), (6, 0x28, 0));
    assert_eq!(command(&mut usb, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], true, 8, &[]), (vec![], 1, 8));
    assert_eq!(sense(&mut usb), (2, 0x3a, 0));
    part(&mut usb).insert(vec![3; 4096], true);
    assert_eq!(sense(&mut usb), (6, 0x28, 0));
    assert_eq!(command(&mut usb, &[0x1a, 0, 0x3f, 0, 4, 0], true, 4, &[]).0[2], 0x80);
    assert_eq!(command(&mut usb, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], false, 512, &[0; 512]).1, 1);
    assert_eq!(sense(&mut usb), (7, 0x27, 0));
}

fn press(usb: &mut Usb, usage: u8, down: bool) {
    part(usb).event(InputEvent::Key { usage, down });
    usb.b.bench.hear();
}

#[test]
fn a_keyboard_reports_every_change() {
    let mut usb = plugged("usb-kbd");
    assert_eq!(usb.b.read(PORT) >> 26 & 3, 1, "low speed");
    let keys = |usb: &mut Usb, down: &[(u8, bool)]| {
        down.iter().for_each(|(usage, down)| press(usb, *usage, *down));
        (0..down.len()).map(|_| usb.receive(5, 1, 8, 8).1).collect::<Vec<_>>()
    };
    // All at once, and still one after the other.
    let reports = keys(&mut usb, &[(0xe1, true), (4, true), (4, false), (0xe1, false)]);
    assert_eq!(reports, [[2, 0, 0, 0, 0, 0, 0, 0], [2, 0, 4, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0, 0], [0; 8]]);
    // Nothing new.
    press(&mut usb, 4, false);
    assert_eq!(usb.receive(5, 1, 8, 8).0, crate::usb::ACTIVE);
    let reports = keys(&mut usb, &[(4, true), (5, true), (6, true), (7, true), (8, true), (9, true), (10, true)]);
    assert_eq!(reports[5], [0, 0, 4, 5, 6, 7, 8, 9]);
    assert_eq!(reports[6], [0, 0, 1, 1, 1, 1, 1, 1]);
    assert_eq!(usb.control(5, [0xa1, 1, 0, 1, 0, 0, 8, 0], &[]).unwrap(), reports[6]);
    assert_eq!(usb.control(5, [0x21, 9, 0, 2, 0, 0, 1, 0], &[5]), Some(vec![]));
    assert_eq!(part(&mut usb).save()["leds"], 5);
    assert_eq!(usb.control(5, [0x21, 10, 0, 4, 0, 0, 0, 0], &[]), Some(vec![]));
    assert_eq!(usb.control(5, [0xa1, 2, 0, 0, 0, 0, 1, 0], &[]), Some(vec![4]));
    assert_eq!(usb.control(5, [0xa1, 3, 0, 0, 0, 0, 1, 0], &[]), Some(vec![1]));
}

#[test]
fn pointers_report_where_they_are_or_how_they_moved() {
    let mut usb = plugged("usb-tablet");
    for event in [
        InputEvent::At { x: Some(1), y: Some(2) },
        InputEvent::At { x: Some(0x1234), y: Some(0xffff) },
        InputEvent::At { x: None, y: None },
        InputEvent::Button { button: Button::Right, down: true },
        InputEvent::Wheel { notches: -1 },
        InputEvent::Button { button: Button::Right, down: false },
    ] {
        part(&mut usb).event(event);
    }
    usb.b.bench.hear();
    // The first position was replaced.
    for report in
        [[0, 0x34, 0x12, 0xff, 0x7f, 0], [2, 0x34, 0x12, 0xff, 0x7f, 0], [2, 0x34, 0x12, 0xff, 0x7f, 255], [0, 0x34, 0x12, 0xff, 0x7f, 0]]
    {
        assert_eq!(usb.receive(5, 1, 8, 8), (0, report.to_vec()));
    }
    let mut usb = plugged("usb-mouse");
    for event in [
        InputEvent::Move { dx: 100, dy: -3 },
        InputEvent::Move { dx: 200, dy: -3 },
        InputEvent::Button { button: Button::Left, down: true },
        InputEvent::Wheel { notches: 2 },
        InputEvent::Move { dx: i32::MAX, dy: i32::MIN },
    ] {
        part(&mut usb).event(event);
    }
    usb.b.bench.hear();
    for report in [[0, 127, 250, 0], [0, 127, 0, 0], [0, 46, 0, 0], [1, 127, 129, 2]] {
        assert_eq!(usb.receive(5, 1, 4, 4), (0, report.to_vec()));
    }
}

fn port_status(usb: &mut Usb, port: u8) -> (u16, u16) {
    let bytes = usb.control(5, [0xa3, 0, 0, 0, port, 0, 4, 0], &[]).unwrap();
    (u16::from_le_bytes([bytes[0], bytes[1]]), u16::from_le_bytes([bytes[2], bytes[3]]))
}

#[test]
fn a_hub_has_parts_of_its_own() {
    let mut usb = plugged("usb-hub");
    let hub = part(&mut usb);
    hub.attach(0, 2, &kind("usb-kbd"), &[("serial".into(), Value::Text("2".into()))]);
    hub.attach(0, 3, &kind("usb-tablet"), &[("serial".into(), Value::Text("3".into()))]);
    assert_eq!(usb.control(5, [0xa0, 6, 0, 0x29, 0, 0, 15, 0], &[]).unwrap(), [9, 0x29, 4, 9, 0, 10, 0, 0, 0xff]);
    assert_eq!(port_status(&mut usb, 2), (0, 0));
    let feature = |usb: &mut Usb, request: u8, feature: u8, port: u8| usb.control(5, [0x23, request, feature, 0, port, 0, 0, 0], &[]);
    for port in 1..=4 {
        feature(&mut usb, 3, 8, port).unwrap();
    }
    assert_eq!(feature(&mut usb, 3, 8, 5), None);
    assert_eq!((port_status(&mut usb, 1), port_status(&mut usb, 2)), ((0x100, 0), (0x101, 1)));
    assert_eq!(usb.receive(5, 1, 2, 1), (0, vec![0b1100]));
    for (port, address, status) in [(2, 6, 0x303), (3, 7, 0x103)] {
        feature(&mut usb, 1, 16, port).unwrap();
        feature(&mut usb, 3, 4, port).unwrap();
        assert_eq!(port_status(&mut usb, port).0 & 0x12, 0x10);
        usb.b.bench.advance(20_000_000);
        assert_eq!(port_status(&mut usb, port), (status, 0x10));
        feature(&mut usb, 1, 20, port).unwrap();
        configure(&mut usb, address);
    }
    assert_eq!(usb.receive(5, 1, 2, 1).0, crate::usb::ACTIVE);
    // Both are there, and the hub hands hands on.
    for (address, serial) in [(6, b'2'), (7, b'3')] {
        assert_eq!(usb.control(address, [0x80, 6, 3, 3, 0, 0, 255, 0], &[]).unwrap(), [4, 3, serial, 0]);
    }
    part(&mut usb).part(0, 2).event(InputEvent::Key { usage: 9, down: true });
    part(&mut usb).hear();
    usb.b.bench.hear();
    assert_eq!(usb.receive(6, 1, 8, 8).1, [0, 0, 9, 0, 0, 0, 0, 0]);
    // Suspended, and woken by its key.
    feature(&mut usb, 3, 2, 2).unwrap();
    assert_eq!(usb.control(6, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]), None);
    part(&mut usb).part(0, 2).event(InputEvent::Key { usage: 9, down: false });
    part(&mut usb).hear();
    usb.b.bench.advance(30_000_000);
    assert_eq!(port_status(&mut usb, 2), (0x303, 4));
    assert_eq!(usb.control(6, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]), Some(vec![1]));
    // Disabled.
    feature(&mut usb, 1, 1, 3).unwrap();
    assert_eq!(usb.control(7, [0x80, 8, 0, 0, 0, 0, 1, 0], &[]), None);
}

/// Whatever a host sends: nothing panics, and a reset of the port helps.
#[test]
fn random_transfers_do_no_harm() {
    let mut seed = 1u64;
    let mut random = move |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    for name in ["usb-storage", "usb-kbd", "usb-tablet", "usb-mouse", "usb-hub-8"] {
        let mut usb = plugged(name);
        if name == "usb-storage" {
            part(&mut usb).insert(vec![1; 1 << 16], false);
        }
        for _ in 0..300 {
            let bytes: Vec<u8> = (0..random(40)).map(|_| [0, 1, 0x80, 0xff, random(256) as u8][random(5) as usize]).collect();
            match random(4) {
                0 => {
                    let mut request = [0; 8];
                    request.fill_with(|| [0, 1, 2, 0x80, 0xa0, random(48) as u8][random(6) as usize]);
                    request[7] &= 1;
                    usb.control(5, request, &bytes);
                }
                1 => {
                    let mut wrapper = b"USBC0000".to_vec();
                    let codes = [0x28, 0x2a, 0x12, 0x1a, 0x5a, 0x25, 0x9e, 0x23, 0x88, 0x8a, 0xa8, 0x03, random(256) as u8];
                    wrapper.extend([random(256) as u8, random(8) as u8, 0, 0, (random(2) << 7) as u8, 0, 16, codes[random(13) as usize]]);
                    wrapper.extend((0..15).map(|_| [0, 0, 0, 1, random(256) as u8][random(5) as usize]));
                    usb.send(5, 2, 512, &wrapper);
                }
                2 => _ = usb.send(5, random(3) as u8 + 1, 64, &bytes),
                _ => _ = usb.receive(5, random(3) as u8 + 1, 64, random(0x3000) as u32),
            }
        }
        usb.reset_port();
        configure(&mut usb, 5);
    }
}

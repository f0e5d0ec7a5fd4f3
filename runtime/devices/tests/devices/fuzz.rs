//! Guests and snapshot files may hold anything: nothing they do panics a device.
//!
//! A short run by default; `EMU_FUZZ_SECONDS=3600 cargo test --release -p emu-devices --test devices fuzz -- --nocapture` for a long one. A failure names
//! its seed, and `EMU_FUZZ_SEED` begins with it.

use crate::bench::{Bench, device, kind};
use crate::wire::wired;
use emu_machine::device::{Cx, Device};
use emu_machine::input::InputEvent;
use emu_machine::parts::{PartBus, UsbToken};
use emu_machine::schema::{self, DeviceType, Network, PropKind};
use emu_machine::testing::{TestBench, default_count};
use serde_json::Value;
use std::time::{Duration, Instant};

/// xorshift64*: seeds that can be named, no more.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n.max(1)
    }

    /// Numbers that break things: small, all ones, single bits, keys, anything.
    fn value(&mut self) -> u64 {
        match self.below(9) {
            0 => 0,
            1 => self.below(16),
            2 => u64::MAX,
            3 => 1 << self.below(64),
            // Where a bench has memory.
            5 => self.below(0x1_0000) & !7,
            4 => [0xdf0d, 0x757b_df0d, 0x1999, 0xabc << 12 | 7, 0x248 << 14 | 3, 0x1234_5678, 0x8765_4321][self.below(7) as usize],
            _ => self.next(),
        }
    }
}

/// A CAN frame, mostly with a length and flags that there are.
fn can_frame(r: &mut Random) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..16).map(|_| r.value() as u8).collect();
    (frame[3], frame[4]) = (frame[3] & 0xdf, r.below(10) as u8);
    frame
}

/// Something that came over a wire: headers of all kinds, and lengths that do not fit them.
fn frame(r: &mut Random) -> Vec<u8> {
    let len = match r.below(4) {
        0 => r.below(64),
        1 => r.below(12_000),
        _ => r.below(1600),
    };
    let mut frame: Vec<u8> = (0..len).map(|_| r.value() as u8).collect();
    let starts: [&[u8]; 4] = [&[0xff; 6], &[0x52, 0x54, 0, 0x12, 0x34, 0x56], &[1, 0x80, 0xc2, 0, 0, 1], &[]];
    let heads: [&[u8]; 6] = [
        &[8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6],
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 17, 64],
        &[0x81, 0, 0, 1, 8, 0, 0x4f],
        &[0, 40, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45],
        &[0x88, 8, 0, 1, 0, 3],
        &[0x88, 0xf7, 0],
    ];
    let (start, head) = (starts[r.below(4) as usize], heads[r.below(6) as usize]);
    for (at, part) in [(0, start), (12, head)] {
        if let Some(to) = frame.get_mut(at..at + part.len()) {
            to.copy_from_slice(part);
        }
    }
    frame
}

/// Words in memory that may be descriptors: addresses that are there, lengths, flags at both ends.
fn descriptors(b: &mut Bench, r: &mut Random) {
    let words = b.bench.memory().len() as u64 / 4;
    let at = r.below(words);
    for i in 0..r.below(64) {
        let word = match r.below(4) {
            0 => r.value() as u32,
            1 => r.below(words * 4) as u32,
            _ => (r.below(8) << 29 | r.below(4) << 15 | r.below(1600)) as u32,
        };
        let at = ((at + i) % words * 4) as usize;
        b.bench.memory()[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
}

/// Something that happens to a part of the device's: a line, another image, slow answers.
fn part(b: &mut Bench, r: &mut Random) {
    let parts = b.bench.parts();
    let (slot, at) = parts[r.below(parts.len() as u64) as usize];
    let bench = b.bench.part(slot, at);
    match r.below(5) {
        4 => {
            bench.frame(&frame(r));
            b.bench.hear();
        }
        0 => bench.set_input(r.below(3) as usize, 0, r.below(2) == 1),
        1 => match r.below(4) {
            0 => bench.eject(),
            n => bench.insert(vec![n as u8; [100, 1 << 16, 1 << 20][r.below(3) as usize]], r.below(4) == 0),
        },
        2 => bench.answers_at_once = r.below(3) != 0,
        _ => bench.answer(),
    }
}

/// Descriptors of an AXI DMA somewhere, in rings or not, and a channel that begins with one of them.
fn axi_ring(b: &mut Bench, r: &mut Random) {
    b.bench.parts().iter().for_each(|(slot, at)| drop(b.bench.part(*slot, *at).transmitted()));
    let places: Vec<u32> = (0..1 + r.below(4)).map(|_| r.below(1024) as u32 * 64).collect();
    let pick = |r: &mut Random| places[r.below(places.len() as u64) as usize];
    for at in &places {
        let control = (r.below(4) << 26 | r.below(0x2000)) as u32;
        let words = [pick(r), 0, r.below(0x1_1000) as u32, 0, 0, 0, control, ((r.below(8) / 7) << 31) as u32];
        b.poke(*at, &words);
    }
    let channel = r.below(2) * 0x30;
    b.write(channel, if r.below(4) == 0 { 4 } else { 0 });
    b.write(channel + 8, pick(r));
    b.write(channel, (r.below(4) << 24 | r.below(3) << 16 | 0x7001 | r.below(2) << 4) as u32);
    b.write(channel + 0x10, pick(r));
}

/// Something on a pair of streams.
fn stream(device: &mut dyn Device, r: &mut Random, cx: &mut Cx<'_>) {
    let Some(part) = device.stream() else { return };
    if r.below(2) == 0 {
        let mut buffer = vec![0; r.below(5000) as usize];
        let (n, _) = part.pull(&mut buffer, cx);
        assert!(n <= buffer.len());
    } else {
        let words = (r.below(2) == 0).then(|| std::array::from_fn(|_| r.value() as u32));
        let bytes = frame(r);
        assert!(part.push(&bytes, words, r.below(2) == 0, cx) <= bytes.len());
    }
}

/// Commands of a serial flash in a row, as single random accesses hardly ever make one.
fn flash_command(b: &mut Bench, r: &mut Random) {
    let opcodes =
        [0x06, 0x06, 0x02, 0x20, 0xd8, 0xc7, 0x01, 0x9f, 0x5a, 0xeb, 0xbb, 0x6b, 0x0b, 0xad, 0x61, 0x81, 0xc5, 0xb7, 0x17, 0x66, 0x99];
    let opcode = if r.below(4) == 0 { r.next() as u8 } else { opcodes[r.below(opcodes.len() as u64) as usize] };
    let out: Vec<u8> = std::iter::once(opcode).chain((0..r.below(12)).map(|_| r.value() as u8)).collect();
    b.write(0, 1);
    out.into_iter().chain((0..r.below(20)).map(|_| 0)).for_each(|byte| b.write(4, byte.into()));
    b.write(0, 0);
}

/// Commands of NAND and NOR flash in a row.
fn parallel_command(b: &mut Bench, r: &mut Random) {
    let pick = |r: &mut Random, of: &[u64]| of[r.below(of.len() as u64) as usize];
    if r.below(2) == 0 {
        let first = pick(r, &[0x80, 0x00, 0x60, 0x90, 0xec, 0xef, 0x05]);
        let (second, cycles) = match first {
            0x80 => (0x10, 5),
            0x00 => (0x30, 5),
            0x60 => (0xd0, 3),
            0x05 => (0xe0, 2),
            _ => (0, 1),
        };
        let at = cycles << 21 | u64::from(first != 0x80) << 20 | second << 11 | first << 3;
        _ = b.try_write(1, at, 4, r.value() & 0xffff_ffff, 0);
        _ = b.try_write(1, at, 4, r.below(4), 0);
        (0..r.below(20)).for_each(|_| _ = b.try_write(1, 1 << 19, 4, r.value() & 0xffff_ffff, 0));
        (0..r.below(20)).for_each(|_| _ = b.try_read(1, 1 << 19 | r.below(2) << 10, 4, 0));
        _ = b.try_write(1, 1 << 19 | 1 << 20 | second << 11, 4, 0, 0);
    } else {
        let region = 2 + r.below(2) as usize;
        for _ in 0..r.below(12) {
            let at = pick(r, &[0xaaa, 0x555, 0xaa, 0, 0x20000, 0x1ff_fffe]);
            let commands =
                [0x40, 0x20, 0xd0, 0xe8, 0x70, 0x90, 0x98, 0xff, 0xaa, 0x55, 0xa0, 0x80, 0x30, 0x25, 0x29, 0xf0, 0x60, 1, 3, 0x10];
            _ = b.try_write(region, at, 1, pick(r, &commands), 0);
            _ = b.try_read(region, r.below(0x80), 1, 0);
        }
    }
}

/// Commands of an SD card or an eMMC in a row, identified or not, with data by port, SDMA or ADMA2.
fn card_command(b: &mut Bench, r: &mut Random) {
    let mut issue = |index: u64, argument: u64, flags: u64| {
        _ = b.try_write(0, 0x08, 4, argument & 0xffff_ffff, 0);
        _ = b.try_write(0, 0x0c, 4, index << 24 | flags, 0);
    };
    if r.below(8) == 0 {
        for (index, argument) in
            [(0, 0), (8, 0x1aa), (55, 0), (41, 0x40ff_8000), (1, 0x40ff_8000), (2, 0), (3, 0x1234_0000), (7, 0x1234_0000)]
        {
            issue(index, argument, 2 << 16);
        }
    }
    let indices = [6, 8, 12, 13, 17, 18, 23, 24, 25, 32, 33, 35, 36, 38, 55, 5, 7, 16, 27, 28];
    let index = if r.below(4) == 0 { r.below(64) } else { indices[r.below(20) as usize] };
    let argument = [0x1234_0000, r.below(2048) * 512, r.below(4), r.value(), 3 << 24 | r.value() & 0xff_ff00][r.below(5) as usize];
    issue(index, argument, r.below(2) << 21 | 2 << 16 | r.below(64));
    let settings = [
        (0x00, r.below(0x1_0000)),
        (0x04, r.below(40) << 16 | r.below(8) << 12 | 512),
        (0x28, r.below(4) << 16 | r.below(4) << 3),
        (0x2c, 5),
        (0x34, u64::from(u32::MAX)),
        (0x58, r.below(0x1_0000)),
    ];
    let (offset, value) = settings[r.below(6) as usize];
    _ = b.try_write(0, offset, 4, value, 0);
    (0..r.below(140)).for_each(|i| _ = if i % 2 == 0 { b.try_read(0, 0x20, 4, 0).is_ok() } else { b.try_write(0, 0x20, 4, i, 0).is_ok() });
}

/// One of the ways its properties make it.
fn given(kind: &DeviceType, seed: u64) -> Vec<(String, schema::Value)> {
    let choice = |p: &schema::PropSpec| match p.kind {
        PropKind::Choice(names) => Some((p.name.to_string(), schema::Value::Text(names[seed as usize % names.len()].to_string()))),
        _ => None,
    };
    kind.props.iter().filter_map(choice).collect()
}

/// A device of this type, with parts in its slots; a part on a bus of its own.
fn subject(name: &str, seed: u64, hz: u64) -> Bench {
    let part = kind(name).part;
    if part == Some(PartBus::Spi) {
        return wired(name, &[]).0;
    }
    if let Some(PartBus::Nand | PartBus::Nor) = part {
        let mut b = device("arm,pl353-smc", hz);
        b.bench.attach(usize::from(part == Some(PartBus::Nor)), 0, &kind(name), &given(&kind(name), seed));
        return b;
    }
    let kind = kind(name);
    let mut b = Bench { bench: TestBench::with(&kind, hz, &given(&kind, seed)), kind };
    let all = emu_devices::registry();
    for (n, slot) in b.kind.slots.iter().enumerate() {
        let fitting: Vec<_> = all.iter().filter(|k| k.part == Some(slot.bus)).collect();
        for at in slot.first..=slot.last.min(slot.first + 1) {
            if let Some(kind) = fitting.get((seed + u64::from(at)) as usize % fitting.len().max(1)) {
                b.bench.attach(n, at, kind, &given(kind, seed));
            }
        }
    }
    b
}

/// The bench of what is tested: of the part, if it is one.
fn tested<'b>(b: &'b mut Bench, name: &str) -> &'b mut TestBench {
    if b.kind.name == name { &mut b.bench } else { b.bench.part(usize::from(kind(name).part == Some(PartBus::Nor)), 0) }
}

/// One random thing a guest, a wire, a clock or time can do.
fn step(b: &mut Bench, r: &mut Random) {
    let cpu = r.below(3) as u8;
    match r.below(16) {
        // A ring without an end goes on for ever, and the bench keeps all frames.
        0 => b.bench.advance(match r.below(if b.kind.name == "xlnx,axi-dma" { 2 } else { 4 }) {
            0 => r.below(100),
            1 => r.below(1_000_000),
            2 => r.below(1_000_000_000),
            _ => r.below(1 << 44),
        }),
        1 if !b.kind.inputs.is_empty() => {
            let port = r.below(b.kind.inputs.len() as u64);
            let spec = b.kind.inputs[port as usize];
            let count = default_count(&b.kind, spec.count) * if spec.per_cpu { 2 } else { 1 };
            let (index, level) = (r.below(count) as u32, r.below(2) == 1);
            b.bench.set_input(port as usize, index, level);
        }
        2 if !b.kind.chardevs.is_empty() => {
            let bytes: Vec<u8> = (0..r.below(100)).map(|i| i as u8).collect();
            b.bench.input(&bytes);
        }
        3 if r.below(50) == 0 => b.bench.reset(),
        4 if !b.kind.drives.is_empty() && r.below(8) == 0 => match r.below(4) {
            0 => b.bench.eject(),
            n => b.bench.insert(vec![n as u8; [100, 1 << 16, 1 << 20][r.below(3) as usize]], r.below(4) == 0),
        },
        5 if !b.kind.drives.is_empty() => b.bench.answers_at_once = r.below(3) != 0,
        6 if !b.kind.nics.is_empty() => match r.below(8) {
            0 => b.bench.set_link(r.below(4) != 0),
            _ => {
                let can = b.kind.network == Network::Can && r.below(4) != 0;
                let frame = if can { can_frame(r) } else { frame(r) };
                b.bench.frame(&frame);
            }
        },
        7 if b.kind.dma => descriptors(b, r),
        7 if b.kind.part == Some(PartBus::Usb) => b.bench.event(InputEvent::Key { usage: r.next() as u8, down: r.below(2) == 0 }),
        8..=13 if b.kind.part == Some(PartBus::Usb) => b.bench.with_device(|d, cx| usb(d, r, cx)),
        8..=13 if b.kind.part == Some(PartBus::I2c) => b.bench.with_device(|d, cx| i2c(d, r, cx)),
        8..=10 if b.kind.part == Some(PartBus::Stream) => b.bench.with_device(|d, cx| stream(d, r, cx)),
        8 if !b.bench.parts().is_empty() => part(b, r),
        9..11 if b.kind.name == "xlnx,axi-dma" => axi_ring(b, r),
        9..14 if b.kind.name == "test,wire" => flash_command(b, r),
        9..14 if b.kind.name == "arm,pl353-smc" => parallel_command(b, r),
        9..14 if b.kind.name == "arasan,sdhci-8.9a" => card_command(b, r),
        _ => {
            let region = r.below(b.kind.regions.len() as u64) as usize;
            let size = 1u8 << r.below(4);
            // What has no region has registers for the monitor.
            let end = b.kind.regions.get(region).map_or(0x20, |spec| default_count(&b.kind, spec.size));
            // Mostly where registers are: low offsets, aligned.
            let mut offset = if r.below(2) == 0 { r.below(end.min(0x100)) } else { r.below(end) };
            if r.below(8) != 0 {
                offset &= !(u64::from(size) - 1);
            }
            if r.below(2) == 0 {
                if let Ok(v) = b.try_read(region, offset, size, cpu) {
                    assert!(size == 8 || v >> (8 * u32::from(size)) == 0, "a value wider than the access");
                }
            } else {
                let value = r.value() & if size == 8 { u64::MAX } else { (1 << (8 * size)) - 1 };
                let _ = b.try_write(region, offset, size, value, cpu);
            }
        }
    }
}

/// Something on an I2C bus, in order or not.
fn i2c(device: &mut dyn Device, r: &mut Random, cx: &mut Cx<'_>) {
    let Some(part) = device.i2c() else { return };
    match r.below(8) {
        0 => _ = part.start(0x50, if r.below(4) == 0 { r.below(128) as u8 } else { 0x50 }, r.below(2) == 0, cx),
        1 => part.stop(cx),
        2 => part.acknowledged(r.below(2) == 0, cx),
        3 | 4 => _ = part.read(cx),
        _ => _ = part.write(r.value() as u8, cx),
    }
}

/// A transaction on a USB, of a host that may be mad.
fn usb(device: &mut dyn Device, r: &mut Random, cx: &mut Cx<'_>) {
    let Some(part) = device.usb() else { return };
    let endpoint = r.below(3) as u8;
    let bytes: Vec<u8> = (0..r.below(600)).map(|_| r.value() as u8).collect();
    let mut request = [0; 8];
    request.fill_with(|| r.value() as u8);
    match r.below(60) {
        0 => part.reset(cx),
        1..=10 => _ = part.transact(0, 0, UsbToken::Setup([0, 9, 1, 0, 0, 0, 0, 0]), cx),
        11..=20 => _ = part.transact(0, 0, UsbToken::Setup(request), cx),
        21..=40 => _ = part.transact(0, endpoint, UsbToken::Out(&bytes), cx),
        _ => _ = part.transact(0, endpoint, UsbToken::In(r.below(1 << 15) as usize), cx),
    }
}

/// Changes a number somewhere in a snapshot.
fn damage(v: &mut Value, r: &mut Random) {
    match v {
        Value::Array(a) if !a.is_empty() => {
            let i = r.below(a.len() as u64) as usize;
            match r.below(20) {
                0 => drop(a.remove(i)),
                1 => a.push(a[i].clone()),
                _ => damage(&mut a[i], r),
            }
        }
        Value::Object(o) if !o.is_empty() => {
            let i = r.below(o.len() as u64) as usize;
            if let Some((_, inner)) = o.iter_mut().nth(i) {
                damage(inner, r);
            }
        }
        Value::Number(_) => *v = r.value().into(),
        Value::Bool(b) => *b = !*b,
        other => *other = Value::Null,
    }
}

fn hertz(r: &mut Random) -> u64 {
    [1, 1_000_000, 333_333_333, 5_000_000_000][r.below(4) as usize]
}

fn run(name: &str, seed: u64, steps: u32) {
    let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let hz = hertz(&mut r);
    let mut b = subject(name, seed, hz);
    for _ in 0..steps {
        step(&mut b, &mut r);
    }
    // What was saved comes back the same, through text.
    let saved = tested(&mut b, name).save();
    let text = serde_json::to_string(&saved).unwrap();
    let parsed: Value = serde_json::from_str(&text).unwrap();
    let mut copy = subject(name, seed, hz);
    tested(&mut copy, name).load(&parsed).unwrap();
    assert_eq!(tested(&mut copy, name).save(), saved);
    // A damaged snapshot is refused, changing nothing, or lived with.
    for _ in 0..4 {
        let mut bad = saved.clone();
        damage(&mut bad, &mut r);
        let before = tested(&mut copy, name).save();
        if tested(&mut copy, name).load(&bad).is_err() {
            assert_eq!(tested(&mut copy, name).save(), before, "a refused snapshot changed the device");
        }
        for _ in 0..50 {
            step(&mut copy, &mut r);
        }
    }
}

/// Processor time of this thread: a busy host is no hang.
fn spent() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

#[test]
fn fuzz() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    let first = number("EMU_FUZZ_SEED").unwrap_or(0);
    let end = number("EMU_FUZZ_SECONDS").map(|s| Instant::now() + Duration::from_secs(s));
    let kinds = emu_devices::registry();
    let mut seed = first;
    while end.map_or(seed < first + 20, |end| Instant::now() < end) {
        for kind in &kinds {
            let (name, begun) = (kind.name, spent());
            let result = std::panic::catch_unwind(|| run(name, seed, 400));
            assert!(result.is_ok(), "{name}, seed {seed}");
            assert!(spent() - begun < Duration::from_secs(60), "{name}, seed {seed}: a guest can hang it");
        }
        seed += 1;
    }
    println!("{} types, seeds {first} to {}", kinds.len(), seed - 1);
}

#[test]
fn types_are_described() {
    let all = emu_devices::registry();
    for kind in &all {
        assert_eq!(all.iter().filter(|k| k.name == kind.name).count(), 1, "{}", kind.name);
        assert!(!kind.doc.is_empty(), "{}", kind.name);
        // Without regions, they are the monitor's.
        for reg in kind.registers.iter().filter(|_| !kind.regions.is_empty()) {
            let size = kind.regions.get(reg.region).map_or(0, |r| default_count(kind, r.size));
            assert!(reg.offset < size, "{}.{} lies outside its region", kind.name, reg.name);
        }
    }
}

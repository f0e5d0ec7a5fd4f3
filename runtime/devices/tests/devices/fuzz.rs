//! Guests and snapshot files may hold anything: nothing they do panics a device.
//!
//! A short run by default; `EMU_FUZZ_SECONDS=600 cargo test -p emu-devices fuzz` for a long one. A failure names its seed.

use crate::bench::{Bench, device};
use emu_machine::testing::default_count;
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
        match self.below(8) {
            0 => 0,
            1 => self.below(16),
            2 => u64::MAX,
            3 => 1 << self.below(64),
            4 => [0xdf0d, 0x757b_df0d, 0x1999, 0xabc << 12 | 7, 0x248 << 14 | 3, 0x1234_5678, 0x8765_4321][self.below(7) as usize],
            _ => self.next(),
        }
    }
}

/// One random thing a guest, a wire, a clock or time can do.
fn step(b: &mut Bench, r: &mut Random) {
    let cpu = r.below(3) as u8;
    match r.below(16) {
        0 => b.bench.advance(match r.below(4) {
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
        _ => {
            let region = r.below(b.kind.regions.len() as u64) as usize;
            let size = 1u8 << r.below(4);
            let end = default_count(&b.kind, b.kind.regions[region].size);
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
    let mut b = device(name, hz);
    for _ in 0..steps {
        step(&mut b, &mut r);
    }
    // What was saved comes back the same, through text.
    let saved = b.bench.save();
    let text = serde_json::to_string(&saved).unwrap();
    let parsed: Value = serde_json::from_str(&text).unwrap();
    let mut copy = device(name, hz);
    copy.bench.load(&parsed).unwrap();
    assert_eq!(copy.bench.save(), saved);
    // A damaged snapshot is refused, changing nothing, or lived with.
    for _ in 0..4 {
        let mut bad = saved.clone();
        damage(&mut bad, &mut r);
        let before = copy.bench.save();
        if copy.bench.load(&bad).is_err() {
            assert_eq!(copy.bench.save(), before, "a refused snapshot changed the device");
        }
        for _ in 0..50 {
            step(&mut copy, &mut r);
        }
    }
}

#[test]
fn fuzz() {
    let seconds = std::env::var("EMU_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok());
    let end = seconds.map(|s| Instant::now() + Duration::from_secs(s));
    let mut seed = 0;
    loop {
        for kind in emu_devices::registry() {
            let name = kind.name;
            let result = std::panic::catch_unwind(|| run(name, seed, 400));
            assert!(result.is_ok(), "{name}, seed {seed}");
        }
        seed += 1;
        if end.map_or(seed >= 20, |end| Instant::now() > end) {
            break;
        }
    }
}

#[test]
fn types_are_described() {
    let all = emu_devices::registry();
    for kind in &all {
        assert_eq!(all.iter().filter(|k| k.name == kind.name).count(), 1, "{}", kind.name);
        assert!(!kind.doc.is_empty() && !kind.regions.is_empty(), "{}", kind.name);
        for reg in kind.registers {
            let size = kind.regions.get(reg.region).map_or(0, |r| default_count(kind, r.size));
            assert!(reg.offset < size, "{}.{} lies outside its region", kind.name, reg.name);
        }
    }
}

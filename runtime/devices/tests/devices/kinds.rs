//! What the generated code of a register map does, for each access kind.

use crate::bench::Bench;
use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, Props, RegionSpec};
use emu_machine::testing::TestBench;
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};

#[allow(missing_docs, clippy::all)]
mod regs {
    include!(concat!(env!("OUT_DIR"), "/kinds.rs"));
}

#[derive(Default)]
struct Kinds {
    regs: Regs,
    started: u32,
    last: Option<(usize, u32, u32)>,
}

impl Hooks for Kinds {
    fn regs(&mut self) -> &mut Regs {
        &mut self.regs
    }
    fn go(&mut self, _: u32, value: u32, _: &mut Cx<'_>) {
        self.started += value & Regs::GO_START;
    }
    fn element_written(&mut self, index: usize, old: u32, value: u32, _: &mut Cx<'_>) {
        self.last = Some((index, old, value));
    }
    fn computed(&mut self, _: &mut Cx<'_>) -> u32 {
        let last = self.last.unwrap_or_default();
        self.started << 24 | (last.0 as u32) << 16 | last.1 << 8 | last.2
    }
}

impl Device for Kinds {
    fn reset(&mut self, _: &mut Cx<'_>) {
        *self = Kinds::default();
    }
    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }
    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

fn create(_: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Kinds::default()))
}

const KIND: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    ..DeviceType::new("test,kinds", "One register of each kind", create)
};

fn kinds() -> Bench {
    Bench { bench: TestBench::new(&KIND, 0), kind: KIND }
}

/// What a register holds after `value` was written.
fn after(offset: u64, value: u32) -> u32 {
    let mut k = kinds();
    k.write(offset, value);
    k.read(offset)
}

#[test]
fn access_kinds() {
    assert_eq!(after(Regs::RW, u32::MAX), 0x8000_00ff, "reserved bits stay");
    assert_eq!(after(Regs::RO, 9), 5);
    assert_eq!(after(Regs::WO, 9), 0);
    assert_eq!(after(Regs::W1C, 0x0f), 0xf0);
    assert_eq!(after(Regs::W0C, 0x0f), 0x0f);
    assert_eq!(after(Regs::W1S, 0x0f), 0x0f);
    assert_eq!(after(Regs::FIXED, 9), 0x1234);
    assert_eq!(after(Regs::GO, 7), 6);
    let mut k = kinds();
    assert_eq!((k.read(Regs::RC), k.read(Regs::RC)), (0xffff, 0));
    assert_eq!((k.read(Regs::RS), k.read(Regs::RS)), (0, u32::MAX));
    k.write(Regs::SET, 0x55);
    k.write(Regs::CLEAR, 0x11);
    assert_eq!(k.read(Regs::MASK), 0x44);
}

#[test]
fn byte_lanes() {
    let mut k = kinds();
    k.try_write(0, Regs::RW + 3, 1, 0x80, 0).unwrap();
    assert_eq!(k.read(Regs::RW), 0x8000_0011);
    assert_eq!(k.try_read(0, Regs::RW + 3, 1, 0).unwrap(), 0x80);
    k.try_write(0, Regs::W1C, 1, 0x03, 0).unwrap();
    assert_eq!(k.try_read(0, Regs::W1C, 2, 0).unwrap(), 0xfc);
    k.try_write(0, Regs::W0C + 2, 2, 0, 0).unwrap();
    assert_eq!(k.read(Regs::W0C), 0xff, "other lanes are not written with zeros");
    assert_eq!(k.try_read(0, Regs::RC, 1, 0).unwrap(), 0xff);
    assert_eq!(k.read(Regs::RC), 0xff00, "only what was read is cleared");
    assert!(k.try_read(0, Regs::RW, 8, 0).is_err());
    assert!(k.try_read(0, Regs::RW + 3, 2, 0).is_err());
}

#[test]
fn arrays_hooks_and_locks() {
    let mut k = kinds();
    k.write(Regs::ARRAY + 16, 9);
    assert_eq!((k.read(Regs::ARRAY), k.read(Regs::ARRAY + 8), k.read(Regs::ARRAY + 16)), (7, 7, 9));
    k.write(Regs::GO, 1);
    assert_eq!(k.read(Regs::BETWEEN), 1 << 24 | 2 << 16 | 7 << 8 | 9);
    assert_eq!((Regs::name(Regs::ARRAY + 8), Regs::name(0x48 + 3), Regs::name(0xf0)), ("ARRAY", "ARRAY", "?"));
    k.write(Regs::LOCK, 1);
    k.write(Regs::RW, 0);
    assert_eq!(k.read(Regs::RW), 0x11);
    k.write(Regs::LOCK, 0);
    k.write(Regs::RW, 0);
    assert_eq!(k.read(Regs::RW), 0);
    k.read(0xf0);
    assert!(k.bench.log().iter().any(|l| l.contains("0xf0")), "{:?}", k.bench.log());
}

#[test]
fn described() {
    let rw = Regs::MAP.iter().find(|r| r.name == "RW").unwrap();
    assert_eq!((rw.offset, rw.reset, rw.fields), (0, 0x11, &[("LOW", 0, 8, "rw"), ("TOP", 31, 1, "rw")][..]));
    let regs = Regs { rw: 0x8000_0042, ..Regs::default() };
    assert_eq!((regs.rw_low(), regs.rw_top()), (0x42, true));
}

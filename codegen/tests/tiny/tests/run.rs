//! From text to execution: programs of the test machine run on the interpreter.

use emu_codegen_tiny::generated::tests::TESTS;
use emu_codegen_tiny::generated::{Externs, Tiny, code_bytes, exception, feature, state};
use emu_ir::guest::*;
use emu_ir::interp::{Engine, Stop};
use emu_memory::*;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The hand-written part: a flat address space.
struct Flat;

impl Externs for Flat {
    fn twice(&self, cx: &mut HelperCx<'_>, x: u32) -> u32 {
        let odd = state::odd(cx.state);
        state::set_odd(cx.state, odd + 1);
        x.wrapping_mul(2)
    }
    fn check(&self, _cx: &mut HelperCx<'_>, x: u32) -> Result<(), Exception> {
        if x == 13 { Err(exception::fault(x, 77)) } else { Ok(()) }
    }
    fn translate_address(&self, _cx: &mut HelperCx<'_>, va: u64, kind: AccessKind, mmu: u8) -> Result<Translation, Exception> {
        if va >= 0x8_0000 || mmu == 1 && kind == AccessKind::Write && va < 0x1000 {
            return Err(exception::fault(va as u32, 1));
        }
        Ok(Translation { phys: GuestPhys(va), page_shift: 12, read: true, write: true, execute: true, global: true })
    }
    fn alignment_fault(&self, _cx: &mut HelperCx<'_>, va: u64, _kind: AccessKind, _: u16) -> Exception {
        exception::fault(va as u32, 2)
    }
    fn bus_fault(&self, _cx: &mut HelperCx<'_>, va: u64, _kind: AccessKind) -> Exception {
        exception::fault(va as u32, 3)
    }
    fn space_tag(&self, _state: &[u64]) -> u32 {
        0
    }
    fn reset(&self, cells: &mut [u64]) {
        state::set_FX(cells, 0);
    }
}

/// 1 MiB of RAM.
struct Bus {
    ram: Arc<RamBlock>,
    attention: Arc<AtomicU32>,
    levels: Cell<u64>,
    limit: Cell<u64>,
}

impl Bus {
    fn new() -> Bus {
        let ram = RamBlock::new("ram", 1 << 20).unwrap();
        Bus { ram, attention: Arc::default(), levels: Cell::new(0), limit: Cell::new(1) }
    }
}

impl PhysBus for Bus {
    fn read(&self, at: GuestPhys, size: u8, _access: Access) -> Result<u64, BusError> {
        self.ram.read(at.0, size).ok_or(BusError::Decode)
    }
    fn write(&self, at: GuestPhys, size: u8, value: u64, _access: Access) -> Result<(), BusError> {
        if self.ram.write(at.0, size, value) { Ok(()) } else { Err(BusError::Decode) }
    }
    fn ram(&self, at: GuestPhys, _access: Access) -> Option<RamSlice> {
        (at.0 < self.ram.size()).then(|| RamSlice { block: self.ram.clone(), offset: at.0, len: self.ram.size() - at.0, writable: true })
    }
    fn map_version(&self) -> u64 {
        1
    }
}

impl GuestBus for Bus {
    fn attention(&self) -> &Arc<AtomicU32> {
        &self.attention
    }
    fn levels(&self) -> u64 {
        self.levels.get()
    }
    fn set_output(&self, _port: usize, _index: u32, _level: bool) {}
    fn publish(&self, _pc: u64, _executed: u64) {}
    fn limit(&self) -> u64 {
        self.limit.get()
    }
    fn now(&self) -> u64 {
        0
    }
    fn send_event(&self) {}
}

/// A machine with code at 0x1000.
struct Machine {
    engine: Engine<Tiny<Flat>>,
    bus: Bus,
}

impl Machine {
    fn model(name: &str) -> Machine {
        let isa = Tiny::model(name, Flat).unwrap();
        let mut engine = Engine::new(Arc::new(isa), 0);
        Tiny::model(name, Flat).unwrap().reset(engine.state_mut());
        Machine { engine, bus: Bus::new() }
    }
    fn new(code: &[u32]) -> Machine {
        let machine = Machine::model("full");
        for (i, word) in code.iter().enumerate() {
            assert!(machine.bus.ram.write(0x1000 + 4 * i as u64, 4, (*word).into()));
        }
        machine
    }
    fn compact(halves: &[u16]) -> Machine {
        let mut machine = Machine::model("full");
        for (i, half) in halves.iter().enumerate() {
            assert!(machine.bus.ram.write(0x1000 + 2 * i as u64, 2, (*half).into()));
        }
        state::set_wide(machine.engine.state_mut(), true);
        machine
    }
    /// All at once, and one by one: both must agree.
    fn run(&mut self, insns: u64) -> &mut Machine {
        self.bus.limit.set(insns);
        assert_eq!(self.engine.run(&self.bus), Stop::Budget);
        self
    }
    fn r(&self, i: usize) -> u32 {
        state::r(self.engine.state(), i)
    }
    fn set(&mut self, i: usize, v: u32) -> &mut Machine {
        state::set_r(self.engine.state_mut(), i, v);
        self
    }
    fn cells(&self) -> &[u64] {
        self.engine.state()
    }
}

/// cond, op, S, rd, rn, low 12 bits.
fn w(cond: u32, op: u32, s: u32, rd: u32, rn: u32, low: u32) -> u32 {
    cond << 29 | op << 23 | s << 22 | rd << 15 | rn << 12 | low & 0xfff
}
fn imm(x: u32) -> u32 {
    0x800 | x & 0xff
}
fn reg(rm: u32, kind: u32, by: u32) -> u32 {
    kind << 7 | by << 3 | rm
}
const NOP: u32 = 7 << 29 | 23 << 23 | 7 << 15;

#[test]
fn arithmetic_and_flags() {
    let mut m = Machine::new(&[w(7, 1, 1, 0, 1, imm(1)), w(0, 1, 0, 2, 0, imm(5)), w(1, 1, 0, 3, 0, imm(5)), w(7, 2, 1, 4, 2, imm(6))]);
    m.set(1, u32::MAX).set(3, 99).run(4);
    assert_eq!((m.r(0), m.r(2), m.r(3), m.r(4)), (0, 5, 99, u32::MAX));
    let c = m.cells();
    assert_eq!((state::n(c), state::z(c), state::c(c), state::v(c)), (true, false, false, false));
}

#[test]
fn shifted_operands_carry() {
    let mut m = Machine::new(&[w(7, 3, 1, 0, 0, reg(1, 0, 4)), w(7, 3, 0, 2, 0, reg(1, 2, 4)), w(7, 3, 0, 3, 0, imm(0x80))]);
    m.set(1, 0x9000_0001).run(3);
    assert_eq!((m.r(0), m.r(2), m.r(3)), (0x10, 0xf900_0000, 0x07ff_ff80));
    assert!(state::c(m.cells()));
}

#[test]
fn guards_choose() {
    // Both registers the same: undefined by the rule; without the condition nothing happens; the odd vector: a nop.
    let mut m = Machine::new(&[w(7, 1, 1, 1, 1, imm(1))]);
    m.run(1);
    assert_eq!((state::pc(m.cells()), state::epc(m.cells()), state::cause(m.cells())), (0x100, 0x1000, 1));
    let mut m = Machine::new(&[w(0, 1, 1, 1, 1, imm(1)), w(7, 18, 1, 2, 0, 0)]);
    m.run(2);
    assert_eq!(state::pc(m.cells()), 0x1008);
    // Without the feature, and unallocated.
    let mut m = Machine::model("tiny-small");
    assert!(m.bus.ram.write(0x1000, 4, w(7, 4, 0, 0, 1, 2).into()));
    m.run(1);
    assert_eq!(state::cause(m.cells()), 1);
    assert_eq!(feature::MUL, 1);
    let mut m = Machine::new(&[0xffff_ffff]);
    m.run(1);
    assert_eq!(state::cause(m.cells()), 1);
}

#[test]
fn multiplication_and_division() {
    let mut m = Machine::new(&[
        w(7, 4, 0, 0, 1, 2),
        w(7, 4, 1, 3, 1, 2),
        w(7, 4, 1, 4, 1, 0x82),
        w(7, 5, 1, 5, 1, 2),
        w(7, 5, 0, 6, 1, 2),
        w(7, 5, 0, 6, 1, 7),
    ]);
    m.set(1, -7i32 as u32).set(2, 3).run(6);
    assert_eq!((m.r(0), m.r(3), m.r(4), m.r(5)), (-21i32 as u32, 2, u32::MAX, -2i32 as u32));
    assert_eq!(m.r(6), (-7i32 as u32) / 3);
    assert_eq!((state::epc(m.cells()), state::cause(m.cells())), (0x1014, 9));
}

#[test]
fn memory_and_faults() {
    let mut m = Machine::new(&[
        w(7, 7, 1, 0, 1, 4) | 2 << 20,
        w(7, 6, 0, 2, 1, 0) | 1 << 20,
        w(7, 6, 0, 3, 1, 1),
        w(7, 6, 1, 4, 1, 0xffe) | 2 << 20,
    ]);
    m.set(0, 0x8765_4321).set(1, 0x2000).run(4);
    assert_eq!((m.r(1), m.r(2), m.r(3)), (0x2004, 0x4321, 0x43));
    // The last is misaligned: nothing of it happens.
    assert_eq!((state::epc(m.cells()), state::cause(m.cells()), m.r(4)), (0x2002, 2, 0));
    // A list whose second load faults leaves all registers.
    let mut m = Machine::new(&[w(7, 8, 0, 0, 7, 0b110)]);
    m.set(7, 0x7_fffc).set(1, 5).run(1);
    assert_eq!((m.r(1), m.r(2), state::cause(m.cells()), state::epc(m.cells())), (5, 0, 1, 0x8_0000));
}

#[test]
fn byte_order_and_privilege_are_modes() {
    let mut m = Machine::new(&[w(7, 7, 0, 0, 1, 0) | 2 << 20, NOP, w(7, 7, 0, 0, 2, 0) | 2 << 20]);
    state::set_B(m.engine.state_mut(), true);
    state::set_U(m.engine.state_mut(), true);
    m.set(0, 0x1122_3344).set(1, 0x2000).set(2, 0x800).run(3);
    assert_eq!(m.bus.ram.read(0x2000, 4), Some(0x4433_2211));
    assert_eq!(m.r(7), 0x300);
    assert_eq!((state::cause(m.cells()), state::epc(m.cells()), state::U(m.cells())), (1, 0x800, false));
}

#[test]
fn context_survives_exceptions() {
    // The prefix is seen by the next instruction, on whatever path it is reached.
    let program = [w(7, 11, 0, 0, 0, 0x1f), w(7, 3, 0, 0, 0, imm(0)), w(7, 3, 0, 1, 0, imm(0))];
    for step in [1, 3] {
        let mut m = Machine::new(&program);
        for _ in 0..3 / step {
            m.run(step);
        }
        assert_eq!((m.r(0), m.r(1), state::prefix(m.cells())), (0xf800_0000, 0, 0));
    }
    // Trap keeps the state of the next instruction, return sets the context.
    let mut m = Machine::new(&[w(7, 11, 0, 0, 0, 3), w(7, 12, 0, 0, 0, 5)]);
    m.run(2);
    assert_eq!((state::cause(m.cells()), state::prefix(m.cells()), state::epc(m.cells())), (5, 0, 0x1004));
    assert!(m.bus.ram.write(0x130, 4, w(7, 13, 1, 0, 0, 0).into()));
    state::set_epc(m.engine.state_mut(), 0x1010);
    assert!(m.bus.ram.write(0x1010, 4, w(7, 3, 0, 0, 0, imm(1)).into()));
    m.run(2);
    assert_eq!((m.r(0), state::U(m.cells())), (0b10101 << 27 | 1, true));
}

#[test]
fn interrupts_wake_and_enter() {
    let mut m = Machine::new(&[w(7, 14, 0, 0, 0, 0), NOP]);
    state::set_I(m.engine.state_mut(), false);
    m.bus.limit.set(10);
    assert_eq!(m.engine.run(&m.bus), Stop::Asleep(false));
    assert!(m.bus.ram.write(0x120, 4, NOP.into()));
    m.bus.levels.set(1);
    m.bus.attention.fetch_or(Attention::LINES, Ordering::Release);
    m.run(1);
    assert_eq!((state::cause(m.cells()), state::epc(m.cells()), state::I(m.cells())), (3, 0x1004, true));
    assert_eq!(state::pc(m.cells()), 0x124);
}

#[test]
fn helpers_see_and_change_state() {
    let mut m = Machine::new(&[w(7, 15, 0, 0, 1, 0), w(7, 15, 0, 0, 2, 0)]);
    m.set(1, 21).set(2, 13).run(2);
    assert_eq!((m.r(0), state::odd(m.cells())), (43, 1));
    assert_eq!((state::cause(m.cells()), state::epc(m.cells())), (77, 13));
}

#[test]
fn floating_point_and_vectors() {
    let mut m = Machine::new(&[w(7, 16, 0, 0, 1, 2), w(7, 17, 0, 7, 3, 0), w(7, 18, 1, 0, 1, 1) | 1 << 20, w(7, 18, 0, 3, 3, 1)]);
    let cells = m.engine.state_mut();
    state::set_d(cells, 1, 1.5f64.to_bits());
    state::set_d(cells, 2, 0x8001_0002_0003_0004u64);
    m.set(3, -3i32 as u32);
    m.run(1);
    assert_eq!(state::d(m.cells(), 0), (1.5f64 + f64::from_bits(0x8001_0002_0003_0004)).to_bits());
    m.run(1);
    assert_eq!((state::s(m.cells(), 7), m.r(3)), ((-3f32).to_bits(), -3i32 as u32));
    m.run(1);
    // q0 = q1 + q1 by halfwords: d0, d1 = 2 * d2, 2 * d3.
    assert_eq!(state::d(m.cells(), 0), 0x0002_0004_0006_0008);
    assert_eq!(state::q(m.cells(), 0) >> 64, u128::from(state::d(m.cells(), 1)));
}

#[test]
fn odd_widths() {
    for (x, y) in [(0x123u32, 0x456u32), (0xfff, 1), (0x800, 0x800), (0, 0), (0x7ff, 1), (5, 0xffb)] {
        let mut m = Machine::new(&[w(7, 19, 0, 0, 1, y)]);
        m.set(1, x | 0xabc0_0000).run(1);
        let sum = (x + y) & 0xfff;
        let sext = |x: u32| ((x << 20) as i32) >> 20;
        let rotated = (x >> 5 | x << 7) & 0xfff;
        let leading = (x << 20).leading_zeros().min(12);
        assert_eq!(m.r(0), (rotated & 15) << 28 | (leading & 15) << 24 | sum << 12 | !x & 0xfff, "{x:#x} {y:#x}");
        let c = m.cells();
        let over = !(-2048..=2047).contains(&(sext(x) + sext(y)));
        assert_eq!((state::odd(c) as u32, state::c(c), state::v(c), state::n(c)), (sum, x + y > 0xfff, over, sext(sum) < sext(x)));
    }
}

#[test]
fn dynamic_choices() {
    for (x, want, carry) in [(0u32, 5u32, true), (0x2001, 6, false), (0x2002, 0x1234, false), (0x2003, 7, false)] {
        let mut m = Machine::new(&[w(7, 20, 0, 0, 1, 0x5a)]);
        assert!(m.bus.ram.write(0x2003, 4, 7));
        let want = match x & 3 {
            1 | 2 => m.bus.ram.read(x.into(), 4).unwrap() as u32,
            _ => want,
        };
        m.set(1, x).run(1);
        assert_eq!((m.r(0), state::c(m.cells()), state::odd(m.cells())), (want, carry, 0xa), "{x:#x}");
    }
}

#[test]
fn exclusives_and_loops() {
    let mut m = Machine::new(&[w(7, 21, 0, 0, 1, 0), w(7, 21, 1, 2, 1, 3), w(7, 21, 1, 4, 1, 3), w(7, 22, 0, 5, 1, 6)]);
    assert!(m.bus.ram.write(0x2000, 4, 0x0102_0304));
    m.set(1, 0x2000).set(3, 0x0a0b_0c0d).set(5, 0x3000).set(6, 4).run(4);
    assert_eq!((m.r(0), m.r(2), m.r(4)), (0x0102_0304, 0, 1));
    assert_eq!((m.bus.ram.read(0x3000, 4), m.r(5), m.r(6)), (Some(0x0a0b_0c0d), 0x3004, 0));
}

#[test]
fn static_functions() {
    for k in 0..8 {
        let mut m = Machine::new(&[w(7, 23, 0, 0, 0, k)]);
        m.run(1);
        assert_eq!(m.r(0), (1 << k) - 1);
    }
}

#[test]
fn tokens_of_two_lengths() {
    // mov r0, #3; movw r1, 0x1234 56; skip; mark; bx to w32
    let mut m = Machine::compact(&[0x1003, 0xf200 | 0x56, 0x1234, 0x3000 | 4, 0x3200 | 0xff, 0x2400]);
    m.set(2, 0x1100).run(3);
    assert_eq!((m.r(0), m.r(1)), (2, 0x12_3456));
    m.run(1);
    assert_eq!(m.r(1), 0x1008);
    m.run(1);
    assert_eq!((state::pc(m.cells()), state::wide(m.cells())), (0x1100, false));
    // Taken: r0 is 0.
    let mut m = Machine::compact(&[0x3004]);
    m.run(1);
    assert_eq!((m.r(0), state::pc(m.cells())), (0, 0x1006));
}

/// The tests written in the specification.
#[test]
fn specification_tests() {
    assert!(!TESTS.is_empty());
    for t in TESTS {
        let isa = Tiny::model("full", Flat).unwrap();
        if let Err(wrong) = emu_ir::spec_test::run(isa, t, code_bytes) {
            panic!("{} {}:\n{wrong}", t.place, t.text);
        }
    }
}

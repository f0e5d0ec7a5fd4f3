//! Random IR: what the builder folds, the passes remove and the interpreter executes must do what the plain block does in the
//! reference evaluator.

#[path = "../common/mod.rs"]
mod common;
mod maker;
mod steps;

use common::Bus;
use emu_ir::builder::Builder;
use emu_ir::guest::*;
use emu_ir::interp::{Engine, Tiers, Workers};
use emu_ir::op::*;
use emu_ir::passes::Passes;
use emu_ir::reference::{Exit, World, run};
use emu_ir::state::{Slot, SlotDesc, StateLayout};
use emu_ir::{text, verify};
use emu_memory::*;
use emu_softfloat::{NanRule, Round as SoftRound};
use maker::Maker;
use proptest::prelude::*;
use std::sync::Arc;
use steps::*;

const fn slot(name: &'static str, ty: Type, bits: u8, cell: u16, lo: u8) -> SlotDesc {
    SlotDesc { name, ty, bits, cell, lo }
}

/// Registers, a quadword with its overlapping parts, flags, a five-bit field in a shared cell.
static SLOTS: [SlotDesc; 31] = [
    slot("r0", Type::I32, 32, 0, 0),
    slot("r1", Type::I32, 32, 1, 0),
    slot("r2", Type::I32, 32, 2, 0),
    slot("r3", Type::I32, 32, 3, 0),
    slot("x0", Type::I64, 64, 4, 0),
    slot("q0", Type::I128, 128, 5, 0),
    slot("d0", Type::I64, 64, 5, 0),
    slot("d1", Type::I64, 64, 6, 0),
    slot("s0", Type::I32, 32, 5, 0),
    slot("s1", Type::I32, 32, 5, 32),
    slot("s2", Type::I32, 32, 6, 0),
    slot("s3", Type::I32, 32, 6, 32),
    slot("b7", Type::I8, 8, 5, 56),
    slot("n", Type::I1, 1, 7, 0),
    slot("z", Type::I1, 1, 8, 0),
    slot("low", Type::I8, 5, 9, 0),
    slot("high", Type::I1, 1, 9, 5),
    slot("five", Type::I8, 5, 10, 0),
    slot("sticky", Type::I8, 8, 11, 0),
    slot("pc", Type::I64, 64, 12, 0),
    slot("arg0", Type::I64, 64, 13, 0),
    slot("arg1", Type::I64, 64, 14, 0),
    slot("arg2", Type::I64, 64, 15, 0),
    slot("arg3", Type::I64, 64, 16, 0),
    slot("h", Type::I16, 16, 17, 0),
    slot("q1", Type::I128, 128, 18, 0),
    slot("q2", Type::I128, 128, 20, 0),
    slot("q3", Type::I128, 128, 22, 0),
    slot("d2", Type::I64, 64, 18, 0),
    slot("d3", Type::I64, 64, 19, 0),
    slot("d4", Type::I64, 64, 20, 0),
];
static LAYOUT: StateLayout = StateLayout { slots: &SLOTS, cells: 24 };
const PC: Slot = Slot(19);
/// Quadwords, and doublewords in them.
const QUADS: [u16; 4] = [5, 25, 26, 27];
const DOUBLES: [u16; 5] = [6, 7, 28, 29, 30];
/// Slots programs use: those before the pc, and the one after its arguments.
const USED: [u16; 20] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24];

/// One with controls, and one as ARM's Advanced SIMD has it.
static ENVS: [FloatEnvDesc; 2] = [
    FloatEnvDesc {
        name: "fp",
        round: None,
        round_map: [SoftRound::NearestEven; 4],
        flush: SlotOr::Const(false),
        default_nan: SlotOr::Slot(Slot(14)),
        alt_half: SlotOr::Const(false),
        sticky: Slot(18),
        nan_rule: NanRule::Arm,
        tininess_before: true,
        precision: None,
    },
    FloatEnvDesc {
        name: "std",
        round: None,
        round_map: [SoftRound::NearestEven; 4],
        flush: SlotOr::Const(true),
        default_nan: SlotOr::Const(true),
        alt_half: SlotOr::Const(false),
        sticky: Slot(18),
        nan_rule: NanRule::Arm,
        tininess_before: true,
        precision: None,
    },
];

static HELPERS: [HelperDesc; 2] = [
    HelperDesc {
        name: "mix",
        args: &[Type::I32],
        result: Some(Type::I32),
        reads: Some(&[Slot(1)]),
        writes: Some(&[Slot(2), Slot(9)]),
        memory: false,
        raises: false,
        rekeys: true,
    },
    HelperDesc { name: "refuse", args: &[Type::I32], result: None, reads: None, writes: None, memory: false, raises: true, rekeys: true },
];

fn helper(id: u16, state: &mut [u64], args: &[u64; 6]) -> Result<u64, Exception> {
    if id == 0 {
        let r1 = LAYOUT.read(state, Slot(1)) as u64;
        LAYOUT.write(state, Slot(2), u128::from(r1 ^ args[0]));
        LAYOUT.write(state, Slot(9), u128::from(args[0] >> 3));
        return Ok(r1.wrapping_add(args[0]));
    }
    LAYOUT.write(state, Slot(3), 0x33);
    if args[0] & 1 != 0 { Err(Exception { id: 1, args: [args[0], 2, 3, 4] }) } else { Ok(0) }
}

const START: u64 = 0x1000;
const UNMAPPED: u64 = 0x9000;

/// How often a loop goes round, and the slot that counts.
const ROUNDS: u128 = 5;
const ROUND: Slot = Slot(20);

fn build(steps: &[Step], rounds: bool, b: &mut Builder) {
    let vars = [b.var(Type::I32), b.var(Type::I32), b.var(Type::I32)];
    let zero = b.iconst(Type::I32, 0);
    let mut maker = Maker { b, pool: vec![zero], vars, pc: START, depth: 0 };
    maker.mark();
    for slot in [0, 4, 5, 25, 26, 27] {
        let v = maker.b.get(Slot(slot));
        maker.pool.push(v);
    }
    for step in steps {
        maker.step(step);
    }
    maker.b.end_insn();
    let next = maker.pc;
    if !b.ended() && rounds {
        let (left, one, none) = (b.get(ROUND), b.iconst(Type::I64, 1), b.iconst(Type::I64, 0));
        let left = b.binary(Op::Sub, left, one);
        b.set(ROUND, left);
        let last = b.cmp(Cond::Eq, left, none);
        b.begin_if(last);
        b.wait(false, next);
        b.end_if();
        b.jump(START);
    } else if !b.ended() {
        b.wait(false, next);
    }
}

fn lower_exception(id: u16, b: &mut Builder) {
    let id = b.iconst(Type::I64, u128::from(id));
    b.set(Slot(23), id);
    b.wait(false, 0x3000);
}

/// What it executes, and whether that is a loop.
struct Random(Vec<Step>, bool);

impl Isa for Random {
    fn name(&self) -> &'static str {
        "random"
    }
    fn layout(&self) -> &'static StateLayout {
        &LAYOUT
    }
    fn float_envs(&self) -> &'static [FloatEnvDesc] {
        &ENVS
    }
    fn helpers(&self) -> &'static [HelperDesc] {
        &HELPERS
    }
    fn pc(&self) -> Slot {
        PC
    }
    fn exception_args(&self) -> [Slot; 4] {
        [Slot(20), Slot(21), Slot(22), Slot(23)]
    }
    fn block_key(&self, _state: &[u64]) -> BlockKey {
        BlockKey(0)
    }
    fn key_parts(&self) -> &'static [KeyPart] {
        &[]
    }
    fn space_tag(&self, _state: &[u64]) -> u32 {
        0
    }
    fn fetch_mmu(&self, _key: BlockKey) -> u8 {
        0
    }
    fn translate(
        &self,
        _pc: u64,
        _key: BlockKey,
        _max: u32,
        _fetch: &mut dyn FnMut(u64, u8) -> Result<u64, FetchFault>,
        b: &mut Builder,
    ) -> Result<(), FetchFault> {
        build(&self.0, self.1, b);
        Ok(())
    }
    fn lower_exception(&self, id: u16, b: &mut Builder) {
        lower_exception(id, b);
    }
    fn exception_name(&self, _id: u16) -> &'static str {
        "exception"
    }
    fn interrupt(&self, _state: &[u64], _lines: u64) -> Option<Exception> {
        None
    }
    fn wakes(&self, _state: &[u64], _lines: u64) -> bool {
        false
    }
    fn translate_address(&self, _cx: &mut HelperCx<'_>, va: u64, _kind: AccessKind, _mmu: u8) -> Result<Translation, Exception> {
        if va >= UNMAPPED {
            return Err(Exception { id: 0, args: [va, 0, 0, 0] });
        }
        Ok(Translation { phys: GuestPhys(va), page_shift: 12, read: true, write: true, execute: true, global: true })
    }
    fn alignment_fault(&self, _cx: &mut HelperCx<'_>, va: u64, _kind: AccessKind, _: u16) -> Exception {
        Exception { id: 0, args: [va, 98, 0, 0] }
    }
    fn bus_fault(&self, _cx: &mut HelperCx<'_>, va: u64, _kind: AccessKind) -> Exception {
        Exception { id: 0, args: [va, 99, 0, 0] }
    }
    fn call(&self, id: u16, cx: &mut HelperCx<'_>, args: &[u64; 6]) -> Result<u64, Exception> {
        helper(id, cx.state, args)
    }
    fn reset(&self, _state: &mut [u64]) {}
}

struct Ram<'a>(&'a RamBlock);

impl World for Ram<'_> {
    fn load(&mut self, at: u64, mem: Mem) -> Result<u64, Exception> {
        self.probe(at, mem, false)?;
        Ok(self.0.read(at, mem.size).unwrap())
    }
    fn store(&mut self, at: u64, value: u64, mem: Mem) -> Result<(), Exception> {
        self.probe(at, mem, true)?;
        assert!(self.0.write(at, mem.size, value));
        Ok(())
    }
    fn probe(&mut self, at: u64, mem: Mem, _write: bool) -> Result<(), Exception> {
        if !at.is_multiple_of(u64::from(mem.align)) {
            return Err(Exception { id: 0, args: [at, 98, 0, 0] });
        }
        if at >= UNMAPPED {
            return Err(Exception { id: 0, args: [at, 0, 0, 0] });
        }
        if at + u64::from(mem.size) > UNMAPPED {
            return Err(Exception { id: 0, args: [UNMAPPED, 0, 0, 0] });
        }
        Ok(())
    }
    fn call(&mut self, id: u16, state: &mut [u64], args: &[u64; 6]) -> Result<u64, Exception> {
        helper(id, state, args)
    }
}

/// What is left after a block and the exception it raised.
fn outcome(block: &Block, state: &[u64], ram: &RamBlock) -> (Vec<u64>, Vec<u8>) {
    let mut state = state.to_vec();
    fill(ram);
    let mut exit = run(block, &LAYOUT, &ENVS, &mut state, &mut Ram(ram));
    while matches!(exit, Exit::Jump(START, _)) {
        exit = run(block, &LAYOUT, &ENVS, &mut state, &mut Ram(ram));
    }
    match exit {
        Exit::Jump(pc, _) | Exit::Wait(_, pc) => LAYOUT.write(&mut state, PC, pc.into()),
        Exit::Fault(pc, exception) => {
            LAYOUT.write(&mut state, PC, pc.into());
            for (slot, value) in [20, 21, 22, 23].into_iter().zip(exception.args) {
                LAYOUT.write(&mut state, Slot(slot), value.into());
            }
            let mut b = Builder::plain(&LAYOUT);
            lower_exception(exception.id, &mut b);
            run(&b.finish(), &LAYOUT, &ENVS, &mut state, &mut Ram(ram));
            LAYOUT.write(&mut state, PC, 0x3000);
        }
    }
    let mut bytes = vec![0; 0x3000];
    ram.copy_out(0x7000, &mut bytes);
    (state, bytes)
}

fn well_formed(block: &Block) {
    let printed = text::print(block, &LAYOUT);
    if let Err(error) = verify::verify(block, &LAYOUT, Some(&HELPERS)) {
        panic!("{error}\n{printed}");
    }
    let again = text::parse(&printed, &LAYOUT).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(text::print(&again, &LAYOUT), printed);
    assert_eq!(again.guest_insns, block.guest_insns);
}

fn agree(steps: Vec<Step>, rounds: bool, initial: impl Fn(usize, u16) -> u128) -> Result<(), TestCaseError> {
    let mut b = Builder::plain(&LAYOUT);
    build(&steps, rounds, &mut b);
    let plain = b.finish();
    well_formed(&plain);
    let isa = Random(steps.clone(), rounds);
    let mut b = Builder::for_isa(&isa);
    build(&steps, rounds, &mut b);
    let mut optimised = b.finish();
    well_formed(&optimised);
    Passes::new(&isa).optimise(&mut optimised);
    well_formed(&optimised);

    let bus = Bus::new(&[]);
    let mut engine = Engine::new(Arc::new(isa), 0);
    let mut state = engine.state().to_vec();
    for (index, slot) in USED.into_iter().chain(QUADS).enumerate() {
        LAYOUT.write(&mut state, Slot(slot), initial(index, slot));
    }
    LAYOUT.write(&mut state, PC, START.into());
    if rounds {
        LAYOUT.write(&mut state, ROUND, ROUNDS);
    }
    let expected = outcome(&plain, &state, &bus.ram);
    let better = outcome(&optimised, &state, &bus.ram);
    prop_assert_eq!(
        &expected.0,
        &better.0,
        "state after the passes\n{}\n{}",
        text::print(&plain, &LAYOUT),
        text::print(&optimised, &LAYOUT)
    );
    prop_assert!(expected.1 == better.1, "memory after the passes");

    let regions = || Tiers::All { workers: Arc::new(Workers::new(0, |make| make())), threshold: 1, thorough: true, windows: None };
    for tier in ["interpreter", "quick tier", "quick tier, again", "regions", "regions, again"] {
        if tier == "quick tier" && !engine.use_quick_tier() || tier == "regions" && !rounds {
            break;
        }
        if tier == "regions" {
            engine = Engine::new(Arc::new(Random(steps.clone(), rounds)), 0);
            engine.use_tiers(&regions());
        }
        fill(&bus.ram);
        engine.state_mut().copy_from_slice(&state);
        engine.run(&bus);
        prop_assert_eq!(engine.stats().interpreted, 0, "the quick tier takes every operation");
        let mut bytes = vec![0; 0x3000];
        bus.ram.copy_out(0x7000, &mut bytes);
        prop_assert!(expected.1 == bytes, "memory after the {tier}\n{}", text::print(&optimised, &LAYOUT));
        prop_assert_eq!(&expected.0[..], engine.state(), "state after the {}\n{}", tier, text::print(&optimised, &LAYOUT));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn executors_and_passes_agree(steps in steps(), seeds in prop::array::uniform8(any::<u64>())) {
        agree(steps, false, rotated(&seeds))?;
    }

    #[test]
    fn vectors_agree(steps in vector_steps(), seeds in prop::array::uniform8(lanes())) {
        agree(steps, false, quads(&seeds))?;
    }

    #[test]
    fn loops_of_vectors_agree(steps in vector_steps(), seeds in prop::array::uniform8(lanes())) {
        agree(steps, true, quads(&seeds))?;
    }

    #[test]
    fn loops_agree(steps in steps(), seeds in prop::array::uniform8(any::<u64>())) {
        agree(steps, true, rotated(&seeds))?;
    }

    #[test]
    fn loops_of_numbers_agree(steps in number_steps(), seeds in prop::array::uniform8(number())) {
        agree(steps, true, quads(&seeds))?;
    }
}

/// What slots hold at the beginning, of integers.
fn rotated(seeds: &[u64; 8]) -> impl Fn(usize, u16) -> u128 {
    |index, _| u128::from(seeds[index % 8].rotate_left(index as u32))
}

/// ... and with quadwords.
fn quads(seeds: &[u64; 8]) -> impl Fn(usize, u16) -> u128 {
    |index, slot| match QUADS.iter().position(|q| *q == slot) {
        Some(quad) => u128::from(seeds[2 * quad]) | u128::from(seeds[2 * quad + 1]) << 64,
        None if slot == 18 => 0,
        None => u128::from(seeds[index % 8]),
    }
}

fn fill(ram: &RamBlock) {
    for index in 0..0x600 {
        ram.write_u64(0x7000 + 8 * index, index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}

/// A region that leaves at the beginning of an instruction must have the temporaries that were there then.
#[test]
fn what_begins_again_finds_its_temporaries() {
    use Step::*;
    let sum = |double| Number(0, 0, 0, double);
    let mut steps = vec![Number(3, 0, 0, true), sum(true), Load(12, 3, false), sum(true), Mark, sum(true), Resize(9, 57, false)];
    steps.extend([Number(8, 2, 106, false), Number(5, 0, 0, false), sum(false), Number(0, 26, 0, false), Number(11, 2, 0, false)]);
    steps.extend((0..5).map(|_| sum(false)));
    steps.push(Store(0, 131, 2));
    agree(steps, true, quads(&[0; 8])).unwrap();
}

/// Between an addition and a branch on its zero flag, what the host gathered of sticky flags is called for.
#[test]
fn flags_do_not_outlive_a_call() {
    use Step::*;
    let mut steps = vec![Const(0, 0), Const(0, 0), Const(0, 0), Get(0), Flags(false, 120, 54, 8), Set(18, 7)];
    steps.push(If(124, vec![], vec![If(0, vec![], vec![Set(0, 11)])]));
    steps.extend([Binary(0, 0, 236), Carry(false, 0, 200, 50), Const(0, 0), Load(131, 0, false)]);
    agree(steps, true, rotated(&[1, 0, 0, 0, 0, 0, 0, 0])).unwrap();
}

//! Runs the `test` lines of a specification on the interpreter.
//!
//! One test: state before, one instruction or several in a row, state after. RAM is 1 MiB from address 0 and 64 KiB at the top of the 32-bit space; all
//! state that the test does not name stays as it was, but for the program counter, which is the next instruction's. A test that expects an exception
//! compares only the state it names, and ends where the exception is raised. Memory is compared always, the whole of it.

use crate::guest::*;
use crate::interp::{Engine, Stop};
use crate::state::{Slot, StateLayout};
use crate::{Builder, Op};
use emu_memory::{Access, BusError, GuestBus, GuestPhys, PhysBus, RamBlock, RamSlice};
use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// What a test sets or expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A slot of the layout.
    Slot(u16),
    /// Memory: address and bytes (1, 2, 4 or 8), in the byte order of the host's little end.
    Mem(u64, u8),
    /// The levels of the input lines, throughout.
    Lines,
}

/// One instruction executed: state before, state after.
#[derive(Clone, Copy, Debug)]
pub struct SpecTest {
    /// Instruction in the specification.
    pub insn: &'static str,
    /// `file:line`.
    pub place: &'static str,
    /// Assembly text.
    pub text: &'static str,
    /// Address; 0x1000 if the test names none.
    pub at: Option<u64>,
    /// Encoding, first unit most significant.
    pub code: u64,
    /// The instructions executed after it, which lie behind it: text and encoding.
    pub then: &'static [(&'static str, u64)],
    /// State before.
    pub before: &'static [(Place, u128)],
    /// State after; all else is as before.
    pub after: &'static [(Place, u128)],
    /// The number of the exception raised.
    pub raises: Option<u16>,
}

/// An encoding of a specification, for coverage and random tests.
#[derive(Clone, Copy, Debug)]
pub struct EncodingDesc {
    /// `instruction_encoding`.
    pub name: &'static str,
    /// `file:line`.
    pub place: &'static str,
    /// Number of its token.
    pub token: u32,
    /// Length in bits.
    pub bits: u8,
    /// Bits that decide.
    pub mask: u64,
    /// Their values.
    pub value: u64,
}

const LOW: u64 = 1 << 20;
const HIGH: u64 = 0xffff_0000;

struct Bus {
    low: Arc<RamBlock>,
    high: Arc<RamBlock>,
    attention: Arc<AtomicU32>,
    lines: u64,
}

impl Bus {
    fn new() -> Result<Bus, emu_memory::MemoryError> {
        Ok(Bus { low: RamBlock::new("low", LOW)?, high: RamBlock::new("high", 0x1_0000)?, attention: Arc::default(), lines: 0 })
    }

    fn place(&self, at: u64) -> Option<(&Arc<RamBlock>, u64)> {
        match at {
            0..LOW => Some((&self.low, at)),
            HIGH..=0xffff_ffff => Some((&self.high, at - HIGH)),
            _ => None,
        }
    }

    /// Where the byte at this address is in [`Bus::bytes`].
    fn index(at: u64) -> Option<usize> {
        match at {
            0..LOW => Some(at as usize),
            HIGH..=0xffff_ffff => Some((LOW + at - HIGH) as usize),
            _ => None,
        }
    }

    /// All of memory.
    fn bytes(&self) -> Vec<u8> {
        let words = |ram: &RamBlock| {
            (0..ram.size()).step_by(8).flat_map(|at| ram.read(at, 8).unwrap_or_default().to_le_bytes()).collect::<Vec<u8>>()
        };
        [words(&self.low), words(&self.high)].concat()
    }
}

impl PhysBus for Bus {
    fn read(&self, at: GuestPhys, size: u8, _: Access) -> Result<u64, BusError> {
        self.place(at.0).and_then(|(ram, at)| ram.read(at, size)).ok_or(BusError::Decode)
    }
    fn write(&self, at: GuestPhys, size: u8, value: u64, _: Access) -> Result<(), BusError> {
        let done = self.place(at.0).is_some_and(|(ram, at)| ram.write(at, size, value));
        if done { Ok(()) } else { Err(BusError::Decode) }
    }
    fn ram(&self, at: GuestPhys, _: Access) -> Option<RamSlice> {
        let (ram, offset) = self.place(at.0)?;
        Some(RamSlice { block: ram.clone(), offset, len: ram.size() - offset, writable: true })
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
        self.lines
    }
    fn set_output(&self, _: usize, _: u32, _: bool) {}
    fn publish(&self, _: u64, _: u64) {}
    fn limit(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        0
    }
    fn send_event(&self) {}
}

/// An instruction set that notes the exception whose entry is asked for.
struct Noting<I> {
    isa: I,
    raised: AtomicU32,
    /// A helper did what its declaration does not say.
    undeclared: Mutex<Option<String>>,
}

impl<I: Isa> Isa for Noting<I> {
    fn name(&self) -> &'static str {
        self.isa.name()
    }
    fn features(&self) -> u64 {
        self.isa.features()
    }
    fn layout(&self) -> &'static StateLayout {
        self.isa.layout()
    }
    fn float_envs(&self) -> &'static [FloatEnvDesc] {
        self.isa.float_envs()
    }
    fn helpers(&self) -> &'static [HelperDesc] {
        self.isa.helpers()
    }
    fn pc(&self) -> Slot {
        self.isa.pc()
    }
    fn exception_args(&self) -> [Slot; 4] {
        self.isa.exception_args()
    }
    fn block_key(&self, state: &[u64]) -> BlockKey {
        self.isa.block_key(state)
    }
    fn key_parts(&self) -> &'static [KeyPart] {
        self.isa.key_parts()
    }
    fn space_tag(&self, state: &[u64]) -> u32 {
        self.isa.space_tag(state)
    }
    fn fetch_mmu(&self, key: BlockKey) -> u8 {
        self.isa.fetch_mmu(key)
    }
    fn translate(
        &self,
        pc: u64,
        key: BlockKey,
        max_insns: u32,
        fetch: &mut dyn FnMut(u64, u8) -> Result<u64, FetchFault>,
        builder: &mut Builder,
    ) -> Result<(), FetchFault> {
        self.isa.translate(pc, key, max_insns, fetch, builder)
    }
    fn lower_exception(&self, id: u16, builder: &mut Builder) {
        self.raised.store(id.into(), Ordering::Relaxed);
        self.isa.lower_exception(id, builder);
    }
    fn exception_name(&self, id: u16) -> &'static str {
        self.isa.exception_name(id)
    }
    fn interrupt(&self, state: &[u64], lines: u64) -> Option<Exception> {
        self.isa.interrupt(state, lines)
    }
    fn unmasks_by_rekey(&self) -> bool {
        self.isa.unmasks_by_rekey()
    }
    fn wakes(&self, state: &[u64], lines: u64) -> bool {
        self.isa.wakes(state, lines)
    }
    fn translate_address(&self, cx: &mut HelperCx<'_>, va: u64, kind: AccessKind, mmu: u8) -> Result<Translation, Exception> {
        self.isa.translate_address(cx, va, kind, mmu)
    }
    fn alignment_fault(&self, cx: &mut HelperCx<'_>, va: u64, kind: AccessKind, note: u16) -> Exception {
        self.isa.alignment_fault(cx, va, kind, note)
    }
    fn bus_fault(&self, cx: &mut HelperCx<'_>, va: u64, kind: AccessKind) -> Exception {
        self.isa.bus_fault(cx, va, kind)
    }
    fn call(&self, id: u16, cx: &mut HelperCx<'_>, args: &[u64; 6]) -> Result<u64, Exception> {
        let before = cx.state.to_vec();
        let result = self.isa.call(id, cx, args);
        let Some(desc) = self.isa.helpers().get(usize::from(id)) else { return result };
        if let Some(writes) = desc.writes {
            // What may change: the declared slots, and those that share bits with them.
            let slots = self.layout().slots;
            let mut allowed = before.clone();
            for slot in writes {
                let value = self.layout().read(cx.state, *slot);
                self.layout().write(&mut allowed, *slot, value);
            }
            if let Some(slot) = slots.iter().find(|s| s.read(cx.state) != s.read(&allowed)) {
                let mut undeclared = self.undeclared.lock().unwrap_or_else(|e| e.into_inner());
                *undeclared = Some(format!("helper {} changes {}, which it does not declare", desc.name, slot.name));
            }
        }
        result
    }
    fn reset(&self, state: &mut [u64]) {
        self.isa.reset(state);
    }
}

/// No exception.
const NONE: u32 = u32::MAX;

/// Runs one test, in each tier, on an instruction set with this state at reset; `bytes` lays out the instruction for a block key. What differs, in words.
///
/// # Errors
/// The differences, one a line.
pub fn run<I: Isa>(isa: I, test: &SpecTest, bytes: impl Fn(&I, BlockKey, u64) -> Vec<u8>) -> Result<(), String> {
    let noting = Arc::new(Noting { isa, raised: AtomicU32::new(NONE), undeclared: Mutex::new(None) });
    let mut engine = Engine::new(noting.clone(), 0);
    run_in(&mut engine, &noting, test, &bytes)?;
    if engine.use_quick_tier() {
        noting.raised.store(NONE, Ordering::Relaxed);
        run_in(&mut engine, &noting, test, &bytes).map_err(|wrong| format!("in the quick tier: {wrong}"))?;
        if engine.stats().interpreted > 0 {
            return Err("the quick tier left something to the interpreter".to_string());
        }
    }
    Ok(())
}

fn run_in<I: Isa>(
    engine: &mut Engine<Noting<I>>,
    noting: &Noting<I>,
    test: &SpecTest,
    bytes: &impl Fn(&I, BlockKey, u64) -> Vec<u8>,
) -> Result<(), String> {
    let layout = noting.isa.layout();
    let pc = noting.isa.pc();
    let at = test.at.unwrap_or(0x1000);
    let mut bus = Bus::new().map_err(|e| e.to_string())?;
    engine.reset();
    layout.write(engine.state_mut(), pc, at.into());
    for (place, value) in test.before {
        match *place {
            Place::Slot(slot) => layout.write(engine.state_mut(), Slot(slot), *value),
            Place::Mem(address, size) => {
                bus.write(GuestPhys(address), size, *value as u64, Access::cpu(0)).map_err(|_| format!("no memory at {address:#x}"))?;
            }
            Place::Lines => bus.lines = *value as u64,
        }
    }
    let key = noting.isa.block_key(engine.state());
    let code: Vec<u8> = std::iter::once(test.code).chain(test.then.iter().map(|t| t.1)).flat_map(|c| bytes(&noting.isa, key, c)).collect();
    for (i, byte) in code.iter().enumerate() {
        bus.write(GuestPhys(at + i as u64), 1, (*byte).into(), Access::cpu(0)).map_err(|_| format!("no memory at {at:#x}"))?;
    }
    let mut want = engine.state().to_vec();
    layout.write(&mut want, pc, u128::from(at + code.len() as u64));
    let mut memory = bus.bytes();
    let mut wrong = String::new();
    let mut raised = NONE;
    // With a line high there is one step more, in which its interrupt may be taken.
    for _ in 0..=test.then.len() + usize::from(bus.lines != 0) {
        let stop = engine.step(&bus);
        if !matches!(stop, Stop::Budget | Stop::Asleep(_)) {
            let _ = writeln!(wrong, "stopped with {stop:?}");
        }
        raised = noting.raised.load(Ordering::Relaxed);
        if raised != NONE {
            break;
        }
    }
    if raised != test.raises.map_or(NONE, u32::from) {
        let name = |id: u32| if id == NONE { "nothing" } else { noting.isa.exception_name(id as u16) };
        let _ = writeln!(wrong, "raised {}, wanted {}", name(raised), name(test.raises.map_or(NONE, u32::from)));
    }
    for (place, value) in test.after {
        match *place {
            Place::Slot(slot) => layout.write(&mut want, Slot(slot), *value),
            Place::Mem(address, size) => {
                for (i, byte) in value.to_le_bytes()[..usize::from(size)].iter().enumerate() {
                    let at = Bus::index(address + i as u64).ok_or_else(|| format!("no memory at {address:#x}"))?;
                    memory[at] = *byte;
                }
            }
            Place::Lines => {}
        }
    }
    let differing = bus.bytes().into_iter().zip(memory).enumerate().filter(|(_, (found, wanted))| found != wanted);
    for (at, (found, wanted)) in differing.take(16) {
        let address = if (at as u64) < LOW { at as u64 } else { at as u64 - LOW + HIGH };
        let _ = writeln!(wrong, "memory {address:#x}: {found:#04x}, wanted {wanted:#04x}");
    }
    let named = |slot: u16| test.after.iter().any(|(place, _)| *place == Place::Slot(slot));
    for (index, desc) in layout.slots.iter().enumerate() {
        if test.raises.is_some() && !named(index as u16) {
            continue;
        }
        let (found, wanted) = (desc.read(engine.state()), desc.read(&want));
        if found != wanted {
            let _ = writeln!(wrong, "{}: {found:#x}, wanted {wanted:#x}", desc.name);
        }
    }
    if let Some(undeclared) = noting.undeclared.lock().unwrap_or_else(|e| e.into_inner()).take() {
        let _ = writeln!(wrong, "{undeclared}");
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Translates `codes` as instructions of this key, each a block of its own, and verifies the IR. `bytes` as in [`run`].
///
/// # Errors
/// What the verifier says, with the IR's text.
pub fn verify<I: Isa>(isa: &I, key: BlockKey, code: u64, bytes: impl Fn(&I, BlockKey, u64) -> Vec<u8>) -> Result<crate::Block, String> {
    let at = 0x1000u64;
    let memory = bytes(isa, key, code);
    let mut builder = Builder::for_isa(isa);
    let mut fetch = |address: u64, size: u8| {
        let first = address.wrapping_sub(at) as usize;
        Ok((0..size as usize).rev().fold(0, |all, i| all << 8 | u64::from(memory.get(first + i).copied().unwrap_or(0))))
    };
    let result = isa.translate(at, key, 1, &mut fetch, &mut builder);
    debug_assert!(result.is_ok());
    let block = builder.finish();
    match crate::verify::verify(&block, isa.layout(), Some(isa.helpers())) {
        Ok(()) if block.insts.iter().any(|i| i.op.is_exit()) => Ok(block),
        Ok(()) => Err(format!("{code:#x} does not end: {:?}", block.insts.last().map_or(Op::Const, |i| i.op))),
        Err(error) => Err(format!("{code:#x}, key {:#x}: {error}\n{}", key.0, crate::text::print(&block, isa.layout()))),
    }
}

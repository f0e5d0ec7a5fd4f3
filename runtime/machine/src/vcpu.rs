//! A vCPU: the interpreter of one instruction set as the machine sees it.
//!
//! Data path: the machine gives it turns over its [`GuestBus`]; within a turn the engine translates, executes, takes exceptions and interrupts, and
//! sleeps; registers, snapshots and counters go by the names of the state's slots. Translations and TLB are never saved.

use crate::cpu::{Cpu, CpuStop};
use emu_ir::gdb::{GdbDesc, GdbReg};
use emu_ir::guest::Isa;
use emu_ir::interp::{DebugPoints, Engine, Explained, ExplainedRegion, PerfMap, Stats, Stop, Tiers};
use emu_ir::state::{Slot, SlotDesc};
use emu_memory::{GuestBus, GuestPhys};
use emu_store::Store;
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The state of a vCPU in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuState {
    /// The instruction set's name.
    pub isa: String,
    /// Slots by name; those that are parts of wider ones are left out.
    #[serde(with = "hexadecimal")]
    pub slots: BTreeMap<String, u128>,
    /// Asleep: until an event (true) or an interrupt.
    pub asleep: Option<bool>,
    /// The event register.
    pub event: bool,
    /// What the last exclusive load saw, if a store may still succeed for it: physical address, bytes, value.
    #[serde(default)]
    pub exclusive: Option<(u64, u8, u64)>,
}

/// Registers as text: a JSON number has 64 bits.
mod hexadecimal {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use std::collections::BTreeMap;

    pub fn serialize<S: Serializer>(slots: &BTreeMap<String, u128>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(slots.iter().map(|(name, value)| (name, format!("{value:x}"))))
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<BTreeMap<String, u128>, D::Error> {
        let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
        let value = |text: &str| u128::from_str_radix(text, 16).map_err(|_| D::Error::custom(format!("`{text}` is no register's value")));
        texts.into_iter().map(|(name, text)| Ok((name, value(&text)?))).collect()
    }
}

/// Why a snapshot does not fit this CPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is another instruction set's.
    #[error("the snapshot holds a CPU of `{found}`, this one is `{expected}`")]
    Isa {
        /// In the snapshot.
        found: String,
        /// This CPU's.
        expected: &'static str,
    },
    /// A register this CPU does not have.
    #[error("the snapshot holds a register `{0}` that this CPU does not have: it was made by another version or model")]
    Unknown(String),
    /// A register the snapshot lacks.
    #[error("the snapshot lacks the register `{0}`: it was made by another version or model")]
    Missing(&'static str),
}

/// A vCPU that interprets.
pub struct Vcpu<I: Isa> {
    engine: Engine<I>,
    /// Registers whose reset values the board gives.
    at_reset: Vec<(Slot, u128)>,
    /// Its last turn was a single step.
    stepped: bool,
}

impl<I: Isa> Vcpu<I> {
    /// A CPU in its reset state; `index` is its place on the board.
    pub fn new(isa: Arc<I>, index: u8) -> Vcpu<I> {
        Vcpu { engine: Engine::new(isa, index), at_reset: Vec::new(), stepped: false }
    }

    /// The engine.
    pub fn engine(&mut self) -> &mut Engine<I> {
        &mut self.engine
    }

    /// Resets it. To hold it in reset, give it no turns.
    pub fn reset(&mut self) {
        self.engine.reset();
        let layout = self.engine.isa().layout();
        for (slot, value) in &self.at_reset {
            layout.write(self.engine.state_mut(), *slot, *value);
        }
    }

    /// Gives the register called `name` this value now and at every reset; false if there is none.
    pub fn set_at_reset(&mut self, name: &str, value: u128) -> bool {
        let Some(slot) = self.engine.isa().layout().slot(name) else { return false };
        self.at_reset.push((slot, value));
        self.set_register(name, value)
    }

    /// Runs until the bus's limit, an exit request, or sleep; [`Vcpu::executed`] says how far it came.
    pub fn run(&mut self, bus: &dyn GuestBus) -> Stop {
        self.stepped = false;
        self.engine.run(bus)
    }

    /// Executes one instruction, or takes one interrupt.
    pub fn step(&mut self, bus: &dyn GuestBus) -> Stop {
        self.stepped = true;
        self.engine.step(bus)
    }

    /// Instructions executed in the last turn; 0 if they are not counted, but for a step.
    pub fn executed(&self) -> u64 {
        if self.stepped || self.engine.counts() { self.engine.executed() } else { 0 }
    }

    /// Asleep in WFI or WFE.
    pub fn is_asleep(&self) -> bool {
        self.engine.is_asleep()
    }

    /// The program counter.
    pub fn pc(&self) -> u64 {
        self.engine.pc()
    }

    /// Sets the program counter (boot loaders, debuggers).
    pub fn set_pc(&mut self, pc: u64) {
        let (layout, slot) = (self.engine.isa().layout(), self.engine.isa().pc());
        layout.write(self.engine.state_mut(), slot, pc.into());
    }

    /// All slots.
    pub fn registers(&self) -> &'static [SlotDesc] {
        self.engine.isa().layout().slots
    }

    /// The register called `name`, zero-extended.
    pub fn register(&self, name: &str) -> Option<u128> {
        let layout = self.engine.isa().layout();
        Some(layout.read(self.engine.state(), layout.slot(name)?))
    }

    /// Sets the register called `name`; false if there is none.
    pub fn set_register(&mut self, name: &str, value: u128) -> bool {
        let layout = self.engine.isa().layout();
        let Some(slot) = layout.slot(name) else { return false };
        layout.write(self.engine.state_mut(), slot, value);
        true
    }

    /// The physical address of data at `va` as the CPU sees it now; `None` if it is not mapped.
    pub fn translate(&mut self, bus: &dyn GuestBus, va: u64) -> Option<GuestPhys> {
        let isa = self.engine.isa().clone();
        let mmu = isa.fetch_mmu(isa.block_key(self.engine.state()));
        self.engine.translate(bus, va, mmu)
    }

    /// Counters since it was made.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// The slots a snapshot holds: of those that overlap, the widest.
    fn saved(&self) -> impl Iterator<Item = (Slot, &'static SlotDesc)> + use<I> {
        let slots = self.engine.isa().layout().slots;
        let inside = |a: &SlotDesc, b: &SlotDesc| {
            let ((a0, a1), (b0, b1)) = (a.bit_range(), b.bit_range());
            b0 <= a0 && a1 <= b1
        };
        // Of two of the same place, the first.
        let hidden = move |index: usize, slot: &SlotDesc| {
            slots.iter().enumerate().any(|(other, wider)| other != index && inside(slot, wider) && (!inside(wider, slot) || other < index))
        };
        slots.iter().enumerate().filter(move |(index, slot)| !hidden(*index, slot)).map(|(index, slot)| (Slot(index as u16), slot))
    }

    /// Its state.
    pub fn save(&self) -> VcpuState {
        let isa = self.engine.isa();
        let slots = self.saved().map(|(slot, desc)| (desc.name.to_string(), isa.layout().read(self.engine.state(), slot))).collect();
        VcpuState {
            isa: isa.name().to_string(),
            slots,
            asleep: self.engine.sleep(),
            event: self.engine.event(),
            exclusive: self.engine.exclusive(),
        }
    }

    /// Takes over a saved state; nothing changes if it does not fit.
    pub fn load(&mut self, saved: &VcpuState) -> Result<(), LoadError> {
        let isa = self.engine.isa().clone();
        if saved.isa != isa.name() {
            return Err(LoadError::Isa { found: saved.isa.clone(), expected: isa.name() });
        }
        let layout = isa.layout();
        if let Some(name) = saved.slots.keys().find(|name| layout.slot(name).is_none()) {
            return Err(LoadError::Unknown(name.clone()));
        }
        let values: Vec<(Slot, u128)> = self
            .saved()
            .map(|(slot, desc)| saved.slots.get(desc.name).map(|value| (slot, *value)).ok_or(LoadError::Missing(desc.name)))
            .collect::<Result<_, _>>()?;
        let state = self.engine.state_mut();
        for (slot, value) in values {
            layout.write(state, slot, value);
        }
        self.engine.set_sleep(saved.asleep, saved.event);
        self.engine.set_exclusive(saved.exclusive);
        Ok(())
    }
}

fn stopped(stop: Stop) -> CpuStop {
    match stop {
        Stop::Asleep(_) => CpuStop::Asleep,
        Stop::Breakpoint => CpuStop::Breakpoint,
        Stop::Watchpoint(address, write) => CpuStop::Watchpoint(address, write),
        Stop::Budget | Stop::Exit | Stop::Exception(_) => CpuStop::Ran,
    }
}

impl<I: Isa> Cpu for Vcpu<I> {
    fn digest(&self) -> u64 {
        let mut hasher = FxHasher::default();
        self.engine.state().hash(&mut hasher);
        hasher.finish()
    }
    fn reset(&mut self) {
        Vcpu::reset(self);
    }
    fn run(&mut self, bus: &dyn GuestBus) -> CpuStop {
        stopped(Vcpu::run(self, bus))
    }
    fn step(&mut self, bus: &dyn GuestBus) -> CpuStop {
        stopped(Vcpu::step(self, bus))
    }
    fn set_debug_points(&mut self, points: &DebugPoints) {
        self.engine.set_debug_points(points);
    }
    fn use_tiers(&mut self, tiers: &Tiers) -> bool {
        self.engine.use_tiers(tiers)
    }
    fn count(&mut self, counted: bool) {
        self.engine.count(counted);
    }
    fn set_code_cache(&mut self, bytes: usize) {
        self.engine.set_code_cache(bytes);
    }
    fn big_endian(&self) -> bool {
        self.engine.isa().big_endian()
    }
    fn debug_registers(&self) -> &'static GdbDesc {
        self.engine.isa().gdb()
    }
    fn debug_register(&self, register: &GdbReg) -> u128 {
        register.read(self.engine.isa().layout(), self.engine.state())
    }
    fn set_debug_register(&mut self, register: &GdbReg, value: u128) {
        let layout = self.engine.isa().layout();
        register.write(layout, self.engine.state_mut(), value);
    }
    fn translate(&mut self, bus: &dyn GuestBus, va: u64) -> Option<GuestPhys> {
        Vcpu::translate(self, bus, va)
    }
    fn executed(&self) -> u64 {
        Vcpu::executed(self)
    }
    fn is_asleep(&self) -> bool {
        Vcpu::is_asleep(self)
    }
    fn wakes_on_event(&self) -> bool {
        self.engine.sleep() == Some(true)
    }
    fn pc(&self) -> u64 {
        Vcpu::pc(self)
    }
    fn block_key(&self) -> u64 {
        self.engine.isa().block_key(self.engine.state()).0
    }
    fn set_pc(&mut self, pc: u64) {
        Vcpu::set_pc(self, pc);
    }
    fn register(&self, name: &str) -> Option<u128> {
        Vcpu::register(self, name)
    }
    fn set_register(&mut self, name: &str, value: u128) -> bool {
        Vcpu::set_register(self, name, value)
    }
    fn set_perf_map(&mut self, map: &Arc<PerfMap>) {
        self.engine.set_perf_map(map);
    }
    fn use_store(&mut self, store: &Arc<Store>) {
        self.engine.use_store(store);
    }
    fn explain(&mut self, bus: &dyn GuestBus, pc: u64) -> Vec<Explained> {
        self.engine.explain_all(bus, pc)
    }
    fn explain_regions(&mut self, bus: &dyn GuestBus, pc: Option<u64>) -> Vec<ExplainedRegion> {
        self.engine.explain_regions(bus, pc)
    }
    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.stats().named()
    }
    fn save(&self) -> serde_json::Value {
        serde_json::to_value(Vcpu::save(self)).unwrap_or_default()
    }
    fn load(&mut self, state: &serde_json::Value) -> Result<(), String> {
        let state: VcpuState = serde_json::from_value(state.clone()).map_err(|e| e.to_string())?;
        Vcpu::load(self, &state).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
#[path = "../../ir/tests/common/mod.rs"]
#[allow(clippy::all)]
mod common;

#[cfg(test)]
mod tests {
    use super::common::{Bus, I, Toy, asm};
    use super::*;

    fn vcpu() -> (Bus, Vcpu<Toy>) {
        let bus = Bus::new(&[asm(I::Li, 1, 0, 5), asm(I::AddI, 2, 1, 6), asm(I::Wfe, 0, 0, 0), asm(I::AddI, 2, 2, 1)]);
        let mut cpu = Vcpu::new(Arc::new(Toy), 0);
        cpu.set_pc(0x1000);
        (bus, cpu)
    }

    #[test]
    fn registers_go_by_name() {
        let (bus, mut cpu) = vcpu();
        assert_eq!((cpu.step(&bus), cpu.step(&bus)), (Stop::Budget, Stop::Budget));
        assert_eq!((cpu.register("r2"), cpu.register("pc"), cpu.register("none")), (Some(11), Some(0x1008), None));
        assert!(cpu.set_register("r2", 0x1_0000_0007) && !cpu.set_register("none", 0));
        assert_eq!(cpu.register("r2"), Some(7));
    }

    #[test]
    fn a_step_counts_where_nothing_else_does() {
        let (bus, mut cpu) = vcpu();
        cpu.engine().use_quick_tier();
        cpu.engine().count(false);
        for count in [1, 1, 1, 0] {
            // The lines are looked at anew.
            bus.raise(0);
            cpu.step(&bus);
            assert_eq!(cpu.executed(), count, "at {:#x}", cpu.pc());
        }
        assert_eq!((cpu.run(&bus), cpu.executed()), (Stop::Asleep(true), 0));
    }

    #[test]
    fn a_snapshot_goes_on_where_it_was_taken() {
        let (bus, mut cpu) = vcpu();
        bus.limit.set(100);
        assert_eq!(cpu.run(&bus), Stop::Asleep(true));
        cpu.engine().set_exclusive(Some((0x2000, 4, u64::MAX)));
        let saved = cpu.save();
        assert_eq!(saved.exclusive, Some((0x2000, 4, u64::MAX)));
        let text = serde_json::to_string(&saved).unwrap();
        let (_, mut other) = vcpu();
        other.load(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(other.save(), saved);
        assert_eq!(other.run(&bus), Stop::Asleep(true));
        bus.limit.set(1);
        bus.attention.fetch_or(emu_memory::Attention::EVENT, std::sync::atomic::Ordering::Release);
        assert_eq!(other.run(&bus), Stop::Budget);
        assert_eq!(other.register("r2"), Some(12));
    }

    #[test]
    fn snapshots_of_others_are_refused() {
        let (_, mut cpu) = vcpu();
        let good = cpu.save();
        let mut odd = good.clone();
        odd.isa = "other".into();
        assert!(matches!(cpu.load(&odd), Err(LoadError::Isa { .. })));
        let mut odd = good.clone();
        odd.slots.insert("zz".into(), 1);
        assert_eq!(cpu.load(&odd), Err(LoadError::Unknown("zz".into())));
        let mut odd = good;
        odd.slots.remove("r3");
        assert_eq!(cpu.load(&odd), Err(LoadError::Missing("r3")));
    }
}

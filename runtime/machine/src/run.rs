//! Running a machine: turns for the vCPUs, timers, input, sleep, reset.
//!
//! In real time every vCPU has a thread of its own ([`crate::threads`]). In the virtual time modes, and when a debugger steps, they run in turn on one
//! thread, each for a slice of instructions, which ends where the next timer is due: an event at instruction N is taken before N + 1.

use crate::bus::CpuBus;
use crate::control::{Cause, Event};
use crate::cpu::{Cpu, CpuStop};
use crate::device::Nanos;
use crate::history::History;
use crate::machine::{Core, Handle, lock};
use crate::record::{Change, Journal};
use emu_ir::interp::{DebugPoints, Explained, ExplainedRegion, PerfMap, Tiers};
use emu_memory::{Access, Attention, BusError};
use emu_store::Store;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Instructions of a turn when nothing is due earlier.
pub(crate) const SLICE: u64 = 20_000;
/// How long a round is, at most, if nothing ends it: who calls it looks at other things between rounds.
const ROUND: Duration = Duration::from_millis(50);
/// Rounds after which a debugger that steps a sleeping CPU hears from it.
const MOST_ROUNDS: u32 = 1000;

/// A piece of memory to fill at power-on and every reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Bus.
    pub bus: usize,
    /// First address.
    pub at: u64,
    /// Contents.
    pub bytes: Vec<u8>,
    /// For messages.
    pub name: String,
}

/// How a CPU starts after a reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// CPU.
    pub cpu: usize,
    /// First instruction; `None`: the reset vector.
    pub pc: Option<u64>,
    /// Registers.
    pub registers: Vec<(String, u64)>,
}

/// Why a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Somebody stopped it, or the guest switched off: the exit code.
    Stopped(i32),
    /// The guest asked for a reset and the run was to end there.
    Reset,
    /// [`Handle::pause`] was called.
    Paused,
    /// A CPU is where the debugger wanted it to stop.
    Debug(usize, CpuStop),
    /// As many instructions have been executed as were asked for.
    Reached,
}

/// Where a round stands, in the time modes in which CPUs take turns. Whoever interrupts a round (a debugger, somebody who counts instructions) finds it in
/// the middle, and it goes on from there: what CPUs execute, and in which order, does not depend on who looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Whose turn it is.
    pub cpu: usize,
    /// Instructions left of the turn; `None`: it has not begun.
    pub left: Option<u64>,
    /// Somebody executed something in this round.
    pub busy: bool,
    /// Rounds so far after which something was another than before.
    pub rounds: u64,
}

impl Place {
    fn is_inside(&self) -> bool {
        self.cpu > 0 || self.left.is_some()
    }

    fn next_turn(&mut self) {
        (self.cpu, self.left) = (self.cpu + 1, None);
    }

    /// The next round begins.
    pub fn next_round(&mut self, happened: bool) {
        *self = Place { rounds: self.rounds + u64::from(happened), ..Place::default() };
    }
}

/// Where to stop in the middle of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// All CPUs together have executed so many instructions.
    Total(u64),
    /// This CPU has executed so many.
    Cpu(usize, u64),
}

/// What one stub saw.
#[derive(Clone, Debug)]
pub struct StubCount {
    /// Name.
    pub name: String,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

pub(crate) struct CpuSlot {
    pub cpu: Box<dyn Cpu>,
    /// Runs from power-on, without anything starting it.
    pub runs: bool,
    /// Held in reset, until something starts it.
    pub held: bool,
    pub executed: u64,
    /// How often its reset line had risen when it was looked at last, and that it starts from the reset state when that falls.
    pub resets: u32,
    pub restart: bool,
}

impl CpuSlot {
    /// Looks at the lines that hold a CPU: true if it may execute. A reset that ended starts it from the reset vector; how the board starts it concerns power-on
    /// only.
    pub fn is_ready(&mut self, core: &Core, cpu: usize) -> bool {
        let shared = &core.cpus[cpu];
        if let Some(input) = shared.reset {
            let (high, rises) = core.inputs[input].state();
            self.restart |= high || rises != self.resets;
            self.resets = rises;
            if high {
                return false;
            }
            if std::mem::take(&mut self.restart) {
                self.cpu.reset();
                self.held = false;
            }
        }
        !self.held && !shared.stop.is_some_and(|input| core.inputs[input].is_high())
    }

    /// Executes up to the bus's limit of instructions, or one; how many it were.
    pub fn execute(&mut self, bus: &CpuBus<'_>, once: bool) -> (CpuStop, u64) {
        let running = bus.core.running(bus.cpu);
        let stop = if once { self.cpu.step(bus) } else { self.cpu.run(bus) };
        drop(running);
        let executed = self.cpu.executed();
        self.executed += executed;
        (stop, executed)
    }
}

/// A machine, built and ready.
pub struct Machine {
    pub(crate) core: Core,
    pub(crate) cpus: Vec<CpuSlot>,
    /// CPUs that stopped for the debugger at the same time as one it heard of.
    pub(crate) stops: VecDeque<(usize, CpuStop)>,
    /// Memory contents at every reset.
    pub images: Vec<Image>,
    /// How CPUs start.
    pub starts: Vec<Start>,
    /// Executes nothing for now.
    pub(crate) held: bool,
    pub(crate) place: Place,
    /// What came from outside, if somebody wants to know.
    pub(crate) journal: Mutex<Option<Box<Journal>>>,
    pub(crate) history: Option<Box<History>>,
    /// End the run at a guest's reset instead of resetting.
    pub no_reboot: bool,
}

impl Machine {
    /// For other threads.
    pub fn handle(&self) -> Handle {
        self.core.handle.clone()
    }

    /// A device's number, by name.
    pub fn device(&self, name: &str) -> Option<usize> {
        self.core.devices.iter().position(|d| d.name == name)
    }

    /// Names of all devices, by number.
    pub fn device_names(&self) -> Vec<&str> {
        self.core.devices.iter().map(|d| d.name.as_str()).collect()
    }

    /// Names of all CPUs, by number.
    pub fn cpu_names(&self) -> Vec<&str> {
        self.core.cpus.iter().map(|c| c.name.as_str()).collect()
    }

    /// The exit code, once the run is to end.
    pub fn ended(&self) -> Option<i32> {
        self.core.handle.stopped()
    }

    /// A CPU.
    pub fn cpu(&mut self, index: usize) -> Option<&mut dyn Cpu> {
        self.cpus.get_mut(index).map(|c| &mut *c.cpu as &mut dyn Cpu)
    }

    /// Guest time.
    pub fn now(&self) -> Nanos {
        self.core.now()
    }

    /// Instructions executed by each CPU.
    pub fn executed(&self) -> Vec<u64> {
        self.cpus.iter().map(|c| c.executed).collect()
    }

    /// Counters of each CPU.
    pub fn counters(&self) -> Vec<Vec<(&'static str, u64)>> {
        self.cpus.iter().map(|c| c.cpu.counters()).collect()
    }

    /// Stubs that were touched.
    pub fn stubs(&self) -> Vec<StubCount> {
        let count = |s: &crate::bus::Stub| StubCount {
            name: s.name.clone(),
            reads: s.reads.load(Ordering::Relaxed),
            writes: s.writes.load(Ordering::Relaxed),
        };
        self.core.stubs.iter().map(count).filter(|s| s.reads + s.writes > 0).collect()
    }

    /// Reads memory or a device as the debugger.
    ///
    /// # Errors
    /// The bus's.
    pub fn read(&self, bus: usize, at: u64, size: u8, access: Access) -> Result<u64, BusError> {
        self.core.read(bus, at, size, access)
    }

    /// Writes memory or a device as the debugger.
    ///
    /// # Errors
    /// The bus's.
    pub fn write(&self, bus: usize, at: u64, size: u8, value: u64, access: Access) -> Result<(), BusError> {
        if self.note(|| Change::Write(bus, at, size, value)) {
            self.core.write(bus, at, size, value, access)
        } else {
            Err(BusError::Device)
        }
    }

    /// Lets devices see timers and input without running CPUs: for tests that only poke devices.
    pub fn settle(&self) {
        self.core.take_input();
        self.core.run_timers();
    }

    /// Fills memory (RAM or ROM).
    ///
    /// # Errors
    /// [`BusError::Decode`] where there is no memory.
    pub fn load(&self, bus: usize, at: u64, bytes: &[u8]) -> Result<(), BusError> {
        if self.note(|| Change::Load(bus, at, bytes.to_vec())) { self.fill(bus, at, bytes) } else { Err(BusError::Device) }
    }

    fn fill(&self, bus: usize, at: u64, bytes: &[u8]) -> Result<(), BusError> {
        let mut done = 0;
        while done < bytes.len() {
            let ram = self.core.ram(bus, at.wrapping_add(done as u64), Access::DEBUG).ok_or(BusError::Decode)?;
            let n = usize::try_from(ram.len).unwrap_or(usize::MAX).min(bytes.len() - done);
            if !ram.block.copy_in(ram.offset, &bytes[done..done + n]) {
                return Err(BusError::Decode);
            }
            done += n;
        }
        Ok(())
    }

    /// Power-on or reset: devices, memory images, CPUs.
    ///
    /// # Errors
    /// An image that lies where there is no memory: its name and address.
    pub fn reset(&mut self) -> Result<(), String> {
        if self.note(|| Change::Reset) { self.restart() } else { Ok(()) }
    }

    fn restart(&mut self) -> Result<(), String> {
        self.core.cpus.iter().for_each(|c| c.executed.store(0, Ordering::Relaxed));
        self.core.reset_devices();
        self.core.reset_asked.store(false, Ordering::Release);
        self.place.next_round(true);
        for image in &self.images {
            let failed = format!("`{}` ({} bytes at {:#x}) lies where there is no memory", image.name, image.bytes.len(), image.at);
            self.fill(image.bus, image.at, &image.bytes).map_err(|_| failed)?;
        }
        for i in 0..self.cpus.len() {
            self.start(i);
        }
        Ok(())
    }

    fn start(&mut self, i: usize) {
        let slot = &mut self.cpus[i];
        slot.cpu.reset();
        slot.held = !slot.runs;
        for s in self.starts.iter().filter(|s| s.cpu == i) {
            for (name, value) in &s.registers {
                slot.cpu.set_register(name, u128::from(*value));
            }
            if let Some(pc) = s.pc {
                slot.cpu.set_pc(pc);
            }
            slot.held = false;
        }
        let reset = self.core.cpus[i].reset.map_or((false, 0), |input| self.core.inputs[input].state());
        (slot.restart, slot.resets) = reset;
        self.core.cpus[i].attention.store(Attention::LINES, Ordering::Release);
    }

    /// Runs until somebody stops it.
    ///
    /// # Errors
    /// As [`Machine::reset`], when the guest resets the machine; no threads for the CPUs.
    pub fn run(&mut self) -> Result<Exit, String> {
        loop {
            let exit = if self.core.clock.is_realtime() { self.run_threads(None)? } else { self.round()? };
            if let Some(exit) = exit {
                return Ok(exit);
            }
        }
    }

    /// Runs for a short time: each CPU for a turn, or in real time all of them for some hundredths of a second; why the run is to end, if it is.
    ///
    /// # Errors
    /// As [`Machine::run`].
    pub fn round(&mut self) -> Result<Option<Exit>, String> {
        if self.core.clock.is_realtime() {
            return self.run_threads(Some(ROUND));
        }
        self.round_to(None)
    }

    /// As [`Machine::round`], but not beyond a place: [`Exit::Reached`] there, and before anything else happens. In real time it may be some rounds later.
    ///
    /// # Errors
    /// As [`Machine::run`].
    pub fn round_until(&mut self, goal: Goal) -> Result<Option<Exit>, String> {
        if !self.core.clock.is_realtime() {
            return self.round_to(Some(goal));
        }
        if self.before(Some(goal), 0).is_none() { Ok(Some(Exit::Reached)) } else { self.round() }
    }

    /// Instructions that CPU `i` may execute before the goal; `None`: it is reached.
    fn before(&self, goal: Option<Goal>, i: usize) -> Option<u64> {
        let (wanted, executed) = match goal {
            Some(Goal::Total(wanted)) => (wanted, self.cpus.iter().map(|c| c.executed).sum()),
            Some(Goal::Cpu(cpu, wanted)) => match self.cpus.get(cpu) {
                Some(slot) if cpu == i || slot.executed >= wanted => (wanted, slot.executed),
                _ => return Some(u64::MAX),
            },
            None => return Some(u64::MAX),
        };
        wanted.checked_sub(executed).filter(|left| *left > 0)
    }

    fn round_to(&mut self, goal: Option<Goal>) -> Result<Option<Exit>, String> {
        // Where it is reached nothing else may happen before the next call, not even input.
        if self.before(goal, self.place.cpu).is_none() {
            return Ok(Some(Exit::Reached));
        }
        if !self.place.is_inside() {
            self.remember()?;
        }
        if let Some(exit) = self.prepare(Some(ROUND))? {
            return Ok(Some(exit));
        }
        if self.held {
            return Ok(None);
        }
        while self.place.cpu < self.cpus.len() {
            let i = self.place.cpu;
            let Some(most) = self.before(goal, i) else { return Ok(Some(Exit::Reached)) };
            let Some(most) = self.before_past(most) else { return Ok(Some(Exit::Reached)) };
            match self.turn(i, most, false) {
                CpuStop::Ran | CpuStop::Asleep => {}
                stop => return Ok(Some(Exit::Debug(i, stop))),
            }
            if let Some(code) = self.core.handle.stopped() {
                return Ok(Some(Exit::Stopped(code)));
            }
            if self.core.reset_asked.load(Ordering::Acquire) {
                break;
            }
        }
        self.end_round();
        Ok(None)
    }

    /// All CPUs had their turns.
    fn end_round(&mut self) {
        let jumped = !self.place.busy && self.idle();
        self.place.next_round(self.place.busy || jumped);
    }

    /// One instruction of one CPU (none of a held machine), and what timers and input are due; why the run is to end, if it is.
    ///
    /// # Errors
    /// As [`Machine::reset`], when the guest resets the machine.
    pub fn step(&mut self, cpu: usize) -> Result<Option<Exit>, String> {
        if self.core.clock.is_deterministic() {
            return self.step_in_turn(cpu);
        }
        if let Some(exit) = self.prepare(Some(ROUND))? {
            return Ok(Some(exit));
        }
        if self.held || cpu >= self.cpus.len() {
            return Ok(None);
        }
        // Out of the order of turns, as the others stand still.
        self.place.next_round(true);
        self.place.cpu = cpu;
        let stop = self.turn(cpu, 1, true);
        self.place.next_round(true);
        Ok(match stop {
            CpuStop::Ran | CpuStop::Asleep => None,
            stop => Some(Exit::Debug(cpu, stop)),
        })
    }

    /// As [`Machine::step`], where the order of what CPUs execute is fixed: the others go on to where it is this one's turn. One that sleeps may sleep on.
    fn step_in_turn(&mut self, cpu: usize) -> Result<Option<Exit>, String> {
        for _ in 0..MOST_ROUNDS {
            if let Some(exit) = self.prepare(Some(ROUND))? {
                return Ok(Some(exit));
            }
            if self.held {
                return Ok(None);
            }
            while self.place.cpu < self.cpus.len() {
                let i = self.place.cpu;
                let before = (self.cpus[i].executed, self.cpus[i].cpu.digest());
                let Some(most) = self.before_past(u64::MAX) else { return Ok(Some(Exit::Reached)) };
                let stop = self.turn(i, most, i == cpu);
                // An interrupt that it takes is a step, too.
                let stepped = i == cpu && (self.cpus[i].executed, self.cpus[i].cpu.digest()) != before;
                match stop {
                    CpuStop::Ran | CpuStop::Asleep if stepped => return Ok(None),
                    CpuStop::Ran | CpuStop::Asleep => {}
                    stop => return Ok(Some(Exit::Debug(i, stop))),
                }
                if let Some(code) = self.core.handle.stopped() {
                    return Ok(Some(Exit::Stopped(code)));
                }
                if self.core.reset_asked.load(Ordering::Acquire) {
                    break;
                }
            }
            self.end_round();
        }
        Ok(None)
    }

    /// What comes before the CPUs' turns: tasks, the end of the run, resets, input, timers. A held machine waits this long, or until it goes on.
    pub(crate) fn prepare(&mut self, time: Option<Duration>) -> Result<Option<Exit>, String> {
        self.serve_tasks(time);
        if let Some(code) = self.core.handle.stopped() {
            return Ok(Some(Exit::Stopped(code)));
        }
        if self.core.handle.take_pause() {
            return Ok(Some(Exit::Paused));
        }
        if self.held {
            return Ok(None);
        }
        self.catch_up()
    }

    /// Does what is due now, between instructions: the reset a device asked for, input, timers; why the run is to end, if it is.
    ///
    /// # Errors
    /// As [`Machine::reset`].
    pub fn catch_up(&mut self) -> Result<Option<Exit>, String> {
        if self.core.reset_asked.load(Ordering::Acquire) {
            if self.no_reboot {
                self.core.handle.tell(Event::Ended(0, Cause::GuestReset));
                return Ok(Some(Exit::Reset));
            }
            self.restart()?;
            self.core.handle.tell(Event::Reset(Cause::GuestReset));
        }
        if !self.place.is_inside() {
            self.take_outside();
            self.core.run_timers();
        }
        if self.replay_ended() {
            return Ok(Some(Exit::Reached));
        }
        Ok(None)
    }

    /// Executes guest code in these tiers, on the CPUs that have them.
    pub fn use_tiers(&mut self, tiers: &Tiers) {
        self.cpus.iter_mut().for_each(|c| _ = c.cpu.use_tiers(tiers));
    }

    /// In real time nobody needs to know how many instructions CPUs execute: [`Machine::executed`] says 0 from now on.
    pub fn count_nothing(&mut self) {
        if self.core.clock.is_realtime() {
            self.cpus.iter_mut().for_each(|c| c.cpu.count(false));
        }
    }

    /// Limits each CPU's code cache to so many bytes, one of [`emu_ir::interp::CODE_CACHE`].
    pub fn set_code_cache(&mut self, bytes: usize) {
        self.cpus.iter_mut().for_each(|c| c.cpu.set_code_cache(bytes));
    }

    /// Enters generated code of all CPUs into this map from now on.
    pub fn set_perf_map(&mut self, map: &Arc<PerfMap>) {
        self.cpus.iter_mut().for_each(|c| c.cpu.set_perf_map(map));
    }

    /// Looks for translations in this store before they are made, and adds those made, from now on.
    pub fn use_store(&mut self, store: &Arc<Store>) {
        self.cpus.iter_mut().for_each(|c| c.cpu.use_store(store));
    }

    /// What a CPU's blocks with an instruction at this virtual address were translated into, or would be.
    pub fn explain(&mut self, cpu: usize, pc: u64) -> Vec<Explained> {
        let Some(slot) = self.cpus.get_mut(cpu) else { return Vec::new() };
        slot.cpu.explain(&CpuBus::new(&self.core, cpu, 0), pc)
    }

    /// A CPU's regions that hold this virtual address, or all, those that executed most first.
    pub fn explain_regions(&mut self, cpu: usize, pc: Option<u64>) -> Vec<ExplainedRegion> {
        let Some(slot) = self.cpus.get_mut(cpu) else { return Vec::new() };
        slot.cpu.explain_regions(&CpuBus::new(&self.core, cpu, 0), pc)
    }

    /// Where a debugger wants all CPUs to stop.
    pub fn set_debug_points(&mut self, points: &DebugPoints) {
        self.cpus.iter_mut().for_each(|c| c.cpu.set_debug_points(points));
    }

    /// One CPU's turn, but no more than so many instructions of it (or one); [`CpuStop::Asleep`] if it has nothing to do.
    fn turn(&mut self, i: usize, most: u64, once: bool) -> CpuStop {
        let (core, slot, place) = (&self.core, &mut self.cpus[i], &mut self.place);
        let attention = core.cpus[i].attention.fetch_and(!Attention::EXIT, Ordering::AcqRel) & !Attention::EXIT;
        if !slot.is_ready(core, i) || slot.cpu.is_asleep() && attention == 0 {
            place.next_turn();
            return CpuStop::Asleep;
        }
        let left = place.left.unwrap_or_else(|| {
            let next = lock(&core.timers).next().and_then(|next| core.clock.until(next));
            next.map_or(SLICE, |n| SLICE.min(n.max(1)))
        });
        let bus = CpuBus::new(core, i, left);
        bus.limit.set(if once { 1 } else { left.min(most) });
        let (stop, executed) = slot.execute(&bus, once);
        place.left = Some(bus.turn.get().saturating_sub(executed));
        place.busy |= executed > 0 || !matches!(stop, CpuStop::Asleep);
        // The end of the run is not the turn's: who takes the run up again goes on with it.
        let asked = bus.exited.get() && core.handle.stopped().is_none();
        if stop == CpuStop::Asleep || place.left == Some(0) || asked {
            place.next_turn();
        }
        core.clock.pass(executed);
        core.cpus[i].executed.store(0, Ordering::Relaxed);
        core.run_timers();
        if stop == CpuStop::Asleep && executed > 0 { CpuStop::Ran } else { stop }
    }

    /// Nothing runs: goes straight to the next timer, or sleeps until there is input; true if time passed.
    fn idle(&mut self) -> bool {
        let next = lock(&self.core.timers).next();
        match next {
            Some(at) => self.core.clock.jump(at),
            // What is to come is in the journal.
            None if lock(&self.journal).as_ref().is_some_and(|j| j.fixed || j.is_replaying()) => {}
            None => self.core.handle.wait(Some(ROUND)),
        }
        next.is_some()
    }
}

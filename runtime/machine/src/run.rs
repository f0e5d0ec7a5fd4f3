//! Running a machine: turns for the vCPUs, timers, input, sleep, reset.
//!
//! In real time every vCPU has a thread of its own ([`crate::threads`]). In the virtual time modes, and when a debugger steps, they run in turn on one
//! thread, each for a slice of instructions, which ends where the next timer is due: an event at instruction N is taken before N + 1.

use crate::bus::CpuBus;
use crate::cpu::{Cpu, CpuStop};
use crate::device::Nanos;
use crate::machine::{Core, Handle, lock};
use emu_ir::interp::{DebugPoints, Explained, ExplainedRegion, PerfMap, Tiers};
use emu_memory::{Access, Attention, BusError, PAGE_SIZE, RamSlice};
use emu_store::Store;
use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Instructions of a turn when nothing is due earlier.
const SLICE: u64 = 20_000;
/// How long a round is, at most, if nothing ends it: who calls it looks at other things between rounds.
const ROUND: Duration = Duration::from_millis(50);

/// A piece of memory to fill at power-on and every reset.
#[derive(Clone, Debug, Default)]
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
#[derive(Clone, Debug, Default)]
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

    /// Executes up to `limit` instructions, or one; how many it were.
    pub fn execute(&mut self, core: &Core, cpu: usize, limit: u64, once: bool) -> (CpuStop, u64) {
        let running = core.running(cpu);
        let bus = CpuBus { core, cpu, limit: Cell::new(limit) };
        let stop = if once { self.cpu.step(&bus) } else { self.cpu.run(&bus) };
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

    /// Connects a device's character port.
    pub fn connect(&mut self, device: usize, port: usize, sink: crate::machine::Sink) {
        if let Some(p) = self.core.devices.get(device).and_then(|d| d.ports.get(port)) {
            *lock(&p.sink) = Some(sink);
        }
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
        self.core.write(bus, at, size, value, access)
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
        self.core.cpus.iter().for_each(|c| c.executed.store(0, Ordering::Relaxed));
        self.core.reset_devices();
        self.core.reset_asked.store(false, Ordering::Release);
        for image in &self.images {
            let failed = format!("`{}` ({} bytes at {:#x}) lies where there is no memory", image.name, image.bytes.len(), image.at);
            self.load(image.bus, image.at, &image.bytes).map_err(|_| failed)?;
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
        if let Some(exit) = self.prepare()? {
            return Ok(Some(exit));
        }
        let mut busy = false;
        for i in 0..self.cpus.len() {
            match self.turn(i, false) {
                CpuStop::Ran => busy = true,
                CpuStop::Asleep => {}
                stop => return Ok(Some(Exit::Debug(i, stop))),
            }
            if self.core.reset_asked.load(Ordering::Acquire) {
                break;
            }
        }
        if !busy {
            self.idle();
        }
        Ok(None)
    }

    /// One instruction of one CPU, and what timers and input are due; why the run is to end, if it is.
    ///
    /// # Errors
    /// As [`Machine::reset`], when the guest resets the machine.
    pub fn step(&mut self, cpu: usize) -> Result<Option<Exit>, String> {
        if let Some(exit) = self.prepare()? {
            return Ok(Some(exit));
        }
        if cpu >= self.cpus.len() {
            return Ok(None);
        }
        Ok(match self.turn(cpu, true) {
            CpuStop::Ran | CpuStop::Asleep => None,
            stop => Some(Exit::Debug(cpu, stop)),
        })
    }

    /// What comes before the CPUs' turns: the end of the run, resets, input, timers.
    pub(crate) fn prepare(&mut self) -> Result<Option<Exit>, String> {
        if let Some(code) = self.core.handle.stopped() {
            return Ok(Some(Exit::Stopped(code)));
        }
        if self.core.handle.take_pause() {
            return Ok(Some(Exit::Paused));
        }
        if self.core.reset_asked.load(Ordering::Acquire) {
            if self.no_reboot {
                return Ok(Some(Exit::Reset));
            }
            self.reset()?;
        }
        self.core.take_input();
        self.core.run_timers();
        Ok(None)
    }

    /// Executes guest code in these tiers, on the CPUs that have them.
    pub fn use_tiers(&mut self, tiers: &Tiers) {
        self.cpus.iter_mut().for_each(|c| _ = c.cpu.use_tiers(tiers));
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
        slot.cpu.explain(&CpuBus { core: &self.core, cpu, limit: Cell::new(0) }, pc)
    }

    /// A CPU's regions that hold this virtual address, or all, those that executed most first.
    pub fn explain_regions(&mut self, cpu: usize, pc: Option<u64>) -> Vec<ExplainedRegion> {
        let Some(slot) = self.cpus.get_mut(cpu) else { return Vec::new() };
        slot.cpu.explain_regions(&CpuBus { core: &self.core, cpu, limit: Cell::new(0) }, pc)
    }

    /// Where a debugger wants all CPUs to stop.
    pub fn set_debug_points(&mut self, points: &DebugPoints) {
        self.cpus.iter_mut().for_each(|c| c.cpu.set_debug_points(points));
    }

    /// Reads memory as a CPU sees it, at virtual addresses, up to where nothing is mapped; how many bytes. Devices are read as the
    /// debugger, in words where the address allows.
    pub fn debug_read(&mut self, cpu: usize, va: u64, buffer: &mut [u8]) -> usize {
        self.debug_access(cpu, va, buffer.len(), |core, bus, at, ram, piece| {
            let (n, buffer) = (piece.len(), &mut buffer[piece]);
            match ram {
                Some(ram) => ram.block.copy_out(ram.offset, buffer),
                None => core.read(bus, at, n as u8, Access::DEBUG).map(|v| buffer.copy_from_slice(&v.to_le_bytes()[..n])).is_ok(),
            }
        })
    }

    /// Writes memory as a CPU sees it; false if something of it is not mapped (what comes before is written).
    pub fn debug_write(&mut self, cpu: usize, va: u64, bytes: &[u8]) -> bool {
        let done = self.debug_access(cpu, va, bytes.len(), |core, bus, at, ram, piece| match ram {
            Some(ram) => ram.block.copy_in(ram.offset, &bytes[piece]),
            None => {
                let mut word = [0; 8];
                word[..piece.len()].copy_from_slice(&bytes[piece.clone()]);
                core.write(bus, at, piece.len() as u8, u64::from_le_bytes(word), Access::DEBUG).is_ok()
            }
        });
        done == bytes.len()
    }

    /// Goes over `len` bytes from a virtual address, up to where nothing is mapped or `access` refuses; how many bytes. `access` gets bus, physical
    /// address and memory of each piece (`None`: a device, a word or a byte of it), and which of the bytes it is.
    fn debug_access(
        &mut self,
        cpu: usize,
        va: u64,
        len: usize,
        mut access: impl FnMut(&Core, usize, u64, Option<RamSlice>, Range<usize>) -> bool,
    ) -> usize {
        let mut done = 0;
        while done < len {
            let Some((bus, at, room)) = self.debug_place(cpu, va.wrapping_add(done as u64)) else { break };
            let room = room.min(len - done);
            let ram = self.core.ram(bus, at, Access::DEBUG).filter(|r| r.len > 0);
            let n = match &ram {
                Some(ram) => usize::try_from(ram.len).unwrap_or(usize::MAX).min(room),
                None if at.is_multiple_of(4) && room >= 4 => 4,
                None => 1,
            };
            if !access(&self.core, bus, at, ram, done..done + n) {
                break;
            }
            done += n;
        }
        done
    }

    /// Bus and physical address of a virtual one, and the bytes to the end of its page.
    fn debug_place(&mut self, cpu: usize, va: u64) -> Option<(usize, u64, usize)> {
        let slot = self.cpus.get_mut(cpu)?;
        let bus = CpuBus { core: &self.core, cpu, limit: Cell::new(0) };
        let at = slot.cpu.translate(&bus, va)?;
        Some((self.core.cpus[cpu].bus, at.0, (PAGE_SIZE - va % PAGE_SIZE) as usize))
    }

    /// One CPU's turn (or one instruction of it); [`CpuStop::Asleep`] if it has nothing to do.
    fn turn(&mut self, i: usize, once: bool) -> CpuStop {
        let (core, slot) = (&self.core, &mut self.cpus[i]);
        let attention = core.cpus[i].attention.fetch_and(!Attention::EXIT, Ordering::AcqRel) & !Attention::EXIT;
        if !slot.is_ready(core, i) || slot.cpu.is_asleep() && attention == 0 {
            return CpuStop::Asleep;
        }
        let mut limit = if once { 1 } else { SLICE };
        if let Some(next) = lock(&core.timers).next()
            && let Some(n) = core.clock.until(next)
        {
            limit = limit.min(n.max(1));
        }
        let (stop, executed) = slot.execute(core, i, limit, once);
        core.clock.pass(executed);
        core.cpus[i].executed.store(0, Ordering::Relaxed);
        core.run_timers();
        if stop == CpuStop::Asleep && executed > 0 { CpuStop::Ran } else { stop }
    }

    /// Nothing runs: goes straight to the next timer, or sleeps until there is input.
    fn idle(&mut self) {
        let next = lock(&self.core.timers).next();
        match next {
            Some(at) => self.core.clock.jump(at),
            None => self.core.handle.wait(Some(ROUND)),
        }
    }
}

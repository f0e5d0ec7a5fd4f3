//! Driving a machine from outside instead of running it: a client reads and writes as a CPU would, lets guest time pass, watches lines and sets
//! inputs; the CPUs execute nothing.
//!
//! Data path: client -> [`crate::Handle::call`] -> these methods -> the devices; and back: a line that is watched has a number, and when it changes
//! its watcher is called, at once and in the order of changes. A line nobody watches costs one look at its number when it changes.

use crate::device::Nanos;
use crate::lines::{Input, InputLine};
use crate::machine::{Core, lock};
use crate::run::{Exit, Machine};
use emu_memory::{Access, BusError};
use std::sync::atomic::{AtomicU32, Ordering};

/// A line of a machine that can be watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// A device's output.
    DeviceOutput {
        /// Device.
        device: usize,
        /// Output port of its type.
        port: usize,
        /// Line in the port.
        index: u32,
    },
    /// A CPU's output.
    CpuOutput {
        /// CPU.
        cpu: usize,
        /// Output port of its type.
        port: usize,
        /// Line in the port.
        index: u32,
    },
    /// An input. One that has no wire never changes.
    Input(Input),
}

/// Who hears of watched lines: the line's number and its new level. Called under locks of devices: must not call the machine.
pub type LineWatcher = Box<dyn FnMut(usize, bool) + Send>;

/// The number a line is watched by, plus one; 0: nobody watches it.
#[derive(Debug, Default)]
pub(crate) struct Watched(AtomicU32);

impl Core {
    /// Tells the watcher of a line's new level, if there is one.
    pub fn note(&self, watched: &Watched, level: bool) {
        if let Some(number) = watched.0.load(Ordering::Relaxed).checked_sub(1)
            && let Some(watcher) = lock(&self.watcher).as_mut()
        {
            watcher(number as usize, level);
        }
    }
}

impl Machine {
    /// Runs without the CPUs: does tasks, takes input and resets until the run is to end. In the virtual time modes time stands still but for
    /// [`Machine::advance`].
    ///
    /// # Errors
    /// As [`Machine::reset`], when a device resets the machine.
    pub fn run_without_cpus(&mut self) -> Result<Exit, String> {
        loop {
            if let Some(exit) = self.prepare(None)? {
                return Ok(exit);
            }
            self.core.handle.wait(None);
        }
    }

    /// Lets guest time pass until `to`, where instructions are time; timers run in order, each at its time, and so do resets. It does not go back, and
    /// stands still from a device's power-off on, or another end of the run.
    ///
    /// # Errors
    /// As [`Machine::reset`], when a device resets the machine.
    pub fn advance(&mut self, to: Nanos) -> Result<(), String> {
        while !self.core.clock.is_realtime() && !self.core.handle.is_ending() && self.catch_up()?.is_none() {
            if self.core.reset_asked.load(Ordering::Acquire) {
                // A timer asked for it: it is due before time goes on.
                continue;
            }
            let now = self.now();
            if now >= to {
                break;
            }
            let next = match self.next_timer() {
                Some(at) if at > now => at.min(to),
                Some(_) => {
                    self.core.log_once("timers do not come to rest: time goes on without them", None);
                    to
                }
                None => to,
            };
            self.core.clock.jump(next);
        }
        Ok(())
    }

    /// Reads bytes in the order of addresses; what is not memory in naturally aligned accesses of at most four bytes.
    ///
    /// # Errors
    /// The bus's, for the first access that fails; what comes before is done.
    pub fn read_bytes(&self, bus: usize, at: u64, buffer: &mut [u8], access: Access) -> Result<(), BusError> {
        self.pieces(bus, at, buffer.len(), access, |core, at, ram, done, n| {
            let part = &mut buffer[done..done + n];
            if let Some(ram) = ram {
                return if ram.block.copy_out(ram.offset, part) { Ok(()) } else { Err(BusError::Decode) };
            }
            part.copy_from_slice(&core.read(bus, at, n as u8, access)?.to_le_bytes()[..n]);
            Ok(())
        })
    }

    /// Writes bytes as [`Machine::read_bytes`] reads them.
    ///
    /// # Errors
    /// The bus's, for the first access that fails; what comes before is done.
    pub fn write_bytes(&self, bus: usize, at: u64, bytes: &[u8], access: Access) -> Result<(), BusError> {
        self.pieces(bus, at, bytes.len(), access, |core, at, ram, done, n| {
            let part = &bytes[done..done + n];
            if let Some(ram) = ram {
                // A write to ROM goes nowhere.
                return if !ram.writable || ram.block.copy_in(ram.offset, part) { Ok(()) } else { Err(BusError::Decode) };
            }
            let mut word = [0; 8];
            word[..n].copy_from_slice(part);
            core.write(bus, at, n as u8, u64::from_le_bytes(word), access)
        })
    }

    fn pieces(
        &self,
        bus: usize,
        at: u64,
        len: usize,
        access: Access,
        mut piece: impl FnMut(&Core, u64, Option<emu_memory::RamSlice>, usize, usize) -> Result<(), BusError>,
    ) -> Result<(), BusError> {
        let mut done = 0;
        while done < len {
            let (at, rest) = (at.wrapping_add(done as u64), len - done);
            let ram = self.core.ram(bus, at, access);
            let n = match &ram {
                Some(ram) => usize::try_from(ram.len).unwrap_or(usize::MAX).min(rest),
                None => [4, 2, 1].into_iter().find(|n| at.is_multiple_of(*n as u64) && *n <= rest).unwrap_or(1),
            };
            piece(&self.core, at, ram, done, n)?;
            done += n;
        }
        Ok(())
    }

    /// Gives a device's input line a level, whatever drives it, until something that drives it changes.
    pub fn set_input(&mut self, device: usize, port: usize, index: u32, level: bool) {
        if device < self.core.devices.len() {
            self.core.call(device, None, |d, cx| d.line_changed(port, index, level, cx));
        }
    }

    /// Calls `watcher` whenever one of these lines changes, with its place among them; first for those that are high. Nobody hears of other lines any more.
    pub fn watch(&mut self, lines: &[Line], watcher: LineWatcher) {
        let outputs =
            self.core.devices.iter().flat_map(|d| d.outputs.iter().flatten()).chain(self.core.cpus.iter().flat_map(|c| c.outputs.values()));
        let all = outputs.map(|line| &line.watched).chain(self.core.inputs.iter().map(|line| &line.watched));
        all.for_each(|watched| watched.0.store(0, Ordering::Relaxed));
        *lock(&self.core.watcher) = Some(watcher);
        for (line, number) in lines.iter().zip(1..) {
            if let Some((watched, level)) = self.core.line(*line) {
                watched.0.store(number, Ordering::Relaxed);
                if level {
                    self.core.note(watched, true);
                }
            }
        }
    }
}

impl Core {
    /// How a line is watched, and its level.
    fn line(&self, line: Line) -> Option<(&Watched, bool)> {
        let output = match line {
            Line::DeviceOutput { device, port, index } => self.devices.get(device)?.outputs.get(port)?.get(index as usize)?,
            Line::CpuOutput { cpu, port, index } => self.cpus.get(cpu)?.outputs.get(&(port, index))?,
            Line::Input(input) => {
                let line: &InputLine = self.inputs.iter().find(|line| line.at == input)?;
                return Some((&line.watched, line.is_high()));
            }
        };
        Some((&output.watched, output.level.load(Ordering::Acquire)))
    }
}

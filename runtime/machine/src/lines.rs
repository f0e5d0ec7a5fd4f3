//! Lines between devices and CPUs.
//!
//! An output changes under the lock of the device that drives it, so in the order of its calls. An input counts its drivers that are high, and
//! how often it rose. Who listens is told when the driver's lock is free, and compares with what it was told last, under its own lock: in whatever
//! order threads arrive, it hears of every pulse and last of the level there is. A CPU is not told, but asked to look.

use crate::backend::Drive;
use crate::device::Hertz;
use crate::driven::Watched;
use crate::machine::Core;
use emu_memory::Attention;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Where a line ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Input {
    /// A device's input line.
    Device {
        /// Device.
        device: usize,
        /// Input port of its type.
        port: usize,
        /// Line in the port.
        index: u32,
    },
    /// An input line of a CPU's instruction set, by bit.
    Cpu {
        /// CPU.
        cpu: usize,
        /// Bit in its levels.
        bit: u32,
    },
    /// Held in reset while high.
    CpuReset(usize),
    /// Clock stopped while high.
    CpuStop(usize),
    /// A region of an address space is there while the level is this one.
    Place {
        /// Bus.
        bus: usize,
        /// Region of its space.
        region: usize,
        /// The level.
        shown: bool,
    },
}

#[derive(Debug, Default)]
pub(crate) struct OutputLine {
    pub level: AtomicBool,
    /// Inputs it goes to, by number.
    pub to: Vec<usize>,
    pub watched: Watched,
}

/// One rise, in the upper half of an input's state; the lower half counts drivers that are high.
const RISE: u64 = 1 << 32;

fn is_high(state: u64) -> bool {
    state as u32 != 0
}

fn rises(state: u64) -> u32 {
    (state / RISE) as u32
}

#[derive(Debug)]
pub(crate) struct InputLine {
    pub at: Input,
    now: AtomicU64,
    /// The state its device has heard of; changes under that device's lock.
    told: AtomicU64,
    pub watched: Watched,
}

impl InputLine {
    pub fn new(at: Input) -> InputLine {
        InputLine { at, now: AtomicU64::new(0), told: AtomicU64::new(0), watched: Watched::default() }
    }

    pub fn is_high(&self) -> bool {
        self.state().0
    }

    /// The level, and how often it rose so far, modulo 2^32.
    pub fn state(&self) -> (bool, u32) {
        let now = self.now.load(Ordering::Acquire);
        (is_high(now), rises(now))
    }

    /// One of its drivers changed; true if the input did.
    fn drive(&self, level: bool) -> bool {
        let next = |now: u64| match level {
            true if is_high(now) => now + 1,
            true => now.wrapping_add(RISE + 1),
            false => now - 1,
        };
        let mut now = self.now.load(Ordering::Relaxed);
        while let Err(found) = self.now.compare_exchange_weak(now, next(now), Ordering::AcqRel, Ordering::Relaxed) {
            now = found;
        }
        is_high(now) != is_high(next(now))
    }

    /// The levels it took since the last call, in order. For who holds the listening device's lock.
    fn changes(&self) -> impl Iterator<Item = bool> + use<> {
        let now = self.now.load(Ordering::Acquire);
        let told = self.told.swap(now, Ordering::Relaxed);
        let (was, rises) = (is_high(told), rises(now).wrapping_sub(rises(told)));
        let changes = 2 * u64::from(rises) + u64::from(was) - u64::from(is_high(now));
        (0..changes).map(move |n| (n % 2 == 0) != was)
    }

    /// Goes on with so many drivers high and so many rises, of which its device knows.
    pub fn set(&self, high: u32, rises: u32) {
        let state = u64::from(rises) * RISE + u64::from(high);
        self.now.store(state, Ordering::Release);
        self.told.store(state, Ordering::Relaxed);
    }

    /// The level, of which its device hears as if it had known nothing.
    fn level_anew(&self) -> bool {
        let now = self.now.load(Ordering::Acquire);
        self.told.store(now, Ordering::Relaxed);
        is_high(now)
    }
}

/// What is left to do when a device's call has returned and its lock is free.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Follow {
    /// Who listens at this input is to be told.
    Input(usize),
    /// A clock output changed.
    Clocks,
    /// A device is to hear of a part that raised its hand.
    Part { device: usize, slot: usize, at: u32 },
}

impl Core {
    /// Does what follows from devices' calls until nothing is left.
    pub fn settle(&self, mut queue: VecDeque<Follow>) {
        // Wires in a circle would never come to rest; a real one oscillates.
        let mut budget = 100_000u32;
        while let Some(follow) = queue.pop_front() {
            budget -= 1;
            if budget == 0 {
                self.log_once("lines do not come to rest: a loop in the board's wires?", None);
                break;
            }
            match follow {
                Follow::Input(input) => self.tell(input, &mut queue),
                Follow::Clocks => self.spread_clocks(&mut queue),
                Follow::Part { device, slot, at } => self.call_only(device, None, &mut queue, |d, cx| d.part_changed(slot, at, cx)),
            }
        }
    }

    /// Drives an output line of a vCPU.
    pub fn set_cpu_output(&self, cpu: usize, port: usize, index: u32, level: bool) {
        let Some(line) = self.cpus.get(cpu).and_then(|c| c.outputs.get(&(port, index))) else { return };
        let mut queue = VecDeque::new();
        self.set_output(line, level, &mut queue);
        self.settle(queue);
    }

    /// Gives a line a level; who listens at inputs that changed is in the queue. For who holds the driving device's lock.
    pub fn set_output(&self, line: &OutputLine, level: bool, queue: &mut VecDeque<Follow>) {
        if line.level.swap(level, Ordering::AcqRel) != level {
            self.note(&line.watched, level);
            let driven = |input: &usize| self.inputs.get(*input).is_some_and(|i| i.drive(level) && self.changed(i, level));
            queue.extend(line.to.iter().copied().filter(driven).map(Follow::Input));
        }
    }

    /// An input took another level.
    fn changed(&self, line: &InputLine, level: bool) -> bool {
        self.note(&line.watched, level);
        true
    }

    fn tell(&self, input: usize, queue: &mut VecDeque<Follow>) {
        let Some(line) = self.inputs.get(input) else { return };
        match line.at {
            Input::Device { device, port, index } => self.call_only(device, None, queue, |d, cx| {
                line.changes().for_each(|level| d.line_changed(port, index, level, cx));
            }),
            Input::Cpu { cpu, .. } => self.attend(cpu, Attention::LINES),
            Input::CpuReset(cpu) | Input::CpuStop(cpu) => self.attend(cpu, Attention::EXIT),
            Input::Place { .. } => self.show(line),
        }
    }

    /// A place of an address space appears, or goes, as its line says.
    fn show(&self, line: &InputLine) {
        let Input::Place { bus, region, shown } = line.at else { return };
        let Some(space) = self.buses.get(bus).map(|bus| &bus.space) else { return };
        let hidden = line.is_high() != shown;
        if space.regions().get(region).is_some_and(|region| region.hidden.swap(hidden, Ordering::AcqRel) != hidden) {
            space.commit();
            self.attend_all(Attention::FLUSH_TLB);
        }
    }

    /// All places appear, or go, as their lines say.
    pub fn show_places(&self) {
        self.inputs.iter().for_each(|line| self.show(line));
    }

    /// The levels of a vCPU's input lines, by bit.
    pub fn levels(&self, cpu: usize) -> u64 {
        let level = |(bit, input): &(u32, usize)| u64::from(self.inputs[*input].is_high()) << bit;
        self.cpus[cpu].inputs.iter().map(level).fold(0, |all, bit| all | bit)
    }

    /// Resets all devices. Outputs begin low; only when every device has been reset are inputs that are high, or no longer high, told so.
    pub fn reset_devices(&self) {
        crate::machine::lock(&self.timers).disarm_all();
        self.devices.iter().flat_map(|d| &d.drives).for_each(Drive::forget);
        let before: Vec<bool> = self.inputs.iter().map(InputLine::is_high).collect();
        let mut queue = VecDeque::new();
        let cpu_outputs = self.cpus.iter().flat_map(|c| c.outputs.values());
        for line in self.devices.iter().flat_map(|d| d.outputs.iter().flatten()).chain(cpu_outputs) {
            self.set_output(line, false, &mut queue);
        }
        for device in 0..self.devices.len() {
            self.call_only(device, None, &mut queue, |d, cx| d.reset(cx));
        }
        // What changed meanwhile is not told one by one.
        queue.retain(|follow| !matches!(follow, Follow::Input(_)));
        let concerned: Vec<bool> = self.inputs.iter().zip(before).map(|(line, before)| before | line.level_anew()).collect();
        for (input, line) in self.inputs.iter().enumerate().filter(|(input, _)| concerned[*input]) {
            match line.at {
                Input::Device { device, port, index } => {
                    self.call_only(device, None, &mut queue, |d, cx| d.line_changed(port, index, line.level_anew(), cx));
                }
                _ => self.tell(input, &mut queue),
            }
        }
        self.settle(queue);
    }

    /// Tells every device whose clock input changed. Each frequency is computed under its device's lock, so that the last told is the last there was.
    pub fn spread_clocks(&self, queue: &mut VecDeque<Follow>) {
        for (i, d) in self.devices.iter().enumerate().filter(|(_, d)| !d.clocks_in.is_empty()) {
            self.call_only(i, None, queue, |device, cx| {
                for (port, (source, hz)) in d.clocks_in.iter().enumerate() {
                    let now = self.frequency(*source);
                    if hz.swap(now, Ordering::AcqRel) != now {
                        device.clock_changed(port, Hertz(now), cx);
                    }
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_comes_late_hears_of_every_pulse_and_of_the_level_last() {
        let line = InputLine::new(Input::CpuStop(0));
        let heard = |line: &InputLine| line.changes().collect::<Vec<bool>>();
        assert!(line.drive(true) && !line.drive(true) && !line.drive(false) && line.drive(false));
        assert_eq!(heard(&line), [true, false]);
        assert!(line.drive(true));
        assert_eq!(heard(&line), [true]);
        for level in [false, true, false, true, true] {
            line.drive(level);
        }
        assert_eq!(heard(&line), [false, true, false, true]);
        assert!(!line.drive(false));
        assert_eq!(heard(&line), [false; 0]);
        assert!(line.drive(false));
        assert_eq!(heard(&line), [false]);
        assert_eq!(line.state(), (false, 4));
    }
}

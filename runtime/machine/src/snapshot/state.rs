//! The part of a snapshot that is plain data: devices, CPUs, lines, clocks, timers, queues; and how it gets into a machine.

use super::chunks::{CHUNK, Chunks};
use super::{disk, in_order};
use crate::backend::Posted;
use crate::backend::{DiskResult, FRAMES};
use crate::device::Nanos;
use crate::lines::OutputLine;
use crate::machine::{DeviceSlot, lock};
use crate::run::{Machine, Place, SLICE};
use emu_memory::Attention;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What is asked of a vCPU for its own caches' sake, or is over when its next turn begins.
const NOT_SAVED: u32 = Attention::CODE | Attention::REGION | Attention::FLUSH_TLB | Attention::EXIT;
/// Guest time, and instructions, beyond which nobody has come: sums of them do not overflow.
const MOST: u64 = 1 << 60;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub now: Nanos,
    counted: Option<(Nanos, u64)>,
    place: Place,
    reset_asked: bool,
    cpus: Vec<CpuState>,
    devices: Vec<DeviceState>,
    /// How often each input rose.
    rises: Vec<u32>,
    /// Device, timer, deadline.
    timers: Vec<(usize, u32, Nanos)>,
    stubs: Vec<StubState>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CpuState {
    cpu: Value,
    held: bool,
    executed: u64,
    resets: u32,
    restart: bool,
    attention: u32,
    /// Levels of its output lines that have wires.
    outputs: Vec<bool>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct DeviceState {
    name: String,
    device: Value,
    outputs: Vec<Vec<bool>>,
    clocks: Vec<u64>,
    /// Bytes that wait at its character ports.
    input: Vec<Vec<u8>>,
    drives: Vec<DriveState>,
    nics: Vec<NicState>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct DriveState {
    /// Bytes, and whether it is read-only, of what was in it.
    medium: Option<(u64, bool)>,
    /// What its image has of its own, if it is writable.
    pub ranges: Vec<(u64, u64)>,
    pending: Vec<(u32, Nanos, DiskResult)>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct NicState {
    up: bool,
    frames: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct StubState {
    reads: u64,
    writes: u64,
    toggles: Vec<(u64, u64)>,
}

fn levels(lines: &[OutputLine]) -> Vec<bool> {
    lines.iter().map(|line| line.level.load(Relaxed)).collect()
}

pub(super) fn save(machine: &Machine, before: Option<&[Chunks]>) -> Result<(State, Vec<Chunks>), String> {
    let core = &machine.core;
    let mut disks = Vec::new();
    let mut devices = Vec::new();
    for slot in &core.devices {
        let mut drives = Vec::new();
        for drive in &slot.drives {
            drive.wait();
            let medium = drive.medium().map(|m| (m.size, m.read_only));
            let mut state = DriveState { medium, ranges: vec![], pending: drive.pending() };
            if let (Some((_, false)), Some(shared)) = (medium, drive.disk()) {
                let first = disks.len();
                let (ranges, contents) = disk(&shared, |n| before?.get(first + n).cloned())?;
                state.ranges = ranges;
                disks.extend(contents);
            }
            drives.push(state);
        }
        devices.push(DeviceState {
            name: slot.name.clone(),
            device: lock(&slot.device).save(),
            outputs: slot.outputs.iter().map(|port| levels(port)).collect(),
            clocks: slot.clocks_out.iter().map(|hz| hz.load(Relaxed)).collect(),
            input: slot.ports.iter().map(|port| lock(&port.queue).iter().copied().collect()).collect(),
            drives,
            nics: slot
                .nics
                .iter()
                .map(|nic| NicState { up: nic.shared.up.load(Relaxed), frames: lock(&nic.queue).iter().cloned().collect() })
                .collect(),
        });
    }
    let cpus = machine.cpus.iter().zip(&core.cpus).map(|(slot, shared)| CpuState {
        cpu: slot.cpu.save(),
        held: slot.held,
        executed: slot.executed,
        resets: slot.resets,
        restart: slot.restart,
        attention: shared.attention.load(Acquire) & !NOT_SAVED,
        outputs: shared.outputs.values().map(|line| line.level.load(Relaxed)).collect(),
    });
    let stubs = core.stubs.iter().map(|stub| {
        let mut toggles: Vec<_> = lock(&stub.words).iter().map(|(at, word)| (*at, *word)).collect();
        toggles.sort_unstable();
        StubState { reads: stub.reads.load(Relaxed), writes: stub.writes.load(Relaxed), toggles }
    });
    let (now, counted) = core.clock.save();
    let state = State {
        now,
        counted,
        place: machine.place,
        reset_asked: core.reset_asked.load(Acquire),
        cpus: cpus.collect(),
        devices,
        rises: core.inputs.iter().map(|line| line.state().1).collect(),
        timers: lock(&core.timers).armed(),
        stubs: stubs.collect(),
    };
    Ok((state, disks))
}

impl DeviceState {
    fn fits(&self, slot: &DeviceSlot) -> bool {
        let lens = |outputs: &[Vec<bool>]| outputs.iter().map(Vec::len).collect::<Vec<_>>();
        self.name == slot.name
            && lens(&self.outputs) == slot.outputs.iter().map(Vec::len).collect::<Vec<_>>()
            && self.clocks.len() == slot.clocks_out.len()
            && self.input.len() == slot.ports.len()
            && self.drives.len() == slot.drives.len()
            && self.nics.len() == slot.nics.len()
            && self.nics.iter().all(|nic| nic.frames.len() <= FRAMES)
    }
}

impl State {
    /// The sizes of the disks' contents that belong to it.
    pub fn contents(&self) -> impl Iterator<Item = u64> {
        self.drives().flat_map(|d| &d.ranges).map(|(from, to)| to.saturating_sub(*from))
    }

    fn drives(&self) -> impl Iterator<Item = &DriveState> {
        self.devices.iter().flat_map(|d| &d.drives)
    }

    /// Instructions a CPU had executed.
    pub fn executed(&self, cpu: usize) -> u64 {
        self.cpus.get(cpu).map_or(0, |c| c.executed)
    }

    /// Looks whether it fits this machine, but for the states of devices and CPUs.
    pub fn check(&self, machine: &Machine, disks: &[Chunks]) -> Result<(), String> {
        let core = &machine.core;
        let damaged = || "it is damaged: its parts do not fit together".to_string();
        let fits = self.devices.len() == core.devices.len()
            && self.devices.iter().zip(&core.devices).all(|(state, slot)| state.fits(slot))
            && self.cpus.len() == machine.cpus.len()
            && self.cpus.iter().zip(&core.cpus).all(|(state, shared)| state.outputs.len() == shared.outputs.len() && state.executed < MOST)
            && self.rises.len() == core.inputs.len()
            && self.stubs.len() == core.stubs.len()
            && self.timers.iter().all(|(device, ..)| *device < core.devices.len())
            && self.now.0 < MOST
            && self.counted.is_none_or(|(base, count)| base.0 < MOST && count < MOST)
            && self.place.cpu <= machine.cpus.len()
            && self.place.left.is_none_or(|left| left <= SLICE)
            && self.place.rounds < MOST;
        if !fits {
            return Err(damaged());
        }
        if !self.contents().eq(disks.iter().map(Chunks::size)) {
            return Err(damaged());
        }
        for (state, slot) in self.devices.iter().zip(&core.devices) {
            for (saved, drive) in state.drives.iter().zip(&slot.drives) {
                let (now, name) = (drive.medium().map(|m| (m.size, m.read_only)), &slot.name);
                let kind = |(size, read_only): (u64, bool)| format!("{size} bytes, {}", if read_only { "read-only" } else { "writable" });
                match (saved.medium, now) {
                    (None, Some(_)) => return Err(format!("the drive of `{name}` was empty\n  help: leave its --drive out")),
                    (Some(_), None) => return Err(format!("there was a disk in the drive of `{name}`\n  help: give it with --drive")),
                    (Some(was), Some(is)) if was != is => {
                        return Err(format!("the disk of `{name}` was another: {}; this one: {}", kind(was), kind(is)));
                    }
                    _ => {}
                }
                let size = saved.medium.filter(|(_, read_only)| !read_only).map_or(0, |(size, _)| size);
                if !in_order(&saved.ranges, size) {
                    return Err(damaged());
                }
            }
        }
        Ok(())
    }
}

/// Devices and CPUs take over their states; if one refuses, all are as they were.
pub(super) fn load_parts(machine: &mut Machine, state: &State) -> Result<(), String> {
    let devices = &machine.core.devices;
    let before: Vec<Value> = devices.iter().map(|slot| lock(&slot.device).save()).collect();
    let cpus_before: Vec<Value> = machine.cpus.iter().map(|slot| slot.cpu.save()).collect();
    let mut failed = None;
    for (slot, saved) in devices.iter().zip(&state.devices) {
        if let Err(e) = lock(&slot.device).load(&saved.device) {
            failed = Some(format!("the state of `{}` does not fit: {e}", slot.name));
            break;
        }
    }
    if failed.is_none() {
        for ((slot, shared), saved) in machine.cpus.iter_mut().zip(&machine.core.cpus).zip(&state.cpus) {
            if let Err(e) = slot.cpu.load(&saved.cpu) {
                failed = Some(format!("the state of `{}` does not fit: {e}", shared.name));
                break;
            }
        }
    }
    let Some(failed) = failed else { return Ok(()) };
    // What they gave themselves they take back.
    for (slot, before) in machine.core.devices.iter().zip(&before) {
        if let Err(e) = lock(&slot.device).load(before) {
            tracing::error!("{}: does not take its own state back: {e}", slot.name);
        }
    }
    for (slot, before) in machine.cpus.iter_mut().zip(&cpus_before) {
        if let Err(e) = slot.cpu.load(before) {
            tracing::error!("a CPU does not take its own state back: {e}");
        }
    }
    Err(failed)
}

/// Writable disks get their contents back.
pub(super) fn load_disks(machine: &Machine, state: &State, contents: &[Chunks]) -> Result<(), String> {
    let said = |e: std::io::Error| format!("a disk cannot be written: {e}");
    let mut contents = contents.iter();
    for (saved, slot) in state.devices.iter().zip(&machine.core.devices) {
        for (saved, drive) in saved.drives.iter().zip(&slot.drives) {
            drive.wait();
            let (Some(saved), Some(disk)) = (saved.medium.filter(|(_, read_only)| !read_only).map(|_| saved), drive.disk()) else {
                continue;
            };
            lock(&disk).revert().map_err(said)?;
            for ((from, _), contents) in saved.ranges.iter().zip(&mut contents) {
                let write = |at: u64, bytes: &[u8]| lock(&disk).write(from + at, bytes).map_err(said);
                let zeroes = vec![0; CHUNK];
                let clear = |at: u64, len: u64| {
                    let pieces = (at..at + len).step_by(CHUNK);
                    pieces
                        .map(|piece| (piece, (at + len - piece).min(CHUNK as u64)))
                        .try_for_each(|(at, len)| write(at, &zeroes[..len as usize]))
                };
                contents.unpack(write, clear)?;
            }
        }
    }
    Ok(())
}

/// Everything that cannot fail.
pub(super) fn load_rest(machine: &mut Machine, state: &State) {
    let core = &machine.core;
    let mut high = vec![0u32; core.inputs.len()];
    let mut drive = |line: &OutputLine, level: bool| {
        line.level.store(level, Release);
        line.to.iter().filter(|_| level).for_each(|input| high[*input] += 1);
    };
    for (saved, slot) in state.devices.iter().zip(&core.devices) {
        saved.outputs.iter().flatten().zip(slot.outputs.iter().flatten()).for_each(|(level, line)| drive(line, *level));
    }
    for (saved, shared) in state.cpus.iter().zip(&core.cpus) {
        saved.outputs.iter().zip(shared.outputs.values()).for_each(|(level, line)| drive(line, *level));
    }
    for ((line, high), rises) in core.inputs.iter().zip(high).zip(&state.rises) {
        line.set(high, *rises);
    }
    core.show_places();
    for (saved, slot) in state.devices.iter().zip(&core.devices) {
        saved.clocks.iter().zip(&slot.clocks_out).for_each(|(hz, out)| out.store(*hz, Release));
        saved.input.iter().zip(&slot.ports).for_each(|(input, port)| *lock(&port.queue) = input.iter().copied().collect());
        saved.nics.iter().zip(&slot.nics).for_each(|(nic, slot)| slot.refill(&nic.frames));
        for (saved, drive) in saved.drives.iter().zip(&slot.drives) {
            drive.restore(&saved.pending);
        }
    }
    for slot in &core.devices {
        slot.clocks_in.iter().for_each(|(source, hz)| hz.store(core.frequency(*source), Release));
    }
    core.clock.load(state.now, state.counted);
    {
        let mut timers = lock(&core.timers);
        timers.disarm_all();
        state.timers.iter().for_each(|(device, timer, at)| _ = timers.arm(*device, *timer, *at));
    }
    core.reset_asked.store(state.reset_asked, Release);
    for ((saved, slot), shared) in state.cpus.iter().zip(&mut machine.cpus).zip(&core.cpus) {
        (slot.held, slot.executed, slot.resets, slot.restart) = (saved.held, saved.executed, saved.resets, saved.restart);
        // What its caches ask for stays.
        let own = shared.attention.load(Acquire) & NOT_SAVED;
        shared.attention.store(saved.attention & !NOT_SAVED | own, Release);
        shared.pc.store(slot.cpu.pc(), Relaxed);
        shared.executed.store(0, Relaxed);
    }
    for (saved, stub) in state.stubs.iter().zip(&core.stubs) {
        stub.reads.store(saved.reads, Relaxed);
        stub.writes.store(saved.writes, Relaxed);
        *lock(&stub.words) = saved.toggles.iter().copied().take(crate::bus::MOST_TOGGLES).collect();
    }
    machine.place = state.place;
    machine.stops.clear();
    let core = &machine.core;
    for (device, (saved, slot)) in state.devices.iter().zip(&core.devices).enumerate() {
        for (port, drive) in slot.drives.iter().enumerate().filter(|(_, drive)| drive.due().is_some()) {
            if core.clock.is_realtime() {
                core.handle.post(Posted::Answers { device, port });
            } else {
                core.await_drive(device, port, drive);
            }
        }
        // Whether cables are plugged in is as it is now.
        for (port, _) in saved.nics.iter().zip(&slot.nics).enumerate().filter(|(_, (saved, nic))| saved.up != nic.shared.up.load(Acquire)) {
            core.call(device, None, |d, cx| d.link_changed(port, cx));
        }
    }
    core.handle.wake();
}

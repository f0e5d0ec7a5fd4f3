//! The machine: devices, lines, clocks and timers joined together.
//!
//! A device call runs under the device's own lock and only notes what it wants ([`Effect`]); its outputs, timers and clocks change when it has
//! returned, before the lock is free, so in the order of its calls; others are told after that ([`crate::lines`]), so no device ever runs inside
//! another's call, but for parts inside that of their controller ([`crate::parts`]). A device reached by its own DMA, or any MMIO reached by DMA, is a bus error.

use crate::attention::{CpuShared, Waiting};
use crate::backend::{DiskError, DiskRequest, Drive, Medium, Nic, Port, Posted, latency};
use crate::bus::{Bus, Stub};
pub use crate::bus::{StubPolicy, Unmapped};
use crate::control::{Cause, Event, Listener, Task};
use crate::cx::{Cx, Effect, Surroundings};
use crate::device::{Device, Hertz, Nanos};
use crate::driven::LineWatcher;
use crate::input::InputEvent;
pub use crate::lines::Input;
use crate::lines::{Follow, InputLine, OutputLine};
use crate::schema::DeviceType;
use crate::time::Clock;
use crate::timers::Timers;
use emu_memory::{BusError, GuestPhys, Initiator, RamBlock};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

/// Locks, also after another thread's panic: the data are plain values.
pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// Timers from this number on are the machine's, for answers of the device's drives.
const DRIVE_TIMERS: u32 = 1 << 31;

/// What drives a clock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// A clock of the board.
    Clock(usize),
    /// A device's clock output.
    Device(usize, usize),
}

/// A clock of the board.
#[derive(Debug)]
pub(crate) struct ClockNode {
    pub hz: Option<u64>,
    pub mul: u64,
    pub div: u64,
    pub from: Option<Source>,
}

pub(crate) struct DeviceSlot {
    pub name: String,
    pub kind: DeviceType,
    pub device: Mutex<Box<dyn Device>>,
    /// Output lines by port, then index.
    pub outputs: Vec<Vec<OutputLine>>,
    pub clocks_in: Vec<(Option<Source>, AtomicU64)>,
    pub clocks_out: Vec<AtomicU64>,
    pub ports: Vec<Port>,
    pub drives: Vec<Drive>,
    pub nics: Vec<Nic>,
    pub master: Option<usize>,
    pub memories: Vec<Arc<RamBlock>>,
    /// Slots, and what sits in them: where, and which device; in ascending order.
    pub parts: Vec<Vec<(u32, usize)>>,
    /// If it is a part: of which device, in which slot, where.
    pub on: Option<(usize, usize, u32)>,
}

/// What other threads may ask of a running machine.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Shared>);

#[derive(Default)]
pub(crate) struct Shared {
    /// The exit code, once the run is to end.
    stop: OnceLock<i32>,
    /// The run is to end for now.
    pause: AtomicBool,
    /// Input waits in some port.
    work: AtomicBool,
    /// Tasks wait.
    pub(crate) asked: AtomicBool,
    pub(crate) listeners: Mutex<Vec<Listener>>,
    inbox: Mutex<Inbox>,
    wake: Condvar,
}

#[derive(Default)]
pub(crate) struct Inbox {
    posted: Vec<Posted>,
    pub tasks: VecDeque<Task>,
    /// There is no machine any more.
    pub ended: bool,
    /// There is something to look at, here or elsewhere.
    woken: bool,
}

impl Handle {
    /// Ends the run with this exit code.
    pub fn stop(&self, code: i32) {
        self.stop_for(code, Cause::Host);
    }

    /// Ends the run with this exit code, on this account.
    pub fn stop_for(&self, code: i32, cause: Cause) {
        // The first reason counts.
        if self.0.stop.set(code).is_ok() {
            self.tell(Event::Ended(code, cause));
        }
        self.wake();
    }

    /// Ends the run, or the next one, with [`crate::Exit::Paused`]; it may be taken up again.
    pub fn pause(&self) {
        self.0.pause.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn post(&self, posted: Posted) {
        let mut inbox = lock(&self.0.inbox);
        inbox.posted.push(posted);
        self.0.work.store(true, Ordering::Release);
        self.wake_by(inbox);
    }

    /// Somebody uses a keyboard or a pointer.
    pub fn input(&self, event: InputEvent) {
        self.post(Posted::Input { event });
    }

    /// Wakes the thread that serves the machine.
    pub(crate) fn wake(&self) {
        self.wake_by(lock(&self.0.inbox));
    }

    fn wake_by(&self, mut inbox: MutexGuard<'_, Inbox>) {
        let awake = std::mem::replace(&mut inbox.woken, true);
        drop(inbox);
        if !awake {
            self.0.wake.notify_all();
        }
    }

    pub(crate) fn stopped(&self) -> Option<i32> {
        self.0.stop.get().copied()
    }

    /// True once for each pause.
    pub(crate) fn take_pause(&self) -> bool {
        self.0.pause.swap(false, Ordering::AcqRel)
    }

    /// A stop or a pause is asked for.
    pub(crate) fn is_ending(&self) -> bool {
        self.0.stop.get().is_some() || self.0.pause.load(Ordering::Acquire)
    }

    /// Somebody has tasks for the machine.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }

    pub(crate) fn next_task(&self) -> Option<Task> {
        self.is_asked().then(|| {
            let mut inbox = self.inbox();
            self.0.asked.store(inbox.tasks.len() > 1, Ordering::Release);
            inbox.tasks.pop_front()
        })?
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        lock(&self.0.inbox)
    }

    pub(crate) fn take_posted(&self) -> Vec<Posted> {
        if !self.0.work.swap(false, Ordering::AcqRel) {
            return vec![];
        }
        std::mem::take(&mut lock(&self.0.inbox).posted)
    }

    /// Sleeps until somebody wakes it (also if that was since the last call), or the time is over.
    pub(crate) fn wait(&self, time: Option<Duration>) {
        let inbox = lock(&self.0.inbox);
        let asleep = |inbox: &mut Inbox| !inbox.woken;
        let mut inbox = match time {
            None => self.0.wake.wait_while(inbox, asleep).unwrap_or_else(|e| e.into_inner()),
            Some(time) => self.0.wake.wait_timeout_while(inbox, time, asleep).unwrap_or_else(|e| e.into_inner()).0,
        };
        inbox.woken = false;
    }
}

/// Everything but the CPUs themselves.
pub(crate) struct Core {
    pub buses: Vec<Bus>,
    pub devices: Vec<DeviceSlot>,
    pub inputs: Vec<InputLine>,
    pub clocks: Vec<ClockNode>,
    pub stubs: Vec<Stub>,
    /// All memory there is, each block once.
    pub memories: Vec<Arc<RamBlock>>,
    /// What machines have in common that snapshots can be exchanged between.
    pub identity: String,
    pub cpus: Vec<CpuShared>,
    pub timers: Mutex<Timers>,
    pub clock: Clock,
    /// The guest asked for a reset.
    pub reset_asked: AtomicBool,
    /// What devices send goes nowhere: it was sent before.
    pub muted: AtomicBool,
    /// The vCPUs' threads are to end.
    pub ending: AtomicBool,
    pub waiting: Waiting,
    pub handle: Handle,
    pub logged: Mutex<HashSet<String>>,
    /// Who hears of watched lines.
    pub watcher: Mutex<Option<LineWatcher>>,
}

struct Outside<'a> {
    core: &'a Core,
    device: usize,
    by: Option<Initiator>,
    queue: &'a mut VecDeque<Follow>,
}

impl Surroundings for Outside<'_> {
    fn now(&self) -> Nanos {
        self.core.now()
    }

    fn date(&self) -> u64 {
        self.core.clock.date()
    }

    fn clock(&self, port: usize) -> Hertz {
        Hertz(self.core.devices[self.device].clocks_in.get(port).map_or(0, |c| c.1.load(Ordering::Relaxed)))
    }

    fn send(&mut self, port: usize, byte: u8) {
        if let Some(port) = self.core.devices[self.device].ports.get(port)
            && !self.core.muted.load(Ordering::Relaxed)
        {
            port.send(&[byte], !self.core.clock.is_realtime());
        }
    }

    fn can_send(&self, port: usize) -> bool {
        self.core.devices[self.device].ports.get(port).is_none_or(Port::can_send)
    }

    fn receive(&mut self, port: usize) -> Option<u8> {
        self.core.devices[self.device].ports.get(port)?.take()
    }

    fn medium(&self, port: usize) -> Option<Medium> {
        self.core.devices[self.device].drives.get(port)?.medium()
    }

    fn disk_submit(&mut self, port: usize, tag: u32, request: DiskRequest) {
        let Some(drive) = self.core.devices[self.device].drives.get(port) else { return };
        let due = Nanos(self.now().0.saturating_add(latency(&request)));
        let answered = drive.submit(tag, request, due);
        if !self.core.clock.is_realtime() {
            self.core.await_drive(self.device, port, drive);
        } else if answered {
            self.core.handle.post(Posted::Answers { device: self.device, port });
        }
    }

    fn disk_read_now(&mut self, port: usize, at: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let drive = self.core.devices[self.device].drives.get(port).ok_or(DiskError::NoMedium)?;
        drive.wait();
        let disk = drive.disk().ok_or(DiskError::NoMedium)?;
        let mut disk = lock(&disk);
        match at.checked_add(buffer.len() as u64) {
            Some(end) if end <= disk.size() => disk.read(at, buffer).map_err(|e| {
                tracing::warn!("{}: {e}", self.core.devices[self.device].name);
                DiskError::Host
            }),
            _ => Err(DiskError::Range),
        }
    }

    fn memory(&self, index: usize) -> Option<Arc<RamBlock>> {
        self.core.devices[self.device].memories.get(index).cloned()
    }

    fn parts(&self, slot: usize) -> Vec<u32> {
        self.core.devices[self.device].parts.get(slot).iter().flat_map(|parts| parts.iter()).map(|(at, _)| *at).collect()
    }

    fn part(&mut self, slot: usize, at: u32, f: &mut dyn FnMut(&mut dyn Device, &mut Cx<'_>)) {
        let parts = self.core.devices[self.device].parts.get(slot);
        if let Some((_, part)) = parts.and_then(|parts| parts.iter().find(|(number, _)| *number == at)) {
            self.core.call_only(*part, self.by, self.queue, |d, cx| f(d, cx));
        }
    }

    fn link(&self, port: usize) -> bool {
        self.core.devices[self.device].nics.get(port).is_some_and(|nic| nic.shared.up.load(Ordering::Acquire))
    }

    fn transmit(&mut self, port: usize, frame: &[u8]) {
        if self.link(port)
            && !self.core.muted.load(Ordering::Relaxed)
            && let Some(sink) = lock(&self.core.devices[self.device].nics[port].sink).as_mut()
        {
            sink(frame);
        }
    }

    fn receive_frame(&mut self, port: usize) -> Option<Vec<u8>> {
        self.core.devices[self.device].nics.get(port)?.take()
    }

    fn dma_read(&mut self, at: GuestPhys, buffer: &mut [u8]) -> Result<(), BusError> {
        self.core.dma(self.device, at, buffer.len(), |ram, done, n| ram.block.copy_out(ram.offset, &mut buffer[done..done + n]))
    }

    fn dma_write(&mut self, at: GuestPhys, bytes: &[u8]) -> Result<(), BusError> {
        self.core.dma(self.device, at, bytes.len(), |ram, done, n| {
            // A write to ROM goes nowhere.
            !ram.writable || ram.block.copy_in(ram.offset, &bytes[done..done + n])
        })
    }

    fn log(&mut self, kind: &'static str, what: &str) {
        let name = &self.core.devices[self.device].name;
        self.core.log_once(&format!("{name}: {kind}: {what}"), self.by);
    }
}

impl Core {
    pub fn now(&self) -> Nanos {
        // Where instructions are time, one vCPU at a time is in its turn.
        let executed = if self.clock.is_realtime() { 0 } else { self.cpus.iter().map(|c| c.executed.load(Ordering::Relaxed)).sum() };
        self.clock.now(executed)
    }

    /// True if the vCPUs are to stop executing: the run ends, the machine is to be reset, or somebody wants it for himself. Where instructions are
    /// time, he waits for the end of the turn, which is always at the same instruction.
    pub fn is_ending(&self) -> bool {
        let wanted = || self.handle.is_ending() || self.handle.is_asked();
        self.ending.load(Ordering::Acquire)
            || self.reset_asked.load(Ordering::Acquire)
            || self.handle.stopped().is_some()
            || self.clock.is_realtime() && wanted()
    }

    /// A warning, the first time it is given; `by`: on whose account.
    pub fn log_once(&self, message: &str, by: Option<Initiator>) {
        let mut logged = lock(&self.logged);
        // A guest must not fill the host's memory with ever new complaints.
        if logged.len() < 10_000 && logged.insert(message.to_string()) {
            match by {
                Some(Initiator::Cpu(cpu)) if usize::from(cpu) < self.cpus.len() => {
                    let cpu = &self.cpus[usize::from(cpu)];
                    tracing::warn!("{message} ({} at {:#x})", cpu.name, cpu.pc.load(Ordering::Relaxed));
                }
                _ => tracing::warn!("{message}"),
            }
        }
    }

    /// Calls a device on somebody's account, then does what follows from that.
    pub fn call<R>(&self, device: usize, by: Option<Initiator>, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
        let mut queue = VecDeque::new();
        let result = self.call_only(device, by, &mut queue, f);
        self.settle(queue);
        result
    }

    /// Calls a device; what follows is in the queue.
    pub fn call_only<R>(
        &self,
        device: usize,
        by: Option<Initiator>,
        queue: &mut VecDeque<Follow>,
        f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R,
    ) -> R {
        let mut guard = lock(&self.devices[device].device);
        let mut effects = Vec::new();
        let result = f(&mut **guard, &mut Cx::new(&mut Outside { core: self, device, by, queue }, &mut effects));
        effects.into_iter().for_each(|effect| self.apply(device, effect, queue));
        result
    }

    /// What a device asked for takes effect; its lock is still held, so in the order of its calls.
    fn apply(&self, from: usize, effect: Effect, queue: &mut VecDeque<Follow>) {
        let device = &self.devices[from];
        match effect {
            Effect::Line { port, index, level } => {
                if let Some(line) = device.outputs.get(port).and_then(|p| p.get(index as usize)) {
                    self.set_output(line, level, queue);
                }
            }
            Effect::Arm { timer, at } => {
                if lock(&self.timers).arm(from, timer, at) {
                    self.handle.wake();
                }
            }
            Effect::Disarm { timer } => lock(&self.timers).disarm(from, timer),
            Effect::Clock { port, hz } => {
                if device.clocks_out.get(port).is_some_and(|out| out.swap(hz.0, Ordering::AcqRel) != hz.0) {
                    queue.push_back(Follow::Clocks);
                }
            }
            Effect::Notify => {
                if let Some((device, slot, at)) = device.on {
                    queue.push_back(Follow::Part { device, slot, at });
                }
            }
            Effect::Reset => {
                self.reset_asked.store(true, Ordering::Release);
                self.handle.wake();
            }
            Effect::PowerOff(code) => self.handle.stop_for(code, Cause::GuestShutdown),
        }
    }

    /// The frequency of a source now.
    pub fn frequency(&self, source: Option<Source>) -> u64 {
        let mut source = source;
        let (mut mul, mut div) = (1u128, 1u128);
        // The checker refuses loops; the bound is for builders that did not check.
        for _ in 0..64 {
            let hz = match source {
                None => return 0,
                Some(Source::Device(d, port)) => {
                    self.devices.get(d).and_then(|d| d.clocks_out.get(port)).map_or(0, |c| c.load(Ordering::Relaxed))
                }
                Some(Source::Clock(i)) => match self.clocks.get(i) {
                    None => return 0,
                    Some(node) => match node.hz {
                        Some(hz) => hz,
                        None => {
                            mul = mul.saturating_mul(u128::from(node.mul));
                            div = div.saturating_mul(u128::from(node.div));
                            source = node.from;
                            continue;
                        }
                    },
                },
            };
            return u64::try_from(u128::from(hz).saturating_mul(mul) / div.max(1)).unwrap_or(u64::MAX);
        }
        0
    }

    /// First frequencies, before the first reset.
    pub fn start_clocks(&self) {
        let mut queue = VecDeque::new();
        self.spread_clocks(&mut queue);
        self.settle(queue);
    }

    /// Runs the timers that are due.
    pub fn run_timers(&self) {
        // Bounded, so that a device that arms timers in the past cannot stop time.
        for _ in 0..10_000 {
            let now = self.now();
            let due = lock(&self.timers).due(now);
            let Some((device, timer)) = due else { return };
            self.call(device, None, |d, cx| {
                // A call before this one may have disarmed it, or armed it for later.
                if lock(&self.timers).take(device, timer, now) {
                    match timer.checked_sub(DRIVE_TIMERS) {
                        None => d.timer_expired(timer, cx),
                        Some(port) => self.answer_in_time(device, port as usize, d, cx),
                    }
                }
            });
        }
    }

    /// Has the next answer of a drive come when it is due, where instructions are time.
    pub fn await_drive(&self, device: usize, port: usize, drive: &Drive) {
        if let Some(due) = drive.due() {
            lock(&self.timers).arm(device, DRIVE_TIMERS + port as u32, due);
        }
    }

    /// A request's time is over: waits until the host has done it.
    fn answer_in_time(&self, device: usize, port: usize, d: &mut dyn Device, cx: &mut Cx<'_>) {
        let Some(drive) = self.devices[device].drives.get(port) else { return };
        drive.wait();
        if let Some((tag, result)) = drive.answered() {
            d.disk_done(port, tag, result, cx);
        }
        self.await_drive(device, port, drive);
    }

    /// Hands what other threads posted to the devices.
    pub fn take_input(&self) {
        self.give(self.handle.take_posted());
    }

    /// Plugs a network port's cable in, or out.
    pub fn set_link(&self, device: usize, port: usize, up: bool) {
        if let Some(nic) = self.devices.get(device).and_then(|d| d.nics.get(port))
            && nic.shared.up.swap(up, Ordering::AcqRel) != up
        {
            self.call(device, None, |d, cx| d.link_changed(port, cx));
        }
    }

    /// The last device of the board that takes such events gets it.
    fn input(&self, event: InputEvent) {
        let takes = |d: &DeviceSlot| d.kind.input.is_some_and(|kind| kind.takes(event));
        if let Some(device) = self.devices.iter().rposition(takes) {
            self.call(device, None, |d, cx| d.input(event, cx));
        }
    }

    /// Hands something from outside to the devices.
    pub fn give(&self, posted: Vec<Posted>) {
        // Devices hear of all frames at once.
        let mut framed = Vec::new();
        for posted in posted {
            let (Posted::Bytes { device, port, .. }
            | Posted::Room { device, port }
            | Posted::Frame { device, port, .. }
            | Posted::Link { device, port, .. }
            | Posted::Answers { device, port }) = posted
            else {
                if let Posted::Input { event } = posted {
                    self.input(event);
                }
                continue;
            };
            let Some(slot) = self.devices.get(device) else { continue };
            match posted {
                Posted::Bytes { bytes, .. } => {
                    if let Some(p) = slot.ports.get(port) {
                        lock(&p.queue).extend(bytes);
                        self.call(device, None, |d, cx| d.input_ready(port, cx));
                    }
                }
                Posted::Room { .. } => self.call(device, None, |d, cx| d.output_ready(port, cx)),
                Posted::Frame { frame, .. } => {
                    if let Some(nic) = slot.nics.get(port) {
                        lock(&nic.queue).push_back(frame);
                        if !framed.contains(&(device, port)) {
                            framed.push((device, port));
                        }
                    }
                }
                Posted::Link { up, .. } => self.set_link(device, port, up),
                Posted::Input { .. } => {}
                Posted::Answers { .. } => self.call(device, None, |d, cx| {
                    while let Some((tag, result)) = slot.drives.get(port).and_then(Drive::answered) {
                        d.disk_done(port, tag, result, cx);
                    }
                }),
            }
        }
        for (device, port) in framed {
            self.call(device, None, |d, cx| d.frame_ready(port, cx));
        }
    }
}

//! ARM PrimeCell DMA controller PL330, now CoreLink DMA-330, r1p1 (ARM DDI 0424; in the Zynq-7000 UG585 ch. 9 and app. B.17).
//!
//! A debug instruction of the CPU, or a program at reset -> the manager thread -> DMAGO -> channel threads, whose programs come from memory
//! ([`instruction`]) and take turns ([`execute`]): loads -> the channel's part of the MFIFO -> stores ([`transfer`]). Events wake threads or are
//! interrupt lines, peripherals' request lines wake threads, faults are the abort line.
//!
//! Time: an instruction takes a clock cycle, and so does each beat of a burst. A slice of cycles is executed at once, at its beginning, and the next
//! when it is over; what others than the thread see (events, acknowledgements, ends, faults) ends a slice, so that it is never early by more than
//! [`GRAIN`] cycles. What a slice moves is in memory up to [`SLICE`] cycles early.
//!
//! Not modelled: DMA to and from registers of devices (a bus error), protection and cache attributes of transfers, the issuing capabilities and queues
//! that CRD tells of, the states that last a few cycles (cache miss, updating PC, at barrier, completing, killing), the packing of data into MFIFO
//! lines (bytes are counted), what the Non-secure interface would not let read (the manual does not say).

use emu_machine::device::{Cx, Device, Hertz, Nanos};
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError, GuestPhys};
use instruction::{Instruction, decode};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

mod execute;
mod instruction;
mod transfer;

crate::regs!("pl330");

const fn number(name: &'static str, min: i128, max: i128, default: &'static str, doc: &'static str) -> PropSpec {
    PropSpec { name, kind: PropKind::Int { min, max }, default: Some(default), doc }
}

const fn lines(name: &'static str, count: &'static str, doc: &'static str) -> PortSpec {
    PortSpec { name, count: Count::Prop(count), first: 0, per_cpu: false, doc }
}

/// `arm,pl330`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "secure", size: Count::Fixed(0x1000) }, RegionSpec { name: "non-secure", size: Count::Fixed(0x1000) }],
    props: &[
        number("channels", 1, 8, "8", "channel threads"),
        number("events", 1, 32, "16", "events, each of which can be an interrupt"),
        number("requests", 1, 32, "4", "peripheral request interfaces"),
        number("data-width", 32, 128, "64", "bits of the data bus: 32, 64 or 128"),
        number("mfifo-lines", 1, 1024, "128", "lines of the MFIFO, each as wide as the data bus"),
        PropSpec {
            name: "boot-from-pc",
            kind: PropKind::Bool,
            default: Some("#false"),
            doc: "boot_from_pc: the manager executes a program after reset",
        },
        number("boot-addr", 0, 0xffff_ffff, "0", "boot_addr: where that program is"),
        PropSpec {
            name: "boot-manager-ns",
            kind: PropKind::Bool,
            default: Some("#false"),
            doc: "boot_manager_ns: the manager is Non-secure",
        },
        number("boot-irq-ns", 0, 0xffff_ffff, "0", "boot_irq_ns: a bit for each event that is Non-secure"),
        number("boot-periph-ns", 0, 0xffff_ffff, "0", "boot_periph_ns: a bit for each peripheral request interface that is Non-secure"),
    ],
    inputs: &[
        PortSpec::one("reset", "held in reset while high"),
        lines("single", "requests", "a peripheral requests a single transfer"),
        lines("burst", "requests", "a peripheral requests a burst"),
        lines("last", "requests", "the request that comes now is the last"),
        PortSpec::one("manager-ns", "the same as boot-manager-ns, looked at when the reset ends"),
        lines("irq-ns", "events", "the same as boot-irq-ns"),
        lines("periph-ns", "requests", "the same as boot-periph-ns"),
    ],
    outputs: &[
        PortSpec::one("abort", "a thread is in the faulting state, or all that run are locked up"),
        lines("irq", "events", "an interrupt for each event"),
        lines("ack", "requests", "a pulse: what a peripheral requested was transferred"),
        lines("flush", "requests", "a pulse: a peripheral is to request again what it needs"),
    ],
    clocks_in: &[ClockSpec { name: "aclk", required: true, doc: "instructions and beats" }],
    dma: true,
    ..DeviceType::new("arm,pl330", "ARM CoreLink DMA-330 DMA controller, also called PL330 (DDI 0424)", create)
};

/// Cycles that are executed at once at most.
const SLICE: u64 = 16_384;
/// What others see is not early by more cycles than this.
const GRAIN: u64 = 32;

const RESET: usize = 0;
const SINGLE: usize = 1;
const BURST: usize = 2;
const LAST: usize = 3;
const MANAGER_NS: usize = 4;
const IRQ_NS: usize = 5;

const ABORT: usize = 0;
const IRQ: usize = 1;
const ACK: usize = 2;
const FLUSH: usize = 3;

/// Threads: the channels, then the manager.
const CHANNELS: usize = 8;
const MANAGER: usize = CHANNELS;
const REQUESTS: usize = 32;
/// Places for decoded instructions.
const DECODED: usize = 64;

/// What a thread does, as DSR and CSR say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
enum Status {
    #[default]
    Stopped = 0,
    Executing = 1,
    WaitingForEvent = 4,
    WaitingForPeripheral = 7,
    Faulting = 15,
}

/// What a peripheral asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Request {
    Single,
    Burst,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Thread {
    status: Status,
    pc: u32,
    non_secure: bool,
    /// The event or peripheral it waits for.
    wakeup: u32,
    /// DMAWFP_B_NS and DMAWFP_PERIPH of CSR.
    wait: u32,
    /// The request type and the last-request flag of the last DMAWFP.
    request: Option<Request>,
    last: bool,
    /// Its part of the MFIFO.
    data: Vec<u8>,
    /// It found no room in the MFIFO.
    stalled: bool,
}

impl Thread {
    /// The status, and what it waits for, as in DSR and CSR.
    fn state(&self) -> u32 {
        let waits = matches!(self.status, Status::WaitingForEvent | Status::WaitingForPeripheral);
        self.status as u32 | if waits { self.wakeup << 4 & Regs::CSR_WAKEUP_NUMBER } else { 0 }
    }
}

/// A peripheral request interface.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Peripheral {
    /// Levels.
    single: bool,
    burst: bool,
    last: bool,
    /// A request that nobody has taken, and whether it is the last.
    latched: Option<Request>,
    latched_last: bool,
    /// The request that was taken has been acknowledged: a level that is still high then is another.
    acknowledged: bool,
}

impl Peripheral {
    fn latch(&mut self) {
        self.latched = if self.burst { Some(Request::Burst) } else { self.single.then_some(Request::Single) };
        self.latched_last = self.last;
    }
}

/// Security states that are looked at when the reset ends.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Boot {
    manager: bool,
    irq: u32,
    periph: u32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    threads: Vec<Thread>,
    peripherals: Vec<Peripheral>,
    /// Levels of the inputs for them.
    boot: Boot,
    in_reset: bool,
    /// No register was written since the reset: inputs that come to their levels after it (the order of resets says nothing) still count.
    fresh: bool,
    /// Who has the next turn.
    next: usize,
    /// When the slice is over.
    busy_until: Nanos,
    /// A lock-up that only the abort line says.
    locked: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound() && self.threads.len() == CHANNELS + 1 && self.peripherals.len() == REQUESTS
    }
}

struct Pl330 {
    s: State,
    channels: usize,
    events: u32,
    requests: u32,
    /// Bytes of the data bus, as a power of two.
    width: u32,
    /// Bytes of the MFIFO.
    capacity: usize,
    boot_pc: Option<u32>,
    boot: Boot,
    /// The access that is made comes by the secure interface.
    secure: bool,
    /// Cycles of this slice so far.
    spent: u64,
    /// Instructions decoded in this slice, by the lower bits of their addresses.
    decoded: Vec<Option<(u32, u32, Instruction)>>,
    /// Bytes on their way; empty between calls.
    buffer: Vec<u8>,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let bits = props.int("data-width") as u32;
    if !bits.is_power_of_two() {
        return Err(format!("data-width: {bits} is not 32, 64 or 128"));
    }
    Ok(Box::new(Pl330 {
        s: State { threads: vec![Thread::default(); CHANNELS + 1], peripherals: vec![Peripheral::default(); REQUESTS], ..State::default() },
        channels: props.int("channels") as usize,
        events: props.int("events") as u32,
        requests: props.int("requests") as u32,
        width: (bits / 8).trailing_zeros(),
        capacity: props.int("mfifo-lines") as usize * (bits / 8) as usize,
        boot_pc: props.flag("boot-from-pc").then_some(props.int("boot-addr") as u32),
        boot: Boot {
            manager: props.flag("boot-manager-ns"),
            irq: props.int("boot-irq-ns") as u32,
            periph: props.int("boot-periph-ns") as u32,
        },
        secure: true,
        spent: 0,
        decoded: vec![None; DECODED],
        buffer: Vec::new(),
    }))
}

/// The lower `n` bits.
fn mask(n: u32) -> u32 {
    u32::MAX >> (32 - n.clamp(1, 32))
}

impl Pl330 {
    /// Goes on, if the last slice is over and the clock runs.
    fn run(&mut self, cx: &mut Cx<'_>) {
        let (now, hz) = (cx.now(), cx.clock(0).0);
        if hz == 0 || self.s.in_reset {
            cx.disarm(0);
        } else if now < self.s.busy_until {
            cx.arm(0, self.s.busy_until);
        } else {
            self.spent = 0;
            self.decoded.fill(None);
            self.slice(cx);
            if self.spent != 0 {
                let ns = self.spent.saturating_mul(1_000_000_000).div_ceil(hz);
                self.s.busy_until = Nanos(now.0.saturating_add(ns));
                cx.arm(0, self.s.busy_until);
            }
        }
        self.lines(cx);
    }

    /// Turns for the threads, until nothing is left to do now or the slice is over.
    fn slice(&mut self, cx: &mut Cx<'_>) {
        loop {
            let before = self.spent;
            for _ in 0..self.s.threads.len() {
                let thread = self.s.next % self.s.threads.len();
                if self.s.threads[thread].status == Status::Executing && !self.turn(thread, cx) || self.spent >= SLICE {
                    self.s.next = thread;
                    return;
                }
                self.s.next = thread + 1;
            }
            if self.spent == before {
                break;
            }
        }
        if self.spent < GRAIN {
            self.watch();
        }
    }

    /// The watchdog: threads that need room in the MFIFO, all of which is held by such threads, never go on (DDI 0424 2.8.3).
    fn watch(&mut self) {
        let stuck = |t: &Thread| t.status == Status::Executing && t.stalled;
        let threads = &self.s.threads;
        let locked = threads.iter().any(stuck) && threads.iter().all(|t| t.data.is_empty() || stuck(t));
        self.s.locked = locked && self.s.regs.wd_wd_irq_only();
        if locked && !self.s.locked {
            for thread in (0..self.channels).filter(|i| stuck(&self.s.threads[*i])).collect::<Vec<_>>() {
                self.fault(thread, Regs::FTR_LOCKUP_ERR);
            }
        }
    }

    /// The thread stops at this instruction, for these reasons.
    fn fault(&mut self, thread: usize, reasons: u32) {
        match self.s.regs.ftr.get_mut(thread) {
            Some(ftr) => *ftr = reasons,
            None => self.s.regs.ftrd = reasons,
        }
        self.s.threads[thread].status = Status::Faulting;
        self.s.threads[thread].data.clear();
    }

    /// The thread is stopped, whatever it did.
    fn stop(&mut self, thread: usize) {
        match self.s.regs.ftr.get_mut(thread) {
            Some(ftr) => *ftr = 0,
            None => self.s.regs.ftrd = 0,
        }
        self.s.threads[thread].status = Status::Stopped;
        self.s.threads[thread].data.clear();
    }

    fn is_faulting(&self, thread: usize) -> bool {
        self.s.threads[thread].status == Status::Faulting
    }

    fn lines(&mut self, cx: &mut Cx<'_>) {
        let faults = (0..self.s.threads.len()).any(|i| self.is_faulting(i));
        cx.set_line(ABORT, 0, faults || self.s.locked);
        let active = self.s.regs.inten & self.s.regs.int_event_ris;
        (0..self.events).for_each(|i| cx.set_line(IRQ, i, active >> i & 1 != 0));
    }

    /// The events that the interface of this access may change.
    fn changeable(&self) -> u32 {
        mask(self.events) & if self.secure { u32::MAX } else { self.s.regs.cr3 }
    }

    /// Security states and configuration as the reset leaves them.
    fn sample(&mut self) {
        let manager = self.boot.manager || self.s.boot.manager;
        let r = &mut self.s.regs;
        r.cr0 = 1
            | u32::from(self.boot_pc.is_some()) << 1
            | u32::from(manager) << 2
            | (self.channels as u32 - 1) << 4
            | (self.requests - 1) << 12
            | (self.events - 1) << 17;
        r.cr2 = self.boot_pc.unwrap_or(0);
        r.cr3 = (self.boot.irq | self.s.boot.irq) & mask(self.events);
        r.cr4 = (self.boot.periph | self.s.boot.periph) & mask(self.requests);
        // Queues of 16 and capabilities of 8, for writes and for reads.
        r.crd = self.width | 0x000f_7f70 | ((self.capacity >> self.width) as u32 - 1) << 20;
        self.s.threads[MANAGER].non_secure = manager;
    }
}

impl Hooks for Pl330 {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn manager_status(&mut self, _: &mut Cx<'_>) -> u32 {
        let t = &self.s.threads[MANAGER];
        t.state() | u32::from(t.non_secure) << 9
    }

    fn manager_pc(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.threads[MANAGER].pc
    }

    fn interrupt_enable(&mut self, old: u32, value: u32, cx: &mut Cx<'_>) {
        let changeable = self.changeable();
        self.s.regs.inten = old & !changeable | value & changeable;
        self.lines(cx);
    }

    fn interrupt_status(&mut self, _: &mut Cx<'_>) -> u32 {
        self.s.regs.inten & self.s.regs.int_event_ris
    }

    fn interrupt_clear(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.int_event_ris &= !(value & self.s.regs.inten & self.changeable());
        self.lines(cx);
    }

    fn manager_fault(&mut self, _: &mut Cx<'_>) -> u32 {
        self.is_faulting(MANAGER).into()
    }

    fn channel_faults(&mut self, _: &mut Cx<'_>) -> u32 {
        (0..CHANNELS).filter(|i| self.is_faulting(*i)).fold(0, |all, i| all | 1 << i)
    }

    fn channel_status(&mut self, index: usize, _: &mut Cx<'_>) -> u32 {
        let t = &self.s.threads[index];
        t.state() | t.wait | u32::from(t.non_secure) << 21
    }

    fn channel_pc(&mut self, index: usize, _: &mut Cx<'_>) -> u32 {
        self.s.threads[index].pc
    }

    /// Executes an instruction for a thread, before whatever it executes itself.
    fn debug_command(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        let [_, from_bit_8, b0, b1] = self.s.regs.dbginst0.to_le_bytes();
        let [b2, b3, b4, b5] = self.s.regs.dbginst1.to_le_bytes();
        let thread = if self.s.regs.dbginst0_debug_thread() { usize::from(from_bit_8 & 7) } else { MANAGER };
        if value & 3 != 0 || thread != MANAGER && thread >= self.channels {
            cx.guest_error("a debug command that is reserved, or for a channel that is not there");
            return;
        }
        if !self.secure && !self.s.threads[MANAGER].non_secure {
            cx.guest_error("a debug instruction by the Non-secure interface while the manager is Secure");
            return;
        }
        let result = match decode([b0, b1, b2, b3, b4, b5]) {
            Some((_, Instruction::Kill)) => self.execute(thread, 0, Instruction::Kill, cx),
            _ if self.is_faulting(thread) => {
                cx.guest_error("a debug instruction other than DMAKILL for a thread in the faulting state");
                return;
            }
            None => Err(Regs::FTR_UNDEF_INSTR),
            Some((_, instruction @ (Instruction::Go { .. } | Instruction::SendEvent(_)))) => self.execute(thread, 0, instruction, cx),
            Some(_) => {
                cx.guest_error("a debug instruction other than DMAGO, DMAKILL and DMASEV");
                return;
            }
        };
        if let Err(reasons) = result {
            self.fault(thread, reasons | Regs::FTR_DBG_INSTR);
        }
        self.run(cx);
    }
}

impl Device for Pl330 {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let mut peripherals = std::mem::take(&mut self.s.peripherals);
        peripherals.iter_mut().for_each(Peripheral::latch);
        let threads = vec![Thread::default(); CHANNELS + 1];
        self.s = State { threads, peripherals, boot: self.s.boot, in_reset: self.s.in_reset, fresh: true, ..State::default() };
        self.sample();
        if let Some(pc) = self.boot_pc {
            self.s.threads[MANAGER] = Thread { pc, status: Status::Executing, ..self.s.threads[MANAGER].clone() };
        }
        // What it executes begins when all devices are reset.
        cx.arm(0, cx.now());
        self.lines(cx);
    }

    fn read(&mut self, region: usize, offset: u64, size: u8, access: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        if region == 0 && !access.secure {
            return Err(BusError::Device);
        }
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, region: usize, offset: u64, size: u8, value: u64, access: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if region == 0 && !access.secure {
            return Err(BusError::Device);
        }
        if self.s.in_reset {
            return Ok(());
        }
        self.s.fresh = false;
        self.secure = region == 0;
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, port: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        let Some(peripheral) = self.s.peripherals.get_mut(index as usize) else { return };
        let bit = 1u32 << index;
        let set = |bits: u32| if level { bits | bit } else { bits & !bit };
        match port {
            RESET => {
                self.s.in_reset = level;
                return self.reset(cx);
            }
            SINGLE | BURST => {
                let line = if port == SINGLE { &mut peripheral.single } else { &mut peripheral.burst };
                if std::mem::replace(line, level) || !level {
                    return;
                }
                if peripheral.latched != Some(Request::Burst) {
                    peripheral.latch();
                }
                let waits = |t: &&mut Thread| t.status == Status::WaitingForPeripheral && t.wakeup == index;
                self.s.threads.iter_mut().filter(waits).for_each(|t| t.status = Status::Executing);
                return self.run(cx);
            }
            LAST => peripheral.last = level,
            MANAGER_NS => self.s.boot.manager = level,
            IRQ_NS => self.s.boot.irq = set(self.s.boot.irq),
            _ => self.s.boot.periph = set(self.s.boot.periph),
        }
        if self.s.fresh {
            self.sample();
        }
    }

    fn clock_changed(&mut self, _: usize, _: Hertz, cx: &mut Cx<'_>) {
        self.run(cx);
    }

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.run(cx);
    }

    crate::snapshot!(s, |d, s| s.threads.iter().map(|t| t.data.len()).sum::<usize>() <= d.capacity);
}

//! Xilinx AXI DMA (PG021): a memory-to-stream channel (MM2S) and a stream-to-memory channel (S2MM), with scatter-gather or by registers.
//!
//! Memory -> stream: TAILDESC (or LENGTH) written -> descriptor and buffer by DMA -> the part on the stream, the application words of a packet's first
//! descriptor before it. Stream -> memory: the part raises its hand -> bytes -> buffer -> length, flags and application words into the descriptor. Each
//! packet counts down the threshold and starts the delay; these raise interrupts. A part that takes nothing, or has nothing, holds its channel
//! up. Work in one call is bounded: what is left goes on by a timer, and so does what was held up. Not modelled: the multichannel mode, keyhole
//! (an error), packets' TDEST, TID and TUSER, slave errors, time on the bus.

use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::parts::PartBus;
use emu_machine::schema::{ClockSpec, Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec, SlotSpec};
use emu_machine::{Access, BusError, GuestPhys};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("axi_dma");

/// `xlnx,axi-dma`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1_0000) }],
    props: &[
        PropSpec { name: "scatter-gather", kind: PropKind::Bool, default: Some("#true"), doc: "with descriptors; else by registers" },
        PropSpec { name: "status-control", kind: PropKind::Bool, default: Some("#true"), doc: "with streams for application words" },
        PropSpec { name: "length-width", kind: PropKind::Int { min: 8, max: 26 }, default: Some("14"), doc: "bits of a buffer's length" },
        PropSpec { name: "addr-width", kind: PropKind::Int { min: 32, max: 64 }, default: Some("32"), doc: "bits of an address" },
        PropSpec {
            name: "delay-resolution",
            kind: PropKind::Int { min: 1, max: 100_000 },
            default: Some("125"),
            doc: "clocks in a unit of the interrupt delay",
        },
    ],
    outputs: &[
        PortSpec::one("mm2s-irq", "interrupt of the memory-to-stream channel"),
        PortSpec::one("s2mm-irq", "interrupt of the stream-to-memory channel"),
        PortSpec::one("reset", "a pulse when software resets the core, for what is on the stream"),
    ],
    clocks_in: &[ClockSpec { name: "clk", required: true, doc: "of the descriptor engine: counts the interrupt delay" }],
    slots: &[SlotSpec { name: "stream", bus: PartBus::Stream, first: 0, last: 0, doc: "who the streams lead to and come from" }],
    dma: true,
    ..DeviceType::new("xlnx,axi-dma", "Xilinx AXI DMA (PG021)", create)
};

const MM2S: usize = 0;
const S2MM: usize = 1;
const RESET: usize = 2;

/// Timers: work goes on, and with it the channel's number; the delay after a packet is over.
const TIMER_WORK: u32 = 0;
const TIMER_DELAY: u32 = 2;

/// What one call does at most: a descriptor counts 1, and so do so many bytes. What is left follows so many ns later.
const SLICE: usize = 128;
const CHUNK: usize = 4096;
const PAUSE: u64 = 10_000;

const IRQS: u32 = Regs::DMASR_ERR_IRQ | Regs::DMASR_DLY_IRQ | Regs::DMASR_IOC_IRQ;

/// Control and status words of a descriptor.
const FIRST: u32 = 1 << 27;
const LAST: u32 = 1 << 26;
const COMPLETE: u32 = 1 << 31;
const DECODE_ERROR: u32 = 1 << 30;
const INTERNAL_ERROR: u32 = 1 << 28;
/// Bytes of a descriptor, and offsets in it.
const DESCRIPTOR: usize = 0x34;
const STATUS: u64 = 0x1c;
const WORDS: u64 = 0x20;

/// A buffer at work.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Job {
    /// Its descriptor and the one after it; with scatter-gather.
    at: u64,
    next: u64,
    buffer: u64,
    /// Bytes, and how many of them are done.
    len: u32,
    done: u32,
    /// First and last buffer of a packet: what software says, or what the stream said.
    control: u32,
    words: [u32; 5],
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Channel {
    job: Option<Job>,
    /// There are descriptors up to the tail.
    queued: bool,
    /// Packets until the next interrupt.
    packets: u32,
    /// The interrupt delay ends then; 0: none runs.
    delay_until: Nanos,
    /// The stream is inside a packet.
    inside: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    channels: [Channel; 2],
}

impl State {
    fn is_sound(&self) -> bool {
        let sound = |c: &Channel| c.packets <= 255 && c.job.as_ref().is_none_or(|j| j.done < j.len && j.len < 1 << 26);
        self.regs.is_sound() && self.channels.iter().all(sound)
    }
}

struct AxiDma {
    s: State,
    scatter_gather: bool,
    status_control: bool,
    length_mask: u32,
    address_mask: u64,
    resolution: u64,
    /// Bytes on their way; empty between calls.
    buffer: Vec<u8>,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(AxiDma {
        s: State::default(),
        scatter_gather: props.flag("scatter-gather"),
        status_control: props.flag("status-control"),
        length_mask: (1 << props.int("length-width") as u32) - 1,
        address_mask: u64::MAX >> (64 - props.int("addr-width").clamp(32, 64) as u32),
        resolution: props.int("delay-resolution") as u64,
        buffer: Vec::new(),
    }))
}

/// How a step of a transfer ended.
enum Step {
    /// So many bytes went.
    Moved(usize),
    /// The part takes nothing, or has nothing.
    Waits,
    /// The channel halts for this error.
    Failed(u32),
}

impl AxiDma {
    fn controls(&self, n: usize, bit: u32) -> bool {
        self.s.regs.dmacr[n] & bit != 0
    }

    fn is_halted(&self, n: usize) -> bool {
        self.s.regs.dmasr[n] & Regs::DMASR_HALTED != 0
    }

    fn threshold(&self, n: usize) -> u32 {
        (self.s.regs.dmacr[n] & Regs::DMACR_IRQ_THRESHOLD) >> 16
    }

    /// Nanoseconds of a unit of the interrupt delay.
    fn unit(&self, cx: &Cx<'_>) -> u64 {
        (self.resolution * 1_000_000_000).checked_div(cx.clock(0).0).unwrap_or(0).max(1)
    }

    fn pointer(&self, low: u32, high: u32) -> u64 {
        (u64::from(high) << 32 | u64::from(low)) & self.address_mask
    }

    fn lines(&mut self, cx: &mut Cx<'_>) {
        for n in [MM2S, S2MM] {
            cx.set_line(n, 0, self.s.regs.dmasr[n] & self.s.regs.dmacr[n] & IRQS != 0);
        }
    }

    /// Soft reset, or the machine's: of both channels.
    fn initial(&mut self, cx: &mut Cx<'_>) {
        self.s = State::default();
        self.s.channels.iter_mut().for_each(|c| c.packets = 1);
        (0..4).for_each(|timer| cx.disarm(timer));
        self.lines(cx);
    }

    /// The channel halts; its current buffer is dropped.
    fn halt(&mut self, n: usize, error: u32) {
        let r = &mut self.s.regs;
        r.dmacr[n] &= !Regs::DMACR_RS;
        r.dmasr[n] = r.dmasr[n] & !Regs::DMASR_IDLE | Regs::DMASR_HALTED | error | if error != 0 { Regs::DMASR_ERR_IRQ } else { 0 };
        self.s.channels[n].job = None;
        self.s.channels[n].queued = false;
    }

    /// Does what a channel can do now.
    fn work(&mut self, n: usize, cx: &mut Cx<'_>) {
        let mut left = SLICE;
        while !self.is_halted(n) {
            if self.s.channels[n].job.is_none() && !self.s.channels[n].queued {
                break;
            }
            if left == 0 {
                cx.arm(TIMER_WORK + n as u32, Nanos(cx.now().0.saturating_add(PAUSE)));
                break;
            }
            let step = match self.job(n, cx) {
                Err(error) => Step::Failed(error),
                Ok(job) if n == MM2S => self.send(job, cx),
                Ok(job) => self.take(job, cx),
            };
            match step {
                Step::Moved(bytes) => left = left.saturating_sub(1 + bytes / CHUNK),
                Step::Waits => break,
                Step::Failed(error) => self.halt(n, error),
            }
        }
        self.lines(cx);
    }

    /// The buffer at work, or the next descriptor's.
    fn job(&mut self, n: usize, cx: &mut Cx<'_>) -> Result<Job, u32> {
        if let Some(job) = self.s.channels[n].job.take() {
            return Ok(job);
        }
        let at = self.pointer(self.s.regs.curdesc[n], self.s.regs.curdesc_msb[n]);
        let mut bytes = [0; DESCRIPTOR];
        cx.dma_read(GuestPhys(at), &mut bytes).map_err(|_| Regs::DMASR_SG_DEC_ERR)?;
        let word = |i: usize| u32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]]);
        if word(0x1c) & COMPLETE != 0 && !self.controls(n, Regs::DMACR_CYCLIC_BD) {
            return Err(Regs::DMASR_SG_INT_ERR);
        }
        let job = Job {
            at,
            next: self.pointer(word(0) & !0x3f, word(4)),
            buffer: self.pointer(word(8), word(0xc)),
            len: word(0x18) & self.length_mask,
            done: 0,
            control: if n == MM2S { word(0x18) & (FIRST | LAST) } else { 0 },
            words: std::array::from_fn(|i| word(0x20 + 4 * i)),
        };
        if job.len == 0 {
            self.update(&job, INTERNAL_ERROR, cx)?;
            return Err(Regs::DMASR_DMA_INT_ERR);
        }
        Ok(job)
    }

    /// Memory to stream: the next bytes.
    fn send(&mut self, mut job: Job, cx: &mut Cx<'_>) -> Step {
        let n = CHUNK.min((job.len - job.done) as usize);
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.resize(n, 0);
        let read = cx.dma_read(GuestPhys(self.place(&job)), &mut bytes);
        let begins = (job.done == 0 && job.control & FIRST != 0).then_some(if self.status_control { job.words } else { [0; 5] });
        let ends = job.control & LAST != 0 && job.done as usize + n == job.len as usize;
        let taken = read.map(|()| cx.stream(0, 0, |part, cx| part.push(&bytes, begins, ends, cx)).unwrap_or(0).min(n));
        self.buffer = bytes;
        match taken {
            Err(_) => self.broken(&job, cx),
            Ok(0) => self.keep(MM2S, job, Step::Waits),
            Ok(taken) => {
                job.done += taken as u32;
                if job.done < job.len { self.keep(MM2S, job, Step::Moved(taken)) } else { self.finish(MM2S, &job, cx) }
            }
        }
    }

    /// Stream to memory: the next bytes.
    fn take(&mut self, mut job: Job, cx: &mut Cx<'_>) -> Step {
        let n = CHUNK.min((job.len - job.done) as usize);
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.resize(n, 0);
        let (taken, end) = cx.stream(0, 0, |part, cx| part.pull(&mut bytes, cx)).unwrap_or((0, None));
        let taken = taken.min(n);
        let wrote = if taken == 0 { Ok(()) } else { cx.dma_write(GuestPhys(self.place(&job)), &bytes[..taken]) };
        self.buffer = bytes;
        if taken == 0 && end.is_none() {
            return self.keep(S2MM, job, Step::Waits);
        }
        let begins = job.done == 0 && !self.s.channels[S2MM].inside;
        job.control |= if begins { FIRST } else { 0 } | if end.is_some() { LAST } else { 0 };
        job.words = end.unwrap_or_default();
        self.s.channels[S2MM].inside = end.is_none();
        if wrote.is_err() {
            return self.broken(&job, cx);
        }
        job.done += taken as u32;
        match (end, job.done == job.len) {
            (None, false) => self.keep(S2MM, job, Step::Moved(taken)),
            // More than software has room for.
            (None, true) if !self.scatter_gather => Step::Failed(Regs::DMASR_DMA_INT_ERR),
            _ => self.finish(S2MM, &job, cx),
        }
    }

    fn place(&self, job: &Job) -> u64 {
        job.buffer.wrapping_add(job.done.into()) & self.address_mask
    }

    fn keep(&mut self, n: usize, job: Job, step: Step) -> Step {
        self.s.channels[n].job = Some(job);
        step
    }

    /// A buffer could not be reached.
    fn broken(&mut self, job: &Job, cx: &mut Cx<'_>) -> Step {
        Step::Failed(Regs::DMASR_DMA_DEC_ERR | self.update(job, DECODE_ERROR | job.done, cx).err().unwrap_or(0))
    }

    /// Writes a descriptor's status.
    fn update(&mut self, job: &Job, status: u32, cx: &mut Cx<'_>) -> Result<(), u32> {
        if !self.scatter_gather {
            return Ok(());
        }
        let at = GuestPhys(job.at.wrapping_add(STATUS) & self.address_mask);
        cx.dma_write(at, &status.to_le_bytes()).map_err(|_| Regs::DMASR_SG_DEC_ERR)
    }

    /// A buffer is finished, and perhaps with it a packet.
    fn finish(&mut self, n: usize, job: &Job, cx: &mut Cx<'_>) -> Step {
        let r = &mut self.s.regs;
        if !self.scatter_gather {
            r.length[n] = job.done;
            r.dmasr[n] |= Regs::DMASR_IDLE | Regs::DMASR_IOC_IRQ;
            return Step::Moved(job.done as usize);
        }
        (r.curdesc[n], r.curdesc_msb[n]) = (job.next as u32, (job.next >> 32) as u32);
        let ends = job.control & LAST != 0;
        let mut flags = COMPLETE | job.done;
        if n == S2MM {
            flags |= job.control;
            if ends && self.status_control {
                let words: Vec<u8> = job.words.iter().flat_map(|w| w.to_le_bytes()).collect();
                if cx.dma_write(GuestPhys(job.at.wrapping_add(WORDS) & self.address_mask), &words).is_err() {
                    return Step::Failed(Regs::DMASR_SG_DEC_ERR);
                }
            }
        }
        // Software looks at the status first.
        if let Err(error) = self.update(job, flags, cx) {
            return Step::Failed(error);
        }
        if ends {
            self.packet(n, cx);
        }
        if job.at == self.pointer(self.s.regs.taildesc[n], self.s.regs.taildesc_msb[n]) && !self.controls(n, Regs::DMACR_CYCLIC_BD) {
            self.s.regs.dmasr[n] |= Regs::DMASR_IDLE;
            self.s.channels[n].queued = false;
        }
        Step::Moved(job.done as usize)
    }

    /// A packet is complete: an interrupt when there were enough, or after the delay.
    fn packet(&mut self, n: usize, cx: &mut Cx<'_>) {
        let (threshold, unit) = (self.threshold(n), self.unit(cx));
        let delay = u64::from(self.s.regs.dmacr[n] >> 24);
        let channel = &mut self.s.channels[n];
        channel.packets = channel.packets.saturating_sub(1);
        channel.delay_until = Nanos(0);
        if channel.packets == 0 {
            channel.packets = threshold;
            self.s.regs.dmasr[n] |= Regs::DMASR_IOC_IRQ;
        } else if delay != 0 {
            channel.delay_until = Nanos(cx.now().0.saturating_add(delay * unit));
            cx.arm(TIMER_DELAY + n as u32, channel.delay_until);
        }
    }

    /// The tail pointer was written: goes on, if the channel runs.
    fn start(&mut self, n: usize, cx: &mut Cx<'_>) {
        if self.is_halted(n) || !self.scatter_gather {
            return;
        }
        self.s.regs.dmasr[n] &= !Regs::DMASR_IDLE;
        self.s.channels[n].queued = true;
        self.work(n, cx);
    }

    /// The bits of a pointer's upper half that there are.
    fn upper(&self, value: u32) -> u32 {
        value & (self.address_mask >> 32) as u32
    }
}

impl Hooks for AxiDma {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn control(&mut self, n: usize, old: u32, value: u32, cx: &mut Cx<'_>) {
        if value & Regs::DMACR_RESET != 0 {
            self.initial(cx);
            cx.set_line(RESET, 0, true);
            cx.set_line(RESET, 0, false);
            return;
        }
        if value & Regs::DMACR_KEYHOLE & !old != 0 {
            cx.unimplemented("keyhole transfers");
        }
        if self.threshold(n) == 0 {
            // A write of 0 has no effect (PG021).
            self.s.regs.dmacr[n] |= old & Regs::DMACR_IRQ_THRESHOLD;
        }
        if (self.s.regs.dmacr[n] ^ old) & Regs::DMACR_IRQ_THRESHOLD != 0 {
            self.s.channels[n].packets = self.threshold(n);
        }
        match (value & Regs::DMACR_RS != 0, self.is_halted(n)) {
            (true, true) => self.s.regs.dmasr[n] &= !Regs::DMASR_HALTED,
            (false, false) => self.halt(n, 0),
            _ => {}
        }
        self.lines(cx);
    }

    fn status(&mut self, n: usize, cx: &mut Cx<'_>) -> u32 {
        let channel = &self.s.channels[n];
        let delay = channel.delay_until.0.saturating_sub(cx.now().0).div_ceil(self.unit(cx)).min(255) as u32;
        let included = if self.scatter_gather { Regs::DMASR_SG_INCLD } else { 0 };
        self.s.regs.dmasr[n] & 0xffff | included | channel.packets << 16 | delay << 24
    }

    fn acknowledge(&mut self, _: usize, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.lines(cx);
    }

    fn current(&mut self, n: usize, old: u32, _: u32, cx: &mut Cx<'_>) {
        if !self.is_halted(n) {
            self.s.regs.curdesc[n] = old;
            cx.guest_error("CURDESC was written while the channel ran");
        }
    }

    fn current_high(&mut self, n: usize, old: u32, value: u32, _: &mut Cx<'_>) {
        self.s.regs.curdesc_msb[n] = if self.is_halted(n) { self.upper(value) } else { old };
    }

    fn tail(&mut self, n: usize, _: u32, _: u32, cx: &mut Cx<'_>) {
        if self.address_mask >> 32 == 0 {
            self.start(n, cx);
        }
    }

    fn tail_high(&mut self, n: usize, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.taildesc_msb[n] = self.upper(value);
        if self.address_mask >> 32 != 0 {
            self.start(n, cx);
        }
    }

    fn address(&mut self, n: usize, _: u32, _: u32, _: &mut Cx<'_>) {
        if self.scatter_gather {
            self.s.regs.address[n] = 0;
        }
    }

    fn address_high(&mut self, n: usize, _: u32, value: u32, _: &mut Cx<'_>) {
        self.s.regs.address_msb[n] = if self.scatter_gather { 0 } else { self.upper(value) };
    }

    fn length(&mut self, n: usize, old: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.length[n] = if self.scatter_gather { 0 } else { value & self.length_mask };
        if self.scatter_gather || self.is_halted(n) || self.s.regs.length[n] == 0 {
            return;
        }
        if self.s.channels[n].job.is_some() {
            self.s.regs.length[n] = old;
            return cx.guest_error("LENGTH was written during a transfer");
        }
        self.s.regs.dmasr[n] &= !Regs::DMASR_IDLE;
        let buffer = self.pointer(self.s.regs.address[n], self.s.regs.address_msb[n]);
        let control = if n == MM2S { FIRST | LAST } else { 0 };
        self.s.channels[n].job = Some(Job { buffer, len: self.s.regs.length[n], control, ..Job::default() });
        self.work(n, cx);
    }
}

impl Device for AxiDma {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.initial(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn timer_expired(&mut self, timer: u32, cx: &mut Cx<'_>) {
        let n = (timer & 1) as usize;
        if timer < TIMER_DELAY {
            return self.work(n, cx);
        }
        let threshold = self.threshold(n);
        let channel = &mut self.s.channels[n];
        if channel.delay_until != Nanos(0) && cx.now() >= channel.delay_until {
            channel.delay_until = Nanos(0);
            channel.packets = threshold;
            self.s.regs.dmasr[n] |= Regs::DMASR_DLY_IRQ;
            self.lines(cx);
        }
    }

    fn part_changed(&mut self, _: usize, _: u32, cx: &mut Cx<'_>) {
        self.work(S2MM, cx);
        // Of two channels that feed each other one goes on later, so that others get their turn.
        if self.s.channels[MM2S].job.is_some() {
            cx.arm(TIMER_WORK, cx.now());
        }
    }

    crate::snapshot!(s);
}

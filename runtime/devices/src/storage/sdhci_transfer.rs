//! The data of a command: between the card and guest memory or the data port (SD Host Controller Simplified Specification 2.00, 1.4, 1.13, 2.2).
//!
//! To the host: the card is asked for as much as the command wants, up to 256 KiB; what comes lies in the buffer until the guest has read it, or
//! DMA has put it into memory. To the card: the buffer is filled first. [`Sdhci::run`] goes on until somebody is waited for: the
//! drive, the guest at the port, at an SDMA boundary or at a block gap.
//!
//! A guest's descriptors may lead anywhere: for each buffer, so in each call, at most 16384 are followed; then it is an ADMA error.

use super::sdhci::Sdhci;
use super::sdhci::regs::Regs;
use super::{Data, Flow};
use emu_machine::device::Cx;
use emu_memory::GuestPhys;
use serde::{Deserialize, Serialize};

/// Bytes asked of the card at once.
const BUFFER: u32 = 256 << 10;
/// Descriptors followed for one buffer.
const DESCRIPTORS: u32 = 16384;

/// ADMA error states: at a descriptor, in its data.
const FETCH: u32 = 1;
const MOVE: u32 = 3;

/// Who moves the data on the guest's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum Mover {
    Port,
    Sdma,
    Adma,
}

/// The rest of an ADMA2 descriptor.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Segment {
    at: u32,
    left: u32,
    interrupt: bool,
    /// It is the last.
    end: bool,
}

/// The data of the command under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Transfer {
    pub to_host: bool,
    mover: Mover,
    /// Bytes of a block.
    block: u32,
    /// Bytes yet to be moved on the guest's side; `None`: until somebody ends it.
    left: Option<u64>,
    /// Bytes moved.
    moved: u64,
    buffer: Vec<u8>,
    /// How many of them are moved already, to the host.
    at: usize,
    /// The card has been asked.
    pub waiting: bool,
    /// Stopped at an SDMA boundary.
    boundary: bool,
    /// Stopped at a block gap.
    pub gap: bool,
    pub auto_cmd12: bool,
    segment: Segment,
    descriptors: u32,
}

/// What comes next.
enum Step {
    Again,
    /// Somebody is waited for.
    Rest,
    /// All is moved.
    Finished,
    /// These error bits.
    Failed(u32),
}

impl Transfer {
    pub fn is_sound(&self) -> bool {
        self.block > 0
            && self.block <= 0xfff
            && self.left.is_none_or(|n| n <= 0xffff * 0xfff)
            && self.moved < 1 << 62
            && self.buffer.len() <= BUFFER as usize
            && self.at <= self.buffer.len()
            && self.segment.left <= 0x1_0000
    }

    /// Bytes for the host.
    fn available(&self) -> usize {
        self.buffer.len() - self.at
    }

    fn done(&self) -> bool {
        self.left == Some(0)
    }

    /// As many whole blocks as the buffer is to hold. Without an end in sight the card gets each block at once; an ADMA table has an end.
    fn limit(&self) -> u32 {
        if !self.to_host && self.left.is_none() && self.mover != Mover::Adma { self.block } else { BUFFER - BUFFER % self.block }
    }

    /// Bytes the buffer takes from the host.
    fn room(&self) -> u64 {
        let room = u64::from(self.limit()).saturating_sub(self.buffer.len() as u64);
        room.min(self.left.unwrap_or(room))
    }

    /// Bytes to the end of the block.
    fn in_block(&self) -> u64 {
        u64::from(self.block) - self.moved % u64::from(self.block)
    }

    fn at_gap(&self) -> bool {
        self.moved > 0 && self.moved.is_multiple_of(self.block.into())
    }

    /// The guest can read from the port.
    pub fn readable(&self) -> bool {
        self.to_host && self.mover == Mover::Port && !self.gap && self.available() > 0
    }

    /// The guest can write to the port.
    pub fn writable(&self) -> bool {
        !self.to_host && self.mover == Mover::Port && !self.gap && !self.waiting && self.room() > 0
    }

    /// Data from the card.
    pub fn take(&mut self, bytes: Vec<u8>) {
        (self.buffer, self.at, self.descriptors) = (bytes, 0, 0);
    }

    fn account(&mut self, bytes: u64) {
        self.moved += bytes;
        self.left = self.left.map(|left| left.saturating_sub(bytes));
        if self.to_host {
            self.at = (self.at + bytes as usize).min(self.buffer.len());
        }
    }
}

impl Sdhci {
    /// A command with data was answered.
    pub(super) fn begin(&mut self, cx: &mut Cx<'_>) {
        let r = &self.s.regs;
        let (to_host, block) = (r.command_read(), r.block_size());
        let blocks = match (r.command_multi(), r.command_count_enable()) {
            (false, _) => Some(1),
            (true, true) => Some(r.block_count()),
            (true, false) => None,
        };
        let mover = match (r.command_dma(), r.host_dma_select()) {
            (false, _) => Mover::Port,
            (true, 0) => Mover::Sdma,
            (true, 2) => Mover::Adma,
            (true, _) => {
                cx.unimplemented("ADMA1 and 64-bit ADMA2");
                Mover::Adma
            }
        };
        match self.card.data() {
            Data::ToHost(len) if to_host && len != block => return self.raise(Regs::STATUS_DATA_CRC),
            Data::FromHost(len) if !to_host && len != block => return self.raise(Regs::STATUS_DATA_CRC),
            Data::ToHost(_) if to_host => {}
            Data::FromHost(_) if !to_host => {}
            _ => return self.raise(Regs::STATUS_DATA_TIMEOUT),
        }
        let t = Transfer {
            to_host,
            mover,
            block,
            left: blocks.map(|n| u64::from(n) * u64::from(block)),
            moved: 0,
            buffer: vec![],
            at: 0,
            waiting: false,
            boundary: false,
            gap: false,
            auto_cmd12: r.command_auto_cmd12() && r.command_multi(),
            segment: Segment::default(),
            descriptors: 0,
        };
        self.s.regs.adma_error = 0;
        let writable = t.writable();
        self.s.transfer = Some(t);
        if writable {
            self.raise(Regs::STATUS_WRITE_READY);
        }
        self.run(cx);
    }

    /// Goes on until somebody is waited for.
    pub(super) fn run(&mut self, cx: &mut Cx<'_>) {
        while let Some(mut t) = self.s.transfer.take() {
            match self.step(&mut t, cx) {
                Step::Again => self.s.transfer = Some(t),
                Step::Rest => {
                    self.s.transfer = Some(t);
                    break;
                }
                Step::Finished => self.finish(&t, cx),
                Step::Failed(bits) => self.raise(bits),
            }
        }
        self.update(cx);
    }

    fn step(&mut self, t: &mut Transfer, cx: &mut Cx<'_>) -> Step {
        if t.waiting || t.boundary || t.gap {
            return Step::Rest;
        }
        let stop = self.s.regs.host_stop() && t.at_gap() && !t.done();
        if t.to_host {
            if t.done() {
                return Step::Finished;
            }
            if stop {
                return self.stop_at_gap(t);
            }
            if t.available() == 0 {
                let most = t.left.unwrap_or(BUFFER.into()).min(t.limit().into()) as u32;
                let flow = self.card.fetch(most, cx);
                return self.flow_of(t, flow);
            }
        } else if !t.buffer.is_empty() && (t.room() == 0 || stop) {
            t.descriptors = 0;
            let flow = self.card.store(std::mem::take(&mut t.buffer), cx);
            return self.flow_of(t, flow);
        } else if t.done() {
            return Step::Finished;
        } else if stop {
            return self.stop_at_gap(t);
        }
        let mut most = if t.to_host { t.available() as u64 } else { t.room() };
        if self.s.regs.host_stop() {
            most = most.min(t.in_block());
        }
        match t.mover {
            Mover::Port => Step::Rest,
            Mover::Sdma => self.sdma(t, most, cx),
            Mover::Adma => self.adma(t, most, cx),
        }
    }

    fn flow_of(&mut self, t: &mut Transfer, flow: Flow) -> Step {
        match flow {
            Flow::End => Step::Failed(Regs::STATUS_DATA_TIMEOUT),
            Flow::Wait => {
                t.waiting = true;
                Step::Rest
            }
            Flow::Bytes(bytes) => {
                t.take(bytes);
                if t.readable() {
                    self.raise(Regs::STATUS_READ_READY);
                }
                Step::Again
            }
            Flow::Done => {
                if t.writable() {
                    self.raise(Regs::STATUS_WRITE_READY);
                }
                Step::Again
            }
        }
    }

    fn stop_at_gap(&mut self, t: &mut Transfer) -> Step {
        t.gap = true;
        self.raise(Regs::STATUS_BLOCK_GAP | Regs::STATUS_TRANSFER_COMPLETE);
        Step::Rest
    }

    /// Continue request.
    pub(super) fn proceed(&mut self, cx: &mut Cx<'_>) {
        if self.s.regs.host_stop() {
            return;
        }
        let Some(t) = self.s.transfer.as_mut().filter(|t| t.gap) else { return };
        t.gap = false;
        let (readable, writable) = (t.readable(), t.writable());
        if readable {
            self.raise(Regs::STATUS_READ_READY);
        }
        if writable {
            self.raise(Regs::STATUS_WRITE_READY);
        }
        self.run(cx);
    }

    /// The upper byte of the SDMA address was written.
    pub(super) fn resume_sdma(&mut self, cx: &mut Cx<'_>) {
        if let Some(t) = self.s.transfer.as_mut().filter(|t| t.boundary) {
            t.boundary = false;
            self.run(cx);
        }
    }

    /// Moves bytes between the buffer and guest memory; false: the bus refuses.
    fn dma(&mut self, t: &mut Transfer, at: u32, len: u32, cx: &mut Cx<'_>) -> bool {
        let (at, len) = (GuestPhys(at.into()), len as usize);
        let moved = if t.to_host {
            t.buffer.get(t.at..t.at + len).is_some_and(|bytes| cx.dma_write(at, bytes).is_ok())
        } else {
            let end = t.buffer.len();
            if end == 0 {
                // Once, not in steps.
                t.buffer.reserve_exact(t.room() as usize);
            }
            t.buffer.resize(end + len, 0);
            cx.dma_read(at, &mut t.buffer[end..]).is_ok()
        };
        if moved {
            t.account(len as u64);
            self.count(t);
        }
        moved
    }

    /// The block count register says how many blocks are to come.
    fn count(&mut self, t: &Transfer) {
        if let Some(left) = t.left
            && self.s.regs.command_count_enable()
        {
            let blocks = left.div_ceil(t.block.into()).min(0xffff) as u32;
            self.s.regs.block = self.s.regs.block & !Regs::BLOCK_COUNT | blocks << 16;
        }
    }

    fn sdma(&mut self, t: &mut Transfer, most: u64, cx: &mut Cx<'_>) -> Step {
        let boundary = 0x1000u32 << self.s.regs.block_boundary();
        let at = self.s.regs.sdma;
        let len = most.min((boundary - at % boundary).into()) as u32;
        if !self.dma(t, at, len, cx) {
            return Step::Failed(Regs::STATUS_TARGET_RESPONSE);
        }
        self.s.regs.sdma = at.wrapping_add(len);
        if self.s.regs.sdma.is_multiple_of(boundary) && !t.done() {
            t.boundary = true;
            self.raise(Regs::STATUS_DMA);
            return Step::Rest;
        }
        Step::Again
    }

    fn adma(&mut self, t: &mut Transfer, most: u64, cx: &mut Cx<'_>) -> Step {
        while t.segment.left == 0 {
            if t.segment.end {
                // The table's end ends a transfer whose blocks are not counted.
                if t.left.is_some() || !t.moved.is_multiple_of(t.block.into()) {
                    return self.adma_error(Regs::ADMA_ERROR_LENGTH);
                }
                t.left = Some(0);
                return Step::Again;
            }
            if let Some(error) = self.descriptor(t, cx) {
                return error;
            }
        }
        let len = most.min(t.segment.left.into()) as u32;
        if !self.dma(t, t.segment.at, len, cx) {
            return self.adma_error(MOVE);
        }
        t.segment.at = t.segment.at.wrapping_add(len);
        t.segment.left -= len;
        if t.segment.left == 0 && t.segment.interrupt {
            self.raise(Regs::STATUS_DMA);
        }
        if t.done() && t.segment.left > 0 {
            return self.adma_error(MOVE | Regs::ADMA_ERROR_LENGTH);
        }
        Step::Again
    }

    /// Takes the next descriptor: attributes, length, address (1.13.3).
    fn descriptor(&mut self, t: &mut Transfer, cx: &mut Cx<'_>) -> Option<Step> {
        let place = self.s.regs.adma & !3;
        let mut bytes = [0; 8];
        t.descriptors += 1;
        if t.descriptors > DESCRIPTORS {
            cx.guest_error("an ADMA2 table without end");
            return Some(self.adma_error(FETCH));
        }
        if cx.dma_read(GuestPhys(place.into()), &mut bytes).is_err() || bytes[0] & 1 == 0 {
            return Some(self.adma_error(FETCH));
        }
        let address = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) & !3;
        let length = u32::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        let (action, end, interrupt) = (bytes[0] >> 4 & 3, bytes[0] & 2 != 0, bytes[0] & 4 != 0);
        self.s.regs.adma = if action == 3 { address } else { place.wrapping_add(8) };
        t.segment = Segment { at: address, left: 0, interrupt, end };
        match action {
            2 => t.segment.left = if length == 0 { 0x1_0000 } else { length },
            _ if interrupt => self.raise(Regs::STATUS_DMA),
            _ => {}
        }
        None
    }

    fn adma_error(&mut self, state: u32) -> Step {
        self.s.regs.adma_error = state;
        Step::Failed(Regs::STATUS_ADMA)
    }

    /// The data port; bytes beyond the block are 0. `peek`: nothing happens.
    pub(super) fn read_port(&mut self, size: u8, peek: bool, cx: &mut Cx<'_>) -> u64 {
        let Some(mut t) = self.s.transfer.take_if(|t| t.readable()) else { return 0 };
        let len = (t.available() as u64).min(t.in_block()).min(size.into());
        let bytes = &t.buffer[t.at..][..len as usize];
        let value = bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        if !peek {
            self.moved_by_port(&mut t, len);
        }
        self.s.transfer = Some(t);
        if !peek {
            self.run(cx);
        }
        value
    }

    pub(super) fn write_port(&mut self, bytes: &[u8], cx: &mut Cx<'_>) {
        let Some(mut t) = self.s.transfer.take_if(|t| t.writable()) else { return };
        let len = t.in_block().min(t.room()).min(bytes.len() as u64);
        t.buffer.extend_from_slice(&bytes[..len as usize]);
        self.moved_by_port(&mut t, len);
        self.s.transfer = Some(t);
        self.run(cx);
    }

    fn moved_by_port(&mut self, t: &mut Transfer, len: u64) {
        t.account(len);
        if t.at_gap() {
            self.count(t);
            // The next block.
            if !self.s.regs.host_stop() {
                let (readable, writable) = (t.readable() && !t.done(), t.writable());
                self.raise(if readable { Regs::STATUS_READ_READY } else { 0 } | if writable { Regs::STATUS_WRITE_READY } else { 0 });
            }
        }
    }
}

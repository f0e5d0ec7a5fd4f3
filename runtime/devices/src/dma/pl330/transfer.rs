//! Bursts: memory -> MFIFO -> memory (DDI 0424 2.11, app. B).

use super::execute::{Outcome, Then};
use super::instruction::{Instruction, When};
use super::*;

/// Bytes that are copied at once at most.
const BLOCK: usize = 0x1_0000;

/// A burst on the bus.
#[derive(Clone, Copy)]
struct Burst {
    at: u32,
    /// Bytes of a beat.
    size: u32,
    beats: u32,
    increments: bool,
}

impl Burst {
    /// From the source's or the destination's half of CCR.
    fn new(at: u32, control: u32, single: bool) -> Burst {
        let beats = if single { 1 } else { (control >> 4 & 15) + 1 };
        Burst { at, size: 1 << (control >> 1 & 7), beats, increments: control & 1 != 0 }
    }

    /// Bytes before the first beat's, on an address that is not a multiple of the beat's size: the beat is shorter by so many.
    fn skipped(self) -> u32 {
        self.at & (self.size - 1)
    }

    /// Bytes of all beats. Beats at a fixed address are all like the first.
    fn len(self) -> usize {
        let skipped = if self.increments { self.skipped() } else { self.skipped() * self.beats };
        (self.size * self.beats - skipped) as usize
    }

    /// Bytes that are moved by one access to memory.
    fn access(self) -> usize {
        if self.increments { self.len() } else { (self.size - self.skipped()) as usize }
    }

    /// The address after it.
    fn end(self) -> u32 {
        if self.increments { self.at.wrapping_add(self.len() as u32) } else { self.at }
    }

    /// An instruction, and the beats.
    fn cycles(self) -> u64 {
        u64::from(self.beats) + 1
    }
}

impl Pl330 {
    fn source(&self, channel: usize, single: bool) -> Burst {
        Burst::new(self.s.regs.sar[channel], self.s.regs.ccr[channel], single)
    }

    fn destination(&self, channel: usize, single: bool) -> Burst {
        Burst::new(self.s.regs.dar[channel], self.s.regs.ccr[channel] >> 14, single)
    }

    /// Bytes to which an order of bytes applies; 1: none is changed.
    fn swapped(&self, channel: usize) -> usize {
        1 << (self.s.regs.ccr[channel] >> 28 & 7).min(4)
    }

    /// Bytes of the MFIFO that are free.
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.s.threads.iter().map(|t| t.data.len()).sum())
    }

    pub(super) fn load(&mut self, channel: usize, single: bool, cx: &mut Cx<'_>) -> Outcome {
        let burst = self.source(channel, single);
        if burst.len() + self.s.threads[channel].data.len() > self.capacity {
            return Err(Regs::FTR_MFIFO_ERR);
        }
        self.s.threads[channel].stalled = burst.len() > self.room();
        if self.s.threads[channel].stalled {
            return Ok(Then::Stay(0));
        }
        self.buffer.clear();
        self.buffer.resize(burst.len(), 0);
        for bytes in self.buffer.chunks_mut(burst.access()) {
            cx.dma_read(GuestPhys(burst.at.into()), bytes).map_err(|_| Regs::FTR_DATA_READ_ERR)?;
        }
        self.s.threads[channel].data.extend_from_slice(&self.buffer);
        self.s.regs.sar[channel] = burst.end();
        Ok(Then::Moved(burst.cycles()))
    }

    pub(super) fn store(&mut self, channel: usize, single: bool, cx: &mut Cx<'_>) -> Outcome {
        let burst = self.destination(channel, single);
        if burst.len() > self.capacity {
            return Err(Regs::FTR_MFIFO_ERR);
        }
        let swapped = self.swapped(channel);
        let data = self.s.threads[channel].data.get(..burst.len()).ok_or(Regs::FTR_ST_DATA_UNAVAILABLE)?;
        self.buffer.clear();
        self.buffer.extend_from_slice(data);
        if swapped > 1 {
            if !burst.len().is_multiple_of(swapped) {
                cx.unimplemented("a byte swap across the ends of bursts");
            }
            self.buffer.chunks_exact_mut(swapped).for_each(<[u8]>::reverse);
        }
        self.write(burst, cx)?;
        self.s.threads[channel].data.drain(..burst.len());
        self.s.regs.dar[channel] = burst.end();
        Ok(Then::Moved(burst.cycles()))
    }

    pub(super) fn store_zero(&mut self, channel: usize, cx: &mut Cx<'_>) -> Outcome {
        let burst = self.destination(channel, false);
        self.buffer.clear();
        self.buffer.resize(burst.len(), 0);
        self.write(burst, cx)?;
        self.s.regs.dar[channel] = burst.end();
        Ok(Then::Moved(burst.cycles()))
    }

    /// Writes what is in the buffer.
    fn write(&mut self, burst: Burst, cx: &mut Cx<'_>) -> Result<(), u32> {
        for bytes in self.buffer.chunks(burst.access()) {
            cx.dma_write(GuestPhys(burst.at.into()), bytes).map_err(|_| Regs::FTR_DATA_WRITE_ERR)?;
        }
        Ok(())
    }

    /// A loop from `to` to the DMALPEND at `pc` that does nothing but load and store bursts, one after the other, and is repeated `times` times: how
    /// many times were done by one copy, and the cycles that took. `None` if that would not be the same, or is not worth it.
    pub(super) fn copy_block(&mut self, channel: usize, to: u32, pc: u32, times: u32, cx: &mut Cx<'_>) -> Option<(u32, u64)> {
        let pairs = pc.wrapping_sub(to) / 2;
        let pair = |at: u32| {
            let [load, store] = [at, at.wrapping_add(1)].map(|at| self.known(at).map(|(_, instruction)| instruction));
            load == Some(Instruction::Load(When::Always)) && store == Some(Instruction::Store(When::Always))
        };
        if pairs == 0 || to.wrapping_add(2 * pairs) != pc || !(0..pairs).all(|i| pair(to.wrapping_add(2 * i))) {
            return None;
        }
        let (from, onto) = (self.source(channel, false), self.destination(channel, false));
        let whole = |b: Burst| b.increments && b.skipped() == 0;
        let plain = whole(from) && whole(onto) && from.len() == onto.len() && self.swapped(channel) == 1;
        if !plain || from.len() > self.room() || !self.s.threads[channel].data.is_empty() {
            return None;
        }
        let (bytes, cycles) = (from.len() * pairs as usize, (from.cycles() + onto.cycles()) * u64::from(pairs) + 1);
        let left = SLICE.saturating_sub(self.spent) / cycles;
        let times = times.min(u32::try_from(left).ok()?).min((BLOCK / bytes) as u32);
        let total = bytes * times as usize;
        let [from_end, onto_end] = [from.at.checked_add(total as u32)?, onto.at.checked_add(total as u32)?];
        if times == 0 || from.at < onto_end && onto.at < from_end {
            return None;
        }
        // What goes wrong here goes wrong again, at its burst, when the loop is executed.
        self.buffer.clear();
        self.buffer.resize(total, 0);
        cx.dma_read(GuestPhys(from.at.into()), &mut self.buffer).ok()?;
        cx.dma_write(GuestPhys(onto.at.into()), &self.buffer).ok()?;
        (self.s.regs.sar[channel], self.s.regs.dar[channel]) = (from_end, onto_end);
        Some((times, cycles * u64::from(times)))
    }
}

//! Queue heads and their transfer descriptors, and the asynchronous schedule (EHCI 3.5, 3.6, 4.8, 4.10).
//!
//! A queue head's overlay takes over one descriptor after the other; each is one call to the part, of as many packets as it has
//! ([`emu_machine::parts::UsbToken`]). The overlay is written back before the descriptor, which drivers look at.

use super::{ChipIdea, Regs};
use emu_machine::device::Cx;
use emu_machine::parts::{UsbReply, UsbToken};
use emu_machine::{BusError, GuestPhys};

/// Queue heads looked at in one call.
const QUEUES: u32 = 128;
/// Descriptors of one queue in one look.
const TURNS: u32 = 8;
/// Type of a link: a queue head.
pub(super) const QUEUE_HEAD: u32 = 1;

const ACTIVE: u32 = 1 << 7;
const HALTED: u32 = 1 << 6;
const BUFFER_ERROR: u32 = 1 << 5;
const BABBLE: u32 = 1 << 4;
const TRANSACTION_ERROR: u32 = 1 << 3;
const PING: u32 = 1;
const TOGGLE: u32 = 1 << 31;
const INTERRUPT: u32 = 1 << 15;

pub(super) fn read_words<const N: usize>(at: u32, cx: &mut Cx<'_>) -> Result<[u32; N], BusError> {
    let mut words = [[0; 4]; N];
    cx.dma_read(GuestPhys(at.into()), words.as_flattened_mut())?;
    Ok(words.map(u32::from_le_bytes))
}

pub(super) fn write_words(at: u32, words: &[u32], cx: &mut Cx<'_>) -> Result<(), BusError> {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    cx.dma_write(GuestPhys(at.into()), &bytes)
}

/// A queue head as it is in memory.
struct Queue {
    at: u32,
    words: [u32; 12],
}

/// What a step of a queue came to.
enum Step {
    /// Something was moved, or a descriptor is done.
    Moved,
    /// Nothing; later perhaps.
    Waits,
}

impl Queue {
    fn address(&self) -> u8 {
        (self.words[1] & 0x7f) as u8
    }
    fn endpoint(&self) -> u8 {
        (self.words[1] >> 8 & 15) as u8
    }
    fn packet(&self) -> u32 {
        (self.words[1] >> 16 & 0x7ff).max(1)
    }
    fn token(&mut self) -> &mut u32 {
        &mut self.words[6]
    }
    fn left(&self) -> u32 {
        self.words[6] >> 16 & 0x7fff
    }

    /// So many bytes were moved.
    fn moved(&mut self, n: u32) {
        let packets = n.div_ceil(self.packet()).max(1);
        let at = (self.words[6] >> 12 & 7) << 12 | self.words[7] & 0xfff;
        let (at, left) = (at + n, self.left().saturating_sub(n));
        self.words[7] = self.words[7] & !0xfff | at & 0xfff;
        let token = self.token();
        *token = *token & !(0x7fff << 16 | 7 << 12) | left << 16 | (at >> 12 & 7) << 12;
        if packets % 2 == 1 {
            *token ^= TOGGLE;
        }
    }

    /// Where the next `n` bytes of its buffer are, in at most two pieces a page.
    fn pieces(&self, n: u32) -> Option<Vec<(u32, usize)>> {
        let (mut page, mut offset, mut left) = (self.words[6] >> 12 & 7, self.words[7] & 0xfff, n);
        let mut pieces = vec![];
        while left > 0 {
            let base = self.words[7..].get(page as usize)? & !0xfff;
            let len = left.min(0x1000 - offset);
            pieces.push((base | offset, len as usize));
            (page, offset, left) = (page + 1, 0, left - len);
        }
        Some(pieces)
    }

    fn write_back(&self, cx: &mut Cx<'_>) -> Result<(), BusError> {
        write_words(self.at.wrapping_add(12), &self.words[3..], cx)
    }
}

impl ChipIdea {
    /// The asynchronous schedule once around; true if something moved.
    pub(super) fn round(&mut self, cx: &mut Cx<'_>) -> Result<bool, BusError> {
        let first = self.s.regs.asynclistaddr;
        let (mut at, mut moved) = (first, false);
        for _ in 0..QUEUES {
            let link = self.queue(at, TURNS, u32::MAX, &mut moved, cx)?;
            if link >> 1 & 3 != QUEUE_HEAD {
                cx.guest_error("the asynchronous schedule has something else than queue heads");
                break;
            }
            at = link & Regs::ASYNCLISTADDR_ADDRESS;
            if at == first {
                break;
            }
        }
        self.s.regs.asynclistaddr = at;
        Ok(moved)
    }

    /// Executes what is there of a queue, at most so many steps, of so many bytes each; gives the link to what is next.
    pub(super) fn queue(&mut self, at: u32, turns: u32, most: u32, moved: &mut bool, cx: &mut Cx<'_>) -> Result<u32, BusError> {
        let mut queue = Queue { at, words: read_words(at, cx)? };
        for _ in 0..turns {
            let token = *queue.token();
            if token & HALTED != 0 || token & ACTIVE == 0 && !advance(&mut queue, cx)? {
                break;
            }
            match self.step(&mut queue, most, cx)? {
                Step::Moved => *moved = true,
                Step::Waits => break,
            }
        }
        Ok(queue.words[0])
    }

    /// One call to the part.
    fn step(&mut self, queue: &mut Queue, most: u32, cx: &mut Cx<'_>) -> Result<Step, BusError> {
        let (address, endpoint, token) = (queue.address(), queue.endpoint(), *queue.token());
        let len = queue.left().min(most);
        let Some(pieces) = queue.pieces(len) else { return self.halt(queue, BUFFER_ERROR, cx) };
        let pid = token >> 8 & 3;
        let mut data = vec![];
        if pid != 1 {
            data.resize(len as usize, 0);
            let mut rest = &mut data[..];
            for (at, n) in &pieces {
                let (piece, behind) = rest.split_at_mut(*n);
                cx.dma_read(GuestPhys((*at).into()), piece)?;
                rest = behind;
            }
        }
        let token = match pid {
            0 => UsbToken::Out(&data),
            1 => UsbToken::In(len as usize),
            2 => match data.as_slice().try_into() {
                Ok(request) => UsbToken::Setup(request),
                Err(_) => {
                    cx.guest_error("a SETUP that does not have eight bytes");
                    return self.halt(queue, TRANSACTION_ERROR, cx);
                }
            },
            _ => {
                cx.guest_error("a transfer descriptor with a reserved PID");
                return self.halt(queue, TRANSACTION_ERROR, cx);
            }
        };
        match self.transact(address, endpoint, token, cx) {
            None => self.unanswered(queue, cx),
            Some(UsbReply::Stall) => self.halt(queue, 0, cx),
            Some(UsbReply::Nak) => {
                count_nak(queue);
                queue.write_back(cx)?;
                Ok(Step::Waits)
            }
            Some(UsbReply::Ack) if pid != 1 => self.done(queue, len, false, cx),
            Some(UsbReply::Data(bytes)) if pid == 1 && bytes.len() <= len as usize => {
                let mut rest = &bytes[..];
                for (at, n) in pieces {
                    let (piece, behind) = rest.split_at(n.min(rest.len()));
                    if !piece.is_empty() {
                        cx.dma_write(GuestPhys(at.into()), piece)?;
                    }
                    rest = behind;
                }
                let n = bytes.len() as u32;
                self.done(queue, n, n == 0 || !n.is_multiple_of(queue.packet()), cx)
            }
            Some(UsbReply::Ack) => self.done(queue, 0, true, cx),
            Some(UsbReply::Data(_)) => self.halt(queue, BABBLE, cx),
        }
    }

    /// Data were moved; the last packet was perhaps a short one.
    fn done(&mut self, queue: &mut Queue, n: u32, short: bool, cx: &mut Cx<'_>) -> Result<Step, BusError> {
        queue.moved(n);
        if queue.left() > 0 && !short {
            queue.write_back(cx)?;
            return Ok(Step::Moved);
        }
        let bits = if queue.left() > 0 || *queue.token() & INTERRUPT != 0 { Regs::USBSTS_DONE } else { 0 };
        self.retire(queue, bits, cx)
    }

    /// The endpoint's queue stops until the guest has dealt with it.
    fn halt(&mut self, queue: &mut Queue, bits: u32, cx: &mut Cx<'_>) -> Result<Step, BusError> {
        *queue.token() |= HALTED | bits;
        let done = if *queue.token() & INTERRUPT != 0 { Regs::USBSTS_DONE } else { 0 };
        self.retire(queue, Regs::USBSTS_ERROR | done, cx)
    }

    /// The descriptor is done.
    fn retire(&mut self, queue: &mut Queue, bits: u32, cx: &mut Cx<'_>) -> Result<Step, BusError> {
        *queue.token() &= !ACTIVE;
        queue.write_back(cx)?;
        write_words((queue.words[3] & !31).wrapping_add(8), &[queue.words[6]], cx)?;
        // Queues with a mask of microframes are the periodic schedule's.
        let which = if queue.words[2] & 0xff != 0 { Regs::USBSTS_PERIODIC_DONE } else { Regs::USBSTS_ASYNC_DONE };
        self.raise(bits | if bits & Regs::USBSTS_DONE != 0 { which } else { 0 });
        Ok(Step::Moved)
    }

    /// Nobody answered: once more, until the errors allowed are counted down.
    fn unanswered(&mut self, queue: &mut Queue, cx: &mut Cx<'_>) -> Result<Step, BusError> {
        let token = queue.token();
        *token |= TRANSACTION_ERROR;
        match *token >> 10 & 3 {
            0 => {}
            1 => {
                *token &= !(3 << 10);
                return self.halt(queue, TRANSACTION_ERROR, cx);
            }
            _ => *token -= 1 << 10,
        }
        queue.write_back(cx)?;
        Ok(Step::Waits)
    }
}

/// Takes over the next descriptor, if there is one to execute.
fn advance(queue: &mut Queue, cx: &mut Cx<'_>) -> Result<bool, BusError> {
    let (next, alternate) = (queue.words[4], queue.words[5]);
    let link = if queue.left() != 0 && alternate & 1 == 0 { alternate } else { next };
    if link & 1 != 0 {
        return Ok(false);
    }
    let at = link & !31;
    // The guest writes the token last, so it is read first.
    let [token] = read_words(at.wrapping_add(8), cx)?;
    if token & (ACTIVE | HALTED) != ACTIVE {
        return Ok(false);
    }
    let new: [u32; 8] = read_words(at, cx)?;
    let (own_toggle, high_speed) = (queue.words[1] >> 14 & 1 == 0, queue.words[1] >> 12 & 3 == 2);
    let kept = if own_toggle { TOGGLE } else { 0 } | if high_speed { PING } else { 0 };
    let old = queue.words[6];
    queue.words[3] = at;
    queue.words[4..12].copy_from_slice(&new);
    queue.words[6] = token & !kept | old & kept;
    reload_naks(queue);
    Ok(true)
}

/// The NAK counter begins from RL again.
fn reload_naks(queue: &mut Queue) {
    queue.words[5] = queue.words[5] & !0x1e | (queue.words[1] >> 28) << 1;
}

/// Counts a NAK; whoever finds the counter at its end begins again, as one look at a queue is one after the reclamation.
fn count_nak(queue: &mut Queue) {
    match queue.words[5] >> 1 & 15 {
        0 => reload_naks(queue),
        _ => queue.words[5] -= 2,
    }
}

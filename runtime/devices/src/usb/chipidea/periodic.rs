//! The periodic schedule: frame list, isochronous descriptors, interrupt queues (EHCI 3.3, 3.4, 4.6, 4.7, 4.12).
//!
//! A frame is executed at its beginning, with all of its microframes. A frame span node ends a frame's list.

use super::queue::{QUEUE_HEAD, read_words, write_words};
use super::{ChipIdea, Regs};
use emu_machine::device::Cx;
use emu_machine::parts::{UsbReply, UsbToken};
use emu_machine::{BusError, GuestPhys};

/// Frames executed in one call; a host that is late leaves out others.
const FRAMES: u64 = 64;
/// Things in the lists of one call.
const NODES: u32 = 1024;
/// Types of links.
const ISOCHRONOUS: u32 = 0;
const SPLIT_ISOCHRONOUS: u32 = 2;

const ACTIVE: u32 = 1 << 31;
const TRANSACTION_ERROR: u32 = 1 << 28;
const BABBLE: u32 = 1 << 29;
const INTERRUPT: u32 = 1 << 15;

impl ChipIdea {
    /// Executes the frames that are due.
    pub(super) fn frames(&mut self, cx: &mut Cx<'_>) -> Result<(), BusError> {
        let now = self.s.time.at(cx.now()) / 8;
        let (mut frame, mut nodes) = (self.s.next_frame.max(now.saturating_sub(FRAMES)), NODES);
        self.s.next_frame = self.s.next_frame.max(now.saturating_add(1));
        while frame <= now {
            let mut moved = false;
            let entry = self.s.regs.periodiclistbase.wrapping_add((frame as u32 & (self.list_size() - 1)) * 4);
            let [mut link] = read_words(entry, cx)?;
            while link & 1 == 0 {
                let Some(left) = nodes.checked_sub(1) else {
                    cx.guest_error("the periodic schedule is too long, or a loop");
                    return Ok(());
                };
                nodes = left;
                let at = link & !31;
                link = match link >> 1 & 3 {
                    ISOCHRONOUS => self.isochronous(at, &mut moved, cx)?,
                    QUEUE_HEAD => self.interrupt_queue(at, &mut moved, cx)?,
                    SPLIT_ISOCHRONOUS => self.split_isochronous(at, &mut moved, cx)?,
                    _ => {
                        cx.unimplemented("frame span nodes");
                        1
                    }
                };
            }
            if moved {
                self.s.moved_frame = frame;
            }
            frame += 1;
        }
        Ok(())
    }

    /// One step in each microframe of its mask, of one or more packets.
    fn interrupt_queue(&mut self, at: u32, moved: &mut bool, cx: &mut Cx<'_>) -> Result<u32, BusError> {
        let [_, first, second] = read_words(at, cx)?;
        let packets = (second >> 30).max(1);
        self.queue(at, (second & 0xff).count_ones(), (first >> 16 & 0x7ff).max(1) * packets, moved, cx)
    }

    fn isochronous(&mut self, at: u32, moved: &mut bool, cx: &mut Cx<'_>) -> Result<u32, BusError> {
        let words: [u32; 16] = read_words(at, cx)?;
        let (address, endpoint) = ((words[9] & 0x7f) as u8, (words[9] >> 8 & 15) as u8);
        let (reads, most) = (words[10] >> 11 & 1 != 0, (words[10] & 0x7ff) * (words[11] & 3).max(1));
        for (i, word) in words.iter().enumerate().skip(1).take(8) {
            if word & ACTIVE == 0 {
                continue;
            }
            let mut page = word >> 12 & 7;
            let (offset, len) = (word & 0xfff, (word >> 16 & 0xfff).min(most));
            let mut pieces = vec![];
            let (mut from, mut left) = (offset, len);
            while left > 0 {
                let Some(base) = words[9..].get(page as usize).map(|w| w & !0xfff) else { break };
                let n = left.min(0x1000 - from);
                pieces.push((base | from, n as usize));
                (page, from, left) = (page + 1, 0, left - n);
            }
            let (n, error) = self.move_once(address, endpoint, reads, &pieces, cx)?;
            let error = match error {
                None => 0,
                Some(Trouble::Silence) => TRANSACTION_ERROR,
                Some(Trouble::Babble) => BABBLE,
            };
            // What was received; what was to be sent stays.
            let len = if reads { n << 16 } else { word & 0xfff << 16 };
            write_words(at.wrapping_add(4 * i as u32), &[word & !(ACTIVE | 0xfff << 16) | len | error], cx)?;
            self.finished(word & INTERRUPT != 0, error != 0);
            *moved = true;
        }
        Ok(words[0])
    }

    fn split_isochronous(&mut self, at: u32, moved: &mut bool, cx: &mut Cx<'_>) -> Result<u32, BusError> {
        let words: [u32; 7] = read_words(at, cx)?;
        let status = words[3];
        if status & 0x80 == 0 {
            return Ok(words[0]);
        }
        let (address, endpoint) = ((words[1] & 0x7f) as u8, (words[1] >> 8 & 15) as u8);
        let (reads, len) = (words[1] >> 31 != 0, status >> 16 & 0x3ff);
        let (base, offset) = (words[4] & !0xfff, words[4] & 0xfff);
        let first = len.min(0x1000 - offset);
        let pieces = [(base | offset, first as usize), (words[5] & !0xfff, (len - first) as usize)];
        let (n, error) = self.move_once(address, endpoint, reads, &pieces, cx)?;
        let error = match error {
            None => 0,
            Some(Trouble::Silence) => 1 << 3,
            Some(Trouble::Babble) => 1 << 4,
        };
        write_words(at.wrapping_add(12), &[status & !(0x80 | 0x3ff << 16) | len.saturating_sub(n) << 16 | error], cx)?;
        self.finished(status >> 31 != 0, error != 0);
        *moved = true;
        Ok(words[0])
    }

    fn finished(&mut self, interrupt: bool, error: bool) {
        self.raise(if interrupt { Regs::USBSTS_DONE | Regs::USBSTS_PERIODIC_DONE } else { 0 } | if error { Regs::USBSTS_ERROR } else { 0 });
    }

    /// An isochronous transaction: how many bytes were moved, and what went wrong.
    fn move_once(
        &mut self,
        address: u8,
        endpoint: u8,
        reads: bool,
        pieces: &[(u32, usize)],
        cx: &mut Cx<'_>,
    ) -> Result<(u32, Option<Trouble>), BusError> {
        let len: usize = pieces.iter().map(|p| p.1).sum();
        if !reads {
            let mut data = vec![0; len];
            let mut rest = &mut data[..];
            for (at, n) in pieces.iter().filter(|p| p.1 > 0) {
                let (piece, behind) = rest.split_at_mut(*n);
                cx.dma_read(GuestPhys((*at).into()), piece)?;
                rest = behind;
            }
            // Nobody acknowledges.
            self.transact(address, endpoint, UsbToken::Out(&data), cx);
            return Ok((len as u32, None));
        }
        match self.transact(address, endpoint, UsbToken::In(len), cx) {
            Some(UsbReply::Data(bytes)) if bytes.len() > len => Ok((0, Some(Trouble::Babble))),
            Some(UsbReply::Data(bytes)) => {
                let mut rest = &bytes[..];
                for (at, n) in pieces {
                    let (piece, behind) = rest.split_at((*n).min(rest.len()));
                    if !piece.is_empty() {
                        cx.dma_write(GuestPhys((*at).into()), piece)?;
                    }
                    rest = behind;
                }
                Ok((bytes.len() as u32, None))
            }
            Some(UsbReply::Nak) => Ok((0, None)),
            _ => Ok((0, Some(Trouble::Silence))),
        }
    }
}

enum Trouble {
    Silence,
    Babble,
}

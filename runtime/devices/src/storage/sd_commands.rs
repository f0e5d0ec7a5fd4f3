//! The SD card's commands (SD Physical Layer Simplified Specification 6.00, 4.7.4, and the state transitions of 4.8).

use super::sd_card::{Answer, Job, Mode, OCR, OCR_CCS, OCR_READY, PROTECT, SdCard, State, Work, status};
use super::sd_registers::{self as registers, GROUP_BYTES};
use emu_machine::backend::DiskRequest;
use emu_machine::device::Cx;

impl SdCard {
    pub(super) fn fail(&mut self, bits: u32) -> Answer {
        self.s.status |= bits;
        Answer::R1
    }

    /// CMD0: as after power-up, but for what only removing the card ends.
    fn idle(&mut self) {
        let s = std::mem::take(&mut self.s);
        let (tag, csd, protected) = (s.tag, s.csd, s.protected);
        self.s = State { size: s.size, read_only: s.read_only, tag, csd, protected, block_len: 512, ..State::default() };
    }

    /// The medium's first byte of a data address.
    fn address(&self, argument: u32) -> u64 {
        u64::from(argument) * if self.geometry().high { 512 } else { 1 }
    }

    pub(super) fn send(&mut self, bytes: Vec<u8>) -> Answer {
        (self.s.mode, self.s.job) = (Mode::SendingData, Job::Register(bytes));
        Answer::R1
    }

    /// CMD17, 18, 24, 25: `blocks` of them, or until CMD12.
    fn begin(&mut self, job: Job, argument: u32, blocks: Option<u32>) -> Answer {
        let (g, at, len) = (self.geometry(), self.address(argument), u64::from(self.block_len()));
        let write = job == Job::Write;
        let physical = 1u64 << g.block_log2;
        if at + len > g.capacity {
            return self.fail(status::OUT_OF_RANGE);
        }
        // Blocks may not cross those of the medium.
        if at % physical + len > physical || write && !at.is_multiple_of(len) {
            return self.fail(status::ADDRESS_ERROR);
        }
        if write && len != 512 && len != physical {
            return self.fail(status::BLOCK_LEN_ERROR);
        }
        if write && self.unprotected(at, len) == 0 {
            return self.fail(status::WP_VIOLATION);
        }
        self.s.mode = if write { Mode::ReceiveData } else { Mode::SendingData };
        (self.s.job, self.s.at, self.s.left) = (job, at, blocks.map(|n| u64::from(n) * len));
        if write {
            self.s.written = 0;
        }
        Answer::R1
    }

    /// CMD28 to CMD30.
    fn protection(&mut self, index: u8, argument: u32) -> Answer {
        let at = self.address(argument);
        if at >= self.geometry().capacity {
            return self.fail(status::OUT_OF_RANGE);
        }
        let group = (at / GROUP_BYTES) as u32;
        match index {
            28 => _ = self.s.protected.insert(group),
            29 => _ = self.s.protected.remove(&group),
            _ => {
                let groups = (0..32).filter(|i| self.s.protected.contains(&(group + i)));
                return self.send(groups.fold(0u32, |all, i| all | 1 << i).to_be_bytes().to_vec());
            }
        }
        Answer::R1
    }

    /// CMD38.
    fn erase(&mut self, cx: &mut Cx<'_>) -> Answer {
        let (Some(from), Some(to)) = std::mem::take(&mut self.s.erase) else { return self.fail(status::ERASE_SEQ_ERROR) };
        if to < from {
            return self.fail(status::ERASE_PARAM);
        }
        let end = (to - to % 512 + 512).min(self.s.size);
        let mut at = from - from % 512;
        while at < end {
            let free = self.unprotected(at, end - at);
            if free == 0 {
                self.s.status |= status::WP_ERASE_SKIP;
                at = (at / GROUP_BYTES + 1) * GROUP_BYTES;
                continue;
            }
            // Answers come in order: the last is waited for.
            self.submit(Work::Erase, DiskRequest::Discard { at, len: free }, cx);
            at += free;
        }
        if self.s.pending.is_some() {
            self.s.mode = Mode::Programming;
        }
        Answer::R1
    }

    fn select(&mut self, mine: bool) -> Answer {
        match (self.s.mode, mine) {
            (Mode::Standby, true) => self.s.mode = Mode::Transfer,
            (Mode::Disconnect, true) => self.s.mode = Mode::Programming,
            (Mode::Standby | Mode::Disconnect, false) => return Answer::Silence,
            (Mode::Programming, false) => {
                self.s.mode = Mode::Disconnect;
                return Answer::Silence;
            }
            (Mode::Transfer | Mode::SendingData, false) => {
                if self.s.mode == Mode::SendingData {
                    self.s.pending = None;
                    self.rest();
                }
                self.s.mode = Mode::Standby;
                return Answer::Silence;
            }
            _ => return Answer::Illegal,
        }
        Answer::R1
    }

    fn stop(&mut self) -> Answer {
        match self.s.mode {
            Mode::SendingData => {
                self.s.pending = None;
                self.rest();
            }
            Mode::ReceiveData => {
                self.rest();
                if self.s.pending.is_some() {
                    self.s.mode = Mode::Programming;
                }
            }
            _ => return Answer::Illegal,
        }
        Answer::R1
    }

    /// A command of the standard sets.
    pub(super) fn basic(&mut self, index: u8, argument: u32, count: Option<u32>, cx: &mut Cx<'_>) -> Answer {
        let mode = self.s.mode;
        let mine = (argument >> 16) as u16 == self.s.rca;
        let identified = !matches!(mode, Mode::Idle | Mode::Ready | Mode::Identification);
        match (index, mode) {
            (0, _) => {
                self.idle();
                Answer::Silence
            }
            (2, Mode::Ready) => {
                self.s.mode = Mode::Identification;
                Answer::R2(self.cid())
            }
            (3, Mode::Identification | Mode::Standby) => {
                self.s.mode = Mode::Standby;
                // Never 0, which addresses nobody.
                self.s.rca = self.s.rca.wrapping_add(0x1234).max(1);
                Answer::R6
            }
            (6, Mode::Transfer) => {
                let (status, switched) = registers::switch(argument, self.s.fast);
                self.s.fast = switched.unwrap_or(self.s.fast);
                self.send(status)
            }
            (7, _) if identified => self.select(mine),
            // The voltage this host supplies must be 2.7 V to 3.6 V.
            (8, Mode::Idle) if argument >> 8 & 0xf == 1 => {
                self.s.v2_host = true;
                Answer::Bits(argument & 0xfff)
            }
            (8, Mode::Idle) => Answer::Silence,
            (9 | 10 | 13 | 15, _) if identified && !mine => Answer::Silence,
            (9, Mode::Standby) => Answer::R2(self.csd(self.csd_bits())),
            (10, Mode::Standby) => Answer::R2(self.cid()),
            (12, _) => self.stop(),
            (13, _) if identified => Answer::R1,
            (15, _) if identified => {
                self.s.mode = Mode::Inactive;
                Answer::Silence
            }
            (16, Mode::Transfer) => {
                let g = self.geometry();
                if argument == 0 || argument > 1 << g.block_log2 {
                    return self.fail(status::BLOCK_LEN_ERROR);
                }
                self.s.block_len = argument;
                Answer::R1
            }
            (17, Mode::Transfer) => self.begin(Job::Read, argument, Some(1)),
            (18, Mode::Transfer) => self.begin(Job::Read, argument, count),
            (23, Mode::Transfer) => {
                self.s.count = (argument != 0).then_some(argument);
                Answer::R1
            }
            (24, Mode::Transfer) => self.begin(Job::Write, argument, Some(1)),
            (25, Mode::Transfer) => self.begin(Job::Write, argument, count),
            (27, Mode::Transfer) => {
                (self.s.mode, self.s.job) = (Mode::ReceiveData, Job::ProgramCsd);
                Answer::R1
            }
            (28..=30, Mode::Transfer) if !self.geometry().high => self.protection(index, argument),
            (32 | 33, Mode::Transfer) => {
                let at = self.address(argument);
                if at >= self.geometry().capacity {
                    self.s.erase = (None, None);
                    return self.fail(status::OUT_OF_RANGE);
                }
                match index {
                    32 => self.s.erase = (Some(at), None),
                    _ if self.s.erase.0.is_some() => self.s.erase.1 = Some(at),
                    _ => return self.fail(status::ERASE_SEQ_ERROR),
                }
                Answer::R1
            }
            (38, Mode::Transfer) if self.csd_bits() & PROTECT != 0 => {
                self.s.erase = (None, None);
                self.fail(status::WP_VIOLATION)
            }
            (38, Mode::Transfer) => self.erase(cx),
            (55, Mode::Ready | Mode::Identification) => Answer::Illegal,
            (55, _) if !mine => Answer::Silence,
            (55, _) => {
                self.s.app = true;
                Answer::R1
            }
            _ => Answer::Illegal,
        }
    }

    /// An application-specific command; `None`: it is none.
    pub(super) fn application(&mut self, index: u8, argument: u32) -> Option<Answer> {
        Some(match (index, self.s.mode) {
            (6, Mode::Transfer) => {
                match argument & 3 {
                    0 => self.s.wide = false,
                    2 => self.s.wide = true,
                    // Reserved.
                    _ => _ = self.fail(status::ERROR),
                }
                Answer::R1
            }
            (13, Mode::Transfer) => self.send(self.geometry().status(self.s.wide)),
            (22, Mode::Transfer) => self.send(self.s.written.to_be_bytes().to_vec()),
            // A hint for erasing before writing; the pull-up of DAT3.
            (23 | 42, Mode::Transfer) => Answer::R1,
            (41, Mode::Idle) => {
                let high = self.geometry().high;
                let supported = argument & OCR != 0;
                // A host that does not know high capacity waits in vain.
                if supported && (!high || self.s.v2_host && argument & OCR_CCS != 0) {
                    self.s.mode = Mode::Ready;
                    return Some(Answer::Bits(OCR | OCR_READY | if high { OCR_CCS } else { 0 }));
                }
                if !supported && argument & 0x00ff_ffff != 0 {
                    self.s.mode = Mode::Inactive;
                    return Some(Answer::Silence);
                }
                Answer::Bits(OCR)
            }
            (51, Mode::Transfer) => self.send(registers::scr()),
            (6 | 13 | 22 | 23 | 41 | 42 | 51, _) => Answer::Illegal,
            _ => return None,
        })
    }
}

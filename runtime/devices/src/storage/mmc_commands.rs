//! The commands that an eMMC device has otherwise than an SD card (JEDEC JESD84-B51, 6.10.4, and the state transitions of 6.11).

use super::mmc_registers::{self as registers, ERASE_GROUP};
use super::sd_card::{Answer, Mode, OCR, OCR_CCS, OCR_READY, SdCard, status};
use emu_machine::device::Cx;

/// CMD5: to sleep, else awake.
const SLEEP: u32 = 1 << 15;
/// CMD23: the number of blocks, and that the command is packed.
const COUNT: u32 = 0xffff;
const PACKED: u32 = 1 << 30;
/// CMD38.
const ERASE: u32 = 0;
const TRIM: u32 = 1;
const DISCARD: u32 = 3;

impl SdCard {
    /// A command of an MMC.
    pub(super) fn multimedia(&mut self, index: u8, argument: u32, count: Option<u32>, cx: &mut Cx<'_>) -> Answer {
        let mine = (argument >> 16) as u16 == self.s.rca;
        match (index, self.s.mode) {
            (5, Mode::Standby) if mine && argument & SLEEP != 0 => {
                self.s.mode = Mode::Sleep;
                Answer::R1
            }
            (5, Mode::Sleep) if mine && argument & SLEEP == 0 => {
                self.s.mode = Mode::Standby;
                Answer::R1
            }
            // Others are for other cards, and nobody who sleeps hears anything else.
            (5, Mode::Standby | Mode::Sleep) => Answer::Silence,
            (1..=63, Mode::Sleep) => Answer::Silence,
            (1, Mode::Idle) => {
                let bits = OCR | if self.geometry().high { OCR_CCS } else { 0 };
                // No voltages: it is only asked for its own.
                if argument & 0x00ff_ff80 == 0 {
                    return Answer::Bits(bits);
                }
                if argument & OCR == 0 {
                    self.s.mode = Mode::Inactive;
                    return Answer::Silence;
                }
                self.s.mode = Mode::Ready;
                Answer::Bits(bits | OCR_READY)
            }
            // The address 0 is for putting all to stand-by.
            (3, Mode::Identification) if argument >> 16 != 0 => {
                (self.s.mode, self.s.rca) = (Mode::Standby, (argument >> 16) as u16);
                Answer::R1
            }
            (6, Mode::Transfer) => self.switch(argument),
            (8, Mode::Transfer) => self.send(registers::extended_csd(&self.geometry(), &self.s.modes)),
            // All writes are reliable, and none is packed.
            (23, Mode::Transfer) if argument & PACKED == 0 => self.basic(23, argument & COUNT, None, cx),
            // The range of an erase.
            (35 | 36, Mode::Transfer) => self.basic(index - 3, argument, None, cx),
            (38, Mode::Transfer) => {
                match (argument, self.s.erase) {
                    // Whole groups.
                    (ERASE, (Some(from), Some(to))) if to >= from => {
                        self.s.erase = (Some(from / ERASE_GROUP * ERASE_GROUP), Some((to / ERASE_GROUP + 1) * ERASE_GROUP - 512));
                    }
                    (ERASE | TRIM | DISCARD, _) => {}
                    _ => {
                        self.s.erase = (None, None);
                        return self.fail(status::ERASE_PARAM);
                    }
                }
                self.basic(38, 0, None, cx)
            }
            (0 | 2 | 7 | 9 | 10 | 12 | 13 | 15..=18 | 24 | 25 | 27, _) => self.basic(index, argument, count, cx),
            _ => Answer::Illegal,
        }
    }

    /// CMD6: sets bits of a byte of the extended CSD, clears some, or writes it. What is wrong with it is told afterwards.
    fn switch(&mut self, argument: u32) -> Answer {
        let [_, value, index, access] = argument.to_le_bytes();
        let old = self.s.modes.get(&index).copied().unwrap_or(0);
        let new = match access & 3 {
            // Command sets: there is one.
            0 => return Answer::Later(if argument & 7 == 0 { 0 } else { status::SWITCH_ERROR }),
            1 => old | value,
            2 => old & !value,
            _ => value,
        };
        if !registers::may_be(index, new) {
            return Answer::Later(status::SWITCH_ERROR);
        }
        self.s.modes.insert(index, new);
        Answer::R1
    }
}

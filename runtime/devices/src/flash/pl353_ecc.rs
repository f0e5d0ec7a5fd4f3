//! The PL353's error correction unit for NAND (Arm DDI 0380, 2.6): a Hamming code over each 512 bytes that go by.
//!
//! A read or write command that `ECC_MEMCOMMAND1` names -> data cycles from the column on -> after each 512 bytes a value: for each bit of a bit's number in
//! the block (12 bits: byte, bit), the parity of the bits of the block that have a 1 there, and of those that have a 0. Software keeps
//! the values in the spare bytes; two values that differ in exactly one of each pair tell where the one wrong bit is.
//! Not modelled: values that the unit writes to the chip and reads from it by itself (mode 2) and the interrupts that tell of them, the extra block.

use super::pl353_smc::regs::Regs;
use emu_machine::device::Cx;
use serde::{Deserialize, Serialize};

/// Bytes that a value is for.
const BLOCK: u32 = 512;

/// `LAST_STATUS`.
const COMPLETE: u32 = 0;
const UNALIGNED: u32 = 1;
const INCOMPLETE: u32 = 2;

/// What has gone by.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ecc {
    /// Data cycles are counted.
    active: bool,
    /// The column of the next.
    column: u32,
    /// For each bit of a number in the block: the parity of those with a 1 there.
    ones: u16,
    /// The parity of the block.
    all: bool,
}

impl Ecc {
    /// A command with its address cycles.
    pub(super) fn command(&mut self, regs: &mut Regs, start: u8, end: Option<u8>, address: &[u8; 8], cx: &mut Cx<'_>) {
        if regs.ecc_memcfg_1_mode() == 0 {
            return;
        }
        let (start, end) = (u32::from(start), end.map(u32::from));
        let ends = |valid: bool, wanted: u32| !valid || end == Some(wanted);
        let write = start == regs.ecc_memcommand1_1_write();
        let read =
            start == regs.ecc_memcommand1_1_read() && ends(regs.ecc_memcommand1_1_read_end_valid(), regs.ecc_memcommand1_1_read_end());
        let jump = start == regs.ecc_memcommand2_1_write_col_change()
            || start == regs.ecc_memcommand2_1_read_col_change()
                && ends(regs.ecc_memcommand2_1_read_col_change_end_valid(), regs.ecc_memcommand2_1_read_col_change_end());
        // Chips with pages of 512 bytes have one cycle for the column.
        let high = if regs.ecc_memcfg_1_page_size() == 1 { 0 } else { u32::from(address[1]) << 8 };
        let column = u32::from(address[0]) | high;
        if write || read {
            if regs.ecc_memcfg_1_mode() != 1 {
                cx.unimplemented("error correction that reads and writes its values itself");
            }
            let half = |from: usize| (0..4).fold(0, |all, i| all | u32::from(address[from + i]) << (8 * i));
            (regs.ecc_addr0_1, regs.ecc_addr1_1) = (half(0), half(4));
            regs.ecc_value_1.fill(0);
            regs.ecc_status_1 = Regs::ECC_STATUS_1_BUSY | if read { Regs::ECC_STATUS_1_RD_N_WR } else { 0 };
            *self = Ecc { active: true, column, ..Ecc::default() };
        } else if jump && self.active {
            *self = Ecc { active: true, column, ..Ecc::default() };
        } else {
            return;
        }
        if !column.is_multiple_of(BLOCK) {
            self.end(regs, UNALIGNED);
        }
    }

    /// Data cycles.
    pub(super) fn data(&mut self, regs: &mut Regs, bytes: &[u8]) {
        // What is behind the page, its spare bytes, does not count.
        let page = (BLOCK / 2) << regs.ecc_memcfg_1_page_size();
        for byte in bytes {
            if !self.active || regs.ecc_memcfg_1_page_size() == 0 || self.column >= page {
                return;
            }
            self.byte(self.column % BLOCK, *byte);
            self.column += 1;
            if self.column.is_multiple_of(BLOCK) {
                let block = (self.column / BLOCK - 1) as usize;
                if let Some(value) = regs.ecc_value_1.get_mut(block) {
                    *value = self.value() | Regs::ECC_VALUE_1_VALID;
                    regs.ecc_status_1 |= 1 << (10 + block);
                }
                (self.ones, self.all) = (0, false);
            }
        }
    }

    /// The data cycles were the last.
    pub(super) fn last(&mut self, regs: &mut Regs) {
        if self.active {
            self.end(regs, if self.column.is_multiple_of(BLOCK) { COMPLETE } else { INCOMPLETE });
        }
    }

    fn end(&mut self, regs: &mut Regs, status: u32) {
        self.active = false;
        regs.ecc_status_1 = regs.ecc_status_1 & !(Regs::ECC_STATUS_1_BUSY | Regs::ECC_STATUS_1_LAST_STATUS) | status << 7;
    }

    fn byte(&mut self, at: u32, byte: u8) {
        let parity = |bits: u8| (byte & bits).count_ones() as u16 & 1;
        let odd = parity(0xff) == 1;
        self.ones ^= parity(0xaa) | parity(0xcc) << 1 | parity(0xf0) << 2 | if odd { (at as u16) << 3 } else { 0 };
        self.all ^= odd;
    }

    /// The parities of ones, and above them those of zeroes.
    fn value(&self) -> u32 {
        let zeroes = self.ones ^ if self.all { 0xfff } else { 0 };
        u32::from(self.ones) | u32::from(zeroes) << 12
    }
}

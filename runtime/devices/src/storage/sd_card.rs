//! SD memory card in SD mode (SD Physical Layer Simplified Specification 6.00, chapters 4 and 5), at 3.3 V; eMMC (JEDEC JESD84-B51).
//!
//! Command -> state machine -> response; data: the card's own registers at once, the medium by requests to the drive, as large as the host
//! asks. Up to 2 GiB it is an SDSC card (byte addresses, write-protect groups), above SDHC or SDXC. A write is answered when the drive has
//! done it, so nothing is lost when the card says it is ready. Not modelled: locking (class 7, refused), CMD56, UHS-I and other voltages (never offered),
//! programmable driver stage, times. eMMC has the same data path and states, and commands and registers of its own (`mmc_commands`, `mmc_registers`);
//! above 2 GiB it counts sectors. What it says it has not: boot partitions, RPMB, general-purpose partitions, write-protect groups, dual data rate and
//! HS200, a cache (all writes are reliable), HPI, background operations, packed and queued commands, secure erase. What CMD27 to CMD29 protect is forgotten with the card, as an image has no place for it.

use super::sd_registers::{GROUP_BYTES, Geometry};
use super::{Card, Data, Flow, Response, mmc_registers, sd_registers};
use emu_machine::backend::{DiskRequest, DiskResult, Medium};
use emu_machine::device::Cx;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Bits of the card status (4.10.1).
pub(super) mod status {
    pub const OUT_OF_RANGE: u32 = 1 << 31;
    pub const ADDRESS_ERROR: u32 = 1 << 30;
    pub const BLOCK_LEN_ERROR: u32 = 1 << 29;
    pub const ERASE_SEQ_ERROR: u32 = 1 << 28;
    pub const ERASE_PARAM: u32 = 1 << 27;
    pub const WP_VIOLATION: u32 = 1 << 26;
    pub const ILLEGAL_COMMAND: u32 = 1 << 22;
    pub const CARD_ECC_FAILED: u32 = 1 << 21;
    pub const ERROR: u32 = 1 << 19;
    pub const CSD_OVERWRITE: u32 = 1 << 16;
    pub const WP_ERASE_SKIP: u32 = 1 << 15;
    pub const ERASE_RESET: u32 = 1 << 13;
    pub const READY_FOR_DATA: u32 = 1 << 8;
    /// Of MMC.
    pub const SWITCH_ERROR: u32 = 1 << 7;
    pub const APP_CMD: u32 = 1 << 5;
}

/// 2.7 V to 3.6 V.
pub(super) const OCR: u32 = 0x00ff_8000;
/// Powered up; high capacity.
pub(super) const OCR_READY: u32 = 1 << 31;
pub(super) const OCR_CCS: u32 = 1 << 30;
/// CSD bits PERM_WRITE_PROTECT and TMP_WRITE_PROTECT, counted from bit 8.
pub(super) const PROTECT: u8 = 0x30;
const PERM_PROTECT: u8 = 0x20;
/// CSD bits that may be written, from bit 8: FILE_FORMAT_GRP, COPY, both protections, FILE_FORMAT.
const CSD_WRITABLE: u8 = 0xfc;
/// The largest block (READ_BL_LEN 10), and more bytes than any card has.
const MOST_BLOCK: u32 = 1024;
const MOST_BYTES: u64 = 1 << 42;

/// Whose commands and registers a card has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// SD memory card.
    Sd,
    /// Embedded MultiMediaCard.
    Mmc,
}

/// States, numbered as the card status does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) enum Mode {
    #[default]
    Idle,
    Ready,
    Identification,
    Standby,
    Transfer,
    SendingData,
    ReceiveData,
    Programming,
    Disconnect,
    Inactive,
    /// Of MMC.
    Sleep,
}

/// What the data lines are for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) enum Job {
    #[default]
    None,
    /// One block of the card's own.
    Register(Vec<u8>),
    Read,
    Write,
    ProgramCsd,
}

/// What the drive works on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    tag: u32,
    work: Work,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Work {
    /// So many zeroes follow what the medium has.
    Read {
        zeroes: u32,
    },
    /// `all`: everything the host gave is written by it.
    Write {
        blocks: u32,
        all: bool,
    },
    Erase,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// The medium's bytes; 0: there is none.
    pub(super) size: u64,
    pub(super) read_only: bool,
    pub(super) mode: Mode,
    pub(super) rca: u16,
    /// Status bits not yet told.
    pub(super) status: u32,
    pub(super) app: bool,
    /// CMD8 was understood: the host knows cards of version 2.
    pub(super) v2_host: bool,
    pub(super) wide: bool,
    pub(super) fast: bool,
    pub(super) block_len: u32,
    /// CMD23.
    pub(super) count: Option<u32>,
    pub(super) job: Job,
    /// The next byte of the medium.
    pub(super) at: u64,
    /// Bytes of the job yet to come; `None`: until CMD12.
    pub(super) left: Option<u64>,
    pub(super) pending: Option<Pending>,
    pub(super) tag: u32,
    /// Blocks the last write command has written.
    pub(super) written: u32,
    pub(super) erase: (Option<u64>, Option<u64>),
    /// Write-protect groups that are protected.
    pub(super) protected: BTreeSet<u32>,
    /// Bits 15 to 8 of the CSD.
    pub(super) csd: u8,
    /// What CMD6 has written into an MMC's extended CSD, by offset.
    #[serde(default)]
    pub(super) modes: BTreeMap<u8, u8>,
}

impl State {
    fn is_sound(&self) -> bool {
        let register = match &self.job {
            Job::Register(bytes) => bytes.len() <= 512,
            _ => true,
        };
        let zeroes = |p: &Pending| !matches!(p.work, Work::Read { zeroes } if zeroes > 1 << 20);
        register
            && self.size <= 1 << 62
            && self.block_len <= MOST_BLOCK
            && self.at <= MOST_BYTES
            && self.left.is_none_or(|n| n <= MOST_BYTES)
            && self.pending.as_ref().is_none_or(zeroes)
            && self.modes.iter().all(|(index, value)| mmc_registers::may_be(*index, *value))
            && [self.erase.0, self.erase.1].into_iter().flatten().all(|at| at <= MOST_BYTES)
    }
}

/// How a command is answered.
pub(super) enum Answer {
    /// The card status.
    R1,
    /// The same, and these bits the next time.
    Later(u32),
    /// These bits as they are (R3, R7).
    Bits(u32),
    R2(u128),
    R6,
    /// Not at all, though it is understood.
    Silence,
    Illegal,
}

/// An SD card, and the drive it is in.
pub struct SdCard {
    pub(super) s: State,
    port: usize,
    serial: u32,
    kind: Kind,
}

impl SdCard {
    /// The card of drive `port`, with this serial number.
    pub fn new(port: usize, serial: u32, kind: Kind) -> SdCard {
        SdCard { s: State::default(), port, serial, kind }
    }

    pub(super) fn geometry(&self) -> Geometry {
        match self.kind {
            Kind::Sd => Geometry::of(self.s.size),
            Kind::Mmc => Geometry::mmc(self.s.size),
        }
    }

    pub(super) fn cid(&self) -> u128 {
        match self.kind {
            Kind::Sd => sd_registers::cid(self.serial),
            Kind::Mmc => mmc_registers::cid(self.serial),
        }
    }

    /// The CSD with these bits 15 to 8.
    pub(super) fn csd(&self, writable: u8) -> u128 {
        match self.kind {
            Kind::Sd => self.geometry().csd(writable, self.s.fast),
            Kind::Mmc => mmc_registers::csd(&self.geometry(), writable, self.s.read_only),
        }
    }

    /// Bits 15 to 8 of the CSD: a medium that refuses writes is permanently protected.
    pub(super) fn csd_bits(&self) -> u8 {
        self.s.csd | if self.s.read_only { PERM_PROTECT } else { 0 }
    }

    pub(super) fn block_len(&self) -> u32 {
        if self.geometry().high { 512 } else { self.s.block_len.max(1) }
    }

    pub(super) fn submit(&mut self, work: Work, request: DiskRequest, cx: &mut Cx<'_>) {
        self.s.tag = self.s.tag.wrapping_add(1);
        self.s.pending = Some(Pending { tag: self.s.tag, work });
        cx.disk_submit(self.port, self.s.tag, request);
    }

    /// The status of R1, whose bits are told once.
    fn report(&mut self, mode: Mode, app: bool) -> u32 {
        let ready = if self.is_busy() { 0 } else { status::READY_FOR_DATA };
        let app = if app { status::APP_CMD } else { 0 };
        std::mem::take(&mut self.s.status) | (mode as u32 & 0xf) << 9 | ready | app
    }

    /// The end of a job.
    pub(super) fn rest(&mut self) {
        (self.s.job, self.s.left) = (Job::None, None);
        self.s.mode = Mode::Transfer;
    }

    /// How many bytes of a range come before the first protected one.
    pub(super) fn unprotected(&self, at: u64, len: u64) -> u64 {
        if self.csd_bits() & PROTECT != 0 {
            return 0;
        }
        let first = (at / GROUP_BYTES) as u32;
        match self.s.protected.range(first..).next() {
            Some(group) => (u64::from(*group) * GROUP_BYTES).saturating_sub(at).min(len),
            None => len,
        }
    }

    /// CMD27: 16 bytes, of which few may differ from what the CSD is.
    fn program_csd(&mut self, bytes: &[u8]) {
        let old = self.csd(self.csd_bits());
        let new = <[u8; 16]>::try_from(bytes).map_or(0, u128::from_be_bytes);
        let bits = (new >> 8) as u8;
        let same = (new ^ old) >> 16 == 0 && (bits ^ old.to_be_bytes()[14]) & !CSD_WRITABLE == 0;
        // COPY and PERM_WRITE_PROTECT are set once.
        let once = (PERM_PROTECT | 0x40) & self.csd_bits() & !bits;
        if !same || once != 0 {
            self.s.status |= status::CSD_OVERWRITE;
        } else if self.csd(bits) != new {
            self.s.status |= status::ERROR;
        } else {
            self.s.csd = bits;
        }
    }

    fn wrote(&mut self, blocks: u32, all: bool) -> Flow {
        self.s.written = self.s.written.saturating_add(blocks);
        match self.s.mode {
            Mode::Programming => self.s.mode = Mode::Transfer,
            Mode::Disconnect => self.s.mode = Mode::Standby,
            _ if self.s.left == Some(0) => self.rest(),
            _ => {}
        }
        if all { Flow::Done } else { Flow::End }
    }
}

impl Card for SdCard {
    fn plug(&mut self, medium: Option<Medium>) {
        let tag = self.s.tag;
        self.s = State { block_len: 512, tag, ..State::default() };
        if let Some(medium) = medium {
            (self.s.size, self.s.read_only) = (medium.size, medium.read_only);
        }
    }

    fn medium(&self) -> Option<Medium> {
        (self.s.size != 0).then_some(Medium { size: self.s.size, read_only: self.s.read_only })
    }

    fn command(&mut self, index: u8, argument: u32, cx: &mut Cx<'_>) -> Option<Response> {
        if self.s.size == 0 || self.s.mode == Mode::Inactive {
            return None;
        }
        let mode = self.s.mode;
        let mut app = std::mem::take(&mut self.s.app);
        // A number of blocks is for the next command, and an erase is three commands in order; asking for the status disturbs neither.
        let count = if index == 13 { None } else { self.s.count.take() };
        let erase_end = if self.kind == Kind::Mmc { 36 } else { 33 };
        if ![13, erase_end, 38].contains(&index) && self.s.erase != (None, None) {
            self.s.erase = (None, None);
            self.s.status |= status::ERASE_RESET;
        }
        let answer = (app && self.kind == Kind::Sd).then(|| self.application(index, argument)).flatten();
        app &= answer.is_some();
        let answer = match answer {
            Some(answer) => answer,
            None if self.kind == Kind::Mmc => self.multimedia(index, argument, count, cx),
            None => self.basic(index, argument, count, cx),
        };
        match answer {
            Answer::R1 => Some(Response::Short(self.report(mode, app || self.s.app))),
            Answer::Later(bits) => {
                let status = self.report(mode, false);
                self.s.status = bits;
                Some(Response::Short(status))
            }
            Answer::R6 => {
                let status = self.report(mode, app);
                let short = status >> 8 & 0xc000 | status >> 6 & 0x2000 | status & 0x1fff;
                Some(Response::Short(u32::from(self.s.rca) << 16 | short))
            }
            Answer::Bits(bits) => Some(Response::Short(bits)),
            Answer::R2(bits) => Some(Response::Long(bits)),
            Answer::Silence => None,
            Answer::Illegal => {
                self.s.status |= status::ILLEGAL_COMMAND;
                None
            }
        }
    }

    fn data(&self) -> Data {
        match &self.s.job {
            Job::None => Data::Idle,
            Job::Register(bytes) => Data::ToHost(bytes.len() as u32),
            Job::Read => Data::ToHost(self.block_len()),
            Job::Write => Data::FromHost(self.block_len()),
            Job::ProgramCsd => Data::FromHost(16),
        }
    }

    fn fetch(&mut self, most: u32, cx: &mut Cx<'_>) -> Flow {
        if self.s.pending.is_some() {
            return Flow::Wait;
        }
        match &mut self.s.job {
            Job::Register(bytes) => {
                let bytes = std::mem::take(bytes);
                self.rest();
                Flow::Bytes(bytes)
            }
            Job::Read => {
                let room = self.geometry().capacity.saturating_sub(self.s.at);
                let len = room.min(self.s.left.unwrap_or(room)).min(most.into());
                if len == 0 {
                    self.s.status |= status::OUT_OF_RANGE;
                    return Flow::End;
                }
                let at = self.s.at;
                let there = self.s.size.saturating_sub(at).min(len);
                self.s.at += len;
                self.s.left = self.s.left.map(|left| left - len);
                if there == 0 {
                    if self.s.left == Some(0) {
                        self.rest();
                    }
                    return Flow::Bytes(vec![0; len as usize]);
                }
                self.submit(Work::Read { zeroes: (len - there) as u32 }, DiskRequest::Read { at, len: there as u32 }, cx);
                Flow::Wait
            }
            _ => Flow::End,
        }
    }

    fn store(&mut self, mut bytes: Vec<u8>, cx: &mut Cx<'_>) -> Flow {
        if self.s.pending.is_some() {
            return Flow::End;
        }
        match self.s.job {
            Job::ProgramCsd => {
                self.program_csd(&bytes);
                self.rest();
                Flow::Done
            }
            Job::Write => {
                let (at, given) = (self.s.at, bytes.len() as u64);
                // The last sector may be there in part.
                let end = self.s.size.next_multiple_of(512);
                let mut len = given.min(self.s.left.unwrap_or(given));
                if len > end.saturating_sub(at) {
                    len = end.saturating_sub(at);
                    self.s.status |= status::OUT_OF_RANGE;
                }
                let free = self.unprotected(at, len);
                if free < len {
                    len = free;
                    self.s.status |= status::WP_VIOLATION;
                }
                if len == 0 {
                    return Flow::End;
                }
                self.s.at += len;
                self.s.left = self.s.left.map(|left| left - len);
                bytes.truncate(len.min(self.s.size.saturating_sub(at)) as usize);
                let blocks = (len / u64::from(self.block_len())) as u32;
                self.submit(Work::Write { blocks, all: len == given }, DiskRequest::Write { at, bytes }, cx);
                Flow::Wait
            }
            _ => Flow::End,
        }
    }

    fn is_busy(&self) -> bool {
        self.s.pending.as_ref().is_some_and(|p| !matches!(p.work, Work::Read { .. }))
    }

    fn disk_done(&mut self, tag: u32, result: DiskResult, _: &mut Cx<'_>) -> Option<Flow> {
        // What a command has ended since is not waited for.
        let pending = self.s.pending.take_if(|p| p.tag == tag)?;
        let failed = result.is_err();
        match (pending.work, result) {
            (Work::Read { zeroes }, Ok(mut bytes)) => {
                bytes.resize(bytes.len() + zeroes as usize, 0);
                if self.s.left == Some(0) {
                    self.rest();
                }
                Some(Flow::Bytes(bytes))
            }
            (Work::Read { .. }, Err(_)) => {
                self.s.status |= status::CARD_ECC_FAILED;
                if self.s.left == Some(0) {
                    self.rest();
                }
                Some(Flow::End)
            }
            (Work::Write { blocks, all }, _) => {
                self.s.status |= if failed { status::ERROR } else { 0 };
                Some(self.wrote(if failed { 0 } else { blocks }, all))
            }
            (Work::Erase, _) => {
                self.s.status |= if failed { status::ERROR } else { 0 };
                self.wrote(0, true);
                None
            }
        }
    }

    fn save(&self) -> serde_json::Value {
        serde_json::to_value(&self.s).unwrap_or_default()
    }

    fn load(&mut self, state: &serde_json::Value) -> Result<(), String> {
        let state: State = serde_json::from_value(state.clone()).map_err(|e| e.to_string())?;
        if !state.is_sound() {
            return Err("no state of a card".into());
        }
        self.s = state;
        Ok(())
    }
}

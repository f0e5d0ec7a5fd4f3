//! Record and replay: what reaches a machine from outside, with where it did, so that a run can be had again.
//!
//! Data path: posted input, and what monitors and debuggers change -> [`Journal`], an entry each with rounds and instructions executed before it ->
//! memory ([`crate::history`]) or a file; and back, at exactly the same places. Only where instructions are time: there nothing else differs between runs.
//!
//! ```text
//! file   = magic (8 bytes), version (u32), length (u64), snapshot, record...
//! record = length (u32), BLAKE3 of its bytes (the first 8), bytes: an entry, a mark or the end, as JSON
//! ```
//!
//! The snapshot is the machine where recording begins, with what a reset fills memory with. Marks come about every second, each with a digest of the CPUs; the end has one of
//! everything. A file that is cut off replays to its last whole record. A disk put into a drive ends a replay, as nobody knows what was on it.

use crate::backend::Posted;
use crate::device::Nanos;
use crate::machine::lock;
use crate::run::Machine;
use crate::snapshot::{LoadError, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const MAGIC: &[u8; 8] = b"emurecd\0";
const VERSION: u32 = 1;
/// The longest record: some frames.
const MOST: u32 = 1 << 28;
/// Time between marks.
const MARK: Duration = Duration::from_secs(1);

/// A place in a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Moment {
    /// Instructions executed by all CPUs.
    pub executed: u64,
    /// Rounds in which something happened.
    pub rounds: u64,
}

/// What came from outside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    Posted(Vec<Posted>),
    /// Somebody reset the machine.
    Reset,
    /// Somebody wrote to a bus: bus, address, bytes, value.
    Write(usize, u64, u8, u64),
    /// Somebody filled memory.
    Load(usize, u64, Vec<u8>),
    /// A debugger wrote at a CPU's virtual address.
    Debug(usize, u64, Vec<u8>),
    /// A debugger set a register, by the number of the description.
    Register(usize, usize, String),
    /// The link of a network port.
    Link(usize, usize, bool),
    /// Another disk, or none (false), in a drive.
    Disk(usize, usize, bool),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Record {
    Change(Moment, Change),
    /// Where the run was, and a digest of its CPUs.
    Mark(Moment, u64),
    /// Where it ended, guest time, and a digest of everything.
    End(Moment, Nanos, String),
}

impl Record {
    fn at(&self) -> Moment {
        match self {
            Record::Change(at, _) | Record::Mark(at, _) | Record::End(at, ..) => *at,
        }
    }
}

/// What a replay came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Replayed {
    /// To the recording's end, and everything is as it was then.
    Same,
    /// To the end of a recording that was cut off; nothing was seen to differ.
    CutOff,
    /// Not the same: how.
    Other(String),
}

/// What came, and what is to come again.
#[derive(Default)]
pub(crate) struct Journal {
    pub records: VecDeque<Record>,
    /// The next to happen again; behind the last, the run is new.
    pub next: usize,
    /// Where what is new is recorded.
    file: Option<File>,
    marked: Option<Instant>,
    /// Nothing comes from outside but what is recorded, and the run ends with it.
    pub fixed: bool,
    pub result: Option<Replayed>,
    /// What has happened is kept, to have it again.
    pub kept: bool,
    /// Something happens again just now.
    pub feeding: bool,
    /// Somebody changed something, since this was looked at.
    pub changed: bool,
}

impl Journal {
    pub fn is_replaying(&self) -> bool {
        self.next < self.records.len()
    }

    fn coming(&self) -> Option<&Record> {
        self.records.get(self.next)
    }

    fn write(&mut self, record: &Record) {
        let Some(file) = &mut self.file else { return };
        let bytes = serde_json::to_vec(record).unwrap_or_default();
        let mut whole = (bytes.len() as u32).to_le_bytes().to_vec();
        whole.extend(&blake3::hash(&bytes).as_bytes()[..8]);
        whole.extend(bytes);
        if let Err(e) = file.write_all(&whole) {
            tracing::error!("the recording ends here: {e}");
            self.file = None;
        }
    }

    /// Something new.
    fn push(&mut self, at: Moment, change: Change) {
        let record = Record::Change(at, change);
        self.write(&record);
        if self.kept {
            self.records.push_back(record);
            self.next = self.records.len();
        }
    }

    /// Instructions all CPUs will have executed when something is to happen, perhaps in the middle of a round.
    pub fn until(&self) -> Option<u64> {
        self.coming().map(|record| record.at().executed)
    }
}

impl Machine {
    /// Where it is.
    pub fn moment(&self) -> Moment {
        Moment { executed: self.cpus.iter().map(|c| c.executed).sum(), rounds: self.place.rounds }
    }

    fn cpus_digest(&self) -> u64 {
        self.cpus.iter().fold(0, |all: u64, slot| (all.rotate_left(5) ^ slot.cpu.digest()).wrapping_mul(0x517c_c1b7_2722_0a95))
    }

    /// Notes what somebody changes, if it is recorded. False: it is a replay, in which nobody changes anything.
    pub(crate) fn note(&self, change: impl FnOnce() -> Change) -> bool {
        let mut journal = lock(&self.journal);
        let Some(journal) = journal.as_deref_mut().filter(|j| !j.feeding) else { return true };
        if journal.fixed || journal.is_replaying() {
            self.core.log_once("nothing is taken from outside during a replay", None);
            return false;
        }
        journal.push(self.moment(), change());
        journal.changed = true;
        true
    }

    /// Takes what came from outside, or what came then.
    pub(crate) fn take_outside(&mut self) {
        if lock(&self.journal).is_none() {
            return self.core.take_input();
        }
        self.replay();
        let (at, digest) = (self.moment(), self.cpus_digest());
        let mut journal = lock(&self.journal);
        let Some(journal) = journal.as_deref_mut() else { return };
        if journal.fixed {
            if !self.core.handle.take_posted().is_empty() {
                self.core.log_once("nothing is taken from outside during a replay", None);
            }
            return;
        }
        // What is going to happen again comes first.
        if journal.is_replaying() || self.core.muted.load(Ordering::Relaxed) {
            return;
        }
        let posted = self.core.handle.take_posted();
        if !posted.is_empty() {
            journal.push(at, Change::Posted(posted.clone()));
        }
        if journal.file.is_some() && journal.marked.is_none_or(|last| last.elapsed() >= MARK) {
            journal.marked = Some(Instant::now());
            journal.write(&Record::Mark(at, digest));
        }
        self.core.give(posted);
    }

    /// Has everything happen that happened here.
    pub(crate) fn replay(&mut self) {
        loop {
            let at = self.moment();
            let record = {
                let mut journal = lock(&self.journal);
                let Some(journal) = journal.as_deref_mut() else { return };
                let Some(record) = journal.coming().filter(|record| record.at() <= at).cloned() else { return };
                if record.at() < at {
                    let differs = format!("it is at {at:?} where {:?} was", record.at());
                    journal.records.truncate(journal.next);
                    journal.result.get_or_insert(Replayed::Other(differs));
                    return;
                }
                journal.next += 1;
                journal.feeding = true;
                record
            };
            match record {
                Record::Change(_, change) => self.change(change),
                Record::Mark(at, digest) if self.cpus_digest() != digest => self.differs(format!("CPUs differ at {at:?}")),
                Record::Mark(..) => {}
                Record::End(_, now, digest) => {
                    let found = self.save_after(None, false).map_or_else(|e| e, |s| s.digest());
                    if self.now() != now {
                        self.differs(format!("guest time is {} ns where {} ns was", self.now().0, now.0));
                    } else if found != digest {
                        self.differs("devices, memory or disks differ at the end".into());
                    } else if let Some(journal) = lock(&self.journal).as_deref_mut() {
                        journal.result.get_or_insert(Replayed::Same);
                    }
                }
            }
            if let Some(journal) = lock(&self.journal).as_deref_mut() {
                journal.feeding = false;
            }
        }
    }

    fn differs(&mut self, how: String) {
        if let Some(journal) = lock(&self.journal).as_deref_mut() {
            journal.result.get_or_insert(Replayed::Other(how));
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Posted(posted) => self.core.give(posted),
            Change::Reset => {
                if let Err(e) = self.reset() {
                    self.differs(e);
                }
            }
            Change::Write(bus, at, size, value) => _ = self.core.write(bus, at, size, value, emu_memory::Access::DEBUG),
            Change::Load(bus, at, bytes) => _ = self.load(bus, at, &bytes),
            Change::Debug(cpu, va, bytes) => _ = self.debug_write(cpu, va, &bytes),
            Change::Register(cpu, number, value) => {
                if let Ok(value) = u128::from_str_radix(&value, 16) {
                    self.set_debug_register(cpu, number, value);
                }
            }
            Change::Link(device, port, up) => self.core.set_link(device, port, up),
            Change::Disk(device, port, false) => _ = self.insert(device, port, None),
            Change::Disk(device, _, true) => {
                let name = self.core.devices.get(device).map_or("", |d| &d.name);
                let how = format!("the replay ends where a disk was put into the drive of `{name}`");
                self.differs(how);
            }
        }
    }

    /// Why a replay is over, once it is.
    pub(crate) fn replay_ended(&mut self) -> bool {
        let mut journal = lock(&self.journal);
        let Some(journal) = journal.as_deref_mut().filter(|j| j.fixed) else { return false };
        if journal.result.is_none() && !journal.is_replaying() {
            journal.result = Some(Replayed::CutOff);
        }
        journal.result.is_some()
    }

    /// What a replay came to; `None`: it goes on.
    pub fn replayed(&self) -> Option<Replayed> {
        lock(&self.journal).as_ref().filter(|j| j.fixed)?.result.clone()
    }

    /// Records what comes from outside into a file from now on, for [`Machine::replay_file`]. For between two instructions.
    ///
    /// # Errors
    /// Guest time is not that of instructions; what the machine is now cannot be saved; the host's.
    pub fn record_file(&mut self, path: &Path) -> Result<(), String> {
        let said = |e: String| format!("cannot record to {}: {e}", path.display());
        if !self.core.clock.is_deterministic() {
            return Err(said("runs differ in this time mode\n  help: --time deterministic".into()));
        }
        let mut bytes = Vec::new();
        let snapshot = self.save().map_err(said)?;
        let about = self.about();
        let host = |e: std::io::Error| said(e.to_string());
        snapshot.write(&about, &mut bytes).map_err(host)?;
        let mut file = File::create(path).map_err(host)?;
        let mut head = MAGIC.to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend((bytes.len() as u64).to_le_bytes());
        file.write_all(&head).and_then(|()| file.write_all(&bytes)).map_err(host)?;
        lock(&self.journal).get_or_insert_default().file = Some(file);
        Ok(())
    }

    /// Ends the recording: says where, and what everything was.
    ///
    /// # Errors
    /// A disk that cannot be read.
    pub fn end_recording(&mut self) -> Result<(), String> {
        if lock(&self.journal).as_ref().is_none_or(|j| j.file.is_none()) {
            return Ok(());
        }
        let digest = self.save_after(None, false)?.digest();
        let end = Record::End(self.moment(), self.now(), digest);
        if let Some(journal) = lock(&self.journal).as_deref_mut() {
            journal.write(&end);
            journal.file = None;
        }
        Ok(())
    }

    /// Goes back to where a recording began, and has everything happen again that is in it; ends with it ([`crate::Exit::Reached`]).
    ///
    /// # Errors
    /// As [`Machine::load_from_file`].
    pub fn replay_file(&mut self, path: &Path) -> Result<(), LoadError> {
        let said = |e: String| LoadError::Refused(format!("cannot replay {}: {e}", path.display()));
        if !self.core.clock.is_deterministic() {
            return Err(said("runs differ in this time mode\n  help: --time deterministic".into()));
        }
        let (snapshot, records) = self.recording(path).map_err(said)?;
        self.load_snapshot(&snapshot).map_err(|e| match e {
            LoadError::Refused(e) => said(e),
            lost => lost,
        })?;
        self.journal = Mutex::new(Some(Box::new(Journal { records, fixed: true, kept: true, ..Journal::default() })));
        Ok(())
    }

    fn recording(&self, path: &Path) -> Result<(Snapshot, VecDeque<Record>), String> {
        let mut file = File::open(path).map_err(|e| e.to_string())?;
        let mut head = [0; 20];
        file.read_exact(&mut head).ok().filter(|()| head[..8] == *MAGIC).ok_or("it is no recording")?;
        let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if version != VERSION {
            return Err(format!("it is a recording of version {version}, this emulator reads version {VERSION}"));
        }
        let len = head.last_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
        if len > self.largest_snapshot() {
            return Err("it begins with more than a snapshot of this machine can be".into());
        }
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(len).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        let snapshot = Snapshot::read(bytes, self)?;
        Ok((snapshot, records(&mut std::io::BufReader::new(file))))
    }
}

/// Whole records from a file, up to the first that is not.
fn records(file: &mut dyn Read) -> VecDeque<Record> {
    let mut all: VecDeque<Record> = VecDeque::new();
    loop {
        let mut head = [0; 12];
        if file.read_exact(&mut head).is_err() {
            return all;
        }
        let len = head.first_chunk::<4>().map_or(0, |n| u32::from_le_bytes(*n));
        let mut bytes = Vec::new();
        if len > MOST || Read::by_ref(&mut &mut *file).take(len.into()).read_to_end(&mut bytes).is_err() {
            return all;
        }
        let whole = bytes.len() == len as usize && blake3::hash(&bytes).as_bytes()[..8] == head[4..];
        let Some(record) = serde_json::from_slice::<Record>(&bytes).ok().filter(|_| whole) else { return all };
        if all.back().is_some_and(|last| last.at() > record.at()) {
            return all;
        }
        all.push_back(record);
    }
}

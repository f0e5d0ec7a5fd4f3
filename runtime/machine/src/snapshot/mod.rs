//! Snapshots of whole machines: everything that decides how a guest goes on, and nothing else.
//!
//! Data path: a machine between instructions -> [`Machine::save`] -> [`Snapshot`] -> [`format`], a file -> [`Machine::load`] into a machine of the
//! same board, perhaps in another process. Memory and disks are [`chunks`]; the rest is plain data, as devices and CPUs give it by their `save`.
//!
//! Requests to disks are completed first, and their answers saved. Of a writable disk the image's own contents are part of it, of others the size.
//! Never part of it: translations, TLBs, host pointers; what others have posted and the machine has not yet taken; who is connected to ports, and whether
//! cables are plugged in.

pub(crate) mod chunks;
mod format;
mod state;

pub use format::{About, describe, is_snapshot};

use crate::machine::lock;
use crate::run::{Image, Machine, Start};
use chunks::Chunks;
use emu_memory::RamBlock;
use serde::{Deserialize, Serialize};
use state::State;
use std::sync::Arc;

/// Why a snapshot was not loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// It does not fit, or is damaged; the machine is as it was.
    #[error("{0}")]
    Refused(String),
    /// A disk could not be written; the machine is neither what it was nor what was saved.
    #[error("{0}: the machine cannot go on")]
    Lost(String),
}

/// What fills memory and starts CPUs at a reset.
#[derive(Clone, Debug, Default)]
struct Boot {
    about: BootState,
    bytes: Vec<Chunks>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct BootState {
    /// Bus, address, bytes, name.
    images: Vec<(usize, u64, u64, String)>,
    starts: Vec<Start>,
}

/// A machine's state at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    identity: String,
    state: State,
    /// Of each block of the machine.
    memories: Vec<Chunks>,
    /// Of all own ranges of all drives, in the state's order.
    disks: Vec<Chunks>,
    boot: Option<Boot>,
}

impl Snapshot {
    /// A number of everything in it that decides how a guest goes on, but for what a reset needs.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&serde_json::to_vec(&self.state).unwrap_or_default());
        self.memories.iter().chain(&self.disks).for_each(|c| c.digest(&mut hasher));
        hasher.finalize().to_hex().to_string()
    }

    /// Instructions that a CPU had executed.
    pub(crate) fn executed(&self, cpu: usize) -> u64 {
        self.state.executed(cpu)
    }

    /// Bytes it takes that `known` does not have yet.
    pub(crate) fn new_bytes(&self, known: &mut std::collections::HashSet<usize>) -> u64 {
        self.memories.iter().chain(&self.disks).map(|c| c.new_bytes(known)).sum()
    }

    /// Bytes it takes, roughly; what it shares with others is counted, too.
    pub fn size(&self) -> u64 {
        self.memories.iter().chain(&self.disks).map(Chunks::packed).sum()
    }
}

fn memory(block: &RamBlock, before: Option<&Chunks>) -> Result<Chunks, String> {
    let lost = || format!("`{}` cannot be read", block.name());
    Chunks::pack(block.size(), before, |at, buffer| block.copy_out(at, buffer).then_some(()).ok_or_else(lost))
}

/// Puts back what a block held; pages that hold it already keep their translations.
fn restore(block: &RamBlock, saved: &Chunks) -> Result<(), String> {
    let page = emu_memory::PAGE_SIZE as usize;
    let write = |at: u64, bytes: &[u8]| {
        let mut there = vec![0; bytes.len()];
        block.copy_out(at, &mut there);
        for (n, (new, old)) in bytes.chunks(page).zip(there.chunks(page)).enumerate() {
            if new != old {
                block.copy_in(at + (n * page) as u64, new);
            }
        }
        Ok(())
    };
    let clear = |at, len| {
        block.clear(at, len);
        Ok(())
    };
    saved.unpack(write, clear)
}

impl Machine {
    /// Its state now. For between two instructions: a task ([`crate::Handle::call`]), or between runs. Waits for disks, changes nothing that the guest can see.
    ///
    /// # Errors
    /// A disk that cannot be read, or contents beyond this host.
    pub fn save(&mut self) -> Result<Snapshot, String> {
        self.save_after(None, true)
    }

    /// As [`Machine::save`]; shares what did not change with an earlier snapshot, and need not have what a reset needs.
    pub(crate) fn save_after(&mut self, before: Option<&Snapshot>, boot: bool) -> Result<Snapshot, String> {
        let (state, disks) = state::save(self, before.map(|b| &b.disks[..]))?;
        let blocks = self.core.memories.iter().enumerate();
        let memories = blocks.map(|(n, block)| memory(block, before.and_then(|b| b.memories.get(n)))).collect::<Result<_, _>>()?;
        let boot = boot.then(|| Boot::new(self)).transpose()?;
        Ok(Snapshot { identity: self.core.identity.clone(), state, memories, disks, boot })
    }

    /// Goes on from a snapshot of a machine of the same board. For between two instructions, as [`Machine::save`].
    ///
    /// # Errors
    /// [`LoadError::Refused`]: nothing has changed. [`LoadError::Lost`]: the machine is to end.
    pub fn load_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), LoadError> {
        let refused = LoadError::Refused;
        if snapshot.identity != self.core.identity {
            return Err(refused("it is of another board".into()));
        }
        snapshot.check(self).map_err(refused)?;
        let images = snapshot.boot.as_ref().map(Boot::images).transpose().map_err(refused)?;
        state::load_parts(self, &snapshot.state).map_err(refused)?;
        // Nothing is refused from here on.
        state::load_disks(self, &snapshot.state, &snapshot.disks).map_err(LoadError::Lost)?;
        for (block, saved) in self.core.memories.iter().zip(&snapshot.memories) {
            restore(block, saved).map_err(LoadError::Lost)?;
        }
        if let (Some(images), Some(boot)) = (images, &snapshot.boot) {
            (self.images, self.starts) = (images, boot.about.starts.clone());
        }
        state::load_rest(self, &snapshot.state);
        Ok(())
    }
}

impl Snapshot {
    /// Looks at everything but devices and CPUs, which look at theirs when they load it.
    fn check(&self, machine: &Machine) -> Result<(), String> {
        let sizes = |blocks: &[Arc<RamBlock>]| blocks.iter().map(|b| b.size()).collect::<Vec<_>>();
        if self.memories.iter().map(Chunks::size).collect::<Vec<_>>() != sizes(&machine.core.memories) {
            return Err("its memory is of another size".into());
        }
        self.state.check(machine, &self.disks)?;
        self.memories.iter().chain(&self.disks).try_for_each(Chunks::check)
    }
}

impl Boot {
    fn new(machine: &Machine) -> Result<Boot, String> {
        let about = |i: &Image| (i.bus, i.at, i.bytes.len() as u64, i.name.clone());
        let pack = |i: &Image| {
            Chunks::pack(i.bytes.len() as u64, None, |at, buffer| {
                buffer.copy_from_slice(&i.bytes[at as usize..][..buffer.len()]);
                Ok(())
            })
        };
        Ok(Boot {
            about: BootState { images: machine.images.iter().map(about).collect(), starts: machine.starts.clone() },
            bytes: machine.images.iter().map(pack).collect::<Result<_, _>>()?,
        })
    }

    fn images(&self) -> Result<Vec<Image>, String> {
        let image = |((bus, at, _, name), bytes): (&(usize, u64, u64, String), &Chunks)| {
            Ok(Image { bus: *bus, at: *at, bytes: bytes.bytes()?, name: name.clone() })
        };
        self.about.images.iter().zip(&self.bytes).map(image).collect()
    }
}

/// The bytes of all drives' writable media: what of a file may be theirs.
fn writable(machine: &Machine) -> u64 {
    let drives = machine.core.devices.iter().flat_map(|d| &d.drives);
    drives.filter_map(|d| d.medium()).filter(|m| !m.read_only).map(|m| m.size).fold(0, u64::saturating_add)
}

/// Ranges of a disk that are in order and inside of it.
fn in_order(ranges: &[(u64, u64)], size: u64) -> bool {
    let mut end = 0;
    ranges.iter().all(|(from, to)| {
        let good = end <= *from && from < to && *to <= size;
        end = *to;
        good
    })
}

/// What is on a disk, of its own.
fn disk(disk: &crate::backend::SharedDisk, before: impl Fn(usize) -> Option<Chunks>) -> Result<(Vec<(u64, u64)>, Vec<Chunks>), String> {
    let said = |e: std::io::Error| format!("a disk cannot be read: {e}");
    let ranges: Vec<(u64, u64)> =
        lock(disk).own_ranges().map_err(said)?.into_iter().filter(|r| r.start < r.end).map(|r| (r.start, r.end)).collect();
    let read = |from: u64| move |at: u64, buffer: &mut [u8]| lock(disk).read(from + at, buffer).map_err(said);
    let contents = ranges.iter().enumerate().map(|(n, (from, to))| Chunks::pack(to - from, before(n).as_ref(), read(*from)));
    let contents = contents.collect::<Result<_, _>>()?;
    Ok((ranges, contents))
}

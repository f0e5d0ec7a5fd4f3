//! Snapshots as files.
//!
//! ```text
//! file     = magic (8 bytes), version (u32), section...
//! section  = length of its name (u8), name, length (u64), BLAKE3 of name and contents (32 bytes), contents
//! sections = about, state, memory..., disk..., boot, image..., end
//! ```
//!
//! Numbers are little-endian. `about`, `state` and `boot` are JSON, `end` is empty, the others are [chunks](super::chunks). A file is written beside its
//! place, and gets its name when it is complete and on the disk. Hashes find damage, not malice: whatever a file says is looked at before anything changes.

use super::chunks::Chunks;
use super::state::State;
use super::{Boot, BootState, LoadError, Snapshot, writable};
use crate::device::Nanos;
use crate::run::Machine;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"emusnap\0";
/// Of the format; another one is refused.
const VERSION: u32 = 1;
/// Room for what is neither memory nor disk: states, tables.
const REST: u64 = 64 << 20;

/// What a file says of itself first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// The version of the emulator that wrote it: for information.
    pub emulator: String,
    /// What machines have in common that it can be loaded into.
    pub board: String,
    /// Guest time.
    pub now: Nanos,
    /// Instructions all CPUs had executed.
    pub executed: u64,
    /// Memories: name, bytes.
    pub memories: Vec<(String, u64)>,
}

fn section(to: &mut dyn Write, name: &str, contents: &[u8]) -> io::Result<()> {
    to.write_all(&[name.len() as u8])?;
    to.write_all(name.as_bytes())?;
    to.write_all(&(contents.len() as u64).to_le_bytes())?;
    to.write_all(&hash(name, contents))?;
    to.write_all(contents)
}

fn hash(name: &str, contents: &[u8]) -> [u8; 32] {
    *blake3::Hasher::new().update(name.as_bytes()).update(contents).finalize().as_bytes()
}

/// Writes a file beside `path`, and gives it that name when it is complete and on the disk.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(name);
    let written = (|| {
        let mut file = io::BufWriter::new(File::create(&part)?);
        write(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&part, path)?;
        // The name is on the disk when the folder is.
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        _ = fs::remove_file(&part);
    }
    written
}

/// The sections of a file, one after the other.
struct Sections {
    file: Arc<Vec<u8>>,
    at: usize,
}

impl Sections {
    fn bytes(&mut self, len: usize) -> Result<Range<usize>, String> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.file.len()).ok_or("it is cut off")?;
        Ok(std::mem::replace(&mut self.at, end)..end)
    }

    fn next(&mut self, name: &str) -> Result<Range<usize>, String> {
        let damaged = || format!("it is damaged: the part `{name}`");
        let len = self.bytes(1)?;
        let found = self.bytes(self.file[len][0].into())?;
        if self.file[found] != *name.as_bytes() {
            return Err(damaged());
        }
        let len = self.bytes(8)?;
        let seal = self.bytes(32)?;
        let len = self.file[len].first_chunk::<8>().map_or(0, |n| u64::from_le_bytes(*n));
        let contents = self.bytes(usize::try_from(len).map_err(|_| damaged())?)?;
        if hash(name, &self.file[contents.clone()]) != self.file[seal] {
            return Err(damaged());
        }
        Ok(contents)
    }

    fn json<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, String> {
        let part = self.next(name)?;
        serde_json::from_slice(&self.file[part]).map_err(|e| format!("the part `{name}` cannot be read: {e}"))
    }

    fn chunks(&mut self, name: &str, size: u64) -> Result<Chunks, String> {
        let part = self.next(name)?;
        Chunks::read(&self.file, part, size)
    }
}

impl Snapshot {
    /// Writes it as a file holds it.
    ///
    /// # Errors
    /// The host's.
    pub fn write(&self, about: &About, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(MAGIC)?;
        to.write_all(&VERSION.to_le_bytes())?;
        section(to, "about", &serde_json::to_vec(about)?)?;
        section(to, "state", &serde_json::to_vec(&self.state)?)?;
        let mut chunks = |name: &str, chunks: &Chunks| {
            let mut bytes = Vec::new();
            chunks.write(&mut bytes);
            section(to, name, &bytes)
        };
        self.memories.iter().try_for_each(|c| chunks("memory", c))?;
        self.disks.iter().try_for_each(|c| chunks("disk", c))?;
        let boot = self.boot.clone().unwrap_or_default();
        section(to, "boot", &serde_json::to_vec(&boot.about)?)?;
        let mut chunks = |name: &str, chunks: &Chunks| {
            let mut bytes = Vec::new();
            chunks.write(&mut bytes);
            section(to, name, &bytes)
        };
        boot.bytes.iter().try_for_each(|c| chunks("image", c))?;
        section(to, "end", &[])
    }

    /// What [`Snapshot::write`] wrote, of a machine like this one.
    ///
    /// # Errors
    /// One line: why not.
    pub fn read(file: Vec<u8>, machine: &Machine) -> Result<Snapshot, String> {
        let mut sections = Sections { file: Arc::new(file), at: 0 };
        let about = about(&mut sections)?;
        let core = &machine.core;
        for block in &core.memories {
            if let Some((name, size)) = about.memories.iter().find(|(name, size)| name == block.name() && *size != block.size()) {
                return Err(format!("its `{name}` has {size} bytes, this board's has {}", block.size()));
            }
        }
        if about.board != core.identity {
            return Err(
                "it is of another board, or of one with other properties\n  help: give the same --board, --set, --cpus and --memory".into(),
            );
        }
        let state: State = sections.json("state")?;
        let memories = core.memories.iter().map(|block| sections.chunks("memory", block.size())).collect::<Result<_, _>>()?;
        let most = writable(machine);
        if state.contents().fold(0, u64::saturating_add) > most {
            return Err("its disks are larger than this machine's".into());
        }
        let sizes: Vec<u64> = state.contents().collect();
        let disks = sizes.into_iter().map(|size| sections.chunks("disk", size)).collect::<Result<_, _>>()?;
        let boot: BootState = sections.json("boot")?;
        let room = core.memories.iter().map(|block| block.size()).fold(0, u64::saturating_add);
        if boot.images.iter().map(|(_, _, len, _)| *len).fold(0, u64::saturating_add) > room {
            return Err("what it boots is larger than this machine's memory".into());
        }
        let bytes = boot.images.iter().map(|(_, _, len, _)| sections.chunks("image", *len)).collect::<Result<_, _>>()?;
        sections.next("end")?;
        if sections.at != sections.file.len() {
            return Err("it is damaged: something follows its end".into());
        }
        Ok(Snapshot { identity: about.board, state, memories, disks, boot: Some(Boot { about: boot, bytes }) })
    }
}

fn about(sections: &mut Sections) -> Result<About, String> {
    let head = sections.bytes(MAGIC.len()).ok().filter(|head| sections.file[head.clone()] == *MAGIC);
    if head.is_none() {
        return Err("it is no snapshot".into());
    }
    let version = sections.bytes(4)?;
    let version = sections.file[version].first_chunk::<4>().map_or(0, |n| u32::from_le_bytes(*n));
    if version != VERSION {
        return Err(format!("it is a snapshot of version {version}, this emulator reads version {VERSION}"));
    }
    sections.json("about")
}

/// A file begins as snapshots do.
///
/// # Errors
/// The host's.
pub fn is_snapshot(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut head)?;
    Ok(head == *MAGIC)
}

impl Machine {
    pub(crate) fn about(&self) -> About {
        About {
            emulator: env!("CARGO_PKG_VERSION").into(),
            board: self.core.identity.clone(),
            now: self.now(),
            executed: self.executed().iter().sum(),
            memories: self.core.memories.iter().map(|block| (block.name().to_string(), block.size())).collect(),
        }
    }

    /// [`Machine::save`] into a file; one that is there is replaced when the new one is complete.
    ///
    /// # Errors
    /// As [`Machine::save`], and the host's, in words.
    pub fn save_to_file(&mut self, path: &Path) -> Result<(), String> {
        let said = |e: &dyn std::fmt::Display| format!("cannot save a snapshot to {}: {e}", path.display());
        let snapshot = self.save().map_err(|e| said(&e))?;
        replace(path, |to| snapshot.write(&self.about(), to)).map_err(|e| said(&e))
    }

    /// [`Machine::load_snapshot`] from a file.
    ///
    /// # Errors
    /// As there, with the file's name.
    pub fn load_from_file(&mut self, path: &Path) -> Result<(), LoadError> {
        let said = |e: String| LoadError::Refused(format!("cannot load {}: {e}", path.display()));
        let snapshot = self.snapshot_bytes(path).and_then(|bytes| Snapshot::read(bytes, self)).map_err(said)?;
        self.load_snapshot(&snapshot).map_err(|e| match e {
            LoadError::Refused(e) => said(e),
            LoadError::Lost(e) => LoadError::Lost(format!("cannot load {}: {e}", path.display())),
        })
    }

    /// Bytes of a snapshot of this machine, at most.
    pub(crate) fn largest_snapshot(&self) -> u64 {
        let memory = self.core.memories.iter().map(|block| block.size()).fold(0, u64::saturating_add);
        memory.saturating_mul(2).saturating_add(writable(self)).saturating_add(REST)
    }

    /// A file that is not larger than a snapshot of this machine can be.
    fn snapshot_bytes(&self, path: &Path) -> Result<Vec<u8>, String> {
        let said = |e: io::Error| e.to_string();
        let most = self.largest_snapshot();
        let mut file = File::open(path).map_err(said)?;
        let length = file.metadata().map_err(said)?.len();
        if length > most {
            return Err("it is larger than a snapshot of this machine can be".into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(|e| e.to_string())?);
        // A pipe has no length.
        Read::by_ref(&mut file).take(most).read_to_end(&mut bytes).map_err(said)?;
        Ok(bytes)
    }
}

/// What a snapshot in a file says of itself.
///
/// # Errors
/// One line: why it says nothing.
pub fn describe(path: &Path) -> Result<About, String> {
    let mut head = Vec::new();
    File::open(path).and_then(|file| file.take(1 << 20).read_to_end(&mut head)).map_err(|e| e.to_string())?;
    about(&mut Sections { file: Arc::new(head), at: 0 })
}

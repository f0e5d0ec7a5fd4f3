//! Values that outlive the process: files in a directory of the user's own, found by a hash, sealed with the user's key.
//!
//! Data path: [`Store::open`] reads the tables of the files that are there; [`Store::get`] reads a chunk of values at a time, and checks its seal; [`Store::add`] keeps new values
//! in memory, and [`Store::save`] makes one more file of them. When there are many, it makes one of all. A file gets its name when it is complete, and is never changed:
//! whoever is killed at whatever moment leaves what was there.
//!
//! It knows nothing of what values are. They may be code: so the directory must be its owner's alone, and what the key has not sealed is as if it were not there.

mod directory;
mod file;

use directory::{Directory, Number};
pub use file::{Identity, Key, MAX_VALUE, Reader, Source, Writer, identity_of, key_for};
use rustc_hash::FxHashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files of one identity before they become one.
const MANY: usize = 6;
/// Bytes of all files.
const LIMIT: u64 = 256 << 20;
/// Bytes of values in memory before they are written.
const PENDING: usize = 64 << 20;

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The host does not let us.
    #[error("cannot use {0}: {1}")]
    Host(PathBuf, io::Error),
    /// Somebody else might have written what is there.
    #[error("{0} is not used: {1}")]
    Unsafe(PathBuf, String),
}

/// What is in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Examined {
    /// Files of values.
    pub files: usize,
    /// Values that are what was written.
    pub good: usize,
    /// Values, or whole files, that are not.
    pub bad: usize,
}

/// Looks at everything in a directory.
///
/// # Errors
/// It is not used.
pub fn examine(path: &Path) -> Result<Examined, Refused> {
    let directory = Directory::open(path, Ok)?;
    let mut examined = Examined::default();
    for (file, size) in directory.all_values()? {
        examined.files += 1;
        let key = identity_of(&file).map(|identity| (key_for(&directory.key, &identity), identity));
        match key.and_then(|(key, identity)| Reader::new(file, size, &identity, key)) {
            Some(mut file) => {
                let good = (0..file.count()).filter(|n| file.value(*n).is_some()).count();
                examined.good += good;
                examined.bad += file.count() - good;
            }
            None => examined.bad += 1,
        }
    }
    Ok(examined)
}

/// What is done with descriptors that stay open.
pub type Reserve = fn(OwnedFd) -> io::Result<OwnedFd>;

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// In the buffer.
    Value,
    /// It is not what was written.
    Rejected,
    /// There are no more.
    End,
}

/// The values of one identity, those of the directory and new ones.
pub struct Store {
    directory: Directory,
    identity: Identity,
    key: Key,
    reserve: Reserve,
    values: Mutex<Values>,
}

#[derive(Default)]
struct Values {
    files: Vec<Reader<File>>,
    new: Writer,
    /// By hash, and number among those of the same: which of the new ones.
    places: FxHashMap<(u64, u32), usize>,
    /// Something was found to be damaged, and said.
    said: bool,
}

/// The store while nobody else may use it.
pub struct Held<'a>(MutexGuard<'a, Values>);

impl Held<'_> {
    /// In a forked child: its parent writes what there is so far.
    pub fn forget_new(&mut self) {
        self.0.forget_new();
    }
}

impl Values {
    fn forget_new(&mut self) {
        self.new = Writer::default();
        self.places.clear();
    }

    fn say(&mut self, what: &dyn std::fmt::Display) {
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!("code cache: {what}; what it held is made anew");
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens a directory, which is made if it is not there. Descriptors that stay open are what `reserve` makes of them.
    ///
    /// # Errors
    /// It is not this user's alone, or cannot be used.
    pub fn open(path: &Path, identity: Identity, reserve: Reserve) -> Result<Store, Refused> {
        let directory = Directory::open(path, reserve)?;
        let key = key_for(&directory.key, &identity);
        let store = Store { directory, identity, key, reserve, values: Mutex::default() };
        let numbers = store.directory.numbers(&identity).map_err(|e| Refused::Host(path.into(), e))?;
        let mut values = store.values();
        for number in numbers {
            match store.read(number) {
                Ok(Some(file)) => values.files.push(file),
                Ok(None) => values.say(&"a file is damaged"),
                // It was merged into another meanwhile.
                Err(Refused::Host(_, e)) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => values.say(&e),
            }
        }
        drop(values);
        Ok(store)
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, number: Number) -> Result<Option<Reader<File>>, Refused> {
        let (file, size) = self.directory.values(&self.identity, number)?;
        let file = (self.reserve)(file.into()).map_err(|e| Refused::Host(PathBuf::new(), e))?;
        Ok(Reader::new(file.into(), size, &self.identity, self.key))
    }

    /// Puts a value with a hash into the buffer, the one of number `n` of those there are.
    pub fn get(&self, hash: u64, mut n: u32, buffer: &mut Vec<u8>) -> Found {
        let values = &mut *self.values();
        let Values { files, new, places, .. } = values;
        buffer.clear();
        for file in files.iter_mut().rev() {
            let range = file.places(hash);
            if n as usize >= range.len() {
                n -= range.len() as u32;
                continue;
            }
            return match file.value(range.start + n as usize) {
                Some((_, value)) => {
                    buffer.extend_from_slice(value);
                    Found::Value
                }
                None => {
                    values.say(&"a file is damaged");
                    Found::Rejected
                }
            };
        }
        match places.get(&(hash, n)).and_then(|place| new.value(*place)) {
            Some((_, value)) => {
                buffer.extend_from_slice(value);
                Found::Value
            }
            None => Found::End,
        }
    }

    /// Adds a value. One that is too long, or was added before, is not.
    pub fn add(&self, hash: u64, value: &[u8]) {
        let mut values = self.values();
        if value.len() > MAX_VALUE {
            return;
        }
        let mut n = 0;
        while let Some(place) = values.places.get(&(hash, n)) {
            if values.new.value(*place) == Some((hash, value)) {
                return;
            }
            n += 1;
        }
        let place = values.new.count();
        values.places.insert((hash, n), place);
        values.new.add(hash, value);
        if values.new.bytes() >= PENDING {
            self.write(&mut values);
        }
    }

    /// Writes what is new.
    pub fn save(&self) {
        self.write(&mut self.values());
    }

    /// Keeps everything as it is over a fork.
    pub fn hold(&self) -> Held<'_> {
        Held(self.values())
    }

    fn write(&self, values: &mut Values) {
        if values.new.count() == 0 {
            return;
        }
        match self.write_new(&values.new) {
            // What it was made of stays open.
            Ok(file) => values.files.extend(file),
            // A program's own limit, which is for what we might say, too.
            Err(Refused::Host(_, e)) if e.kind() == io::ErrorKind::FileTooLarge => {}
            Err(e) => tracing::warn!("code cache: {e}"),
        }
        values.forget_new();
    }

    /// Makes a file of new values, and perhaps of all there are, if nobody else is long at it; the file, to be read from.
    fn write_new(&self, new: &Writer) -> Result<Option<Reader<File>>, Refused> {
        let Some(lock) = self.directory.lock() else { return Ok(None) };
        let there = self.directory.numbers(&self.identity).map_err(|e| Refused::Host(PathBuf::new(), e))?;
        let number = Number(there.last().map_or(0, |last| last.0.wrapping_add(1)));
        let write =
            |values: &Writer| self.directory.make(&lock, &self.identity, number, |out| values.write(out, &self.identity, &self.key));
        if there.len() + 1 < MANY {
            write(new)?;
        } else {
            write(&self.merged(&there, new))?;
            there.iter().for_each(|old| self.directory.remove(&lock, &self.identity, *old));
        }
        self.directory.limit(&lock, LIMIT);
        Ok(self.read(number).ok().flatten())
    }

    /// Everything that is in files, and what is new, each once: without what is oldest, if it is too much.
    fn merged(&self, there: &[Number], new: &Writer) -> Writer {
        let mut files: Vec<Reader<File>> = there.iter().filter_map(|number| self.read(*number).ok().flatten()).collect();
        let mut all: Vec<(u64, &[u8])> = Vec::new();
        for file in &mut files {
            all.extend(file.all());
        }
        all.extend((0..new.count()).filter_map(|n| new.value(n)));
        let mut surplus = all.iter().map(|(_, value)| value.len() as u64).sum::<u64>().saturating_sub(LIMIT / 2);
        let mut seen = rustc_hash::FxHashSet::default();
        let mut merged = Writer::default();
        for (hash, value) in all {
            if surplus > 0 {
                surplus = surplus.saturating_sub(value.len() as u64);
            } else if seen.insert((hash, value)) {
                merged.add(hash, value);
            }
        }
        merged
    }
}

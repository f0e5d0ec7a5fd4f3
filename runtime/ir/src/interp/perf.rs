//! A symbol map of generated code for Linux `perf`: `/tmp/perf-PID.map`, a line for each block, appended as blocks are made.
//!
//! Source: tools/perf/Documentation/jit-interface.txt of the Linux kernel. Code that took the place of other code has a later line.

use super::Engine;
use crate::guest::{BlockKey, Isa};
use rustc_hash::FxHashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// The map of this process. Engines share it.
#[derive(Debug)]
pub struct PerfMap(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: File,
    process: u32,
    /// Keys by which addresses are known that need no key in their name.
    keys: FxHashMap<u64, BlockKey>,
}

impl PerfMap {
    /// Creates the file, for nobody else to read. One that an ended process of the same number left is replaced.
    ///
    /// # Errors
    /// It cannot be created; or it is there and somebody else's.
    pub fn create() -> io::Result<Arc<PerfMap>> {
        Ok(Arc::new(PerfMap(Mutex::new(Inner::create()?))))
    }

    /// Where it is.
    pub fn path() -> PathBuf {
        format!("/tmp/perf-{}.map", std::process::id()).into()
    }

    fn add(&self, at: u64, len: u64, name: &dyn Fn(&mut Inner) -> String) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.process != std::process::id() {
            // The child of a fork has a map of its own.
            match Inner::create() {
                Ok(own) => *inner = own,
                Err(_) => return,
            }
        }
        let name = name(&mut inner);
        // A profile that lacks names is no reason to stop.
        _ = inner.file.write_all(format!("{at:x} {len:x} {name}\n").as_bytes());
    }
}

impl Inner {
    fn create() -> io::Result<Inner> {
        let mut options = OpenOptions::new();
        // Never what is there already, nor what a link points to.
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let open = || options.open(PerfMap::path());
        let file = open().or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => std::fs::remove_file(PerfMap::path()).and_then(|()| open()),
            _ => Err(error),
        })?;
        Ok(Inner { file, process: std::process::id(), keys: FxHashMap::default() })
    }
}

impl<I: Isa> Engine<I> {
    /// From now on the quick tier's code is entered into this map.
    pub fn set_perf_map(&mut self, map: &Arc<PerfMap>) {
        self.perf_map = Some(map.clone());
        self.note_stubs();
    }

    /// Enters the pieces that all blocks share.
    pub(super) fn note_stubs(&self) {
        let (Some(map), Some(quick)) = (&self.perf_map, &self.quick) else { return };
        let stubs = quick.stubs();
        let ends = stubs.iter().skip(1).map(|(_, at)| *at).chain([quick.end()]);
        for ((name, at), end) in stubs.iter().zip(ends) {
            map.add(*at as u64, (end - at) as u64, &|_| format!("{}:{name}", self.cx.isa.name()));
        }
    }

    /// Enters a block just made: `arm:0xc0008000`, with its key if the address is known with another.
    pub(super) fn note_block(&self, native: u64, pc: u64, key: BlockKey) {
        self.note(native, &|inner| {
            let name = format!("{}:{pc:#010x}", self.cx.isa.name());
            if *inner.keys.entry(pc).or_insert(key) == key { name } else { format!("{name}/{:x}", key.0) }
        });
    }

    /// Enters the entry of an exception just made.
    pub(super) fn note_exception(&self, native: u64, id: u16) {
        self.note(native, &|_| format!("{}:{}", self.cx.isa.name(), self.cx.isa.exception_name(id)));
    }

    /// Enters a region just made: `arm:0xc0008000 region`.
    pub(super) fn note_region(&self, native: u64, pc: u64) {
        self.note(native, &|_| format!("{}:{pc:#010x} region", self.cx.isa.name()));
    }

    fn note(&self, native: u64, name: &dyn Fn(&mut Inner) -> String) {
        if let (Some(map), Some(quick), true) = (&self.perf_map, &self.quick, native != 0) {
            map.add(native, quick.end() as u64 - native, name);
        }
    }
}

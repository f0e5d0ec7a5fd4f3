//! `--code-cache`: where translations outlive the process, and for whom they are.

use emu_store::{Identity, Reserve, Store};
use object::Object;
use object::read::ReadCache;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Opens the directory. One that is not used is no reason to stop: everything is made anew then.
pub fn open(path: &Path, reserve: Reserve) -> Option<Arc<Store>> {
    let warn = |e: &dyn std::fmt::Display| eprintln!("warning: --code-cache: {e}");
    let identity = identity().inspect_err(|e| warn(e)).ok()?;
    Store::open(path, identity, reserve).inspect_err(|e| warn(e)).ok().map(Arc::new)
}

/// Translations are for this very build, which has the specifications in it, on a CPU with the same features.
fn identity() -> io::Result<Identity> {
    let exe = File::open("/proc/self/exe")?;
    let mut hasher = blake3::Hasher::new();
    let cache = ReadCache::new(&exe);
    let object = object::File::parse(&cache).map_err(io::Error::other)?;
    match object.build_id().map_err(io::Error::other)? {
        // The linker's hash of everything.
        Some(id) => _ = hasher.update(id),
        None => _ = hasher.update_reader(&exe)?,
    }
    for feature in emu_ir::interp::host_features() {
        hasher.update(feature.as_bytes()).update(&[0]);
    }
    Ok(*hasher.finalize().as_bytes())
}

//! What the tests of disk images share.

use emu_host::disk::Spec;
use emu_machine::backend::Disk;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that is gone afterwards.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_string()
    }
}

/// True, and says so, if QEMU's tools are missing.
pub fn no_qemu() -> bool {
    let missing = Command::new("qemu-img").arg("--version").output().is_err();
    if missing {
        eprintln!("qemu-img is not installed: not compared with it");
    }
    missing
}

fn run(arguments: &[&str]) -> Output {
    Command::new("qemu-img").args(arguments).output().unwrap()
}

/// `qemu-img`, which must not fail.
pub fn qemu(arguments: &[&str]) {
    if no_qemu() {
        return;
    }
    let output = run(arguments);
    assert!(output.status.success(), "qemu-img {arguments:?}: {output:?}");
}

/// `qemu-img`, which must fail; what it says.
pub fn qemu_fails(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "qemu-img {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A disk by its image and more options.
pub fn spec(path: &Path, more: &str) -> Spec {
    format!("{}{more}", path.display()).parse().unwrap()
}

/// A file that was not there.
pub fn new(path: &Path) -> File {
    File::options().read(true).write(true).create_new(true).open(path).unwrap()
}

pub fn rw(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

/// Bytes that look random, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(step).take(len).collect()
}

/// All of a disk.
pub fn contents(disk: &mut dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    for (n, chunk) in bytes.chunks_mut(1_000_000).enumerate() {
        disk.read(n as u64 * 1_000_000, chunk).unwrap();
    }
    bytes
}

//! Real guests for tests of the whole emulator.

#![allow(dead_code, reason = "each test uses what it needs")]

use emu::guest::Guest;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The suite may share two cores with a build.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The folder of shared guests, where it is.
pub fn shared() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("EMU_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let found = shared.join("guests/zynq7000/zImage-zynq").exists().then_some(shared);
    if found.is_none() {
        eprintln!("skipped: there are no guests (EMU_SHARED)");
    }
    found
}

/// Flags that boot Linux on the Zynq-7000, with these words more on its command line.
pub fn linux(shared: &Path, words: &str) -> Vec<String> {
    let file = |name: &str| shared.join("guests/zynq7000").join(name).to_string_lossy().into_owned();
    let (kernel, initrd) = (file("zImage-zynq"), file("initramfs-armhf.cpio.gz"));
    let append = format!("console=ttyPS0,115200 quiet nomod {words}");
    ["--board", "zynq7000", "--kernel", &kernel, "--initrd", &initrd, "--append", &append, "--no-reboot"].map(String::from).to_vec()
}

/// Linux, at its shell.
pub fn shell(shared: &Path, words: &str, flags: &[&str]) -> Guest {
    let mut guest = Guest::boot(linux(shared, words).into_iter().chain(flags.iter().map(|f| (*f).to_string()))).unwrap();
    guest.patience = PATIENCE;
    guest.never("Kernel panic");
    guest.wait_for("guest# ").unwrap();
    guest
}

/// The kernel with every driver of the Zynq-7000 (`tests/guests/zynq/kernel.sh`), where it is; its user land and device trees lie beside it.
pub fn zynq_full() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/zynq-full/zImage");
    let kernel = std::env::var_os("EMU_ZYNQ_KERNEL").map_or(built, PathBuf::from);
    let found = (kernel.exists() && kernel.with_file_name("initramfs.cpio.gz").exists()).then_some(kernel);
    if found.is_none() {
        eprintln!("skipped: there is no kernel of tests/guests/zynq/kernel.sh with the initramfs of initramfs.sh (EMU_ZYNQ_KERNEL)");
    }
    found
}

/// Linux with every driver on this board, at its shell.
pub fn full_shell(kernel: &Path, board: &str, flags: &[&str]) -> Guest {
    let file = |path: &Path| path.to_string_lossy().into_owned();
    let (kernel, initrd) = (file(kernel), file(&kernel.with_file_name("initramfs.cpio.gz")));
    let boot = ["--board", board, "--kernel", &kernel, "--initrd", &initrd, "--append", "console=ttyPS0,115200 quiet", "--no-reboot"];
    let mut guest = Guest::boot(boot.iter().chain(flags).copied()).unwrap();
    guest.patience = PATIENCE;
    guest.never("Kernel panic");
    guest.wait_for("guest# ").unwrap();
    guest
}

/// Runs a command that must succeed; what it printed.
pub fn sh(guest: &mut Guest, command: &str) -> String {
    let printed = guest.sh(command).unwrap();
    assert_eq!(printed.status, 0, "{command}: {}", printed.text);
    printed.text
}

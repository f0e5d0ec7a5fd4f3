//! Linux's driver of the DMA controller, and its own test of it. Skipped where there is no kernel with DMATEST.

#[path = "common/mod.rs"]
mod common;

use common::{PATIENCE, sh, shared};
use emu::guest::Guest;
use std::path::{Path, PathBuf};

/// A kernel with everything built in, where it is.
fn kernel() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/zynq-full/zImage");
    let path = std::env::var_os("EMU_ZYNQ_KERNEL").map_or(built, PathBuf::from);
    let found = path.exists().then_some(path);
    if found.is_none() {
        eprintln!("skipped: there is no kernel with all drivers (EMU_ZYNQ_KERNEL)");
    }
    found
}

/// Runs the kernel's test; the lines that count what went well and what did not.
fn dmatest(guest: &mut Guest, parameters: &[(&str, &str)]) -> Vec<String> {
    sh(guest, "dmesg -c >/dev/null");
    for (name, value) in parameters {
        sh(guest, &format!("echo {value} > /sys/module/dmatest/parameters/{name}"));
    }
    // `wait` comes back at once while none of the threads has begun.
    sh(guest, "cd /sys/module/dmatest/parameters && echo 1 > run && sleep 1 && cat wait >/dev/null && echo 0 > run");
    sh(guest, "dmesg | grep summary").lines().map(str::to_string).collect()
}

#[test]
fn linux_copies_and_compares() {
    let (Some(shared), Some(kernel)) = (shared(), kernel()) else { return };
    let initrd = shared.join("guests/zynq7000/initramfs-armhf.cpio.gz").to_string_lossy().into_owned();
    let append = "console=ttyPS0,115200 quiet nomod";
    let flags = ["--board", "zynq7000", "--kernel", &kernel.to_string_lossy(), "--initrd", &initrd, "--append", append, "--no-reboot"];
    let mut guest = Guest::boot(flags).unwrap();
    guest.patience = PATIENCE;
    guest.never("Kernel panic");
    guest.wait_for("guest# ").unwrap();
    let bound = sh(&mut guest, "dmesg | grep dma-pl330");
    assert!(bound.contains("Loaded driver for PL330 DMAC") && bound.contains("Num_Chans-8 Num_Peri-4 Num_Events-16"), "{bound}");
    // Bytes, alignments and lengths at random, then large ones; each compares every byte.
    for (threads, size, iterations) in [("1", "16384", "50"), ("4", "16384", "30"), ("1", "1048576", "5")] {
        // The last of them takes the channels.
        let parameters = [
            ("timeout", "20000"),
            ("iterations", iterations),
            ("max_channels", "8"),
            ("threads_per_chan", threads),
            ("test_buf_size", size),
            ("channel", ""),
        ];
        let lines = dmatest(&mut guest, &parameters);
        assert_eq!(lines.len(), 8 * threads.parse::<usize>().unwrap());
        for line in lines {
            assert!(line.contains(&format!("{iterations} tests, 0 failures")), "{line}");
        }
    }
    let interrupts = sh(&mut guest, "grep f8003000 /proc/interrupts");
    assert_eq!(interrupts.lines().count(), 9);
}

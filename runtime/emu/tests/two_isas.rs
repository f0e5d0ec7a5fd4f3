//! CPUs of two instruction sets on one bus: `boards/zynq7000-mb.kdl`.

#[path = "common/mod.rs"]
mod common;

use common::{full_shell, sh, zynq_full};
use emu::guest::Guest;

#[test]
fn they_exchange_messages_by_interrupts() {
    for jit in ["off", "quick", "full"] {
        for time in ["realtime", "deterministic"] {
            let mut guest = Guest::boot(["--board", "zynq7000-mb", "--jit", jit, "--time", time]).unwrap();
            guest.patience = common::PATIENCE;
            guest.wait_for("1000 answers of the MicroBlaze are right").unwrap();
        }
    }
}

/// The same with Linux on the ARM CPUs, whose device tree does not know the MicroBlaze.
#[test]
fn linux_asks_the_microblaze() {
    let Some(kernel) = zynq_full() else { return };
    let mut guest = full_shell(&kernel, "zynq7000-mb", &[]);
    assert_eq!(sh(&mut guest, "nproc"), "2");
    sh(&mut guest, "devmem 0xf8000008 32 0xdf0d; devmem 0xf8000240 32 0; devmem 0x40008000 32 14; devmem 0x41200000 32 1");
    assert_eq!(sh(&mut guest, "sleep 1; devmem 0x40008004"), "0x0000002B");
    assert_eq!(sh(&mut guest, "devmem 0x41210000"), "0x00000001", "it rang");
}

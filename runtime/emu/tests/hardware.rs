//! The Zynq-7000's controllers as Linux's own drivers see them, with the kernel and the programs of `tests/guests/zynq`. Skipped where they were not built.

#[path = "common/mod.rs"]
mod common;

use common::{full_shell, sh, zynq_full};

#[test]
fn general_purpose_lines_and_watchdog() {
    let Some(kernel) = zynq_full() else { return };
    let mut guest = full_shell(&kernel, "zynq7000", &[]);
    assert!(sh(&mut guest, "gpio 0 info").contains("\"zynq_gpio\" 118 lines"));
    assert!(sh(&mut guest, "gpio 0 set 7=1 9=0").contains("set"));
    // Fed three times as long as it waits, then stopped: the machine is still there after another wait.
    let fed = sh(&mut guest, "wdt /dev/watchdog0 timeout=2 feed=6 stop && sleep 3");
    assert!(fed.contains("timeout 2") && fed.contains("stopped"), "{fed}");
    assert_eq!(sh(&mut guest, "echo still here"), "still here");
    // What comes of one that is not fed: `watchdog.rs`.
}

//! An unfed watchdog reboots Linux, and the machine knows why it started again. Skipped where there are no guests.

#[path = "common/mod.rs"]
mod common;

use common::{PATIENCE, linux, sh, shared};
use emu::guest::Guest;

/// REBOOT_STATUS of the Zynq's SLCR: why the last reset was.
fn reason(guest: &mut Guest) -> u32 {
    let text = sh(guest, "devmem 0xf8000258");
    u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap() >> 16
}

#[test]
fn an_unfed_watchdog_reboots_linux() {
    let Some(shared) = shared() else { return };
    let mut guest = Guest::boot(linux(&shared, "").into_iter().filter(|flag| flag != "--no-reboot")).unwrap();
    guest.patience = PATIENCE;
    guest.never("Kernel panic");
    guest.wait_for("guest# ").unwrap();
    assert_eq!(reason(&mut guest), 1 << 6, "POR");
    // Fed, it does nothing; then nobody feeds it, and after two seconds it bites.
    assert_eq!(sh(&mut guest, "watchdog -T 2 -t 1 /dev/watchdog; sleep 5; echo alive; killall watchdog"), "alive");
    guest.type_in("exec 9> /dev/watchdog\n");
    guest.wait_for("GUEST-UP").unwrap();
    guest.wait_for("guest# ").unwrap();
    assert_eq!(reason(&mut guest), 1, "SWDT_RST");
    // A reboot that Linux wants is another reason.
    guest.type_in("reboot -f\n");
    guest.wait_for("GUEST-UP").unwrap();
    guest.wait_for("guest# ").unwrap();
    assert_eq!(reason(&mut guest), 1 << 3, "SLC_RST");
}

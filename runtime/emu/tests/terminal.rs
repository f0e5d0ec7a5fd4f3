//! The program as a user at a terminal sees it: a pseudo-terminal, keys, and what appears.

mod pty;

use pty::Terminal;
use std::path::PathBuf;

#[test]
fn the_demo_s_monitor_answers() {
    let mut t = Terminal::start(&["--board", "boards/zynq7000.kdl"]);
    t.expect("emu demo: zynq7000 ready");
    t.type_in("primes 1000\r");
    t.expect("168 primes up to 1000");
    t.type_in("poke 0x200000 0x1234abcd\rmd 0x200000 4\r");
    t.expect("00200000: 1234abcd");
    t.type_in("peek 0x50000000\r");
    t.expect("fault: nothing answers there");
    t.type_in("reboot\r");
    t.expect("emu demo: zynq7000 ready");
    t.quit();
}

#[test]
fn a_linux_shell_works_powers_off_and_reboots() {
    let shared =
        std::env::var_os("EMU_SHARED").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let guest = shared.join("guests/zynq7000");
    if !guest.join("zImage-zynq").exists() {
        eprintln!("skipped: no kernel in {}", guest.display());
        return;
    }
    let file = |name: &str| guest.join(name).to_string_lossy().into_owned();
    let (kernel, dtb, initrd) = (file("zImage-zynq"), file("zynq-zc702.dtb"), file("initramfs-armhf.cpio.gz"));
    let arguments = ["--board", "zynq7000", "--kernel", &kernel, "--dtb", &dtb, "--initrd", &initrd, "--append", "console=ttyPS0,115200"];
    let mut t = Terminal::start(&arguments);
    t.expect("GUEST-SHELL");
    assert!(t.shell("ls /").contains("proc"));
    let interrupts = t.shell("cat /proc/interrupts");
    assert!(interrupts.contains("CPU1") && interrupts.contains("xuartps"), "{interrupts}");
    let log = t.shell("dmesg");
    assert!(log.contains("SMP: Total of 2 processors activated"), "{log}");
    for bad in ["Unhandled fault", "Oops", "BUG:", "WARNING:", "rcu_sched detected", "nobody cared"] {
        assert!(!log.contains(bad), "{bad} in:\n{log}");
    }
    t.type_in("reboot -f\n");
    t.expect("Booting Linux on physical CPU 0x0");
    t.expect("GUEST-SHELL");
    // The kernel has no way to power the board off: it halts, and the CPUs spin until the user leaves.
    t.type_in("poweroff -f\n");
    t.expect("reboot: System halted");
    t.quit();
}

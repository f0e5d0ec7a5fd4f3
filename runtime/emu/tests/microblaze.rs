//! The MicroBlaze boards: their demo firmware, code in flash, and what Linux finds.

#[path = "common/mod.rs"]
mod common;

use common::{PATIENCE, shared};
use emu::guest::Guest;

fn boot(arguments: &[&str]) -> Guest {
    let mut guest = Guest::boot(arguments.iter().copied()).unwrap();
    guest.patience = PATIENCE;
    guest
}

#[test]
fn the_demo_tests_every_board() {
    let big = ["--set=order=big", "--set=uart=16550", "--set=ram-at=0x90000000", "--set=hz=50000000", "--set=ram=16M", "--set=timers=3"];
    let small = ["--set=flash=#false", "--set=spi=#false", "--set=gpio=0", "--set=ram=1M"];
    for (board, flags, parts) in [
        ("petalogix-s3adsp1800", &[][..], &["flash   16 MiB ok", "gpio    lights count"][..]),
        ("petalogix-ml605", &[], &["flash   32 MiB ok"]),
        ("microblaze-soc", &[], &["flash   16 MiB ok", "gpio    lights count"]),
        ("microblaze-soc", &big, &["flash   16 MiB ok", "gpio    lights count"]),
        ("microblaze-soc", &small, &[]),
    ] {
        let mut guest = boot(&[&["--board", board], flags].concat());
        guest.never("bad");
        let said = guest.wait_for("emu demo: microblaze ready").unwrap();
        for part in ["memory  64 KiB ok", "timer   5 interrupts ok"].iter().chain(parts) {
            assert!(said.contains(part), "{board} {flags:?}: no {part} in {said}");
        }
        assert_eq!(said.matches("flash").count(), parts.len().min(1), "{board} {flags:?}");
        // It echoes what is typed.
        guest.type_in("heard\r");
        guest.wait_for("heard").unwrap();
    }
}

/// Code in the image of a flash: a letter to the serial port, a loop, another letter.
const MICROBLAZE: &str = "
        imm     -0x7c00         // UART Lite
        addik   r6, r0, 0
        addik   r5, r0, 0x58
        swi     r5, r6, 4
        addik   r7, r0, 10000
1:      addik   r7, r7, -1
        bnei    r7, 1b - .
        addik   r5, r0, 0x59
        swi     r5, r6, 4
        bri     0
";
const ARM: &str = "
        movw    r1, #0x1000     // UART 1
        movt    r1, #0xe000
        mov     r0, #0x14
        str     r0, [r1]
        mov     r0, #0x58
        str     r0, [r1, #0x30]
        movw    r2, #10000
1:      subs    r2, r2, #1
        bne     1b
        mov     r0, #0x59
        str     r0, [r1, #0x30]
2:      b       2b
";

#[test]
fn code_is_executed_in_flash() {
    let nor = "--add=device \"nor\" type=\"spansion,s29gl128p\" on=\"smc.nor0\"";
    for (tables, model, flags, code, jump) in [
        (
            emu_isa_microblaze::TABLES,
            "microblaze",
            &["--board=microblaze-soc", "--set=order=big"][..],
            MICROBLAZE,
            "imm -0x7a00\n brai 0x1000",
        ),
        (emu_isa_microblaze::TABLES, "microblazeel", &["--board=microblaze-soc"], MICROBLAZE, "imm -0x7a00\n brai 0x1000"),
        (emu_isa_arm::TABLES, "cortex-a9", &["--board=zynq7000", nor], ARM, "movw r0, #0x1000\n movt r0, #0xe200\n bx r0"),
    ] {
        let isa = emu_asm::Isa::from_json(tables).unwrap();
        let assemble = |text| emu_asm::source::assemble(&isa, &isa.setting(model), "test", text, 0, &[]).unwrap().bytes;
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.to_string_lossy().into_owned()
        };
        let drive = format!("--drive=nor={},format=raw", file("flash", &[&vec![0xff; 0x1000], &assemble(code)[..]].concat()));
        // The firmware only goes there.
        let firmware = format!("--firmware={}", file("jump", &assemble(jump)));
        for tier in ["--jit=off", "--jit=full"] {
            let mut guest = boot(&[flags, &[drive.as_str(), &firmware, tier]].concat());
            guest.wait_for("XY").unwrap();
        }
    }
}

/// Fast interrupts of the timer, whose level the CPU acknowledges by returning: nobody writes to IAR, and the vectors are all zeros.
const FAST: &str = "
start:  mfs     r20, rpc
        imm     -0x7e80         // interrupt controller
        addik   r7, r0, 0
        imm     -0x7c40         // timer
        addik   r8, r0, 0
        imm     -0x7c00         // UART Lite
        addik   r6, r0, 0
        addik   r5, r20, handler - start
        swi     r5, r7, 0x100   // IVAR0
        addik   r5, r0, 1
        swi     r5, r7, 0x20    // IMR
        swi     r5, r7, 0x08    // IER
        addik   r5, r0, 3
        swi     r5, r7, 0x1c    // MER
        addik   r9, r0, 0
        addik   r5, r0, 1000
        swi     r5, r8, 4
        addik   r5, r0, 0x20
        swi     r5, r8, 0
        addik   r5, r0, 0xd2
        swi     r5, r8, 0
        msrset  r0, 2
1:      addik   r5, r9, -5
        blti    r5, 1b - .
        msrclr  r0, 2
        lwi     r5, r7, 0x20
        addik   r5, r5, 0x43
        swi     r5, r6, 4
        bri     0
handler:
        lwi     r10, r8, 0
        swi     r10, r8, 0
        addik   r9, r9, 1
        addik   r10, r0, 0x46
        swi     r10, r6, 4
        rtid    r14, 0
        or      r0, r0, r0
";

#[test]
fn fast_interrupts_go_where_the_controller_says() {
    let isa = emu_asm::Isa::from_json(emu_isa_microblaze::TABLES).unwrap();
    let bytes = emu_asm::source::assemble(&isa, &isa.setting("microblazeel"), "fast", FAST, 0, &[]).unwrap().bytes;
    let folder = tempfile::tempdir().unwrap();
    let firmware = folder.path().join("fast");
    std::fs::write(&firmware, bytes).unwrap();
    let firmware = format!("--firmware={}", firmware.display());
    for tier in ["off", "full"] {
        let mut guest = boot(&["--board", "microblaze-soc", "--set=fast=#true", &firmware, "--jit", tier]);
        guest.wait_for("FFFFFD").unwrap();
    }
}

/// Linux on a board with a flash image, at its shell; `None` where there are no guests.
fn linux(board: &str, kernel: &str, order: &str, console: &str, more: &[&str]) -> Option<Guest> {
    let petalogix = shared()?.join("guests/petalogix");
    let file = |name: &str| petalogix.join(name).to_string_lossy().into_owned();
    let (kernel, initrd) = (file(kernel), file(&format!("initramfs-{order}.cpio.gz")));
    let append = format!("console={console}");
    let mut guest =
        boot(&[&["--board", board, "--kernel", &kernel, "--initrd", &initrd, "--append", &append, "--no-reboot"], more].concat());
    guest.never("Kernel panic");
    guest.wait_for("guest# ").unwrap();
    Some(guest)
}

#[test]
fn linux_sees_the_flash_and_reads_it() {
    let soc = ["--set=order=big", "--set=ram-at=0x90000000", "--set=uart=16550", "--set=timers=2"];
    for (board, kernel, order, console, flags, size) in [
        ("petalogix-s3adsp1800", "vmlinux-s3adsp1800", "microblaze", "ttyUL0", &[][..], 16 << 20),
        ("petalogix-ml605", "vmlinux-ml605", "microblazeel", "ttyS0", &[], 32 << 20),
        ("microblaze-soc", "vmlinux-ml605", "microblazeel", "ttyUL0", &[], 16 << 20),
        ("microblaze-soc", "vmlinux-s3adsp1800", "microblaze", "ttyS0", &soc, 16 << 20),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("flash");
        std::fs::write(&image, format!("what is in the flash of {board}\n")).unwrap();
        let name = if board == "microblaze-soc" { "nor" } else { "flash" };
        let drive = format!("--drive={name}={},format=raw", image.display());
        let Some(mut guest) = linux(board, kernel, order, console, &[&[drive.as_str()], flags].concat()) else { return };
        guest.type_in("cat /proc/mtd\n");
        let mtd = guest.wait_for("guest# ").unwrap();
        assert!(mtd.contains(&format!("mtd0: {size:08x} 00020000")), "{board}: {mtd}");
        // Its end is far away.
        guest.type_in("cat /dev/mtd0\n");
        guest.wait_for(&format!("what is in the flash of {board}")).unwrap();
    }
}

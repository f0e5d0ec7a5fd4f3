//! The Zynq-7000 begins as on the board: a boot image of our own on every medium that the boot mode pins can name.

#[path = "common/mod.rs"]
mod common;

use emu::guest::Guest;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A program for the on-chip memory, whose last instructions lie `PAD` bytes behind its first: prints `TEXT` on the console, then goes on with `THEN`.
const PROGRAM: &str = "
        b       print
text:   .asciz  \"TEXT\"
        .space  PAD
        .balign 4
print:  ldr     r0, =0x400000
        ldr     r0, [r0]
        ldr     r1, =0x12345678
        cmp     r0, r1
        bne     then
        ldr     r1, =0xe0001000
        mov     r0, #0x14
        str     r0, [r1]
        ldr     r2, =text
1:      ldrb    r0, [r2], #1
        cmp     r0, #0
        beq     then
2:      ldr     r3, [r1, #0x2c]
        tst     r3, #0x10
        bne     2b
        str     r0, [r1, #0x30]
        b       1b
then:
THEN
3:      wfe
        b       3b
";

/// A boot image (UG585 table 6-5) of that program, which lies at 0.
fn image(text: &str, then: &str, pad: usize) -> Vec<u8> {
    let tables = emu_asm::Isa::from_json(emu_isa_arm::TABLES).unwrap();
    let source = PROGRAM.replace("PAD", &pad.to_string()).replace("THEN", then).replace("TEXT", text);
    let program = emu_asm::source::assemble(&tables, &tables.setting(""), "program", &source, 0, &[]).unwrap().bytes;
    let mut image = vec![0; 0x8c0];
    let mut put = |at: usize, value: u32| image[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(0x20, 0xaa99_5566);
    put(0x24, 0x584c_4e58);
    put(0x2c, 0x0101_0000);
    put(0x30, 0x8c0);
    put(0x34, program.len() as u32);
    put(0x40, program.len() as u32);
    put(0x44, 1);
    // Register initialisation: here a word of memory, without which the program prints nothing.
    put(0xa0, 0x0040_0000);
    put(0xa4, 0x1234_5678);
    put(0xa8, u32::MAX);
    seal(&mut image);
    image.extend(program);
    image
}

/// The header's checksum.
fn seal(image: &mut [u8]) {
    let sum = (0x20..0x48).step_by(4).fold(0u32, |sum, at| sum.wrapping_add(u32::from_le_bytes(image[at..at + 4].try_into().unwrap())));
    image[0x48..0x4c].copy_from_slice(&(!sum).to_le_bytes());
}

/// Boots what the mode finds on the drive, and waits for the text.
fn boots(mode: &str, drive: &str, bytes: &[u8], flags: &[&str], text: &str) -> Guest {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("medium");
    std::fs::write(&file, bytes).unwrap();
    let drive = format!("--drive={drive}={},format=raw,snapshot", file.display());
    let mode = format!("--set=boot-mode={mode}");
    let mut guest = Guest::boot(["--board", "zynq7000", &mode, &drive].iter().chain(flags)).unwrap();
    guest.patience = common::PATIENCE;
    guest.wait_for(text).unwrap();
    guest
}

/// A flash with nothing but these in it.
fn flash(size: usize, contents: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0xff; size];
    for (at, part) in contents {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

#[test]
fn qspi() {
    let program = image("from the first", "", 0);
    boots("qspi", "qspi-flash", &flash(16 << 20, &[(0, &program)]), &[], "from the first");
    // A header that was cut off while it was written, then a sound one.
    let mut broken = program.clone();
    broken[0x34] ^= 4;
    let golden = image("from the golden one", "", 0);
    boots("qspi", "qspi-flash", &flash(16 << 20, &[(0, &broken), (5 << 15, &golden)]), &[], "from the golden one");
}

/// A program names the image that the next start begins with.
#[test]
fn multiboot() {
    let then = "
        ldr     r0, =0xf800702c
        mov     r2, #3
        str     r2, [r0]
        ldr     r0, =0xf8000000
        ldr     r2, =0xdf0d
        str     r2, [r0, #8]
        mov     r2, #1
        str     r2, [r0, #0x200]";
    let (first, second) = (image("one", then, 0), image("two", "", 0));
    let mut guest = boots("qspi", "qspi-flash", &flash(16 << 20, &[(0, &first), (3 << 15, &second)]), &[], "one");
    guest.wait_for("two").unwrap();
}

#[test]
fn nor() {
    let add = ["--add=device \"nor\" type=\"intel,28f128j3\" on=\"smc.nor0\""];
    boots("nor", "nor", &flash(16 << 20, &[(1 << 20, &image("from NOR", "", 0))]), &add, "from NOR");
}

#[test]
fn nand() {
    const STRIDE: usize = 2048 + 64;
    // More than a block, and the second block is bad.
    let program = image("from NAND", "", 150_000);
    let mut bytes = vec![0xff; 1024 * 64 * STRIDE];
    for (number, page) in program.chunks(2048).enumerate() {
        let number = if number < 64 { number } else { number + 64 };
        bytes[number * STRIDE..][..page.len()].copy_from_slice(page);
    }
    bytes[64 * STRIDE + 2048] = 0;
    boots("nand", "nand", &bytes, &["--set=nand.type=winbond,w29n01hv"], "from NAND");
    // A chip whose rows have three address cycles.
    bytes.resize(2048 * 64 * STRIDE, 0xff);
    boots("nand", "nand", &bytes, &["--set=nand.type=micron,mt29f2g08abaea"], "from NAND");
}

/// Files on a card with one partition.
fn files(kind: fatfs::FatType, sectors: u32, start: u32, write: impl FnOnce(&fatfs::Dir<'_, &mut Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; sectors as usize * 512]);
    fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new().fat_type(kind).bytes_per_cluster(512)).unwrap();
    let volume = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
    write(&volume.root_dir());
    volume.unmount().unwrap();
    let mut bytes = vec![0; start as usize * 512];
    if start > 0 {
        bytes[0x1c2] = 0x0c;
        bytes[0x1c6..0x1ca].copy_from_slice(&start.to_le_bytes());
        bytes[0x1ca..0x1ce].copy_from_slice(&sectors.to_le_bytes());
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    }
    bytes.extend(disk.into_inner());
    bytes
}

/// A card with BOOT.BIN behind another file, and in pieces.
fn card(kind: fatfs::FatType, sectors: u32, start: u32, boot: &[u8]) -> Vec<u8> {
    files(kind, sectors, start, |root| {
        for n in 0..40 {
            root.create_file(&format!("a long name of file {n}.text")).unwrap().write_all(&[n; 700]).unwrap();
        }
        let (half, rest) = boot.split_at(boot.len() / 1024 * 512);
        let mut file = root.create_file("BOOT.BIN").unwrap();
        file.write_all(half).unwrap();
        root.create_file("between").unwrap().write_all(&[1; 5000]).unwrap();
        root.remove("a long name of file 7.text").unwrap();
        file.write_all(rest).unwrap();
    })
}

#[test]
fn sd() {
    let program = image("from a card", "", 50_000);
    boots("sd", "sdio0", &card(fatfs::FatType::Fat16, 30_000, 63, &program), &[], "from a card");
    boots("sd", "sdio0", &card(fatfs::FatType::Fat32, 80_000, 2048, &program), &[], "from a card");
    // Without partitions, and a card that is addressed in blocks.
    let mut large = card(fatfs::FatType::Fat32, 80_000, 0, &program);
    boots("sd", "sdio0", &large, &[], "from a card");
    large.resize(3 << 30, 0);
    boots("sd", "sdio0", &large, &[], "from a card");
}

/// REBOOT_STATUS when the ROM has given up.
fn fails(mode: &str, medium: Option<(&str, &Path)>) -> String {
    let drive = medium.map(|(drive, file)| format!("--drive={drive}={},format=raw,snapshot", file.display()));
    let mut child = Command::new(env!("CARGO_BIN_EXE_emu"))
        .args(["--board", "zynq7000", "--set", &format!("boot-mode={mode}"), "--monitor", "stdio", "--timeout", "60"])
        .args(drive)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut lines =
        BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).filter(|line| line.contains("REBOOT_STATUS"));
    let status = loop {
        writeln!(keys, "slcr.REBOOT_STATUS").unwrap();
        let line = lines.next().unwrap();
        if !line.contains("BOOTROM_ERROR_CODE=0x0 ") && !line.ends_with("BOOTROM_ERROR_CODE=0") {
            break line;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    status
}

#[test]
fn what_cannot_boot_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let blank = file("blank", &vec![0xff; 16 << 20]);
    let mut encrypted = image("never", "", 0);
    encrypted[0x28..0x2c].copy_from_slice(&0xa5c3_c5a3u32.to_le_bytes());
    seal(&mut encrypted);
    let encrypted = file("encrypted", &flash(16 << 20, &[(0, &encrypted)]));
    let empty = file("empty", &card(fatfs::FatType::Fat16, 30_000, 63, b"no boot image"));
    for (mode, medium, code) in [
        ("qspi", Some(("qspi-flash", blank.as_path())), "200c"),
        ("qspi", Some(("qspi-flash", encrypted.as_path())), "2010"),
        ("sd", None, "2005"),
        ("sd", Some(("sdio0", blank.as_path())), "2005"),
        ("sd", Some(("sdio0", empty.as_path())), "2006"),
    ] {
        let said = fails(mode, medium);
        assert!(said.contains(&format!("BOOTROM_ERROR_CODE=0x{code}")), "{mode}: {said}");
    }
}

/// The whole way of a board: boot image, U-Boot's first stage, U-Boot, and from the card Linux. Skipped without U-Boot (`tests/guests/zynq/u-boot.sh`).
#[test]
fn u_boot_starts_linux() {
    let (Some(kernel), Some(shared)) = (common::zynq_full(), common::shared()) else { return };
    let read = |path: &Path| std::fs::read(path).unwrap();
    let Ok(boot) = std::fs::read(kernel.with_file_name("boot.bin")) else { return eprintln!("skipped: no U-Boot") };
    let u_boot = read(&kernel.with_file_name("u-boot.img"));
    let config = "default linux\nlabel linux\nkernel /zImage\nfdt /board.dtb\ninitrd /root.gz\nappend console=ttyPS0,115200 quiet nomod\n";
    let card = files(fatfs::FatType::Fat32, 100_000, 2048, |root| {
        let write = |name: &str, bytes: &[u8]| root.create_file(name).unwrap().write_all(bytes).unwrap();
        write("BOOT.BIN", &boot);
        write("u-boot.img", &u_boot);
        root.create_dir("extlinux").unwrap().create_file("extlinux.conf").unwrap().write_all(config.as_bytes()).unwrap();
        let guest = |name: &str| read(&shared.join("guests/zynq7000").join(name));
        write("zImage", &guest("zImage-zynq"));
        write("board.dtb", &guest("zynq-zc702.dtb"));
        write("root.gz", &guest("initramfs-armhf.cpio.gz"));
    });
    let mut guest = boots("sd", "sdio0", &card, &["--set=ram=1G"], "U-Boot SPL");
    guest.wait_for("guest# ").unwrap();
    assert!(common::sh(&mut guest, "cat /proc/cmdline").contains("nomod"));
    // From flash, to U-Boot's own prompt.
    let mut guest = boots("qspi", "qspi-flash", &flash(16 << 20, &[(0, &boot), (1 << 20, &u_boot)]), &["--set=ram=1G"], "Hit any key");
    guest.type_in("\n");
    guest.wait_for("Zynq> ").unwrap();
    guest.type_in("sf probe && sf read 1000000 0 100 && md.l 1000020 2\n");
    guest.wait_for("aa995566 584c4e58").unwrap();
}

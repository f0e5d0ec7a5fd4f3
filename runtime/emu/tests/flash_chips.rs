//! Flash chips as Linux sees them, through its own drivers. Skipped where there is no kernel with all of them (`tests/guests/zynq`).

#[path = "common/mod.rs"]
mod common;

use common::{full_shell, sh, zynq_full};

/// A byte that tells where it lies.
fn pattern(n: u32) -> Vec<u8> {
    (0..n).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
}

/// What Linux writes is in the image, what was in the image Linux reads.
fn write_and_read(board: &str, slot: &str, device: &str, size: usize, name: &str) {
    let Some(kernel) = zynq_full() else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("flash");
    let mut bytes = pattern(3 << 20);
    std::fs::write(&image, &bytes).unwrap();
    std::fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(size as u64).unwrap();
    bytes.resize(size, 0);
    let drive = format!("--drive={slot}={},format=raw", image.display());
    let mut guest = full_shell(&kernel, board, &[&drive, &format!("--set={slot}.time-percent=1")]);
    let mtd = sh(&mut guest, "cat /proc/mtd");
    assert!(mtd.contains(&format!("{device}: {size:08x} ")) && mtd.contains(name), "{mtd}");
    // In small transfers: the driver of the controller gives each no more time than a wire would need and 200 ms.
    let sum = sh(&mut guest, &format!("dd if=/dev/{device} bs=4k count=768 2>/dev/null | md5sum"));
    std::fs::write(folder.path().join("part"), &bytes[..3 << 20]).unwrap();
    let host = std::process::Command::new("md5sum").arg(folder.path().join("part")).output().unwrap();
    assert_eq!(sum[..32], String::from_utf8_lossy(&host.stdout)[..32]);
    // Erase, write, read back, by the character device.
    sh(&mut guest, &format!("mtd /dev/{device} erase 1M 128K && mtd /dev/{device} blank 1M 128K"));
    sh(&mut guest, "dd if=/dev/urandom of=/tmp/new bs=64k count=1 2>/dev/null");
    sh(&mut guest, &format!("mtd /dev/{device} write 1M /tmp/new && mtd /dev/{device} read 1M 64K | cmp - /tmp/new"));
    let sum = sh(&mut guest, "md5sum /tmp/new");
    drop(guest);
    let now = std::fs::read(&image).unwrap();
    std::fs::write(folder.path().join("part"), &now[1 << 20..][..64 << 10]).unwrap();
    let host = std::process::Command::new("md5sum").arg(folder.path().join("part")).output().unwrap();
    assert_eq!(sum[..32], String::from_utf8_lossy(&host.stdout)[..32]);
    assert!(now[(1 << 20) + (64 << 10)..][..64 << 10].iter().all(|b| *b == 0xff), "erased");
    assert!(now.len() == size && now[..1 << 20] == bytes[..1 << 20] && now[(1 << 20) + (128 << 10)..] == bytes[(1 << 20) + (128 << 10)..]);
}

#[test]
fn micron_on_the_quad_controller() {
    write_and_read("zc702", "qspi-flash", "mtd0", 16 << 20, "spi");
}

#[test]
fn spansion_on_the_quad_controller() {
    // Not the ZedBoard's S25FL256S: Linux 6.1 does not bind it ("can't select read settings").
    write_and_read("zybo", "qspi-flash", "mtd0", 16 << 20, "spi");
}

#[test]
fn micron_on_the_spi_controller() {
    write_and_read("zynq7000", "spi-flash", "mtd1", 16 << 20, "spi");
}

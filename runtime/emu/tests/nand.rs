//! Parallel flash as Linux sees it, through its own drivers of the PL353. Skipped where there is no kernel with all of them (`tests/guests/zynq`).

#[path = "common/mod.rs"]
mod common;

use common::{full_shell, sh, zynq_full};

const PAGE: usize = 2048;
const STRIDE: usize = 2048 + 64;
const BLOCK: usize = 64 * STRIDE;

/// The flash device of this name in `/proc/mtd`.
fn device(mtd: &str, name: &str) -> String {
    let line = mtd.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in\n{mtd}"));
    line.split(':').next().unwrap_or_default().to_string()
}

#[test]
fn linux_reads_and_writes_nand() {
    let Some(kernel) = zynq_full() else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("nand");
    std::fs::write(&image, vec![0xff; 2048 * BLOCK]).unwrap();
    let drive = format!("--drive=nand={},format=raw", image.display());
    let mut guest = full_shell(&kernel, "zynq7000", &[&drive, "--set=nand.time-percent=1", "--set=nand.bad-blocks=7"]);
    let mtd = sh(&mut guest, "cat /proc/mtd");
    assert!(mtd.contains(" 10000000 ") && mtd.contains(" 00020000 "), "{mtd}");
    let nand = device(&mtd, "nand");
    let run = |guest: &mut _, command: &str| sh(guest, &format!("mtd /dev/{nand} {command}"));
    assert!(run(&mut guest, "info").contains("size 268435456 erasesize 131072 writesize 2048 oobsize 64"));
    let bad = run(&mut guest, "bad");
    assert!(bad.contains("bad 0xe0000\n"), "{bad}");
    // Erase, write, read back.
    assert!(run(&mut guest, "test 4M 256K").contains("mtd test ok"));
    run(&mut guest, "fill 6M 128K 3");
    assert_eq!(run(&mut guest, "verify 6M 128K 3"), "same");
    let ecc = run(&mut guest, "ecc");
    assert!(ecc.contains("corrected 0 failed 0 "), "{ecc}");
    // One wrong bit is corrected, and counted; two in 512 bytes are only noticed.
    run(&mut guest, "flip 0x602345 6");
    assert_eq!(run(&mut guest, "verify 6M 128K 3"), "same");
    let ecc = run(&mut guest, "ecc");
    assert!(ecc.contains("corrected 1 failed 0 "), "{ecc}");
    run(&mut guest, "flip 0x602346 1");
    assert_ne!(guest.sh(&format!("mtd /dev/{nand} verify 6M 128K 3")).unwrap().status, 0);
    assert!(!run(&mut guest, "ecc").contains("failed 0 "));
    // A file of known contents, for below.
    sh(&mut guest, "i=0; while [ $i -lt 4096 ]; do echo line $i; i=$((i+1)); done > /tmp/text");
    run(&mut guest, "erase 8M 128K");
    run(&mut guest, "write 8M /tmp/text");
    drop(guest);
    let bytes = std::fs::read(&image).unwrap();
    let text: Vec<u8> = (0..4096).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
    let block = &bytes[64 * BLOCK..65 * BLOCK];
    let data: Vec<u8> = block.chunks(STRIDE).flat_map(|page| page[..PAGE].to_vec()).collect();
    assert!(data[..text.len()] == text && data[text.len()..text.len() + 100].iter().all(|b| *b == 0xff));
}

/// A bit of the image that is wrong is corrected.
#[test]
fn linux_corrects_an_image() {
    let Some(kernel) = zynq_full() else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("nand");
    std::fs::write(&image, vec![0xff; 2048 * BLOCK]).unwrap();
    let drive = format!("--drive=nand={},format=raw", image.display());
    let flags = [drive.as_str(), "--set=nand.time-percent=1"];
    let mut guest = full_shell(&kernel, "zynq7000", &flags);
    let nand = device(&sh(&mut guest, "cat /proc/mtd"), "nand");
    sh(&mut guest, &format!("mtd /dev/{nand} fill 1M 128K 5"));
    drop(guest);
    let mut bytes = std::fs::read(&image).unwrap();
    for page in 0..64 {
        bytes[8 * BLOCK + page * STRIDE + 31 * page] ^= 1 << (page % 8);
    }
    std::fs::write(&image, bytes).unwrap();
    let mut guest = full_shell(&kernel, "zynq7000", &flags);
    assert_eq!(sh(&mut guest, &format!("mtd /dev/{nand} verify 1M 128K 5")), "same");
    let ecc = sh(&mut guest, &format!("mtd /dev/{nand} ecc"));
    assert!(ecc.contains("corrected 64 failed 0 "), "{ecc}");
}

#[test]
fn ubifs_on_nand() {
    let Some(kernel) = zynq_full() else { return };
    let mut guest = full_shell(&kernel, "zynq7000", &["--set=nand.time-percent=0", "--set=nand.type=winbond,w29n01hv"]);
    let nand = device(&sh(&mut guest, "cat /proc/mtd"), "nand");
    let number = nand.trim_start_matches("mtd").to_string();
    sh(&mut guest, &format!("ubi attach {number} && ubi make 0 data && mkdir -p /mnt && mount -t ubifs ubi0:data /mnt"));
    sh(&mut guest, "dd if=/dev/urandom of=/mnt/file bs=64k count=64 2>/dev/null && md5sum /mnt/file > /tmp/sum && umount /mnt");
    sh(&mut guest, &format!("ubi detach 0 && ubi attach {number} && mount -t ubifs ubi0:data /mnt && md5sum -c /tmp/sum"));
    assert!(sh(&mut guest, &format!("mtd /dev/{nand} ecc")).contains("corrected 0 failed 0 "));
}

fn linux_uses_nor(chip: &str) {
    let Some(kernel) = zynq_full() else { return };
    // Linux's driver of the controller takes one kind of memory.
    let add = format!("--add=device \"nor\" type=\"{chip}\" on=\"smc.nor0\"; disable \"nand\"");
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("nor");
    std::fs::write(&image, vec![0xff; 16 << 20]).unwrap();
    let drive = format!("--drive=nor={},format=raw", image.display());
    let mut guest = full_shell(&kernel, "zynq7000", &[&add, &drive, "--set=nor.time-percent=1"]);
    let mtd = sh(&mut guest, "cat /proc/mtd");
    let nor = device(&mtd, "e2000000");
    assert!(mtd.contains(&format!("{nor}: 01000000 00020000")), "{mtd}");
    sh(&mut guest, &format!("mtd /dev/{nor} unlock 1M 256K; true"));
    let test = sh(&mut guest, &format!("mtd /dev/{nor} test 1M 256K && mtd /dev/{nor} fill 2M 128K 7 && mtd /dev/{nor} verify 2M 128K 7"));
    assert!(test.contains("mtd test ok") && test.ends_with("same"), "{test}");
    let sum = sh(&mut guest, &format!("dd if=/dev/{nor} bs=64k skip=32 count=2 2>/dev/null | md5sum"));
    drop(guest);
    std::fs::write(folder.path().join("part"), &std::fs::read(&image).unwrap()[2 << 20..][..128 << 10]).unwrap();
    let host = std::process::Command::new("md5sum").arg(folder.path().join("part")).output().unwrap();
    assert_eq!(sum[..32], String::from_utf8_lossy(&host.stdout)[..32]);
}

#[test]
fn intel_nor() {
    linux_uses_nor("intel,28f128j3");
}

#[test]
fn amd_nor() {
    linux_uses_nor("spansion,s29gl128p");
}

//! Linux on an SD card that is a qcow2 overlay, through the Zynq's SD controller. Skipped where there are no guests, or no `qemu-img`, `e2fsck` and
//! `fsck.fat`. `EMU_KILLS=N` says how often the emulator is killed (3 if it does not).

#[path = "common/mod.rs"]
mod common;

use common::{linux, sh, shared, shell};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).env("PATH", path()).output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// File system checkers are not in everybody's path.
fn path() -> String {
    format!("{}:/sbin:/usr/sbin", std::env::var("PATH").unwrap_or_default())
}

struct Card {
    folder: tempfile::TempDir,
}

impl Card {
    /// The shared card as a base, unpacked.
    fn new(shared: &Path) -> Option<Card> {
        for (program, args) in [("qemu-img", ["--version"]), ("e2fsck", ["-V"]), ("fsck.fat", ["--help"]), ("debugfs", ["-V"])] {
            if Command::new(program).args(args).env("PATH", path()).output().is_err() {
                eprintln!("skipped: there is no {program}");
                return None;
            }
        }
        let card = Card { folder: tempfile::tempdir().unwrap() };
        let xz = run("xz", &["-dkc", &shared.join("guests/media/sd.img.xz").to_string_lossy()]);
        assert!(xz.status.success());
        fs::write(card.file("base.img"), xz.stdout).unwrap();
        Some(card)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A new overlay; how to name it on the command line.
    fn overlay(&self) -> String {
        let overlay = self.file("card.qcow2");
        _ = fs::remove_file(&overlay);
        let made = Command::new(env!("CARGO_BIN_EXE_emu"))
            .args(["image", "create", "--format", "qcow2", "--backing", "base.img", "--backing-format", "raw", "card.qcow2"])
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        format!("sd0={},backing=allow", overlay.display())
    }

    /// QEMU's opinion of the overlay (`leaks`: lost clusters are forgiven), and its partitions, each in a file.
    fn partitions(&self, leaks: bool) -> [PathBuf; 2] {
        let (overlay, raw) = (self.file("card.qcow2"), self.file("card.raw"));
        let check = run("qemu-img", &["check", "-f", "qcow2", &overlay.to_string_lossy()]);
        let code = check.status.code();
        assert!(code == Some(0) || leaks && code == Some(3), "{code:?} {}", String::from_utf8_lossy(&check.stdout));
        assert!(
            run("qemu-img", &["convert", "-f", "qcow2", "-O", "raw", &overlay.to_string_lossy(), &raw.to_string_lossy()]).status.success()
        );
        let disk = fs::read(raw).unwrap();
        [0, 1].map(|n| {
            let entry = &disk[446 + 16 * n..][..16];
            let number = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()) as usize * 512;
            let file = self.file(&format!("partition{n}"));
            fs::write(&file, &disk[number(8)..][..number(12)]).unwrap();
            file
        })
    }
}

#[test]
fn linux_writes_to_an_overlay() {
    let Some((shared, card)) = shared().and_then(|s| Some((s.clone(), Card::new(&s)?))) else { return };
    let base = fs::read(card.file("base.img")).unwrap();
    let drive = card.overlay();
    let mut guest = shell(&shared, "", &["--drive", &drive]);
    sh(&mut guest, "until [ -e /dev/mmcblk0p2 ]; do usleep 10000; done");
    sh(&mut guest, "mkdir -p /a /b && mount -t vfat /dev/mmcblk0p1 /a && mount -t ext4 /dev/mmcblk0p2 /b");
    assert_eq!(sh(&mut guest, "md5sum < /b/data.bin | cut -c1-32"), "71649e9930dd1e122ba368d64e4cb641");
    let hash = sh(&mut guest, "dd if=/dev/urandom of=/tmp/new bs=1M count=10 2>/dev/null && sha256sum < /tmp/new | cut -c1-64");
    sh(&mut guest, "cp /tmp/new /b/new && rm /b/dir/f7 && cp /b/dir/f8 /a/copied && sync && umount /a /b && sync");
    guest.type_in("reboot -f\n");
    assert_eq!(guest.wait_end().unwrap(), 0);
    drop(guest);
    let [fat, ext4] = card.partitions(false);
    let clean = |program: &str, file: &Path| {
        let check = run(program, &[if program == "e2fsck" { "-fn" } else { "-n" }, &file.to_string_lossy()]);
        assert!(check.status.success(), "{program}: {}", String::from_utf8_lossy(&check.stdout));
    };
    clean("fsck.fat", &fat);
    clean("e2fsck", &ext4);
    let new = card.file("new");
    run("debugfs", &["-R", &format!("dump new {}", new.display()), &ext4.to_string_lossy()]);
    let sum = run("sha256sum", &[&new.to_string_lossy()]);
    assert_eq!(String::from_utf8_lossy(&sum.stdout)[..64], *hash);
    assert!(fs::read(card.file("base.img")).unwrap() == base, "the base is as it was");
}

#[test]
fn a_killed_emulator_leaves_a_whole_overlay() {
    let Some((shared, card)) = shared().and_then(|s| Some((s.clone(), Card::new(&s)?))) else { return };
    let kills = std::env::var("EMU_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    for round in 0..kills {
        let drive = card.overlay();
        let mut emulator = Command::new(env!("CARGO_BIN_EXE_emu"))
            .args(linux(&shared, ""))
            .args(["--drive", &drive, "--timeout", "240"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut keys = emulator.stdin.take().unwrap();
        let (mut screen, mut shown) = (emulator.stdout.take().unwrap(), Vec::new());
        let mut wait = |text: &str| {
            let mut bytes = [0; 4096];
            while !String::from_utf8_lossy(&shown).contains(text) {
                let n = screen.read(&mut bytes).unwrap();
                assert!(n > 0, "it ended: {}", String::from_utf8_lossy(&shown));
                shown.extend(&bytes[..n]);
            }
        };
        wait("guest# ");
        let script = "until [ -e /dev/mmcblk0p2 ]; do usleep 10000; done; mkdir -p /b; mount -t ext4 /dev/mmcblk0p2 /b && for i in $(seq 1 9999); do dd if=/dev/urandom of=/b/n$((i%7)) bs=64k count=16 2>/dev/null; \
                      sync; mv /b/n$((i%7)) /b/m$((i%5)); echo W\"\"ROTE $i; done\n";
        keys.write_all(script.as_bytes()).unwrap();
        wait("WROTE 2");
        std::thread::sleep(Duration::from_millis(50 + 137 * round % 700));
        emulator.kill().unwrap();
        emulator.wait().unwrap();
        let [_, ext4] = card.partitions(true);
        // 1: the journal was replayed, or something small mended; more would be damage.
        let replayed = run("e2fsck", &["-p", &ext4.to_string_lossy()]);
        assert!(matches!(replayed.status.code(), Some(0 | 1)), "round {round}: {}", String::from_utf8_lossy(&replayed.stdout));
        assert!(run("e2fsck", &["-fn", &ext4.to_string_lossy()]).status.success());
    }
}

#[test]
fn a_card_that_is_changed_is_another() {
    let Some(shared) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("card.raw");
    let file = fs::File::create(&disk).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(b"the first sector", 0).unwrap();
    let spec = format!("sd0={},format=raw,readonly", disk.display());
    let mut guest = shell(&shared, "", &["--drive", &spec]);
    sh(&mut guest, "until [ -e /dev/mmcblk0 ]; do usleep 10000; done");
    assert_eq!(sh(&mut guest, "cat /sys/block/mmcblk0/size"), "131072");
    assert_eq!(sh(&mut guest, "head -c 16 /dev/mmcblk0"), "the first sector");
    assert_eq!(sh(&mut guest, "cat /sys/block/mmcblk0/ro"), "1");
    assert_ne!(guest.sh("dd if=/dev/zero of=/dev/mmcblk0 bs=512 count=1 conv=fsync").unwrap().status, 0);
}

//! The Zynq-7000's controllers as Linux's own drivers see them, with the kernel and the programs of `tests/guests/zynq`. Skipped where they were not built.

#[path = "common/mod.rs"]
mod common;

use common::{full_shell, sh, zynq_full};
use emu::guest::Guest;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A file of the private network's router. In virtual time, which jumps while the guest waits, the client may be impatient.
fn get(guest: &mut Guest, name: &str) {
    sh(guest, &format!("until tftp -g -r {name} 10.0.2.2; do sleep 1; done"));
}

/// The first port, on a private network.
fn go_online(guest: &mut Guest) {
    sh(guest, "ifconfig eth0 up && udhcpc -n -q -t 20 -i eth0 -s /etc/udhcpc.sh >/dev/null 2>&1");
}

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

#[test]
fn an_emmc_is_partitioned_written_and_read() {
    let Some(kernel) = zynq_full() else { return };
    let folder = tempfile::tempdir().unwrap();
    // Above 2 GiB it counts sectors.
    for (size, sectors) in [(64 << 20, "131072"), ((2 << 30) + (64 << 20), "4325376")] {
        let image = folder.path().join("emmc");
        File::create(&image).unwrap().set_len(size).unwrap();
        let drive = format!("--drive=sd0={},format=raw", image.display());
        let mut guest = full_shell(&kernel, "zynq7000", &["--set=sdio0.card=emmc", &drive]);
        sh(&mut guest, "until [ -e /dev/mmcblk0 ]; do usleep 10000; done");
        assert_eq!(
            sh(&mut guest, "cd /sys/block/mmcblk0; cat size device/type device/name device/serial"),
            format!("{sectors}\nMMC\nEMUMMC\n0x00000001")
        );
        let ios = sh(&mut guest, "mkdir -p /d && mount -t debugfs d /d && cat /d/mmc0/ios");
        assert!(ios.contains("mmc high-speed") && ios.contains("4 bits") && ios.contains("actual clock:\t5"), "{ios}");
        // One partition, at the end of what there is.
        let last = size / 512 - 1;
        sh(&mut guest, &format!("printf 'n\\np\\n1\\n{}\\n{last}\\nw\\n' | fdisk -u /dev/mmcblk0", last - 65535));
        sh(
            &mut guest,
            "until [ -e /dev/mmcblk0p1 ]; do usleep 10000; done; mke2fs -q /dev/mmcblk0p1 && mkdir -p /a && mount -t ext4 /dev/mmcblk0p1 /a",
        );
        let sum = sh(&mut guest, "dd if=/dev/urandom of=/tmp/new bs=64k count=96 2>/dev/null; cp /tmp/new /a/new; md5sum < /tmp/new");
        sh(&mut guest, "sync; umount /a; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/mmcblk0p1 /a");
        assert_eq!(sh(&mut guest, "md5sum < /a/new"), sum);
        // What is trimmed reads as zeroes.
        sh(
            &mut guest,
            "umount /a; dd if=/tmp/new of=/dev/mmcblk0 bs=512 seek=64 count=64 conv=fsync 2>/dev/null && blkdiscard -o 36864 -l 8192 /dev/mmcblk0",
        );
        assert_eq!(sh(&mut guest, "dmesg | grep -iE 'mmc0.*(error|fail|timeout)' || echo none"), "none");
        guest.type_in("reboot -f\n");
        assert_eq!(guest.wait_end().unwrap(), 0);
        drop(guest);
        let file = File::open(&image).unwrap();
        let read = |at: u64, len: usize| {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, at).unwrap();
            bytes
        };
        assert_eq!(read(36864, 8192), vec![0; 8192]);
        assert_ne!(read(36864 - 512, 512), vec![0; 512]);
        let partition = folder.path().join("partition");
        fs::write(&partition, read(size - (32 << 20), 32 << 20)).unwrap();
        let path = format!("{}:/sbin:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let tool = |name: &str, flags: &[&str]| Command::new(name).args(flags).arg(&partition).env("PATH", &path).output();
        match tool("e2fsck", &["-fn"]) {
            Ok(out) => assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout)),
            Err(_) => eprintln!("not checked: there is no e2fsck"),
        }
        let copy = folder.path().join("new");
        if tool("debugfs", &["-R", &format!("dump new {}", copy.display())]).is_ok() {
            let host = Command::new("md5sum").arg(&copy).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&host.stdout)[..32], sum[..32]);
        }
    }
}

#[test]
fn frames_go_over_a_can_bus() {
    let Some(kernel) = zynq_full() else { return };
    let mut guest = full_shell(&kernel, "zynq7000", &["--net=can0=cable:can1"]);
    // In loopback the sender's own socket interface echoes a frame, and the controller receives it. Remote frames are left out: the driver writes two of
    // the four words that the manual wants of every frame.
    let looped = sh(
        &mut guest,
        "can can0 up 500000 loopback && { can can0 receive 4 50 & sleep 1; can can0 send 123#11 12345678#0102 && wait $!; }",
    );
    for frame in ["can0 123#11", "can0 12345678#0102"] {
        assert_eq!(looped.matches(frame).count(), 2, "{looped}");
    }
    sh(&mut guest, "can can0 up 250000 && can can1 up 250000");
    for (from, to) in [("can0", "can1"), ("can1", "can0")] {
        sh(
            &mut guest,
            &format!(
                "can {to} receive 300 100 > /tmp/got & sleep 1; \
            can {from} send $(i=0; while [ $i -lt 300 ]; do printf '%08x#%04x ' $((i*99999)) $((i*77%65536)); i=$((i+1)); done) && wait $!"
            ),
        );
        let got = sh(&mut guest, "cat /tmp/got");
        let wanted: String = (0..300).map(|i| format!("{to} {:08X}#{:04X}\n", i * 99_999, i * 77 % 65_536)).collect();
        assert_eq!(got, wanted + "received 300");
    }
    let state = sh(&mut guest, "can can0 state; can can1 state");
    assert_eq!(state.matches("state error-active\nerrors tx 0 rx 0\n").count(), 2, "{state}");
    assert_ne!(guest.sh("can can1 receive 1 1").unwrap().status, 0, "nobody says anything");
}

/// A bitstream for the device with this code, with so many words of configuration.
fn bitstream(idcode: u32, frames: u32) -> Vec<u8> {
    let mut words = vec![0xffff_ffff; 8];
    words.extend([0xbb, 0x1122_0044, 0xffff_ffff, 0xffff_ffff, 0xaa99_5566, 0x2000_0000, 0x3001_8001, idcode, 0x3000_8001, 1]);
    words.extend([0x3000_4000, 0x5000_0000 | frames]);
    words.extend((0..frames).map(|i| i.wrapping_mul(0x9e37_79b1)));
    words.extend([0x3000_8001, 13]);
    words.extend([0x2000_0000; 16]);
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

#[test]
fn an_overlay_programs_the_logic() {
    let Some(kernel) = zynq_full() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [("good", bitstream(0x0372_7093, 101_000)), ("other", bitstream(0x0372_2093, 101_000))] {
        fs::write(folder.path().join(name), bytes).unwrap();
        let source = folder.path().join("source");
        fs::write(&source, format!("/dts-v1/; /plugin/; &{{/fpga-full}} {{ firmware-name = \"{name}\"; }};")).unwrap();
        let overlay = folder.path().join(format!("{name}.dtbo"));
        if Command::new("dtc").args(["-q", "-I", "dts", "-O", "dtb", "-o"]).args([&overlay, &source]).status().is_err() {
            eprintln!("skipped: there is no dtc");
            return;
        }
    }
    let dtb = format!("--dtb={}", kernel.with_file_name("full.dtb").display());
    let net = format!("--net=net0=user,tftp={}", folder.path().display());
    let mut guest = full_shell(&kernel, "zc702", &[&dtb, &net]);
    go_online(&mut guest);
    sh(&mut guest, "mkdir -p /lib/firmware && cd /lib/firmware");
    ["good", "good.dtbo", "other", "other.dtbo"].iter().for_each(|name| get(&mut guest, name));
    let state = "cat /sys/class/fpga_manager/fpga0/state";
    assert_eq!(sh(&mut guest, state), "unknown");
    sh(&mut guest, "cat good.dtbo > /dev/overlay");
    assert_eq!(sh(&mut guest, state), "operating");
    // Only once: the kernel does not forget what it has taken back, and does not find it the next time.
    sh(&mut guest, "echo remove > /dev/overlay");
    // One for another device leaves INIT low: the driver takes no other until PROG_B has been low.
    assert_ne!(guest.sh("cat other.dtbo > /dev/overlay").unwrap().status, 0);
    assert_eq!(sh(&mut guest, state), "write complete error");
    let count = sh(&mut guest, "awk '/devcfg/ { print $2 + $3 }' /proc/interrupts");
    assert!(count.parse::<u32>().unwrap() >= 2, "{count}");
}

/// Twenty seconds, or `EMU_LOAD_SECONDS`, of the guest's time; `EMU_LOAD_FLAGS` are more flags for the emulator.
#[test]
fn everything_at_once() {
    let Some(kernel) = zynq_full() else { return };
    let seconds = std::env::var("EMU_LOAD_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(20);
    let folder = tempfile::tempdir().unwrap();
    let drive = |name: &str| {
        let image = folder.path().join(name);
        fs::write(&image, vec![0x5a; 64 << 20]).unwrap();
        format!("--drive={name}={},format=raw", image.display())
    };
    let tftp = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/zynq");
    let mut flags = vec![
        drive("sd0"),
        drive("sd1"),
        "--set=sdio1.card=emmc".into(),
        "--add=device \"stick\" type=\"usb-storage\" on=\"usb0\" at=1; wire \"gpio.out 80\" to=\"gpio.in 40\"".into(),
        drive("stick"),
        "--net=can0=cable:can1".into(),
        format!("--net=net0=user,tftp={},guestfwd=tcp:10.0.2.9:7-cmd:cat", tftp.display()),
        "--net=net1=user,net=10.0.3.0/24,guestfwd=tcp:10.0.3.9:7-cmd:cat".into(),
    ];
    flags.extend(["qspi-flash", "spi-flash", "nand"].map(|flash| format!("--set={flash}.time-percent=1")));
    // The time of a busy host is not the guest's, unless it is asked for.
    let more = std::env::var("EMU_LOAD_FLAGS").unwrap_or_else(|_| "--time=virtual".into());
    flags.extend(more.split_whitespace().map(String::from));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut guest = full_shell(&kernel, "zynq7000", &flags);
    go_online(&mut guest);
    sh(&mut guest, "ifconfig eth1 10.0.3.15 netmask 255.255.255.0 up; cd /tmp");
    get(&mut guest, "load.sh");
    guest.patience = Duration::from_secs(600 + 20 * seconds);
    let ran = guest.sh(&format!("sh load.sh {seconds}")).unwrap();
    println!("{}", ran.text);
    assert!(ran.status == 0 && ran.text.ends_with("all is well"), "{}", ran.text);
    let jobs = "can0 console cpu1 cpu2 dma eth0 eth1 gpio i2c mmcblk0 mmcblk1 mtd0 mtd1 mtd2 timer1 timer2 uart usb watchdog xadc";
    for job in jobs.split(' ') {
        assert!(ran.text.contains(&format!("\n{job} ")), "{job}: {}", ran.text);
    }
}

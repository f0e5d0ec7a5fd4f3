//! Linux's own USB drivers, through the Zynq's controller: a stick, a keyboard and pointers, a hub. Skipped where there is no kernel with those drivers.

#[path = "common/mod.rs"]
mod common;
mod socket;

use common::{full_shell, sh, shared, zynq_full};
use emu::guest::Guest;
use emu_machine::input::InputEvent;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The shared card's image, unpacked into this folder.
fn image(folder: &Path) -> Option<PathBuf> {
    let xz = Command::new("xz").arg("-dkc").arg(shared()?.join("guests/media/sd.img.xz")).output().ok()?;
    assert!(xz.status.success());
    let file = folder.join("stick.img");
    fs::write(&file, xz.stdout).unwrap();
    Some(file)
}

/// One of its partitions in a file of its own.
fn partition(image: &Path, n: usize) -> PathBuf {
    let disk = fs::read(image).unwrap();
    let number = |at: usize| u32::from_le_bytes(disk[446 + 16 * n + at..][..4].try_into().unwrap()) as usize * 512;
    let file = image.with_file_name(format!("partition{n}"));
    fs::write(&file, &disk[number(8)..][..number(12)]).unwrap();
    file
}

fn check(program: &str, flags: &[&str], file: &Path) {
    let path = format!("{}:/sbin:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    match Command::new(program).args(flags).arg(file).env("PATH", path).output() {
        Ok(out) => assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stdout)),
        Err(_) => eprintln!("not checked: there is no {program}"),
    }
}

fn monitor(socket: &mut UnixStream, command: &str) {
    writeln!(socket, "{command}").unwrap();
    let mut byte = [0];
    let mut text = vec![];
    while !text.ends_with(b"(emu) ") {
        socket.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
}

#[test]
fn a_stick_is_mounted_read_and_written() {
    let Some(kernel) = zynq_full() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(image) = image(folder.path()) else { return };
    let drive = format!("--drive=stick={}", image.display());
    let stick = "--add=device \"stick\" type=\"usb-storage\" on=\"usb0\" at=1 { set serial=\"0123456789AB\"; }";
    let mut guest = full_shell(&kernel, "zc702", &[stick, &drive]);
    sh(
        &mut guest,
        "until [ -e /dev/sda2 ]; do usleep 100000; done; mkdir -p /a /b; mount -t vfat /dev/sda1 /a; mount -t ext4 /dev/sda2 /b",
    );
    assert!(sh(&mut guest, "cat /sys/bus/usb/devices/1-1/serial /sys/bus/usb/devices/1-1/speed").ends_with("0123456789AB\n480"));
    for folder in ["/a", "/b"] {
        assert_eq!(sh(&mut guest, &format!("md5sum < {folder}/data.bin | cut -c1-32")), "71649e9930dd1e122ba368d64e4cb641");
    }
    let made = sh(
        &mut guest,
        "dd if=/dev/urandom of=/tmp/new bs=1M count=6 2>/dev/null; cp /tmp/new /a/n; cp /tmp/new /b/n; md5sum < /tmp/new | cut -c1-32",
    );
    sh(&mut guest, "sync; umount /a /b; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/sda2 /b; mount -t vfat /dev/sda1 /a");
    assert_eq!(sh(&mut guest, "cat /a/n | md5sum | cut -c1-32; cat /b/n | md5sum | cut -c1-32"), format!("{made}\n{made}"));
    sh(&mut guest, "umount /a /b");
    assert_eq!(sh(&mut guest, "dmesg | grep -c 'reset high-speed' || true"), "0");
    drop(guest);
    check("fsck.fat", &["-n"], &partition(&image, 0));
    check("e2fsck", &["-fn"], &partition(&image, 1));
}

#[test]
fn keys_and_pointers_arrive_through_a_hub_and_without_one() {
    let Some(kernel) = zynq_full() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("monitor");
    let parts = [
        "--add=device \"hub\" type=\"usb-hub\" on=\"usb0\" at=1",
        "--add=device \"keys\" type=\"usb-kbd\" on=\"hub\" at=2",
        "--add=device \"tablet\" type=\"usb-tablet\" on=\"hub\" at=4",
        "--add=device \"mouse\" type=\"usb-mouse\" on=\"usb1\" at=1",
    ];
    let monitors = format!("--monitor=unix:{},server", path.display());
    let mut guest = full_shell(&kernel, "zc702", &[&parts[..], &[&monitors]].concat());
    sh(&mut guest, "until [ $(grep -c 'emu USB' /proc/bus/input/devices) -ge 3 ]; do usleep 100000; done");
    let devices = sh(&mut guest, "cat /proc/bus/input/devices");
    for name in ["USB keyboard", "USB tablet", "USB mouse"] {
        assert!(devices.contains(&format!("Name=\"emu {name}\"")), "{devices}");
    }
    assert_eq!(
        sh(&mut guest, "cat /sys/bus/usb/devices/1-1.2/speed /sys/bus/usb/devices/1-1.4/speed /sys/bus/usb/devices/2-1/speed"),
        "1.5\n12\n1.5"
    );
    // The event device of each, by name.
    let event = "ev() { for e in /sys/class/input/event*; do grep -q \"$1\" $e/device/name && echo /dev/input/${e##*/}; done; }";
    sh(&mut guest, event);
    sh(&mut guest, "for n in keyboard tablet mouse; do cat $(ev $n) > /tmp/$n & done; sleep 1");
    let mut socket = socket::connect(&path);
    socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    monitor(&mut socket, "");
    for command in ["sendkey shift-a", "sendkey ret", "mouse_move 5 -7", "mouse_button 1", "mouse_button 0"] {
        monitor(&mut socket, command);
    }
    guest.handle().input(InputEvent::At { x: Some(0x1111), y: Some(0x2222) });
    // An event is 16 bytes: seconds, microseconds, type and code, value. Types: 1 keys, 2 relative, 3 absolute.
    let dump = |guest: &mut Guest, name: &str| {
        let words = r#"hexdump -v -e '8/2 "%d " "\n"'"#;
        sh(guest, &format!("sleep 1; {words} /tmp/{name} | cut -d' ' -f5-7 | grep -v '^[04] '"))
    };
    assert_eq!(dump(&mut guest, "keyboard"), "1 42 1\n1 30 1\n1 30 0\n1 42 0\n1 28 1\n1 28 0");
    assert_eq!(dump(&mut guest, "tablet"), "3 0 4369\n3 1 8738");
    let mouse = dump(&mut guest, "mouse");
    assert!(mouse.starts_with("2 0 5\n2 1 -7"), "{mouse}");
    assert!(mouse.ends_with("1 272 1\n1 272 0"), "{mouse}");
}

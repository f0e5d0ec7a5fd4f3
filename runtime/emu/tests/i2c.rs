//! Linux with the parts on the Zynq's I2C, and with lights and buttons on its GPIO. Skipped where the kernel is not.

#[path = "common/mod.rs"]
mod common;

use common::{full_shell, sh, shared, shell, zynq_full};
use emu::guest::Guest;
use std::time::Duration;

/// A register of a device, by its name and offset.
fn set(guest: &Guest, device: &'static str, offset: u64, size: u8, value: u64) {
    let write = move |machine: &mut emu_machine::Machine| {
        let device = machine.device_names().iter().position(|name| *name == device).unwrap();
        machine.write_register(device, 0, offset, size, value).unwrap();
    };
    guest.handle().call(write).unwrap();
}

fn get(guest: &Guest, device: &'static str) -> u64 {
    let read = move |machine: &mut emu_machine::Machine| {
        let device = machine.device_names().iter().position(|name| *name == device).unwrap();
        machine.read_register(device, 0, 0, 1).unwrap()
    };
    guest.handle().call(read).unwrap()
}

/// Fills an EEPROM through Linux, and reads it back after its driver has forgotten all of it.
fn fill(guest: &mut Guest, file: &str, size: usize) -> String {
    sh(guest, &format!("dd if=/dev/urandom of=/tmp/image bs={size} count=1 2>/dev/null && cat /tmp/image > {file}"));
    let wrote = sh(guest, "sha256sum < /tmp/image");
    assert_eq!(sh(guest, &format!("sha256sum < {file}")), wrote);
    // A few bytes in the middle of pages.
    sh(guest, &format!("printf hello | dd of={file} bs=1 seek=29 conv=notrunc 2>/dev/null"));
    assert_eq!(sh(guest, &format!("dd if={file} bs=1 skip=29 count=5 2>/dev/null")), "hello");
    sh(guest, &format!("dd if={file} bs=1 count=29 2>/dev/null | cmp -n 29 - /tmp/image"));
    sh(guest, &format!("sha256sum < {file}"))[..64].to_string()
}

#[test]
fn a_small_linux_has_an_eeprom() {
    let Some(shared) = shared() else { return };
    let mut guest = shell(&shared, "", &[]);
    fill(&mut guest, "/sys/bus/i2c/devices/0-0054/eeprom", 1024);
}

#[test]
fn linux_finds_the_parts_of_the_generic_board() {
    let Some(kernel) = zynq_full() else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("eeprom.bin");
    std::fs::write(&image, [0xff; 1024]).unwrap();
    let drive = format!("--drive=eeprom={}", image.display());
    let mut guest = full_shell(&kernel, "zynq7000", &[&drive, "--set=rtc.date=2024-02-28T23:58:00"]);
    // The multiplexer's channels are buses 2 to 9.
    let devices = sh(&mut guest, "ls /sys/bus/i2c/devices");
    let found: Vec<&str> = devices.split_whitespace().collect();
    for name in ["0-0048", "0-0054", "0-0074", "6-0051", "i2c-0", "i2c-1", "i2c-2", "i2c-9"] {
        assert!(found.contains(&name), "{name} is not in {devices}");
    }
    // EEPROM: what Linux wrote is in the file.
    let sum = fill(&mut guest, "/sys/bus/i2c/devices/0-0054/eeprom", 1024);
    std::fs::copy(&image, folder.path().join("copy")).unwrap();
    let host = std::process::Command::new("sha256sum").arg(&image).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&host.stdout)[..64], sum);
    // Temperature sensor.
    let input = "cat $(dirname $(grep -l lm75 /sys/class/hwmon/*/name))/temp1_input";
    assert_eq!(sh(&mut guest, input), "25000");
    set(&guest, "temp", 0x10, 8, (-10_500i64) as u64);
    sh(&mut guest, "sleep 2");
    assert_eq!(sh(&mut guest, input), "-10500");
    // The clock, by two ways; it is set and read; its alarm comes through GPIO.
    assert!(sh(&mut guest, "hwclock -r -u").contains("Feb 28 23:5"));
    assert_eq!(sh(&mut guest, "cat /sys/class/rtc/rtc0/date"), "2024-02-28");
    sh(&mut guest, "date -u -s '2031-12-31 23:59:40' >/dev/null && hwclock -w -u");
    assert_eq!(sh(&mut guest, "cat /sys/class/rtc/rtc0/date"), "2031-12-31");
    sh(&mut guest, "echo +25 > /sys/class/rtc/rtc0/wakealarm");
    let rang = "for i in $(seq 80); do grep -q ': *[1-9].*pcf8563' /proc/interrupts && break; sleep 1; done; grep pcf8563 /proc/interrupts";
    assert!(sh(&mut guest, rang).contains("zynq-gpio"));
    assert_eq!(sh(&mut guest, "cat /sys/class/rtc/rtc0/date"), "2032-01-01");
}

#[test]
fn linux_finds_the_parts_of_the_zc702_behind_its_multiplexer() {
    let Some(kernel) = zynq_full() else { return };
    // With the board's device tree, and with Linux's own for it.
    let dtb = shared().map(|shared| format!("--dtb={}", shared.join("guests/zynq7000/zynq-zc702.dtb").display()));
    for flags in [vec![], dtb.iter().map(String::as_str).collect()] {
        let mut guest = full_shell(&kernel, "zc702", &flags);
        let eeprom = sh(&mut guest, "ls -d /sys/bus/i2c/devices/*-0054/eeprom");
        fill(&mut guest, &eeprom, 1024);
        assert_eq!(sh(&mut guest, "cat /sys/class/rtc/rtc0/name").split(' ').next(), Some("rtc-pcf8563"));
        // It began with the host's date.
        let (guest_time, host) =
            (sh(&mut guest, "cat /sys/class/rtc/rtc0/since_epoch"), std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap());
        assert!(Duration::from_secs(guest_time.parse().unwrap()).abs_diff(host) < Duration::from_secs(120), "{guest_time}, {host:?}");
        buttons(&mut guest);
    }
}

/// The ZC702's light and its push buttons.
fn buttons(guest: &mut Guest) {
    sh(guest, "echo none > /sys/class/leds/ds23/trigger; echo 1 > /sys/class/leds/ds23/brightness");
    assert_eq!(get(guest, "ds23"), 1);
    sh(guest, "echo 0 > /sys/class/leds/ds23/brightness");
    assert_eq!(get(guest, "ds23"), 0);
    guest.type_in("events 4 100\n");
    guest.wait_for("waiting").unwrap();
    set(guest, "sw14", 4, 4, 50);
    guest.wait_for("EV_KEY 108 1").unwrap();
    guest.wait_for("EV_KEY 108 0").unwrap();
    set(guest, "sw13", 0, 1, 1);
    guest.wait_for("EV_KEY 103 1").unwrap();
    set(guest, "sw13", 0, 1, 0);
    guest.wait_for("EV_KEY 103 0").unwrap();
    guest.wait_for("guest# ").unwrap();
}

#[test]
fn linux_waits_for_edges_of_a_line() {
    let Some(kernel) = zynq_full() else { return };
    let add = "--add=device \"knob\" type=\"gpio-button\" { wire to=\"gpio.in 40\"; }; device \"lamp\" type=\"gpio-led\"; wire \"gpio.out 80\" to=\"lamp.in\"";
    let mut guest = full_shell(&kernel, "zynq7000", &[add]);
    guest.type_in("gpio 0 wait 40 both 2 100\n");
    guest.wait_for("waiting").unwrap();
    set(&guest, "knob", 4, 4, 50);
    guest.wait_for("rising 40").unwrap();
    guest.wait_for("falling 40").unwrap();
    guest.wait_for("guest# ").unwrap();
    guest.type_in("gpio 0 set 80=1 hold=3\n");
    guest.wait_for("\nset").unwrap();
    assert_eq!(get(&guest, "lamp"), 1);
}

//! `--perf-map`: what Linux `perf` reads to name generated code.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::process::{Command, Stdio};

#[test]
fn the_demo_firmware_is_named() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_emu"));
    command
        .args(["--perf-map", "--board", "zynq7000", "--exit-on", "zynq7000 ready", "--timeout", "60"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    let path = format!("/tmp/perf-{}.map", child.id());
    assert!(child.wait().unwrap().success());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut blocks = 0;
    for line in text.lines() {
        // A name is the rest of the line: a region's has a blank in it.
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let [start, size, name] = words[..] else { panic!("`{line}` has no name") };
        assert!(u64::from_str_radix(start, 16).is_ok() && u64::from_str_radix(size, 16).is_ok_and(|n| n > 0), "{line}");
        assert!(name.starts_with("arm:"), "{line}");
        blocks += usize::from(name.starts_with("arm:0x"));
    }
    assert!(blocks > 20, "{text}");
    for name in ["arm:enter", "arm:irq"] {
        assert!(text.lines().any(|line| line.ends_with(name)), "{name} is missing in\n{text}");
    }
}

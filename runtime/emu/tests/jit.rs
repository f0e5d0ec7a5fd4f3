//! `emu jit explain`: guest text, IR, bytecode and host code of a block.

use std::process::Command;

fn explain(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_emu")).args(["jit", "explain"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Lines of host code are there if this host has a quick tier.
const HOST: bool = cfg!(all(target_arch = "x86_64", target_os = "linux"));

fn has(text: &str, lines: &[&str]) {
    lines.iter().for_each(|line| assert!(text.lines().any(|l| l.trim() == *line), "`{line}` is missing in\n{text}"));
}

#[test]
fn arm_words() {
    let text = explain(&["--isa", "arm", "--cpu", "cortex-a9", "e0910002", "e5923004", "1afffffc"]);
    has(&text, &["0x00001000  e0910002  adds r0, r1, r2", "0x00001004  e5923004  ldr r3, [r2, #4]", "0x00001008  1afffffc  bne 0x1000"]);
    has(&text, &["code  1   AddFlags32 r0 = r1, r2; n, z, c, v", "ir      jump pc=0x1000"]);
    assert!(!text.contains("0x0000100c  "), "the block ends with the words:\n{text}");
    if HOST {
        assert!(text.contains("[rbx+r1]") && text.contains("call load32") && text.contains("2 slots"), "{text}");
    }
}

#[test]
fn contexts_and_modes_are_seen() {
    // IT EQ; the addition is conditional, the comparison is not.
    let text = explain(&["--isa", "thumb", "bf08", "1840", "4288"]);
    has(&text, &["0x00001000  bf08      it eq", "0x00001002  1840      addeq r0, r0, r1", "0x00001004  4288      cmp r0, r1"]);
    // VFP is off at reset.
    let on = ["--register", "cpacr=0xf00000", "--register", "fpexc_en=1"];
    assert!(!explain(&["--isa", "arm", "ee300a01"]).contains("op=Add"));
    assert!(explain(&[&["--isa", "arm", "ee300a01"][..], &on].concat()).contains("op=Add"));
}

#[test]
fn microblaze_words() {
    let text = explain(&["--isa", "microblaze", "20630001"]);
    has(&text, &["0x00001000  20630001  addi r3, r3, 1"]);
    assert!(text.contains("set.i32 r3"), "{text}");
    if HOST {
        assert!(text.contains("[rbx+r3]"), "{text}");
    }
}

#[test]
fn a_board_is_explained_when_it_has_run() {
    let text = explain(&["--board", "zynq7000", "--exit-on", "zynq7000 ready", "--timeout", "60", "--at", "0x0"]);
    assert!(text.contains("\ncpu0\nblock at 0x0, ") && text.contains("ir    "), "{text}");
    let text = explain(&["--board", "zynq7000", "--jit", "off", "--timeout", "60", "--after", "1000", "--at", "0x0"]);
    assert!(text.contains("\ncpu0\n") && !text.contains("host  "), "{text}");
}

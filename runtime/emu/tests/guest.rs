//! The API that tests of firmware use, and `emu test`.

#[path = "common/mod.rs"]
mod common;

use common::{PATIENCE, shared, shell};
use emu::guest::{Failure, Guest};
use std::process::Command;
use std::time::Duration;

const DEMO: [&str; 2] = ["--board", "zynq7000"];

fn demo() -> Guest {
    let mut guest = Guest::boot(DEMO).unwrap();
    guest.patience = PATIENCE;
    guest
}

#[test]
fn a_console_is_waited_for_and_typed_at() {
    let mut guest = demo();
    let before = guest.wait_for("ready").unwrap();
    assert!(before.contains("192 KiB ok"), "{before}");
    guest.wait_for("> ").unwrap();
    guest.type_in("nonsense\r");
    assert!(guest.wait_for("unknown command").unwrap().contains("nonsense"));
    guest.patience = Duration::from_millis(100);
    assert!(matches!(guest.wait_for("what never comes"), Err(Failure::Late { .. })));
    // What was waited for is read.
    assert!(matches!(guest.wait_for("192 KiB ok"), Err(Failure::Late { .. })));
    assert!(guest.console().contains("192 KiB ok"));
}

#[test]
fn what_must_not_appear_and_the_end_are_failures() {
    let mut guest = demo();
    guest.never("192 KiB");
    let failed = guest.wait_for("> ").unwrap_err();
    assert!(matches!(&failed, Failure::Forbidden { text, .. } if text == "192 KiB"), "{failed}");
    let mut guest = demo();
    guest.wait_for("> ").unwrap();
    guest.handle().stop(7);
    let failed = guest.wait_for("what never comes").unwrap_err();
    assert!(matches!(&failed, Failure::Ended { how, .. } if how.contains('7')), "{failed}");
    assert_eq!(guest.wait_end().unwrap(), 7);
    assert!(Guest::boot(["--board", "zynq7000", "--kernel", "/nowhere/zImage"]).is_err_and(|e| e.contains("/nowhere/zImage")));
}

#[test]
fn a_shell_runs_commands() {
    let Some(shared) = shared() else { return };
    let mut guest = shell(&shared, "", &[]);
    let printed = guest.sh("nproc").unwrap();
    assert_eq!((printed.text.as_str(), printed.status), ("2", 0));
    assert_eq!(guest.sh("echo one; echo two").unwrap().text, "one\ntwo");
    let printed = guest.sh("cat /nowhere").unwrap();
    assert!(printed.status == 1 && printed.text.contains("/nowhere"), "{printed:?}");
    assert_eq!(guest.sh("true").unwrap().text, "");
    guest.type_in("reboot -f\n");
    assert_eq!(guest.wait_end().unwrap(), 0);
}

fn emu_test(board: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (file, junit) = (folder.path().join("board.kdl"), folder.path().join("junit.xml"));
    std::fs::write(&file, board).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_emu")).args(["test", "--junit"]).arg(&junit).arg(&file).args(more).output().unwrap();
    let text = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    (run.status.code(), text, std::fs::read_to_string(junit).unwrap_or_default())
}

const BOARD: &str = r##"
board "tested" {
    include "soc/zynq7000.kdl"
    chardev "uart1" default="stdio"
    param "answer" type="text" default="unknown command"
    expect "the demo answers" within=240 {
        never "failed"
        wait "ready"
        wait "> "
        type "x & <y>\r"
        wait "{answer}"
    }
    expect "what it does not say" within=240 {
        wait "ready"
        wait "> "
        wait "& <never>" within=1
    }
    expect "with a kernel" {
        needs "no-such-kernel"
        kernel "no-such-kernel"
        wait "login:"
    }
}
"##;

#[test]
fn expect_blocks_pass_fail_and_are_skipped() {
    let (code, text, junit) = emu_test(BOARD, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("the demo answers ... ok") && text.contains("what it does not say ... FAILED"), "{text}");
    assert!(text.contains("board.kdl:16:14") && text.contains("`& <never>` did not appear within 1 s"), "{text}");
    assert!(text.ends_with("tests: 1 passed, 1 failed, 1 skipped\n"), "{text}");
    assert!(
        junit.contains("tests=\"3\" failures=\"1\"") && junit.contains("&amp; &lt;never>") | junit.contains("&amp; &lt;never&gt;"),
        "{junit}"
    );
    assert_eq!((junit.matches("<testcase").count(), junit.matches("<skipped").count()), (3, 1), "{junit}");
    let (code, text, _) = emu_test(BOARD, &["--only", "answers"]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn wrong_blocks_are_shown_where_they_are() {
    let broken = |step: &str| BOARD.replace("wait \"{answer}\"", step);
    for (step, message) in [
        ("wiat \"x\"", "neither a step nor a flag"),
        ("wait", "`wait` takes 1 text"),
        ("wait \"x\" is=\"y\"", "no property `is`"),
        ("jit \"sometimes\"", "invalid value"),
    ] {
        let (code, text, _) = emu_test(&broken(step), &["--only", "answers"]);
        assert!(code == Some(1) && text.contains(message), "{step}: {text}");
    }
}

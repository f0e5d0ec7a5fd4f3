//! Board files: the built-in ones are right, wrong ones get the message that is meant.
//!
//! `tests/board/NAME.kdl` is a wrong board, `NAME.err` what is said about it; `// args:` in its first line holds command-line
//! arguments. `BLESS=1` writes the messages.

mod common;

use emu_boards::{Request, check, diagnostic, load};
use std::path::Path;

const FOLDER: &str = "../tests/board/";

#[test]
fn built_in_boards_are_right() {
    let registry = common::real_registry();
    let mut seen = 0;
    for name in emu_boards::builtin::boards() {
        let zynq = !name.starts_with("petalogix") && !name.starts_with("microblaze");
        let one = if zynq { "ncpu=1" } else { "ram=16M" };
        let most = if zynq { "ram=1G" } else { "ram=256M" };
        let two = if zynq { "ncpu=2" } else { "hz=50_000_000" };
        for sets in [vec![], vec![one.to_string()], vec![most.to_string(), two.to_string()]] {
            let cpus = if sets.len() == 1 || !zynq { 1 } else { 2 };
            let board = load(&Request { board: name.into(), sets, ..Request::default() });
            let problems = check(&board, &registry);
            assert!(problems.is_empty(), "{name}:\n{}", diagnostic::render(&problems, &board.sources));
            // Beside the soc's own there may be others.
            let isa = board.cpus[0].isa.text();
            assert_eq!(board.cpus.iter().filter(|c| c.isa.text() == isa).count(), cpus);
            assert!(board.is_compatible(if zynq { "xlnx,zynq-7000" } else { "xlnx,microblaze" }), "{name}");
            let (plan, _) = emu_boards::plan(&board, &registry);
            emu_boards::view::device_tree_blob(&board, &plan).unwrap();
        }
        seen += 1;
    }
    assert_eq!(seen, 10);
    // The parts of a system that is made of parameters.
    for sets in ["order=big uart=16550 timers=4 fast=#true", "gpio=0 spi=#false flash=#false", "gpio=32 fast=#true ram-at=0x90000000"] {
        let sets = sets.split(' ').map(String::from).collect();
        let board = load(&Request { board: "microblaze-soc".into(), sets, ..Request::default() });
        let problems = check(&board, &registry);
        assert!(problems.is_empty(), "{}", diagnostic::render(&problems, &board.sources));
    }
}

/// `--flag value` pairs; a value may stand in single quotes.
fn arguments(request: &mut Request, line: &str) {
    let mut rest = line.trim();
    while let Some((flag, after)) = rest.split_once(' ') {
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').unwrap_or((quoted, "")),
            None => after.split_once(' ').unwrap_or((after, "")),
        };
        match flag {
            "--set" => request.sets.push(value.into()),
            "--add" => request.adds.push(value.into()),
            "--variant" => request.variants.push(value.into()),
            other => panic!("no flag {other}"),
        }
        rest = next.trim_start();
    }
}

#[test]
fn wrong_boards_get_the_intended_message() {
    let registry = common::registry();
    let bless = std::env::var_os("BLESS").is_some();
    let mut files: Vec<_> = std::fs::read_dir(FOLDER).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "kdl"));
    files.sort();
    assert!(files.len() >= 20, "only {} wrong boards", files.len());
    let mut wrong = String::new();
    for path in &files {
        let mut request = Request { board: path.display().to_string(), ..Request::default() };
        let text = std::fs::read_to_string(path).unwrap();
        if let Some(line) = text.lines().next().and_then(|l| l.strip_prefix("// args: ")) {
            arguments(&mut request, line);
        }
        let board = load(&request);
        let problems = check(&board, &registry);
        assert!(diagnostic::has_errors(&problems), "{} has no error", path.display());
        let got = diagnostic::render(&problems, &board.sources).replace(FOLDER, "");
        let json: serde_json::Value = serde_json::from_str(&diagnostic::to_json(&problems, &board.sources)).unwrap();
        assert_eq!(json.as_array().map(Vec::len), Some(problems.len()));
        let golden = path.with_extension("err");
        let want = std::fs::read_to_string(&golden).unwrap_or_default();
        if bless {
            std::fs::write(&golden, &got).unwrap();
        } else if got != want {
            wrong += &format!("== {}\n-- wanted\n{want}-- got\n{got}", Path::new(path).display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}\nBLESS=1 takes the new messages");
}

//! The single-instruction vectors, where they are at hand: in the folder `vectors` of what `EMU_SHARED` names, else of `../shared` beside the
//! repository.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

fn check(name: &str) {
    let shared =
        std::env::var_os("EMU_SHARED").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let folder = shared.join("vectors");
    let path = folder.join(name);
    let Ok(file) = File::open(&path) else {
        eprintln!("skipped: {} is absent", path.display());
        return;
    };
    let lines = BufReader::new(flate2::read::GzDecoder::new(file));
    let outcome = emu_isa_arm::vectors::run(lines, "cortex-a15").unwrap();
    let text: Vec<String> = outcome.failed.iter().map(|(line, name, what)| format!("{line}: {name}: {what}")).collect();
    assert!(text.is_empty(), "{} passed, {} failed:\n{}", outcome.passed, text.len(), text.join("\n"));
    assert!(outcome.passed > 0);
}

#[test]
fn arm() {
    check("arm-1.jsonl.gz");
}

#[test]
fn thumb() {
    check("thumb-1.jsonl.gz");
}

//! The text of what is generated, and that it is the same each time. `BLESS=1` writes it anew.

use std::path::Path;

fn generated(folder: &str, name: &str) -> emu_codegen::Generated {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder).join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let spec = emu_dsl::load_texts(vec![(name.into(), text)]).unwrap_or_else(|e| panic!("{e}"));
    emu_codegen::generate(&spec).unwrap_or_else(|e| panic!("{e:?}"))
}

#[test]
fn small_specification() {
    // Without what is the same for every instruction set.
    let text: String = generated("golden", "small.isa")
        .files
        .iter()
        .filter(|f| f.0 != "prelude.rs")
        .map(|(name, text)| format!("// ---- {name}\n\n{text}\n"))
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/small.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    for (i, (found, wanted)) in text.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(found, wanted, "line {} of {} (BLESS=1 accepts)", i + 1, path.display());
    }
    assert_eq!(text.lines().count(), wanted.lines().count());
}

#[test]
fn the_same_specification_gives_the_same_bytes() {
    assert_eq!(generated("tiny", "tiny.isa"), generated("tiny", "tiny.isa"));
}

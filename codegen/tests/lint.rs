//! The checks of whole specifications: their messages as golden files, and what they say of the instruction sets we have.

use emu_dsl::diagnostic::render;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the checks say of the specification in these files.
fn findings(paths: &[PathBuf]) -> String {
    let sources = paths.iter().map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(p).unwrap()));
    let spec = emu_dsl::load_texts(sources.collect()).unwrap_or_else(|e| panic!("{e}"));
    emu_codegen::lint::check(&spec).iter().map(|d| render(d, &spec.files)).collect()
}

/// `BLESS=1` writes what is found.
#[test]
fn findings_are_as_intended() {
    let folder = root().join("tests/lint");
    let paths = emu_dsl::files_of(&folder).unwrap();
    assert!(paths.len() >= 5);
    for path in paths {
        let found = findings(std::slice::from_ref(&path));
        let golden = path.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(&golden).unwrap_or_default(), "{}", path.display());
        assert!(!found.is_empty(), "{} is in order", path.display());
    }
}

/// The shipped instruction sets have no findings but those written down beside them.
#[test]
fn shipped_specifications_are_in_order() {
    for isa in ["arm", "microblaze"] {
        let found = findings(&emu_dsl::files_of(&root().join("isa").join(isa)).unwrap());
        let golden = root().join("tests/lint").join(format!("{isa}.known"));
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        assert_eq!(found, std::fs::read_to_string(&golden).unwrap_or_default(), "{isa}");
    }
}

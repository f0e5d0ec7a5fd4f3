//! The instruction-set language: grammar, syntax tree, names, types and binding times; gives a checked [`spec::Spec`].
//!
//! Text -> [`parse`] (pest) -> [`ast`] -> [`check`] (names, types, encodings) -> [`spec`]. Not checked here: that a state write forced out
//! by a dynamic `if` comes before nothing that faults (the IR verifier does), overlapping encodings of equal specificity, unreachable ones.

pub mod ast;
pub mod body;
pub mod check;
pub mod diagnostic;
pub mod encoding;
pub mod gdb;
pub mod parse;
pub mod spec;
pub mod vector;
pub mod walk;

pub use diagnostic::{Diagnostic, Errors};
use spec::{File, Spec};
use std::path::{Path, PathBuf};

/// Checks a specification given as names and texts.
///
/// # Errors
/// All problems, with the sources they point into.
pub fn load_texts(sources: Vec<(String, String)>) -> Result<Spec, Errors> {
    let files: Vec<File> = sources.into_iter().map(|(name, text)| File { name, text }).collect();
    let (mut items, mut errors) = (Vec::new(), Vec::new());
    for (i, f) in files.iter().enumerate() {
        match parse::file(i as u32, &f.text) {
            Ok(found) => items.extend(found),
            Err(d) => errors.push(d),
        }
    }
    if !errors.is_empty() {
        return Err(Errors { all: errors, files });
    }
    check::check(files.clone(), items).map_err(|all| Errors { all, files })
}

/// Reads and checks `*.isa` files. Names in messages are as given.
///
/// # Errors
/// All problems; an unreadable file is one.
pub fn load(paths: &[PathBuf]) -> Result<Spec, Errors> {
    let mut sources = Vec::new();
    for p in paths {
        match std::fs::read_to_string(p) {
            Ok(text) => sources.push((p.display().to_string(), text)),
            Err(e) => {
                let d =
                    Diagnostic { code: "isa::read", message: format!("cannot read `{}`: {e}", p.display()), labels: vec![], help: None };
                return Err(Errors { all: vec![d], files: vec![] });
            }
        }
    }
    load_texts(sources)
}

/// All `*.isa` files of a folder, sorted by name.
///
/// # Errors
/// As the folder's listing.
pub fn files_of(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|e| e.ok().map(|e| e.path())).collect();
    all.retain(|p| p.extension().is_some_and(|e| e == "isa"));
    all.sort();
    Ok(all)
}

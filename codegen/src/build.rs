//! What the build script of `isa/<name>` does: reads its `*.isa` files, checks them, writes Rust and the assembler's tables to its
//! output folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The whole build script: sources from the crate's folder, output to `OUT_DIR`. Problems go to standard error with their places.
pub fn main() -> ExitCode {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).unwrap_or_default();
    match isa(&folder("CARGO_MANIFEST_DIR"), &folder("OUT_DIR")) {
        Ok(sources) => {
            println!("cargo::rerun-if-changed=build.rs");
            sources.iter().for_each(|p| println!("cargo::rerun-if-changed={}", p.display()));
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Generates the instruction set in `folder` into `out`; gives what it depends on.
///
/// # Errors
/// The text of all problems of the specification, or what the file system says.
pub fn isa(folder: &Path, out: &Path) -> Result<Vec<PathBuf>, String> {
    let said = |p: &Path, e: std::io::Error| format!("{}: {e}", p.display());
    let mut sources = emu_dsl::files_of(folder).map_err(|e| said(folder, e))?;
    let mut texts = Vec::new();
    for p in &sources {
        let text = std::fs::read_to_string(p).map_err(|e| said(p, e))?;
        // Relative to the workspace, so that the same specification gives the same bytes everywhere.
        let parts: Vec<_> = p.components().rev().take(3).collect();
        let name: PathBuf = parts.into_iter().rev().collect();
        texts.push((name.display().to_string(), text));
    }
    let spec = emu_dsl::load_texts(texts).map_err(|e| e.to_string())?;
    let generated = crate::generate(&spec).map_err(|all| all.iter().map(|e| format!("error: {e}\n")).collect::<String>())?;
    let tables = serde_json::to_string(&{
        let mut tables = crate::asm::tables(&spec);
        tables.stats = crate::stats::of(&spec, Some(folder));
        tables
    })
    .map_err(|e| e.to_string())?;
    for (name, text) in generated.files.iter().map(|f| (f.0.as_str(), f.1.as_str())).chain([("asm.json", tables.as_str())]) {
        let path = out.join(name);
        // An unchanged file keeps its time.
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        std::fs::write(&path, text).map_err(|e| said(&path, e))?;
    }
    sources.push(folder.to_path_buf());
    Ok(sources)
}

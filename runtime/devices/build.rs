//! Turns each `*.kdl` register map beside a device (and those of the tests) into Rust.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let mut problems = String::new();
    // Folders of a kind each, and the tests'.
    for folder in entries(Path::new("src")).chain([PathBuf::from("tests/devices")]).filter(|path| path.is_dir()) {
        println!("cargo::rerun-if-changed={}", folder.display());
        for path in entries(&folder).filter(|path| path.extension().is_some_and(|e| e == "kdl")) {
            problems += &generate(&path, &out).err().unwrap_or_default();
        }
    }
    if problems.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprint!("{problems}");
    ExitCode::FAILURE
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

fn generate(path: &Path, out: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed={}", path.display());
    let said = |e: std::io::Error| format!("{}: {e}\n", path.display());
    let text = std::fs::read_to_string(path).map_err(said)?;
    let rust = emu_codegen::regs::generate(&path.display().to_string(), &text).map_err(|e| e.to_string())?;
    let name = Path::new(path.file_stem().unwrap_or_default()).with_extension("rs");
    std::fs::write(out.join(name), rust).map_err(said)
}

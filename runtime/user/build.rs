//! Turns the tables of system calls, `abi/*.kdl`, into Rust.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=abi");
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::FAILURE
        }
    }
}

fn generate() -> Result<(), String> {
    let said = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    let folder = Path::new("abi");
    let entries = std::fs::read_dir(folder).map_err(|e| said(folder, e))?;
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "kdl")).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        files.push((path.display().to_string(), std::fs::read_to_string(&path).map_err(|e| said(&path, e))?));
    }
    let rust = emu_codegen::abi::generate(&files).map_err(|e| e.to_string())?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("abi.rs");
    std::fs::write(&out, rust).map_err(|e| said(&out, e))
}

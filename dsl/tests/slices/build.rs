//! Generates each slice into a folder of its own.

use std::path::PathBuf;
use std::process::ExitCode;

const SLICES: &[&str] = &["mips", "sparc", "sh4", "ppc", "x86"];

fn main() -> ExitCode {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).unwrap_or_default();
    let (root, out) = (folder("CARGO_MANIFEST_DIR"), folder("OUT_DIR"));
    println!("cargo::rerun-if-changed=build.rs");
    for slice in SLICES {
        let to = out.join(slice);
        let made = std::fs::create_dir_all(&to).map_err(|e| e.to_string()).and_then(|()| emu_codegen::build::isa(&root.join(slice), &to));
        match made {
            Ok(sources) => sources.iter().for_each(|p| println!("cargo::rerun-if-changed={}", p.display())),
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

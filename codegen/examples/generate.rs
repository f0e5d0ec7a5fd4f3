//! Generates an instruction set's files: `cargo run -p emu-codegen --example generate -- FOLDER OUT`.

use std::path::PathBuf;

fn main() -> std::process::ExitCode {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [folder, out] = &args[..] else {
        eprintln!("usage: generate FOLDER OUT");
        return std::process::ExitCode::FAILURE;
    };
    match emu_codegen::build::isa(folder, out) {
        Ok(_) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            std::process::ExitCode::FAILURE
        }
    }
}

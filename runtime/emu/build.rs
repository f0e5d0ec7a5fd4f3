//! Assembles the demo firmware with the assembler made from the instruction set's specification.

use std::path::Path;
use std::process::ExitCode;

fn demo() -> Result<(), String> {
    let root = Path::new("../..");
    let specification = root.join("isa/arm");
    let source = root.join("boards/demo/zynq7000.s");
    println!("cargo::rerun-if-changed={}", specification.display());
    println!("cargo::rerun-if-changed={}", source.display());
    let files = emu_dsl::files_of(&specification).map_err(|e| format!("{}: {e}", specification.display()))?;
    let spec = emu_dsl::load(&files).map_err(|e| e.to_string())?;
    let isa = emu_asm::Isa::new(emu_codegen::asm::tables(&spec));
    let text = std::fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    let name = source.display().to_string();
    let object = emu_asm::source::assemble(&isa, &isa.setting("cortex-a9"), &name, &text, 0, &[])
        .map_err(|all| all.iter().map(|e| format!("{e}\n")).collect::<String>())?;
    let out = Path::new(&std::env::var("OUT_DIR").unwrap_or_default()).join("demo-zynq7000.bin");
    std::fs::write(&out, object.bytes).map_err(|e| e.to_string())
}

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

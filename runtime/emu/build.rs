//! Assembles the demo firmwares with the assembler made from the instruction set's specifications.

use std::path::Path;
use std::process::ExitCode;

/// What is assembled: source, specification, and for each file the model.
const DEMOS: &[(&str, &str, &[(&str, &str)])] = &[
    ("zynq7000.s", "isa/arm", &[("demo-zynq7000.bin", "cortex-a9")]),
    ("microblaze.s", "isa/microblaze", &[("demo-microblaze.bin", "microblaze"), ("demo-microblazeel.bin", "microblazeel")]),
];

fn demo(source: &str, specification: &str, made: &[(&str, &str)]) -> Result<(), String> {
    let root = Path::new("../..");
    let specification = root.join(specification);
    let source = root.join("boards/demo").join(source);
    println!("cargo::rerun-if-changed={}", specification.display());
    println!("cargo::rerun-if-changed={}", source.display());
    let files = emu_dsl::files_of(&specification).map_err(|e| format!("{}: {e}", specification.display()))?;
    let spec = emu_dsl::load(&files).map_err(|e| e.to_string())?;
    let isa = emu_asm::Isa::new(emu_codegen::asm::tables(&spec));
    let text = std::fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
    let name = source.display().to_string();
    for (file, model) in made {
        let object = emu_asm::source::assemble(&isa, &isa.setting(model), &name, &text, 0, &[])
            .map_err(|all| all.iter().map(|e| format!("{e}\n")).collect::<String>())?;
        let out = Path::new(&std::env::var("OUT_DIR").unwrap_or_default()).join(file);
        std::fs::write(&out, object.bytes).map_err(|e| format!("{}: {e}", out.display()))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    match DEMOS.iter().try_for_each(|(source, specification, made)| demo(source, specification, made)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

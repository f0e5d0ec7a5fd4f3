//! Turns each `*.kdl` register map beside a device into Rust.

use std::path::Path;

fn main() {
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    let mut failed = false;
    for folder in ["serial", "intc", "timer", "soc", "gpio"] {
        let folder = Path::new("src").join(folder);
        println!("cargo:rerun-if-changed={}", folder.display());
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.extension().is_some_and(|e| e == "kdl")) {
            println!("cargo:rerun-if-changed={}", path.display());
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match emu_codegen::regs::generate(&path.display().to_string(), &text) {
                Ok(rust) => {
                    if let Err(e) = std::fs::write(Path::new(&out).join(format!("{name}.rs")), rust) {
                        eprintln!("{e}");
                        failed = true;
                    }
                }
                Err(e) => {
                    eprintln!("{e}");
                    failed = true;
                }
            }
        }
    }
    if failed {
        std::process::exit(1);
    }
}

//! Generates the instruction set.

fn main() -> std::process::ExitCode {
    emu_codegen::build::main()
}

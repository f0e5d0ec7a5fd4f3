//! Generates the instruction set from its specification.

fn main() -> std::process::ExitCode {
    emu_codegen::build::main()
}

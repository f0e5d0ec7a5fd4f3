//! The `emu` program.

fn main() -> std::process::ExitCode {
    emu::main()
}

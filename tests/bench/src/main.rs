//! The measuring stick: real guests under `emu`, beside QEMU or by themselves, by the host's clock. Nothing here decides a test by its timing.

mod chart;
mod compare;
mod guest;
mod machines;
mod program;
mod smp;
mod soak;
mod translation;
mod user;

use clap::{Parser, Subcommand};
use machines::Machine;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures `emu`.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The same guest under emu and QEMU, in turn
    Compare(compare::Compare),
    /// Two busy programs on two CPUs, against one
    Smp(smp::Smp),
    /// Two endless programs with a small code cache: right answers for so long?
    Soak(soak::Soak),
    /// Host instructions for the translation of a block, counted by Callgrind, under emu and QEMU
    Translation(translation::Translation),
    /// Benchmark programs under `emu run` and QEMU's user mode, in turn
    User(user::User),
}

/// Which guest, and where things are.
#[derive(clap::Args)]
struct Common {
    /// Which guest
    #[arg(long, default_value = "zynq7000")]
    board: String,
    /// Our binary [default: `emu` beside this program]
    #[arg(long)]
    emu: Option<PathBuf>,
    /// Further arguments for our binary
    #[arg(long, allow_hyphen_values = true, value_delimiter = ' ')]
    with: Vec<String>,
    /// The folder of guests [default: $EMU_SHARED/guests, or ../shared/guests]
    #[arg(long)]
    guests: Option<PathBuf>,
}

impl Common {
    fn machine(&self) -> Result<&'static Machine, String> {
        Machine::named(&self.board)
    }

    fn guests(&self) -> PathBuf {
        let shared = || std::env::var("EMU_SHARED").unwrap_or_else(|_| "../shared".into());
        self.guests.clone().unwrap_or_else(|| PathBuf::from(shared()).join("guests"))
    }

    fn emu(&self) -> String {
        let beside = || std::env::current_exe().map_or("emu".into(), |own| own.with_file_name("emu"));
        self.emu.clone().unwrap_or_else(beside).to_string_lossy().into_owned()
    }

    /// Our binary's arguments; `words` are added to the kernel's command line.
    fn arguments(&self, machine: &Machine, words: &str) -> Vec<String> {
        let mut all = machine.emu(&self.guests(), words);
        all.extend(["--trace".to_string(), "error".to_string()]);
        all.extend(self.with.iter().cloned());
        all
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Compare(task) => compare::compare(&task),
        Task::Smp(task) => smp::smp(&task).map_err(|e| format!("emu: {e}")),
        Task::Soak(task) => soak::soak(&task),
        Task::Translation(task) => translation::translation(&task).map_err(|e| e.to_string()),
        Task::User(task) => user::user(&task),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

//! What translation costs: host instructions for a block executed once, counted by Callgrind, under `emu run` and under QEMU.
//!
//! A generated program ([`crate::program`]) calls half of its functions or all of them, once or twice. What the second half costs the first time is
//! translation, bookkeeping and one execution; what it costs the second time is one execution. The difference is the same for both emulators, whatever
//! their start costs. How much they translated is counted by each: `--stats` here, `-d in_asm` there.

use crate::program;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[derive(clap::Args)]
pub struct Translation {
    /// Our binary [default: `emu` beside this program]
    #[arg(long)]
    emu: Option<PathBuf>,
    /// QEMU's binary
    #[arg(long, default_value = "qemu-arm")]
    qemu: String,
    /// The guest's C compiler
    #[arg(long, default_value = "arm-linux-gnueabihf-gcc")]
    compiler: String,
    /// How it is to compile, for each program
    #[arg(long, value_delimiter = ',', default_value = "-marm,-mthumb", allow_hyphen_values = true)]
    modes: Vec<String>,
    /// How many functions the program has
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(2..100_000))]
    functions: u32,
    /// Print where our instructions go, by function, with what each calls
    #[arg(long)]
    profile: bool,
}

/// One emulator's cost of the second half of a program.
#[derive(Clone, Copy)]
struct Cost {
    /// Host instructions.
    host: u64,
    /// Blocks and guest instructions translated.
    blocks: u64,
    insns: u64,
    /// Host instructions of one execution, which are not in `host`.
    execution: u64,
}

/// An emulator.
enum Emulator {
    Ours(PathBuf),
    Qemu(String),
}

impl Emulator {
    fn command(&self) -> Vec<String> {
        match self {
            Emulator::Ours(path) => vec![path.display().to_string(), "run".into()],
            Emulator::Qemu(program) => vec![program.clone()],
        }
    }

    /// Blocks and guest instructions translated when so many functions are called once, and the program's checksum.
    fn translated(&self, program: &Path, functions: u32) -> io::Result<(u64, u64, Option<i32>)> {
        let mut command = self.command();
        command.extend(match self {
            Emulator::Ours(_) => vec!["--stats".to_string()],
            Emulator::Qemu(_) => ["-d", "in_asm"].map(String::from).to_vec(),
        });
        let output = run(&command, program, functions, 1)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let (blocks, insns) = match self {
            Emulator::Ours(_) => (counter(&said, "blocks"), counter(&said, "translated")),
            Emulator::Qemu(_) => {
                let lines = |start: &str| said.lines().filter(|l| l.starts_with(start)).count() as u64;
                (lines("IN:"), lines("0x"))
            }
        };
        Ok((blocks, insns, output.status.code()))
    }

    /// Host instructions of a whole run.
    fn host(&self, program: &Path, functions: u32, rounds: u32, out: &Path) -> io::Result<u64> {
        let mut command = ["valgrind", "--tool=callgrind", "--smc-check=all"].map(String::from).to_vec();
        command.push(format!("--callgrind-out-file={}", out.display()));
        command.extend(self.command());
        let output = run(&command, program, functions, rounds)?;
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("guest code is interpreted") {
            return Err(io::Error::other(format!("there is no quick tier under Valgrind:\n{said}")));
        }
        let total = said.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
        total.ok_or_else(|| io::Error::other(format!("valgrind counted nothing:\n{said}")))
    }

    fn cost(&self, program: &Path, functions: u32, out: &Path) -> io::Result<(Cost, Option<i32>)> {
        let half = functions / 2;
        let count = |functions, rounds| self.host(program, functions, rounds, out);
        let (half_twice, all_twice) = (count(half, 2)?, count(functions, 2)?);
        // The last one stays in the file, for the profile.
        let (half_once, all_once) = (count(half, 1)?, count(functions, 1)?);
        let first = all_once.saturating_sub(half_once);
        let execution = all_twice.saturating_sub(half_twice).saturating_sub(first);
        let (some, all) = (self.translated(program, half)?, self.translated(program, functions)?);
        let cost = Cost { host: first.saturating_sub(execution), blocks: all.0 - some.0, insns: all.1 - some.1, execution };
        Ok((cost, all.2))
    }
}

fn run(command: &[String], program: &Path, functions: u32, rounds: u32) -> io::Result<Output> {
    let mut run = Command::new(&command[0]);
    run.args(&command[1..]).arg(program).args([format!("{functions:05}"), format!("{rounds:05}")]);
    // What the guest's stack holds is the same everywhere.
    run.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    run.output().map_err(|e| io::Error::other(format!("cannot run {}: {e}", command[0])))
}

/// A counter of `--stats`.
fn counter(text: &str, name: &str) -> u64 {
    let value = |part: &str| part.trim().strip_prefix(name)?.trim().parse().ok();
    text.split([',', '\n']).find_map(value).unwrap_or(0)
}

/// Compiles the program for a mode; `None` if there is no compiler.
fn compile(c: &Translation, folder: &Path, mode: &str) -> io::Result<Option<PathBuf>> {
    let (source, program) = (folder.join("program.c"), folder.join("program"));
    std::fs::write(&source, program::source(c.functions as usize))?;
    let options = "-O2 -march=armv7-a -mfloat-abi=soft -static -nostdlib -ffreestanding -fno-stack-protector -fno-ipa-icf \
                   -fno-tree-loop-distribute-patterns -Wno-main -w";
    let mut command = Command::new(&c.compiler);
    match command.arg(mode).args(options.split_whitespace()).arg("-o").arg(&program).arg(&source).output() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
        Ok(output) if output.status.success() => Ok(Some(program)),
        Ok(output) => Err(io::Error::other(format!("{}: {}", c.compiler, String::from_utf8_lossy(&output.stderr)))),
    }
}

/// Measures and prints.
pub fn translation(c: &Translation) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let beside = || std::env::current_exe().map_or("emu".into(), |own| own.with_file_name("emu"));
    let emulators = [("emu", Emulator::Ours(c.emu.clone().unwrap_or_else(beside))), ("QEMU", Emulator::Qemu(c.qemu.clone()))];
    let mut profiles = Vec::new();
    println!("| code | emulator | blocks | guest instructions | host instructions | per block | per guest instruction | one execution |");
    println!("|---|---|---|---|---|---|---|---|");
    for mode in &c.modes {
        let Some(program) = compile(c, folder.path(), mode)? else {
            println!("\n{} is not there: nothing to translate", c.compiler);
            return Ok(());
        };
        let mut costs = Vec::new();
        for (name, emulator) in &emulators {
            let out = folder.path().join(format!("{name}{mode}.out"));
            let (cost, checksum) = match emulator.cost(&program, c.functions, &out) {
                Ok(found) => found,
                Err(e) if *name == "QEMU" => {
                    eprintln!("QEMU is left out: {e}");
                    continue;
                }
                Err(e) => return Err(e),
            };
            let per = |n: u64| cost.host as f64 / n.max(1) as f64;
            println!(
                "| `{mode}` | {name} | {} | {} | {} | {:.0} | {:.0} | {} |",
                cost.blocks,
                cost.insns,
                cost.host,
                per(cost.blocks),
                per(cost.insns),
                cost.execution
            );
            costs.push((cost, checksum));
            if c.profile && *name == "emu" {
                profiles.push((mode, out));
            }
        }
        if let [(ours, our_sum), (theirs, their_sum)] = costs[..] {
            if our_sum != their_sum {
                return Err(io::Error::other(format!("{mode}: the checksums differ: {our_sum:?}, {their_sum:?}")));
            }
            let ratio = |per: fn(&Cost) -> u64| {
                let each = |c: &Cost| c.host as f64 / per(c).max(1) as f64;
                each(&ours) / each(&theirs)
            };
            let (block, insn, all) = (ratio(|c| c.blocks), ratio(|c| c.insns), ratio(|_| 1));
            println!("| `{mode}` | emu / QEMU | | | {all:.2} | {block:.2} | {insn:.2} | |");
        }
    }
    for (mode, out) in profiles {
        for (title, options) in [("by itself", &[][..]), ("with what it calls", &["--inclusive=yes"])] {
            println!("\n| `{mode}`: function | host instructions of the whole run, {title} |\n|---|---|");
            for (function, count) in profile(&out, options)? {
                println!("| {function} | {count} |");
            }
        }
    }
    Ok(())
}

/// Lines of a profile shown.
const SHOWN: usize = 40;

/// Functions with their host instructions, those with most first.
fn profile(out: &Path, options: &[&str]) -> io::Result<Vec<(String, u64)>> {
    let output =
        Command::new("callgrind_annotate").args(options).args(["--threshold=100", "--auto=no", "--tree=none"]).arg(out).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // Code that was inlined goes by its own file: by itself that adds up, but with what it calls it has been counted.
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (function, count) in text.lines().filter_map(entry) {
        let known = counts.entry(function).or_default();
        *known = if options.is_empty() { *known + count } else { (*known).max(count) };
    }
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(SHOWN);
    Ok(counts)
}

/// A line of `callgrind_annotate`: `1,234 (5.6%)  FILE:FUNCTION [OBJECT]`.
fn entry(line: &str) -> Option<(String, u64)> {
    let (count, rest) = line.trim().split_once(" (")?;
    let count = count.replace(',', "").parse().ok()?;
    let (_, name) = rest.split_once(")  ")?;
    let name = name.split_once(':').map_or(name, |(_, function)| function);
    let name = name.split_once(" [").map_or(name, |(function, _)| function);
    (name != "PROGRAM TOTALS").then(|| (name.replace('|', "\\|"), count))
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_are_found_by_their_whole_name() {
        let said = "instructions 5, blocks 12, translated 99\n";
        assert_eq!((super::counter(said, "blocks"), super::counter(said, "translated"), super::counter(said, "none")), (12, 99, 0));
    }

    #[test]
    fn a_profiles_lines_lose_their_files() {
        let line = "1,234,567 ( 5.60%)  ./x/src/mod.rs:emu_ir::Builder<T>::get [/x/emu]";
        assert_eq!(super::entry(line), Some(("emu_ir::Builder<T>::get".into(), 1_234_567)));
        assert_eq!(super::entry("9 (100.0%)  PROGRAM TOTALS"), None);
        assert_eq!(super::entry("Events shown: Ir"), None);
    }
}

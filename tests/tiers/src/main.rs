//! `emu-tiers`: the interpreter and the quick tier on random guest programs.

use clap::Parser;
use emu_tiers::shrink::{compare, show, shrink};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Compares the interpreter with the quick tier on random guest programs, until they differ or the time is over.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// How long, seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first seed; the cases after it have those that follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this model (repeatable).
    #[arg(long)]
    isa: Vec<String>,
    /// Just this many cases of each model.
    #[arg(long)]
    count: Option<u64>,
    /// Say each seed before it is tried, and show its program: for a tier that takes the process with it.
    #[arg(long)]
    verbose: bool,
    /// Go on after a difference.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut targets = emu_tiers::targets();
    targets.retain(|t| args.isa.is_empty() || args.isa.iter().any(|name| name == t.name()));
    if targets.is_empty() {
        eprintln!("there is no such model");
        return ExitCode::FAILURE;
    }
    let (start, mut said) = (Instant::now(), Instant::now());
    let (mut executed, mut exceptions, mut blocks, mut regions, mut cases, mut differences) = (0, 0, 0, 0, 0, 0);
    for seed in (args.seed..).take(args.count.unwrap_or(u64::MAX) as usize) {
        for target in &targets {
            let case = target.case(seed);
            if args.verbose {
                println!("--isa {} --seed {seed}: {} pieces", target.name(), case.items.len());
                for item in &case.items {
                    println!("  {:#07x}: {}", item.at, target.text(&case, item));
                }
            }
            match compare(&**target, &case) {
                Ok(outcome) => {
                    executed += outcome.executed;
                    exceptions += outcome.exceptions;
                    blocks += outcome.blocks;
                    regions += outcome.regions;
                }
                Err(difference) => {
                    println!("DIFFERENCE after {:.1} s: --isa {} --seed {seed} --count 1", start.elapsed().as_secs_f64(), target.name());
                    print!("{}", difference.what);
                    // A tier's panic is a difference, and has been shown.
                    std::panic::set_hook(Box::new(|_| {}));
                    let (case, difference) = shrink(&**target, &case, difference);
                    print!("smaller:\n{}", show(&**target, &case, &difference));
                    differences += 1;
                    if !args.keep_going {
                        return ExitCode::FAILURE;
                    }
                }
            }
            cases += 1;
        }
        let last = args.count.is_some_and(|count| seed + 1 - args.seed >= count);
        let over = last || args.count.is_none() && start.elapsed() >= Duration::from_secs(args.seconds);
        if over || said.elapsed() >= Duration::from_secs(60) {
            said = Instant::now();
            let seconds = start.elapsed().as_secs();
            println!(
                "{seconds} s, to seed {seed}: {cases} programs, {executed} instructions, {exceptions} exceptions, {blocks} blocks, {regions} regions, {differences} differences"
            );
        }
        if over {
            break;
        }
    }
    if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

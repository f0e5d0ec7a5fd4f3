//! The measuring stick: the same guest under QEMU and under `emu` in turn, by the host's clock.
//!
//! A guest boots Linux, whose init runs the benchmark kernels named on the kernel's command line and prints a `BENCH` line after each. A kernel's time
//! is the host's between the arrival of two lines; the guest's own count must agree with it. Printed: medians, ratios and their spread, as a table
//! and, on request, as a chart.

mod chart;
mod machines;

use clap::{Parser, Subcommand};
use machines::MACHINES;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Measures `emu` against QEMU.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The same guest under both, in turn
    Compare(Compare),
}

#[derive(clap::Args)]
struct Compare {
    /// Which guest
    #[arg(long, default_value = "zynq7000")]
    board: String,
    /// Percent of the kernels' whole work
    #[arg(long, default_value_t = 30)]
    percent: u32,
    /// Runs of each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Our binary
    #[arg(long, default_value = "target/release/emu")]
    emu: PathBuf,
    /// Further arguments for our binary
    #[arg(long, allow_hyphen_values = true, value_delimiter = ' ')]
    with: Vec<String>,
    /// The folder of guests [default: $EMU_SHARED/guests, or ../shared/guests]
    #[arg(long)]
    guests: Option<PathBuf>,
    /// A bar chart of the ratios
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Longest run, in seconds
    #[arg(long, default_value_t = 600)]
    timeout: u64,
}

/// What one run gave: seconds by name, "boot" among them, and the most host memory in MiB.
struct Run {
    seconds: BTreeMap<String, f64>,
    order: Vec<String>,
    sums: BTreeMap<String, String>,
    memory: f64,
    /// Kernels whose own count is more than 2 % and 10 ms off the host's.
    adrift: Vec<String>,
}

/// Ends the process with this value's life.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// The most memory the process had resident, in MiB.
fn peak(child: &Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}

fn run(command: &mut Command, timeout: Duration) -> io::Result<Run> {
    let start = Instant::now();
    let mut child = Guard(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    let out = child.0.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            if sender.send((Instant::now(), String::from_utf8_lossy(&line).trim().to_string())).is_err() {
                break;
            }
        }
    });
    let mut run = Run { seconds: BTreeMap::new(), order: Vec::new(), sums: BTreeMap::new(), memory: 0.0, adrift: Vec::new() };
    let mut last = start;
    loop {
        let left = timeout.checked_sub(start.elapsed()).unwrap_or_default();
        let (at, line) = lines.recv_timeout(left).map_err(|_| io::Error::other("it ended or took too long before `BENCH done`"))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut note = |name: &str, run: &mut Run| {
            let seconds = (at - last).as_secs_f64();
            run.seconds.insert(name.to_string(), seconds);
            run.order.push(name.to_string());
            last = at;
            seconds
        };
        match words[..] {
            ["GUEST-UP", ..] => _ = note("boot", &mut run),
            ["BENCH", "done", ..] => break,
            ["BENCH", name, _, own, sum] => {
                let seconds = note(name, &mut run);
                run.sums.insert(name.to_string(), sum.to_string());
                let own: f64 = own.parse().unwrap_or(0.0);
                if (own - seconds).abs() > 0.01 + 0.02 * seconds {
                    run.adrift.push(format!("{name}: the guest says {own:.3} s, the host {seconds:.3} s"));
                }
            }
            // What the guest prints between its start and the first kernel is not the kernel's.
            _ if line.contains("bench") || run.sums.is_empty() => last = at,
            _ => {}
        }
    }
    run.memory = peak(&child.0);
    Ok(run)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn compare(c: &Compare) -> Result<(), String> {
    let machine = MACHINES
        .iter()
        .find(|m| m.name == c.board)
        .ok_or_else(|| format!("there is no guest `{}`: {}", c.board, MACHINES.iter().map(|m| m.name).collect::<Vec<_>>().join(", ")))?;
    let shared = std::env::var("EMU_SHARED").unwrap_or_else(|_| "../shared".into());
    let guests = c.guests.clone().unwrap_or_else(|| PathBuf::from(shared).join("guests"));
    let line = format!("{} bench={}", machine.append, c.percent);
    let fill = |text: &&str| text.replace("{guests}", &guests.to_string_lossy()).replace("{append}", &line);
    let timeout = Duration::from_secs(c.timeout);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..c.rounds {
        eprintln!("round {} of {}", round + 1, c.rounds);
        let emu = run(Command::new(&c.emu).args(machine.emu.iter().map(fill)).args(&c.with), timeout);
        ours.push(emu.map_err(|e| format!("{}: {e}", c.emu.display()))?);
        let qemu = run(Command::new(machine.qemu[0]).args(machine.qemu[1..].iter().map(fill)), timeout);
        theirs.push(qemu.map_err(|e| format!("{}: {e}", machine.qemu[0]))?);
    }
    for (who, runs) in [("emu", &ours), ("QEMU", &theirs)] {
        for adrift in runs.iter().flat_map(|r| &r.adrift) {
            eprintln!("{who}: {adrift}");
        }
    }
    if let Some(name) = ours[0].sums.keys().find(|k| ours.iter().chain(&theirs).any(|r| r.sums.get(*k) != ours[0].sums.get(*k))) {
        return Err(format!("the checksums of {name} differ"));
    }
    println!("| {} | emu, s | QEMU, s | QEMU / emu | spread |", machine.name);
    println!("|---|---|---|---|---|");
    let mut bars = Vec::new();
    for name in &ours[0].order {
        let of = |runs: &[Run]| median(runs.iter().filter_map(|r| r.seconds.get(name).copied()).collect());
        let ratios: Vec<f64> = ours.iter().zip(&theirs).filter_map(|(a, b)| Some(b.seconds.get(name)? / a.seconds.get(name)?)).collect();
        let (low, high) = ratios.iter().fold((f64::MAX, f64::MIN), |(l, h), r| (l.min(*r), h.max(*r)));
        let (emu, qemu) = (of(&ours), of(&theirs));
        println!("| {name} | {emu:.3} | {qemu:.3} | {:.2} | {low:.2} to {high:.2} |", qemu / emu);
        bars.push((name.clone(), qemu / emu));
    }
    let memory = |runs: &[Run]| median(runs.iter().map(|r| r.memory).collect());
    println!("\nHost memory, MiB: emu {:.0}, QEMU {:.0}.", memory(&ours), memory(&theirs));
    if let Some(path) = &c.svg {
        std::fs::write(path, chart::bars(&format!("{}: QEMU's time over emu's", machine.name), &bars))
            .map_err(|e| format!("cannot write `{}`: {e}", path.display()))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let Task::Compare(c) = Arguments::parse().task;
    match compare(&c) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

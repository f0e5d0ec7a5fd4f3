//! Static benchmark programs under `emu run` and QEMU's user mode, in turn; and how long programs that do nothing take.
//!
//! A kernel's time is by the program's own clock, so that starting it does not count. Checksums have to be the same under both, and at the whole work
//! those that the guests come with.

use crate::{compare, median};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

#[derive(clap::Args)]
pub struct User {
    #[command(flatten)]
    common: crate::Common,
    /// Which builds of the benchmark: names of folders in the guests' bench/bin
    #[arg(long, value_delimiter = ',', default_value = "armhf,armel")]
    kinds: Vec<String>,
    /// Percent of the kernels' whole work
    #[arg(long, default_value_t = 30)]
    percent: u32,
    /// These kernels only
    #[arg(long, value_delimiter = ',')]
    kernels: Vec<String>,
    /// Runs of each
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A program that ends at once, to be started again and again; may be given several times
    #[arg(long)]
    start: Vec<PathBuf>,
    /// The folder of its libraries, for both emulators
    #[arg(long, default_value = "/usr/arm-linux-gnueabihf")]
    root: String,
    /// Starts in a round
    #[arg(long, default_value_t = 50)]
    starts: usize,
}

/// The names by which QEMU has the builds.
const QEMU: [(&str, &str); 4] =
    [("armhf", "qemu-arm"), ("armel", "qemu-arm"), ("microblaze", "qemu-microblaze"), ("microblazeel", "qemu-microblazeel")];

/// Seconds and checksum of each kernel, in their order.
struct Run(Vec<(String, f64, String)>);

impl Run {
    fn of(&self, name: &str) -> Option<(f64, &str)> {
        self.0.iter().find(|k| k.0 == name).map(|k| (k.1, k.2.as_str()))
    }
}

fn parse(text: &str) -> Run {
    let kernel = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["BENCH", name, _, seconds, sum] => Some((name.to_string(), seconds.parse().ok()?, sum.to_string())),
        _ => None,
    };
    Run(text.lines().filter_map(kernel).collect())
}

fn run(program: &[String], bench: &Path, percent: u32, kernels: &[String]) -> Result<Run, String> {
    let output =
        Command::new(&program[0]).args(&program[1..]).arg(bench).arg(percent.to_string()).args(kernels).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{}: {e}", program[0]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !text.contains("BENCH done") {
        let last = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_string();
        return Err(format!("{} {}: {}, {last}", program[0], bench.display(), output.status));
    }
    Ok(parse(&text))
}

/// The checksums of the whole work, by kernel; of a build without a floating-point unit, where it differs.
fn known(text: &str, soft: bool) -> BTreeMap<String, String> {
    let mut sums = BTreeMap::new();
    let mut second = false;
    for line in text.lines() {
        second |= line.starts_with('#');
        if let ([name, _, sum], true) = (&line.split_whitespace().collect::<Vec<_>>()[..], !second || soft) {
            sums.insert((*name).to_string(), (*sum).to_string());
        }
    }
    sums
}

fn cell(value: Option<f64>) -> String {
    value.map_or("| ".to_string(), |v| format!("| {v:.3} "))
}

/// One build of the benchmark: its table, or what is wrong.
fn kind(c: &User, kind: &str) -> Result<(), String> {
    let qemu = QEMU.iter().find(|q| q.0 == kind).ok_or_else(|| format!("--kinds: there is no `{kind}`"))?.1;
    let folder = c.common.guests().join("bench");
    let bench = folder.join("bin").join(kind).join("bench");
    let mut ours = vec![c.common.emu(), "run".to_string()];
    ours.extend(c.common.with.iter().cloned());
    let theirs = vec![qemu.to_string()];
    let mut runs = Vec::new();
    for round in 1..=c.rounds.max(1) {
        eprintln!("{kind}: round {round} of {}", c.rounds.max(1));
        runs.push((run(&ours, &bench, c.percent, &c.kernels)?, run(&theirs, &bench, c.percent, &c.kernels)?));
    }
    let known = match std::fs::read_to_string(folder.join("expected.txt")) {
        Ok(text) if c.percent == 100 => known(&text, kind != "armhf"),
        _ => BTreeMap::new(),
    };
    println!("| {kind} | emu, s | {qemu}, s | {qemu} / emu | spread |\n|---|---|---|---|---|");
    let (mut ratios, mut wrong) = (BTreeMap::new(), Vec::new());
    for (name, ..) in &runs[0].0.0 {
        let seconds = |pick: &dyn Fn(&(Run, Run)) -> Option<f64>| median(runs.iter().filter_map(pick).collect());
        let sums: Vec<_> = runs.iter().filter_map(|r| Some((r.0.of(name)?.1, r.1.of(name)?.1))).collect();
        // QEMU does not execute guest programs by itself.
        let undone = sums.iter().all(|s| s.1 == "00000000");
        if sums.iter().any(|s| s.0 != sums[0].0 || (s.1 != s.0 && !undone)) || known.get(name).is_some_and(|k| k != sums[0].0) {
            wrong.push(name.clone());
        }
        let pairs: Vec<f64> =
            runs.iter().filter_map(|r| Some(r.1.of(name)?.0 / r.0.of(name)?.0)).filter(|r| r.is_finite() && !undone).collect();
        let (low, high) = pairs.iter().fold((f64::MAX, f64::MIN), |(l, h), r| (l.min(*r), h.max(*r)));
        let emu = cell(seconds(&|r| Some(r.0.of(name)?.0)));
        match median(pairs) {
            Some(ratio) => {
                println!("| {name} {emu}{}| {ratio:.2} | {low:.2} to {high:.2} |", cell(seconds(&|r| Some(r.1.of(name)?.0))));
                ratios.insert(name.clone(), ratio);
            }
            None => println!("| {name} {emu}| | | |"),
        }
    }
    println!("\n| geometric mean | {qemu} / emu |\n|---|---|");
    for (group, names) in compare::GROUPS {
        let mean = compare::geometric_mean(names.iter().filter_map(|n| ratios.get(*n).copied()));
        println!("| {group} {}|", cell(mean));
    }
    println!("| all {}|\n", cell(compare::geometric_mean(ratios.values().copied())));
    if wrong.is_empty() { Ok(()) } else { Err(format!("{kind}: wrong checksums: {}", wrong.join(", "))) }
}

/// Processor time of the children that have ended, in seconds: of user and kernel mode, in ticks of 10 ms.
fn children() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = stat.rsplit_once(") ").map_or("", |s| s.1).split(' ').filter_map(|f| f.parse().ok()).collect();
    // The state is no number: fields 16 and 17 of the whole line are the 13th and 14th of these.
    fields.get(12).zip(fields.get(13)).map_or((0.0, 0.0), |(user, system)| (user / 100.0, system / 100.0))
}

/// Milliseconds of one start of a program: of the clock (the median), in user mode, in the kernel.
fn starts(command: &[String], count: usize) -> Result<[f64; 3], String> {
    let before = children();
    let mut clock = Vec::new();
    for _ in 0..count.max(1) {
        let begin = Instant::now();
        let status =
            Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()).status().map_err(|e| format!("{}: {e}", command[0]))?;
        clock.push(begin.elapsed().as_secs_f64() * 1e3);
        if !status.success() {
            return Err(format!("{}: {status}", command.join(" ")));
        }
    }
    let after = children();
    let each = 1e3 / count.max(1) as f64;
    Ok([median(clock).unwrap_or(f64::NAN), (after.0 - before.0) * each, (after.1 - before.1) * each])
}

pub fn user(c: &User) -> Result<(), String> {
    let mut problems: Vec<String> = c.kinds.iter().filter_map(|k| kind(c, k).err()).collect();
    if !c.start.is_empty() {
        println!("| start of | emu, ms: clock, user, kernel | qemu-arm, ms | clock: qemu-arm / emu |\n|---|---|---|---|");
    }
    for program in &c.start {
        let name = program.to_string_lossy().into_owned();
        let with = |words: &[&str]| words.iter().map(ToString::to_string).chain([name.clone()]).collect::<Vec<_>>();
        let (emu, qemu) = (with(&[&c.common.emu(), "run", "-L", &c.root]), with(&["qemu-arm", "-L", &c.root]));
        let measured =
            (0..c.rounds.max(1)).map(|_| Ok((starts(&emu, c.starts)?, starts(&qemu, c.starts)?))).collect::<Result<Vec<_>, String>>();
        match measured {
            Ok(rounds) => {
                let of = |pick: &dyn Fn(&([f64; 3], [f64; 3])) -> f64| median(rounds.iter().map(pick).collect()).unwrap_or(f64::NAN);
                let row = |who: &dyn Fn(&([f64; 3], [f64; 3])) -> [f64; 3]| {
                    (0..3).map(|n| format!("{:.2}", of(&|r| who(r)[n]))).collect::<Vec<_>>().join(", ")
                };
                println!("| {name} | {} | {} | {:.2} |", row(&|r| r.0), row(&|r| r.1), of(&|r| r.1[0] / r.0[0]));
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_and_checksums_are_read() {
        let run = super::parse("noise\nBENCH sort 24 0.040 7a527e28\nBENCH done\n");
        assert_eq!(run.of("sort"), Some((0.04, "7a527e28")));
        let text = "sort 1 aa\nnbody 2 bb\n# soft\nnbody 3 cc\n";
        assert_eq!((&*super::known(text, false)["nbody"], &*super::known(text, true)["nbody"]), ("bb", "cc"));
    }
}

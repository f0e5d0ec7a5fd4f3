//! The same guest under `emu` and under QEMU, in turn.
//!
//! A guest boots Linux, whose init runs the benchmark kernels named on the kernel's command line and prints a `BENCH` line after each. A kernel's time
//! is the host's between the arrival of two lines; the guest's own count must agree with it under `emu`. QEMU's Zynq is known to have a fast clock.

use crate::chart;
use crate::guest::Guest;
use crate::machines::Machine;
use crate::{Common, median};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Compare {
    #[command(flatten)]
    common: Common,
    /// Percent of the kernels' whole work
    #[arg(long, default_value_t = 30)]
    percent: u32,
    /// Runs of each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Compare with these of QEMU's machines only
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// A bar chart of the ratios
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Longest run, in seconds
    #[arg(long, default_value_t = 600)]
    timeout: u64,
}

/// Kernels that measure the same kind of thing.
pub(crate) const GROUPS: [(&str, &[&str]); 4] = [
    ("integer", &["sort", "hash", "matrix", "crc", "state", "record"]),
    ("floating point", &["nbody", "mandel", "linpack"]),
    ("memory", &["memcpy", "chase"]),
    ("system", &["syscall", "fault", "fork", "forkexec"]),
];

/// What one run gave.
struct Run {
    /// Seconds by name, in their order; "boot" is the first.
    seconds: Vec<(String, f64)>,
    sums: BTreeMap<String, String>,
    /// Host memory above the guest's RAM, in MiB.
    memory: f64,
    /// Seconds of the kernels by the guest's own count, over the host's.
    clock: f64,
    /// Kernels whose own count is more than 2 % and 10 ms off the host's.
    adrift: Vec<String>,
}

impl Run {
    fn of(&self, name: &str) -> Option<f64> {
        self.seconds.iter().find(|s| s.0 == name).map(|s| s.1)
    }
}

/// Boots a guest and takes the times of its kernels, all or those before one.
fn run(program: &str, arguments: &[String], ram: u64, until: Option<&str>, timeout: Duration) -> io::Result<Run> {
    let mut guest = Guest::start(program, arguments, timeout)?;
    let mut run = Run { seconds: Vec::new(), sums: BTreeMap::new(), memory: 0.0, clock: 0.0, adrift: Vec::new() };
    let (mut owns, mut hosts) = (0.0, 0.0);
    let mut last = guest.started;
    let since = |last: &mut Instant, at: Instant| (at - std::mem::replace(last, at)).as_secs_f64();
    loop {
        let (at, line) = guest.line()?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            // A boot is compared with the same kernel's only.
            ["GUEST-UP", ..] if until.is_none() => {
                run.seconds.push(("boot".to_string(), (at - guest.started).as_secs_f64()));
                last = at;
            }
            ["BENCH", "done", ..] => break,
            ["BENCH", name, _, own, sum] => {
                let (own, host) = (own.parse::<f64>().unwrap_or(0.0), since(&mut last, at));
                // The start of the program goes to the first kernel, by the host's clock.
                if !run.sums.is_empty() {
                    if (own - host).abs() > 0.01 + 0.02 * host {
                        run.adrift.push(format!("{name}: the guest says {own:.3} s, the host {host:.3} s"));
                    }
                    (owns, hosts) = (owns + own, hosts + host);
                }
                if until == Some(name) {
                    break;
                }
                run.sums.insert(name.to_string(), sum.to_string());
                run.seconds.push((name.to_string(), host));
            }
            // What the guest prints between its start and the first kernel is not the kernel's.
            _ if run.sums.is_empty() => last = at,
            _ => {}
        }
    }
    (run.memory, run.clock) = (guest.memory_above(ram), owns / hosts);
    Ok(run)
}

pub(crate) fn geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0), |(sum, count), v| (sum + v.ln(), count + 1));
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

/// What all runs of one program gave.
struct Runs<'a> {
    name: &'a str,
    runs: Vec<Run>,
}

impl Runs<'_> {
    fn median(&self, name: &str) -> Option<f64> {
        median(self.runs.iter().filter_map(|r| r.of(name)).collect())
    }
    fn memory(&self) -> f64 {
        median(self.runs.iter().map(|r| r.memory).collect()).unwrap_or(0.0)
    }
    /// Its seconds over those of another, round by round.
    fn over(&self, other: &Runs, name: &str) -> Vec<f64> {
        self.runs.iter().zip(&other.runs).filter_map(|(a, b)| Some(a.of(name)? / b.of(name)?)).collect()
    }
}

/// The ratios of a benchmark: of each peer the median of its rounds, and of the faster peer all rounds.
struct Row {
    name: String,
    peers: Vec<Option<f64>>,
    faster: Vec<f64>,
}

impl Row {
    fn new(name: &str, ours: &Runs, theirs: &[Runs]) -> Row {
        let all: Vec<Vec<f64>> = theirs.iter().map(|t| t.over(ours, name)).collect();
        let peers: Vec<Option<f64>> = all.iter().map(|ratios| median(ratios.clone())).collect();
        let known = all.into_iter().zip(&peers).filter_map(|(ratios, median)| Some((ratios, (*median)?)));
        let faster = known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|f| f.0).unwrap_or_default();
        Row { name: name.to_string(), peers, faster }
    }
    fn ratio(&self) -> Option<f64> {
        median(self.faster.clone())
    }
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or("| ".to_string(), |v| format!("| {v:.digits$} "))
}

/// The tables, in Markdown.
fn report(machine: &Machine, ours: &Runs, theirs: &[Runs], rows: &[Row]) -> String {
    let mut text = format!("| {} | emu, s |", machine.name);
    let columns = [" ", " / emu |"]
        .map(|end| theirs.iter().map(|t| format!(" {}{}", t.name, if end == " " { ", s |" } else { end })).collect::<String>());
    _ = writeln!(text, "{}{} faster / emu | spread |\n|{}", columns[0], columns[1], "---|".repeat(4 + 2 * theirs.len()));
    for row in rows {
        let (low, high) = row.faster.iter().fold((f64::MAX, f64::MIN), |(l, h), r| (l.min(*r), h.max(*r)));
        let seconds: String = std::iter::once(ours).chain(theirs).map(|r| cell(r.median(&row.name), 3)).collect();
        let ratios: String = row.peers.iter().map(|r| cell(*r, 2)).collect();
        let spread = if low <= high { format!(" {low:.2} to {high:.2} |") } else { " |".to_string() };
        _ = writeln!(text, "| {} {seconds}{ratios}{}|{spread}", row.name, cell(row.ratio(), 2));
    }
    let peers: String = theirs.iter().map(|t| format!(" {} / emu |", t.name)).collect();
    _ = writeln!(text, "\n| geometric mean |{peers} faster / emu |\n|{}", "---|".repeat(2 + theirs.len()));
    for (group, names) in GROUPS {
        let of = |ratio: &dyn Fn(&Row) -> Option<f64>| {
            cell(geometric_mean(rows.iter().filter(|r| names.contains(&r.name.as_str())).filter_map(ratio)), 2)
        };
        let peers: String = (0..theirs.len()).map(|index| of(&|row: &Row| row.peers[index])).collect();
        _ = writeln!(text, "| {group} {peers}{}|", of(&Row::ratio));
    }
    let memory: Vec<String> = std::iter::once(ours).chain(theirs).map(|r| format!("{} {:.0}", r.name, r.memory())).collect();
    _ = writeln!(text, "\nHost memory above the guest's {} MiB of RAM, MiB: {}.", machine.ram, memory.join(", "));
    for who in std::iter::once(ours).chain(theirs) {
        let clock = median(who.runs.iter().map(|r| r.clock).collect()).unwrap_or(f64::NAN);
        _ = writeln!(text, "The guest's clock under {} goes {clock:.3} s in a second of the host's.", who.name);
    }
    text
}

pub fn compare(c: &Compare) -> Result<(), String> {
    let machine = c.common.machine()?;
    let guests = c.common.guests();
    let words = format!("maxcpus=1 bench={}", c.percent);
    let timeout = Duration::from_secs(c.timeout);
    if let Some(unknown) = c.peers.iter().find(|name| machine.peers.iter().all(|p| p.name != name.as_str())) {
        let known: Vec<&str> = machine.peers.iter().map(|p| p.name).collect();
        return Err(format!("--peers: there is no `{unknown}`\n  help: {}", known.join(", ")));
    }
    let peers: Vec<_> = machine.peers.iter().filter(|p| c.peers.is_empty() || c.peers.iter().any(|name| name == p.name)).collect();
    let mut ours = Runs { name: "emu", runs: Vec::new() };
    let mut theirs: Vec<Runs> = peers.iter().map(|p| Runs { name: p.name, runs: Vec::new() }).collect();
    for round in 1..=c.rounds.max(1) {
        eprintln!("round {round} of {}", c.rounds.max(1));
        ours.runs
            .push(run(&c.common.emu(), &c.common.arguments(machine, &words), machine.ram, None, timeout).map_err(|e| format!("emu: {e}"))?);
        for (peer, runs) in peers.iter().zip(&mut theirs) {
            let arguments = machine.qemu(peer, &guests, &words);
            runs.runs.push(run(peer.program, &arguments, machine.ram, peer.until, timeout).map_err(|e| format!("{}: {e}", peer.name))?);
        }
    }
    let all = || std::iter::once(&ours).chain(&theirs).flat_map(|r| &r.runs);
    let wrong = |name: &&String| all().filter_map(|r| r.sums.get(*name)).any(|sum| *sum != ours.runs[0].sums[*name]);
    if let Some(name) = ours.runs[0].sums.keys().find(wrong) {
        return Err(format!("the checksums of {name} differ"));
    }
    let rows: Vec<Row> = ours.runs[0].seconds.iter().map(|(name, _)| Row::new(name, &ours, &theirs)).collect();
    print!("{}", report(machine, &ours, &theirs, &rows));
    for adrift in ours.runs.iter().flat_map(|r| &r.adrift) {
        println!("TOO FAR OFF: {adrift}");
    }
    if let Some(path) = &c.svg {
        let bars: Vec<_> = rows.into_iter().map(|row| (row.name, row.peers)).collect();
        let names: Vec<&str> = theirs.iter().map(|t| t.name).collect();
        std::fs::write(path, chart::bars(&format!("{}: QEMU's time over emu's (longer is better)", machine.name), &names, &bars))
            .map_err(|e| format!("cannot write `{}`: {e}", path.display()))?;
    }
    Ok(())
}

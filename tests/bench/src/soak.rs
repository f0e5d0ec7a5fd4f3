//! Two endless loops of all benchmarks on the guest's CPUs, with a code cache so small that it overflows the whole time: every checksum must be the one
//! that the same benchmark gives natively, or gave before where the guest has less work to do (soft floating point).

use crate::Common;
use crate::guest::Guest;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Soak {
    #[command(flatten)]
    common: Common,
    /// For how long, in minutes
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Percent of the kernels' whole work
    #[arg(long, default_value_t = 5)]
    percent: u32,
    /// Size of the code cache
    #[arg(long, default_value = "1M")]
    code_cache_size: String,
    /// Longest time without a line, in seconds
    #[arg(long, default_value_t = 120)]
    patience: u64,
}

/// Checksums by kernel and iterations.
type Sums = BTreeMap<(String, String), String>;

/// A benchmark's line: what it is of, and its checksum.
fn result(line: &str) -> Option<((String, String), String)> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["BENCH", name, iterations, _, sum] => Some(((name.to_string(), iterations.to_string()), sum.to_string())),
        _ => None,
    }
}

/// What the host says.
fn native(guests: &Path, percent: u32) -> Sums {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let output = Command::new(guests.join("bench/bin").join(architecture).join("bench")).arg(percent.to_string()).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(result).collect()
}

pub fn soak(c: &Soak) -> Result<(), String> {
    let machine = c.common.machine()?;
    let mut known = native(&c.common.guests(), c.percent);
    if known.is_empty() {
        println!("there is no benchmark for this host: checksums are only compared with each other");
    }
    let mut arguments = c.common.arguments(machine, "");
    arguments.extend(["--code-cache-size".to_string(), c.code_cache_size.clone()]);
    let length = Duration::from_secs_f64(60.0 * c.minutes);
    let patience = Duration::from_secs(c.patience);
    let failed = |e: std::io::Error| format!("emu: {e}");
    let mut guest = Guest::start(&c.common.emu(), &arguments, patience).map_err(failed)?;
    guest.wait_for("GUEST-SHELL").map_err(failed)?;
    let endless = format!("while :; do /bench {}; done", c.percent);
    guest.type_line(&format!("({endless}) & {endless}")).map_err(failed)?;
    let (mut count, mut unread, mut said) = (0_u64, 0_u64, Instant::now());
    while guest.started.elapsed() < length {
        guest.extend(patience);
        let (_, line) = guest.line().map_err(|e| format!("after {count} checksums: {e}"))?;
        // Lines of the two may be mixed, if rarely.
        let Some((kernel, sum)) = result(&line).filter(|(_, sum)| sum.len() == 8 && sum.bytes().all(|b| b.is_ascii_hexdigit())) else {
            unread += u64::from(!line.ends_with("done") && line.contains("BENCH"));
            continue;
        };
        if *known.entry(kernel.clone()).or_insert_with(|| sum.clone()) != sum {
            return Err(format!("after {count} checksums: {} gives {sum}, not {}: {line}", kernel.0, known[&kernel]));
        }
        count += 1;
        if said.elapsed() > Duration::from_secs(60) {
            said = Instant::now();
            println!("{:.0} minutes: {count} right checksums", guest.started.elapsed().as_secs_f64() / 60.0);
        }
    }
    println!("{count} right checksums in {:.1} minutes, {unread} lines unread", guest.started.elapsed().as_secs_f64() / 60.0);
    if unread * 20 > count || count == 0 {
        return Err("too few lines could be read".into());
    }
    Ok(())
}

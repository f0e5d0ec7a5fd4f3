//! Two benchmarks at a time in the guest's shell, against one: what a second CPU is worth.

use crate::guest::Guest;
use crate::{Common, median};
use std::io;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Smp {
    #[command(flatten)]
    common: Common,
    /// Kernels that each of the two runs
    #[arg(long, value_delimiter = ',', default_value = "sort,hash,crc,state,record")]
    kernels: Vec<String>,
    /// Percent of the kernels' whole work
    #[arg(long, default_value_t = 100)]
    percent: u32,
    /// How often
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Longest run, in seconds
    #[arg(long, default_value_t = 600)]
    timeout: u64,
}

/// Host seconds that a command takes in the guest's shell, and processor time.
fn seconds(guest: &mut Guest, command: &str) -> io::Result<(f64, f64)> {
    guest.type_line(&format!("echo BEGIN; {command}; echo END"))?;
    let begin = guest.wait_for("BEGIN")?;
    let used = guest.processor_time();
    Ok(((guest.wait_for("END")? - begin).as_secs_f64(), guest.processor_time() - used))
}

pub fn smp(c: &Smp) -> io::Result<()> {
    let machine = c.common.machine().map_err(io::Error::other)?;
    let mut guest = Guest::start(&c.common.emu(), &c.common.arguments(machine, ""), Duration::from_secs(c.timeout))?;
    guest.wait_for("GUEST-SHELL")?;
    let one = format!("/bench {} {}", c.percent, c.kernels.join(" "));
    let two = format!("{one} & {one}; wait");
    seconds(&mut guest, &one)?;
    let (mut ratios, mut used) = (Vec::new(), Vec::new());
    for round in 1..=c.rounds.max(1) {
        let (single, both) = (seconds(&mut guest, &one)?, seconds(&mut guest, &two)?);
        println!(
            "round {round}: one in {:.3} s ({:.2} s of processors), two in {:.3} s ({:.2} s): throughput {:.2}",
            single.0,
            single.1,
            both.0,
            both.1,
            2.0 * single.0 / both.0
        );
        ratios.push(2.0 * single.0 / both.0);
        used.push(4.0 * single.1 / both.1);
    }
    let (low, high) = ratios.iter().fold((f64::MAX, f64::MIN), |(l, h), r| (l.min(*r), h.max(*r)));
    let (ratio, used) = (median(ratios).unwrap_or(f64::NAN), median(used).unwrap_or(f64::NAN));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("throughput of two over one: {ratio:.2} ({low:.2} to {high:.2}), on a host with {cores} cores");
    println!("by processor time, if each had a core for itself: {used:.2}");
    Ok(())
}

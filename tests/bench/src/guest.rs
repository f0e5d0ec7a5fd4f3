//! A guest that runs: its console's lines, each with the host's time of its arrival; what is typed there; its memory.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// The program a guest runs in. It ends with this value's life.
pub struct Guest {
    child: Child,
    input: ChildStdin,
    lines: Receiver<(Instant, String)>,
    /// When it was started.
    pub started: Instant,
    deadline: Instant,
}

impl Guest {
    /// Starts it; it may take this long altogether.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(program: &str, arguments: &[String], timeout: Duration) -> io::Result<Guest> {
        let started = Instant::now();
        let mut child =
            Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return Err(io::Error::other("no pipes")) };
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send((Instant::now(), String::from_utf8_lossy(&line).trim().to_string())).is_err() {
                    break;
                }
            }
        });
        Ok(Guest { child, input, lines, started, deadline: started + timeout })
    }

    /// The next line of the console, and when it arrived.
    ///
    /// # Errors
    /// The program ended, or its time is over.
    pub fn line(&mut self) -> io::Result<(Instant, String)> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).map_err(|_| match self.child.try_wait() {
            Ok(Some(status)) => io::Error::other(format!("it ended ({status}) before its last line")),
            _ => io::Error::other("it took too long"),
        })
    }

    /// Waits for a line that is just this; when it arrived.
    ///
    /// # Errors
    /// As [`Guest::line`].
    pub fn wait_for(&mut self, text: &str) -> io::Result<Instant> {
        loop {
            let (at, line) = self.line()?;
            if line == text {
                return Ok(at);
            }
        }
    }

    /// It may take this long from now on.
    pub fn extend(&mut self, by: Duration) {
        self.deadline = Instant::now() + by;
    }

    /// Types a line.
    ///
    /// # Errors
    /// The program does not listen any more.
    pub fn type_line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.input, "{line}")?;
        self.input.flush()
    }

    /// Processor time the program has used, in seconds.
    pub fn processor_time(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // Behind the name: state, ten more fields, then ticks of 10 ms in user and in kernel mode.
        let behind = stat.rsplit_once(") ").map_or("", |s| s.1);
        behind.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    /// Host memory resident now that is not the guest's RAM of so many MiB, in MiB.
    pub fn memory_above(&self, ram: u64) -> f64 {
        let maps = std::fs::read_to_string(format!("/proc/{}/smaps", self.child.id())).unwrap_or_default();
        memory_above(&maps, ram << 10)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What is resident by a `smaps`, but for the smallest mapping that holds so many KiB of RAM and others of its file, in MiB.
fn memory_above(maps: &str, ram: u64) -> f64 {
    let field = |line: &str, name: &str| line.strip_prefix(name)?.trim().trim_end_matches("kB").trim().parse::<u64>().ok();
    // Size, file (0: none) and what is resident.
    let mut mappings: Vec<(u64, u64, u64)> = Vec::new();
    for line in maps.lines() {
        if let Some(kib) = field(line, "Size:") {
            mappings.iter_mut().last().into_iter().for_each(|mapping| mapping.0 = kib);
        } else if let Some(kib) = field(line, "Rss:") {
            mappings.iter_mut().last().into_iter().for_each(|mapping| mapping.2 = kib);
        } else if let Some(inode) = line.split_whitespace().nth(4).filter(|_| line.contains('-')).and_then(|inode| inode.parse().ok()) {
            mappings.push((0, inode, 0));
        }
    }
    let taken = mappings.iter().filter(|mapping| mapping.0 >= ram).min().copied();
    let is_ram = |mapping: &&(u64, u64, u64)| taken.is_some_and(|ram| if ram.1 == 0 { **mapping == ram } else { mapping.1 == ram.1 });
    let resident = |all: &mut dyn Iterator<Item = &(u64, u64, u64)>| all.map(|mapping| mapping.2).sum::<u64>();
    (resident(&mut mappings.iter()) - resident(&mut mappings.iter().filter(is_ram))) as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_guests_ram_does_not_count() {
        let anonymous = "1-2 rw-p 0 0:0 0\nSize: 600 kB\nRss: 50 kB\n2-3 rw-p 0 0:0 0\nSize: 2048 kB\nRss: 1000 kB\n3-4 rw-p 0 0:0 0\n\
                         Size: 9999 kB\nRss: 974 kB\n";
        assert_eq!(super::memory_above(anonymous, 2048), 1.0);
        let file = "1-2 rw-s 0 0:1 7 /memfd:ram (deleted)\nSize: 2048 kB\nRss: 1000 kB\n2-3 rw-s 0 0:1 7 /memfd:ram (deleted)\nSize: 4 kB\n\
                    Rss: 4 kB\n3-4 r-xp 0 0:1 9 /x\nSize: 4000 kB\nRss: 1024 kB\n";
        assert_eq!(super::memory_above(file, 2048), 1.0);
    }
}

//! `info`: what a machine has, and how it is.

use super::registers::cpu_register;
use super::{Args, Names, Session};
use emu_machine::Machine;
use emu_machine::inspect::{CpuActivity, LineState, Mapped};
use emu_machine::machine::Input;
use emu_machine::schema::PortSpec;
use std::fmt::Write;

/// A topic of `info`.
#[derive(Clone, Copy)]
pub struct Topic {
    /// Its name, then others for the same.
    pub names: &'static [&'static str],
    /// Its arguments.
    pub args: &'static str,
    /// One line.
    pub help: &'static str,
    /// What there is.
    run: fn(&mut Session, &mut Args<'_>) -> Answer,
}

type Answer = Result<String, String>;

/// All topics, in the order of `info`.
pub const TOPICS: &[Topic] = &[
    Topic { names: &["status"], args: "", help: "whether it runs", run: status },
    Topic { names: &["name"], args: "", help: "the board", run: name },
    Topic { names: &["version"], args: "", help: "of this program", run: version },
    Topic { names: &["cpus"], args: "", help: "the CPUs, and where they are", run: cpus },
    Topic { names: &["registers"], args: "[CPU]", help: "registers of a CPU", run: registers },
    Topic { names: &["irq", "pic"], args: "[PART]", help: "connected lines: level, how often each rose, what drives it", run: irq },
    Topic { names: &["devices", "qtree"], args: "", help: "devices and their types", run: devices },
    Topic { names: &["map", "mtree"], args: "", help: "what is at which address", run: map },
    Topic { names: &["clocks"], args: "", help: "frequencies of clocks", run: clocks },
    Topic { names: &["jit"], args: "", help: "counters of each CPU", run: jit },
    Topic { names: &["network"], args: "", help: "network ports", run: network },
    Topic { names: &["block"], args: "", help: "drives and what is in them", run: block },
    Topic { names: &["chardev"], args: "", help: "serial ports", run: chardev },
    Topic { names: &["leds"], args: "", help: "lights, switches and buttons", run: leds },
    Topic { names: &["stubs"], args: "", help: "blocks that are not modelled and were accessed", run: stubs },
    Topic { names: &["time"], args: "", help: "guest time and the next timer", run: time },
];

/// All topics, a line each.
pub fn topics() -> String {
    let name = |t: &Topic| format!("info {} {}", t.names[0], t.args);
    TOPICS.iter().map(|t| format!("{:<24} {}\n", name(t).trim_end(), t.help)).collect()
}

/// `info`.
pub fn info(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let Some(name) = args.word() else { return Ok(topics()) };
    let topic = TOPICS
        .iter()
        .find(|t| t.names.contains(&name))
        .ok_or_else(|| format!("`info` knows nothing of `{name}`; it knows\n{}", topics()))?;
    let text = (topic.run)(session, args)?;
    args.end()?;
    Ok(text)
}

fn status(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let held = session.machine(|machine| machine.is_held())?;
    Ok(format!("VM status: {}\n", if held { "paused" } else { "running" }))
}

fn name(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let names = session.names();
    Ok(format!("{} {}\n", names.board, names.doc).trim_end().to_string() + "\n")
}

fn version(_: &mut Session, _: &mut Args<'_>) -> Answer {
    Ok(format!("emu {}\n", env!("CARGO_PKG_VERSION")))
}

fn cpus(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let (names, chosen) = (session.names().clone(), session.cpu());
    session.machine(move |machine| {
        let mut text = String::new();
        for (i, cpu) in names.cpus.iter().enumerate() {
            let doing = match machine.activity(i) {
                Some(CpuActivity::Runs) => "runs",
                Some(CpuActivity::Sleeps) => "sleeps",
                Some(CpuActivity::Reset) => "in reset",
                Some(CpuActivity::Stopped) => "clock stopped",
                None => "not there",
            };
            let pc = machine.cpu(i).map_or(0, |c| c.pc());
            let mark = if i == chosen { '*' } else { ' ' };
            _ = writeln!(text, "{mark} {i}: {} {} at {pc:#010x}, {doing}", cpu.name, cpu.model);
        }
        text
    })
}

fn registers(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let cpu = match args.word() {
        Some(text) => {
            let named = session.names().cpus.iter().position(|c| c.name == text);
            let number = || super::args::number(text).and_then(|n| usize::try_from(n).ok());
            named.or_else(number).filter(|n| *n < session.names().cpus.len()).ok_or_else(|| format!("there is no CPU `{text}`"))?
        }
        None => session.cpu(),
    };
    session.machine(move |machine| {
        let mut text = String::new();
        let all: Vec<_> = machine.cpu(cpu).map_or(&emu_ir::gdb::GdbDesc::NONE, |c| c.debug_registers()).regs().collect();
        let mut column = 0;
        for reg in &all {
            let Some((value, bits)) = cpu_register(machine, cpu, reg.name) else { continue };
            let shown = format!("{:>5} {value:0width$x}", reg.name, width = bits as usize / 4);
            column += shown.len() + 2;
            if column > 80 && !text.is_empty() {
                text += "\n";
                column = shown.len() + 2;
            } else if !text.is_empty() {
                text += "  ";
            }
            text += &shown;
        }
        if all.is_empty() {
            let pc = cpu_register(machine, cpu, "pc").map_or(0, |(pc, _)| pc);
            text = format!("pc {pc:#x}");
        }
        text + "\n"
    })
}

/// The name of a line of a port.
fn pin(names: &Names, device: usize, ports: impl Fn(&super::DeviceName) -> &'static [PortSpec], port: usize, index: u32) -> String {
    let Some(device) = names.devices.get(device) else { return "?".into() };
    match ports(device).get(port) {
        Some(spec) if spec.per_cpu || spec.count != emu_machine::schema::Count::Fixed(1) => {
            format!("{}.{} {}", device.name, spec.name, index.saturating_add(spec.first))
        }
        Some(spec) => format!("{}.{}", device.name, spec.name),
        None => format!("{}.{port}", device.name),
    }
}

fn line_name(names: &Names, to: Input) -> String {
    let cpu = |cpu: usize| names.cpus.get(cpu).map_or("?", |c| c.name.as_str());
    match to {
        Input::Device { device, port, index } => pin(names, device, |d| d.kind.inputs, port, index),
        Input::Cpu { cpu: n, bit } => match names.cpus.get(n).and_then(|c| c.lines.get(bit as usize)) {
            Some(line) => format!("{}.{line}", cpu(n)),
            None => format!("{}.line {bit}", cpu(n)),
        },
        Input::CpuReset(n) => format!("{}.reset", cpu(n)),
        Input::CpuStop(n) => format!("{}.stop", cpu(n)),
        Input::Place { bus, region, shown } => format!("place {region} of bus {bus}{}", if shown { "" } else { ", hidden" }),
    }
}

fn irq(session: &mut Session, args: &mut Args<'_>) -> Answer {
    let (names, part) = (session.names().clone(), args.word().unwrap_or("").to_string());
    session.machine(move |machine| {
        let drivers = |line: &LineState| {
            let devices = line.from.iter().map(|(device, port, index)| pin(&names, *device, |d| d.kind.outputs, *port, *index));
            let cpus = line.from_cpus.iter().filter_map(|cpu| Some(names.cpus.get(*cpu)?.name.clone()));
            devices.chain(cpus).collect::<Vec<_>>().join(", ")
        };
        let mut text = String::new();
        for line in machine.lines() {
            let level = if line.high { "high" } else { "low" };
            let shown = format!("{:<24} {level:<4} {:>8} rises, from {}\n", line_name(&names, line.to), line.rises, drivers(&line));
            if shown.contains(&part) {
                text += &shown;
            }
        }
        text
    })
}

fn devices(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let mut text = String::new();
    for d in &session.names().devices {
        _ = writeln!(text, "{:<14} {:<22} {}", d.name, d.kind.name, d.kind.doc);
    }
    Ok(text)
}

fn map(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let names = session.names().clone();
    session.machine(move |machine| {
        let mut text = String::new();
        for bus in 0..machine.buses() {
            _ = writeln!(text, "bus {}", names.buses.get(bus).map_or("?", |n| n));
            for entry in machine.map(bus) {
                let what = match entry.what {
                    Mapped::Memory(name, true) => format!("{name}, RAM"),
                    Mapped::Memory(name, false) => format!("{name}, ROM"),
                    Mapped::Stub(name) => format!("{name}, stub"),
                    Mapped::Device(device, region) => match names.devices.get(device) {
                        Some(d) if d.kind.regions.len() > 1 => {
                            format!("{}.{}, {}", d.name, d.kind.regions.get(region).map_or("?", |r| r.name), d.kind.name)
                        }
                        Some(d) => format!("{}, {}", d.name, d.kind.name),
                        None => "?".into(),
                    },
                };
                let priority = if entry.priority == 0 { String::new() } else { format!(", priority {}", entry.priority) };
                _ = writeln!(text, "  {:08x}-{:08x} {what}{priority}", entry.start, entry.last);
            }
        }
        text
    })
}

/// A frequency.
fn hertz(hz: u64) -> String {
    match hz {
        0 => "stopped".into(),
        hz if hz % 1_000_000 == 0 => format!("{} MHz", hz / 1_000_000),
        hz if hz >= 1_000_000 => format!("{:.6} MHz", hz as f64 / 1e6),
        hz => format!("{hz} Hz"),
    }
}

fn clocks(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let names = session.names().clone();
    session.machine(move |machine| {
        let mut text = String::new();
        for (i, name) in names.clocks.iter().enumerate() {
            _ = writeln!(text, "{name:<24} {}", hertz(machine.clock(i).0));
        }
        for (i, d) in names.devices.iter().enumerate() {
            let (inputs, outputs) = machine.device_clocks(i);
            for (spec, hz) in d.kind.clocks_in.iter().zip(inputs) {
                _ = writeln!(text, "{:<24} {}", format!("{}.{}", d.name, spec.name), hertz(hz.0));
            }
            for (spec, hz) in d.kind.clocks_out.iter().zip(outputs) {
                _ = writeln!(text, "{:<24} {}, made by it", format!("{}.{}", d.name, spec.name), hertz(hz.0));
            }
        }
        text
    })
}

fn jit(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let names = session.names().clone();
    session.machine(move |machine| {
        let mut text = String::new();
        for (cpu, counters) in names.cpus.iter().zip(machine.counters()) {
            _ = writeln!(text, "{}", cpu.name);
            for (name, value) in counters {
                _ = writeln!(text, "  {name:<24} {value}");
            }
        }
        text
    })
}

fn network(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let names = session.names().clone();
    session.machine(move |machine| {
        let mut text = String::new();
        for (name, device, port) in names.nics() {
            let up = if machine.link(device, port) == Some(true) { "up" } else { "down" };
            let backend = names.networks.get(&(device, port)).map_or("not connected", |b| b);
            _ = writeln!(text, "{name}: link {up}, {backend}");
        }
        if text.is_empty() { "no network ports\n".into() } else { text }
    })
}

fn block(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let names = session.names().clone();
    session.machine(move |machine| {
        let mut text = String::new();
        for (name, device, port) in names.drives() {
            let file = names.media().get(&(device, port)).cloned();
            _ = match machine.medium(device, port) {
                Some(medium) => {
                    let how = if medium.read_only { ", read-only" } else { "" };
                    writeln!(text, "{name}: {} bytes{how}: {}", medium.size, file.as_deref().unwrap_or("?"))
                }
                None => writeln!(text, "{name}: empty"),
            };
        }
        if text.is_empty() { "no drives\n".into() } else { text }
    })
}

fn chardev(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let names = session.names();
    let mut text = String::new();
    for (i, d) in names.devices.iter().enumerate().filter(|(_, d)| !d.kind.chardevs.is_empty()) {
        _ = writeln!(text, "{}: {}", d.name, names.chardevs.get(&i).map_or("null", |b| b));
    }
    Ok(if text.is_empty() { "no serial ports\n".into() } else { text })
}

/// What has a register that says how it is, for people to see.
fn leds(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let names = session.names().clone();
    session.machine(move |machine| {
        let mut text = String::new();
        for (i, d) in names.devices.iter().enumerate() {
            let Some(doc) = d.kind.registers.iter().find(|r| matches!(r.name, "LIT" | "ON" | "PRESSED")) else { continue };
            let on = machine.read_register(i, doc.region, doc.offset, 1).is_ok_and(|value| value != 0);
            _ = writeln!(text, "{}: {}{}", d.name, if on { "" } else { "not " }, doc.name.to_lowercase());
        }
        if text.is_empty() { "no lights, switches or buttons\n".into() } else { text }
    })
}

fn stubs(session: &mut Session, _: &mut Args<'_>) -> Answer {
    let stubs = session.machine(|machine| machine.stubs())?;
    Ok(stubs.iter().map(|s| format!("{:<24} {} reads, {} writes\n", s.name, s.reads, s.writes)).collect())
}

fn time(session: &mut Session, _: &mut Args<'_>) -> Answer {
    session.machine(|machine: &mut Machine| {
        let now = machine.now().0;
        let seconds = |nanos: u64| format!("{}.{:09} s", nanos / 1_000_000_000, nanos % 1_000_000_000);
        let mut text = format!("guest time {}{}\n", seconds(now), if machine.is_held() { ", stands still" } else { "" });
        match machine.next_timer() {
            Some(at) => _ = writeln!(text, "next timer in {}", seconds(at.0.saturating_sub(now))),
            None => text += "no timer is armed\n",
        }
        for (name, count) in machine.cpu_names().iter().zip(machine.executed()).filter(|(_, count)| *count > 0) {
            _ = writeln!(text, "{name} executed {count} instructions");
        }
        text
    })
}

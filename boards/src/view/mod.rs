//! A board as text and pictures: what `emu board show|map|irqs|clocks|explain|dts` print.

mod dt;
mod explain;
mod svg;

pub use dt::{device_tree_blob, device_tree_source};
pub use explain::explain;
pub use svg::svg;

use crate::board::{Board, MemoryKind, StubPolicy};
use crate::plan::{ClockSource, Owner, Plan, Region, Unit};
use crate::tree::{hertz_text, size_text};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The short name of a stub's policy, as in a board file.
pub(crate) fn policy_text(policy: StubPolicy) -> String {
    match policy {
        StubPolicy::RazWi => "raz-wi".into(),
        StubPolicy::Abort => "abort".into(),
        StubPolicy::Toggle => "toggle".into(),
        StubPolicy::PollReady(bit) => format!("poll-ready bit={bit}"),
        StubPolicy::Ram => "ram".into(),
        StubPolicy::Value(v) => format!("value={v:#x}"),
    }
}

/// What a region is: a kind of memory, a device type, a stub.
fn what(board: &Board, region: &Region) -> String {
    match region.owner {
        Owner::Device(i, _) => board.devices[i].kind.to_text(),
        Owner::Memory(i, place) => {
            let kind = if board.memories[i].kind == MemoryKind::Rom { "rom" } else { "ram" };
            let kind = if place == 0 { kind.into() } else { format!("{kind} (alias)") };
            match &region.when {
                Some((line, high)) => format!("{kind} {} {}", if *high { "when" } else { "unless" }, line.to_text()),
                None => kind,
            }
        }
        Owner::Stub(i) => format!("stub, {}", policy_text(board.stubs[i].policy)),
    }
}

/// Columns of text, each as wide as its widest cell.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

fn hex(board: &Board, bus: usize, address: u64) -> String {
    let digits = board.buses.get(bus).map_or(8, |b| b.width.div_ceil(4) as usize);
    format!("0x{address:0digits$x}")
}

/// Devices, CPUs and memories with their types, addresses and interrupt lines, as a tree by bus.
pub fn show(board: &Board, plan: &Plan) -> String {
    let mut out = String::new();
    let doc = board.doc.last().map_or(String::new(), |d| format!(": {}", d.text()));
    let _ = writeln!(out, "{}{doc}", board.name);
    if !board.compatible.is_empty() {
        let list: Vec<&str> = board.compatible.iter().map(|c| c.text()).collect();
        let _ = writeln!(out, "compatible {}", list.join(", "));
    }
    if !board.params.is_empty() {
        let big = |v: &crate::tree::Value| match v.data.int() {
            Some(n) if n >= 1 << 20 && n % (1 << 20) == 0 => size_text(n),
            _ => v.to_text(),
        };
        let list: Vec<String> = board.params.iter().map(|(n, v)| format!("{n}={}", big(v))).collect();
        let _ = writeln!(out, "parameters {}", list.join(" "));
    }
    let mut lines: BTreeMap<Unit, Vec<String>> = BTreeMap::new();
    for link in &plan.links {
        let to = plan.pin_name(board, link.to, false);
        let to = to.split(" (cpu").next().unwrap_or(&to).to_string();
        let list = lines.entry(link.from.unit).or_default();
        if !list.contains(&to) {
            list.push(to);
        }
    }
    let wires = |unit: Unit| match lines.get(&unit) {
        Some(list) if list.len() > 6 => format!("-> {} and {} more", list[..5].join(", "), list.len() - 5),
        Some(list) => format!("-> {}", list.join(", ")),
        None => String::new(),
    };
    for (b, bus) in board.buses.iter().enumerate() {
        let _ = writeln!(out, "\nbus {} ({} address bits)", bus.name.text(), bus.width);
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (i, cpu) in board.cpus.iter().enumerate().filter(|(i, _)| plan.cpus[*i].bus == Some(b)) {
            let state = if cpu.runs { "" } else { "held in reset" };
            rows.push(vec![
                cpu.name.to_text(),
                "cpu".into(),
                format!("{} {}", cpu.isa.text(), cpu.model.text()),
                state.into(),
                wires(Unit::Cpu(i)),
            ]);
        }
        for memory in board.memories.iter() {
            let Some(place) = memory.places.first() else { continue };
            let kind = if memory.kind == MemoryKind::Rom { "rom" } else { "ram" };
            rows.push(vec![
                memory.name.to_text(),
                "mem".into(),
                format!("{kind} {}", size_text(memory.size.into())),
                hex(board, b, place.at.v),
                String::new(),
            ]);
        }
        for (i, device) in board.devices.iter().enumerate().filter(|(i, _)| plan.devices[*i].bus == Some(b)) {
            let at: Vec<String> =
                plan.regions.iter().filter(|r| matches!(r.owner, Owner::Device(d, _) if d == i)).map(|r| hex(board, b, r.start)).collect();
            let (what, at) = match plan.part_place(board, i) {
                Some(place) => ("part", format!("on {place}")),
                None => ("device", at.join(" ")),
            };
            rows.push(vec![device.name.to_text(), what.into(), device.kind.to_text(), at, wires(Unit::Device(i))]);
        }
        for stub in &board.stubs {
            rows.push(vec![stub.name.to_text(), "stub".into(), policy_text(stub.policy), hex(board, b, stub.place.at.v), String::new()]);
        }
        let last = rows.len().saturating_sub(1);
        for (i, line) in table(&rows).lines().enumerate() {
            let _ = writeln!(out, "{} {line}", if i == last { "└─" } else { "├─" });
        }
    }
    for device in &board.devices {
        if let Some(chardev) = &device.chardev {
            let _ = writeln!(out, "\nserial {} on {} by default", device.name.text(), chardev.to_text());
        }
    }
    for (i, device) in board.devices.iter().enumerate() {
        let Some(kind) = plan.devices[i].kind else { continue };
        let name = device.name.text();
        let others: Vec<&str> =
            board.aliases.iter().filter(|(_, target)| target.text() == name).map(|(other, _)| other.text.as_str()).collect();
        let also = if others.is_empty() { String::new() } else { format!(", also {}", others.join(", ")) };
        for what in [(!kind.drives.is_empty()).then_some("drive"), (!kind.nics.is_empty()).then_some("network port")].into_iter().flatten()
        {
            let _ = writeln!(out, "{what} {name}{also}");
        }
    }
    if let Some(boot) = &board.boot {
        let ways: Vec<&str> = boot.protocols.iter().map(|p| p.name.text()).collect();
        let firmware = boot.firmware.as_ref().map_or(String::new(), |f| format!("; firmware {}", f.to_text()));
        let _ = writeln!(out, "boot: {}{firmware}", ways.join(", "));
    }
    if !board.disabled.is_empty() {
        let _ = writeln!(out, "disabled: {}", board.disabled.join(", "));
    }
    out
}

/// The memory map: every region by bus and address; `^` marks what covers another.
pub fn map(board: &Board, plan: &Plan) -> String {
    let mut out = String::new();
    for (b, bus) in board.buses.iter().enumerate() {
        let _ = writeln!(out, "bus {}", bus.name.text());
        let regions: Vec<&Region> = plan.regions.iter().filter(|r| r.bus == b).collect();
        let rows: Vec<Vec<String>> = regions
            .iter()
            .map(|r| {
                let over = regions.iter().any(|o| o.priority < r.priority && o.start <= r.last() && r.start <= o.last());
                let mark = if over { "^" } else { "" };
                let range = format!("{}..={}", hex(board, b, r.start), hex(board, b, r.last()));
                vec![range, format!("{:>5}", size_text(r.size.into())), format!("{mark}{}", r.name), what(board, r)]
            })
            .collect();
        out += &table(&rows);
    }
    out
}

/// Every line: what drives it, what it reaches, and where that is written.
pub fn irqs(board: &Board, plan: &Plan) -> String {
    let mut links: Vec<_> = plan.links.iter().collect();
    links.sort_by_key(|l| (l.to, l.from));
    let mut rows = vec![vec!["to".to_string(), "from".into(), "written at".into()]];
    for link in links {
        let shared = if link.shared { " (shared)" } else { "" };
        rows.push(vec![
            plan.pin_name(board, link.to, false) + shared,
            plan.pin_name(board, link.from, true),
            board.sources.place(link.span),
        ]);
    }
    table(&rows)
}

/// The clock tree; frequencies a device computes are known only while the machine runs.
pub fn clocks(board: &Board, plan: &Plan) -> String {
    let mut users: BTreeMap<ClockSource, Vec<String>> = BTreeMap::new();
    for (cpu, planned) in board.cpus.iter().zip(&plan.cpus) {
        if let Some(source) = planned.clock {
            users.entry(source).or_default().push(cpu.name.to_text());
        }
    }
    for (device, planned) in board.devices.iter().zip(&plan.devices) {
        for (input, source) in planned.clocks.iter().enumerate() {
            if let (Some(source), Some(kind)) = (source, planned.kind) {
                let name = device.name.text();
                let name = if kind.clocks_in.len() > 1 { format!("{name}.{}", kind.clocks_in[input].name) } else { name.to_string() };
                users.entry(*source).or_default().push(name);
            }
        }
    }
    let mut out = String::new();
    let mut work: Vec<(ClockSource, usize, Option<(u64, u64)>)> = Vec::new();
    for (i, clock) in board.clocks.iter().enumerate().rev() {
        if plan.clocks.get(i).is_some_and(Option::is_none) {
            work.push((ClockSource::Clock(i), 0, clock.hz.as_ref().map(|hz| (hz.v, 1))));
        }
    }
    for (i, planned) in plan.devices.iter().enumerate() {
        // Devices whose clock inputs are open: their outputs begin trees of their own.
        let outputs = planned.kind.map_or(0, |k| k.clocks_out.len());
        if planned.clocks.iter().all(Option::is_none) {
            (0..outputs).for_each(|o| work.insert(0, (ClockSource::Device(i, o), 0, None)));
        }
    }
    let mut budget = 10_000;
    while let Some((source, depth, hz)) = work.pop() {
        budget -= 1;
        if budget == 0 {
            break;
        }
        let (name, frequency) = match source {
            ClockSource::Clock(i) => (board.clocks[i].name.to_text(), hz.map(|(n, d)| hertz_text(n / d.max(1)))),
            ClockSource::Device(i, o) => {
                let output = plan.devices[i].kind.map_or("", |k| k.clocks_out[o].name);
                (format!("{}.{output}", board.devices[i].name.text()), None)
            }
        };
        let list = users.get(&source).map_or(String::new(), |l| format!(" -> {}", l.join(", ")));
        let frequency = frequency.unwrap_or_else(|| "set by software".into());
        let _ = writeln!(out, "{}{name}  {frequency}{list}", "   ".repeat(depth));
        if depth > 40 {
            continue;
        }
        for (i, clock) in board.clocks.iter().enumerate().rev() {
            if plan.clocks.get(i).copied().flatten() == Some(source) {
                let next = hz.and_then(|(n, d)| Some((n.checked_mul(clock.mul)?, d.checked_mul(clock.div)?)));
                work.push((ClockSource::Clock(i), depth + 1, next));
            }
        }
        for (i, planned) in plan.devices.iter().enumerate().rev() {
            if planned.clocks.contains(&Some(source)) {
                let outputs = planned.kind.map_or(0, |k| k.clocks_out.len());
                let used = |o: &usize| {
                    let s = ClockSource::Device(i, *o);
                    users.contains_key(&s) || plan.clocks.contains(&Some(s))
                };
                (0..outputs).rev().filter(used).for_each(|o| work.push((ClockSource::Device(i, o), depth + 1, None)));
            }
        }
    }
    out
}

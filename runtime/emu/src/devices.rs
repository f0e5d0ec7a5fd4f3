//! What a device type looks like from a board file, in text for `emu device help` and as the book's page of all of them.

use emu_machine::schema::{Count, DeviceType, PropKind};
use std::fmt::Write;

fn count(c: Count) -> String {
    match c {
        Count::Fixed(n) => n.to_string(),
        Count::Prop(p) => format!("`{p}`"),
    }
}

/// Everything but registers: kind, name with its numbers, what it is.
fn ports(d: &DeviceType) -> Vec<[String; 3]> {
    let mut all = Vec::new();
    let mut say = |kind: &str, name: String, doc: &str| all.push([kind.to_string(), name, doc.to_string()]);
    if let Some(bus) = d.part {
        say("part", format!("of a bus: {}", bus.name()), "");
    }
    for r in d.regions {
        say("region", r.name.to_string(), &format!("{} bytes", count(r.size)));
    }
    for p in d.props {
        let kind = match p.kind {
            PropKind::Int { min, max } => format!("{min:#x} to {max:#x}"),
            PropKind::Size { min, max } => format!("{min} to {max} bytes"),
            PropKind::Bool => "#true or #false".into(),
            PropKind::Text => "text".into(),
            PropKind::Choice(all) => all.join(", "),
        };
        say("property", format!("{} ({kind}; {})", p.name, p.default.map_or("must be given".into(), |d| format!("default {d}"))), p.doc);
    }
    for (what, ports) in [("input", d.inputs), ("output", d.outputs)] {
        for p in ports {
            let lines = format!("{} ({} lines{})", p.name, count(p.count), if p.per_cpu { " for each CPU" } else { "" });
            say(what, lines, p.doc);
        }
    }
    for (what, clocks) in [("clock input", d.clocks_in), ("clock output", d.clocks_out)] {
        clocks.iter().for_each(|c| say(what, c.name.to_string(), c.doc));
    }
    for s in d.slots {
        say("slot", format!("{} ({}, {:#x} to {:#x})", s.name, s.bus.name(), s.first, s.last), s.doc);
    }
    for m in d.memories {
        say("memory", m.name.to_string(), &format!("{} bytes", count(m.size)));
    }
    for (what, names) in [("serial port", d.chardevs), ("drive", d.drives), ("network port", d.nics)] {
        names.iter().for_each(|name| say(what, name.to_string(), ""));
    }
    if d.dma {
        say("DMA", "master of a bus".to_string(), "");
    }
    all
}

/// The text of `emu device help`.
pub fn help(d: &DeviceType) -> String {
    let mut out = format!("{}: {}\n", d.name, d.doc);
    for [kind, name, doc] in ports(d) {
        _ = writeln!(out, "  {kind} {name}{}{doc}", if doc.is_empty() { "" } else { ": " });
    }
    for r in d.registers {
        _ = writeln!(out, "  {:#06x} {} (reset {:#x}) {}", r.offset, r.name, r.reset, r.doc);
        for (name, lo, len, access) in r.fields {
            _ = writeln!(out, "         {name} [{}:{lo}] {access}", lo + len - 1);
        }
    }
    out
}

/// The book's page of all types, in Markdown.
pub fn page(types: &[DeviceType]) -> String {
    let mut types: Vec<&DeviceType> = types.iter().collect();
    types.sort_by_key(|d| d.name);
    let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
    let anchor = |name: &str| name.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect::<String>();
    let mut out =
        String::from("# Devices\n\nMade from the device types by `emu device doc`.\n\n| type | what | registers |\n|---|---|---|\n");
    for d in &types {
        let registers: u64 = d.registers.iter().map(|r| r.count).sum();
        let registers = if registers == 0 { String::new() } else { registers.to_string() };
        _ = writeln!(out, "| [`{}`](#{}) | {} | {registers} |", d.name, anchor(d.name), cell(d.doc));
    }
    for d in &types {
        _ = writeln!(out, "\n## {}\n\n{}\n\n| | | |\n|---|---|---|", d.name, cell(d.doc));
        for [kind, name, doc] in ports(d) {
            _ = writeln!(out, "| {kind} | {} | {} |", cell(&name), cell(&doc));
        }
        if d.registers.is_empty() {
            continue;
        }
        out.push_str("\n| offset | register | reset | fields | |\n|---|---|---|---|---|\n");
        for r in d.registers {
            let times = if r.count > 1 { format!(" × {}", r.count) } else { String::new() };
            let fields = r.fields.iter().map(|(name, lo, len, access)| match len {
                1 => format!("{name} [{lo}] {access}"),
                _ => format!("{name} [{}:{lo}] {access}", lo + len - 1),
            });
            let fields = fields.collect::<Vec<_>>().join(", ");
            let fields = if fields.is_empty() { r.access.to_string() } else { fields };
            _ = writeln!(out, "| {:#05x} | {}{times} | {:#x} | {} | {} |", r.offset, r.name, r.reset, cell(&fields), cell(r.doc));
        }
    }
    out
}

//! A picture of a board for a document: CPUs above, buses as bars, memory and devices in columns under them, interrupt
//! wires straight to the right into the controller, its outputs up to the CPUs.
//!
//! No wire is routed by search: a device stands in the row where its line enters the controller, and lines to CPUs have a
//! track each between the CPUs and the buses, so wires cross only buses and the taps of buses.

use super::policy_text;
use crate::board::{Board, MemoryKind};
use crate::plan::{Link, Owner, Plan, Unit};
use crate::tree::size_text;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const MARGIN: i64 = 28;
const BOX_WIDTH: i64 = 214;
const BOX_HEIGHT: i64 = 42;
const ROW: i64 = 54;
/// Between columns: the bus spine of the right one and risers of the left one.
const GUTTER: i64 = 52;
const CPU_WIDTH: i64 = 168;
const CPU_HEIGHT: i64 = 52;
const TRACK: i64 = 20;
const BAR: i64 = 22;
const LABELS: i64 = 84;
const CONTROLLER_WIDTH: i64 = 190;
const MAX_STUBS: usize = 60;

struct Style {
    fill: &'static str,
    line: &'static str,
    what: &'static str,
}

const CPU: Style = Style { fill: "#dce8fb", line: "#2f5fa8", what: "CPU" };
const MEMORY: Style = Style { fill: "#dff2e3", line: "#2e7d4f", what: "memory" };
const DEVICE: Style = Style { fill: "#fff6df", line: "#b07d1a", what: "device" };
const PART: Style = Style { fill: "#fdeee4", line: "#b8693a", what: "part on a peripheral bus" };
const CONTROLLER: Style = Style { fill: "#efe5fa", line: "#6f42a8", what: "interrupt controller" };
const STUB: Style = Style { fill: "#f4f4f4", line: "#b4b4b4", what: "known, not modelled" };
const BUS: &str = "#45536a";
const IRQ: &str = "#c0392b";
const CONTROL: &str = "#0e7c86";

/// The picture, a complete SVG document.
pub fn svg(board: &Board, plan: &Plan) -> String {
    Picture::new(board, plan).draw()
}

struct Picture<'a> {
    board: &'a Board,
    plan: &'a Plan,
    /// Devices that gather lines of others.
    controllers: Vec<usize>,
    /// What lies under everything else, and above it.
    under: String,
    over: String,
}

/// Where a device's box is.
#[derive(Clone, Copy)]
struct Spot {
    x: i64,
    y: i64,
    width: i64,
    height: i64,
}

impl<'a> Picture<'a> {
    fn new(board: &'a Board, plan: &'a Plan) -> Self {
        let mut feeders: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let (mut to_cpu, mut holds) = (BTreeSet::new(), BTreeSet::new());
        for link in &plan.links {
            match (link.from.unit, link.to.unit) {
                (Unit::Device(from), Unit::Device(to)) => drop(feeders.entry(to).or_default().insert(from)),
                (Unit::Device(from), Unit::Cpu(_)) => {
                    let resets = matches!(plan.port_of(link.to, false).0, "reset" | "stop");
                    if resets { &mut holds } else { &mut to_cpu }.insert(from);
                }
                _ => {}
            }
        }
        let controllers =
            feeders.iter().filter(|(d, f)| !holds.contains(d) && (f.len() > 1 || to_cpu.contains(d))).map(|(d, _)| *d).collect();
        Picture { board, plan, controllers, under: String::new(), over: String::new() }
    }

    fn draw(mut self) -> String {
        let (board, plan) = (self.board, self.plan);
        // What a device sends where: lines to its controller, bundles to CPUs.
        let mut rows: Vec<(usize, usize, u32)> = Vec::new();
        let mut placed = BTreeSet::new();
        for link in &plan.links {
            if let (Unit::Device(from), Unit::Device(to)) = (link.from.unit, link.to.unit)
                && self.controllers.contains(&to)
                && !self.controllers.contains(&from)
                && placed.insert(from)
            {
                rows.push((to, from, 0));
            }
        }
        for row in &mut rows {
            let first = plan.links.iter().filter(|l| l.from.unit == Unit::Device(row.1) && l.to.unit == Unit::Device(row.0));
            // Private lines first, then shared ones by number.
            row.2 = first.map(|l| ((1 - l.to.port.min(1) as u32) << 24) + plan.port_of(l.to, false).1).min().unwrap_or(0);
        }
        rows.sort_by_key(|(to, from, line)| (*to, *line, *from));
        let others: Vec<usize> = (0..board.devices.len()).filter(|d| !placed.contains(d) && !self.controllers.contains(d)).collect();
        let mut sources: BTreeMap<usize, Vec<&Link>> = BTreeMap::new();
        for link in &plan.links {
            if let (Unit::Device(from), Unit::Cpu(_)) = (link.from.unit, link.to.unit) {
                sources.entry(from).or_default().push(link);
            }
        }

        let cpu_y = 88;
        let bars_y = cpu_y + CPU_HEIGHT + 20 + TRACK * sources.len() as i64;
        let buses = board.buses.len().max(1) as i64;
        let top = bars_y + buses * (BAR + 8) + 22;
        // Columns that hold something.
        let mut x = MARGIN + 22;
        let column = |x: &mut i64, used: bool| {
            let at = *x;
            *x += if used { BOX_WIDTH + GUTTER } else { 0 };
            at
        };
        let memory_x = column(&mut x, !board.memories.is_empty());
        let other_x = column(&mut x, !others.is_empty());
        let left_edge = x - GUTTER;
        let irq_x = column(&mut x, !rows.is_empty());
        let controller_x = x - GUTTER + LABELS;
        let right = match self.controllers.is_empty() {
            true => (x - GUTTER).max(MARGIN + 22 + BOX_WIDTH * 2),
            false => controller_x + CONTROLLER_WIDTH + if self.controllers.len() > 1 { 20 } else { 0 },
        };
        let cpus_width = board.cpus.len() as i64 * (CPU_WIDTH + 24);
        let width = (right + MARGIN).max(MARGIN * 2 + cpus_width).max(560);

        let mut spots: BTreeMap<usize, Spot> = BTreeMap::new();
        let mut y = top;
        for (i, memory) in board.memories.iter().enumerate() {
            let spot = Spot { x: memory_x, y, width: BOX_WIDTH, height: BOX_HEIGHT };
            let kind = if memory.kind == MemoryKind::Rom { "ROM" } else { "RAM" };
            let at = memory.places.first().map_or(0, |p| p.at.v);
            self.block(
                spot,
                &MEMORY,
                memory.name.text(),
                &format!("{kind}, {}", size_text(memory.size.into())),
                &format!("{at:#010x}"),
                "",
            );
            let bus = plan.regions.iter().find(|r| r.owner == Owner::Memory(i, 0)).map_or(0, |r| r.bus);
            self.tap(spot, bus, bars_y);
            y += ROW;
        }
        let mut left_bottom = y;
        y = top;
        for &d in &others {
            let spot = Spot { x: other_x, y, width: BOX_WIDTH, height: BOX_HEIGHT };
            self.device(d, spot, bars_y);
            spots.insert(d, spot);
            y += ROW;
        }
        left_bottom = left_bottom.max(y);
        y = top;
        let mut spans: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
        let mut last = None;
        for &(to, d, _) in &rows {
            if last.is_some_and(|l| l != to) {
                y += 24;
            }
            last = Some(to);
            let spot = Spot { x: irq_x, y, width: BOX_WIDTH, height: BOX_HEIGHT };
            self.device(d, spot, bars_y);
            spots.insert(d, spot);
            let span = spans.entry(to).or_insert((y, y));
            span.1 = y + BOX_HEIGHT;
            let middle = y + BOX_HEIGHT / 2;
            self.wire(&[(irq_x + BOX_WIDTH, middle), (controller_x, middle)], IRQ, true);
            let label = self.lines(d, to);
            self.text(controller_x + 8, middle + 4, 10, "start", "#444", &label);
            y += ROW;
        }
        for c in self.controllers.clone() {
            let (from, to) = *spans.entry(c).or_insert((y, y + 90));
            y = y.max(to + 24);
            let spot = Spot { x: controller_x, y: from, width: CONTROLLER_WIDTH, height: (to - from).max(90) };
            spots.insert(c, spot);
            self.controller(c, spot, bars_y);
        }
        let right_bottom = y;
        let stub_bottom = self.stubs(MARGIN + 22, left_bottom + 8, (left_edge - MARGIN - 22).max(BOX_WIDTH * 2));
        let bottom = right_bottom.max(stub_bottom).max(left_bottom) + 8;

        for (i, cpu) in board.cpus.iter().enumerate() {
            let spot = self.cpu_spot(i, cpu_y);
            let state = if cpu.runs { "" } else { "held" };
            self.block(spot, &CPU, cpu.name.text(), cpu.model.text(), cpu.isa.text(), state);
            let bus = plan.cpus.get(i).and_then(|c| c.bus).unwrap_or(0) as i64;
            let x = spot.x + 28;
            let _ = writeln!(
                self.under,
                r#"<path d="M{x} {} V{}" stroke="{BUS}" stroke-width="4" fill="none"/>"#,
                cpu_y + CPU_HEIGHT,
                bars_y + bus * (BAR + 8)
            );
        }
        for (b, bus) in board.buses.iter().enumerate() {
            let y = bars_y + b as i64 * (BAR + 8);
            let _ = writeln!(self.under, r#"<rect x="{MARGIN}" y="{y}" width="{}" height="{BAR}" rx="4" fill="{BUS}"/>"#, right - MARGIN);
            let label = format!("bus {}, {} address bits", bus.name.text(), bus.width);
            self.text(MARGIN + 12, y + 15, 12, "start", "#fff", &label);
        }
        for (n, (device, links)) in sources.iter().enumerate() {
            self.bundle(*device, links, n as i64, cpu_y, spots.get(device).copied(), sources.len() as i64);
        }
        self.text(MARGIN, 40, 20, "start", "#222", &board.name);
        let doc = board.doc.last().map_or("", |d| d.text());
        self.text(MARGIN, 62, 12, "start", "#666", &fit(doc, width - 2 * MARGIN, 12));
        self.legend(bottom + 22);
        let height = bottom + 50;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"'DejaVu Sans', Verdana, Helvetica, sans-serif\">\n\
             <title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n{}{}</svg>\n",
            escape(&board.name),
            self.under,
            self.over
        )
    }

    fn cpu_spot(&self, i: usize, y: i64) -> Spot {
        Spot { x: MARGIN + i as i64 * (CPU_WIDTH + 24), y, width: CPU_WIDTH, height: CPU_HEIGHT }
    }

    fn text(&mut self, x: i64, y: i64, size: i64, anchor: &str, colour: &str, text: &str) {
        let weight = if size >= 13 { " font-weight=\"bold\"" } else { "" };
        let _ = writeln!(
            self.over,
            r#"<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{weight}>{}</text>"#,
            escape(text)
        );
    }

    fn frame(&mut self, s: Spot, style: &Style) {
        let _ = writeln!(
            self.over,
            r#"<rect x="{}" y="{}" width="{}" height="{}" rx="5" fill="{}" stroke="{}" stroke-width="1.2"/>"#,
            s.x, s.y, s.width, s.height, style.fill, style.line
        );
    }

    /// A box: name and address above, what it is and a remark below.
    fn block(&mut self, s: Spot, style: &Style, name: &str, what: &str, at: &str, remark: &str) {
        self.frame(s, style);
        let inner = s.width - 20;
        let at_width = wide(at, 10);
        self.text(s.x + 10, s.y + 18, 13, "start", "#222", &fit(name, inner - at_width - 8, 13));
        self.text(s.x + s.width - 10, s.y + 18, 10, "end", "#555", at);
        let remark = fit(remark, inner / 2, 10);
        self.text(s.x + 10, s.y + 34, 10, "start", "#555", &fit(what, inner - wide(&remark, 10) - 8, 10));
        if !remark.is_empty() {
            self.text(s.x + s.width - 10, s.y + 34, 10, "end", style.line, &remark);
        }
    }

    fn device(&mut self, d: usize, s: Spot, bars_y: i64) {
        let (board, plan) = (self.board, self.plan);
        let device = &board.devices[d];
        let mut regions = plan.regions.iter().filter(|r| matches!(r.owner, Owner::Device(i, _) if i == d));
        let at = regions.next().map(|r| format!("{:#010x}", r.start));
        let mut remark = device.chardev.as_ref().map_or(String::new(), |c| format!("serial: {}", c.to_text()));
        // Lines from devices that are no controller's: resets and the like.
        let from = plan.links.iter().find(|l| l.to.unit == Unit::Device(d) && matches!(l.from.unit, Unit::Device(_)));
        if let Some(link) = from.filter(|_| remark.is_empty() && !self.controllers.contains(&d)) {
            remark = format!("{} \u{2190} {}", plan.port_of(link.to, false).0, board.unit_name(link.from.unit));
        }
        let place = plan.part_place(board, d);
        let style = if place.is_some() { &PART } else { &DEVICE };
        let on = at.clone().or(place).unwrap_or_default();
        self.block(s, style, device.name.text(), device.kind.text(), &on, &remark);
        if at.is_some() {
            self.tap(s, plan.devices[d].bus.unwrap_or(0), bars_y);
        }
    }

    /// The line from a bus down a column's left side to a box.
    fn tap(&mut self, s: Spot, bus: usize, bars_y: i64) {
        let x = s.x - 16 - 5 * bus as i64;
        let from = bars_y + bus as i64 * (BAR + 8) + BAR;
        let _ = writeln!(
            self.under,
            r#"<path d="M{x} {from} V{} H{}" stroke="{BUS}" stroke-width="2.4" fill="none" stroke-linejoin="round"/>"#,
            s.y + s.height / 2,
            s.x
        );
    }

    fn controller(&mut self, c: usize, s: Spot, bars_y: i64) {
        let (board, plan) = (self.board, self.plan);
        let device = &board.devices[c];
        // Drawn under the labels of its inputs.
        let _ = writeln!(
            self.under,
            r#"<rect x="{}" y="{}" width="{}" height="{}" rx="5" fill="{}" stroke="{}" stroke-width="1.2"/>"#,
            s.x, s.y, s.width, s.height, CONTROLLER.fill, CONTROLLER.line
        );
        let x = s.x + s.width - 10;
        let room = s.width - LABELS;
        self.text(x, s.y + 20, 13, "end", "#222", &fit(device.name.text(), room, 13));
        self.text(x, s.y + 36, 10, "end", "#555", &fit(device.kind.text(), room, 10));
        let regions: Vec<String> = plan
            .regions
            .iter()
            .filter(|r| matches!(r.owner, Owner::Device(i, _) if i == c))
            .map(|r| format!("{:#010x}", r.start))
            .collect();
        for (i, at) in regions.iter().take(4).enumerate() {
            self.text(x, s.y + 52 + 13 * i as i64, 10, "end", "#555", at);
        }
        let bus = plan.devices[c].bus.unwrap_or(0) as i64;
        let from = bars_y + bus * (BAR + 8) + BAR;
        // The first controller has nothing between it and the buses; taps of others go down beside them.
        let path = match self.controllers.first() == Some(&c) {
            true => format!("M{} {from} V{}", s.x + 22, s.y),
            false => format!("M{} {from} V{} H{}", s.x + s.width + 14, s.y + s.height / 2, s.x + s.width),
        };
        let _ = writeln!(self.under, r#"<path d="{path}" stroke="{BUS}" stroke-width="2.4" fill="none"/>"#);
        // A controller behind another one.
        for link in plan.links.iter().filter(|l| l.from.unit == Unit::Device(c)).take(1) {
            if let Unit::Device(to) = link.to.unit {
                let label = format!("\u{2192} {}", plan.pin_name(board, link.to, false));
                if self.controllers.contains(&to) {
                    self.text(s.x + s.width - 10, s.y + s.height - 10, 10, "end", IRQ, &fit(&label, s.width - 20, 10));
                }
            }
        }
    }

    /// The lines of a controller a device drives: `spi 27`, `spi 10-12`, `ppi 29`.
    fn lines(&self, device: usize, controller: usize) -> String {
        let plan = self.plan;
        let mut ports: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for link in plan.links.iter().filter(|l| l.from.unit == Unit::Device(device) && l.to.unit == Unit::Device(controller)) {
            let (port, line) = plan.port_of(link.to, false);
            let name = plan.pin_name(self.board, link.to, false);
            // The number as the board file writes it, which need not begin at 0.
            let number = name.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(line);
            ports.entry(port).or_default().insert(number);
        }
        let parts: Vec<String> = ports
            .into_iter()
            .map(|(port, lines)| {
                let (first, last) = (lines.first().copied().unwrap_or(0), lines.last().copied().unwrap_or(0));
                match lines.len() {
                    1 => format!("{port} {first}"),
                    n if last - first + 1 == n as u32 => format!("{port} {first}\u{2013}{last}"),
                    n => format!("{n} x {port}"),
                }
            })
            .collect();
        fit(&parts.join(", "), LABELS - 4, 10)
    }

    fn wire(&mut self, points: &[(i64, i64)], colour: &str, arrow: bool) {
        self.wires(&[(points.to_vec(), arrow)], colour);
    }

    /// Joined polylines, some with an arrow at the end.
    fn wires(&mut self, lines: &[(Vec<(i64, i64)>, bool)], colour: &str) {
        let path = |points: &[(i64, i64)]| format!("M{}", points.iter().map(|(x, y)| format!("{x} {y}")).collect::<Vec<_>>().join(" L"));
        let all: Vec<String> = lines.iter().map(|(points, _)| path(points)).collect();
        let all = all.join(" ");
        // A white seam keeps crossings readable.
        let _ = writeln!(self.under, r##"<path d="{all}" stroke="#fff" stroke-width="5" fill="none"/>"##);
        let _ = writeln!(self.under, r#"<path d="{all}" stroke="{colour}" stroke-width="1.6" fill="none" stroke-linecap="round"/>"#);
        for (points, arrow) in lines {
            let ([.., (px, py), (x, y)], true) = (points.as_slice(), *arrow) else { continue };
            let (dx, dy) = ((x - px).signum(), (y - py).signum());
            let (bx, by) = (x - 8 * dx, y - 8 * dy);
            let head = [(*x, *y), (bx + 4 * dy, by + 4 * dx), (bx - 4 * dy, by - 4 * dx)];
            let _ = writeln!(self.over, r#"<path d="{} Z" fill="{colour}"/>"#, path(&head));
        }
    }

    /// Lines of one device to CPUs: up to a track of their own, along it, and up into each CPU.
    fn bundle(&mut self, device: usize, links: &[&Link], n: i64, cpu_y: i64, spot: Option<Spot>, count: i64) {
        let Some(s) = spot else { return };
        let is_controller = self.controllers.contains(&device);
        let colour = if is_controller { IRQ } else { CONTROL };
        let track = cpu_y + CPU_HEIGHT + 24 + TRACK * n;
        let mut cpus = BTreeSet::new();
        let mut names = Vec::new();
        for link in links {
            if let Unit::Cpu(i) = link.to.unit {
                cpus.insert(i);
                let name = self.plan.port_of(link.to, false).0;
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let pin = |i: usize| MARGIN + i as i64 * (CPU_WIDTH + 24) + 28 + (CPU_WIDTH - 44) * (count - n) / count.max(1);
        let (Some(first), Some(last)) = (cpus.first().map(|i| pin(*i)), cpus.last().map(|i| pin(*i))) else { return };
        let riser = if is_controller { s.x + s.width - 40 } else { s.x + s.width + 12 + 6 * n };
        let start = if is_controller {
            vec![(riser, s.y), (riser, track)]
        } else {
            vec![(s.x + s.width, s.y + s.height / 2), (riser, s.y + s.height / 2), (riser, track)]
        };
        let mut lines = vec![(start, false), (vec![(first.min(riser), track), (last.max(riser), track)], false)];
        for i in &cpus {
            lines.push((vec![(pin(*i), track), (pin(*i), cpu_y + CPU_HEIGHT)], true));
            if first.min(riser) < pin(*i) && pin(*i) < last.max(riser) {
                let _ = writeln!(self.over, r#"<circle cx="{}" cy="{track}" r="2.6" fill="{colour}"/>"#, pin(*i));
            }
        }
        self.wires(&lines, colour);
        let label = format!("{}: {}", self.board.devices[device].name.text(), names.join(", "));
        let (x, anchor) = if riser > last + wide(&label, 10) + 20 { (riser - 10, "end") } else { (last.max(riser) + 8, "start") };
        let y = if anchor == "end" { track - 4 } else { track + 4 };
        self.text(x, y, 10, anchor, colour, &label);
    }

    /// Stubs in a grid; gives the lower edge.
    fn stubs(&mut self, x: i64, y: i64, width: i64) -> i64 {
        let stubs = &self.board.stubs;
        if stubs.is_empty() {
            return y;
        }
        let columns = (width / 150).max(1);
        let cell = (width - 16 - (columns - 1) * 6) / columns;
        let shown = if stubs.len() > MAX_STUBS { MAX_STUBS - 1 } else { stubs.len() };
        let count = shown as i64 + i64::from(shown < stubs.len());
        let rows = (count + columns - 1) / columns;
        let height = 30 + rows * 27;
        let _ = writeln!(
            self.over,
            r##"<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="none" stroke="{}" stroke-dasharray="4 3"/>"##,
            STUB.line
        );
        self.text(x + 10, y + 17, 11, "start", "#777", STUB.what);
        for (i, stub) in stubs.iter().take(shown).enumerate() {
            let (column, row) = (i as i64 % columns, i as i64 / columns);
            let s = Spot { x: x + 8 + column * (cell + 6), y: y + 24 + row * 27, width: cell, height: 22 };
            self.frame(s, &STUB);
            let at = format!("{:#010x}", stub.place.at.v);
            let _ = writeln!(self.over, "<g><title>{}</title>", escape(&policy_text(stub.policy)));
            self.text(s.x + 7, s.y + 15, 10, "start", "#555", &fit(stub.name.text(), cell - 20 - wide(&at, 9), 10));
            self.text(s.x + cell - 7, s.y + 15, 9, "end", "#888", &at);
            let _ = writeln!(self.over, "</g>");
        }
        if shown < stubs.len() {
            let i = shown as i64;
            let (column, row) = (i % columns, i / columns);
            let more = format!("and {} more", stubs.len() - shown);
            self.text(x + 15 + column * (cell + 6), y + 39 + row * 27, 10, "start", "#777", &more);
        }
        y + height
    }

    fn legend(&mut self, y: i64) {
        let mut x = MARGIN;
        for style in [&CPU, &MEMORY, &DEVICE, &PART, &CONTROLLER, &STUB] {
            let used = match style.what {
                "memory" => !self.board.memories.is_empty(),
                "interrupt controller" => !self.controllers.is_empty(),
                "part on a peripheral bus" => self.plan.devices.iter().any(|d| d.on.is_some()),
                "known, not modelled" => !self.board.stubs.is_empty(),
                _ => true,
            };
            if used {
                self.frame(Spot { x, y: y - 10, width: 16, height: 12 }, style);
                self.text(x + 22, y, 10, "start", "#444", style.what);
                x += 40 + wide(style.what, 10);
            }
        }
        for (colour, thick, what) in [(BUS, 3, "bus"), (IRQ, 2, "interrupt"), (CONTROL, 2, "reset, control")] {
            let _ = writeln!(self.over, r#"<path d="M{x} {} H{}" stroke="{colour}" stroke-width="{thick}"/>"#, y - 4, x + 20);
            self.text(x + 26, y, 10, "start", "#444", what);
            x += 44 + wide(what, 10);
        }
    }
}

/// About how wide a text is, in pixels.
fn wide(text: &str, size: i64) -> i64 {
    text.chars().count() as i64 * size * if size >= 13 { 70 } else { 63 } / 100
}

/// The text, cut to a width.
fn fit(text: &str, width: i64, size: i64) -> String {
    if wide(text, size) <= width {
        return text.to_string();
    }
    let keep = (width.max(0) * 100 / (size * if size >= 13 { 70 } else { 63 })).saturating_sub(1) as usize;
    text.chars().take(keep).chain("\u{2026}".chars()).collect()
}

fn escape(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars()
        .map(clean)
        .map(|c| match c {
            '<' => "&lt;".to_string(),
            '>' => "&gt;".to_string(),
            '&' => "&amp;".to_string(),
            '"' => "&quot;".to_string(),
            c => c.to_string(),
        })
        .collect()
}

//! A board compared with the device types a program knows: every name resolved, every rule checked, all problems kept.
//!
//! Views and `realise` work on the [`Plan`]; it is as complete as the problems allow.

mod clocks;
mod lines;
mod parts;
mod places;
mod props;

use crate::board::Board;
use crate::diagnostic::{Diagnostic, suggest};
use crate::source::Span;
use crate::tree::{Data, Value};
use emu_machine::schema::{CpuType, DeviceType, Props, Registry};

/// What occupies addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A device (index on the board) and its region (index in its type).
    Device(usize, usize),
    /// A memory and which of its places.
    Memory(usize, usize),
    /// A stub.
    Stub(usize),
}

/// A stretch of addresses on a bus.
#[derive(Clone, Debug)]
pub struct Region {
    /// Whose.
    pub owner: Owner,
    /// `device` or `device.region`.
    pub name: String,
    /// Bus, by index on the board.
    pub bus: usize,
    /// First address.
    pub start: u64,
    /// Size in bytes, at least 1.
    pub size: u64,
    /// Greater covers less.
    pub priority: i32,
    /// Its address as written.
    pub at: Value,
    /// Where its size stands, if the file says it.
    pub size_span: Option<Span>,
    /// It is there only while this line has this level; as written, until lines are resolved.
    pub when: Option<(Value, bool)>,
}

impl Plan {
    /// Where a part sits, as a board file says it: `i2c0`, or `mux.ch3`; and its place there. `None`: it is no part, or sits nowhere.
    pub fn part_place(&self, board: &Board, device: usize) -> Option<String> {
        let on = self.devices.get(device)?.on?;
        let slots = self.devices[on.controller].kind?.slots;
        let (slot, name) = (&slots[on.slot], board.devices[on.controller].name.text());
        let first = slots.iter().position(|s| s.bus == slot.bus) == Some(on.slot);
        let on_text = if first { name.to_string() } else { format!("{name}.{}", slot.name) };
        Some(if slot.last > 0x20 { format!("{on_text} {:#04x}", on.at) } else { format!("{on_text} {}", on.at) })
    }
    /// The firmware's table of words, as the `boot` node gives it; empty without one.
    pub fn words(&self, board: &Board) -> Vec<u32> {
        board.boot.iter().flat_map(|b| &b.words).map(|w| self.word(w).unwrap_or(0) as u32).collect()
    }
    /// What a word of a firmware table is: a number, or the address of the region it names.
    pub fn word(&self, value: &Value) -> Option<u64> {
        match value.data.int() {
            Some(n) => u64::try_from(n).ok(),
            None => self.regions.iter().find(|r| r.name == value.text()).map(|r| r.start),
        }
    }
}

impl Region {
    /// The last address.
    pub fn last(&self) -> u64 {
        self.start.saturating_add(self.size - 1)
    }
}

/// What has lines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unit {
    /// A device, by index on the board.
    Device(usize),
    /// A CPU, by its number.
    Cpu(usize),
}

/// One line of one port. For inputs of CPUs, `reset` and `stop` come after those the type declares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pin {
    /// Whose.
    pub unit: Unit,
    /// Port, by index in the type.
    pub port: usize,
    /// Line in the port.
    pub index: u32,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Link {
    /// The output.
    pub from: Pin,
    /// The input.
    pub to: Pin,
    /// Where it is written.
    pub span: Span,
    /// The input has several drivers on purpose.
    pub shared: bool,
}

/// What drives a clock input.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ClockSource {
    /// A clock of the board, by index.
    Clock(usize),
    /// A device and its clock output.
    Device(usize, usize),
}

/// A device with its type.
#[derive(Clone)]
pub struct PlannedDevice {
    /// Its type, if there is such a type.
    pub kind: Option<DeviceType>,
    /// All its properties, defaults filled in.
    pub props: Props,
    /// What drives each clock input of the type.
    pub clocks: Vec<Option<ClockSource>>,
    /// Bus of its regions, by index.
    pub bus: Option<usize>,
    /// Bus it is a master on, by index; `None` if it is no master.
    pub master: Option<usize>,
    /// Where it sits, if it is a part.
    pub on: Option<PlannedPart>,
}

/// A part's place on a peripheral bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlannedPart {
    /// The controller, by index on the board.
    pub controller: usize,
    /// Which of its slots.
    pub slot: usize,
    /// Chip select, address or port.
    pub at: u32,
}

/// A CPU with its type.
#[derive(Clone)]
pub struct PlannedCpu {
    /// Its type, if there is such a type.
    pub kind: Option<CpuType>,
    /// All its properties, defaults filled in.
    pub props: Props,
    /// What drives its clock.
    pub clock: Option<ClockSource>,
    /// Its bus, by index.
    pub bus: Option<usize>,
}

/// The resolved board.
#[derive(Clone, Default)]
pub struct Plan {
    /// Devices, as on the board.
    pub devices: Vec<PlannedDevice>,
    /// CPUs, as on the board.
    pub cpus: Vec<PlannedCpu>,
    /// Regions, by bus and address.
    pub regions: Vec<Region>,
    /// Lines.
    pub links: Vec<Link>,
    /// What each clock of the board is derived from.
    pub clocks: Vec<Option<ClockSource>>,
    /// Regions that are there only while an output has a level: by index, the output, the level.
    pub shown: Vec<(usize, Pin, bool)>,
}

/// Resolves `board` against `registry`, with everything found wrong. Does not repeat [`Board::problems`].
pub fn plan(board: &Board, registry: &Registry) -> (Plan, Vec<Diagnostic>) {
    let mut planner = Planner { board, registry, plan: Plan::default(), problems: Vec::new() };
    planner.types();
    planner.parts();
    planner.places();
    planner.clocks();
    planner.lines();
    planner.rest();
    (planner.plan, planner.problems)
}

/// Everything wrong with `board`: what loading found and what the types say. Where files or templates are missing only
/// the former, since the rest would be echoes.
pub fn check(board: &Board, registry: &Registry) -> Vec<Diagnostic> {
    let mut all = board.problems.clone();
    if !board.incomplete {
        all.extend(plan(board, registry).1);
    }
    all.sort_by_key(|d| (d.severity, d.primary.as_ref().map(|p| (p.span.file, p.span.start))));
    all.dedup();
    all
}

pub(crate) struct Planner<'a> {
    pub board: &'a Board,
    pub registry: &'a Registry,
    pub plan: Plan,
    pub problems: Vec<Diagnostic>,
}

impl Planner<'_> {
    pub(crate) fn report(&mut self, d: Diagnostic) {
        if self.problems.len() < 1000 {
            self.problems.push(d);
        }
    }

    /// The place of a part of a value's text; the whole value if it was computed.
    pub(crate) fn part(&self, value: &Value, part: &str) -> Span {
        let text = value.text();
        let source = self.board.sources.slice(value.span);
        let offset = part.as_ptr() as usize - text.as_ptr() as usize;
        let quote = match source.strip_prefix('"') {
            Some(inner) if inner.strip_suffix('"') == Some(text) => 1,
            _ if source == text => 0,
            _ => return value.span,
        };
        let start = value.span.start + (quote + offset) as u32;
        Span { start, end: start + (part.len() as u32).max(1), ..value.span }
    }

    /// True if the board defines `name` but switches it off.
    pub(crate) fn disabled(&self, name: &str) -> bool {
        self.board.disabled.iter().any(|d| d == name)
    }

    fn types(&mut self) {
        for device in &self.board.devices {
            let kind = self.registry.device(device.kind.text()).copied();
            if kind.is_none() {
                let name = device.kind.text();
                let known = self.registry.devices.iter().map(|d| d.name);
                let mut d = Diagnostic::error("unknown-type", format!("no device type `{name}`"))
                    .at(device.kind.span, "")
                    .because(&device.kind)
                    .maybe_help(suggest(name, "types", known.clone()));
                let vendor = name.split(',').next().unwrap_or("");
                let same = known.filter(|k| k.split(',').next() == Some(vendor)).count();
                if same > 0 {
                    d = d.note(format!("`emu device list {vendor}` shows {same} type{}", if same == 1 { "" } else { "s" }));
                } else {
                    d = d.note("`emu device list` shows all types; for a block that is not modelled use a `stub`");
                }
                self.report(d);
            }
            let specs = kind.map_or(&[][..], |k| k.props);
            let props = match &kind {
                Some(k) => self.props(device.name.text(), device.name.span, &format!("type `{}`", k.name), specs, &device.set),
                None => Props::default(),
            };
            let bus = self.bus(device.bus.as_ref());
            let master = match &kind {
                Some(k) if !k.dma => {
                    if let Some(m) = &device.master {
                        let d = Diagnostic::error("no-master", format!("type `{}` is no DMA master", k.name)).at(m.span, "");
                        self.report(d.help("remove `master=`"));
                    }
                    None
                }
                Some(_) => self.bus(device.master.as_ref().or(device.bus.as_ref())),
                None => None,
            };
            if let (Some(chardev), Some(k)) = (&device.chardev, &kind)
                && k.chardevs.is_empty()
            {
                let with: Vec<&str> = self
                    .board
                    .devices
                    .iter()
                    .filter(|d| self.registry.device(d.kind.text()).is_some_and(|k| !k.chardevs.is_empty()))
                    .map(|d| d.name.text())
                    .collect();
                let d = Diagnostic::error("no-chardev", format!("`{}` has no serial port", device.name.text())).at(chardev.span, "");
                self.report(d.help(format!("serial ports on this board: {}", with.join(", "))));
            }
            self.plan.devices.push(PlannedDevice { kind, props, clocks: Vec::new(), bus, master, on: None });
        }
        for cpu in &self.board.cpus {
            let kind = self.registry.cpu(cpu.isa.text(), cpu.model.text()).copied();
            if kind.is_none() {
                let of_isa: Vec<&CpuType> = self.registry.cpus.iter().filter(|c| c.isa == cpu.isa.text()).collect();
                let d = if of_isa.is_empty() {
                    Diagnostic::error("unknown-type", format!("no instruction set `{}`", cpu.isa.text()))
                        .at(cpu.isa.span, "")
                        .maybe_help(suggest(cpu.isa.text(), "instruction sets", self.registry.cpus.iter().map(|c| c.isa)))
                } else {
                    let models = of_isa.iter().flat_map(|c| c.models.iter().copied());
                    Diagnostic::error("unknown-type", format!("`{}` has no model `{}`", cpu.isa.text(), cpu.model.text()))
                        .at(cpu.model.span, "")
                        .maybe_help(suggest(cpu.model.text(), "models", models))
                };
                self.report(d);
            }
            let specs = kind.map_or(&[][..], |k| k.props);
            let props = match &kind {
                Some(_) => self.props(cpu.name.text(), cpu.name.span, &format!("CPU `{}`", cpu.model.text()), specs, &cpu.set),
                None => Props::default(),
            };
            let bus = self.bus(cpu.bus.as_ref());
            self.plan.cpus.push(PlannedCpu { kind, props, clock: None, bus });
        }
    }

    /// The bus a value names; the only bus if it names none.
    pub(crate) fn bus(&mut self, value: Option<&Value>) -> Option<usize> {
        let Some(value) = value else {
            return (!self.board.buses.is_empty()).then_some(0);
        };
        let found = self.board.buses.iter().position(|b| b.name.text() == value.text());
        if found.is_none() && !self.disabled(value.text()) {
            let names = self.board.buses.iter().map(|b| b.name.text());
            let d = Diagnostic::error("unknown-name", format!("no bus `{}`", value.text())).at(value.span, "").because(value);
            self.report(d.maybe_help(suggest(value.text(), "buses", names)));
        }
        found
    }

    /// `--set` paths that begin with no name of the board: things that have such a key are better guesses than similar names.
    fn unknown_paths(&mut self) {
        let board = self.board;
        for path in &board.unknown_paths {
            let (name, key) = path.text.split_once('.').unwrap_or((&path.text, ""));
            let mut having: Vec<&str> = Vec::new();
            for (device, planned) in board.devices.iter().zip(&self.plan.devices) {
                let props = planned.kind.map_or(&[][..], |k| k.props).iter().any(|p| p.name == key);
                if props || (key == "chardev" && planned.kind.is_some_and(|k| !k.chardevs.is_empty())) {
                    having.push(device.name.text());
                }
            }
            for (cpu, planned) in board.cpus.iter().zip(&self.plan.cpus) {
                if planned.kind.map_or(&[][..], |k| k.props).iter().any(|p| p.name == key) {
                    having.push(cpu.name.text());
                }
            }
            let names = crate::lower::names(board);
            let near = crate::diagnostic::nearest(name, having.iter().copied())
                .or_else(|| crate::diagnostic::nearest(name, names.iter().map(String::as_str)))
                .map(|near| format!("did you mean `{near}.{key}`?"));
            let mut d = Diagnostic::error("unknown-path", format!("--set {}: no `{name}` on this board", path.text)).at(path.span, "");
            if !having.is_empty() {
                d = d.note(format!("things with `{key}`: {}", having.join(", ")));
            }
            self.report(d.maybe_help(near));
        }
    }

    /// Rules about the board as a whole.
    fn rest(&mut self) {
        let board = self.board;
        let name_span = board.span;
        let whole = |d: Diagnostic| match name_span {
            Some(span) => d.at(span, "this board"),
            None => d,
        };
        let loaded = !crate::diagnostic::has_errors(&board.problems);
        if board.cpus.is_empty() && board.disabled.is_empty() && loaded {
            self.report(
                whole(Diagnostic::error("no-cpu", "the board has no CPU")).help("add `cpu \"cpu0\" isa=... model=...`, or `include` a SoC"),
            );
        }
        if board.buses.is_empty() && !self.plan.regions.is_empty() {
            self.report(whole(Diagnostic::error("no-bus", "the board has no bus")).help("add `bus \"main\" width=32`"));
        }
        let known: Vec<String> = crate::lower::names(board);
        self.unknown_paths();
        for (_, target) in &board.aliases {
            let head = target.text().split('.').next().unwrap_or("");
            if !known.iter().any(|k| k == head) {
                let d = Diagnostic::error("unknown-name", format!("alias of `{head}`: there is no such thing")).at(target.span, "");
                self.report(d.maybe_help(suggest(head, "names", known.iter().map(String::as_str))));
            }
        }
        for code in &board.codes {
            self.bus(code.bus.as_ref());
            if !board.cpus.iter().any(|c| c.isa.text() == code.isa.text()) {
                let d = Diagnostic::error("unknown-type", format!("no CPU of this board runs `{}`", code.isa.text())).at(code.isa.span, "");
                self.report(d.maybe_help(suggest(code.isa.text(), "instruction sets here", board.cpus.iter().map(|c| c.isa.text()))));
            }
            let inside = |r: &Region| matches!(r.owner, Owner::Memory(..)) && r.start <= code.at.v && code.at.v <= r.last();
            if !self.plan.regions.iter().any(inside) {
                let d =
                    Diagnostic::error("not-memory", format!("`{}` is placed at {:#x}, where no memory is", code.name.text(), code.at.v));
                self.report(d.at(code.at.from.span, "").help("`emu board map` shows what is where"));
            }
        }
        for word in board.boot.iter().flat_map(|b| &b.words) {
            if self.plan.word(word).is_none_or(|w| w > u64::from(u32::MAX))
                && word.data != Data::Bad
                && !self.disabled(word.text().split('.').next().unwrap_or(""))
            {
                let known: Vec<String> = self.plan.regions.iter().map(|r| r.name.clone()).collect();
                let d = Diagnostic::error(
                    "unknown-name",
                    format!("`words`: {} is neither a 32-bit number nor something with an address", word.data),
                );
                self.report(d.at(word.span, "").maybe_help(suggest(word.text(), "names", known.iter().map(String::as_str))));
            }
        }
        for s in board.boot.iter().flat_map(|b| &b.secondaries) {
            if !board.cpus.iter().any(|c| c.name.text() == s.cpu.text()) && !self.disabled(s.cpu.text()) {
                let d = Diagnostic::error("unknown-name", format!("no CPU `{}`", s.cpu.text())).at(s.cpu.span, "").because(&s.cpu);
                self.report(d.maybe_help(suggest(s.cpu.text(), "CPUs", board.cpus.iter().map(|c| c.name.text()))));
            }
            if let Some(at) = &s.at
                && at.data.int().is_none()
                && !board.codes.iter().any(|c| c.name.text() == at.text())
            {
                let d = Diagnostic::error("unknown-name", format!("no `code` node `{}`", at.to_text())).at(at.span, "");
                self.report(d.maybe_help(suggest(at.text(), "code nodes", board.codes.iter().map(|c| c.name.text()))));
            }
        }
    }
}

//! Lines: interrupt, reset and other wires between outputs and inputs.
//!
//! An end is `NAME.PORT`, `NAME.PORT 5` or `NAME.PORT 3..=7`; `*` in NAME stands for several, in the order of the file. A port
//! with a copy for each CPU is that many ends. As many sources as targets are joined one to one, one source drives many
//! targets, and many sources drive one target only if they say `shared=#true`.

use super::{Link, Pin, Plan, Planner, Unit};
use crate::board::{Board, Wire};
use crate::diagnostic::{Diagnostic, suggest};
use crate::elaborate::glob;
use crate::source::Span;
use crate::tree::{Value, number};
use emu_machine::schema::{LineAlias, PortSpec, Props};
use std::collections::BTreeMap;

/// Inputs every CPU has from the machine.
const CPU_INPUTS: [PortSpec; 2] = [PortSpec::one("reset", "held in reset while high"), PortSpec::one("stop", "clock stopped while high")];

/// Most lines one end may stand for.
const MAX_LINES: u64 = 65_536;

impl Planner<'_> {
    pub(super) fn lines(&mut self) {
        let board = self.board;
        for (i, device) in board.devices.iter().enumerate() {
            device.wires.iter().for_each(|w| self.wire(Some(Unit::Device(i)), w));
        }
        for (i, cpu) in board.cpus.iter().enumerate() {
            cpu.wires.iter().for_each(|w| self.wire(Some(Unit::Cpu(i)), w));
        }
        board.wires.iter().for_each(|w| self.wire(None, w));
        self.shown();
        self.double_driven();
    }

    /// The lines that show and hide places.
    fn shown(&mut self) {
        for index in 0..self.plan.regions.len() {
            let Some((line, level)) = self.plan.regions[index].when.clone() else { continue };
            match self.end(&line, true).as_deref() {
                Some([pin]) => self.plan.shown.push((index, *pin, level)),
                Some([]) | None => {}
                Some(_) => {
                    let d = Diagnostic::error("line-count", "one line shows or hides a place").at(line.span, "several").because(&line);
                    self.report(d.help(format!("name one, as in `{} 0`", line.text().trim())));
                }
            }
        }
    }

    fn unit_name(&self, unit: Unit) -> &str {
        self.board.unit_name(unit)
    }

    fn ports(&self, unit: Unit, outputs: bool) -> Option<(Vec<PortSpec>, &[LineAlias], &Props)> {
        self.plan.ports(unit, outputs)
    }

    fn wire(&mut self, owner: Option<Unit>, wire: &Wire) {
        let sources = match (owner, &wire.from) {
            (Some(unit), from) => self.own_output(unit, from.as_ref(), wire.span),
            (None, Some(from)) => self.end(from, true),
            (None, None) => {
                let d = Diagnostic::error("missing", "a wire of the board names its source").at(wire.span, "");
                self.report(d.help("write `wire \"DEVICE.PORT\" to=\"DEVICE.PORT\"`"));
                None
            }
        };
        let Some(sources) = sources else {
            // Look at the targets all the same, to report what is wrong with them.
            wire.to.iter().for_each(|to| drop(self.end(to, false)));
            return;
        };
        for to in &wire.to {
            let Some(targets) = self.end(to, false) else { continue };
            if sources.is_empty() || targets.is_empty() {
                continue;
            }
            let pairs: Vec<(Pin, Pin)> = match (sources.len(), targets.len()) {
                (s, t) if s == t => sources.iter().copied().zip(targets).collect(),
                (1, t) if wide(to) || t == self.plan.cpus.len() => targets.into_iter().map(|t| (sources[0], t)).collect(),
                (_, 1) if wire.shared => sources.iter().map(|s| (*s, targets[0])).collect(),
                (s, t) => {
                    let plural = |n: usize, w: &str| if n == 1 { format!("1 {w}") } else { format!("{n} {w}s") };
                    let d = Diagnostic::error("line-count", format!("{} to {} cannot be joined", plural(s, "source"), plural(t, "target")));
                    let d = d.at(to.span, plural(t, "target")).because(to);
                    let d = match &wire.from {
                        Some(from) => d.and(from.span, plural(s, "source")),
                        None => d.note(format!(
                            "the source is the whole port of `{}`: {}",
                            owner.map_or("", |u| self.unit_name(u)),
                            plural(s, "line")
                        )),
                    };
                    let help = if t == 1 {
                        "name one line of the source, or write `shared=#true` if the lines are ORed".to_string()
                    } else if s == 1 {
                        format!("name one line, as in `{} 0`", to.text().trim())
                    } else {
                        "give ranges of the same length, as in `irq \"0..=2\" to=\"gic.spi 10..=12\"`".to_string()
                    };
                    self.report(d.help(help));
                    continue;
                }
            };
            let shared = wire.shared;
            self.plan.links.extend(pairs.into_iter().map(|(from, to_pin)| Link { from, to: to_pin, span: to.span, shared }));
        }
    }

    /// `irq` (the only output, or the one called `irq`), `irq "PORT"`, `irq "0..=2"`, `irq "PORT 0..=2"`.
    fn own_output(&mut self, unit: Unit, from: Option<&Value>, span: Span) -> Option<Vec<Pin>> {
        let (ports, _, _) = self.ports(unit, true)?;
        let name = self.unit_name(unit).to_string();
        let text = from.map(Value::to_text).unwrap_or_default();
        let text = text.trim();
        let is_number = text.starts_with(|c: char| c.is_ascii_digit());
        if text.is_empty() || is_number {
            let port = match ports.iter().find(|p| p.name == "irq") {
                Some(port) => port.name,
                None if ports.len() == 1 => ports[0].name,
                None => {
                    let known: Vec<&str> = ports.iter().map(|p| p.name).collect();
                    let d = Diagnostic::error("unknown-port", format!("`{name}` has {} output ports, which one?", known.len()))
                        .at(from.map_or(span, |f| f.span), "");
                    let help =
                        if known.is_empty() { "its type has no outputs".to_string() } else { format!("name it: {}", known.join(", ")) };
                    self.report(d.help(help));
                    return None;
                }
            };
            return self.pins(unit, port, text, from, span, true);
        }
        let (port, numbers) = text.split_once(' ').unwrap_or((text, ""));
        self.pins(unit, port, numbers, from, span, true)
    }

    /// `NAME.PORT [NUMBERS]`; an empty list if everything it names is switched off.
    fn end(&mut self, value: &Value, output: bool) -> Option<Vec<Pin>> {
        let text = value.text().to_string();
        let Some((name, rest)) = text.split_once('.') else {
            let d = Diagnostic::error("bad-line", format!("`{}` names no port", value.to_text())).at(value.span, "").because(value);
            self.report(d.help("write `NAME.PORT` or `NAME.PORT NUMBER`, such as `gic.spi 27`"));
            return None;
        };
        let (port, numbers) = rest.split_once(' ').unwrap_or((rest, ""));
        let board = self.board;
        let devices = board.devices.iter().enumerate().filter(|(_, d)| glob(name, d.name.text())).map(|(i, _)| Unit::Device(i));
        let cpus = board.cpus.iter().enumerate().filter(|(_, c)| glob(name, c.name.text())).map(|(i, _)| Unit::Cpu(i));
        let units: Vec<Unit> = cpus.chain(devices).collect();
        if units.is_empty() {
            if board.disabled.iter().any(|d| glob(name, d)) {
                return Some(Vec::new());
            }
            let known = board.devices.iter().map(|d| d.name.text()).chain(board.cpus.iter().map(|c| c.name.text()));
            let d = Diagnostic::error("unknown-name", format!("no device or CPU `{name}`")).because(value);
            let span = value.text().split('.').next().map_or(value.span, |part| self.part(value, part));
            self.report(d.at(span, "").maybe_help(suggest(name, "names", known)));
            return None;
        }
        let mut pins = Vec::new();
        for unit in units {
            pins.extend(self.pins(unit, port, numbers, Some(value), value.span, output)?);
        }
        Some(pins)
    }

    /// The lines `numbers` of a port, with all copies of a port that each CPU has.
    fn pins(&mut self, unit: Unit, port: &str, numbers: &str, value: Option<&Value>, span: Span, output: bool) -> Option<Vec<Pin>> {
        let (ports, aliases, props) = self.ports(unit, output)?;
        let name = self.unit_name(unit).to_string();
        let props = props.clone();
        let aliases = aliases.to_vec();
        // Where the part of the text is that a message is about.
        let at = |planner: &Self, part: &str| -> Span {
            let whole = value.map_or("", Value::text);
            match whole.rfind(part).filter(|_| !part.is_empty()) {
                Some(i) => value.map_or(span, |v| planner.part(v, &v.text()[i..i + part.len()])),
                None => value.map_or(span, |v| v.span),
            }
        };
        let numbers = numbers.trim();
        let range = match range(numbers) {
            Ok(range) => range,
            Err(message) => {
                let d = Diagnostic::error("bad-range", format!("`{numbers}` {message}")).at(at(self, numbers), "");
                self.report(d.help("write a number, or a range such as `0..=2`"));
                return None;
            }
        };
        let because = |d: Diagnostic| match value {
            Some(v) => d.because(v),
            None => d,
        };
        let index = ports.iter().position(|p| p.name == port);
        let Some(index) = index else {
            if let (Some((first, last)), true) = (range, aliases.iter().any(|a| a.name == port)) {
                return self.aliased(unit, port, first, last, &aliases, value, at(self, numbers));
            }
            let other = self.ports(unit, !output).map(|(p, _, _)| p).unwrap_or_default();
            let side = if output { "output" } else { "input" };
            let known = ports.iter().map(|p| p.name).chain(aliases.iter().map(|a| a.name));
            let mut d = because(Diagnostic::error("unknown-port", format!("`{name}` has no {side} `{port}`"))).at(at(self, port), "");
            if other.iter().any(|p| p.name == port) {
                d = d.note(format!("`{port}` is an {}: a wire goes from an output to an input", if output { "input" } else { "output" }));
            }
            let side = format!("{side}s of `{name}`");
            self.report(d.maybe_help(suggest(port, &side, known)));
            return None;
        };
        let spec = ports[index];
        let lines = spec.count.of(&props).min(MAX_LINES);
        let base = i128::from(spec.first);
        let (first, last) = range.unwrap_or((base, base + i128::from(lines) - 1));
        if lines == 0 {
            let d = because(Diagnostic::error("irq-range", format!("`{name}.{port}` has no lines"))).at(at(self, port), "");
            let d = match spec.count {
                emu_machine::schema::Count::Prop(p) => d.note(format!("their number is the property `{p}`")),
                _ => d,
            };
            self.report(d);
            return None;
        }
        for n in [first, last] {
            if n < base || n >= base + i128::from(lines) {
                let many = format!("this {} has {lines} line{} `{port}`", name, if lines == 1 { "" } else { "s" });
                let d = because(Diagnostic::error(
                    "irq-range",
                    format!("`{name}.{port} {n}` is out of range: {many}, {base} to {}", base + i128::from(lines) - 1),
                ));
                let mut d = d.at(at(self, numbers), "");
                if let emu_machine::schema::Count::Prop(p) = spec.count
                    && let Some((_, set)) = self.sets(unit).iter().find(|(n, _)| n.text == p)
                {
                    d = d.and(set.span, format!("`{p}={}` is set here", set.to_text()));
                }
                if let Some((alias, number)) = looks_like_alias(&aliases, port, n, base, lines) {
                    d = d.help(format!("{n} looks like `{name}.{alias} {n}`; as `{port}` it is {number}: write `{name}.{port} {number}` or `{name}.{alias} {n}`"));
                } else {
                    d = d.help(format!("use {base} to {}", base + i128::from(lines) - 1));
                }
                self.report(d);
                return None;
            }
        }
        let copies = if spec.per_cpu { self.board.cpus.len().max(1) as u64 } else { 1 };
        let mut pins = Vec::new();
        for copy in 0..copies {
            for n in first..=last {
                pins.push(Pin { unit, port: index, index: (copy * lines) as u32 + (n - base) as u32 });
            }
        }
        Some(pins)
    }

    /// Numbers of another counting, such as interrupt IDs, turned into lines of ports.
    #[allow(clippy::too_many_arguments)] // one end of a wire, taken apart
    fn aliased(
        &mut self,
        unit: Unit,
        port: &str,
        first: i128,
        last: i128,
        aliases: &[LineAlias],
        value: Option<&Value>,
        span: Span,
    ) -> Option<Vec<Pin>> {
        let mut pins = Vec::new();
        if last - first >= i128::from(MAX_LINES) {
            return None;
        }
        for n in first..=last {
            let alias = aliases.iter().find(|a| a.name == port && i128::from(a.from) <= n && n <= i128::from(a.to));
            let Some(a) = alias else {
                let known: Vec<String> =
                    aliases.iter().filter(|a| a.name == port).map(|a| format!("{} to {} are `{}`", a.from, a.to, a.port)).collect();
                let d = Diagnostic::error("irq-range", format!("`{}.{port} {n}` is out of range", self.unit_name(unit))).at(span, "");
                self.report(d.help(known.join(", ")));
                return None;
            };
            let number = (n - i128::from(a.from) + i128::from(a.number)).to_string();
            pins.extend(self.pins(unit, a.port, &number, value, span, false)?);
        }
        Some(pins)
    }

    fn sets(&self, unit: Unit) -> &[(crate::syntax::Name, Value)] {
        match unit {
            Unit::Device(i) => &self.board.devices[i].set,
            Unit::Cpu(i) => &self.board.cpus[i].set,
        }
    }

    fn double_driven(&mut self) {
        let mut first: BTreeMap<Pin, Link> = BTreeMap::new();
        for link in self.plan.links.clone() {
            let Some(other) = first.get(&link.to).cloned() else {
                first.insert(link.to, link);
                continue;
            };
            if other.from == link.from && other.span == link.span || (link.shared && other.shared) {
                continue;
            }
            let (other, link) = if self.rank(other.span) <= self.rank(link.span) { (other, link) } else { (link, other) };
            let what = self.pin_name(link.to, false);
            let d = Diagnostic::error(
                "double-driven",
                format!("`{what}` has two drivers: `{}` and `{}`", self.pin_name(other.from, true), self.pin_name(link.from, true)),
            )
            .at(link.span, "the second")
            .and(other.span, "the first")
            .help("use another line, or write `shared=#true` on both if they are ORed");
            self.report(d);
        }
    }

    fn pin_name(&self, pin: Pin, output: bool) -> String {
        self.plan.pin_name(self.board, pin, output)
    }
}

impl Board {
    /// The name of a device or CPU.
    pub fn unit_name(&self, unit: Unit) -> &str {
        match unit {
            Unit::Device(i) => self.devices[i].name.text(),
            Unit::Cpu(i) => self.cpus[i].name.text(),
        }
    }
}

impl Plan {
    /// The ports of a unit on one side, its other ways to number inputs, and its properties; nothing if its type is unknown.
    pub(crate) fn ports(&self, unit: Unit, outputs: bool) -> Option<(Vec<PortSpec>, &'static [LineAlias], &Props)> {
        match unit {
            Unit::Device(i) => {
                let planned = &self.devices[i];
                let kind = planned.kind.as_ref()?;
                let (ports, aliases): (_, &[LineAlias]) = if outputs { (kind.outputs, &[]) } else { (kind.inputs, kind.line_aliases) };
                Some((ports.to_vec(), aliases, &planned.props))
            }
            Unit::Cpu(i) => {
                let planned = &self.cpus[i];
                let kind = planned.kind.as_ref()?;
                let ports = if outputs { kind.outputs.to_vec() } else { kind.inputs.iter().chain(&CPU_INPUTS).copied().collect() };
                Some((ports, &[], &planned.props))
            }
        }
    }

    /// How a line is written in a board file: `gic.spi 27`, `uart0.irq`; with the CPU if each has its own.
    pub fn pin_name(&self, board: &Board, pin: Pin, output: bool) -> String {
        let name = board.unit_name(pin.unit);
        let Some((ports, _, props)) = self.ports(pin.unit, output) else { return name.to_string() };
        let Some(port) = ports.get(pin.port) else { return name.to_string() };
        let lines = port.count.of(props).max(1);
        let number = u64::from(pin.index) % lines + u64::from(port.first);
        let copy = if port.per_cpu && board.cpus.len() > 1 { format!(" (cpu {})", u64::from(pin.index) / lines) } else { String::new() };
        if lines == 1 { format!("{name}.{}{copy}", port.name) } else { format!("{name}.{} {number}{copy}", port.name) }
    }

    /// The name of a pin's port, and the line's index in it without the CPU's copy.
    pub fn port_of(&self, pin: Pin, output: bool) -> (&'static str, u32) {
        match self.ports(pin.unit, output) {
            Some((ports, _, props)) if pin.port < ports.len() => {
                let lines = ports[pin.port].count.of(props).max(1) as u32;
                (ports[pin.port].name, if ports[pin.port].per_cpu { pin.index % lines } else { pin.index })
            }
            _ => ("", pin.index),
        }
    }
}

/// A target that names several lines on purpose.
fn wide(value: &Value) -> bool {
    value.text().contains("..") || value.text().contains('*')
}

/// `""`, `5`, `3..=7`, `3..8`: first and last.
fn range(text: &str) -> Result<Option<(i128, i128)>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = "is neither a number nor a range";
    let (first, last) = match text.split_once("..") {
        None => {
            let n = number(text).ok_or(wrong)?;
            (n, n)
        }
        Some((first, last)) => {
            let first = number(first).ok_or(wrong)?;
            match last.strip_prefix('=') {
                Some(last) => (first, number(last).ok_or(wrong)?),
                None => (first, number(last).ok_or(wrong)?.checked_sub(1).ok_or(wrong)?),
            }
        }
    };
    if last < first { Err("is an empty range") } else { Ok(Some((first, last))) }
}

/// The alias under which `n` would be a line of `port`, and its number there.
fn looks_like_alias(aliases: &[LineAlias], port: &str, n: i128, base: i128, lines: u64) -> Option<(&'static str, i128)> {
    aliases.iter().filter(|a| a.port == port && i128::from(a.from) <= n && n <= i128::from(a.to)).find_map(|a| {
        let number = n - i128::from(a.from) + i128::from(a.number);
        (base <= number && number < base + i128::from(lines)).then_some((a.name, number))
    })
}

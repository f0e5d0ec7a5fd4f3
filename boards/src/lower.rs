//! The effective tree -> a typed [`Board`]: which nodes there are, what they hold, of what kind.

use crate::board::*;
use crate::diagnostic::{Diagnostic, suggest};
use crate::elaborate::{Tree, named, own_keys};
use crate::tree::{Data, Item, Value};
use std::collections::BTreeMap;

/// Top-level kinds.
const KINDS: [&str; 15] =
    ["device", "cpu", "mem", "bus", "clock", "stub", "code", "wire", "aliases", "chardev", "boot", "dt", "expect", "doc", "compatible"];
/// What `unknown node` may suggest besides.
const DECLARATIONS: [&str; 9] = ["model", "param", "include", "template", "use", "repeat", "variant", "override", "disable"];

/// Children of each kind; `*`: anything.
fn children_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "device" => &["set", "map", "irq", "wire", "clock", "dt", "doc", "disable"],
        "cpu" => &["set", "wire", "irq", "start", "dt", "doc", "disable"],
        "mem" => &["alias", "dt", "doc", "disable"],
        "stub" => &["dt", "doc", "disable"],
        "bus" => &["unmapped", "doc"],
        "clock" => &["doc", "dt"],
        "code" => &["asm", "doc"],
        "boot" => &["protocol", "firmware", "secondary"],
        "firmware" => &["words"],
        "dt" | "expect" | "protocol" => &["*"],
        _ => &[],
    }
}

/// Properties of nodes inside others, and of unnamed top-level ones.
fn props_of(parent: &str, kind: &str) -> &'static [&'static str] {
    match (parent, kind) {
        ("", "wire") | (_, "wire" | "irq") => &["to", "shared"],
        (_, "map") => &["at", "size", "over", "priority", "when", "unless"],
        ("device", "clock") => &["from"],
        ("bus", "unmapped") => &["read", "write", "log"],
        ("mem", "alias") => &["at", "over", "priority", "when", "unless"],
        ("boot", "firmware") => &["at"],
        ("boot", "secondary") => &["at", "spin-at"],
        ("", "chardev") => &["default"],
        ("", kind) => own_keys(kind),
        _ => &[],
    }
}

struct Lower {
    board: Board,
}

/// Makes the typed board.
pub(crate) fn lower(tree: Tree) -> Board {
    let mut board = Board {
        name: tree.name.as_ref().map(Value::to_text).unwrap_or_default(),
        span: tree.name.as_ref().map(|v| v.span),
        params: tree.params,
        sources: tree.sources,
        problems: tree.problems,
        unknown_paths: tree.unknown_paths,
        incomplete: tree.incomplete,
        ..Board::default()
    };
    let mut seen: BTreeMap<String, &Item> = BTreeMap::new();
    for item in tree.items.iter().filter(|i| named(i)) {
        if item.name().is_empty() {
            if !item.args.iter().any(|a| a.data == Data::Bad) {
                let d = Diagnostic::error("missing", format!("a `{}` has a name", item.kind.text)).at(item.span(), "here");
                board.problems.push(d.help(format!("write `{} \"NAME\" ...`", item.kind.text)));
            }
            continue;
        }
        if item.name().contains(['.', ' ', '*']) {
            let d = Diagnostic::error("bad-name", format!("`{}` is no name: it holds a dot, blank or star", item.name()));
            board.problems.push(d.at(item.span(), "").help("use letters, digits and hyphens"));
        }
        if let Some(first) = seen.get(item.name()) {
            let d = Diagnostic::error("duplicate", format!("`{}` is defined twice", item.name()))
                .at(item.span(), "again here")
                .and(first.span(), "first here")
                .help(format!("rename one, or change the first with `override \"{}\" {{ ... }}`", item.name()));
            board.problems.push(origin(d, item));
            continue;
        }
        seen.insert(item.name().to_string(), item);
    }
    let mut lower = Lower { board };
    for item in &tree.items {
        lower.item(item);
    }
    for item in tree.items.iter().filter(|i| i.kind.text == "chardev") {
        lower.chardev(item);
    }
    lower.board.items = tree.items;
    lower.board
}

/// Adds the `use` and `include` nodes an item came through.
fn origin(mut d: Diagnostic, item: &Item) -> Diagnostic {
    for span in item.via.iter().take(2) {
        d = d.and(*span, "through this");
    }
    d
}

impl Lower {
    fn report(&mut self, d: Diagnostic) {
        if self.board.problems.len() < 1000 {
            self.board.problems.push(d);
        }
    }

    fn item(&mut self, item: &Item) {
        let kind = item.kind.text.as_str();
        if !KINDS.contains(&kind) && kind != "model" {
            let known = KINDS.iter().chain(&DECLARATIONS).copied();
            let d = Diagnostic::error("unknown-node", format!("no node `{kind}` in a board")).at(item.kind.span, "");
            return self.report(d.maybe_help(suggest(kind, "nodes", known)));
        }
        self.shape("", item);
        if item.all("disable").next().is_some() {
            self.board.disabled.push(item.name().to_string());
            return;
        }
        match kind {
            "device" => self.device(item),
            "cpu" => self.cpu(item),
            "mem" => self.memory(item),
            "bus" => self.bus(item),
            "clock" => self.clock(item),
            "stub" => self.stub(item),
            "code" => self.code(item),
            "wire" => {
                let wire = self.wire(item);
                self.board.wires.extend(wire);
            }
            "aliases" => self.board.aliases.extend(item.props.iter().cloned()),
            "boot" => self.boot(item),
            "dt" => self.board.dt.push(item.clone()),
            "expect" => self.board.expects.push(item.clone()),
            "doc" => self.board.doc.extend(item.args.iter().cloned()),
            // The outermost board's word counts; a soc it includes comes before it in the list.
            "model" => self.board.model = item.args.first().cloned(),
            "compatible" => {
                let mut list = item.args.clone();
                list.extend(std::mem::take(&mut self.board.compatible).into_iter().filter(|c| !item.args.iter().any(|a| a.data == c.data)));
                self.board.compatible = list;
            }
            _ => {}
        }
    }

    /// Unknown properties and children, all the way down.
    fn shape(&mut self, parent: &str, item: &Item) {
        let kind = item.kind.text.as_str();
        if matches!(kind, "set" | "dt" | "expect" | "protocol" | "aliases" | "asm" | "doc") {
            return;
        }
        let props = props_of(parent, kind);
        for (name, _) in &item.props {
            if !props.contains(&name.text.as_str()) {
                let mut d = Diagnostic::error("unknown-property", format!("`{kind}` has no property `{}`", name.text)).at(name.span, "");
                let near = suggest(&name.text, "it has", props.iter().copied());
                d = match near.filter(|n| n.starts_with("did you")) {
                    Some(near) => d.help(near),
                    None if parent.is_empty() && matches!(kind, "device" | "cpu") => {
                        d.help(format!("properties of the type are set with `set {}=...` inside the braces", name.text))
                    }
                    None => d.maybe_help(suggest(&name.text, "it has", props.iter().copied())),
                };
                self.report(origin(d, item));
            }
        }
        let known = if parent.is_empty() || matches!(kind, "protocol" | "firmware") { children_of(kind) } else { &[] };
        for child in &item.children {
            let name = child.kind.text.as_str();
            if !known.contains(&name) && known != ["*"] {
                let mut d = Diagnostic::error("unknown-node", format!("no node `{name}` inside a `{kind}`")).at(child.kind.span, "");
                let near = suggest(name, "there may be", known.iter().copied());
                if own_keys(kind).contains(&name) {
                    d = d.help(format!("`{name}` is a property: write `{name}=...` before the braces"));
                }
                self.report(match d.help {
                    Some(_) => d,
                    None => d.maybe_help(near),
                });
                continue;
            }
            self.shape(kind, child);
        }
    }

    fn missing(&mut self, item: &Item, key: &str) {
        // A property whose value could not be computed was reported.
        if item.prop(key).is_some() {
            return;
        }
        let d = Diagnostic::error(
            "missing",
            format!("`{}` has no `{key}`", if item.name().is_empty() { &item.kind.text } else { item.name() }),
        );
        let d = d.at(item.span(), "here").help(format!("add `{key}=...`"));
        self.report(origin(d, item));
    }

    fn text(&mut self, item: &Item, key: &str) -> Option<Value> {
        let value = item.prop(key)?;
        match &value.data {
            Data::Text(_) => Some(value.clone()),
            Data::Null | Data::Bad => None,
            other => {
                let d = Diagnostic::error("type-mismatch", format!("`{key}` wants text, this is {}", other.kind()));
                self.report(d.at(value.span, "").because(value).help(format!("write `{key}=\"{}\"`", value.to_text())));
                None
            }
        }
    }

    fn number<T: TryFrom<i128>>(&mut self, value: Option<&Value>, key: &str, what: &str) -> Option<Given<T>> {
        let value = value?;
        if matches!(value.data, Data::Null | Data::Bad) {
            return None;
        }
        let d = match value.data.int() {
            Some(n) => match T::try_from(n) {
                Ok(v) => return Some(Given { v, from: value.clone() }),
                Err(_) => Diagnostic::error("value-range", format!("`{key}` = {} is out of range: {what} is wanted", value.data)),
            },
            None => Diagnostic::error("type-mismatch", format!("`{key}` wants {what}, this is {} {}", value.data.kind(), value.data)),
        };
        self.report(d.at(value.span, "").because(value));
        None
    }

    fn address(&mut self, item: &Item, key: &str) -> Option<Given<u64>> {
        self.number(item.prop(key), key, "an address such as `0xe0000000`")
    }

    fn size(&mut self, item: &Item, key: &str) -> Option<Given<u64>> {
        let size = self.number::<u64>(item.prop(key), key, "a size such as `\"512M\"` or `0x1000`")?;
        if size.v == 0 {
            let d = Diagnostic::error("value-range", format!("`{key}` is zero")).at(size.from.span, "").because(&size.from);
            self.report(d.help("give at least one byte, or `disable` it"));
            return None;
        }
        Some(size)
    }

    fn place(&mut self, item: &Item, region: Option<Value>) -> Option<Place> {
        let at = self.address(item, "at")?;
        let size = self.size(item, "size");
        if let Some(s) = &size
            && at.v.checked_add(s.v - 1).is_none()
        {
            let d = Diagnostic::error("value-range", format!("{:#x} + {:#x} is past the end of a 64-bit address space", at.v, s.v));
            self.report(d.at(s.from.span, "").and(at.from.span, "the address"));
            return None;
        }
        let over = self.text(item, "over");
        let priority = self.number::<i32>(item.prop("priority"), "priority", "a number").map_or(0, |p| p.v);
        let when = match (self.text(item, "when"), self.text(item, "unless")) {
            (Some(line), Some(other)) => {
                let d = Diagnostic::error("double-driven", "both `when` and `unless`").at(other.span, "").and(line.span, "the first");
                self.report(d.help("keep one of them"));
                None
            }
            (high, low) => high.map(|line| (line, true)).or(low.map(|line| (line, false))),
        };
        Some(Place { region, at, size, over, priority, when })
    }

    fn choice<T: Copy>(&mut self, value: Option<&Value>, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = value?;
        if value.data == Data::Bad {
            return None;
        }
        let text = value.to_text();
        let found = choices.iter().find(|(n, _)| *n == text).map(|(_, v)| *v);
        if found.is_none() {
            let d = Diagnostic::error("bad-choice", format!("`{key}` cannot be `{text}`")).at(value.span, "").because(value);
            self.report(d.maybe_help(suggest(&text, "it may be", choices.iter().map(|(n, _)| *n))));
        }
        found
    }

    fn wire(&mut self, item: &Item) -> Option<Wire> {
        if item.prop("to").is_none() && item.args.len() < 2 {
            let d = Diagnostic::error("missing", format!("`{}` has no target", item.kind.text)).at(item.kind.span, "here");
            self.report(d.help("add `to=\"DEVICE.PORT NUMBER\"`, or `to=none`"));
            return None;
        }
        let mut to: Vec<Value> = item.prop("to").into_iter().chain(item.args.iter().skip(1)).cloned().collect();
        to.retain(|v| !matches!(v.data, Data::Null | Data::Bad) && v.text() != "none");
        for v in &to {
            if !matches!(v.data, Data::Text(_)) {
                let d = Diagnostic::error("type-mismatch", format!("a wire's target is text, this is {}", v.data.kind()));
                self.report(d.at(v.span, "").help("write `to=\"DEVICE.PORT NUMBER\"`"));
                return None;
            }
        }
        let shared = item.prop("shared").is_some_and(|v| v.data == Data::Bool(true));
        let from = item.args.first().filter(|v| v.data != Data::Bad).cloned();
        if !item.args.is_empty() && from.is_none() {
            return None;
        }
        let span = item.prop("to").map_or(item.kind.span, |v| v.span);
        Some(Wire { from, to, shared, span })
    }

    fn wires(&mut self, item: &Item) -> Vec<Wire> {
        item.children.iter().filter(|c| matches!(c.kind.text.as_str(), "irq" | "wire")).filter_map(|c| self.wire(c)).collect()
    }

    fn sets(&self, item: &Item) -> Vec<(crate::syntax::Name, Value)> {
        item.all("set").flat_map(|s| s.props.iter().cloned()).collect()
    }

    fn device(&mut self, item: &Item) {
        let Some(kind) = self.text(item, "type") else { return self.missing(item, "type") };
        let mut places: Vec<Place> = Vec::new();
        if item.prop("at").is_some() {
            places.extend(self.place(item, None));
        } else if let Some(size) = item.prop("size") {
            let d = Diagnostic::error("missing", format!("`{}` has a size but no address", item.name())).at(size.span, "");
            self.report(d.help("add `at=...`"));
        }
        for map in item.all("map") {
            match map.args.first() {
                None => {
                    let d = Diagnostic::error("missing", "`map` wants the name of a region").at(map.kind.span, "here");
                    self.report(d.help("write `map \"REGION\" at=...`"));
                }
                Some(_) if map.prop("at").is_none() => self.missing(map, "at"),
                Some(name) => places.extend(self.place(map, Some(name.clone()))),
            }
        }
        let mut clocks = Vec::new();
        for clock in item.all("clock") {
            match (clock.args.first(), clock.prop("from")) {
                (Some(name), Some(from)) => clocks.push((name.clone(), from.clone())),
                _ => {
                    let d = Diagnostic::error("missing", "a device's `clock` wants an input and a source").at(clock.kind.span, "here");
                    self.report(d.help("write `clock \"INPUT\" from=\"CLOCK\"`"));
                }
            }
        }
        let device = Device {
            name: item.args.first().cloned().unwrap_or_else(|| Value::new(Data::Bad, item.span())),
            kind,
            places,
            bus: self.text(item, "bus"),
            master: self.text(item, "master"),
            on: self.text(item, "on"),
            clock: self.text(item, "clock"),
            clocks,
            set: self.sets(item),
            wires: self.wires(item),
            chardev: self.text(item, "chardev"),
            dt: item.all("dt").next().cloned(),
            doc: item.all("doc").next().and_then(|d| d.args.first().cloned()),
        };
        self.board.devices.push(device);
    }

    fn cpu(&mut self, item: &Item) {
        let (Some(isa), Some(model)) = (self.text(item, "isa"), self.text(item, "model")) else {
            self.missing(item, "isa");
            return self.missing(item, "model");
        };
        let start = item.all("start").next().and_then(|s| s.args.first());
        let runs = self.choice(start, "start", &[("run", true), ("held", false)]).unwrap_or(true);
        let cpu = Cpu {
            name: item.args.first().cloned().unwrap_or_else(|| Value::new(Data::Bad, item.span())),
            isa,
            model,
            bus: self.text(item, "bus"),
            clock: self.text(item, "clock"),
            set: self.sets(item),
            wires: self.wires(item),
            runs,
            dt: item.all("dt").next().cloned(),
        };
        self.board.cpus.push(cpu);
    }

    fn memory(&mut self, item: &Item) {
        let Some(first) = self.place(item, None) else { return self.missing(item, "at") };
        let Some(size) = first.size.clone() else { return self.missing(item, "size") };
        let kind = self.choice(item.prop("kind"), "kind", &[("ram", MemoryKind::Ram), ("rom", MemoryKind::Rom)]).unwrap_or(MemoryKind::Ram);
        let mut places = vec![first];
        for alias in item.all("alias") {
            match self.place(alias, None) {
                Some(mut place) => {
                    place.size = Some(size.clone());
                    places.push(place);
                }
                None => self.missing(alias, "at"),
            }
        }
        let memory = Memory {
            name: item.args.first().cloned().unwrap_or_else(|| Value::new(Data::Bad, item.span())),
            kind,
            places,
            size: size.v,
            bus: self.text(item, "bus"),
            file: self.text(item, "file"),
            dt: item.all("dt").next().cloned(),
        };
        self.board.memories.push(memory);
    }

    fn bus(&mut self, item: &Item) {
        let width = match self.number::<u32>(item.prop("width"), "width", "a number of bits") {
            Some(w) if (1..=64).contains(&w.v) => w.v,
            Some(w) => {
                let d = Diagnostic::error("value-range", format!("a bus has 1 to 64 address bits, not {}", w.v)).at(w.from.span, "");
                self.report(d);
                32
            }
            None => 32,
        };
        let big_endian = self.choice(item.prop("endian"), "endian", &[("little", false), ("big", true)]).unwrap_or(false);
        let choices = [("abort", Unmapped::Abort), ("zero", Unmapped::Zero), ("ones", Unmapped::Ones)];
        let unmapped = item.all("unmapped").next();
        let read = self.choice(unmapped.and_then(|u| u.prop("read")), "read", &choices).unwrap_or(Unmapped::Abort);
        let write = self.choice(unmapped.and_then(|u| u.prop("write")), "write", &choices[..2]).unwrap_or(read);
        let name = item.args.first().cloned().unwrap_or_else(|| Value::new(Data::Bad, item.span()));
        self.board.buses.push(Bus { name, width, big_endian, unmapped_read: read, unmapped_write: write });
    }

    fn clock(&mut self, item: &Item) {
        let hz = self.number::<u64>(item.prop("hz"), "hz", "a frequency in Hz");
        let from = self.text(item, "from");
        match (item.prop("hz"), item.prop("from")) {
            (Some(a), Some(b)) => {
                let d = Diagnostic::error("double-driven", format!("clock `{}` has both `hz` and `from`", item.name()));
                self.report(d.at(b.span, "derived").and(a.span, "fixed").help("keep one of them"));
            }
            (None, None) => {
                let d = Diagnostic::error("missing", format!("clock `{}` has no source", item.name())).at(item.span(), "here");
                self.report(d.help("add `hz=33_333_333`, or `from=\"CLOCK\"`"));
            }
            _ => {}
        }
        let mut factor = |key: &str| match self.number::<u64>(item.prop(key), key, "a whole number from 1") {
            Some(g) if g.v == 0 => {
                let d = Diagnostic::error("value-range", format!("`{key}` is zero")).at(g.from.span, "").because(&g.from);
                self.report(d.help("give at least 1"));
                1
            }
            Some(g) => g.v,
            None => 1,
        };
        let (mul, div) = (factor("mul"), factor("div"));
        let name = item.args.first().cloned().unwrap_or_else(|| Value::new(Data::Bad, item.span()));
        self.board.clocks.push(Clock { name, hz, from, mul, div });
    }

    fn stub(&mut self, item: &Item) {
        let Some(place) = self.place(item, None) else { return self.missing(item, "at") };
        let Some(size) = place.size.as_ref().map(|s| s.v) else { return self.missing(item, "size") };
        let bit = self.number::<u32>(item.prop("bit"), "bit", "a bit number from 0 to 63");
        let value = self.number::<u64>(item.prop("value"), "value", "a number");
        let choices = [("raz-wi", 0), ("abort", 1), ("toggle", 2), ("poll-ready", 3), ("ram", 4), ("value", 5)];
        let policy = match self.choice(item.prop("policy"), "policy", &choices).unwrap_or(0) {
            0 => StubPolicy::RazWi,
            1 => StubPolicy::Abort,
            2 => StubPolicy::Toggle,
            3 => match bit.as_ref().map(|b| b.v) {
                Some(b) if b < 64 => StubPolicy::PollReady(b),
                Some(_) => {
                    let d = Diagnostic::error("value-range", "`bit` is 0 to 63").at(item.prop("bit").map_or(item.span(), |v| v.span), "");
                    self.report(d);
                    StubPolicy::PollReady(0)
                }
                None => {
                    self.missing(item, "bit");
                    StubPolicy::PollReady(0)
                }
            },
            4 => StubPolicy::Ram,
            _ => match value.as_ref() {
                Some(v) => StubPolicy::Value(v.v),
                None => {
                    self.missing(item, "value");
                    StubPolicy::RazWi
                }
            },
        };
        let stub = Stub {
            name: item.args.first().cloned().unwrap_or_else(|| Value::new(Data::Bad, item.span())),
            place,
            size,
            bus: self.text(item, "bus"),
            policy,
            quiet: item.prop("quiet").is_some_and(|v| v.data == Data::Bool(true)),
            dt: item.all("dt").next().cloned(),
        };
        self.board.stubs.push(stub);
    }

    fn code(&mut self, item: &Item) {
        let Some(at) = self.address(item, "at") else { return self.missing(item, "at") };
        let Some(isa) = self.text(item, "isa") else { return self.missing(item, "isa") };
        let Some(asm) = item.all("asm").next().and_then(|a| a.args.first()) else {
            let d = Diagnostic::error("missing", format!("`{}` has no `asm`", item.name())).at(item.span(), "here");
            return self.report(d.help("add `asm #\"\"\"...\"\"\"#` with the instructions"));
        };
        let name = item.args.first().cloned().unwrap_or_else(|| Value::new(Data::Bad, item.span()));
        let (model, bus) = (self.text(item, "model"), self.text(item, "bus"));
        self.board.codes.push(Code { name, at, isa, model, bus, asm: asm.clone() });
    }

    fn boot(&mut self, item: &Item) {
        if let Some(first) = &self.board.boot {
            let d = Diagnostic::error("duplicate", "a second `boot`").at(item.kind.span, "again here").and(first.span, "first here");
            return self.report(d.help("put all of it in one `boot`, or change the first with `--set boot...`"));
        }
        let mut boot = Boot {
            span: item.kind.span,
            protocols: Vec::new(),
            firmware: None,
            firmware_at: None,
            words: Vec::new(),
            secondaries: Vec::new(),
        };
        for p in item.all("protocol") {
            let Some(name) = p.args.first() else {
                let d = Diagnostic::error("missing", "a `protocol` has a name").at(p.kind.span, "here");
                self.report(d);
                continue;
            };
            let mut keys: Vec<_> = p.props.clone();
            keys.extend(p.children.iter().filter_map(|c| c.args.first().map(|v| (c.kind.clone(), v.clone()))));
            boot.protocols.push(Protocol { name: name.clone(), keys });
        }
        if let Some(f) = item.all("firmware").next() {
            boot.firmware = f.args.first().cloned();
            boot.firmware_at = self.address(f, "at");
            boot.words = f.all("words").flat_map(|w| w.args.iter().cloned()).collect();
        }
        for s in item.all("secondary") {
            if let Some(cpu) = s.args.first() {
                boot.secondaries.push(Secondary { cpu: cpu.clone(), at: s.prop("at").cloned(), spin_at: self.address(s, "spin-at") });
            }
        }
        self.board.boot = Some(boot);
    }

    /// `chardev "DEVICE" default="BACKEND"` is short for the device's `chardev=`.
    fn chardev(&mut self, item: &Item) {
        let name = item.name().to_string();
        let Some(default) = item.prop("default").cloned() else { return self.missing(item, "default") };
        match self.board.devices.iter_mut().find(|d| d.name.text() == name) {
            Some(device) => {
                device.chardev.get_or_insert(default);
            }
            None => {
                let names: Vec<String> = self.board.devices.iter().map(|d| d.name.to_text()).collect();
                let d = Diagnostic::error("unknown-name", format!("no device `{name}`")).at(item.span(), "");
                self.report(d.maybe_help(suggest(&name, "devices", names.iter().map(String::as_str))));
            }
        }
    }
}

/// All names of the board.
pub(crate) fn names(board: &Board) -> Vec<String> {
    board.items.iter().filter(|i| named(i)).map(|i| i.name().to_string()).collect()
}

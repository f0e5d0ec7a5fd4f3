//! A guest device tree from a board: DTS text and DTB (Devicetree Specification v0.4).
//!
//! `dt` children in the board file give what only they can know: `compatible`, clock cells, labels. Addresses, interrupts,
//! CPUs, memory, aliases and phandles come from the board itself. Inside `dt` (and `node` below it):
//! `cells "prop" 1 "&label" "n"`, `text "prop" "a" "b"`, `bytes "prop" "00:0a:35"`, `flag "prop"`, `regs "region" ...` (order of `reg`), `node "name" { }`;
//! an interrupt controller says `interrupt-cells "PORT" 0 "n" 4`, where `n` is the line of that port. A `node` with `slot="S"` stands for what is on that
//! slot of the controller: it is there if a part is, and the part's node is in it. A controller that has such nodes, and no part for any, is disabled.

use crate::board::Board;
use crate::diagnostic::Diagnostic;
use crate::plan::{Owner, Plan, Unit};
use crate::tree::{Data, Item, Value};
use std::collections::BTreeMap;
use std::fmt::Write;
use vm_fdt::FdtWriter;

/// A cell: a number, or a reference to a labelled node.
#[derive(Clone, PartialEq, Debug)]
enum Cell {
    Number(u32),
    Label(String),
}

#[derive(Clone, PartialEq, Debug)]
enum Property {
    Flag,
    Text(Vec<String>),
    Cells(Vec<Cell>),
    Bytes(Vec<u8>),
    /// A path to a labelled node, as in `aliases`.
    Path(String),
}

#[derive(Clone, Default, Debug)]
struct Node {
    name: String,
    label: Option<String>,
    props: Vec<(String, Property)>,
    children: Vec<Node>,
}

impl Node {
    fn new(name: impl Into<String>) -> Node {
        Node { name: name.into(), ..Node::default() }
    }
    fn put(&mut self, name: &str, value: Property) {
        match self.props.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.props.push((name.to_string(), value)),
        }
    }
    fn numbers(&mut self, name: &str, values: &[u32]) {
        self.put(name, Property::Cells(values.iter().map(|v| Cell::Number(*v)).collect()));
    }
    fn text(&mut self, name: &str, value: &str) {
        self.put(name, Property::Text(vec![value.to_string()]));
    }
}

struct Maker<'a> {
    board: &'a Board,
    plan: &'a Plan,
    problems: Vec<Diagnostic>,
    /// Cells of an address, and of a size.
    wide: usize,
}

/// The device tree as text.
///
/// # Errors
/// `dt` nodes that make no sense.
pub fn device_tree_source(board: &Board, plan: &Plan) -> Result<String, Vec<Diagnostic>> {
    let root = tree(board, plan)?;
    let mut out = String::from("/dts-v1/;\n\n");
    print(&root, 0, &mut out);
    Ok(out)
}

/// The device tree as a blob for the guest.
///
/// # Errors
/// `dt` nodes that make no sense.
pub fn device_tree_blob(board: &Board, plan: &Plan) -> Result<Vec<u8>, Vec<Diagnostic>> {
    let root = tree(board, plan)?;
    let mut labels = BTreeMap::new();
    collect(&root, "", &mut labels);
    let fail = |e: vm_fdt::Error| vec![Diagnostic::error("device-tree", format!("the device tree cannot be written: {e}"))];
    let mut fdt = FdtWriter::new().map_err(fail)?;
    write(&root, &labels, &mut fdt).map_err(fail)?;
    fdt.finish().map_err(fail)
}

/// The nodes of a controller that stand for a slot.
fn slot_nodes(dt: &Item) -> impl Iterator<Item = &Item> {
    dt.all("node").filter(|node| node.prop("slot").is_some())
}

/// Label -> phandle, path.
type Labels = BTreeMap<String, (u32, String)>;

fn collect(node: &Node, path: &str, labels: &mut Labels) {
    let here = if node.name.is_empty() { String::new() } else { format!("{path}/{}", node.name) };
    if let Some(label) = &node.label {
        let phandle = labels.len() as u32 + 1;
        labels.entry(label.clone()).or_insert((phandle, here.clone()));
    }
    node.children.iter().for_each(|c| collect(c, &here, labels));
}

fn write(node: &Node, labels: &Labels, fdt: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
    let open = fdt.begin_node(&node.name)?;
    let phandle = |label: &str| labels.get(label).map_or(0, |(p, _)| *p);
    for (name, value) in &node.props {
        match value {
            Property::Flag => fdt.property_null(name)?,
            Property::Text(list) => fdt.property_string_list(name, list.clone())?,
            Property::Path(label) => fdt.property_string(name, labels.get(label).map_or("", |(_, p)| p))?,
            Property::Bytes(bytes) => fdt.property(name, bytes)?,
            Property::Cells(cells) => {
                let cells: Vec<u32> = cells
                    .iter()
                    .map(|c| match c {
                        Cell::Number(n) => *n,
                        Cell::Label(label) => phandle(label),
                    })
                    .collect();
                fdt.property_array_u32(name, &cells)?;
            }
        }
    }
    if let Some(label) = &node.label {
        fdt.property_u32("phandle", phandle(label))?;
    }
    for child in &node.children {
        write(child, labels, fdt)?;
    }
    fdt.end_node(open)
}

fn print(node: &Node, depth: usize, out: &mut String) {
    let pad = "\t".repeat(depth);
    let label = node.label.as_ref().map_or(String::new(), |l| format!("{}: ", identifier(l)));
    let name = if node.name.is_empty() { "/" } else { &node.name };
    let _ = writeln!(out, "{pad}{label}{name} {{");
    for (name, value) in &node.props {
        let _ = match value {
            Property::Flag => writeln!(out, "{pad}\t{name};"),
            Property::Text(list) => {
                let list: Vec<String> = list.iter().map(|t| format!("\"{}\"", t.replace('\\', "\\\\").replace('"', "\\\""))).collect();
                writeln!(out, "{pad}\t{name} = {};", list.join(", "))
            }
            Property::Path(label) => writeln!(out, "{pad}\t{name} = &{};", identifier(label)),
            Property::Bytes(bytes) => {
                let bytes: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
                writeln!(out, "{pad}\t{name} = [{}];", bytes.join(" "))
            }
            Property::Cells(cells) => {
                let cells: Vec<String> = cells
                    .iter()
                    .map(|c| match c {
                        Cell::Number(n) if *n < 256 => n.to_string(),
                        Cell::Number(n) => format!("{n:#x}"),
                        Cell::Label(label) => format!("&{}", identifier(label)),
                    })
                    .collect();
                writeln!(out, "{pad}\t{name} = <{}>;", cells.join(" "))
            }
        };
    }
    for child in &node.children {
        out.push('\n');
        print(child, depth + 1, out);
    }
    let _ = writeln!(out, "{pad}}};");
}

/// Labels of DTS are C identifiers.
fn identifier(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn tree(board: &Board, plan: &Plan) -> Result<Node, Vec<Diagnostic>> {
    let wide = if plan.regions.iter().any(|r| r.last() > u64::from(u32::MAX)) { 2 } else { 1 };
    let mut maker = Maker { board, plan, problems: Vec::new(), wide };
    let root = maker.root();
    let mut labels = BTreeMap::new();
    collect(&root, "", &mut labels);
    maker.references(&root, &labels);
    if maker.problems.is_empty() { Ok(root) } else { Err(maker.problems) }
}

impl Maker<'_> {
    fn root(&mut self) -> Node {
        let board = self.board;
        let mut root = Node::new("");
        root.numbers("#address-cells", &[self.wide as u32]);
        root.numbers("#size-cells", &[self.wide as u32]);
        root.put("compatible", Property::Text(board.compatible.iter().map(|c| c.to_text()).collect()));
        root.text("model", board.model.as_ref().map_or(&board.name, |m| m.text()));
        // The controller most lines go to.
        let mut votes: BTreeMap<String, usize> = BTreeMap::new();
        for link in &self.plan.links {
            if let Unit::Device(i) = link.to.unit
                && board.devices[i].dt.as_ref().is_some_and(|d| d.all("interrupt-cells").next().is_some())
            {
                *votes.entry(self.label_of(i)).or_default() += 1;
            }
        }
        if let Some((controller, _)) = votes.into_iter().max_by_key(|(_, n)| *n) {
            root.put("interrupt-parent", Property::Cells(vec![Cell::Label(controller)]));
        }
        let mut chosen = Vec::new();
        for item in &board.dt {
            let mut node = Node::new(item.name());
            self.body(&mut node, item);
            chosen.push(node);
        }
        let mut aliases = Node::new("aliases");
        for (name, target) in &board.aliases {
            let device = board.devices.iter().position(|d| d.name.text() == target.text());
            if let Some(i) = device.filter(|i| board.devices[*i].dt.is_some()) {
                aliases.put(&name.text, Property::Path(self.label_of(i)));
            }
        }
        if !aliases.props.is_empty() {
            root.children.push(aliases);
        }
        root.children.extend(chosen);
        root.children.push(self.cpus());
        for (i, memory) in board.memories.iter().enumerate() {
            let Some(dt) = &memory.dt else { continue };
            let base = if dt.name().is_empty() { "memory" } else { dt.name() };
            let mut node = Node::new(format!("{base}@{:x}", memory.places[0].at.v));
            if base == "memory" {
                node.text("device_type", "memory");
            }
            let reg = self.reg(|o| o == Owner::Memory(i, 0));
            node.put("reg", Property::Cells(reg));
            self.body(&mut node, dt);
            root.children.push(node);
        }
        let mut soc = Node::new("soc");
        soc.text("compatible", "simple-bus");
        soc.numbers("#address-cells", &[self.wide as u32]);
        soc.numbers("#size-cells", &[self.wide as u32]);
        soc.put("ranges", Property::Flag);
        let mut devices: Vec<(u64, Node)> = Vec::new();
        for (i, device) in board.devices.iter().enumerate() {
            if let Some(dt) = device.dt.as_ref().filter(|_| !self.plan.devices[i].kind.is_some_and(|k| k.is_inside())) {
                devices.push(self.device(i, dt));
            }
        }
        for (i, stub) in board.stubs.iter().enumerate() {
            let Some(dt) = &stub.dt else { continue };
            let mut node = Node::new(format!("{}@{:x}", if dt.name().is_empty() { stub.name.text() } else { dt.name() }, stub.place.at.v));
            node.label = Some(stub.name.to_text());
            let reg = self.reg(|o| o == Owner::Stub(i));
            node.put("reg", Property::Cells(reg));
            self.body(&mut node, dt);
            devices.push((stub.place.at.v, node));
        }
        devices.sort_by_key(|(at, _)| *at);
        soc.children = devices.into_iter().map(|(_, n)| n).collect();
        root.children.push(soc);
        root
    }

    fn label_of(&self, device: usize) -> String {
        let device = &self.board.devices[device];
        let own = device.dt.as_ref().and_then(|d| d.prop("label"));
        own.map_or_else(|| device.name.to_text(), Value::to_text)
    }

    fn cpus(&mut self) -> Node {
        let mut cpus = Node::new("cpus");
        cpus.numbers("#address-cells", &[1]);
        cpus.numbers("#size-cells", &[0]);
        for (i, cpu) in self.board.cpus.iter().enumerate() {
            let Some(dt) = &cpu.dt else { continue };
            let mut node = Node::new(format!("cpu@{i:x}"));
            node.label = Some(cpu.name.to_text());
            node.text("device_type", "cpu");
            node.numbers("reg", &[i as u32]);
            let boot = self.board.boot.as_ref();
            let spin = boot.and_then(|b| b.secondaries.iter().find(|s| s.cpu.text() == cpu.name.text())).and_then(|s| s.spin_at.as_ref());
            // Only a tree that names the method uses the address.
            if let Some(spin) = spin.filter(|_| dt.children.iter().any(|c| c.name() == "enable-method")) {
                node.numbers("cpu-release-addr", &[(spin.v >> 32) as u32, spin.v as u32]);
            }
            self.body(&mut node, dt);
            cpus.children.push(node);
        }
        cpus
    }

    fn reg(&self, of: impl Fn(Owner) -> bool) -> Vec<Cell> {
        let mut cells = Vec::new();
        for region in self.plan.regions.iter().filter(|r| of(r.owner)) {
            self.wide_cells(&mut cells, region.start);
            self.wide_cells(&mut cells, region.size);
        }
        cells
    }

    fn wide_cells(&self, cells: &mut Vec<Cell>, value: u64) {
        if self.wide == 2 {
            cells.push(Cell::Number((value >> 32) as u32));
        }
        cells.push(Cell::Number(value as u32));
    }

    fn device(&mut self, i: usize, dt: &Item) -> (u64, Node) {
        let (board, plan) = (self.board, self.plan);
        let device = &board.devices[i];
        let kind = plan.devices[i].kind;
        let mut order: Vec<usize> = (0..kind.map_or(0, |k| k.regions.len())).collect();
        if let (Some(regs), Some(kind)) = (dt.all("regs").next(), kind) {
            order.clear();
            for name in &regs.args {
                match kind.regions.iter().position(|r| r.name == name.text()) {
                    Some(r) => order.push(r),
                    None => {
                        let known = kind.regions.iter().map(|r| r.name);
                        let d = Diagnostic::error("unknown-region", format!("type `{}` has no region `{}`", kind.name, name.to_text()));
                        self.problems.push(d.at(name.span, "").maybe_help(crate::diagnostic::suggest(name.text(), "regions", known)));
                    }
                }
            }
        }
        let mut reg = Vec::new();
        let mut first = None;
        for r in order {
            reg.extend(self.reg(|o| o == Owner::Device(i, r)));
            first = first.or(plan.regions.iter().find(|g| g.owner == Owner::Device(i, r)).map(|g| g.start));
        }
        let base = if dt.name().is_empty() { device.name.text().trim_end_matches(|c: char| c.is_ascii_digit()) } else { dt.name() };
        let first = first.or(plan.devices[i].on.map(|on| on.at.into()));
        let mut node = Node::new(match first {
            Some(at) => format!("{base}@{at:x}"),
            None => base.to_string(),
        });
        node.label = Some(self.label_of(i));
        match plan.devices[i].on {
            _ if !reg.is_empty() => node.put("reg", Property::Cells(reg)),
            Some(on) => node.numbers("reg", &[on.at]),
            None => {}
        }
        let interrupts = self.interrupts(i);
        if !interrupts.is_empty() {
            node.put("interrupts", Property::Cells(interrupts));
        }
        self.body(&mut node, dt);
        self.parts(i, dt, &mut node);
        // `compatible` first, as people write it.
        if let Some(at) = node.props.iter().position(|(n, _)| n == "compatible") {
            let p = node.props.remove(at);
            node.props.insert(0, p);
        }
        (first.unwrap_or(0), node)
    }

    /// The parts of a controller that a device tree has nodes for, below it; where it has several slots, each in a node of its own (a multiplexer's
    /// channels), or in the node that the controller has for it.
    fn parts(&mut self, controller: usize, dt: &Item, node: &mut Node) {
        let (board, plan) = (self.board, self.plan);
        let slots = plan.devices[controller].kind.map_or(&[][..], |k| k.slots);
        for (n, slot) in slots.iter().enumerate() {
            let here = |i: usize| plan.devices[i].on.filter(|on| (on.controller, on.slot) == (controller, n));
            let mut parts = Vec::new();
            for (i, device) in board.devices.iter().enumerate() {
                let inside = plan.devices[i].kind.is_none_or(|k| k.is_inside());
                if let (Some(on), Some(dt), true) = (here(i), &device.dt, inside) {
                    parts.push((on.at, self.device(i, dt).1));
                }
            }
            parts.sort_by_key(|(at, _)| *at);
            let empty = parts.is_empty();
            let nest = |node: &mut Node| {
                if !empty {
                    node.numbers("#address-cells", &[1]);
                    node.numbers("#size-cells", &[0]);
                    node.children.extend(parts.into_iter().map(|(_, part)| part));
                }
            };
            if let Some(own) = slot_nodes(dt).find(|own| own.prop("slot").is_some_and(|s| s.text() == slot.name)) {
                if (0..board.devices.len()).any(|i| here(i).is_some()) {
                    let mut inner = Node::new(own.name());
                    self.body(&mut inner, own);
                    nest(&mut inner);
                    node.children.push(inner);
                }
            } else if slots.len() == 1 {
                nest(node);
            } else if !empty {
                let mut inner = Node::new(format!("{}@{n:x}", slot.bus.name().to_lowercase()));
                nest(&mut inner);
                inner.numbers("reg", &[n as u32]);
                node.numbers("#address-cells", &[1]);
                node.numbers("#size-cells", &[0]);
                node.children.push(inner);
            }
        }
        if slot_nodes(dt).next().is_some() && node.children.is_empty() {
            node.text("status", "disabled");
        }
    }

    /// The cells of every line the device drives into an interrupt controller; copies for each CPU count once.
    fn interrupts(&mut self, i: usize) -> Vec<Cell> {
        let (board, plan) = (self.board, self.plan);
        let mut cells = Vec::new();
        let mut seen = Vec::new();
        for link in plan.links.iter().filter(|l| l.from.unit == Unit::Device(i)) {
            let Unit::Device(controller) = link.to.unit else { continue };
            let Some(dt) = &board.devices[controller].dt else { continue };
            let (port, line) = plan.port_of(link.to, false);
            if seen.contains(&(controller, port, line)) {
                continue;
            }
            seen.push((controller, port, line));
            let Some(form) = dt.all("interrupt-cells").find(|c| c.name() == port) else { continue };
            for value in &form.args[1..] {
                match value.data.int() {
                    Some(n) => cells.push(Cell::Number(n as u32)),
                    None if value.text() == "n" => cells.push(Cell::Number(line)),
                    None => {
                        let d = Diagnostic::error("device-tree", format!("{} is neither a number nor `n`", value.data)).at(value.span, "");
                        self.problems.push(d.help("`n` stands for the line"));
                        return cells;
                    }
                }
            }
        }
        cells
    }

    /// What a `dt` or `node` says itself.
    fn body(&mut self, node: &mut Node, item: &Item) {
        for (name, value) in &item.props {
            match name.text.as_str() {
                "compatible" => node.put("compatible", Property::Text(value.text().split_whitespace().map(str::to_string).collect())),
                "label" => node.label = Some(value.to_text()),
                "slot" if item.kind.text == "node" => {}
                other => {
                    let d =
                        Diagnostic::error("unknown-property", format!("`{}` has no property `{other}`", item.kind.text)).at(name.span, "");
                    self.problems.push(d.help(format!(
                        "properties are written inside: `text \"{other}\" ...`, `cells \"{other}\" ...`, `flag \"{other}\"`"
                    )));
                }
            }
        }
        for child in &item.children {
            let rest = child.args.get(1..).unwrap_or(&[]);
            match (child.kind.text.as_str(), child.name()) {
                ("regs" | "interrupt-cells", _) => {}
                ("node", _) if child.prop("slot").is_some() => {}
                (kind @ ("cells" | "text" | "bytes" | "flag" | "node"), "") => {
                    self.problems.push(
                        Diagnostic::error("missing", format!("`{kind}` wants a name"))
                            .at(child.kind.span, "here")
                            .help(format!("write `{kind} \"NAME\" ...`")),
                    );
                }
                ("flag", name) => node.put(name, Property::Flag),
                ("text", name) => node.put(name, Property::Text(rest.iter().map(Value::to_text).collect())),
                ("bytes", name) => {
                    let octet = |o: &str| if o.len() == 2 { u8::from_str_radix(o, 16).ok() } else { None };
                    let bytes = rest.iter().flat_map(|v| v.text().split(':').map(move |o| (v, octet(o))));
                    if let Some((value, _)) = bytes.clone().find(|(_, byte)| byte.is_none()) {
                        let d = Diagnostic::error("device-tree", format!("{} are no bytes", value.data)).at(value.span, "");
                        self.problems.push(d.help("two hexadecimal digits each, with `:` between them"));
                    }
                    node.put(name, Property::Bytes(bytes.filter_map(|(_, byte)| byte).collect()));
                }
                ("cells", name) => {
                    let cells = rest.iter().filter_map(|v| self.cell(v)).collect();
                    node.put(name, Property::Cells(cells));
                }
                ("node", name) => {
                    let mut inner = Node::new(name);
                    self.body(&mut inner, child);
                    node.children.push(inner);
                }
                (other, _) => {
                    let d = Diagnostic::error("unknown-node", format!("no `{other}` inside a `dt`")).at(child.kind.span, "");
                    let known = ["cells", "text", "bytes", "flag", "node", "regs", "interrupt-cells"];
                    self.problems.push(d.maybe_help(crate::diagnostic::suggest(other, "there may be", known)));
                }
            }
        }
    }

    fn cell(&mut self, value: &Value) -> Option<Cell> {
        if let Some(label) = value.text().strip_prefix('&') {
            return Some(Cell::Label(label.to_string()));
        }
        let n = value.data.int().and_then(|n| u32::try_from(n).or(i32::try_from(n).map(|n| n as u32)).ok());
        if n.is_none() && value.data != Data::Bad {
            let d = Diagnostic::error("device-tree", format!("{} is no cell", value.data)).at(value.span, "");
            self.problems.push(d.help("a cell is a 32-bit number, or `\"&label\"`"));
        }
        n.map(Cell::Number)
    }

    /// References to labels that no node has.
    fn references(&mut self, node: &Node, labels: &Labels) {
        for (name, value) in &node.props {
            let Property::Cells(cells) = value else { continue };
            for cell in cells {
                if let Cell::Label(label) = cell
                    && !labels.contains_key(label)
                {
                    let d =
                        Diagnostic::error("device-tree", format!("`{name}` of `{}` refers to `&{label}`, which no node has", node.name));
                    let help = crate::diagnostic::suggest(label, "labels", labels.keys().map(String::as_str));
                    self.problems.push(d.maybe_help(help));
                }
            }
        }
        node.children.iter().for_each(|c| self.references(c, labels));
    }
}

//! A board file from a device tree.
//!
//! The tree's processor says what the board is built on: a soc of the built-in boards, whose parameters are taken from the tree. Nodes that lie where the soc has a
//! device are that device. For others the built-in boards say which type goes with which `compatible`; parts on I2C and SPI buses are types by that very
//! name. What is left becomes a stub. Not taken over: clocks, regulators, pins, and what a node says beyond addresses, interrupts and properties of the type.
//!
//! Source: Devicetree Specification v0.4, chapters 2 and 3; Linux' bindings of the named devices.

use super::nodes::{Found, cells, find, walk};
use super::{Imported, plain, quoted};
use emu_boards::Request;
use emu_boot::fdt::{Node, Tree};
use emu_machine::parts::PartBus;
use emu_machine::schema::{Count, DeviceType, PropKind, Registry};
use std::collections::HashMap;
use std::fmt::Write as _;

/// What the board is built on.
struct Base {
    /// The `include` line.
    include: String,
    /// Bus for DMA, clock for what needs one.
    bus: &'static str,
    clock: &'static str,
    /// What the soc calls itself: the rest of the tree's `compatible` is the board's.
    compatible: &'static str,
}

/// A device type that a built-in board uses for a `compatible`.
struct Known {
    kind: String,
    /// Ports of its interrupts, in the order of the node's.
    ports: Vec<String>,
}

struct Importer<'t> {
    registry: &'t Registry,
    found: Vec<Found<'t>>,
    known: HashMap<String, Known>,
    text: String,
    notes: Vec<String>,
    /// Type of each device there is.
    kinds: HashMap<String, String>,
}

const MICROBLAZE: &str = "xlnx,microblaze";

/// MBV of PVR0 (UG984, processor version register 0).
const VERSIONS: &[(&str, u8)] = &[
    ("7.00.a", 5),
    ("7.00.b", 7),
    ("7.10.a", 8),
    ("7.10.b", 9),
    ("7.10.c", 0xa),
    ("7.10.d", 0xb),
    ("7.20.a", 0xc),
    ("7.20.b", 0xd),
    ("7.20.c", 0xe),
    ("7.20.d", 0xf),
    ("7.30.a", 0x10),
    ("7.30.b", 0x11),
    ("8.00.a", 0x12),
    ("8.00.b", 0x13),
    ("8.10.a", 0x14),
    ("8.20.a", 0x15),
    ("8.20.b", 0x16),
    ("8.30.a", 0x17),
    ("8.40.a", 0x18),
    ("8.40.b", 0x19),
    ("8.50.a", 0x1a),
    ("9.0", 0x1b),
    ("8.50.b", 0x1c),
    ("9.1", 0x1d),
    ("8.50.c", 0x1e),
    ("9.2", 0x1f),
    ("9.3", 0x20),
    ("9.4", 0x21),
    ("9.5", 0x22),
    ("9.6", 0x23),
    ("10.0", 0x24),
    ("11.0", 0x25),
];

/// Properties of a MicroBlaze's node that are parameters of the soc; a multiplier of kind N makes results of 32 N bits.
const UNITS: &[(&str, &str)] = &[
    ("use-barrel", "barrel"),
    ("use-div", "divider"),
    ("use-pcmp-instr", "pattern-compare"),
    ("use-msr-instr", "msr-instructions"),
    ("use-reorder-instr", "reorder"),
    ("use-stack-protection", "stack-protection"),
    ("opcode-0x0-illegal", "zero-illegal"),
    ("ill-opcode-exception", "illegal-exception"),
    ("unaligned-exceptions", "unaligned-exception"),
    ("div-zero-exception", "divide-exception"),
    ("fpu-exception", "fpu-exception"),
    ("use-fpu", "fpu"),
    ("use-mmu", "mmu"),
    ("mmu-zones", "zones"),
    ("fsl-links", "links"),
];

/// Properties of our types that nodes call otherwise, behind `xlnx,`: those of the bindings of Xilinx' blocks.
const RENAMED: &[(&str, &str)] = &[
    ("selects", "num-ss-bits"),
    ("width", "gpio-width"),
    ("width2", "gpio2-width"),
    ("length-width", "sg-length-width"),
    ("delay-resolution", "dlytmr-resolution"),
];

impl<'t> Importer<'t> {
    fn compatible(node: &Node) -> Vec<String> {
        node.strings("compatible")
    }

    fn first(&self, compatible: &str) -> Option<&Found<'t>> {
        self.found.iter().find(|f| f.enabled && Self::compatible(f.node).iter().any(|c| c.contains(compatible)))
    }

    fn memory(&self) -> Vec<(u64, u64)> {
        let is_memory = |f: &&Found<'_>| f.node.strings("device_type").first().is_some_and(|t| t == "memory");
        self.found.iter().filter(is_memory).flat_map(|f| f.regs.clone()).filter(|r| r.1 > 0).collect()
    }

    fn base(&mut self, tree: &'t Tree) -> Result<Base, String> {
        let cpus: Vec<&Node> =
            find(&tree.root, "cpus").map_or(vec![], |c| c.children.iter().filter(|n| n.name.starts_with("cpu")).collect());
        let cpu = cpus.first().ok_or("it has no processor (`/cpus`)")?;
        let kind = cpu.strings("compatible").join(" ");
        let memory = self.memory().first().copied().ok_or("it has no memory node with a size")?;
        if tree.root.strings("compatible").iter().any(|c| c == "xlnx,zynq-7000") {
            let mut include = format!("include \"soc/zynq7000.kdl\" ncpu={} ram={:#x}", cpus.len().min(2), memory.1);
            if let Some(hz) = self.found.iter().find_map(|f| f.node.cell("ps-clk-frequency")) {
                let _ = write!(include, " ps-clk={hz}");
            }
            let phy = self.first("cdns,gem").and_then(|f| f.node.cell("phy-handle"));
            if let Some(at) = self.found.iter().find(|f| phy.is_some() && f.phandle == phy).and_then(|f| f.node.cell("reg")) {
                let _ = write!(include, " eth-phy={at}");
            }
            return Ok(Base { include, bus: "ps", clock: "slcr.fclk0", compatible: "xlnx,zynq-7000" });
        }
        let Some(version) = cpu.strings("compatible").iter().find_map(|c| c.strip_prefix("xlnx,microblaze-").map(String::from)) else {
            return Err(format!(
                "no built-in board has a processor like `{kind}`\n  help: it takes trees of Zynq-7000 and MicroBlaze systems"
            ));
        };
        let get = |name: &str| cpu.cell(&format!("xlnx,{name}"));
        // What older versions had not their trees do not say: they were big-endian, without reversed accesses.
        let little = get("endianness").unwrap_or(0) != 0;
        let (model, endian) = if little { ("microblazeel", "little") } else { ("microblaze", "big") };
        let mut include = format!("include \"soc/microblaze.kdl\" model={model:?} endian={endian:?} version={version:?}");
        let code = VERSIONS.iter().find(|(v, _)| *v == version || version.starts_with(&format!("{v}."))).map(|v| v.1);
        let code = code.unwrap_or_else(|| {
            self.notes.push(format!("processor version `{version}` is not known; taken as 11.0"));
            0x25
        });
        let _ = write!(include, " version-code={code:#x} ram-at={:#x} ram={:#x}", memory.0, memory.1);
        if let Some(hz) = cpu.cell("clock-frequency") {
            let _ = write!(include, " hz={hz}");
        }
        let _ = write!(include, " axi=#{}", get("d-axi").map_or(get("interconnect") == Some(2), |axi| axi != 0));
        for (name, param) in UNITS {
            if let Some(value) = get(name).or((*param == "reorder").then_some(0)) {
                let number = matches!(*param, "fpu" | "mmu" | "zones" | "links");
                let _ = if number { write!(include, " {param}={value}") } else { write!(include, " {param}=#{}", value != 0) };
            }
        }
        if let Some(multiplier) = get("use-hw-mul") {
            let _ = write!(include, " multiplier={}", multiplier.min(2) * 32);
        }
        let at = |f: &Found<'_>| f.regs.first().map(|r| r.0);
        if let Some(f) = self.first("-intc-") {
            let (at, get) = (at(f), |name: &str| f.node.cell(&format!("xlnx,{name}")));
            if let Some(at) = at {
                let _ = write!(
                    include,
                    " intc-at={at:#x} inputs={} edges={:#x}",
                    get("num-intr-inputs").unwrap_or(32),
                    get("kind-of-intr").unwrap_or(0)
                );
            }
        }
        if let Some(f) = self.first("-timer-1") {
            let line = f.node.cell("interrupts").unwrap_or(0);
            if let Some(at) = at(f) {
                let _ = write!(include, " timer-at={at:#x} timer-irq={line}");
            }
        }
        Ok(Base { include, bus: "plb", clock: "clk", compatible: MICROBLAZE })
    }

    /// What the built-in boards know.
    fn learn(&mut self) {
        for (file, text) in emu_boards::builtin::FILES.iter().filter(|(file, _)| !file.contains('/')) {
            let board = emu_boards::load_text(&Request { board: (*file).into(), ..Request::default() }, text);
            for device in &board.devices {
                let Some(compatible) = device.dt.as_ref().and_then(|dt| dt.prop("compatible")) else { continue };
                let irqs =
                    device.wires.iter().filter(|w| w.to.iter().any(|to| to.text().starts_with("intc.") || to.text().starts_with("gic.")));
                let ports = irqs.map(|w| w.from.as_ref().map_or("irq".into(), |f| f.text().to_string())).collect::<Vec<_>>();
                for name in compatible.text().split(' ') {
                    let known = Known { kind: device.kind.text().into(), ports: ports.clone() };
                    self.known.entry(name.into()).or_insert(known);
                }
            }
        }
    }

    /// Interrupts as the board says them: `#interrupt-cells` numbers each.
    fn resolve_interrupts(&mut self) {
        let gic = |f: &Node| Self::compatible(f).iter().any(|c| c.contains("gic"));
        let controllers: Vec<(Option<u32>, usize, bool)> =
            self.found.iter().map(|f| (f.phandle, f.node.cell("#interrupt-cells").unwrap_or(1).max(1) as usize, gic(f.node))).collect();
        for f in &mut self.found {
            let controller = f.controller.and_then(|c| controllers.iter().find(|other| other.0 == Some(c)));
            let Some((_, width, gic)) = controller else { continue };
            let numbers = f.node.property("interrupts").map(cells).unwrap_or_default();
            let line = |i: &[u32]| match (gic, i) {
                (true, [0, n, ..]) => format!("gic.spi {n}"),
                (true, [_, n, ..]) => format!("gic.ppi {n}"),
                _ => format!("intc.in {}", i[0]),
            };
            f.interrupts = numbers.chunks_exact(*width).map(line).collect();
        }
    }

    /// Gives each node that is a device of the soc that device's name.
    fn match_base(&mut self, base: &Base, name: &str) -> Result<(), String> {
        let text = format!("board {} {{\n    {}\n}}\n", quoted(name), base.include);
        let board = emu_boards::load_text(&Request { board: "the imported board".into(), ..Request::default() }, &text);
        let problems = emu_boards::check(&board, self.registry);
        if emu_boards::diagnostic::has_errors(&problems) {
            return Err(format!(
                "what the tree says does not make a board:\n{}",
                emu_boards::diagnostic::render(&problems, &board.sources)
            ));
        }
        let plan = emu_boards::plan(&board, self.registry).0;
        self.kinds = board.devices.iter().map(|d| (d.name.text().to_string(), d.kind.text().to_string())).collect();
        for f in &mut self.found {
            let Some((at, _)) = f.regs.first() else { continue };
            // The soc's address may lie behind registers that it does not model.
            let region = plan
                .regions
                .iter()
                .find(|r| r.start == *at)
                .or_else(|| plan.regions.iter().find(|r| r.start <= *at && *at - r.start < r.size));
            if let Some(region) = region {
                f.name = region.name.split('.').next().unwrap_or_default().to_string();
            }
        }
        Ok(())
    }

    fn unique(&self, wanted: &str) -> String {
        let base = plain(wanted.split('@').next().unwrap_or(wanted));
        let taken = |name: &str| self.kinds.contains_key(name) || self.found.iter().any(|f| f.name == name);
        std::iter::once(base.clone()).chain((1..).map(|n| format!("{base}{n}"))).find(|name| !taken(name)).unwrap_or(base)
    }

    /// Properties of the type that the node has: by the same name, with a vendor's prefix, or by another name ([`RENAMED`]).
    fn properties(&self, kind: &DeviceType, f: &Found<'_>) -> String {
        let mut set = String::new();
        for prop in kind.props {
            let other = RENAMED.iter().find(|(name, _)| *name == prop.name).map_or(prop.name, |(_, other)| other);
            let value = f.node.cell(prop.name).or_else(|| f.node.cell(&format!("xlnx,{other}")));
            let value = match prop.name {
                "window" => f.node.cell("reg-shift").map(|shift| 8 << shift.min(4)),
                "phy-addr" => {
                    f.node.cell("phy-handle").and_then(|phy| self.found.iter().find(|f| f.phandle == Some(phy))?.node.cell("reg"))
                }
                "size" if value.is_none() => f.regs.first().map(|r| r.1 as u32),
                _ => value,
            };
            let mac = f.node.property("local-mac-address").or(f.node.property("mac-address")).filter(|mac| mac.len() == 6);
            let _ = match (prop.kind, value, mac) {
                (PropKind::Int { .. } | PropKind::Size { .. }, Some(value), _) => write!(set, " {}={value:#x}", prop.name),
                (PropKind::Bool, Some(value), _) => write!(set, " {}=#{}", prop.name, value != 0),
                (PropKind::Text, _, Some(mac)) if prop.name == "mac" => {
                    write!(set, " mac={}", quoted(&mac.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")))
                }
                _ => Ok(()),
            };
        }
        set
    }

    /// What the built-in boards use for a node, with its type.
    fn known(&self, node: &Node) -> Option<(&Known, &'t DeviceType)> {
        let known = Self::compatible(node).iter().find_map(|c| self.known.get(c))?;
        let kind = self.registry.device(&known.kind).filter(|kind| !kind.regions.is_empty())?;
        Some((known, kind))
    }

    /// Names the nodes that become devices or stubs of this board.
    fn name_devices(&mut self) -> Vec<usize> {
        let mut named = vec![];
        for i in 0..self.found.len() {
            let f = &self.found[i];
            let is_memory = f.node.strings("device_type").first().is_some_and(|t| t == "memory");
            // Buses have addresses, too, but they are no devices.
            let is_bus = Self::compatible(f.node).iter().any(|c| c == "simple-bus");
            if f.name.is_empty() && f.enabled && f.regs.first().is_some_and(|r| r.1 > 0) && !is_memory && !is_bus {
                let (name, kind) = (self.unique(&f.node.name), self.known(f.node).map(|(_, kind)| kind.name));
                self.kinds.extend(kind.map(|kind| (name.clone(), kind.to_string())));
                self.found[i].name = name;
                named.push(i);
            }
        }
        named
    }

    fn devices(&mut self, base: &Base) {
        for i in self.name_devices() {
            let f = &self.found[i];
            let compatible = Self::compatible(f.node).join(" ");
            let (at, size) = f.regs[0];
            let at = at + u64::from(f.node.cell("reg-offset").unwrap_or(0));
            let name = f.name.clone();
            let Some((known, kind)) = self.known(f.node) else {
                let _ = writeln!(self.text, "    stub {} at={at:#x} size={size:#x} // {}", quoted(&name), quoted(&compatible));
                self.notes.push(format!("{}: `{compatible}` is not modelled: a stub", f.path));
                continue;
            };
            let mut text = format!("    device {} type={} at={at:#x}", quoted(&name), quoted(kind.name));
            // A part with registers: it is at the other end of streams.
            if kind.part.is_some() {
                let other = f.node.cell("axistream-connected").and_then(|p| self.found.iter().find(|f| f.phandle == Some(p)));
                let _ = write!(text, " on={}", quoted(other.map_or("", |f| &f.name)));
            }
            if kind.clocks_in.iter().any(|c| c.required) {
                let _ = write!(text, " clock={}", quoted(base.clock));
            }
            if kind.dma {
                let _ = write!(text, " master={}", quoted(base.bus));
            }
            let _ = writeln!(text, " {{");
            let set = self.properties(kind, f);
            if !set.is_empty() {
                let _ = writeln!(text, "        set{set}");
            }
            for (port, line) in known.ports.iter().zip(&f.interrupts) {
                let _ = writeln!(text, "        irq {} to={}", quoted(port), quoted(line));
            }
            let node = plain(f.node.name.split('@').next().unwrap_or_default());
            let _ = writeln!(text, "        dt {} compatible={}\n    }}", quoted(&node), quoted(&compatible));
            self.text.push_str(&text);
            let wide = f.node.cell("bank-width") == Some(2);
            if let Some(slot) = kind.slots.first().filter(|slot| slot.bus == PartBus::Nor && compatible.contains("cfi-flash")) {
                self.nor(&name, slot.bus, size, wide);
            }
        }
    }

    /// A flash chip that spans so much; the tree does not say which.
    fn nor(&mut self, on: &str, bus: PartBus, size: u64, wide: bool) {
        let spans = |kind: &&DeviceType| {
            kind.part == Some(bus) && kind.memories.first().is_some_and(|m| matches!(m.size, Count::Fixed(n) if n == size))
        };
        let Some(kind) = self.registry.devices.iter().find(spans) else {
            return self.notes.push(format!("{on}: there is no flash chip of {size:#x} bytes"));
        };
        let name = self.unique(&format!("{on}-chip"));
        let set = if wide { " { set wide=#true; }" } else { "" };
        let _ = writeln!(self.text, "    device {} type={} on={}{set}", quoted(&name), quoted(kind.name), quoted(on));
        self.notes.push(format!("{on}: which flash chip it is the tree does not say; taken as {}", kind.name));
        self.kinds.insert(name, kind.name.to_string());
    }

    /// Parts on the buses of the devices there are.
    fn parts(&mut self) {
        for i in 0..self.found.len() {
            let f = &self.found[i];
            let (Some(parent), true) = (f.parent, f.enabled && f.name.is_empty()) else { continue };
            let Some(at) = f.node.cell("reg") else { continue };
            let (up, compatible) = (&self.found[parent], Self::compatible(f.node));
            let Some(slot) = self.kinds.get(&up.name).and_then(|k| self.registry.device(k)).and_then(|k| k.slots.first()) else { continue };
            // A branch of a multiplexer: what hangs on it is on that slot.
            if compatible.is_empty() {
                self.found[i].name = up.name.clone();
                continue;
            }
            let branch = up.parent.is_some_and(|p| self.found[p].name == up.name).then(|| up.node.cell("reg")).flatten();
            let on = branch.map_or(up.name.clone(), |n| format!("{}.ch{n}", up.name));
            let exact = compatible.iter().find_map(|c| self.registry.device(c));
            let any_flash = compatible.iter().any(|c| c == "jedec,spi-nor").then(|| self.registry.device("micron,n25q128a11")).flatten();
            let Some(kind) = exact.or(any_flash).filter(|k| k.part == Some(slot.bus)) else {
                self.notes.push(format!("{}: there is no part `{}`", f.path, compatible.join("`, `")));
                continue;
            };
            if exact.is_none() {
                self.notes.push(format!("{}: which flash chip it is the tree does not say; taken as {}", f.path, kind.name));
            }
            let name = self.unique(&f.node.name);
            let dt = quoted(&compatible.join(" "));
            let _ = writeln!(
                self.text,
                "    device {} type={} on={} at={at:#x} {{ dt compatible={dt}; }}",
                quoted(&name),
                quoted(kind.name),
                quoted(&on)
            );
            self.kinds.insert(name.clone(), kind.name.to_string());
            self.found[i].name = name;
        }
    }

    /// Lights and buttons.
    fn gpio(&mut self) {
        for i in 0..self.found.len() {
            let f = &self.found[i];
            let kind = Self::compatible(f.node).join(" ");
            let (light, is_ours) = (kind == "gpio-leds", kind == "gpio-leds" || kind.starts_with("gpio-keys"));
            if !is_ours || !f.enabled {
                continue;
            }
            for child in &f.node.children {
                let gpios = cells(child.property("gpios").unwrap_or(&[]));
                let [phandle, line, ..] = gpios[..] else { continue };
                let label = child.strings("label").first().cloned().unwrap_or(child.name.clone());
                let controller = self.found.iter().find(|f| f.phandle == Some(phandle) && !f.name.is_empty());
                let port = |name: &str| {
                    let kind = self.kinds.get(&controller?.name).and_then(|k| self.registry.device(k))?;
                    kind.outputs
                        .iter()
                        .chain(kind.inputs)
                        .any(|p| p.name == name)
                        .then(|| format!("{}.{name} {line}", controller.map_or("", |c| &c.name)))
                };
                let (Some(out), Some(input)) = (port("out"), port("in")) else {
                    self.notes.push(format!("{}/{}: its GPIO controller is not there", f.path, child.name));
                    continue;
                };
                let low = if gpios.get(2).is_some_and(|flags| flags & 1 != 0) { " active-low=#true" } else { "" };
                let name = self.unique(&label);
                let (kind, set) = if light { ("gpio-led", format!(" label={}", quoted(&label))) } else { ("gpio-button", String::new()) };
                let set = if set.is_empty() && low.is_empty() { String::new() } else { format!("set{set}{low}; ") };
                let _ = if light {
                    writeln!(
                        self.text,
                        "    device {0} type=\"{kind}\" {{ {set}}}\n    wire {1} to=\"{2}.in\"",
                        quoted(&name),
                        quoted(&out),
                        name
                    )
                } else {
                    writeln!(self.text, "    device {} type=\"{kind}\" {{ {set}wire to={}; }}", quoted(&name), quoted(&input))
                };
                self.kinds.insert(name, kind.to_string());
            }
        }
    }

    /// The device that a path or an alias means.
    fn device_at(&self, tree: &Tree, path: &str) -> Option<String> {
        let path = path.split(':').next().unwrap_or(path);
        let alias = find(&tree.root, "aliases").and_then(|a| a.strings(path).first().cloned());
        let path = alias.as_deref().unwrap_or(path);
        self.found.iter().find(|f| f.path == path && self.kinds.contains_key(&f.name)).map(|f| f.name.clone())
    }

    /// The device that the console is.
    fn console(&self, tree: &Tree) -> Option<(String, String)> {
        let chosen = find(&tree.root, "chosen")?;
        let path = chosen.strings("stdout-path").into_iter().chain(chosen.strings("linux,stdout-path")).next()?;
        let device = self.device_at(tree, &path)?;
        Some((path, device))
    }

    /// What the soc's demo firmware writes to.
    fn demo(&self, tree: &Tree, base: &Base) -> String {
        let Some((_, device)) = self.console(tree).filter(|_| base.compatible == MICROBLAZE) else { return String::new() };
        let shift = self.found.iter().find(|f| f.name == device).and_then(|f| f.node.cell("reg-shift"));
        format!(" demo-console={} demo-stride={}", quoted(&device), shift.map_or(0, |shift| 1 << shift.min(4)))
    }

    fn names(&mut self, tree: &Tree) {
        let aliases = find(&tree.root, "aliases");
        let list: Vec<String> = aliases
            .iter()
            .flat_map(|a| &a.properties)
            .filter_map(|(name, value)| {
                let path = String::from_utf8_lossy(value).trim_end_matches('\0').to_string();
                let device = self.device_at(tree, &path)?;
                Some(format!(" {}={}", plain(name), quoted(&device)))
            })
            .collect();
        if !list.is_empty() {
            let _ = writeln!(self.text, "    aliases{}", list.concat());
        }
        if let Some((path, device)) = self.console(tree) {
            let _ = writeln!(self.text, "    chardev {} default=\"stdio\"", quoted(&device));
            let alias = path.split(':').next().is_some_and(|p| !p.starts_with('/'));
            if alias {
                let _ = writeln!(self.text, "    dt \"chosen\" {{ text \"stdout-path\" {}; }}", quoted(&path));
            }
        }
    }
}

/// A board file called `name`.
pub(super) fn import(tree: &Tree, name: &str, registry: &Registry) -> Result<Imported, String> {
    let mut found = Vec::new();
    walk(&tree.root, "/", &[], true, None, &mut found);
    let mut importer = Importer { registry, found, known: HashMap::new(), text: String::new(), notes: vec![], kinds: HashMap::new() };
    let base = importer.base(tree)?;
    importer.learn();
    importer.resolve_interrupts();
    importer.match_base(&base, name)?;
    let model = tree.root.strings("model").first().cloned().unwrap_or_else(|| name.to_string());
    let compatible: Vec<String> = tree.root.strings("compatible").into_iter().filter(|c| c != base.compatible).collect();
    let own = if compatible.is_empty() {
        String::new()
    } else {
        format!("    compatible {}\n", compatible.iter().map(|c| quoted(c)).collect::<Vec<_>>().join(" "))
    };
    for (n, (at, size)) in importer.memory().into_iter().enumerate().skip(1) {
        let _ = writeln!(importer.text, "    mem \"ram{n}\" at={at:#x} size={size:#x} kind=\"ram\" {{ dt \"memory\"; }}");
    }
    importer.devices(&base);
    importer.parts();
    importer.gpio();
    importer.names(tree);
    let include = format!("{}{}", base.include, importer.demo(tree, &base));
    let text = format!(
        "// Made by `emu board import-dts` from a device tree: look it over.\n\nboard {} {{\n    doc {}\n    model {}\n{own}    {include}\n\n{}}}\n",
        quoted(&plain(name)),
        quoted(&format!("{model}, from its device tree")),
        quoted(&model),
        importer.text,
    );
    Ok(Imported { text, notes: importer.notes })
}

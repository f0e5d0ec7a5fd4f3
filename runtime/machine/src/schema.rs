//! What a device or CPU type looks like from a board file: its regions, ports and properties.
//!
//! The board checker works on these descriptions alone; nothing is instantiated to check a board.

use crate::device::Device;
use crate::input::InputKind;
use crate::parts::PartBus;
use std::collections::BTreeMap;

/// The value of a property, after a board file was elaborated.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub enum Value {
    /// An integer, size in bytes, address or frequency in Hz.
    Int(i128),
    /// A boolean.
    Bool(bool),
    /// A string.
    Text(String),
}

/// A type's properties as given to `create`: every declared property is present, defaults filled in,
/// kinds and ranges already checked.
#[derive(Clone, Default, Debug)]
pub struct Props(pub BTreeMap<String, Value>);

impl Props {
    /// The integer property `name`; 0 if it is not there.
    pub fn int(&self, name: &str) -> i128 {
        match self.0.get(name) {
            Some(Value::Int(v)) => *v,
            Some(Value::Bool(b)) => i128::from(*b),
            _ => 0,
        }
    }
    /// The boolean property `name`; false if it is not there.
    pub fn flag(&self, name: &str) -> bool {
        self.int(name) != 0
    }
    /// The text property `name`; empty if it is not there.
    pub fn text(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(Value::Text(t)) => t,
            _ => "",
        }
    }
}

/// What values a property takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PropKind {
    /// An integer in an inclusive range.
    Int {
        /// Least value.
        min: i128,
        /// Greatest value.
        max: i128,
    },
    /// A size in bytes (`512M`), in an inclusive range.
    Size {
        /// Least value, bytes.
        min: i128,
        /// Greatest value, bytes.
        max: i128,
    },
    /// `#true` or `#false`.
    Bool,
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One property of a type.
#[derive(Clone, Copy, Debug)]
pub struct PropSpec {
    /// Its name in the board file, kebab-case.
    pub name: &'static str,
    /// What it may hold.
    pub kind: PropKind,
    /// The value when the board file says nothing, in board-file notation (`"0x10"`, `"512M"`, `"#false"`, `"text"`);
    /// `None`: the board file must give it.
    pub default: Option<&'static str>,
    /// One line for `emu device help`.
    pub doc: &'static str,
}

/// How many of something: fixed, or told by an integer property.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Count {
    /// That many.
    Fixed(u64),
    /// As many as this property says.
    Prop(&'static str),
}

impl Count {
    /// How many, with these properties; 0 if the property is negative.
    pub fn of(self, props: &Props) -> u64 {
        match self {
            Count::Fixed(n) => n,
            Count::Prop(name) => u64::try_from(props.int(name)).unwrap_or(0),
        }
    }
}

/// One MMIO region of a device type. A type with one region calls it `"regs"` and the board gives its place by `at=`;
/// with several, by `map "name" at=`.
#[derive(Clone, Copy, Debug)]
pub struct RegionSpec {
    /// Its name.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: Count,
}

/// A group of lines (inputs or outputs), numbered from 0. Levels are booleans; an edge is a change.
#[derive(Clone, Copy, Debug)]
pub struct PortSpec {
    /// The group's name: the data sheet's, lower case (`"irq"`, `"spi"`, `"cpu-reset"`).
    pub name: &'static str,
    /// How many lines it has.
    pub count: Count,
    /// What number, in the board file, the first line has (`gic.id 27` is written with the architecture's numbers).
    pub first: u32,
    /// True if each vCPU has its own copy of the group (GIC private peripheral interrupts); the line index then is
    /// `cpu * count + number - first`.
    pub per_cpu: bool,
    /// One line for `emu device help`.
    pub doc: &'static str,
}

impl PortSpec {
    /// A single line called `name`.
    pub const fn one(name: &'static str, doc: &'static str) -> PortSpec {
        PortSpec { name, count: Count::Fixed(1), first: 0, per_cpu: false, doc }
    }
    /// `count` lines called `name`, numbered from 0.
    pub const fn many(name: &'static str, count: u64, doc: &'static str) -> PortSpec {
        PortSpec { name, count: Count::Fixed(count), first: 0, per_cpu: false, doc }
    }
}

/// Another way to number input lines in a board file: `gic.id 59` for `gic.spi 27`. Numbers `from..=to` of `name` are the
/// lines `number..` of `port` (in the port's own numbers, that is with its `first`).
#[derive(Clone, Copy, Debug)]
pub struct LineAlias {
    /// The name in the board file.
    pub name: &'static str,
    /// First number of the alias.
    pub from: u32,
    /// Last number of the alias.
    pub to: u32,
    /// The input group meant.
    pub port: &'static str,
    /// The group's number of the first line.
    pub number: u32,
}

/// A clock input or output of a device type.
#[derive(Clone, Copy, Debug)]
pub struct ClockSpec {
    /// Its name: the data sheet's, lower case. A board's `clock="..."` connects the first input.
    pub name: &'static str,
    /// For inputs: the board must connect it.
    pub required: bool,
    /// One line for `emu device help`.
    pub doc: &'static str,
}

/// A group of places for parts on a peripheral bus, see [`crate::parts`].
#[derive(Clone, Copy, Debug)]
pub struct SlotSpec {
    /// Its name; a board's `on="CONTROLLER"` means the only or first one, `on="CONTROLLER.NAME"` any.
    pub name: &'static str,
    /// What bus it is.
    pub bus: PartBus,
    /// The least `at` of a part.
    pub first: u32,
    /// The greatest `at` of a part.
    pub last: u32,
    /// One line for `emu device help`.
    pub doc: &'static str,
}

/// Memory that belongs to a device (a flash chip's array): part of snapshots, all zeros at first, kept over resets.
#[derive(Clone, Copy, Debug)]
pub struct MemorySpec {
    /// Its name.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: Count,
}

/// What kind of frames go through a device's network ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Network {
    /// Ethernet: from the destination address to the end of the payload, without FCS.
    #[default]
    Ethernet,
    /// A CAN bus: a `struct can_frame` of Linux's SocketCAN, 16 bytes, numbers little-endian.
    Can,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Network::Ethernet => "Ethernet",
            Network::Can => "CAN",
        })
    }
}

/// A device type: what a board file's `type="..."` names.
#[derive(Clone, Copy)]
pub struct DeviceType {
    /// Its name, `vendor,block` as in device trees.
    pub name: &'static str,
    /// One line: what it is, and the manual.
    pub doc: &'static str,
    /// The register map it was generated from (`Regs::MAP`), for documentation, traces and `emu device help`.
    pub registers: &'static [RegisterDoc],
    /// MMIO regions; the index is what [`Device::read`] gets.
    pub regions: &'static [RegionSpec],
    /// Properties.
    pub props: &'static [PropSpec],
    /// Input lines; the index is what [`Device::line_changed`] gets.
    pub inputs: &'static [PortSpec],
    /// Other ways to number input lines.
    pub line_aliases: &'static [LineAlias],
    /// Output lines; the index is what `Cx::set_line` takes.
    pub outputs: &'static [PortSpec],
    /// Clock inputs.
    pub clocks_in: &'static [ClockSpec],
    /// Clock outputs, computed by the device.
    pub clocks_out: &'static [ClockSpec],
    /// Character back ends (serial ports).
    pub chardevs: &'static [&'static str],
    /// Drives: places for a disk or a card.
    pub drives: &'static [&'static str],
    /// Network ports.
    pub nics: &'static [&'static str],
    /// It is a keyboard or a pointer.
    pub input: Option<InputKind>,
    /// What goes through them.
    pub network: Network,
    /// True if it is a DMA master.
    pub dma: bool,
    /// Where parts can sit; the index is the slot of [`crate::parts`].
    pub slots: &'static [SlotSpec],
    /// Regions that are the addresses of the chip in a slot: region, slot. Their bytes lie in the order of addresses on any bus; while the chip's line `array`
    /// is high, reads are reads of its first memory, and code can be executed there.
    pub windows: &'static [(usize, usize)],
    /// The bus it sits on, if it is a part: then the board says `on=`. One with regions sits in slots with a single place only, as `at=` is its address.
    pub part: Option<PartBus>,
    /// Memory of its own; the index is what `Cx::memory` takes.
    pub memories: &'static [MemorySpec],
    /// Makes one. Errors name the property and the rule.
    pub create: fn(&Props) -> Result<Box<dyn Device>, String>,
}

impl DeviceType {
    /// It has no addresses of its own: it is only where the bus it is a part on puts it.
    pub fn is_inside(&self) -> bool {
        self.part.is_some() && self.regions.is_empty()
    }

    /// A type with nothing but a name, to be completed by struct update syntax.
    pub const fn new(name: &'static str, doc: &'static str, create: fn(&Props) -> Result<Box<dyn Device>, String>) -> DeviceType {
        DeviceType {
            name,
            doc,
            registers: &[],
            regions: &[],
            props: &[],
            inputs: &[],
            line_aliases: &[],
            outputs: &[],
            clocks_in: &[],
            clocks_out: &[],
            chardevs: &[],
            drives: &[],
            nics: &[],
            input: None,
            network: Network::Ethernet,
            dma: false,
            slots: &[],
            windows: &[],
            part: None,
            memories: &[],
            create,
        }
    }
}

/// One register as documentation: generated from `regs.kdl`.
#[derive(Clone, Copy, Debug)]
pub struct RegisterDoc {
    /// Register name, as in the manual.
    pub name: &'static str,
    /// Which region it is in.
    pub region: usize,
    /// Offset in the region, bytes.
    pub offset: u64,
    /// Width in bits.
    pub width: u32,
    /// Reset value.
    pub reset: u64,
    /// Access kind of all bits, or of fields that do not say otherwise: `rw`, `ro`, `wo`, `w1c` ...
    pub access: &'static str,
    /// How many there are, one `stride` bytes after the other.
    pub count: u64,
    /// Bytes from one to the next.
    pub stride: u64,
    /// One line.
    pub doc: &'static str,
    /// Fields: name, least bit, width in bits, access kind.
    pub fields: &'static [(&'static str, u32, u32, &'static str)],
}

/// A CPU type: an instruction set crate registers one for each family of models.
#[derive(Clone, Copy)]
pub struct CpuType {
    /// The instruction set's name (`arm`).
    pub isa: &'static str,
    /// The models it makes (`cortex-a9`).
    pub models: &'static [&'static str],
    /// Properties (`midr`, `mpidr`, `cbar` ...).
    pub props: &'static [PropSpec],
    /// Input lines, e.g. `irq`, `fiq`; the machine adds `reset` (held while high) and `stop` (clock stopped while high).
    pub inputs: &'static [PortSpec],
    /// Output lines.
    pub outputs: &'static [PortSpec],
    /// Makes one: model, properties, its index on the board.
    pub create: fn(&str, &Props, usize) -> Result<Box<dyn crate::cpu::Cpu>, String>,
}

/// All types a program knows.
#[derive(Clone, Default)]
pub struct Registry {
    /// Device types, in no particular order.
    pub devices: Vec<DeviceType>,
    /// CPU types.
    pub cpus: Vec<CpuType>,
}

impl Registry {
    /// The device type called `name`.
    pub fn device(&self, name: &str) -> Option<&DeviceType> {
        self.devices.iter().find(|d| d.name == name)
    }
    /// The CPU type of `isa` that makes `model`.
    pub fn cpu(&self, isa: &str, model: &str) -> Option<&CpuType> {
        self.cpus.iter().find(|c| c.isa == isa && c.models.contains(&model))
    }
}

//! Xilinx general-purpose I/O (PG144 AXI GPIO; DS569 XPS GPIO): one or two channels of up to 32 pins.
//!
//! Guest -> DATA, TRI -> output lines, low where a pin is an input; input lines -> DATA, and a change of any of a channel's sets that channel's interrupt status -> enables -> the
//! interrupt line. A pin's output is another wire than its input, as the core has them.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{Count, DeviceType, PortSpec, PropKind, PropSpec, Props, RegionSpec};
use emu_machine::{Access, BusError};
use regs::{Hooks, Regs};
use serde::{Deserialize, Serialize};

crate::regs!("xps_gpio");

const fn number(name: &'static str, max: i128, default: &'static str, doc: &'static str) -> PropSpec {
    PropSpec { name, kind: PropKind::Int { min: 0, max }, default: Some(default), doc }
}

const fn pins(name: &'static str, width: &'static str, doc: &'static str) -> PortSpec {
    PortSpec { name, count: Count::Prop(width), first: 0, per_cpu: false, doc }
}

const ALL: i128 = 0xffff_ffff;

/// `xlnx,xps-gpio`.
pub const TYPE: DeviceType = DeviceType {
    registers: Regs::MAP,
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x1_0000) }],
    props: &[
        number("width", 32, "32", "C_GPIO_WIDTH: pins of channel 1"),
        number("width2", 32, "0", "C_GPIO2_WIDTH: pins of channel 2; 0: there is none"),
        number("data", ALL, "0", "C_DOUT_DEFAULT: DATA of channel 1 after reset"),
        number("data2", ALL, "0", "C_DOUT_DEFAULT_2: DATA of channel 2 after reset"),
        number("tri", ALL, "0xffffffff", "C_TRI_DEFAULT: TRI of channel 1 after reset"),
        number("tri2", ALL, "0xffffffff", "C_TRI_DEFAULT_2: TRI of channel 2 after reset"),
        number("inputs", 3, "0", "C_ALL_INPUTS, C_ALL_INPUTS_2: a bit for each channel, 1: its pins are inputs"),
        number("outputs", 3, "0", "C_ALL_OUTPUTS, C_ALL_OUTPUTS_2: a bit for each channel, 1: its pins are outputs"),
    ],
    inputs: &[pins("in", "width", "pins of channel 1"), pins("in2", "width2", "pins of channel 2")],
    outputs: &[
        PortSpec::one("irq", "an input changed"),
        pins("out", "width", "pins of channel 1 that are driven"),
        pins("out2", "width2", "pins of channel 2 that are driven"),
    ],
    ..DeviceType::new("xlnx,xps-gpio", "Xilinx general-purpose I/O (PG144)", create)
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    regs: Regs,
    /// The input lines of each channel.
    lines: [u32; 2],
}

impl State {
    fn is_sound(&self) -> bool {
        self.regs.is_sound()
    }
}

struct Gpio {
    s: State,
    /// The pins there are, and reset values.
    pins: [u32; 2],
    data: [u32; 2],
    tri: [u32; 2],
    /// Channels whose direction is fixed.
    inputs: u32,
    outputs: u32,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let (inputs, outputs) = (props.int("inputs") as u32, props.int("outputs") as u32);
    if inputs & outputs != 0 {
        return Err(format!("inputs={inputs}, outputs={outputs}: a channel's pins cannot be both"));
    }
    let number = |name: &str| props.int(name) as u32;
    let pins = ["width", "width2"].map(|name| u32::MAX.checked_shr(32 - number(name)).unwrap_or(0));
    let (data, tri) = (["data", "data2"].map(number), ["tri", "tri2"].map(number));
    Ok(Box::new(Gpio { s: State::default(), pins, data, tri, inputs, outputs }))
}

impl Gpio {
    /// The directions of a channel's pins that are fixed.
    fn direct(&mut self, channel: usize) {
        let tri = &mut self.s.regs.tri[channel];
        if self.inputs >> channel & 1 != 0 {
            *tri = u32::MAX;
        }
        if self.outputs >> channel & 1 != 0 {
            *tri = 0;
        }
        *tri &= self.pins[channel];
        self.s.regs.data[channel] &= self.pins[channel];
    }

    fn update(&mut self, cx: &mut Cx<'_>) {
        for channel in 0..2 {
            self.direct(channel);
            let driven = self.s.regs.data[channel] & !self.s.regs.tri[channel];
            (0..self.pins[channel].count_ones()).for_each(|pin| cx.set_line(1 + channel, pin, driven >> pin & 1 != 0));
        }
        let r = &self.s.regs;
        cx.set_line(0, 0, r.gier_enable() && r.ip_isr & r.ip_ier != 0);
    }
}

impl Hooks for Gpio {
    fn regs(&mut self) -> &mut Regs {
        &mut self.s.regs
    }

    fn levels(&mut self, i: usize, _: &mut Cx<'_>) -> u32 {
        self.s.lines[i] & self.s.regs.tri[i]
    }

    fn drive(&mut self, _: usize, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.update(cx);
    }

    fn turn(&mut self, _: usize, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.update(cx);
    }

    fn changed(&mut self, _: u32, _: u32, cx: &mut Cx<'_>) {
        self.update(cx);
    }

    fn toggle(&mut self, _: u32, value: u32, cx: &mut Cx<'_>) {
        self.s.regs.ip_isr ^= value & Regs::IP_ISR_CHANNEL;
        self.update(cx);
    }
}

impl Device for Gpio {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s = State { lines: self.s.lines, ..State::default() };
        (self.s.regs.data, self.s.regs.tri) = (self.data.to_vec(), self.tri.to_vec());
        self.update(cx);
    }

    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, cx: &mut Cx<'_>) -> Result<u64, BusError> {
        regs::read(self, offset, size, cx)
    }

    fn write(&mut self, _: usize, offset: u64, size: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        regs::write(self, offset, size, value, cx)
    }

    fn line_changed(&mut self, port: usize, index: u32, level: bool, cx: &mut Cx<'_>) {
        let channel = port & 1;
        let pin = 1u32.checked_shl(index).unwrap_or(0) & self.pins[channel];
        let was = self.s.lines[channel];
        self.s.lines[channel] = if level { was | pin } else { was & !pin };
        if (was ^ self.s.lines[channel]) & self.s.regs.tri[channel] != 0 {
            self.s.regs.ip_isr |= 1 << channel;
        }
        self.update(cx);
    }

    crate::snapshot!(s);
}

//! Temperature sensor LM75 (National Semiconductor, now Texas Instruments LM75B data sheet SNIS153, 7.4 to 7.5).
//!
//! The temperature is what the board, or the monitor (`NAME.TEMPERATURE = 30000`, thousandths of a degree), says -> measurements 100 ms apart, as
//! long as they may change something, in steps of half a degree -> registers, and the OS output: by comparison with the two limits, or as an
//! interrupt that a read ends. The pin is low while OS is active, or high, as its polarity bit says.

use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::parts::{I2cPart, PartBus};
use emu_machine::schema::{DeviceType, PortSpec, PropKind, PropSpec, Props, RegisterDoc};
use emu_machine::{Access, BusError};
use serde::{Deserialize, Serialize};

const fn register(name: &'static str, offset: u64, width: u32, access: &'static str, reset: u64, doc: &'static str) -> RegisterDoc {
    RegisterDoc { name, region: 0, offset, width, reset, access, count: 1, stride: 4, doc, fields: &[] }
}

/// Where the monitor finds the temperature itself.
const TEMPERATURE: u64 = 0x10;

/// `national,lm75`.
pub const TYPE: DeviceType = DeviceType {
    part: Some(PartBus::I2c),
    registers: &[
        register("TEMP", 0, 16, "ro", 0, "Temperature measured, half degrees from bit 7 up"),
        register("CONF", 1, 8, "rw", 0, "Configuration"),
        register("THYST", 2, 16, "rw", 0x4b00, "Hysteresis limit, as TEMP"),
        register("TOS", 3, 16, "rw", 0x5000, "Overtemperature limit, as TEMP"),
        register(
            "TEMPERATURE",
            TEMPERATURE,
            64,
            "rw",
            25_000,
            "Around the chip, thousandths of a degree Celsius; the guest does not see this",
        ),
    ],
    props: &[PropSpec {
        name: "temperature",
        kind: PropKind::Int { min: -55_000, max: 125_000 },
        default: Some("25000"),
        doc: "thousandths of a degree Celsius",
    }],
    outputs: &[PortSpec::one("os", "OS pin: low while active, unless the guest says high")],
    ..DeviceType::new("national,lm75", "Temperature sensor (LM75)", create)
};

const SHUTDOWN: u8 = 1;
const INTERRUPT: u8 = 2;
const ACTIVE_HIGH: u8 = 4;
const MEASURE: u32 = 0;
/// ns.
const CONVERSION: u64 = 100_000_000;
/// Measurements in a row before OS changes, by the fault queue bits.
const QUEUE: [u8; 4] = [1, 2, 4, 6];

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    /// Thousandths of a degree.
    temperature: i64,
    /// The registers: TEMP, THYST and TOS with half degrees in bits 15 to 7.
    measured: i16,
    conf: u8,
    hysteresis: i16,
    limit: i16,
    pointer: u8,
    /// Which byte of a register comes next.
    byte: u8,
    /// The next byte written is the pointer.
    pointing: bool,
    /// Measurements in a row beyond the limit that counts.
    faults: u8,
    /// The limit that counts is the lower one.
    over: bool,
    active: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        true
    }
}

struct Lm75 {
    s: State,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Lm75 { s: State { temperature: props.int("temperature") as i64, ..State::default() } }))
}

impl Lm75 {
    fn measure(&mut self, cx: &mut Cx<'_>) {
        let s = &mut self.s;
        // Half degrees, rounded down; nine bits.
        s.measured = (s.temperature.div_euclid(500).clamp(-256, 255) as i16) << 7;
        let beyond = if s.over { s.measured < s.hysteresis } else { s.measured >= s.limit };
        s.faults = if beyond { s.faults.saturating_add(1) } else { 0 };
        if s.faults >= QUEUE[usize::from(s.conf >> 3 & 3)] {
            s.faults = 0;
            s.over = !s.over;
            s.active = s.over || s.conf & INTERRUPT != 0;
        }
        self.drive(cx);
        if beyond {
            self.measure_soon(cx);
        }
    }

    fn drive(&self, cx: &mut Cx<'_>) {
        cx.set_line(0, 0, self.s.active == (self.s.conf & ACTIVE_HIGH != 0));
    }

    fn measure_soon(&self, cx: &mut Cx<'_>) {
        match self.s.conf & SHUTDOWN {
            0 => cx.arm(MEASURE, Nanos(cx.now().0.saturating_add(CONVERSION))),
            _ => cx.disarm(MEASURE),
        }
    }

    /// A register as 16 bits; CONF is in both halves.
    fn register(&self, pointer: u8) -> u16 {
        match pointer & 3 {
            0 => self.s.measured as u16,
            1 => u16::from(self.s.conf) * 0x101,
            2 => self.s.hysteresis as u16,
            _ => self.s.limit as u16,
        }
    }

    fn set(&mut self, pointer: u8, value: u16, cx: &mut Cx<'_>) {
        match pointer & 3 {
            0 => {}
            1 => {
                let before = std::mem::replace(&mut self.s.conf, value as u8 & 0x1f);
                if (self.s.conf ^ before) & INTERRUPT != 0 {
                    self.s.active = self.s.over && self.s.conf & INTERRUPT == 0;
                }
                self.drive(cx);
            }
            2 => self.s.hysteresis = (value & 0xff80) as i16,
            _ => self.s.limit = (value & 0xff80) as i16,
        }
        self.measure_soon(cx);
    }
}

impl I2cPart for Lm75 {
    fn start(&mut self, at: u8, address: u8, read: bool, _: &mut Cx<'_>) -> bool {
        (self.s.pointing, self.s.byte) = (!read, 0);
        at == address
    }

    fn write(&mut self, byte: u8, cx: &mut Cx<'_>) -> bool {
        if std::mem::take(&mut self.s.pointing) {
            self.s.pointer = byte & 3;
            return true;
        }
        let old = self.register(self.s.pointer);
        let high = self.s.byte == 0;
        self.s.byte = 1;
        let value = match (self.s.pointer, high) {
            (1, _) => byte.into(),
            (_, true) => u16::from(byte) << 8 | old & 0xff,
            (_, false) => old & 0xff00 | u16::from(byte),
        };
        self.set(self.s.pointer, value, cx);
        true
    }

    fn read(&mut self, cx: &mut Cx<'_>) -> u8 {
        if self.s.conf & INTERRUPT != 0 && self.s.active {
            // Reading any register ends the interrupt.
            self.s.active = false;
            self.drive(cx);
        }
        let [high, low] = self.register(self.s.pointer).to_be_bytes();
        self.s.byte ^= 1;
        if self.s.byte == 1 { high } else { low }
    }

    fn stop(&mut self, _: &mut Cx<'_>) {}
}

impl Device for Lm75 {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        let temperature = self.s.temperature;
        self.s = State { temperature, hysteresis: 75 << 8, limit: 80 << 8, ..State::default() };
        self.measure(cx);
    }

    /// For the monitor.
    fn read(&mut self, _: usize, offset: u64, size: u8, _: Access, _: &mut Cx<'_>) -> Result<u64, BusError> {
        let value = match offset {
            TEMPERATURE => self.s.temperature as u64,
            1 => self.s.conf.into(),
            0..=3 => self.register(offset as u8).into(),
            _ => return Err(BusError::Device),
        };
        Ok(value & u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8))))
    }

    fn write(&mut self, _: usize, offset: u64, _: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        match offset {
            TEMPERATURE => {
                self.s.temperature = (value as i64).clamp(-55_000, 125_000);
                if self.s.conf & SHUTDOWN == 0 {
                    self.measure(cx);
                }
            }
            0..=3 => self.set(offset as u8, value as u16, cx),
            _ => return Err(BusError::Device),
        }
        Ok(())
    }

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.measure(cx);
    }

    fn i2c(&mut self) -> Option<&mut dyn I2cPart> {
        Some(self)
    }

    crate::snapshot!(s);
}

//! A light-emitting diode on a line.
//!
//! Line -> lit, or not -> register LIT of the monitor (`info leds`), and a line in the log at debug level when it changes.

use emu_machine::device::{Cx, Device};
use emu_machine::schema::{DeviceType, PortSpec, PropKind, PropSpec, Props, RegisterDoc};
use emu_machine::{Access, BusError};
use serde::{Deserialize, Serialize};

/// `gpio-led`.
pub const TYPE: DeviceType = DeviceType {
    registers: &[RegisterDoc {
        name: "LIT",
        region: 0,
        offset: 0,
        width: 8,
        reset: 0,
        access: "ro",
        count: 1,
        stride: 4,
        doc: "1: it shines",
        fields: &[],
    }],
    inputs: &[PortSpec::one("in", "lit while high, or low")],
    props: &[
        PropSpec { name: "active-low", kind: PropKind::Bool, default: Some("#false"), doc: "lit while the line is low" },
        PropSpec { name: "label", kind: PropKind::Text, default: Some(""), doc: "what the log calls it" },
    ],
    ..DeviceType::new("gpio-led", "Light-emitting diode on a line", create)
};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    level: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        true
    }
}

struct Led {
    s: State,
    active_low: bool,
    label: String,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    Ok(Box::new(Led { s: State::default(), active_low: props.flag("active-low"), label: props.text("label").to_string() }))
}

impl Device for Led {
    fn reset(&mut self, _: &mut Cx<'_>) {}

    /// For the monitor.
    fn read(&mut self, _: usize, _: u64, _: u8, _: Access, _: &mut Cx<'_>) -> Result<u64, BusError> {
        Ok((self.s.level != self.active_low).into())
    }

    fn write(&mut self, _: usize, _: u64, _: u8, _: u64, _: Access, _: &mut Cx<'_>) -> Result<(), BusError> {
        Err(BusError::Device)
    }

    fn line_changed(&mut self, _: usize, _: u32, level: bool, _: &mut Cx<'_>) {
        if self.s.level != level {
            self.s.level = level;
            tracing::debug!("LED {} is {}", self.label, if level != self.active_low { "on" } else { "off" });
        }
    }

    crate::snapshot!(s);
}

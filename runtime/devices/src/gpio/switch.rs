//! Switches and buttons on a line, for the monitor's user to press.
//!
//! A switch stays as it is set: `NAME.ON = 1` in the monitor. A button is held while PRESSED is 1, or pressed and let go by itself: `press NAME`. Its
//! `action` may be a reset of the machine or the end of the run, as with the buttons beside a board's power supply. Not modelled: bouncing.

use emu_machine::device::{Cx, Device, Nanos};
use emu_machine::schema::{DeviceType, PortSpec, PropKind, PropSpec, Props, RegisterDoc};
use emu_machine::{Access, BusError};
use serde::{Deserialize, Serialize};

const fn register(name: &'static str, offset: u64, width: u32, access: &'static str, doc: &'static str) -> RegisterDoc {
    RegisterDoc { name, region: 0, offset, width, reset: 0, access, count: 1, stride: 4, doc, fields: &[] }
}

const ACTIVE_LOW: PropSpec =
    PropSpec { name: "active-low", kind: PropKind::Bool, default: Some("#false"), doc: "the line is low while it is on" };

/// `gpio-switch`.
pub const SWITCH: DeviceType = DeviceType {
    registers: &[register("ON", 0, 8, "rw", "1: switched on")],
    outputs: &[PortSpec::one("out", "its line")],
    props: &[ACTIVE_LOW, PropSpec { name: "on", kind: PropKind::Bool, default: Some("#false"), doc: "how it is at power-on" }],
    ..DeviceType::new("gpio-switch", "Switch on a line", create)
};

/// `gpio-button`.
pub const BUTTON: DeviceType = DeviceType {
    registers: &[
        register("PRESSED", 0, 8, "rw", "1: held down"),
        register("PRESS", MILLISECONDS, 32, "wo", "Pressed for so many milliseconds of guest time"),
    ],
    outputs: &[PortSpec::one("out", "its line")],
    props: &[
        ACTIVE_LOW,
        PropSpec {
            name: "action",
            kind: PropKind::Choice(&["line", "reset", "power-off"]),
            default: Some("line"),
            doc: "what a press does besides",
        },
    ],
    ..DeviceType::new("gpio-button", "Push button on a line", create)
};

const MILLISECONDS: u64 = 4;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct State {
    on: bool,
}

impl State {
    fn is_sound(&self) -> bool {
        true
    }
}

enum Action {
    Line,
    Reset,
    PowerOff,
}

struct Switch {
    s: State,
    /// It stays as it is set, also over a reset; a button is let go.
    stays: bool,
    active_low: bool,
    action: Action,
}

fn create(props: &Props) -> Result<Box<dyn Device>, String> {
    let action = match props.text("action") {
        "reset" => Action::Reset,
        "power-off" => Action::PowerOff,
        _ => Action::Line,
    };
    let stays = !props.0.contains_key("action");
    Ok(Box::new(Switch { s: State { on: props.flag("on") }, stays, active_low: props.flag("active-low"), action }))
}

impl Switch {
    fn set(&mut self, on: bool, cx: &mut Cx<'_>) {
        let pressed = on && !self.s.on;
        self.s.on = on;
        cx.set_line(0, 0, on != self.active_low);
        match self.action {
            Action::Reset if pressed => cx.reset_system(),
            Action::PowerOff if pressed => cx.power_off(0),
            _ => {}
        }
    }
}

impl Device for Switch {
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.s.on &= self.stays;
        cx.set_line(0, 0, self.s.on != self.active_low);
    }

    /// For the monitor.
    fn read(&mut self, _: usize, offset: u64, _: u8, _: Access, _: &mut Cx<'_>) -> Result<u64, BusError> {
        Ok((offset == 0 && self.s.on).into())
    }

    fn write(&mut self, _: usize, offset: u64, _: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        if offset == MILLISECONDS {
            self.set(true, cx);
            cx.arm(0, Nanos(cx.now().0.saturating_add(value.saturating_mul(1_000_000))));
        } else {
            cx.disarm(0);
            self.set(value & 1 != 0, cx);
        }
        Ok(())
    }

    fn timer_expired(&mut self, _: u32, cx: &mut Cx<'_>) {
        self.set(false, cx);
    }

    crate::snapshot!(s);
}

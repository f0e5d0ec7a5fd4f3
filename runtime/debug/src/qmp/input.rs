//! `send-key` and `input-send-event` (QMP reference manual, "Input").

use super::commands::{Answer, Arguments, QmpError, need};
use crate::monitor::Session;
use crate::monitor::input::{HOLD, chord, named, send};
use emu_machine::input::{Button, InputEvent, MOST};
use serde_json::{Value, json};

fn invalid(what: &str) -> QmpError {
    QmpError::generic(format!("Invalid parameter '{what}'"))
}

/// A `KeyValue`.
fn key(value: &Value) -> Result<u8, QmpError> {
    match (value["type"].as_str(), value["data"].as_str()) {
        (Some("qcode"), Some(name)) => Ok(named(name)?),
        (Some("number"), _) => Err(QmpError::generic("keys have names here: type 'qcode'")),
        _ => Err(invalid("key")),
    }
}

pub(super) fn send_key(session: &mut Session, arguments: &mut Arguments) -> Answer {
    let keys = need("keys", arguments.take("keys", "array", |v| v.as_array().cloned())?)?;
    let hold = arguments.int("hold-time")?.unwrap_or(HOLD);
    arguments.end()?;
    let keys = keys.iter().map(key).collect::<Result<Vec<_>, _>>()?;
    chord(session, &keys, hold)?;
    Ok(json!({}))
}

fn button(name: &str, down: bool) -> Result<Option<InputEvent>, QmpError> {
    let button = match name {
        "left" => Button::Left,
        "middle" => Button::Middle,
        "right" => Button::Right,
        "side" => Button::Side,
        "extra" => Button::Extra,
        "wheel-up" | "wheel-down" => {
            return Ok(down.then_some(InputEvent::Wheel { notches: if name == "wheel-up" { 1 } else { -1 } }));
        }
        _ => return Err(invalid("button")),
    };
    Ok(Some(InputEvent::Button { button, down }))
}

/// An `InputEvent`; wheels have nothing to say when they are released.
fn event(value: &Value) -> Result<Option<InputEvent>, QmpError> {
    let data = &value["data"];
    let down = || data["down"].as_bool().ok_or_else(|| invalid("down"));
    let number = data["value"].as_i64();
    let first = match data["axis"].as_str() {
        Some("x") => Ok(true),
        Some("y") => Ok(false),
        _ => Err(invalid("axis")),
    };
    match value["type"].as_str() {
        Some("key") => Ok(Some(InputEvent::Key { usage: key(&data["key"])?, down: down()? })),
        Some("btn") => button(data["button"].as_str().unwrap_or(""), down()?),
        Some("rel") => {
            let by = number.and_then(|n| i32::try_from(n).ok()).ok_or_else(|| invalid("value"))?;
            Ok(Some(if first? { InputEvent::Move { dx: by, dy: 0 } } else { InputEvent::Move { dx: 0, dy: by } }))
        }
        Some("abs") => {
            let at = number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n <= MOST).ok_or_else(|| invalid("value"))?;
            let x = first?;
            Ok(Some(InputEvent::At { x: x.then_some(at), y: (!x).then_some(at) }))
        }
        _ => Err(invalid("type")),
    }
}

pub(super) fn send_events(session: &mut Session, arguments: &mut Arguments) -> Answer {
    // There is one display at most, and one device for each kind of event.
    arguments.text("device")?;
    arguments.int("head")?;
    let events = need("events", arguments.take("events", "array", |v| v.as_array().cloned())?)?;
    arguments.end()?;
    let events = events.iter().map(event).collect::<Result<Vec<_>, _>>()?;
    send(session, &events.into_iter().flatten().collect::<Vec<_>>())?;
    Ok(json!({}))
}

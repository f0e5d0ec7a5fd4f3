//! Keys and pointers from the monitor and the control socket, with QEMU's names (QEMU manual, "QEMU Monitor"; QMP reference, "Input").
//!
//! Names -> [`InputEvent`]s -> the machine ([`emu_machine::input`]). A key that is sent is held for a while of the host's time, then released.

use super::{Args, Session};
use emu_machine::input::{Button, InputEvent, key};
use std::time::Duration;

/// How long keys are held.
pub const HOLD: u64 = 100;
/// The longest a command may take by that, in milliseconds.
const LONGEST: u64 = 60_000;

/// Gives events to the machine.
///
/// # Errors
/// The board has nothing that takes one of them.
pub fn send(session: &Session, events: &[InputEvent]) -> Result<(), String> {
    for event in events {
        if !session.names().devices.iter().any(|d| d.kind.input.is_some_and(|kind| kind.takes(*event))) {
            let what = match event {
                InputEvent::Key { .. } => "a keyboard, such as `usb-kbd`",
                InputEvent::At { .. } => "an absolute pointer, such as `usb-tablet`",
                InputEvent::Move { .. } => "a relative pointer, such as `usb-mouse`",
                _ => "a pointer, such as `usb-tablet`",
            };
            return Err(format!("the board `{}` does not have {what}", session.names().board));
        }
    }
    events.iter().for_each(|event| session.handle().input(*event));
    Ok(())
}

/// Presses keys one after the other, holds them for so many milliseconds, and releases them.
///
/// # Errors
/// The board has no keyboard; that long is too long.
pub fn chord(session: &Session, keys: &[u8], hold: u64) -> Result<(), String> {
    if hold > LONGEST {
        return Err(format!("{hold} ms is too long; at most {LONGEST}"));
    }
    let events = |down| keys.iter().map(move |usage| InputEvent::Key { usage: *usage, down });
    send(session, &events(true).collect::<Vec<_>>())?;
    std::thread::sleep(Duration::from_millis(hold));
    send(session, &events(false).rev().collect::<Vec<_>>())
}

/// The key called so.
///
/// # Errors
/// There is none.
pub fn named(name: &str) -> Result<u8, String> {
    key(name).ok_or_else(|| format!("there is no key `{name}`; keys are called as in QEMU, such as a, 1, ret, spc, shift, f1"))
}

pub(super) fn sendkey(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    let keys = args.need("the keys, such as ctrl-alt-delete,")?.split('-').map(named).collect::<Result<Vec<_>, _>>()?;
    let hold = match args.word() {
        None => HOLD,
        Some(text) => super::args::number(text).ok_or_else(|| format!("`{text}` is no time in milliseconds"))?,
    };
    args.end()?;
    chord(session, &keys, hold)?;
    Ok(String::new())
}

fn signed(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("`{text}` is no number of steps"))
}

pub(super) fn mouse_move(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    let (dx, dy) = (signed(args.need("the way to the right")?)?, signed(args.need("the way down")?)?);
    let wheel = args.word().map(signed).transpose()?;
    args.end()?;
    let events = [InputEvent::Move { dx, dy }].into_iter().chain(wheel.map(|notches| InputEvent::Wheel { notches }));
    send(session, &events.collect::<Vec<_>>())?;
    Ok(String::new())
}

pub(super) fn mouse_button(session: &mut Session, args: &mut Args<'_>) -> Result<String, String> {
    let text = args.need("the state of the buttons")?;
    let state = super::args::number(text).filter(|n| *n < 8).ok_or_else(|| format!("`{text}` is no sum of 1, 2 and 4"))?;
    args.end()?;
    let buttons = [(1, Button::Left), (2, Button::Middle), (4, Button::Right)];
    send(session, &buttons.map(|(bit, button)| InputEvent::Button { button, down: state & bit != 0 }))?;
    Ok(String::new())
}

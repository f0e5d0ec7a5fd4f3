//! What people do with keyboards and pointers, on its way to devices.
//!
//! Monitor or display -> [`crate::Handle::input`] -> between instructions, and recorded as all that comes from outside -> the last device of the
//! board that takes such events ([`crate::schema::DeviceType::input`]) -> [`crate::device::Device::input`].

use serde::{Deserialize, Serialize};

/// What events a device takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InputKind {
    /// Keys.
    Keyboard,
    /// Relative movement, buttons, the wheel.
    Mouse,
    /// Absolute positions, buttons, the wheel.
    Tablet,
}

/// A button of a pointer; the number is the bit in reports of USB and PS/2 mice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Button {
    /// The left one.
    Left = 0,
    /// The right one.
    Right = 1,
    /// The middle one, the wheel's.
    Middle = 2,
    /// The side button.
    Side = 3,
    /// The extra button.
    Extra = 4,
}

/// The greatest coordinate of [`InputEvent::At`].
pub const MOST: u16 = 0x7fff;

/// One thing somebody did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum InputEvent {
    /// A key went down or up. Keys are numbered as in the USB HID Usage Tables, page 7; see [`key`].
    Key {
        /// Which.
        usage: u8,
        /// It is down.
        down: bool,
    },
    /// A pointer's button went down or up.
    Button {
        /// Which.
        button: Button,
        /// It is down.
        down: bool,
    },
    /// The pointer moved: right and down are positive.
    Move {
        /// To the right.
        dx: i32,
        /// Down.
        dy: i32,
    },
    /// The pointer is here: from 0, left and above, to [`MOST`]; `None`: as before.
    At {
        /// From the left.
        x: Option<u16>,
        /// From above.
        y: Option<u16>,
    },
    /// The wheel turned: away from the user is positive.
    Wheel {
        /// How many notches.
        notches: i32,
    },
}

impl InputKind {
    /// A device of this kind takes this event.
    pub fn takes(self, event: InputEvent) -> bool {
        match event {
            InputEvent::Key { .. } => self == InputKind::Keyboard,
            InputEvent::Move { .. } => self == InputKind::Mouse,
            InputEvent::At { .. } => self == InputKind::Tablet,
            InputEvent::Button { .. } | InputEvent::Wheel { .. } => self != InputKind::Keyboard,
        }
    }
}

/// Names of keys, as QEMU has them, in the order of their usages from 4 on; those in one string are for the same key.
const KEYS: [&str; 0xa1] = {
    let mut keys = [""; 0xa1];
    let first = [
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "h",
        "i",
        "j",
        "k",
        "l",
        "m",
        "n",
        "o",
        "p",
        "q",
        "r",
        "s",
        "t",
        "u",
        "v",
        "w",
        "x",
        "y",
        "z",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "8",
        "9",
        "0",
        "ret",
        "esc",
        "backspace",
        "tab",
        "spc",
        "minus",
        "equal",
        "bracket_left",
        "bracket_right",
        "backslash",
        "",
        "semicolon",
        "apostrophe",
        "grave_accent",
        "comma",
        "dot",
        "slash",
        "caps_lock",
        "f1",
        "f2",
        "f3",
        "f4",
        "f5",
        "f6",
        "f7",
        "f8",
        "f9",
        "f10",
        "f11",
        "f12",
        "print sysrq",
        "scroll_lock",
        "pause",
        "insert",
        "home",
        "pgup",
        "delete",
        "end",
        "pgdn",
        "right",
        "left",
        "down",
        "up",
        "num_lock",
        "kp_divide",
        "kp_multiply asterisk",
        "kp_subtract",
        "kp_add",
        "kp_enter",
        "kp_1",
        "kp_2",
        "kp_3",
        "kp_4",
        "kp_5",
        "kp_6",
        "kp_7",
        "kp_8",
        "kp_9",
        "kp_0",
        "kp_decimal",
        "less",
        "compose menu",
        "power",
        "kp_equals",
    ];
    let mut i = 0;
    while i < first.len() {
        keys[i] = first[i];
        i += 1;
    }
    let rest = [
        (0x74, "open"),
        (0x75, "help"),
        (0x77, "front"),
        (0x78, "stop"),
        (0x79, "again"),
        (0x7a, "undo"),
        (0x7b, "cut"),
        (0x7c, "copy"),
        (0x7d, "paste"),
        (0x7e, "find"),
        (0x7f, "audiomute"),
        (0x80, "volumeup"),
        (0x81, "volumedown"),
        (0x85, "kp_comma"),
        (0x87, "ro"),
        (0x88, "katakanahiragana hiragana"),
        (0x89, "yen"),
        (0x8a, "henkan"),
        (0x8b, "muhenkan"),
        (0x90, "lang1"),
        (0x91, "lang2"),
    ];
    i = 0;
    while i < rest.len() {
        keys[rest[i].0 - 4] = rest[i].1;
        i += 1;
    }
    keys
};

/// Keys that change what others mean, from usage 0xe0 on.
const MODIFIERS: [&str; 8] = ["ctrl", "shift", "alt", "meta_l", "ctrl_r", "shift_r", "alt_r altgr", "meta_r"];

/// The usage of the key that QEMU calls so.
pub fn key(name: &str) -> Option<u8> {
    let find = |keys: &[&str]| keys.iter().position(|names| names.split(' ').any(|n| !n.is_empty() && n == name));
    find(&KEYS).map(|i| i as u8 + 4).or_else(|| find(&MODIFIERS).map(|i| i as u8 + 0xe0))
}

/// All names of keys.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().chain(MODIFIERS).flat_map(|names| names.split(' ')).filter(|n| !n.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_numbers_of_the_usage_tables() {
        let known =
            [("a", 4), ("z", 0x1d), ("1", 0x1e), ("0", 0x27), ("ret", 0x28), ("backslash", 0x31), ("semicolon", 0x33), ("f1", 0x3a)];
        let more =
            [("f12", 0x45), ("sysrq", 0x46), ("up", 0x52), ("kp_0", 0x62), ("less", 0x64), ("menu", 0x65), ("ro", 0x87), ("alt_r", 0xe6)];
        for (name, usage) in known.into_iter().chain(more) {
            assert_eq!(key(name), Some(usage), "{name}");
        }
        assert_eq!((key(""), key("no-such-key")), (None, None));
        assert!(keys().all(|name| key(name).is_some()) && keys().count() > 120);
    }
}

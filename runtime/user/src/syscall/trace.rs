//! `--strace`: a call, its arguments by their kinds, and what came of it, on one line.

use super::{Cx, Item, plain};
use crate::abi::{Arg, Call, FlagSet, Layout, Returns};
use crate::host::Errno;
use std::fmt::Write;

/// Bytes of a text that are shown.
const MAX_TEXT: usize = 32;
/// Members of a structure, and elements of an array, that are shown.
const MAX_MEMBERS: usize = 4;

/// The line of a call. `result`: `None` if it does not come back, or has not yet.
pub(crate) fn line(thread: i64, call: &Call, registers: [u64; 6], cx: &Cx<'_>, result: Option<&Result<i64, Errno>>) -> String {
    let values = {
        let (mut values, mut at) = ([0; 6], 0);
        values.iter_mut().zip(call.args).for_each(|(value, arg)| *value = plain::take(arg, &registers, &mut at, cx));
        values
    };
    // The request of an `ioctl` says what its argument is.
    let request = if call.name == "ioctl" { cx.abi.ioctls.iter().find(|i| u64::from(i.number) == values[1]) } else { None };
    let args: Vec<String> = (0..call.args.len())
        .map(|i| match (request, i) {
            (Some(request), 1) => request.name.to_string(),
            (Some(request), 2) => argument(&request.arg, values[2], &values, cx, result),
            _ => argument(&call.args[i], values[i], &values, cx, result),
        })
        .filter(|text| !text.is_empty())
        .collect();
    let said = match result {
        None => "?".to_string(),
        Some(Ok(value)) if call.returns == Returns::Hex => format!("{value:#x}"),
        Some(Ok(value)) => value.to_string(),
        Some(Err(e)) => format!("-1 {} ({})", set(&cx.abi.flags.errno, *e as u64), message(*e)),
    };
    format!("{thread} {}({}) = {said}\n", call.name, args.join(", "))
}

/// The line of a call that is in no table.
pub(crate) fn unknown(thread: i64, number: u32, registers: [u64; 6]) -> String {
    let args: Vec<String> = registers.iter().map(|v| format!("{v:#x}")).collect();
    format!("{thread} syscall_{number}({}) = -1 ENOSYS\n", args.join(", "))
}

fn message(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or("").to_string()
}

fn argument(arg: &Arg, value: u64, values: &[u64; 6], cx: &Cx<'_>, result: Option<&Result<i64, Errno>>) -> String {
    let counted = |n: u8| values.get(usize::from(n)).copied().unwrap_or(0) as usize;
    let results = result.and_then(|r| r.as_ref().ok()).map(|n| (*n).max(0) as usize);
    match arg {
        Arg::Int | Arg::Fd | Arg::Long | Arg::Wide | Arg::Position => (value as i64).to_string(),
        Arg::Id16 => (value as i32).to_string(),
        Arg::DirFd if value as i32 == libc::AT_FDCWD => "AT_FDCWD".into(),
        Arg::DirFd => (value as i64).to_string(),
        Arg::Uint | Arg::Ulong => value.to_string(),
        Arg::Octal => format!("{value:#o}"),
        Arg::Set(flags) => set(flags, value),
        Arg::Ignored | Arg::None => String::new(),
        _ if value == 0 => "NULL".into(),
        Arg::Pointer => format!("{value:#x}"),
        Arg::Path | Arg::Link => cx.space.string(value).map_or_else(|_| format!("{value:#x}"), |t| format!("\"{}\"", t.escape_ascii())),
        Arg::Text => cx.space.string(value).map_or_else(|_| format!("{value:#x}"), |t| text(&t, t.len())),
        Arg::InBytes(n) => bytes(cx, value, counted(*n)),
        Arg::OutBytes(n) => results.map_or_else(|| format!("{value:#x}"), |r| bytes(cx, value, counted(*n).min(r))),
        Arg::In(layout, n) | Arg::Inout(layout, n) => structures(cx, layout, value, n.map(counted)),
        Arg::Out(layout, n) => match results {
            Some(r) => structures(cx, layout, value, n.map(|n| counted(n).min(r))),
            None => format!("{value:#x}"),
        },
        Arg::Rest(_) => format!("{value:#x}"),
    }
}

/// Flags by name, what is left as a number.
fn set(flags: &FlagSet, value: u64) -> String {
    let (mut names, mut rest) = (vec![], value);
    for f in flags.flags {
        let whole = f.host_mask == u64::MAX;
        if whole && value == f.host {
            return f.name.to_string();
        }
        let named = !whole && value & f.host_mask == f.host;
        if named {
            names.push(f.name.trim_end_matches('_').to_string());
            rest &= !f.host_mask;
        }
    }
    if rest != 0 || names.is_empty() {
        names.push(if rest < 10 { rest.to_string() } else { format!("{rest:#x}") });
    }
    names.join("|")
}

fn text(bytes: &[u8], len: usize) -> String {
    let shown = &bytes[..bytes.len().min(MAX_TEXT)];
    format!("\"{}\"{}", shown.escape_ascii(), if len > shown.len() { "..." } else { "" })
}

fn bytes(cx: &Cx<'_>, at: u64, len: usize) -> String {
    let mut shown = vec![0; len.min(MAX_TEXT)];
    match cx.space.read(at, &mut shown) {
        Ok(()) => text(&shown, len),
        Err(_) => format!("{at:#x}"),
    }
}

fn structures(cx: &Cx<'_>, layout: &'static Layout, at: u64, count: Option<usize>) -> String {
    let mut out = vec![];
    for n in 0..count.unwrap_or(1).min(MAX_MEMBERS) {
        let Ok(item) = Item::read(cx, layout, at.wrapping_add(n as u64 * u64::from(layout.size)), 1) else { return format!("{at:#x}") };
        out.push(structure(layout, &item));
    }
    match count {
        None => out.concat(),
        Some(count) => format!("[{}{}]", out.join(", "), if count > MAX_MEMBERS { ", ..." } else { "" }),
    }
}

fn structure(layout: &Layout, item: &Item) -> String {
    let value = |name: &str| item.get(name) as i64;
    if let [only] = layout.fields
        && only.count == 1
    {
        return format!("[{}]", value(only.name));
    }
    let mut out = String::from("{");
    for (n, f) in layout.fields.iter().take(MAX_MEMBERS).enumerate() {
        let before = if n == 0 { "" } else { ", " };
        _ = write!(out, "{before}{}={}", f.name, value(f.name));
    }
    out + if layout.fields.len() > MAX_MEMBERS { ", ...}" } else { "}" }
}

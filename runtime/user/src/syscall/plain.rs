//! Calls that are a plain conversion: arguments by their kinds, the host's call, results back.

use super::{Cx, Item};
use crate::abi::{Abi, Arg, Call, FlagSet, LinkRule, Returns};
use crate::convert::{extend, flags_to_host};
use crate::host::{self, Errno};
use std::ffi::CString;

/// Structures in one argument have at most that many bytes together.
const MAX_ARRAY: usize = 16 << 20;

/// The registers of a call as its arguments: numbers with their sign, flags as the host's, pairs of registers as one number.
///
/// # Errors
/// `EBADF` for a descriptor of the emulator.
pub(crate) fn decode(call: &Call, registers: [u64; 6], cx: &Cx<'_>) -> Result<[u64; 6], Errno> {
    let (mut values, mut at) = ([0; 6], 0);
    for (value, arg) in values.iter_mut().zip(call.args) {
        *value = take(arg, &registers, &mut at, cx);
        if matches!(arg, Arg::Fd | Arg::DirFd) && host::is_reserved(*value as i32) {
            return Err(libc::EBADF);
        }
    }
    Ok(values)
}

/// The next argument; `at`: the next register.
pub(crate) fn take(arg: &Arg, registers: &[u64; 6], at: &mut usize, cx: &Cx<'_>) -> u64 {
    let Abi { long, even_pairs, .. } = *cx.abi;
    if matches!(arg, Arg::Wide) && long == 4 && even_pairs {
        *at = at.next_multiple_of(2);
    }
    let mut next = || {
        *at += 1;
        extend(registers.get(*at - 1).copied().unwrap_or(0), long, false)
    };
    let first = next();
    match arg {
        Arg::Int | Arg::Fd | Arg::DirFd => extend(first, 4, true),
        Arg::Uint | Arg::Octal => extend(first, 4, false),
        Arg::Long => extend(first, long, true),
        // -1 says that nothing is changed.
        Arg::Id16 => extend(first, 2, first & 0xffff == 0xffff) & 0xffff_ffff,
        Arg::Set(set) => flags_to_host(set, first),
        Arg::Wide if long == 4 => {
            let second = next();
            if cx.big { first << 32 | second } else { second << 32 | first }
        }
        Arg::Position => {
            let second = next();
            if long == 4 { second << 32 | first } else { first }
        }
        _ => first,
    }
}

/// True if the link at the end of a path is followed: by the kind of the path, and by what the call's flags say.
pub(crate) fn follows(call: &Call, arg: &Arg, values: &[u64; 6]) -> bool {
    let says = |rule| {
        let said = |set: &FlagSet, value: u64| set.flags.iter().any(|f| f.link == rule && value & f.host_mask == f.host);
        call.args.iter().zip(values).any(|(a, v)| matches!(a, Arg::Set(set) if said(set, *v)))
    };
    match arg {
        Arg::Link => says(LinkRule::Follow),
        _ => !says(LinkRule::Nofollow),
    }
}

/// When something goes back to the guest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Back {
    Always,
    /// As many as the result says.
    Results,
    Interrupted,
}

/// The arguments of the host's call, and what they point to.
#[derive(Default)]
struct Plan {
    host: [u64; 6],
    /// How many of them there are.
    used: usize,
    texts: Vec<CString>,
    inputs: Vec<Item>,
    outputs: Vec<(Item, u64, Back)>,
}

/// Performs a call with decoded arguments.
pub(crate) fn perform(call: &Call, number: libc::c_long, values: &[u64; 6], cx: &Cx<'_>) -> Result<i64, Errno> {
    let mut plan = Plan::default();
    for (index, arg) in call.args.iter().enumerate() {
        plan.add(call, arg, index, values, cx)?;
    }
    let result = plan.call(number, cx)?;
    Ok(match call.returns {
        Returns::Id16 if result > 0xffff => 65534,
        _ if cx.abi.long == 4 && result > 0xffff_ffff => return Err(libc::EOVERFLOW),
        _ => result,
    })
}

/// Performs the host's call `number` with one argument that is converted behind others that are numbers.
pub(crate) fn with_argument(number: libc::c_long, before: &[u64], arg: &Arg, value: u64, cx: &Cx<'_>) -> Result<i64, Errno> {
    let mut plan = Plan::default();
    before.iter().for_each(|value| plan.push(*value));
    let call = Call { name: "", does: crate::abi::Does::Absent, args: &[], returns: Returns::Int };
    plan.add(&call, arg, 0, &[value, 0, 0, 0, 0, 0], cx)?;
    plan.call(number, cx)
}

impl Plan {
    fn add(&mut self, call: &Call, arg: &Arg, index: usize, values: &[u64; 6], cx: &Cx<'_>) -> Result<(), Errno> {
        let value = values.get(index).copied().unwrap_or(0);
        let counted = |n: u8| values.get(usize::from(n)).copied().unwrap_or(0);
        let host = match arg {
            Arg::Ignored | Arg::None => return Ok(()),
            Arg::Path | Arg::Link | Arg::Text if value == 0 => 0,
            Arg::Path | Arg::Link => self.text(cx.path(value, follows(call, arg, values))?),
            Arg::Text => self.text(CString::new(cx.space.string(value)?).map_err(|_| libc::EINVAL)?),
            Arg::InBytes(n) => cx.buffer(value, counted(*n))?,
            Arg::OutBytes(n) => cx.buffer_out(value, counted(*n))?,
            Arg::In(..) | Arg::Out(..) | Arg::Inout(..) | Arg::Rest(_) if value == 0 => 0,
            Arg::In(layout, n) => {
                let item = Item::read(cx, layout, value, count(layout.host_size, n.map(counted))?)?;
                self.inputs.push(item);
                self.inputs.last().map_or(0, Item::address)
            }
            Arg::Inout(layout, n) => {
                let item = Item::read(cx, layout, value, count(layout.host_size, n.map(counted))?)?;
                self.output(item, value, Back::Always)
            }
            Arg::Out(layout, n) => {
                let item = Item::new(layout, count(layout.host_size, n.map(counted))?);
                self.output(item, value, if n.is_some() { Back::Results } else { Back::Always })
            }
            Arg::Rest(layout) => self.output(Item::new(layout, 1), value, Back::Interrupted),
            _ => value,
        };
        self.push(host);
        Ok(())
    }

    fn push(&mut self, value: u64) {
        if let Some(place) = self.host.get_mut(self.used) {
            *place = value;
        }
        self.used += 1;
    }

    fn text(&mut self, text: CString) -> u64 {
        self.texts.push(text);
        self.texts.last().map_or(0, |t| t.as_ptr() as u64)
    }

    fn output(&mut self, item: Item, at: u64, back: Back) -> u64 {
        self.outputs.push((item, at, back));
        self.outputs.last().map_or(0, |o| o.0.address())
    }

    fn call(&self, number: libc::c_long, cx: &Cx<'_>) -> Result<i64, Errno> {
        let result = host::syscall(number, self.host);
        for (item, at, back) in &self.outputs {
            match (back, result) {
                (Back::Always, Ok(_)) => item.write(cx, *at)?,
                (Back::Results, Ok(n)) => item.write_some(cx, *at, n.max(0) as usize)?,
                // The interruption is what counts, not that it could not be told how long was left.
                (Back::Interrupted, Err(libc::EINTR)) => _ = item.write(cx, *at),
                _ => {}
            }
        }
        result
    }
}

/// How many elements an array has: one without a count.
fn count(size: u32, given: Option<u64>) -> Result<usize, Errno> {
    let Some(given) = given else { return Ok(1) };
    let count = usize::try_from(given).map_err(|_| libc::EINVAL)?;
    if count.saturating_mul(size.max(1) as usize) > MAX_ARRAY {
        return Err(libc::EINVAL);
    }
    Ok(count)
}

//! What is said once: calls and requests that are not there.

use std::collections::BTreeSet;
use std::sync::Mutex;

/// Kinds of what is not there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// A system call.
    Call,
    /// A request of `ioctl`.
    Ioctl,
}

/// Numbers to remember at most: a program that tries them all is not told of each.
const MAX: usize = 1024;

static SAID: Mutex<BTreeSet<(Kind, u32)>> = Mutex::new(BTreeSet::new());

/// True the first time.
pub(crate) fn first(kind: Kind, number: u32) -> bool {
    SAID.lock().is_ok_and(|mut said| said.len() < MAX && said.insert((kind, number)))
}

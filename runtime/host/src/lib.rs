//! Host back ends: what a guest's serial port is connected to.
//!
//! Device -> [`chardev::Output`] (a queue and a thread, so that no device ever waits for the host) -> terminal, file, pty or socket;
//! and back: a reader thread -> the machine's input queue. Not modelled yet: disks, networks, displays, audio.

pub mod chardev;
pub mod terminal;

//! Host back ends: what a guest's serial ports, drives and network ports are connected to.
//!
//! Serial: device -> [`chardev::Output`] (a queue and a thread, so that no device ever waits for the host) -> terminal, file, pty or socket; and back:
//! a reader thread -> the machine's input queue. Drive -> [`disk::open`]'s disk -> an image. Network port -> [`net::open`]'s sink -> a private network,
//! a tap or another emulator. Not modelled yet: displays, audio.

pub mod chardev;
pub mod clients;
pub mod connection;
pub mod disk;
pub mod net;
mod telnet;
pub mod terminal;

//! Devices of the boards, tested from outside by QEMU's qtest protocol, and compared with QEMU where its boards have the same devices.
//!
//! `protocol`: the server itself. `zynq`, `petalogix`: devices. `oracle`: the same commands to QEMU and to us; skipped without QEMU.

mod can;
mod client;
mod flash;
mod oracle;
mod petalogix;
mod protocol;
#[path = "../socket/mod.rs"]
mod socket;
mod zynq;

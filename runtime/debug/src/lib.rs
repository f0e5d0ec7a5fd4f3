//! A machine from outside: the GDB remote protocol, the monitor, the control socket, qtest.
//!
//! Data path: GDB -> `gdbstub` (the protocol) -> [`gdb::Target`] -> the machine, which runs in rounds between looks at the connection.
//! Monitor and control socket -> the commands of [`monitor`] -> the machine's handle. Not here yet: coverage of a machine.

pub mod gdb;
pub mod monitor;
pub mod qmp;
pub mod qtest;
pub mod user;

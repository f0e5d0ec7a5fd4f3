//! Debugging a machine from outside: the GDB remote protocol.
//!
//! Data path: a connection -> `gdbstub` (the protocol) -> [`gdb::Target`] -> the machine, which runs in rounds between looks at the connection.
//! Not here yet: monitor, control socket, coverage.

pub mod gdb;
pub mod user;

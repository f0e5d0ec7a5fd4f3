//! Serial ports.

pub mod cdns_uart;

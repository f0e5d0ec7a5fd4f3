//! Serial ports.

pub mod cdns_uart;
pub mod ns16550;
pub mod uartlite;

//! Flash memory chips, and the controller of parallel ones.

mod array;
pub mod cfi;
mod cfi_query;
mod chips;
pub mod nand;
mod nand_chips;
mod pl353_ecc;
pub mod pl353_smc;
pub mod serial;
mod serial_commands;
mod serial_registers;
mod sfdp;
pub mod xps_emc;

use emu_machine::schema::{PropKind, PropSpec, Props};

const TIME: PropSpec = PropSpec {
    name: "time-percent",
    kind: PropKind::Int { min: 0, max: 1000 },
    default: Some("100"),
    doc: "how long reads, programs and erases of the array take, per cent of the data sheet's typical times",
};

/// What a board says of [`TIME`].
fn percent(props: &Props) -> u64 {
    props.int(TIME.name).unsigned_abs() as u64
}

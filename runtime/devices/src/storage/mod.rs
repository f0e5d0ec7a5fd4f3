//! Storage: host controllers, and what is plugged into them.
//!
//! A host controller moves data between the guest and a [`Card`]; the card knows commands and states and asks its drive. So other cards
//! and other hosts (SPI) can be joined with those that are here.

mod mmc_commands;
mod mmc_registers;
pub mod sd_card;
mod sd_commands;
mod sd_registers;
pub mod sdhci;
mod sdhci_transfer;

use emu_machine::backend::{DiskResult, Medium};
use emu_machine::device::Cx;

/// What a card answers to a command, without start bits, index and the CRC of the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Response {
    /// 32 bits of a response of 48.
    Short(u32),
    /// CID or CSD with its CRC7, a response of 136 bits.
    Long(u128),
}

/// What a card is ready for on its data lines, and its block length in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Data {
    /// Nothing.
    Idle,
    /// It sends blocks.
    ToHost(u32),
    /// It takes blocks.
    FromHost(u32),
}

/// What comes of asking a card for data, or of giving it some.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Flow {
    /// The drive works on it: [`Card::disk_done`] tells.
    Wait,
    /// Data for the host: whole blocks if it asked for whole blocks.
    Bytes(Vec<u8>),
    /// The data were taken.
    Done,
    /// Nothing (more) comes, or is taken; the host runs into its timeout.
    End,
}

/// A card in a host's slot. Commands are instantaneous; data and programming take as long as the drive.
pub trait Card: Send {
    /// Another medium, or none: the card is new, and without any state but what the medium holds.
    fn plug(&mut self, medium: Option<Medium>);
    /// What is plugged in.
    fn medium(&self) -> Option<Medium>;
    /// A command on the command line; `None`: no response.
    fn command(&mut self, index: u8, argument: u32, cx: &mut Cx<'_>) -> Option<Response>;
    /// What it is ready for.
    fn data(&self) -> Data;
    /// Asks for at most so many bytes (a multiple of the block length, or everything).
    fn fetch(&mut self, most: u32, cx: &mut Cx<'_>) -> Flow;
    /// Gives it whole blocks.
    fn store(&mut self, bytes: Vec<u8>, cx: &mut Cx<'_>) -> Flow;
    /// It holds DAT0 low.
    fn is_busy(&self) -> bool;
    /// The drive answered. `Some`: the end of a [`Flow::Wait`].
    fn disk_done(&mut self, tag: u32, result: DiskResult, cx: &mut Cx<'_>) -> Option<Flow>;
    /// Its state, for snapshots.
    fn save(&self) -> serde_json::Value;
    /// Takes it back.
    ///
    /// # Errors
    /// It is none of this card's; nothing has changed.
    fn load(&mut self, state: &serde_json::Value) -> Result<(), String>;
}

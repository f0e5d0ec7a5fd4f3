//! The ULPI transceiver behind the viewport: an SMSC USB3320, as on the ZC702 (UTMI+ Low Pin Interface specification 1.1, ch. 4).
//!
//! Registers keep what is written, with their addresses for setting and clearing bits. Not modelled: their effects on the bus, its interrupts
//! and line states, extended registers.

use serde::{Deserialize, Serialize};

/// Vendor 0x0424, product 0x0007.
const ID: [u8; 4] = [0x24, 0x04, 0x07, 0x00];
/// Groups of three addresses: write, set, clear; with their reset values.
const GROUPS: [(u32, u8); 6] = [(0x04, 0x41), (0x07, 0x00), (0x0a, 0x06), (0x0d, 0x1f), (0x10, 0x1f), (0x16, 0x00)];
const FUNCTION: usize = 0;
/// Function control: resets the transceiver, then clears itself.
const RESET: u8 = 1 << 5;

/// Its registers, one for each group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ulpi {
    groups: [u8; 6],
}

impl Default for Ulpi {
    fn default() -> Ulpi {
        Ulpi { groups: GROUPS.map(|g| g.1) }
    }
}

impl Ulpi {
    fn group(address: u32) -> Option<(usize, u32)> {
        GROUPS.iter().position(|g| (g.0..g.0 + 3).contains(&address)).map(|i| (i, address - GROUPS[i].0))
    }

    pub fn read(&self, address: u32) -> u8 {
        ID.get(address as usize).copied().or_else(|| Ulpi::group(address).map(|(i, _)| self.groups[i])).unwrap_or(0)
    }

    pub fn write(&mut self, address: u32, value: u8) {
        let Some((i, way)) = Ulpi::group(address) else { return };
        let place = &mut self.groups[i];
        *place = match way {
            0 => value,
            1 => *place | value,
            _ => *place & !value,
        };
        if i == FUNCTION && *place & RESET != 0 {
            *self = Ulpi::default();
        }
    }
}

//! Guest memory: RAM blocks, address spaces, the soft TLB, dirty and code-page tracking.
//!
//! The only crate, besides the JIT, user mode and host back ends, in which `unsafe` may stand.
//! It knows no instruction set, no device and no board.

use serde::{Deserialize, Serialize};

mod bus;
mod keeper;
mod mapping;
mod ram;
mod space;
mod tlb;
mod windows;

pub use bus::{Attention, GuestBus, PhysBus, RamSlice};
pub use keeper::{CodeKeeper, HeldKeepers};
pub use ram::{LINE_SIZE, MemoryError, PAGE_BITS, PAGE_SIZE, RamBlock};
pub use space::{AddressSpace, Found, Region, Target};
pub use tlb::{FRONT_BITS, Flushed, Front, MMU_INDICES, SoftTlb, TlbFill, TlbPage};
pub use windows::{WINDOW_INDICES, window_offset};

/// A guest virtual address, in bytes; 32-bit guests use the low half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct GuestVirt(pub u64);

/// A guest physical address, in bytes, up to 64 bits wide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct GuestPhys(pub u64);

/// Who is asking: every access to an address space carries it, so that banked regions
/// and (later) IOMMUs are lookups.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Initiator {
    /// A vCPU, by its index on the board (0-based).
    Cpu(u8),
    /// A DMA master, by its device's index on the board.
    Dma(u16),
    /// The debugger, the monitor or a boot loader: sees what CPU 0 sees, with no side effects wanted.
    Debug,
}

/// The attributes of one bus access.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Access {
    /// Who is asking.
    pub initiator: Initiator,
    /// TrustZone secure transaction.
    pub secure: bool,
    /// Privileged (supervisor) transaction.
    pub privileged: bool,
}

impl Access {
    /// A secure, privileged access by vCPU `index`.
    pub const fn cpu(index: u8) -> Access {
        Access { initiator: Initiator::Cpu(index), secure: true, privileged: true }
    }

    /// An access by the debugger or a loader.
    pub const DEBUG: Access = Access { initiator: Initiator::Debug, secure: true, privileged: true };

    /// The index of the vCPU whose banked view this access sees: 0 unless a vCPU asks.
    pub const fn cpu_index(self) -> usize {
        match self.initiator {
            Initiator::Cpu(index) => index as usize,
            _ => 0,
        }
    }
}

/// Why a bus access failed; a CPU turns it into its external-abort exception.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum BusError {
    /// Nothing answers at this address (AXI DECERR).
    #[error("no device or memory answers at this address")]
    Decode,
    /// The device answered with an error (AXI SLVERR), e.g. a forbidden access size.
    #[error("the device refused the access")]
    Device,
}

//! What a vCPU sees of the machine: physical memory, attention requests, time.
//!
//! A vCPU engine is written against these two traits alone, so it can be tested on a bare [`crate::RamBlock`].

use crate::{Access, BusError, GuestPhys, RamBlock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A stretch of guest RAM as a bus target.
#[derive(Clone, Debug)]
pub struct RamSlice {
    /// The memory.
    pub block: Arc<RamBlock>,
    /// Where in `block` the address asked for is, bytes.
    pub offset: u64,
    /// How many bytes from there on are mapped contiguously.
    pub len: u64,
    /// False for ROM.
    pub writable: bool,
}

/// Physical memory as one initiator reaches it, RAM and MMIO alike.
pub trait PhysBus {
    /// Reads `size` (1, 2, 4 or 8) bytes at any alignment; little-endian value, zero-extended. May have side effects in a device.
    fn read(&self, at: GuestPhys, size: u8, access: Access) -> Result<u64, BusError>;

    /// Writes the low `size` (1, 2, 4 or 8) bytes of `value`, little-endian. Translated code there is invalidated; ROM ignores it.
    fn write(&self, at: GuestPhys, size: u8, value: u64, access: Access) -> Result<(), BusError>;

    /// The RAM or ROM that `at` lies in; `None` for MMIO and where nothing is.
    fn ram(&self, at: GuestPhys, access: Access) -> Option<RamSlice>;

    /// Atomically replaces `old` by `new`, both `size` (1, 2, 4 or 8) bytes at a multiple of `size`: what was there. `None`: the bus knows no better way than
    /// that of [`PhysBus::ram`].
    fn exchange(&self, _at: GuestPhys, _size: u8, _old: u64, _new: u64) -> Option<Result<u64, BusError>> {
        None
    }

    /// The version of the address map. When it changes, everything [`PhysBus::ram`] said is void and soft TLBs flush.
    fn map_version(&self) -> u64;
}

/// Bits of a vCPU's attention word: why it should leave its fast path. Set by anyone, taken by the vCPU.
pub struct Attention;

impl Attention {
    /// The level of an input line changed: look at [`GuestBus::levels`] again.
    pub const LINES: u32 = 1;
    /// An event (`SEV`) was sent.
    pub const EVENT: u32 = 2;
    /// Return from the run at the next instruction mark.
    pub const EXIT: u32 = 4;
    /// Forget all translations of addresses.
    pub const FLUSH_TLB: u32 = 8;
    /// A [`crate::CodeKeeper`] has notes to take.
    pub const CODE: u32 = 16;
    /// A region of the vCPU's code is compiled.
    pub const REGION: u32 = 32;
    /// The host refused an access of a region.
    pub const REFUSED: u32 = 64;
}

/// The machine as a running vCPU sees it.
///
/// The rule that keeps time exact: before every [`PhysBus`] access the vCPU calls [`GuestBus::publish`]; after every one it checks the
/// attention word and [`GuestBus::limit`] before the next instruction, as the access may have raised a line or armed a timer.
pub trait GuestBus: PhysBus {
    /// The attention word, bits of [`Attention`]; polled at block boundaries and after bus accesses. The vCPU takes
    /// bits by [`GuestBus::acknowledge`], before it acts on them.
    fn attention(&self) -> &Arc<AtomicU32>;

    /// Takes bits out of the attention word, between two instructions. Who waits for this vCPU to do so goes on: what the bits ask for is done before the
    /// next guest access.
    fn acknowledge(&self, bits: u32) {
        self.attention().fetch_and(!bits, Ordering::AcqRel);
    }

    /// The levels of the CPU's input lines, one bit each, in the order of its type's input ports.
    fn levels(&self) -> u64;

    /// Drives output line `index` of output port `port` of this CPU.
    fn set_output(&self, port: usize, index: u32, level: bool);

    /// Says where the vCPU is: the pc of the current instruction and how many instructions before it completed in this run.
    fn publish(&self, pc: u64, executed: u64);

    /// How many instructions this run may execute in all; it can shrink during a bus access, never grow.
    fn limit(&self) -> u64;

    /// Guest time, nanoseconds since power-on, at the published instruction.
    fn now(&self) -> u64;

    /// Sends an event (`SEV`) to the other vCPUs; this one's own is the caller's.
    fn send_event(&self);

    /// The host address of virtual address 0, if the host maps the guest's memory as the guest does (a process): generated code then accesses it without
    /// a look-up, and whatever the host refuses is done by [`PhysBus`], which never touches memory unchecked.
    fn direct(&self) -> Option<usize> {
        None
    }

    /// Who stands in for the guest's kernel does at once what the vCPU raised this exception for (its number, and what it says), without its having to stop:
    /// true if that is done, and the state, whose pc was the instruction that raised it, is where the guest goes on. False: nothing was done. Only asked of
    /// a vCPU that takes no exceptions itself.
    fn serve(&self, _exception: u16, _arguments: &[u64; 4], _state: &mut [u64]) -> bool {
        false
    }

    /// Code is about to be read in a page (an address in it; `first`: there was none in it): when it returns, nobody writes there without a look at
    /// [`crate::RamBlock::code_lines`].
    fn hold_code(&self, _at: GuestPhys, first: bool) {
        if first {
            self.wait_for_others(Attention::CODE);
        }
    }

    /// Returns when every other vCPU has taken these bits of its attention word, or will before its next guest access. Nothing to do for a lone one.
    fn wait_for_others(&self, _: u32) {}

    /// Broadcast TLB maintenance: when it returns, every other vCPU has taken [`Attention::FLUSH_TLB`], or will before its next guest access. Nothing to do for
    /// a lone one.
    fn flush_other_tlbs(&self) {}
}

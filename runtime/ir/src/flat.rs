//! A bus of RAM alone: for instruction vectors, lock-step comparison and tests, where no machine is wanted.

use emu_memory::{Access, BusError, GuestBus, GuestPhys, PhysBus, RamBlock, RamSlice};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// RAM blocks at physical addresses; nothing else answers. Time stands still, no line is ever high.
pub struct FlatBus {
    rams: Vec<(u64, Arc<RamBlock>)>,
    attention: Arc<AtomicU32>,
    limit: Cell<u64>,
}

impl FlatBus {
    /// These blocks at these addresses, which must not overlap.
    pub fn new(rams: Vec<(u64, Arc<RamBlock>)>) -> FlatBus {
        FlatBus { rams, attention: Arc::default(), limit: Cell::new(u64::MAX) }
    }

    /// Sets how many instructions a run may execute.
    pub fn set_limit(&self, limit: u64) {
        self.limit.set(limit);
    }

    fn find(&self, at: u64) -> Option<(&Arc<RamBlock>, u64)> {
        self.rams.iter().find_map(|(base, ram)| Some((ram, at.checked_sub(*base).filter(|offset| *offset < ram.size())?)))
    }
}

impl PhysBus for FlatBus {
    fn read(&self, at: GuestPhys, size: u8, _access: Access) -> Result<u64, BusError> {
        self.find(at.0).and_then(|(ram, offset)| ram.read(offset, size)).ok_or(BusError::Decode)
    }
    fn write(&self, at: GuestPhys, size: u8, value: u64, _access: Access) -> Result<(), BusError> {
        let written = self.find(at.0).is_some_and(|(ram, offset)| ram.write(offset, size, value));
        if written { Ok(()) } else { Err(BusError::Decode) }
    }
    fn ram(&self, at: GuestPhys, _access: Access) -> Option<RamSlice> {
        self.find(at.0).map(|(ram, offset)| RamSlice { block: ram.clone(), offset, len: ram.size() - offset, writable: true })
    }
    fn map_version(&self) -> u64 {
        1
    }
}

impl GuestBus for FlatBus {
    fn attention(&self) -> &Arc<AtomicU32> {
        &self.attention
    }
    fn levels(&self) -> u64 {
        0
    }
    fn set_output(&self, _port: usize, _index: u32, _level: bool) {}
    fn publish(&self, _pc: u64, _executed: u64) {}
    fn limit(&self) -> u64 {
        self.limit.get()
    }
    fn now(&self) -> u64 {
        0
    }
    fn send_event(&self) {}
}

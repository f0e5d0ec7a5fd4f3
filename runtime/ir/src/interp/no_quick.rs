//! Where there is no quick tier: guest code is interpreted.

use super::Context;
use super::blocks::{BlockId, Blocks};
use super::code::{Arena, BlockInfo};
use super::exec::Leave;
use crate::guest::Isa;
use emu_memory::{GuestBus, RamBlock};
use std::sync::Arc;

/// None.
pub enum Quick {}

/// Counters of visits.
pub const VISITS: usize = 0;

/// Computed jumps that led from regions.
pub const COMPUTED: usize = 0;

/// None.
pub struct RegionCode {
    pub id: BlockId,
    pub base: usize,
    pub bytes: Vec<u8>,
    pub places: Vec<(u32, (u16, u16))>,
    pub pieces: Vec<u32>,
    pub spent: usize,
}

/// Nothing leads elsewhere.
pub enum Led {}

/// What generated code would compare with.
pub struct Constants;

#[allow(missing_docs, reason = "as the quick tier's")]
pub const CONSTANTS: Constants = Constants;
#[allow(missing_docs, reason = "as the quick tier's")]
pub const MXCSR: u32 = 0;

#[allow(missing_docs, reason = "as the quick tier's")]
impl Quick {
    pub fn new<I: Isa>(_: &I, _: usize, _: bool, _: bool, _: bool) -> Option<Quick> {
        None
    }

    pub fn clear<I: Isa>(&mut self) {
        match *self {}
    }

    pub fn is_full(&self) -> bool {
        match *self {}
    }

    pub fn block(&self, _: u32) -> u64 {
        match *self {}
    }

    pub fn missing(&self) -> u64 {
        match *self {}
    }

    pub fn add(&mut self, _: &Arena, _: &BlockInfo, _: BlockId) -> u64 {
        match *self {}
    }

    pub fn add_entry(&mut self, _: &Arena, _: &BlockInfo) -> u64 {
        match *self {}
    }

    pub fn stubs(&self) -> Vec<(String, usize)> {
        match *self {}
    }

    pub fn end(&self) -> usize {
        match *self {}
    }

    pub fn explain(&self, _: &Arena, _: &BlockInfo) -> Option<super::explain::HostCode> {
        match *self {}
    }

    pub fn regions(&self) -> std::vec::IntoIter<RegionCode> {
        match *self {}
    }

    pub fn link(&mut self, _: u32, _: u32) {
        match *self {}
    }

    pub fn revoke(&mut self, _: (u16, u64)) -> (Vec<(BlockId, u32)>, Vec<Led>) {
        match *self {}
    }

    pub fn execute<I: Isa>(
        &self,
        _: &mut Context<I>,
        _: &Arena,
        _: &[Arc<RamBlock>],
        _: Option<&Blocks>,
        _: &dyn GuestBus,
        _: u64,
    ) -> Leave {
        match *self {}
    }
}

/// As of the quick tier: nothing is ever stopped in generated code.
pub fn recover(_: usize, _: usize) -> Option<usize> {
    None
}

/// As of the quick tier.
pub fn take_refused() -> Option<usize> {
    None
}

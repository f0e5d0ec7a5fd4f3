//! Where there is no quick tier: guest code is interpreted.

use super::Context;
use super::code::{Arena, BlockInfo};
use super::exec::Leave;
use crate::guest::Isa;
use emu_memory::{GuestBus, RamBlock};
use std::sync::Arc;

/// None.
pub enum Quick {}

#[allow(missing_docs, reason = "as the quick tier's")]
impl Quick {
    pub fn new() -> Option<Quick> {
        None
    }

    pub fn clear(&mut self) {
        match *self {}
    }

    pub fn is_full(&self) -> bool {
        match *self {}
    }

    pub fn block(&self, _: u32) -> u64 {
        match *self {}
    }

    pub fn add<I: Isa>(&mut self, _: &I, _: &Arena, _: &BlockInfo, _: &RamBlock) {
        match *self {}
    }

    pub fn link(&mut self, _: u32, _: u32) {
        match *self {}
    }

    pub fn execute<I: Isa>(&self, _: &mut Context<I>, _: &Arena, _: &[Arc<RamBlock>], _: &dyn GuestBus, _: u64) -> Leave {
        match *self {}
    }
}

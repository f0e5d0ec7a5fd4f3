//! The memory of the CPU under test: pages of RAM fetched from QEMU when they are first touched, and nothing else.
//!
//! What is written can be undone, so that an instruction may be tried again in another way. An access outside RAM is noted and answered with zero, or refused.

use crate::remote::Qemu;
use emu_memory::{Access, BusError, GuestBus, GuestPhys, PhysBus, RamSlice};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

const PAGE: u64 = 4096;

/// Memory and lines.
pub struct Bus {
    /// Where QEMU's memory comes from.
    pub qemu: RefCell<Qemu>,
    /// RAM.
    pub ram: Vec<Range<u64>>,
    pages: RefCell<HashMap<u64, Vec<u8>>>,
    /// Bytes as they were before the current instruction, newest last.
    undo: RefCell<Vec<(u64, u8)>>,
    /// Pages written since they were last compared.
    dirty: RefCell<BTreeSet<u64>>,
    /// An access outside RAM.
    pub device: Cell<Option<u64>>,
    /// Accesses outside RAM are bus errors.
    pub refuse: Cell<bool>,
    /// The CPU's input lines.
    pub lines: Cell<u64>,
    /// QEMU could not be asked.
    pub broken: RefCell<Option<String>>,
    attention: Arc<AtomicU32>,
}

impl Bus {
    /// Memory that is still all in QEMU.
    pub fn new(qemu: Qemu, ram: Vec<Range<u64>>) -> Bus {
        Bus {
            qemu: RefCell::new(qemu),
            ram,
            pages: RefCell::default(),
            undo: RefCell::default(),
            dirty: RefCell::default(),
            device: Cell::default(),
            refuse: Cell::default(),
            lines: Cell::default(),
            broken: RefCell::default(),
            attention: Arc::default(),
        }
    }

    /// A new instruction begins.
    pub fn begin(&self) {
        self.undo.borrow_mut().clear();
        self.device.set(None);
        self.refuse.set(false);
        self.lines.set(0);
    }

    /// Takes back what the current instruction wrote.
    pub fn undo(&self) {
        for (at, old) in self.undo.borrow_mut().drain(..).rev() {
            if let Some(page) = self.pages.borrow_mut().get_mut(&(at / PAGE)) {
                page[(at % PAGE) as usize] = old;
            }
        }
        self.device.set(None);
    }

    /// Compares written pages with QEMU's: the first byte that differs, as address, ours, QEMU's.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn compare(&self) -> Result<Option<(u64, u8, u8)>, String> {
        for page in std::mem::take(&mut *self.dirty.borrow_mut()) {
            let theirs = self.qemu.borrow_mut().memory(page * PAGE, PAGE as usize)?;
            let pages = self.pages.borrow();
            let Some(ours) = pages.get(&page) else { continue };
            if let Some(i) = ours.iter().zip(&theirs).position(|(a, b)| a != b) {
                return Ok(Some((page * PAGE + i as u64, ours[i], theirs[i])));
            }
        }
        Ok(None)
    }

    /// The byte's page is here, or comes; false outside RAM.
    fn present(&self, at: u64) -> bool {
        if !self.ram.iter().any(|r| r.contains(&at)) {
            return false;
        }
        if self.pages.borrow().contains_key(&(at / PAGE)) {
            return true;
        }
        match self.qemu.borrow_mut().memory(at / PAGE * PAGE, PAGE as usize) {
            Ok(bytes) => {
                self.pages.borrow_mut().insert(at / PAGE, bytes);
                true
            }
            Err(e) => {
                *self.broken.borrow_mut() = Some(e);
                false
            }
        }
    }

    fn outside(&self, at: u64) -> Result<u64, BusError> {
        self.device.set(Some(at));
        if self.refuse.get() { Err(BusError::Decode) } else { Ok(0) }
    }
}

impl PhysBus for Bus {
    fn read(&self, at: GuestPhys, size: u8, access: Access) -> Result<u64, BusError> {
        let mut value = 0;
        for i in 0..u64::from(size) {
            if !self.present(at.0 + i) {
                // A table walk by a debugger is no access.
                return if access.initiator == emu_memory::Initiator::Debug { Err(BusError::Decode) } else { self.outside(at.0) };
            }
            let byte = self.pages.borrow()[&((at.0 + i) / PAGE)][((at.0 + i) % PAGE) as usize];
            value |= u64::from(byte) << (8 * i);
        }
        Ok(value)
    }

    fn write(&self, at: GuestPhys, size: u8, value: u64, _: Access) -> Result<(), BusError> {
        for i in 0..u64::from(size) {
            if !self.present(at.0 + i) {
                return self.outside(at.0).map(|_| ());
            }
            let mut pages = self.pages.borrow_mut();
            if let Some(byte) = pages.get_mut(&((at.0 + i) / PAGE)).map(|p| &mut p[((at.0 + i) % PAGE) as usize]) {
                self.undo.borrow_mut().push((at.0 + i, *byte));
                *byte = (value >> (8 * i)) as u8;
                self.dirty.borrow_mut().insert((at.0 + i) / PAGE);
            }
        }
        Ok(())
    }

    fn ram(&self, _: GuestPhys, _: Access) -> Option<RamSlice> {
        None
    }

    fn map_version(&self) -> u64 {
        0
    }
}

impl GuestBus for Bus {
    fn attention(&self) -> &Arc<AtomicU32> {
        &self.attention
    }
    fn levels(&self) -> u64 {
        self.lines.get()
    }
    fn set_output(&self, _: usize, _: u32, _: bool) {}
    fn publish(&self, _: u64, _: u64) {}
    fn limit(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        0
    }
    fn send_event(&self) {}
}

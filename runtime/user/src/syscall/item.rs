//! A structure (or an array of them) of the host that came from the guest, or will go there.

use super::Cx;
use crate::abi::Layout;
use crate::convert;
use crate::space::Fault;
use std::cell::Cell;

/// Bytes of the host's structure, beside each other if there are several.
#[derive(Clone)]
pub(crate) struct Item {
    layout: &'static Layout,
    count: usize,
    /// What the guest had, for bytes that are only the guest's.
    guest: Vec<u8>,
    /// Aligned as the host's structures are; the kernel writes there.
    host: Vec<Cell<u64>>,
}

impl Item {
    /// Zeros.
    pub fn new(layout: &'static Layout, count: usize) -> Item {
        let (guest, host) = (layout.size as usize * count, layout.host_size as usize * count);
        Item { layout, count, guest: vec![0; guest], host: vec![Cell::new(0); host.div_ceil(8)] }
    }

    /// Reads the guest's.
    pub fn read(cx: &Cx<'_>, layout: &'static Layout, at: u64, count: usize) -> Result<Item, Fault> {
        let mut item = Item::new(layout, count);
        if count != 0 {
            cx.space.read(at, &mut item.guest)?;
        }
        let guest = std::mem::take(&mut item.guest);
        let size = layout.host_size as usize;
        for (n, from) in guest.chunks_exact(layout.size.max(1) as usize).enumerate() {
            convert::to_host(layout, from, &mut item.bytes_mut()[n * size..], cx.big);
        }
        item.guest = guest;
        Ok(item)
    }

    /// Writes the guest's.
    pub fn write(&self, cx: &Cx<'_>, at: u64) -> Result<(), Fault> {
        self.write_some(cx, at, self.count)
    }

    /// Writes the first `count`.
    pub fn write_some(&self, cx: &Cx<'_>, at: u64, count: usize) -> Result<(), Fault> {
        let (size, host_size) = (self.layout.size as usize, self.layout.host_size as usize);
        let len = count.min(self.count) * size;
        let mut guest = self.guest[..len].to_vec();
        for (n, to) in guest.chunks_exact_mut(size.max(1)).enumerate() {
            convert::to_guest(self.layout, &self.bytes()[n * host_size..(n + 1) * host_size], to, cx.big);
        }
        if len == 0 { Ok(()) } else { cx.space.write(at, &guest) }
    }

    /// Where the host's is, for the kernel.
    pub fn address(&self) -> u64 {
        self.host.as_ptr() as u64
    }

    /// The host's bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the words of a vector are initialised bytes; the kernel writes only during a call, when nobody looks.
        unsafe { std::slice::from_raw_parts(self.host.as_ptr().cast(), self.host.len() * 8) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and any bytes are words.
        unsafe { std::slice::from_raw_parts_mut(self.host.as_mut_ptr().cast(), self.host.len() * 8) }
    }

    /// A member of the first structure, with its sign; 0 if there is none of that name.
    pub fn get(&self, name: &str) -> u64 {
        let value = self.layout.field(name).and_then(|f| {
            let at = f.host as usize;
            let bytes = self.bytes().get(at..at + usize::from(f.host_size))?;
            Some(convert::extend(convert::number(bytes, false), f.host_size, f.signed))
        });
        debug_assert!(value.is_some(), "{} has no {name}", self.layout.name);
        value.unwrap_or(0)
    }

    /// Sets a member of the first structure.
    pub fn set(&mut self, name: &str, value: u64) {
        let field = self.layout.field(name);
        debug_assert!(field.is_some(), "{} has no {name}", self.layout.name);
        if let Some(f) = field
            && let Some(bytes) = self.bytes_mut().get_mut(f.host as usize..f.host as usize + usize::from(f.host_size))
        {
            convert::put(bytes, value, false);
        }
    }
}

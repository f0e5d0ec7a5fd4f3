//! The soft TLB of one vCPU: from virtual pages to host memory in a few instructions.
//!
//! Data path: a guest access hashes its page and MMU index to a set of two entries; a hit gives a host pointer. What misses,
//! crosses a page, is not RAM, or would write over translated code goes back to the vCPU, which asks [`SoftTlb::lookup`] for the physical
//! address, walks the guest's tables if that fails too, and calls [`SoftTlb::insert`].
//!
//! The granule is 4 KiB. Guest pages that are larger fill several entries and are flushed together; smaller permission
//! units are not inserted.

use crate::ram::{PAGE_BITS, PAGE_SIZE, exchange, load_u8, load_u16, load_u32, load_u64, store_u8, store_u16, store_u32, store_u64};
use crate::windows::{Found, Windows};
use crate::{GuestPhys, RamBlock, RamSlice};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many MMU indices (translation regimes: privileged, user, hypervisor ...) there may be.
pub const MMU_INDICES: u8 = 16;

const SET_BITS: u32 = 10;
const SETS: usize = 1 << SET_BITS;
const WAYS: usize = 2;

// The low bits of a key: what is not allowed on the fast path, and the MMU index.
const NO_READ: u64 = 1;
const NO_WRITE: u64 = 2;
const NO_EXECUTE: u64 = 4;
const INVALID: u64 = 8;
const MMU_SHIFT: u32 = 4;
const MATCH: u64 = !(NO_READ | NO_WRITE | NO_EXECUTE);

/// The part of an entry that the fast path needs; two fill a host cache line.
#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    /// Virtual page address, MMU index, and the `NO_*` bits.
    key: u64,
    tag: u32,
    /// All ones, or zero in a global entry.
    tag_mask: u32,
    /// The page's bytes in the host; null if not RAM (then the key denies everything).
    host: *mut u8,
    /// The page's code lines; a store to such a line is for the slow path.
    code: *const AtomicU64,
}

const EMPTY: Entry = Entry { key: u64::MAX, tag: 0, tag_mask: u32::MAX, host: std::ptr::null_mut(), code: std::ptr::null() };

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Set([Entry; WAYS]);

/// log2 of a front's lines.
pub const FRONT_BITS: u32 = 9;
const LINES: usize = 1 << FRONT_BITS;

/// Space tags that have a front.
const FRONTS: usize = 4;

/// A front of the TLB, for generated code: the pages of one space tag that were used of late, one place each, see [`Front::line`].
///
/// An access compares [`Front::tag`] with `read` or `write` of its line; if they are equal its bytes are at `addend` plus the virtual address, modulo 2^64.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Front {
    /// What matches a read; all ones: none.
    pub read: [u64; LINES],
    /// What matches a write; never a page that holds translated code.
    pub write: [u64; LINES],
    /// Host address less virtual address.
    pub addend: [u64; LINES],
}

const EMPTY_FRONT: Front = Front { read: [u64::MAX; LINES], write: [u64::MAX; LINES], addend: [0; LINES] };

impl Front {
    /// What an access to `size` bytes at `va` compares: `align` is its required alignment less one, at most 15. The last byte's page stands for all,
    /// so that no access across a page matches.
    pub const fn tag(va: u64, size: u8, align: u8, mmu_index: u8) -> u64 {
        va.wrapping_add((size - 1).saturating_sub(align) as u64) & Front::mask(align) | Front::index_bits(mmu_index)
    }

    /// The bits of the address that count.
    pub const fn mask(align: u8) -> u64 {
        !(PAGE_SIZE - 1) | align as u64
    }

    /// The MMU index, as a tag holds it.
    pub const fn index_bits(mmu_index: u8) -> u64 {
        ((mmu_index % MMU_INDICES) as u64) << 4
    }

    /// The line for the page of `va`: neighbouring pages never share one, so an access across their border, which looks for the second page in the
    /// first one's line, does not find it.
    pub const fn line(va: u64) -> usize {
        let page = va >> PAGE_BITS;
        page.wrapping_add(page >> FRONT_BITS) as usize & (LINES - 1)
    }

    fn forget(&mut self, va: u64) {
        (self.read[Front::line(va)], self.write[Front::line(va)]) = (u64::MAX, u64::MAX);
    }
}

/// What the TLB knows of a virtual page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlbPage {
    /// The physical address of the page's first byte.
    pub phys: GuestPhys,
    /// Reads are permitted.
    pub read: bool,
    /// Writes are permitted.
    pub write: bool,
    /// Instruction fetches are permitted.
    pub execute: bool,
    /// Attributes in the instruction set's own encoding (memory type, shareability, secure ...).
    pub attributes: u32,
    /// log2 of the guest's page, 12 or more.
    pub page_bits: u8,
    /// Holds for every space tag.
    pub global: bool,
    /// If the page is RAM or ROM: a number for [`SoftTlb::block`], and the offset of the page in that block.
    pub ram: Option<(u32, u64)>,
}

/// A translation to be remembered.
#[derive(Clone, Debug)]
pub struct TlbFill {
    /// Any address in the page.
    pub va: u64,
    /// The physical address of the 4 KiB page `va` is in.
    pub phys: GuestPhys,
    /// The MMU index, below [`MMU_INDICES`].
    pub mmu_index: u8,
    /// The space tag (ASID, PCID ...).
    pub tag: u32,
    /// Matches every tag.
    pub global: bool,
    /// log2 of the guest's page (of which this 4 KiB is a part), 12 or more.
    pub page_bits: u8,
    /// Reads are permitted.
    pub read: bool,
    /// Writes are permitted (and the page's dirty state needs no update).
    pub write: bool,
    /// Instruction fetches are permitted.
    pub execute: bool,
    /// Attributes in the instruction set's own encoding.
    pub attributes: u32,
    /// The memory at `phys`, as [`crate::PhysBus::ram`] gives it; `None` makes all accesses slow (MMIO).
    pub ram: Option<RamSlice>,
}

/// A vCPU's cache of translations.
pub struct SoftTlb {
    sets: Box<[Set]>,
    /// The part of each entry the fast path does not need.
    pages: Box<[[TlbPage; WAYS]]>,
    /// Keeps alive whatever entries point into.
    blocks: Vec<Arc<RamBlock>>,
    /// The guest pages above 4 KiB with entries: (log2 size, first address).
    large: BTreeSet<(u8, u64)>,
    /// Their sizes, and MMU indices that have had entries: a bit each.
    large_sizes: u64,
    used_indices: u16,
    map_version: u64,
    fronts: [Front; FRONTS],
    /// For which space tag each front is, and if anything is in it.
    front_tags: [Option<u32>; FRONTS],
    front_used: [bool; FRONTS],
    /// The front of the current space tag.
    selected: usize,
    oldest: usize,
    windows: Option<Box<Windows>>,
    flushed: Flushed,
}

/// What a TLB was made to forget, for who keeps something that is found by virtual address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flushed {
    /// Nothing.
    #[default]
    Nothing,
    /// The 4 KiB pages of these addresses, so many of them.
    Pages([u64; 4], usize),
    /// What is not global of the space tags that have these bits (the second) under a mask (the first).
    Tags(u32, u32),
    /// Anything.
    All,
}

// SAFETY: the pointers in entries and in the front lead into blocks kept alive by `blocks`, which are Send and Sync themselves.
unsafe impl Send for SoftTlb {}

macro_rules! fast_paths {
    ($($read:ident $write:ident $ty:ty, $load:ident $store:ident;)*) => {$(
        #[doc = concat!("Reads a little-endian `", stringify!($ty), "`, any alignment inside a page; `None`: take the slow path.")]
        #[inline(always)]
        pub fn $read(&self, va: u64, mmu_index: u8, tag: u32) -> Option<$ty> {
            let entry = self.hit(va, mmu_index, tag, NO_READ)?;
            let offset = va & (PAGE_SIZE - 1);
            if offset > PAGE_SIZE - size_of::<$ty>() as u64 {
                return None;
            }
            // SAFETY: a hit's host page is mapped as long as `blocks` holds it, and the bytes lie inside the page.
            Some(unsafe { $load(entry.host.add(offset as usize)) })
        }

        #[doc = concat!("Writes a little-endian `", stringify!($ty), "`, any alignment inside a page; false: nothing was written, take the slow path.")]
        #[inline(always)]
        pub fn $write(&self, va: u64, value: $ty, mmu_index: u8, tag: u32) -> bool {
            let Some(entry) = self.hit(va, mmu_index, tag, NO_WRITE) else { return false };
            let offset = va & (PAGE_SIZE - 1);
            if offset > PAGE_SIZE - size_of::<$ty>() as u64 || writes_code(entry, offset, size_of::<$ty>() as u64) {
                return false;
            }
            // SAFETY: as for reads.
            unsafe { $store(entry.host.add(offset as usize), value) };
            true
        }
    )*};
}

#[inline(always)]
fn writes_code(entry: &Entry, offset: u64, size: u64) -> bool {
    // SAFETY: a hit's code word lives as long as its block, which `blocks` holds.
    let lines = unsafe { &*entry.code }.load(Relaxed);
    lines != 0 && lines & (1 << (offset / 64) | 1 << ((offset + size - 1) / 64)) != 0
}

#[inline(always)]
fn key(va: u64, mmu_index: u8) -> u64 {
    va & !(PAGE_SIZE - 1) | u64::from(mmu_index % MMU_INDICES) << MMU_SHIFT
}

// A multiplicative hash: streams a power of two apart land in different sets.
#[inline(always)]
fn set_of(key: u64) -> usize {
    ((key >> MMU_SHIFT).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SET_BITS)) as usize
}

impl Default for SoftTlb {
    fn default() -> Self {
        Self::new()
    }
}

impl SoftTlb {
    /// An empty TLB of 2048 entries.
    pub fn new() -> SoftTlb {
        let none = TlbPage {
            phys: GuestPhys(0),
            read: false,
            write: false,
            execute: false,
            attributes: 0,
            page_bits: 12,
            global: false,
            ram: None,
        };
        SoftTlb {
            sets: vec![Set([EMPTY; WAYS]); SETS].into(),
            pages: vec![[none; WAYS]; SETS].into(),
            blocks: Vec::new(),
            large: BTreeSet::new(),
            large_sizes: 0,
            used_indices: 0,
            map_version: 0,
            fronts: [EMPTY_FRONT; FRONTS],
            front_tags: [None; FRONTS],
            front_used: [false; FRONTS],
            selected: 0,
            oldest: 0,
            windows: None,
            flushed: Flushed::Nothing,
        }
    }

    /// What was flushed since the last call.
    pub fn take_flushed(&mut self) -> Flushed {
        std::mem::take(&mut self.flushed)
    }

    /// The front of the space tag that was selected last. It stays where it is.
    pub fn front(&self) -> *const Front {
        &self.fronts[self.selected]
    }

    /// From now on the front is that of a space tag. A few tags keep theirs: spaces that take turns do not empty it.
    pub fn select(&mut self, tag: u32) {
        let front = self.front_tags.iter().position(|t| *t == Some(tag)).unwrap_or_else(|| {
            let front = self.oldest;
            self.oldest = (front + 1) % FRONTS;
            self.front_tags[front] = Some(tag);
            self.empty(front);
            front
        });
        self.selected = front;
    }

    fn empty(&mut self, front: usize) {
        if let Some(windows) = &mut self.windows {
            windows.empty(front);
        }
        if self.front_used[front] {
            (self.fronts[front].read, self.fronts[front].write) = (EMPTY_FRONT.read, EMPTY_FRONT.write);
            self.front_used[front] = false;
        }
    }

    /// Puts the page of `va` into the front, if it is there for this index and tag.
    pub fn raise(&mut self, va: u64, mmu_index: u8, tag: u32) {
        let page = va & !(PAGE_SIZE - 1);
        let Some(entry) = self.hit(va, mmu_index, tag, 0).filter(|e| !e.host.is_null()).copied() else { return };
        let wanted = |denied: u64| if entry.key & denied == 0 { page | Front::index_bits(mmu_index) } else { u64::MAX };
        // SAFETY: a hit's code word lives as long as its block, which `blocks` holds.
        let code = unsafe { &*entry.code }.load(Relaxed) != 0;
        let write = if code { u64::MAX } else { wanted(NO_WRITE) };
        let addend = (entry.host as u64).wrapping_sub(page);
        let Some(front) = self.front_tags.iter().position(|t| *t == Some(tag)) else { return };
        let line = Front::line(va);
        (self.fronts[front].read[line], self.fronts[front].write[line], self.fronts[front].addend[line]) = (wanted(NO_READ), write, addend);
        self.front_used[front] = true;
        if self.windows.as_ref().is_some_and(|windows| windows.wanted == Some((front, mmu_index, page))) {
            self.show(front, page, mmu_index);
        }
    }

    /// From now on it has windows; false if the host has no room for them.
    pub fn open_windows(&mut self) -> bool {
        self.windows = self.windows.take().or_else(|| Windows::new(FRONTS));
        self.windows.is_some()
    }

    /// The host address of virtual address 0 in the window of the current space tag and MMU index 0 ([`crate::window_offset`]); 0 if there are no windows.
    pub fn window(&self) -> usize {
        self.windows.as_ref().map_or(0, |windows| windows.base(self.selected))
    }

    /// The host refused an access at an address in a window: its page is mapped there now or, if it is not known yet, when it is raised. Whether a page
    /// there was in a window before; `None`: the address is in no window.
    pub fn refused(&mut self, address: usize) -> Option<bool> {
        let windows = self.windows.as_mut()?;
        let (front, mmu_index, va) = windows.place(address)?;
        let (page, again) = (va & !(PAGE_SIZE - 1), windows.was_seen(va));
        windows.wanted = Some((front, mmu_index, page));
        self.show(front, page, mmu_index);
        Some(again)
    }

    /// Maps a page that is wanted in the window of a front, if it is there and may be read.
    fn show(&mut self, front: usize, page: u64, mmu_index: u8) {
        let Some(tag) = self.front_tags[front] else { return };
        let Some(entry) = self.hit(page, mmu_index, tag, NO_READ).copied() else { return };
        let Some((block, offset)) = self.lookup(page, mmu_index, tag).and_then(|page| page.ram) else { return };
        let (Some(windows), Some(block)) = (&mut self.windows, self.blocks.get(block as usize)) else { return };
        let (write, global) = (entry.key & NO_WRITE == 0, entry.tag_mask == 0);
        windows.wanted = None;
        windows.map(front, mmu_index, page, &Found { host: entry.host, code: entry.code, write, global, block, offset });
    }

    /// True if generated code would find the access in the front now: `last` is the address whose page counts, see [`Front::tag`].
    pub fn in_front(&self, va: u64, last: u64, align: u8, mmu_index: u8, (read, write): (bool, bool)) -> bool {
        let (front, line) = (&self.fronts[self.selected], Front::line(va));
        let tag = last & Front::mask(align) | Front::index_bits(mmu_index);
        (!read || front.read[line] == tag) && (!write || front.write[line] == tag)
    }

    fn clear_front(&mut self) {
        (0..FRONTS).for_each(|front| self.empty(front));
    }

    /// A page got its first code: no front or window lets it be written.
    pub fn protect_code(&mut self) {
        for front in (0..FRONTS).filter(|front| self.front_used[*front]) {
            self.fronts[front].write = EMPTY_FRONT.write;
        }
        if let Some(windows) = &mut self.windows {
            windows.protect_code();
        }
    }

    /// Fronts and windows forget the page of an address.
    fn forget(&mut self, va: u64) {
        self.fronts.iter_mut().for_each(|front| front.forget(va));
        if let Some(windows) = &mut self.windows {
            windows.forget(va);
        }
    }

    #[inline(always)]
    fn hit(&self, va: u64, mmu_index: u8, tag: u32, denied: u64) -> Option<&Entry> {
        let key = key(va, mmu_index);
        let [first, second] = &self.sets[set_of(key) & (SETS - 1)].0;
        let mask = !(PAGE_SIZE - 1) | u64::from(MMU_INDICES - 1) << MMU_SHIFT | INVALID | denied;
        let miss = |entry: &Entry| (entry.key ^ key) & mask | u64::from((entry.tag ^ tag) & entry.tag_mask);
        if miss(first) == 0 {
            Some(first)
        } else if miss(second) == 0 {
            Some(second)
        } else {
            None
        }
    }

    fast_paths! {
        read_u8 write_u8 u8, load_u8 store_u8;
        read_u16 write_u16 u16, load_u16 store_u16;
        read_u32 write_u32 u32, load_u32 store_u32;
        read_u64 write_u64 u64, load_u64 store_u64;
    }

    /// Atomically replaces `old` by `new`, `size` (1, 2, 4 or 8) bytes at an aligned address: `Ok(old)`, or `Err` of what was there.
    /// `None`: take the slow path (which has the RAM from [`SoftTlb::lookup`], if it is RAM).
    pub fn compare_exchange(&self, va: u64, size: u8, old: u64, new: u64, mmu_index: u8, tag: u32) -> Option<Result<u64, u64>> {
        let entry = self.hit(va, mmu_index, tag, NO_READ | NO_WRITE)?;
        let offset = va & (PAGE_SIZE - 1);
        if !matches!(size, 1 | 2 | 4 | 8) || !va.is_multiple_of(u64::from(size)) || writes_code(entry, offset, u64::from(size)) {
            return None;
        }
        // SAFETY: as for writes; aligned, so inside the page.
        Some(unsafe { exchange(entry.host.add(offset as usize), size, old, new) })
    }

    /// True if `size` bytes at `va` are known to be RAM of one page that may be read, or written.
    #[inline(always)]
    pub fn permits(&self, va: u64, size: u8, write: bool, mmu_index: u8, tag: u32) -> bool {
        let denied = if write { NO_WRITE } else { NO_READ };
        va & (PAGE_SIZE - 1) <= PAGE_SIZE - u64::from(size) && self.hit(va, mmu_index, tag, denied).is_some()
    }

    /// What is known of the page of `va`, RAM or not.
    pub fn lookup(&self, va: u64, mmu_index: u8, tag: u32) -> Option<&TlbPage> {
        let key = key(va, mmu_index);
        let set = set_of(key);
        let way = self.sets[set].0.iter().position(|entry| (entry.key ^ key) & MATCH == 0 && (entry.tag ^ tag) & entry.tag_mask == 0)?;
        Some(&self.pages[set][way])
    }

    /// Block number `index` of [`TlbPage::ram`].
    pub fn block(&self, index: u32) -> Option<&Arc<RamBlock>> {
        self.blocks.get(index as usize)
    }

    /// Remembers a translation, in place of an older one of the same page, else of the older of its set.
    pub fn insert(&mut self, fill: &TlbFill) {
        let key = key(fill.va, fill.mmu_index);
        let (set, tag_mask) = (set_of(key), if fill.global { 0 } else { u32::MAX });
        let mut entry = Entry { key: key | NO_READ | NO_WRITE | NO_EXECUTE, tag: fill.tag, tag_mask, ..EMPTY };
        let mut page = TlbPage {
            phys: GuestPhys(fill.phys.0 & !(PAGE_SIZE - 1)),
            read: fill.read,
            write: fill.write,
            execute: fill.execute,
            attributes: fill.attributes,
            page_bits: fill.page_bits,
            global: fill.global,
            ram: None,
        };
        if let Some(slice) = &fill.ram {
            // The slice starts anywhere in the page; it must hold all of it, at a page boundary of the block, to be fast.
            let skip = fill.phys.0 & (PAGE_SIZE - 1);
            let whole = slice.offset >= skip && (slice.offset - skip).is_multiple_of(PAGE_SIZE) && slice.len >= PAGE_SIZE - skip;
            if let Some((host, code)) = slice.block.page_pointers(slice.offset).filter(|_| whole) {
                let allow = |yes: bool, bit: u64| if yes { bit } else { 0 };
                (entry.host, entry.code) = (host, code);
                entry.key &= !(allow(fill.read, NO_READ) | allow(fill.write && slice.writable, NO_WRITE) | allow(fill.execute, NO_EXECUTE));
                page.ram = Some((self.hold(&slice.block), slice.offset - skip));
            }
        }
        if fill.page_bits > PAGE_BITS as u8 {
            self.large.insert((fill.page_bits, fill.va & page_mask(fill.page_bits)));
            self.large_sizes |= 1 << (fill.page_bits & 63);
        }
        self.used_indices |= 1 << (fill.mmu_index % MMU_INDICES);
        // An entry that any access could match besides this one goes first, lest two answers stand side by side.
        let same = |old: &Entry| (old.key ^ key) & MATCH == 0 && (old.tag ^ fill.tag) & old.tag_mask & tag_mask == 0;
        let ways = &mut self.sets[set].0;
        for old in ways.iter_mut().filter(|old| same(old)) {
            *old = EMPTY;
        }
        self.fronts.iter_mut().for_each(|front| front.forget(fill.va));
        if let Some(windows) = &mut self.windows {
            let host = (entry.key & NO_READ == 0).then_some((entry.host, entry.key & NO_WRITE == 0));
            windows.renew(fill.va, fill.mmu_index, host, |front| fill.global || self.front_tags[front] == Some(fill.tag));
        }
        if ways[0].key & INVALID == 0 {
            ways[1] = ways[0];
            self.pages[set][1] = self.pages[set][0];
        }
        ways[0] = entry;
        self.pages[set][0] = page;
    }

    fn hold(&mut self, block: &Arc<RamBlock>) -> u32 {
        let index = self.blocks.iter().position(|held| Arc::ptr_eq(held, block)).unwrap_or_else(|| {
            self.blocks.push(block.clone());
            self.blocks.len() - 1
        });
        index as u32
    }

    /// Forgets everything if the address map changed since the last call (see [`crate::PhysBus::map_version`]); true if it did.
    pub fn sync_map(&mut self, version: u64) -> bool {
        let changed = self.map_version != version;
        if changed {
            self.flush_all();
            self.blocks.clear();
            self.map_version = version;
        }
        changed
    }

    fn flush_where(&mut self, gone: impl Fn(&Entry) -> bool) {
        self.flushed = Flushed::All;
        self.clear_front();
        self.drop_where(gone);
    }

    fn drop_where(&mut self, gone: impl Fn(&Entry) -> bool) {
        for entry in self.sets.iter_mut().flat_map(|set| &mut set.0) {
            if gone(entry) {
                *entry = EMPTY;
            }
        }
    }

    /// Forgets all entries.
    pub fn flush_all(&mut self) {
        self.flushed = Flushed::All;
        self.clear_front();
        self.sets.fill(Set([EMPTY; WAYS]));
        self.large.clear();
        (self.large_sizes, self.used_indices) = (0, 0);
    }

    /// Forgets all entries of one MMU index.
    pub fn flush_mmu_index(&mut self, mmu_index: u8) {
        let bits = u64::from(mmu_index % MMU_INDICES) << MMU_SHIFT;
        self.flush_where(|entry| entry.key & u64::from(MMU_INDICES - 1) << MMU_SHIFT == bits);
    }

    /// Forgets the entries of the space tags that are `tag` under a mask; global ones stay.
    pub fn flush_tags(&mut self, mask: u32, tag: u32) {
        for front in 0..FRONTS {
            if self.front_tags[front].is_some_and(|t| t & mask == tag) {
                self.empty(front);
            }
        }
        let flushed = if self.flushed == Flushed::Nothing { Flushed::Tags(mask, tag) } else { Flushed::All };
        self.drop_where(|entry| entry.tag_mask != 0 && entry.tag & mask == tag);
        self.flushed = flushed;
    }

    /// Forgets all but global entries.
    pub fn flush_non_global(&mut self) {
        self.flush_where(|entry| entry.tag_mask != 0);
    }

    /// Forgets the guest page (of whatever size) that `va` lies in, at all MMU indices: entries with this tag and global ones; with
    /// `None`, those of all tags.
    pub fn flush_page(&mut self, va: u64, tag: Option<u32>) {
        self.flushed = match self.flushed {
            Flushed::Nothing => Flushed::Pages([va; 4], 1),
            Flushed::Pages(mut pages, count) if count < pages.len() => {
                pages[count] = va;
                Flushed::Pages(pages, count + 1)
            }
            _ => Flushed::All,
        };
        self.forget(va);
        let concerns = |entry: &Entry| tag.is_none_or(|tag| (entry.tag ^ tag) & entry.tag_mask == 0);
        let mut sizes = self.large_sizes;
        while sizes != 0 {
            let bits = sizes.trailing_zeros() as u8;
            sizes &= sizes - 1;
            let mask = page_mask(bits);
            if self.large.contains(&(bits, va & mask)) {
                self.flush_where(|entry| (entry.key ^ va) & mask == 0 && concerns(entry));
                if tag.is_none() {
                    self.large.remove(&(bits, va & mask));
                }
            }
        }
        let used = self.used_indices;
        for mmu_index in (0..MMU_INDICES).filter(|index| used >> index & 1 != 0) {
            let key = key(va, mmu_index);
            for entry in &mut self.sets[set_of(key)].0 {
                if (entry.key ^ key) & MATCH == 0 && concerns(entry) {
                    *entry = EMPTY;
                }
            }
        }
    }
}

fn page_mask(bits: u8) -> u64 {
    u64::MAX.checked_shl(u32::from(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(ram: &Arc<RamBlock>, va: u64, offset: u64) -> TlbFill {
        TlbFill {
            va,
            phys: GuestPhys(0x8000_0000 + offset),
            mmu_index: 1,
            tag: 5,
            global: false,
            page_bits: 12,
            read: true,
            write: true,
            execute: false,
            attributes: 0,
            ram: Some(RamSlice { block: ram.clone(), offset, len: ram.size() - offset, writable: true }),
        }
    }

    #[test]
    fn hits_need_page_index_and_tag() {
        let ram = RamBlock::new("ram", 1 << 20).unwrap();
        let mut tlb = SoftTlb::new();
        assert_eq!(tlb.read_u32(0x1000, 1, 5), None);
        tlb.insert(&fill(&ram, 0x1234, 0x3000));
        assert!(tlb.write_u32(0x1ffd - 1, 0x1122_3344, 1, 5));
        assert_eq!(ram.read_u32(0x3ffc), Some(0x1122_3344));
        assert_eq!(tlb.read_u16(0x1ffd, 1, 5), Some(0x2233));
        assert_eq!(tlb.read_u32(0x1ffd, 1, 5), None, "crosses the page");
        for (va, index, tag) in [(0x2000, 1, 5), (0x1000, 2, 5), (0x1000, 1, 6), (0x1_0000_1000, 1, 5)] {
            assert_eq!(tlb.read_u8(va, index, tag), None);
            assert!(!tlb.write_u8(va, 0, index, tag));
        }
        assert_eq!(tlb.lookup(0x1fff, 1, 5).map(|page| page.phys), Some(GuestPhys(0x8000_3000)));
        assert_eq!(tlb.compare_exchange(0x1ffc, 4, 0x1122_3344, 1, 1, 5), Some(Ok(0x1122_3344)));
    }

    #[test]
    fn stores_to_code_lines_and_rom_are_slow() {
        let ram = RamBlock::new("ram", 0x2000).unwrap();
        let mut tlb = SoftTlb::new();
        tlb.insert(&fill(&ram, 0x1000, 0));
        ram.mark_code(0x100, 4);
        assert!(!tlb.write_u32(0x10fe, 1, 1, 5));
        assert!(!tlb.write_u8(0x113f, 1, 1, 5));
        assert!(tlb.write_u8(0x1140, 1, 1, 5), "data beside code stays fast");
        assert_eq!(tlb.compare_exchange(0x1100, 4, 0, 1, 1, 5), None);
        let mut rom = fill(&ram, 0x2000, 0x1000);
        rom.ram.as_mut().unwrap().writable = false;
        tlb.insert(&rom);
        assert_eq!(tlb.read_u8(0x2000, 1, 5), Some(0));
        assert!(!tlb.write_u8(0x2000, 1, 1, 5));
        assert!(tlb.lookup(0x2000, 1, 5).unwrap().write);
    }

    #[test]
    fn a_partly_mapped_page_is_slow() {
        let ram = RamBlock::new("ram", 0x800).unwrap();
        let mut tlb = SoftTlb::new();
        tlb.insert(&fill(&ram, 0x1000, 0));
        assert_eq!(tlb.read_u8(0x1000, 1, 5), None);
        assert_eq!(tlb.lookup(0x1000, 1, 5).unwrap().ram, None);
    }

    #[test]
    fn streams_a_power_of_two_apart_do_not_evict_each_other() {
        let ram = RamBlock::new("ram", 0x10000).unwrap();
        for shift in 12..40 {
            let mut tlb = SoftTlb::new();
            for stream in 0..4 {
                tlb.insert(&fill(&ram, stream << shift, stream << 12));
            }
            assert!((0..4).all(|stream| tlb.read_u8(stream << shift, 1, 5).is_some()), "streams 2^{shift} apart");
        }
    }

    #[test]
    fn flushes_take_what_they_name() {
        let ram = RamBlock::new("ram", 1 << 21).unwrap();
        let fresh = || {
            let mut tlb = SoftTlb::new();
            tlb.insert(&fill(&ram, 0x1000, 0));
            tlb.insert(&TlbFill { tag: 6, ..fill(&ram, 0x2000, 0) });
            tlb.insert(&TlbFill { global: true, ..fill(&ram, 0x3000, 0) });
            tlb.insert(&TlbFill { mmu_index: 0, ..fill(&ram, 0x4000, 0) });
            tlb.insert(&TlbFill { page_bits: 20, ..fill(&ram, 0x10_1000, 0x1000) });
            tlb.insert(&TlbFill { page_bits: 20, ..fill(&ram, 0x1f_f000, 0x2000) });
            tlb
        };
        let state = |tlb: &SoftTlb| {
            [(0x1000, 1, 5), (0x2000, 1, 6), (0x3000, 1, 9), (0x4000, 0, 5), (0x10_1000, 1, 5), (0x1f_f000, 1, 5)]
                .map(|(va, index, tag)| u8::from(tlb.read_u8(va, index, tag).is_some()))
        };
        let after = |flush: fn(&mut SoftTlb)| {
            let mut tlb = fresh();
            flush(&mut tlb);
            state(&tlb)
        };
        assert_eq!(after(|_| ()), [1, 1, 1, 1, 1, 1]);
        assert_eq!(after(|tlb| tlb.flush_all()), [0; 6]);
        assert_eq!(after(|tlb| tlb.flush_tags(u32::MAX, 5)), [0, 1, 1, 0, 0, 0]);
        assert_eq!(after(|tlb| tlb.flush_non_global()), [0, 0, 1, 0, 0, 0]);
        assert_eq!(after(|tlb| tlb.flush_mmu_index(1)), [0, 0, 0, 1, 0, 0]);
        assert_eq!(after(|tlb| tlb.flush_page(0x1abc, Some(5))), [0, 1, 1, 1, 1, 1]);
        assert_eq!(after(|tlb| tlb.flush_page(0x2abc, Some(5))), [1, 1, 1, 1, 1, 1]);
        assert_eq!(after(|tlb| tlb.flush_page(0x2abc, None)), [1, 0, 1, 1, 1, 1]);
        assert_eq!(after(|tlb| tlb.flush_page(0x3abc, Some(7))), [1, 1, 0, 1, 1, 1]);
        assert_eq!(after(|tlb| tlb.flush_page(0x18_0000, Some(5))), [1, 1, 1, 1, 0, 0]);
        assert_eq!(after(|tlb| assert!(tlb.sync_map(3) && !tlb.sync_map(3))), [0; 6]);
    }

    #[test]
    fn the_front_matches_what_the_tlb_permits() {
        let ram = RamBlock::new("ram", 1 << 21).unwrap();
        let mut tlb = SoftTlb::new();
        tlb.insert(&TlbFill { write: false, ..fill(&ram, 0x5000, 0x3000) });
        struct Line {
            read: u64,
            write: u64,
            addend: u64,
        }
        let line = |tlb: &SoftTlb, va| {
            let (front, line) = (&tlb.fronts[0], Front::line(va));
            Line { read: front.read[line], write: front.write[line], addend: front.addend[line] }
        };
        tlb.select(5);
        tlb.raise(0x5004, 2, 5);
        assert_eq!(line(&tlb, 0x5004).read, u64::MAX, "another index");
        tlb.raise(0x5004, 1, 5);
        let front = line(&tlb, 0x5004);
        assert_eq!((front.read, front.write), (Front::tag(0x5ffc, 4, 0, 1), u64::MAX));
        assert_ne!(front.read, Front::tag(0x5ffd, 4, 0, 1), "crosses the page");
        assert_ne!(front.read, Front::tag(0x5001, 2, 1, 1), "misaligned");
        ram.write_u32(0x3ffc, 0x1122_3344);
        // SAFETY: the addend leads to the page of `ram`, which lives.
        assert_eq!(unsafe { *(front.addend.wrapping_add(0x5ffc) as *const u32) }, 0x1122_3344);
        tlb.flush_tags(u32::MAX, 5);
        assert_eq!(line(&tlb, 0x5004).read, u64::MAX);
        tlb.raise(0x5004, 1, 5);
        tlb.insert(&fill(&ram, 0x5000, 0x4000));
        assert_eq!(line(&tlb, 0x5004).read, u64::MAX, "mapped anew");
        tlb.raise(0x5004, 1, 5);
        assert_eq!(line(&tlb, 0x5004).write, Front::tag(0x5ffc, 4, 0, 1));
        ram.mark_code(0x4010, 4);
        tlb.raise(0x5004, 1, 5);
        assert_eq!(line(&tlb, 0x5004).write, u64::MAX, "code is there");
    }

    #[test]
    fn spaces_keep_their_fronts() {
        let ram = RamBlock::new("ram", 1 << 21).unwrap();
        let mut tlb = SoftTlb::new();
        tlb.insert(&TlbFill { global: true, ..fill(&ram, 0x5000, 0x3000) });
        let read = |tlb: &SoftTlb| tlb.fronts[tlb.selected].read[Front::line(0x5000)] != u64::MAX;
        for tag in 1..=FRONTS as u32 {
            tlb.select(tag);
            assert!(!read(&tlb));
            tlb.raise(0x5000, 1, tag);
            assert!(read(&tlb));
        }
        tlb.select(2);
        assert!(read(&tlb));
        tlb.select(9);
        assert!(!read(&tlb), "another space");
        tlb.select(2);
        tlb.flush_page(0x5fff, None);
        assert!(!read(&tlb));
        tlb.select(3);
        assert!(!read(&tlb));
    }

    #[test]
    fn neighbouring_pages_have_lines_of_their_own() {
        for page in 0..1u64 << 21 {
            assert_ne!(Front::line(page << PAGE_BITS), Front::line((page + 1) << PAGE_BITS), "{page:#x}");
        }
    }

    #[test]
    fn a_new_fill_replaces_what_it_overlaps() {
        let ram = RamBlock::new("ram", 0x4000).unwrap();
        let mut tlb = SoftTlb::new();
        tlb.insert(&TlbFill { global: true, ..fill(&ram, 0x1000, 0) });
        tlb.insert(&fill(&ram, 0x1000, 0x1000));
        assert_eq!(tlb.lookup(0x1000, 1, 6), None);
        assert_eq!(tlb.lookup(0x1000, 1, 5).unwrap().ram, Some((0, 0x1000)));
    }
}

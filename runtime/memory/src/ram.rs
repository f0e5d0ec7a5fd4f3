//! Guest RAM: zeroed host memory, shared by vCPUs and devices, with a record of which lines hold translated code.
//!
//! Data path: every write, whoever makes it, stores its bytes and then asks [`RamBlock::store_hits_code`]; a written line that
//! holds code bumps the page's generation, which voids the page's translations, and who keeps some is told ([`CodeKeeper`]).
//!
//! Bytes are only ever touched by atomic operations, so racing guests race as they would on hardware and never cause host undefined behaviour.

use crate::keeper::{CodeKeeper, HeldKeepers, Keepers};
use crate::mapping::{Mapping, touched};
use rustix::io::Errno;
use rustix::mm::{Advice, ProtFlags, madvise};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::*, fence};

/// log2 of [`PAGE_SIZE`].
pub const PAGE_BITS: u32 = 12;
/// The granule of code tracking and of the soft TLB, bytes.
pub const PAGE_SIZE: u64 = 1 << PAGE_BITS;
/// The granule of code tracking inside a page, bytes; 64 lines make a page.
pub const LINE_SIZE: u64 = 64;

/// Why guest memory could not be made or reached.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host has no room for a block of this size.
    #[error("cannot map {size} bytes of host memory for `{name}`: {source}")]
    Map {
        /// The block's name.
        name: String,
        /// Its size, bytes.
        size: u64,
        /// What the host said.
        source: Errno,
    },
    /// A block of no bytes.
    #[error("the memory `{0}` has size 0: give it a size")]
    Empty(String),
}

/// What is known of one page: which 64-byte lines hold translated code, and how often code in it was overwritten.
#[repr(C)]
struct PageState {
    code_lines: AtomicU64,
    generation: AtomicU32,
    _pad: u32,
}

/// A block of guest RAM or ROM. Offsets are bytes from its start; multi-byte values are little-endian, at any alignment.
#[derive(Debug)]
pub struct RamBlock {
    name: String,
    size: u64,
    bytes: Mapping,
    /// Where the bytes are, if they can be mapped a second time.
    file: Option<OwnedFd>,
    pages: Mapping,
    keepers: Keepers,
}

macro_rules! accessors {
    ($($read:ident $write:ident $ty:ty, $load:ident $store:ident;)*) => {$(
        #[doc = concat!("Reads a `", stringify!($ty), "`; `None` if it does not lie inside the block.")]
        #[inline]
        pub fn $read(&self, offset: u64) -> Option<$ty> {
            let pointer = self.pointer(offset, size_of::<$ty>() as u64)?;
            // SAFETY: `pointer` checked that the bytes lie inside the mapping.
            Some(unsafe { $load(pointer) })
        }
        #[doc = concat!("Writes a `", stringify!($ty), "`, invalidating code there; false if it does not lie inside the block.")]
        #[inline]
        pub fn $write(&self, offset: u64, value: $ty) -> bool {
            let Some(pointer) = self.pointer(offset, size_of::<$ty>() as u64) else { return false };
            // SAFETY: `pointer` checked that the bytes lie inside the mapping.
            unsafe { $store(pointer, value) };
            self.store_hits_code(offset, size_of::<$ty>() as u64);
            true
        }
    )*};
}

impl RamBlock {
    /// Maps a zeroed block of `size` bytes called `name`.
    pub fn new(name: &str, size: u64) -> Result<Arc<RamBlock>, MemoryError> {
        let shared = |len| Mapping::file(name, len).map(|(bytes, file)| (bytes, Some(file)));
        RamBlock::mapped(name, size, |len| shared(len).or_else(|_| Mapping::new(len).map(|bytes| (bytes, None))))
    }

    /// Takes `size` bytes of the host's addresses, with nothing there, between two guards of `guard` bytes where nothing will ever be: whoever asked maps
    /// parts of it ([`RamBlock::host`]), and keeps this type's methods that touch bytes from those that are not mapped. What is known of code in its pages
    /// is kept as for any block.
    pub fn reserve(name: &str, size: u64, guard: usize) -> Result<Arc<RamBlock>, MemoryError> {
        RamBlock::mapped(name, size, |len| Mapping::map(len, guard, ProtFlags::empty()).map(|bytes| (bytes, None)))
    }

    fn mapped(
        name: &str,
        size: u64,
        map: impl FnOnce(usize) -> Result<(Mapping, Option<OwnedFd>), Errno>,
    ) -> Result<Arc<RamBlock>, MemoryError> {
        if size == 0 {
            return Err(MemoryError::Empty(name.into()));
        }
        let fail = |source| MemoryError::Map { name: name.into(), size, source };
        let pages = size.div_ceil(PAGE_SIZE);
        let length = pages.checked_mul(PAGE_SIZE).and_then(|v| isize::try_from(v).ok()).ok_or_else(|| fail(Errno::NOMEM))?;
        let (bytes, file) = map(length as usize).map_err(fail)?;
        Ok(Arc::new(RamBlock {
            name: name.into(),
            size,
            bytes,
            file,
            pages: Mapping::new(pages as usize * size_of::<PageState>()).map_err(fail)?,
            keepers: Keepers::default(),
        }))
    }

    /// Its name on the board.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size, bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The host address of its first byte.
    pub fn host(&self) -> *mut u8 {
        self.bytes.base()
    }

    /// The file that its bytes are in, from the file's first on.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_fd())
    }

    #[inline]
    fn pointer(&self, offset: u64, len: u64) -> Option<*mut u8> {
        if offset <= self.size && len <= self.size - offset { Some(self.bytes.base().wrapping_add(offset as usize)) } else { None }
    }

    /// The host address of a page's bytes and of its code-line word, for the soft TLB; `None` past the end.
    pub(crate) fn page_pointers(&self, offset: u64) -> Option<(*mut u8, *const AtomicU64)> {
        let offset = offset & !(PAGE_SIZE - 1);
        let bytes = self.pointer(offset, 1)?;
        Some((bytes, &self.page(offset / PAGE_SIZE)?.code_lines))
    }

    #[inline]
    fn page(&self, page: u64) -> Option<&PageState> {
        let pages = self.pages.base().cast::<PageState>();
        // SAFETY: `pages` holds one zero-initialised PageState (all zeroes is valid) for each page up to `size`, page-aligned.
        (page < self.size.div_ceil(PAGE_SIZE)).then(|| unsafe { &*pages.add(page as usize) })
    }

    accessors! {
        read_u8 write_u8 u8, load_u8 store_u8;
        read_u16 write_u16 u16, load_u16 store_u16;
        read_u32 write_u32 u32, load_u32 store_u32;
        read_u64 write_u64 u64, load_u64 store_u64;
    }

    /// Reads `size` (1, 2, 4 or 8) bytes, zero-extended; `None` outside the block or for another size.
    pub fn read(&self, offset: u64, size: u8) -> Option<u64> {
        match size {
            1 => self.read_u8(offset).map(u64::from),
            2 => self.read_u16(offset).map(u64::from),
            4 => self.read_u32(offset).map(u64::from),
            8 => self.read_u64(offset),
            _ => None,
        }
    }

    /// Writes the low `size` (1, 2, 4 or 8) bytes of `value`; false outside the block or for another size.
    pub fn write(&self, offset: u64, size: u8, value: u64) -> bool {
        match size {
            1 => self.write_u8(offset, value as u8),
            2 => self.write_u16(offset, value as u16),
            4 => self.write_u32(offset, value as u32),
            8 => self.write_u64(offset, value),
            _ => false,
        }
    }

    /// Atomically replaces `old` by `new`, both `size` (1, 2, 4 or 8) bytes at a multiple of `size`: `Ok(old)`, or `Err` of what was
    /// there. `None` outside the block or if unaligned. Sequentially consistent.
    pub fn compare_exchange(&self, offset: u64, size: u8, old: u64, new: u64) -> Option<Result<u64, u64>> {
        if !matches!(size, 1 | 2 | 4 | 8) || !offset.is_multiple_of(u64::from(size)) {
            return None;
        }
        let pointer = self.pointer(offset, u64::from(size))?;
        // SAFETY: inside the mapping by `pointer`; aligned, as the mapping is page-aligned and `offset` a multiple of `size`.
        let result = unsafe { exchange(pointer, size, old, new) };
        if result.is_ok() {
            self.store_hits_code(offset, u64::from(size));
        }
        Some(result)
    }

    /// Copies guest memory to `buffer`; false, copying nothing, if it does not lie inside the block. A page or more of it touches no pages that nobody has
    /// touched before.
    pub fn copy_out(&self, offset: u64, buffer: &mut [u8]) -> bool {
        if self.pointer(offset, buffer.len() as u64).is_none() {
            return false;
        }
        // A few bytes are not worth a call to the host.
        let file = self.file.as_ref().filter(|_| buffer.len() as u64 >= PAGE_SIZE);
        let (mut rest, mut at) = (buffer, offset);
        while !rest.is_empty() {
            let (zeros, bytes) = file.map_or((0, rest.len()), |file| touched(file, at, rest.len()));
            let (untouched, more) = std::mem::take(&mut rest).split_at_mut(zeros);
            let (touched, more) = more.split_at_mut(bytes);
            untouched.fill(0);
            self.copy_touched(at + zeros as u64, touched);
            (rest, at) = (more, at + (zeros + bytes) as u64);
        }
        true
    }

    fn copy_touched(&self, offset: u64, buffer: &mut [u8]) {
        let Some(start) = self.pointer(offset, buffer.len() as u64) else { return };
        let mut at = 0;
        while at < buffer.len() {
            let pointer = start.wrapping_add(at);
            if pointer.addr().is_multiple_of(8) && buffer.len() - at >= 8 {
                // SAFETY: eight bytes from `at` lie inside the checked range.
                buffer[at..at + 8].copy_from_slice(&unsafe { load_u64(pointer) }.to_le_bytes());
                at += 8;
            } else {
                // SAFETY: the byte at `at` lies inside the checked range.
                buffer[at] = unsafe { load_u8(pointer) };
                at += 1;
            }
        }
    }

    /// Copies `bytes` to guest memory, invalidating code there; false, copying nothing, if it does not lie inside the block.
    pub fn copy_in(&self, offset: u64, bytes: &[u8]) -> bool {
        let Some(start) = self.pointer(offset, bytes.len() as u64) else { return false };
        let mut at = 0;
        while at < bytes.len() {
            let pointer = start.wrapping_add(at);
            match bytes[at..].first_chunk::<8>() {
                Some(chunk) if pointer.addr().is_multiple_of(8) => {
                    // SAFETY: eight bytes from `at` lie inside the checked range.
                    unsafe { store_u64(pointer, u64::from_le_bytes(*chunk)) };
                    at += 8;
                }
                _ => {
                    // SAFETY: the byte at `at` lies inside the checked range.
                    unsafe { store_u8(pointer, bytes[at]) };
                    at += 1;
                }
            }
        }
        self.store_hits_code(offset, bytes.len() as u64);
        true
    }

    /// Makes `len` bytes zero, invalidating code there, and gives whole pages of theirs back to the host: those that were never touched cost nothing. False,
    /// changing nothing, if they do not lie inside the block. Not for blocks that were [reserved](RamBlock::reserve).
    pub fn clear(&self, offset: u64, len: u64) -> bool {
        let Some(end) = offset.checked_add(len).filter(|end| *end <= self.size) else { return false };
        // The last page is the block's alone, to its end.
        let last = if end == self.size { end.next_multiple_of(PAGE_SIZE) } else { end - end % PAGE_SIZE };
        let first = offset.next_multiple_of(PAGE_SIZE);
        if first >= last {
            return self.fill(offset, len, 0);
        }
        let start = self.bytes.base().wrapping_add(first as usize).cast();
        let advice = if self.file.is_some() { Advice::LinuxRemove } else { Advice::LinuxDontNeed };
        // SAFETY: whole pages of this block's own mapping; they read as zeroes from now on, as if each byte had been stored.
        let given = unsafe { madvise(start, (last - first) as usize, advice) };
        if given.is_err() {
            return self.fill(offset, len, 0);
        }
        self.fill(offset, first - offset, 0);
        self.fill(last.min(end), end - last.min(end), 0);
        self.store_hits_code(offset, len);
        true
    }

    /// Fills `len` bytes with `value`, invalidating code there; false, filling nothing, if they do not lie inside the block.
    pub fn fill(&self, offset: u64, len: u64, value: u8) -> bool {
        if self.pointer(offset, len).is_none() {
            return false;
        }
        let chunk = [value; 4096];
        let mut done = 0;
        while done < len {
            let part = (len - done).min(chunk.len() as u64);
            self.copy_in(offset + done, &chunk[..part as usize]);
            done += part;
        }
        true
    }

    /// Says that translated code covers these bytes. Call it, and note [`RamBlock::page_generation`], before the bytes are read for
    /// translation, so that no write between is missed. True if a page had no code before: who can write it by a path of their own must have
    /// dropped that path before the bytes are read; keepers are told.
    pub fn mark_code(&self, offset: u64, len: u64) -> bool {
        let mut first = false;
        for (page, mask) in lines_of(offset, len) {
            if let Some(state) = self.page(page) {
                first |= state.code_lines.load(Relaxed) & mask != mask && state.code_lines.fetch_or(mask, SeqCst) == 0;
            }
        }
        if first {
            self.keepers.first_code();
        }
        first
    }

    /// From now on `keeper` is told of code in this block, by the number `number`.
    pub fn add_keeper(&self, keeper: &Arc<CodeKeeper>, number: u16) {
        self.keepers.add(keeper, number);
    }

    /// `keeper` is not told any more.
    pub fn remove_keeper(&self, keeper: &Arc<CodeKeeper>) {
        self.keepers.remove(keeper);
    }

    /// Nobody is told anything as long as the result lives.
    pub fn hold_keepers(&self) -> HeldKeepers<'_> {
        self.keepers.hold()
    }

    /// Which lines of page `page` (number from the block's start) hold translated code: bit n is the n-th 64 bytes.
    pub fn code_lines(&self, page: u64) -> u64 {
        self.page(page).map_or(0, |state| state.code_lines.load(Relaxed))
    }

    /// How often code in page `page` was voided. A translation is valid as long as its pages' generations are those it was made from.
    #[inline]
    pub fn page_generation(&self, page: u64) -> u32 {
        self.page(page).map_or(0, |state| state.generation.load(Acquire))
    }

    /// Where [`RamBlock::page_generation`] is kept, for generated code; it lives as long as the block. `None` beyond the block.
    pub fn page_generation_word(&self, page: u64) -> Option<&AtomicU32> {
        self.page(page).map(|state| &state.generation)
    }

    /// To be called after bytes were stored by other means than this type's methods: if a written line holds code, voids all
    /// translations of its page (new generation, empty code lines) and returns true.
    #[inline]
    pub fn store_hits_code(&self, offset: u64, len: u64) -> bool {
        // The store comes before the look, as the mark of a translator comes before its read: one of the two sees the other.
        fence(SeqCst);
        let mut hit = false;
        for (page, mask) in lines_of(offset, len) {
            let Some(state) = self.page(page) else { break };
            if state.code_lines.load(Relaxed) & mask != 0 {
                state.code_lines.store(0, SeqCst);
                state.generation.fetch_add(1, AcqRel);
                self.keepers.overwritten(page);
                hit = true;
            }
        }
        hit
    }
}

/// The pages a range touches, each with the mask of its touched lines.
#[inline]
fn lines_of(offset: u64, len: u64) -> impl Iterator<Item = (u64, u64)> {
    let last = offset.saturating_add(len.saturating_sub(1));
    let end = if len == 0 { 0 } else { last / PAGE_SIZE + 1 };
    let pages = (offset / PAGE_SIZE).min(end)..end;
    pages.map(move |page| {
        let start = page * PAGE_SIZE;
        let first_line = (offset.max(start) - start) / LINE_SIZE;
        let last_line = (last.min(start + (PAGE_SIZE - 1)) - start) / LINE_SIZE;
        (page, (u64::MAX >> (63 - (last_line - first_line))) << first_line)
    })
}

/// Compare-and-swap of `size` bytes.
///
/// # Safety
/// `pointer` must be valid, aligned to `size`, and only accessed atomically.
pub(crate) unsafe fn exchange(pointer: *mut u8, size: u8, old: u64, new: u64) -> Result<u64, u64> {
    macro_rules! at {
        ($ty:ty, $atomic:ty) => {{
            // SAFETY: the caller's promise.
            let cell = unsafe { <$atomic>::from_ptr(pointer.cast()) };
            let swapped = cell.compare_exchange((old as $ty).to_le(), (new as $ty).to_le(), SeqCst, SeqCst);
            swapped.map(|v| u64::from(<$ty>::from_le(v))).map_err(|v| u64::from(<$ty>::from_le(v)))
        }};
    }
    match size {
        1 => at!(u8, AtomicU8),
        2 => at!(u16, AtomicU16),
        4 => at!(u32, AtomicU32),
        _ => at!(u64, AtomicU64),
    }
}

/// Loads one byte.
///
/// # Safety
/// `pointer` must lie in a [`Mapping`].
#[inline(always)]
pub(crate) unsafe fn load_u8(pointer: *const u8) -> u8 {
    // SAFETY: the caller's promise; bytes are always aligned.
    unsafe { AtomicU8::from_ptr(pointer.cast_mut()) }.load(Relaxed)
}

/// Stores one byte.
///
/// # Safety
/// `pointer` must lie in a [`Mapping`].
#[inline(always)]
pub(crate) unsafe fn store_u8(pointer: *mut u8, value: u8) {
    // SAFETY: the caller's promise; bytes are always aligned.
    unsafe { AtomicU8::from_ptr(pointer) }.store(value, Relaxed);
}

macro_rules! wide {
    ($($load:ident $store:ident $ty:ty, $atomic:ty;)*) => {$(
        /// Loads a little-endian value at any alignment.
        ///
        /// # Safety
        /// The bytes from `pointer` on must lie in a [`Mapping`].
        #[inline(always)]
        pub(crate) unsafe fn $load(pointer: *const u8) -> $ty {
            if pointer.addr() % size_of::<$ty>() == 0 {
                // SAFETY: the caller's promise, and aligned.
                <$ty>::from_le(unsafe { <$atomic>::from_ptr(pointer.cast_mut().cast()) }.load(Relaxed))
            } else {
                // SAFETY: the caller's promise.
                unsafe { load_unaligned(pointer, size_of::<$ty>()) as $ty }
            }
        }
        /// Stores a little-endian value at any alignment.
        ///
        /// # Safety
        /// The bytes from `pointer` on must lie in a [`Mapping`].
        #[inline(always)]
        pub(crate) unsafe fn $store(pointer: *mut u8, value: $ty) {
            if pointer.addr() % size_of::<$ty>() == 0 {
                // SAFETY: the caller's promise, and aligned.
                unsafe { <$atomic>::from_ptr(pointer.cast()) }.store(value.to_le(), Relaxed)
            } else {
                for (at, byte) in value.to_le_bytes().into_iter().enumerate() {
                    // SAFETY: the caller's promise.
                    unsafe { store_u8(pointer.add(at), byte) };
                }
            }
        }
    )*};
}

wide! {
    load_u16 store_u16 u16, AtomicU16;
    load_u32 store_u32 u32, AtomicU32;
    load_u64 store_u64 u64, AtomicU64;
}

/// Loads up to eight bytes from the one or two aligned words they lie in.
///
/// # Safety
/// `pointer..pointer + size` must lie in a [`Mapping`], whose ends are page-aligned, so the words do too.
#[inline]
unsafe fn load_unaligned(pointer: *const u8, size: usize) -> u64 {
    let skip = pointer.addr() % 8;
    let word = pointer.wrapping_sub(skip).cast_mut().cast::<u64>();
    // SAFETY: aligned, and inside the mapping by the caller's promise.
    let low = u64::from_le(unsafe { AtomicU64::from_ptr(word) }.load(Relaxed)) >> (skip * 8);
    if skip + size <= 8 {
        return low;
    }
    // SAFETY: as above; the last byte lies in this word.
    let high = u64::from_le(unsafe { AtomicU64::from_ptr(word.add(1)) }.load(Relaxed));
    low | high << (64 - skip * 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_are_checked() {
        let ram = RamBlock::new("ram", 4097).unwrap();
        assert_eq!(ram.read_u8(4096), Some(0));
        assert_eq!(ram.read_u16(4096), None);
        assert_eq!(ram.read_u64(u64::MAX), None);
        assert!(!ram.copy_in(4090, &[0; 8]));
        assert!(!ram.fill(1, u64::MAX, 0));
        assert!(RamBlock::new("none", 0).is_err());
        assert!(RamBlock::new("huge", u64::MAX).is_err());
    }

    #[test]
    fn a_store_voids_code_in_its_line_only() {
        let ram = RamBlock::new("ram", 3 * PAGE_SIZE).unwrap();
        ram.mark_code(0x10c0, 0x44);
        assert_eq!(ram.code_lines(1), 0b11000);
        assert!(ram.write_u32(0x10bc, 1));
        assert_eq!(ram.page_generation(1), 0);
        assert!(ram.write_u32(0x10be, 1));
        assert_eq!((ram.page_generation(1), ram.code_lines(1)), (1, 0));
        ram.mark_code(0x1ffe, 4);
        assert_eq!((ram.code_lines(1), ram.code_lines(2)), (1 << 63, 1));
        assert!(ram.copy_in(0xf00, &[0; 0x1200]));
        assert_eq!([0, 1, 2].map(|page| ram.page_generation(page)), [0, 2, 1]);
    }

    #[test]
    fn cleared_bytes_are_zero_and_their_code_is_void() {
        let ram = RamBlock::new("ram", 4 * PAGE_SIZE + 100).unwrap();
        for (offset, len) in
            [(0, ram.size()), (10, 20), (100, 3 * PAGE_SIZE), (PAGE_SIZE, PAGE_SIZE), (4 * PAGE_SIZE + 9, 91), (4090, 12), (7, 0)]
        {
            ram.fill(0, ram.size(), 0xaa);
            ram.mark_code(0, ram.size());
            let generation = ram.page_generation(offset / PAGE_SIZE);
            assert!(ram.clear(offset, len));
            assert_eq!(ram.page_generation(offset / PAGE_SIZE) - generation, u32::from(len > 0));
            for at in 0..ram.size() {
                assert_eq!(ram.read_u8(at), Some(if (offset..offset + len).contains(&at) { 0 } else { 0xaa }), "{at} of {offset}+{len}");
            }
        }
        assert!(!ram.clear(1, ram.size()) && !ram.clear(u64::MAX, 2));
    }

    /// What is read of pages that nobody touched takes no memory of the host.
    #[test]
    fn reading_touches_nothing() {
        const PAGES: u64 = 1024;
        let ram = RamBlock::new("ram", PAGES * PAGE_SIZE).unwrap();
        let kept = || rustix::fs::fstat(ram.file().unwrap()).unwrap().st_blocks as u64 * 512 / PAGE_SIZE;
        for (page, byte) in [(3, 1), (4, 2), (700, 3), (PAGES - 1, 4)] {
            ram.write_u8(page * PAGE_SIZE + 5, byte);
        }
        let touched = kept();
        assert_eq!(touched, 4);
        for (from, len) in [
            (0, PAGES * PAGE_SIZE),
            (3 * PAGE_SIZE + 5, PAGE_SIZE),
            (2 * PAGE_SIZE + 7, 3 * PAGE_SIZE),
            (700 * PAGE_SIZE + 5, 324 * PAGE_SIZE - 5),
        ] {
            let mut bytes = vec![0xaa; len as usize];
            assert!(ram.copy_out(from, &mut bytes));
            for (n, byte) in bytes.into_iter().enumerate() {
                let (page, at) = ((from + n as u64) / PAGE_SIZE, (from + n as u64) % PAGE_SIZE);
                let expected = if at == 5 { [3, 4, 700, PAGES - 1].iter().position(|p| *p == page).map_or(0, |n| n as u8 + 1) } else { 0 };
                assert_eq!(byte, expected, "{page} {at} of {from}+{len}");
            }
        }
        assert_eq!(kept(), touched);
    }

    #[test]
    fn compare_exchange_needs_alignment() {
        let ram = RamBlock::new("ram", 64).unwrap();
        ram.write_u32(4, 7);
        assert_eq!(ram.compare_exchange(4, 4, 7, 9), Some(Ok(7)));
        assert_eq!(ram.compare_exchange(4, 4, 7, 1), Some(Err(9)));
        assert_eq!(ram.compare_exchange(2, 4, 0, 0), None);
        assert_eq!(ram.compare_exchange(64, 1, 0, 0), None);
    }

    proptest! {
        #[test]
        fn any_alignment_reads_what_bytes_say(bytes in prop::collection::vec(any::<u8>(), 64), at in 0u64..56, value: u64) {
            let ram = RamBlock::new("ram", 64).unwrap();
            ram.copy_in(0, &bytes);
            for size in [1u8, 2, 4, 8] {
                let mut want = [0; 8];
                want[..size as usize].copy_from_slice(&bytes[at as usize..][..size as usize]);
                prop_assert_eq!(ram.read(at, size), Some(u64::from_le_bytes(want)));
            }
            let mut model = bytes.clone();
            for size in [8u8, 4, 2, 1] {
                ram.write(at, size, value ^ u64::from(size));
                model[at as usize..][..size as usize].copy_from_slice(&(value ^ u64::from(size)).to_le_bytes()[..size as usize]);
                let mut got = vec![0; 64];
                ram.copy_out(0, &mut got);
                prop_assert_eq!(&got, &model);
            }
        }
    }
}

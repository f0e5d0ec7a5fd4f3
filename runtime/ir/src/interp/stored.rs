//! Translations that other processes made, and this one makes for them: a [`Store`] keeps them, and knows nothing of them.
//!
//! Data path: before a block is translated, [`Engine::stored_block`] looks for one that was made for the same pc, key and guest bytes; one just made is written down by
//! [`Engine::store_block`]. A block is its bytecode, side table and marks with indices counted from its own, and its host code ([`super::quick`]). What decided its making
//! besides is in the store's identity (the build, the host's CPU) or in the mode, which is a part of each hash.
//!
//! Guest bytes are compared as translation reads them: the generation is looked at first, then the page is held as one that has code, then the bytes are read.

use super::quick::{is_branch, reads_aside};
use super::*;
use code::{MarkInfo, Side};
use emu_store::{Found, Store};
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};

/// Where an engine keeps translations for others.
pub struct Stored {
    pub store: Arc<Store>,
    mode: u64,
    /// What was looked for last, and its hash.
    asked: Option<(Made, u64)>,
    /// Guest bytes from the block's pc on, as translation has read them.
    seen: Vec<u8>,
    /// They are not in one piece, or changed meanwhile.
    torn: bool,
    /// Memory for one being read, and one being written.
    buffer: Vec<u8>,
    out: Output,
}

/// What the host's CPU has of what generated code asks for: other code is made on another.
pub fn host_features() -> Vec<&'static str> {
    macro_rules! there {
        ($($name:tt)*) => { [$(($name, std::is_x86_feature_detected!($name))),*] };
    }
    let all = there!("sse3" "ssse3" "sse4.1" "sse4.2" "avx" "avx2" "popcnt" "bmi1" "bmi2" "lzcnt" "fma");
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

/// A translation being written down.
#[derive(Default)]
pub struct Output(Vec<u8>);

impl Output {
    pub fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Option<()> {
        self.0 = postcard::to_extend(value, std::mem::take(&mut self.0)).ok()?;
        Some(())
    }
}

/// One that was written down.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn take<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let (value, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(value)
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        self.take()
    }

    /// Takes a list.
    pub fn each<T: Deserialize<'a>>(&mut self, mut each: impl FnMut(T) -> Option<()>) -> Option<()> {
        let count: usize = self.take()?;
        (0..count).try_for_each(|_| each(self.take()?))
    }
}

/// What a block was made from but for its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Made {
    mode: u64,
    pc: u64,
    key: BlockKey,
    single: bool,
}

impl<I: Isa> Engine<I> {
    /// From now on translations are looked for in this store before they are made, and those made are added to it.
    pub fn use_store(&mut self, store: &Arc<Store>) {
        self.stored = Some(Stored {
            store: store.clone(),
            mode: 0,
            asked: None,
            seen: Vec::new(),
            torn: false,
            buffer: Vec::new(),
            out: Output::default(),
        });
        self.renew_stored();
    }

    /// What decides translations may be something else now.
    pub(super) fn renew_stored(&mut self) {
        let Some(stored) = &mut self.stored else { return };
        let mut hasher = FxHasher::default();
        let isa = &*self.cx.isa;
        (isa.name(), isa.features(), isa.big_endian(), self.cx.direct != 0, self.counted, self.regions.is_some()).hash(&mut hasher);
        stored.mode = hasher.finish();
    }

    /// Where translations are kept, unless they depend on more than guest code.
    fn storing(&mut self) -> Option<&mut Stored> {
        let plain = self.quick.is_some() && self.breakpoints.is_empty() && self.coverage.is_none();
        self.stored.as_mut().filter(|_| plain)
    }

    /// Translation begins to read a block's bytes.
    pub(super) fn begin_bytes(&mut self) {
        if let Some(stored) = self.storing() {
            stored.seen.clear();
            stored.torn = false;
        }
    }

    /// Translation has read bytes so far behind the block's pc.
    pub(super) fn note_bytes(&mut self, offset: u64, size: u8, value: u64) {
        let Some(stored) = self.storing() else { return };
        let (known, value) = (stored.seen.len() as u64, value.to_le_bytes());
        if offset > known {
            stored.torn = true;
            return;
        }
        for (at, byte) in (offset as usize..).zip(&value[..usize::from(size.min(8))]) {
            match stored.seen.get(at) {
                Some(seen) => stored.torn |= seen != byte,
                None => stored.seen.push(*byte),
            }
        }
    }

    /// Code as it is in a page of RAM; `None` if it cannot be read.
    fn read_code(&self, bus: &dyn GuestBus, (ram, page): (u16, u64), at: u64, bytes: &mut [u8]) -> Option<()> {
        let offset = page << PAGE_BITS | at & (PAGE_SIZE - 1);
        if self.cx.direct == 0 {
            return self.rams[usize::from(ram)].copy_out(offset, bytes).then_some(());
        }
        let mut at = 0;
        while at < bytes.len() {
            let size = 1 << (bytes.len() - at).ilog2().min(3);
            let value = bus.read(GuestPhys(offset + at as u64), size as u8, Access::cpu(self.cx.cpu)).ok()?;
            bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
            at += size;
        }
        Some(())
    }

    fn made(&self, id: BlockId) -> Option<Made> {
        self.stored.as_ref().map(|stored| Made { mode: stored.mode, pc: id.pc, key: id.key, single: id.is_single() })
    }

    /// The block with this identity, if somebody has made it.
    pub(super) fn stored_block(&mut self, bus: &dyn GuestBus, id: BlockId, mmu: u8) -> Option<Cached> {
        let store = self.storing()?.store.clone();
        let made = self.made(id)?;
        let mut first = [0; 4];
        let there = first.len().min((PAGE_SIZE - (id.pc & (PAGE_SIZE - 1))) as usize);
        self.read_code(bus, id.page(), id.pc, &mut first[..there])?;
        let hash = hash_of(made, first);
        let stored = self.stored.as_mut()?;
        stored.asked = Some((made, hash));
        let mut buffer = std::mem::take(&mut stored.buffer);
        let found = (0..).find_map(|n| match store.get(hash, n, &mut buffer) {
            Found::Value => self.read_block(bus, id, mmu, made, &buffer).map(Some),
            Found::Rejected => {
                self.cx.stats.rejected += 1;
                None
            }
            Found::End => Some(None),
        });
        self.stored.as_mut()?.buffer = buffer;
        found?
    }

    /// The block that was written down so, if memory holds what it was made from.
    fn read_block(&mut self, bus: &dyn GuestBus, id: BlockId, mmu: u8, made: Made, bytes: &[u8]) -> Option<Cached> {
        let mut input = Input(bytes);
        if input.take::<Made>()? != made {
            return None;
        }
        let guest = input.bytes()?;
        let (head, second) = self.holds(bus, id, mmu, guest)?;
        let extent = self.arena.extent();
        let read = self.append(&mut input, id, head, second);
        if read.is_none() {
            self.arena.truncate(extent);
            self.cx.stats.rejected += 1;
        }
        read
    }

    /// The places that a block lies in, if memory holds these bytes there.
    fn holds(&mut self, bus: &dyn GuestBus, id: BlockId, mmu: u8, guest: &[u8]) -> Option<(Head, Option<SecondPage>)> {
        let (number, page) = id.page();
        let room = (PAGE_SIZE - (id.pc & (PAGE_SIZE - 1))) as usize;
        let (here, behind) = guest.split_at(guest.len().min(room));
        let generation = self.hold(bus, (number, page), id.pc, here)?;
        let head = Head { ram: number, page: page as u32, generation };
        if behind.is_empty() {
            return Some((head, None));
        }
        let at = (id.pc | (PAGE_SIZE - 1)).wrapping_add(1);
        let (_, second) = self.code_page(bus, at, mmu).ok()?;
        let (ram, page) = second?;
        let generation = self.hold(bus, (ram, page), at, behind)?;
        Some((head, Some(SecondPage { ram, page, generation })))
    }

    /// Marks bytes of a page as code; the page's generation, if they are these.
    fn hold(&self, bus: &dyn GuestBus, (ram, page): (u16, u64), at: u64, guest: &[u8]) -> Option<u32> {
        let block = &self.rams[usize::from(ram)];
        let generation = block.page_generation(page);
        let offset = page << PAGE_BITS | at & (PAGE_SIZE - 1);
        let first = block.mark_code(offset, guest.len() as u64);
        bus.hold_code(GuestPhys(offset), first);
        let mut there = [0; 4 * MAX_INSNS as usize];
        let there = there.get_mut(..guest.len())?;
        self.read_code(bus, (ram, page), at, there)?;
        (there == guest).then_some(generation)
    }

    /// Adds a block that was written down.
    fn append(&mut self, input: &mut Input<'_>, id: BlockId, head: Head, second: Option<SecondPage>) -> Option<Cached> {
        let arena = &mut self.arena;
        let (code, side, marks) = (arena.code.len() as u32, arena.side.len() as u64, arena.marks.len() as u32);
        input.each(|word: Code| {
            arena.code.push(placed(word, code, side));
            Some(())
        })?;
        let enter = arena.code.get_mut(code as usize).filter(|c| c.op == Bc::Enter)?;
        (enter.b, enter.imm) = (head.ram, head.imm());
        input.each(|entry: Side| {
            arena.side.push(entry);
            Some(())
        })?;
        input.each(|(at, note, pc): (u32, u16, u64)| {
            arena.marks.push(MarkInfo { code: code.wrapping_add(at), note, pc });
            Some(())
        })?;
        let (end, marks) = (arena.code.len() as u32, (marks, arena.marks.len() as u32));
        arena.add_block(BlockInfo { code, end, marks, pc: id.pc, key: id.key, linkable: second.is_none() && !id.is_single() });
        let native = self.quick.as_mut()?.read(code, id, input)?;
        self.note_block(native, id.pc, id.key);
        self.cx.stats.stored_blocks += 1;
        Some(self.blocks.insert(id, code, native, second))
    }

    /// Writes down a block just made, whose code is there.
    pub(super) fn store_block(&mut self, block: &Block, info: &BlockInfo, native: u64, id: BlockId, second: Option<SecondPage>) {
        let device = second.is_some_and(|second| second.ram == u16::MAX);
        if native != 0 && !device && self.storing().is_some() {
            let mut out = self.stored.as_mut().map(|stored| std::mem::take(&mut stored.out)).unwrap_or_default();
            out.0.clear();
            self.write_block(block, info, native, id, &mut out);
            self.stored.iter_mut().for_each(|stored| stored.out = std::mem::take(&mut out));
        }
    }

    fn write_block(&mut self, block: &Block, info: &BlockInfo, native: u64, id: BlockId, out: &mut Output) -> Option<()> {
        let stored = self.stored.as_ref()?;
        let (made, hash) = stored.asked.filter(|(made, _)| Some(*made) == self.made(id))?;
        let end = block.insts.iter().rfind(|inst| inst.op == Op::Mark)?.imm_hi;
        let guest = stored.seen.get(..usize::try_from(end.wrapping_sub(id.pc)).ok()?)?;
        if stored.torn || guest.len() > 4 * MAX_INSNS as usize {
            return None;
        }
        out.put(&made)?;
        out.put(guest)?;
        let arena = &self.arena;
        let words = &arena.code[info.code as usize..info.end as usize];
        let sides = words.iter().filter(|c| reads_aside(c.op)).map(|c| c.imm);
        let side = sides.min().unwrap_or(arena.side.len() as u64);
        let word = |c: &Code| match c.op {
            Bc::Enter => Code { b: 0, imm: 0, ..*c },
            _ => placed(*c, info.code.wrapping_neg(), side.wrapping_neg()),
        };
        out.put(&words.iter().map(word).collect::<Vec<Code>>())?;
        out.put(&arena.side[side as usize..])?;
        let marks = &arena.marks[info.marks.0 as usize..info.marks.1 as usize];
        out.put(&marks.iter().map(|mark| (mark.code - info.code, mark.note, mark.pc)).collect::<Vec<_>>())?;
        self.quick.as_ref()?.write(info.code, native, out)?;
        stored.store.add(hash, &out.0);
        Some(())
    }
}

/// The hash under which a block is kept: with the first bytes there, so that there are few of each.
fn hash_of(made: Made, first: [u8; 4]) -> u64 {
    let mut hasher = FxHasher::default();
    (made, first).hash(&mut hasher);
    hasher.finish()
}

/// A word of a block elsewhere: what it says in code and side indices, moved by so much.
fn placed(word: Code, code: u32, side: u64) -> Code {
    let imm = match word.op {
        op if is_branch(op) => u64::from((word.imm as u32).wrapping_add(code)),
        op if reads_aside(op) => word.imm.wrapping_add(side),
        _ => word.imm,
    };
    Code { imm, ..word }
}

//! Regions in the buffer: the way in from blocks, and the ways out.
//!
//! A region stands in for its first block: whatever leads to that leads to the region from then on. It is called; what it returns says by which way it
//! left, and a table where that is.

use super::super::region::{Calls, Compiled, EMPTY, Exit, Guest, Input, Layout, Piece, Place, Policy, written};
use super::assembler::Assembler;
use super::calls;
use super::emit::{constant, jump_cached, key_of, look_for_interrupts};
use super::regs::{RAX, RDX};
use super::shape::Shape;
use super::{BlockId, Quick, Slot};
use crate::guest::{BlockKey, Isa};
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};
use std::time::{Duration, Instant};

/// Counters of regions' visits: no more regions than that.
pub const VISITS: usize = 512;
/// Places that computed jumps led to from regions: so many are noted, by a few bits of the pc.
pub const COMPUTED: usize = 128;
/// After so many visits a region is judged, and then after so many times as many each time: one that is entered oftener than this is left soon, too, and costs
/// more than it gives.
const JUDGED: u32 = 1000;
const LATER: u32 = 8;
const OFTEN: Duration = Duration::from_nanos(100);
/// ... or one in which so many guest instructions are executed at a visit, where they are counted.
const FEW: u64 = 200;

/// An access that the host refuses costs some ten microseconds, with what follows. There may be one in this time, and so many more in one region and in all, to
/// pages that were in a window before; the first to a page counts less, as it is paid for once.
const REFUSAL: Duration = Duration::from_millis(1);
const AGAIN: u32 = 16;
const REFUSALS: u32 = 32 * AGAIN;
const ALL_REFUSALS: u32 = 128 * AGAIN;

/// What accesses that the host refused count for, less what passed since, and when it refused the last.
#[derive(Clone, Copy)]
pub struct Refusals(u32, Instant);

impl Refusals {
    pub fn none() -> Refusals {
        Refusals(0, Instant::now())
    }

    /// One more, to a page that was there before or not: what they count for.
    fn add(&mut self, again: bool, now: Instant) -> u32 {
        let passed = now.duration_since(self.1).as_nanos() * u128::from(AGAIN) / REFUSAL.as_nanos();
        let left = self.0.saturating_sub(passed.try_into().unwrap_or(u32::MAX));
        *self = Refusals(left + if again { AGAIN } else { 1 }, now);
        self.0
    }
}

/// The window that accesses of a region go to: its MMU index.
struct Window {
    index: u8,
    refusals: Refusals,
}

/// A region that stands in for its first block.
pub struct Region {
    pub(super) id: BlockId,
    /// The block's code index, and its own code.
    code: u32,
    old: usize,
    at: usize,
    pages: Vec<(u16, u64)>,
    /// Where its exits lead.
    slots: Vec<Slot>,
    since: Instant,
    /// Visits until it is judged again.
    judged: u32,
    /// Where its accesses go, if not to the TLB.
    window: Option<Window>,
    /// The counter of instructions executed in it.
    pub(super) spent: usize,
    /// The function: where, how long, and what it is made for; the code indices of its blocks.
    pub(super) function: (usize, usize),
    pub(super) places: Vec<(u32, Place)>,
    pub(super) pieces: Vec<u32>,
    /// Places that its computed jumps lead to inside.
    ways: usize,
}

impl Region {
    /// A region of these blocks is left less often.
    fn is_less(&self, pieces: &[Piece]) -> bool {
        pieces.len() > self.pieces.len() || pieces.len() == self.pieces.len() && inner_ways(pieces) > self.ways
    }
}

fn inner_ways(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.ways.len()).sum()
}

/// A block leads elsewhere now.
pub struct Led {
    pub id: BlockId,
    pub code: u32,
    pub native: u64,
}

/// Leaves by a stub with a code index.
fn leave(ops: &mut Assembler, stub: usize, at: u32) {
    dynasm!(ops ; .arch x64 ; mov edx, at as i32 ; jmp extern stub);
}

/// Notes where a computed jump leads from a region: to the pc in `rax`.
fn note_computed(ops: &mut Assembler, shape: &Shape) {
    const _: () = assert!(COMPUTED.is_power_of_two());
    dynasm!(ops
        ; .arch x64
        ; mov ecx, eax
        ; shr ecx, 1
        ; and ecx, COMPUTED as i32 - 1
        ; mov [rbx + rcx * 8 + shape.computed], rax
    );
}

/// Bytes of the instruction at the beginning.
fn length(code: &[u8]) -> Option<usize> {
    let mut decoder = iced_x86::Decoder::new(64, code, iced_x86::DecoderOptions::NONE);
    decoder.can_decode().then(|| decoder.decode().len()).filter(|length| *length > 0)
}

impl Quick {
    /// What says, behind words of these blocks, that the key is still this one.
    pub fn rekeyed(&self, pieces: &[Piece], key: BlockKey) -> Option<Vec<(u16, u64)>> {
        let (_, copies) = self.shape.key_after(key, &self.shape.keys_written(pieces))?;
        Some(copies.into_iter().map(|copy| (copy.cell, copy.value(key))).collect())
    }

    /// What cells hold wherever one of these blocks begins, of those that they write.
    pub fn at_heads(&self, pieces: &[Piece], key: BlockKey, others: Vec<(u16, u64)>) -> Vec<(u16, u64)> {
        let written = |(cell, _): &(u16, u64)| pieces.iter().flat_map(|piece| &piece.words).any(|c| written(c).any(|w| w == *cell));
        self.shape.copies(key).chain(others).filter(written).collect()
    }

    /// What regions may have.
    pub fn policy(&self, thorough: bool) -> Policy {
        let guest = Guest { layout: self.shape.layout, envs: self.shape.envs, sticky: self.shape.sticky, vectors: self.shape.sse };
        Policy { thorough, sticky: self.shape.sticky, guest }
    }

    /// What a region of these blocks is made with.
    pub fn region_layout(&self) -> (Layout, Calls) {
        let shape = &self.shape;
        let layout = Layout {
            state: shape.layout.cells as u16,
            left: shape.left,
            run: shape.run,
            attention: shape.attention,
            levels: shape.levels,
            front: shape.front,
            refused: shape.refused,
            zero: shape.zero(),
            flags: shape.flags,
            slots: shape.slots,
            windows: shape.window,
            window: None,
            direct: shape.direct,
            apart: false,
            counted: shape.counted,
        };
        (layout, self.stubs.regions)
    }

    /// There is a region in front of the block at a code index.
    pub fn has_region(&self, code: u32) -> bool {
        self.regions.iter().any(|region| region.code == code)
    }

    /// A region of these blocks is left less often than the one in front of the first.
    pub fn is_better(&self, pieces: &[Piece]) -> bool {
        let same = |region: &&Region| pieces.first().is_some_and(|first| first.code == region.code);
        self.regions.iter().find(same).is_some_and(|region| region.is_less(pieces))
    }

    /// Puts a region in front of its first block, if there is none, or a better one in its place, or one with a window in place of one without, and all its blocks
    /// are still there: which block leads elsewhere now, and where. `find` says the code index of the block at a pc, if exits may lead to it directly.
    pub fn install<I: Isa>(
        &mut self,
        cells: usize,
        (counters, spent, mapped): (&mut [u32; VISITS], &mut [u64; VISITS], &mut [u64; VISITS]),
        input: &Input,
        compiled: &Compiled,
        find: impl Fn(u64) -> Option<u32>,
    ) -> Option<Led> {
        let code = input.pieces.first()?.code;
        if !input.pieces.iter().all(|piece| self.blocks.contains_key(&piece.code)) {
            return None;
        }
        if let Some(index) = self.regions.iter().position(|region| region.code == code) {
            let there = &self.regions[index];
            let better = match (input.layout.window, &there.window) {
                (Some(_), None) => true,
                (None, Some(_)) => false,
                _ => there.is_less(&input.pieces),
            };
            if !better {
                return None;
            }
            self.remove(index);
        }
        let old = *self.blocks.get(&code)?;
        let id = self.pages.get(input.pages.first()?)?.iter().find(|made| made.code == code)?.id;
        let taken = |slot: usize| self.regions.iter().any(|region| region.spent == slot);
        let visits = (0..VISITS).find(|slot| !taken(*slot))?;
        let base = self.buffer.next();
        let (shape, stubs) = (&self.shape, &self.stubs);
        let ops = self.scratch.assembler();
        ops.restart(base);
        let [function, table, judged, sure, unsure, elsewhere] = std::array::from_fn(|_| ops.new_dynamic_label());
        let (left, front) = (shape.left, shape.front);
        let visit = shape.visits + 4 * visits as i32;
        let spending = shape.spent + 8 * visits as i32;
        let mapping = shape.mapped + 8 * visits as i32;
        dynasm!(ops ; .arch x64 ; dec DWORD [rbx + visit] ; jz =>judged);
        let others = if shape.direct { Vec::new() } else { input.of_other_pages() };
        if !others.is_empty() {
            dynasm!(ops
                ; .arch x64
                ; mov rax, [rbx + shape.mapping]
                ; cmp rax, [rbx + mapping]
                ; jne =>unsure
                ; =>sure
            );
        }
        dynasm!(ops ; .arch x64 ; mov [rbx + left], r15);
        if shape.counted {
            dynasm!(ops ; .arch x64 ; add [rbx + spending], r15);
        }
        if compiled.slots > 0 {
            dynasm!(ops ; .arch x64 ; mov rax, QWORD EMPTY as i64);
            (0..compiled.slots as i32).for_each(|slot| dynasm!(ops ; .arch x64 ; mov [rbx + shape.slots + 16 * slot], rax));
        }
        dynasm!(ops
            ; .arch x64
            ; mov rdi, rbx
            ; mov rsi, r14
            ; call =>function
            ; mov r15, [rbx + left]
            ; mov r14, [rbx + front]
        );
        if shape.counted {
            dynasm!(ops ; .arch x64 ; sub [rbx + spending], r15);
        }
        dynasm!(ops
            ; .arch x64
            ; lea rcx, [=>table]
            ; jmp QWORD [rcx + rdx * 8]
            ; =>judged
            ; mov edx, code as i32
            ; jmp extern stubs.judge
        );
        if !others.is_empty() {
            dynasm!(ops ; .arch x64 ; =>unsure);
            for (pc, code) in others {
                let function = calls::is_there::<I> as *const () as usize;
                dynasm!(ops
                    ; .arch x64
                    ; mov rdi, [rbx + shape.run]
                    ; mov rsi, QWORD pc as i64
                    ; mov rdx, QWORD input.key.0 as i64
                    ; mov ecx, code as i32
                    ; mov rax, QWORD function as i64
                    ; call rax
                    ; test al, al
                    ; jz =>elsewhere
                );
            }
            dynasm!(ops
                ; .arch x64
                ; mov rax, [rbx + shape.mapping]
                ; mov [rbx + mapping], rax
                ; jmp =>sure
                ; =>elsewhere
                ; mov rax, QWORD old as i64
                ; jmp rax
            );
        }
        let (mut ends, mut ways) = (Vec::new(), Vec::new());
        let keys = shape.keys_written(&input.pieces);
        for exit in &compiled.exits {
            ways.push(ops.offset().0);
            match *exit {
                Exit::Jump(pc) => {
                    constant(ops, RAX, pc);
                    constant(ops, RDX, input.key.0);
                    jump_cached(ops, shape, stubs, Some(pc));
                }
                Exit::JumpTo => {
                    note_computed(ops, shape);
                    constant(ops, RDX, input.key.0);
                    jump_cached(ops, shape, stubs, None);
                }
                Exit::Rekey => match shape.key_after(input.key, &keys) {
                    Some((known, copies)) => {
                        note_computed(ops, shape);
                        look_for_interrupts(ops, shape, stubs);
                        key_of(ops, known, &copies);
                        jump_cached(ops, shape, stubs, None);
                    }
                    None => dynasm!(ops ; .arch x64 ; jmp extern stubs.rekey),
                },
                Exit::Poll(pc) => {
                    constant(ops, RAX, pc);
                    leave(ops, stubs.polled, code);
                }
                Exit::Refuse(at) => leave(ops, stubs.refuse, at),
                Exit::Resume(at) => leave(ops, stubs.resume, at),
                Exit::Stored => leave(ops, stubs.stored, 0),
            }
        }
        // What the host refuses is left out; a word says so, and the attention word asks to look at it.
        let mut faults = Vec::new();
        for access in &compiled.accesses {
            let end = access + length(compiled.code.get(*access..)?)?;
            faults.push((*access, ops.offset().0));
            let behind = ops.new_dynamic_label();
            ends.push((behind, end));
            dynasm!(ops
                ; .arch x64
                ; push rax
                ; pushfq
                ; mov rax, QWORD cells as i64
                ; mov DWORD [rax + shape.refused], !(cells as u32) as i32
                ; mov rax, [rax + shape.attention]
                ; lock or DWORD [rax], emu_memory::Attention::REFUSED as i32
                ; popfq
                ; pop rax
                ; jmp =>behind
            );
        }
        ops.align(16, 0xcc);
        let slots = ops.offset().0;
        dynasm!(ops ; .arch x64 ; =>table);
        for way in &ways {
            dynasm!(ops ; .arch x64 ; .u64 (base + way) as u64);
        }
        ops.align(16, 0xcc);
        let begins = ops.offset().0;
        dynasm!(ops ; .arch x64 ; =>function);
        if !ops.has_room(compiled.code.len()) {
            return None;
        }
        let mut done = 0;
        for (label, end) in ends {
            ops.extend(&compiled.code[done..end]);
            dynasm!(ops ; .arch x64 ; =>label);
            done = end;
        }
        ops.extend(&compiled.code[done..]);
        ops.commit()?;
        let at = self.buffer.push(ops.code())?;
        faults.iter_mut().for_each(|(access, _)| *access += begins);
        self.faults.add(at, &faults);
        let slot = |(n, way): (usize, &usize)| Slot { at: at + slots + 8 * n, first: at + way };
        let slots: Vec<Slot> = ways.iter().enumerate().map(slot).collect();
        for (slot, exit) in slots.iter().zip(&compiled.exits) {
            if let Exit::Jump(pc) = exit
                && let Some(code) = find(*pc).and_then(|code| self.blocks.get(&code))
            {
                self.buffer.patch(slot.at, *code as u64);
            }
        }
        self.regions.push(Region {
            id,
            code,
            old,
            at,
            pages: input.pages.clone(),
            slots,
            since: Instant::now(),
            judged: JUDGED,
            window: input.layout.window.map(|index| Window { index, refusals: Refusals::none() }),
            spent: visits,
            function: (at + begins, compiled.code.len()),
            places: compiled.places.clone(),
            pieces: input.pieces.iter().map(|piece| piece.code).collect(),
            ways: inner_ways(&input.pieces),
        });
        (counters[visits], spent[visits], mapped[visits]) = (JUDGED, 0, 0);
        self.blocks.insert(code, at);
        self.redirect(old, at);
        Some(Led { id, code, native: at as u64 })
    }

    /// Whatever leads to one place leads to another from now on.
    pub(super) fn redirect(&mut self, from: usize, to: usize) {
        let exits = self.regions.iter().flat_map(|region| &region.slots);
        for slot in self.slots.values().chain(exits) {
            if self.buffer.slot(slot.at) == from as u64 {
                self.buffer.patch(slot.at, to as u64);
            }
        }
    }

    /// The region in front of the block at a code index, which has been entered [`JUDGED`] times, was left soon each time.
    pub fn is_short(&self, code: u32, spent: &[u64; VISITS]) -> bool {
        let short = |region: &Region| match self.shape.counted {
            true => spent[region.spent] < u64::from(JUDGED) * FEW,
            false => region.since.elapsed() < OFTEN * JUDGED,
        };
        self.regions.iter().any(|region| region.code == code && region.judged == JUDGED && short(region))
    }

    /// It is to be judged again: as it was now, or after more visits.
    pub fn judge_again(&mut self, code: u32, soon: bool, counters: &mut [u32; VISITS], spent: &mut [u64; VISITS]) {
        for region in self.regions.iter_mut().filter(|region| region.code == code) {
            if !soon {
                region.judged = region.judged.saturating_mul(LATER);
            }
            region.since = Instant::now();
            (counters[region.spent], spent[region.spent]) = (region.judged, 0);
        }
    }

    /// It goes away: its block leads elsewhere.
    pub fn give_up(&mut self, code: u32) -> Option<Led> {
        let index = self.regions.iter().position(|region| region.code == code)?;
        Some(self.remove(index))
    }

    /// The host refused an access of a block in a region: one that this happens to often looks pages up from now on, as do those that share its loops; all are
    /// made anew. Blocks that lead elsewhere now, and the MMU index.
    pub fn refused(&mut self, code: u32, again: bool) -> Vec<(Led, u8)> {
        let now = Instant::now();
        let mut often = Vec::new();
        for region in self.regions.iter_mut().filter(|region| region.pieces.contains(&code)) {
            if let Some(window) = &mut region.window {
                let all = self.refusals[usize::from(window.index)].add(again, now);
                let too_many = window.refusals.add(again, now) > REFUSALS || all > ALL_REFUSALS;
                often.extend(too_many.then_some(region.code));
            }
        }
        let mut led = Vec::new();
        for head in often {
            let first = self.regions.iter().find(|region| region.code == head).map_or(Vec::new(), |region| region.pieces.clone());
            let shares = |region: &Region| first.contains(&region.code) || region.pieces.contains(&head);
            while let Some((index, window)) = (self.regions.iter().enumerate())
                .find_map(|(n, region)| Some((n, region.window.as_ref().filter(|_| shares(region))?.index)))
            {
                self.looked_up.insert(self.regions[index].code);
                led.push((self.remove(index), window));
            }
        }
        led
    }

    /// How often regions that have this block were entered, in some unit; `None`: there are none.
    pub fn visits_around(&self, code: u32, counters: &[u32]) -> Option<u32> {
        let around = self.regions.iter().filter(|region| region.pieces.contains(&code));
        around.map(|region| counters[region.spent]).reduce(u32::wrapping_add)
    }

    /// The first block of the region that looks pages up and begins with a block, or has it.
    pub fn without_window(&self, code: u32) -> Option<u32> {
        let without = |region: &&Region| region.window.is_none() && region.pieces.contains(&code);
        self.regions.iter().filter(without).map(|region| region.code).min_by_key(|head| *head != code)
    }

    /// The MMU index of the window of a region that has this block.
    pub fn window_at(&self, code: u32) -> Option<u8> {
        self.regions
            .iter()
            .filter(|region| region.pieces.contains(&code))
            .find_map(|region| region.window.as_ref())
            .map(|window| window.index)
    }

    /// A region that begins with this block is to look pages up.
    pub fn looks_up(&self, code: u32) -> bool {
        self.looked_up.contains(&code)
    }

    /// Regions with a block of this code index go: blocks that lead elsewhere now.
    pub fn drop_regions(&mut self, code: u32) -> Vec<Led> {
        let mut led = Vec::new();
        while let Some(index) = self.regions.iter().position(|region| region.pieces.contains(&code)) {
            led.push(self.remove(index));
        }
        led
    }

    fn remove(&mut self, index: usize) -> Led {
        let Region { id, code, old, at, .. } = self.regions.swap_remove(index);
        self.blocks.insert(code, old);
        self.redirect(at, old);
        Led { id, code, native: old as u64 }
    }

    /// Blocks of a page are gone: regions with any of them are, too, and no exit leads there. Blocks that lead elsewhere now.
    pub fn revoke_regions(&mut self, page: (u16, u64), gone: &[usize]) -> Vec<Led> {
        let mut led = Vec::new();
        while let Some(index) = self.regions.iter().position(|region| region.pages.contains(&page)) {
            let of_page = self.regions[index].id.page() == page;
            let back = self.remove(index);
            if of_page {
                self.blocks.remove(&back.code);
            } else {
                led.push(back);
            }
        }
        for slot in self.regions.iter().flat_map(|region| &region.slots) {
            if gone.contains(&(self.buffer.slot(slot.at) as usize)) {
                self.buffer.patch(slot.at, slot.first as u64);
            }
        }
        led
    }
}

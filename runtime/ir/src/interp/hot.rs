//! Where regions begin: jumps back that were taken often, and what becomes of them.

use super::exec::{OTHER_JUMP, jump_slot};
use super::quick::{self, Led};
use super::region::{self, Around, Compiled, Done, Input, Made, Piece, gather};
pub use super::region::{Held as HeldWorkers, Workers};
use super::{Bc, BlockId, BlockKey, Blocks, Cached, Code, Engine, Isa, Quick};
use emu_memory::{GuestBus, PAGE_BITS, WINDOW_INDICES};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use super::region::MAX_SLOTS as SLOTS;

/// Counters of jumps back; two jumps may share one.
pub const COUNTERS: usize = 4096;
/// What a counter gets when a region was asked for, or there can be none yet.
const ASKED: u32 = 1 << 30;
const LATER: u32 = 1 << 20;
/// Regions that are asked for at one block at most: one that did not suit may where more is known of what is around it.
const MAX_ASKED: u8 = 3;
/// ... and with those that are to take the place of one that is left often.
const MAX_BETTER: u8 = 8;
/// So often a jump back to a block that is inside a region gets none of its own.
const MAX_INSIDE: u8 = 8;
/// Regions that a vCPU may be waiting for.
const MAX_WAITING: usize = 32;

/// At most so much speaks for windows, when nothing is known yet, too: one found executing adds one, one that is given up takes some.
const CREDIT: u32 = 16;
const DEBIT: u32 = 8;

/// From one sample of what is executed to the next, at least.
const SAMPLE: Duration = Duration::from_micros(500);

/// Why a region is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// A jump back was taken often.
    Heated,
    /// There is one without a window that is executed much.
    Hot,
    /// There is one that is left often.
    Left,
}

/// Which counter a jump to `pc` has.
pub fn heat_slot(pc: u64) -> usize {
    (pc >> 1 ^ pc >> 13) as usize % COUNTERS
}

/// What an engine knows of its regions.
pub struct Regions {
    workers: Arc<Workers>,
    /// Jumps back until a region is asked for.
    threshold: u32,
    thorough: bool,
    windows: Option<bool>,
    done: Arc<Done>,
    /// Code indices of blocks that a region was asked for at, and how often.
    asked: FxHashMap<u32, u8>,
    /// Those that one with a window was asked for at.
    windowed: FxHashSet<u32>,
    /// Where computed jumps led from the region that begins with a block of this code index.
    computed: FxHashMap<u32, BTreeSet<u64>>,
    /// By MMU index: if positive, regions have windows from the beginning.
    credit: [u32; WINDOW_INDICES as usize],
    /// The one without that was last found executing.
    found: Option<u32>,
    /// When.
    sampled: Instant,
    /// Those that are not done: the code indices of their blocks.
    waiting: Vec<Vec<u32>>,
    /// By the code index of a block inside a region, where a jump back was taken often: what visits of such regions were counted then, and how often it was so.
    inside: FxHashMap<u32, (u32, u8)>,
}

impl Regions {
    /// A block is inside a region that is waited for, or whose first block is come to, too: then that is left too early, and will be better.
    fn comes_in(&mut self, quick: &Quick, visits: &[u32], head: u32) -> bool {
        if self.thorough {
            return false;
        }
        if self.waiting.iter().any(|blocks| blocks.contains(&head)) {
            return true;
        }
        let Some(now) = quick.visits_around(head, visits) else { return false };
        let (before, times) = self.inside.entry(head).or_insert((now.wrapping_sub(1), 0));
        let visited = std::mem::replace(before, now) != now;
        *times += 1;
        visited && *times <= MAX_INSIDE
    }
}

impl<I: Isa> Engine<I> {
    /// From now on regions are made of loops whose jump back was taken so often.
    pub(super) fn use_regions(&mut self, workers: &Arc<Workers>, threshold: u32, thorough: bool, windows: Option<bool>) {
        let threshold = threshold.max(1);
        if self.cx.direct == 0 && windows != Some(false) {
            quick::catch();
            self.cx.tlb.open_windows();
        }
        self.regions = Some(Regions {
            workers: workers.clone(),
            threshold,
            thorough,
            windows,
            done: Arc::default(),
            asked: FxHashMap::default(),
            windowed: FxHashSet::default(),
            computed: FxHashMap::default(),
            credit: [CREDIT; WINDOW_INDICES as usize],
            found: None,
            sampled: Instant::now(),
            waiting: Vec::new(),
            inside: FxHashMap::default(),
        });
    }

    /// In a forked child: what was asked for is made by nobody.
    pub fn restart_regions(&mut self) {
        if let Some(regions) = &mut self.regions {
            // It may be locked for ever.
            std::mem::forget(std::mem::take(&mut regions.done));
        }
        self.begin_regions();
    }

    /// All code is forgotten, and code indices are given anew.
    pub(super) fn forget_regions(&mut self) {
        if let Some(regions) = &mut self.regions {
            regions.done = Arc::default();
        }
        self.begin_regions();
    }

    fn begin_regions(&mut self) {
        let Some(regions) = &mut self.regions else { return };
        regions.asked.clear();
        regions.windowed.clear();
        regions.computed.clear();
        regions.found = None;
        regions.waiting.clear();
        regions.inside.clear();
        self.cx.heat.fill(regions.threshold);
    }

    /// The jump at a code index, to this pc, was taken often.
    pub(super) fn heated(&mut self, bus: &dyn GuestBus, at: u32, pc: u64) {
        let (Some(regions), Some(quick)) = (&mut self.regions, &self.quick) else { return };
        let jump = self.arena.code[at as usize];
        let counter = &mut self.cx.heat[heat_slot(pc)];
        *counter = LATER;
        let head = jump.imm as u32;
        if jump.op != Bc::Linked || regions.waiting.len() >= MAX_WAITING || regions.comes_in(quick, &self.cx.visits, head) {
            *counter = regions.threshold;
            return;
        }
        let asked = regions.asked.get(&head).copied().unwrap_or(0);
        if asked < MAX_ASKED && !quick.has_region(head) && self.ask_region(bus, head, Why::Heated).is_some() {
            self.cx.heat[heat_slot(pc)] = ASKED;
        }
    }

    /// Asks for a region that begins with the block at a code index. Its accesses go to a window if they can, and it is hot, or such regions were worth it.
    fn ask_region(&mut self, bus: &dyn GuestBus, head: u32, why: Why) -> Option<()> {
        let (regions, quick) = (self.regions.as_mut()?, self.quick.as_ref()?);
        let block = &self.arena.blocks[self.arena.block_at(head)? as usize];
        let (key, pc) = (block.key, block.pc);
        let page = self.arena.page_of(head)?;
        let (mut layout, calls) = quick.region_layout();
        let near = |to| find(&self.blocks, page, pc, key, layout.direct, to);
        let cx = &*self.cx;
        let find = |to| near(to).or_else(|| cx.known_jump(to, key).map(|entry| entry.code));
        let between = |from, to| {
            let all = self.blocks.iter().map(|(id, _)| (id.pc, id.key));
            let mut pcs: Vec<u64> = all.filter(|(pc, of)| (from..=to).contains(pc) && *of == key).map(|(pc, _)| pc).collect();
            pcs.sort_unstable();
            pcs.dedup();
            pcs
        };
        let resting: Vec<u16> = cx.isa.resting(key).into_iter().map(|slot| cx.isa.layout().slots[usize::from(slot.0)].cell).collect();
        let policy = quick.policy(regions.thorough);
        let gather =
            |find| gather(&self.arena, head, policy, &Around { find, between: &between, computed: &regions.computed, aside: &resting });
        let mut pieces = gather(&find);
        if !layout.direct && pieces.iter().flatten().any(Piece::calls) {
            // A helper may change what is where.
            pieces = gather(&near);
        }
        let pieces = pieces?;
        if why == Why::Left && !quick.is_better(&pieces) {
            return None;
        }
        layout.apart = pieces.iter().any(|piece| quick.is_apart(piece.code));
        if !layout.direct && cx.tlb.window() != 0 && !quick.looks_up(head) {
            let worth = |index: &u8| why == Why::Hot || regions.credit[usize::from(*index)] > 0 || quick.window_at(head).is_some();
            layout.window = region::window_of(&pieces).filter(|index| regions.windows == Some(true) || worth(index));
        }
        let heads = quick.at_heads(&pieces, key, resting.into_iter().map(|cell| (cell, 0)).collect());
        let mut pages: Vec<(u16, u64)> = pieces.iter().filter_map(|piece| self.arena.page_of(piece.code)).collect();
        pages.dedup();
        *regions.asked.entry(head).or_default() += 1;
        regions.waiting.push(pieces.iter().map(|piece| piece.code).collect());
        regions.workers.ask(
            Input {
                rekeyed: quick.rekeyed(&pieces, key),
                heads,
                controls: policy.guest.required(&pieces),
                pages,
                pieces,
                key,
                layout,
                calls,
            },
            self.stored.as_ref().map(|stored| &stored.store),
            &regions.done,
            bus.attention(),
        );
        Some(())
    }

    /// Somebody asked for attention or a limit was near, while a block of a region was executed if any: one that is found so twice in a row is worth a window, as
    /// are those that begin inside it. What comes soon after such a sample comes of it.
    pub(super) fn sample(&mut self, bus: &dyn GuestBus, code: Option<u32>) {
        let (Some(regions), Some(quick)) = (&mut self.regions, &self.quick) else { return };
        if self.cx.tlb.window() == 0 || regions.waiting.len() >= MAX_WAITING || regions.sampled.elapsed() < SAMPLE {
            return;
        }
        regions.sampled = Instant::now();
        let window = code.and_then(|code| quick.window_at(code));
        if let Some(index) = window {
            let credit = &mut regions.credit[usize::from(index)];
            *credit = (*credit + 1).min(CREDIT);
        }
        let head = code.and_then(|code| quick.without_window(code)).filter(|head| !quick.looks_up(*head));
        let before = std::mem::replace(&mut regions.found, head);
        let hot = |head: &u32| window.is_some() || before == Some(*head);
        if let Some(head) = head.filter(hot).filter(|head| regions.windowed.insert(*head)) {
            self.ask_region(bus, head, Why::Hot);
        }
    }

    /// Puts regions that are compiled in front of their first blocks.
    pub(super) fn install_regions(&mut self) {
        let Some(regions) = &mut self.regions else { return };
        let done = regions.done.take();
        for made in &done {
            let first = made.input.pieces.first().map(|piece| piece.code);
            let at = regions.waiting.iter().position(|blocks| blocks.first().copied() == first);
            at.map(|at| regions.waiting.swap_remove(at));
        }
        for Made { input, compiled, stored } in done {
            let installed = self.install(&input, compiled.as_ref()).is_some();
            self.cx.stats.stored_regions += u64::from(installed && stored);
        }
    }

    fn install(&mut self, input: &Input, compiled: Option<&Compiled>) -> Option<()> {
        let cells = (&raw const self.cx.cells) as usize;
        let counters = (&mut self.cx.visits, &mut self.cx.spent, &mut self.cx.mapped);
        let find = |pc| find(&self.blocks, input.pages[0], input.pieces[0].pc, input.key, input.layout.direct, pc);
        let led = self.quick.as_mut()?.install::<I>(cells, counters, input, compiled?, find)?;
        self.cx.stats.regions += 1;
        self.lead(&led);
        self.note_region(led.native, led.id.pc);
        Some(())
    }

    /// A block leads elsewhere now.
    pub(super) fn lead(&mut self, led: &Led) {
        self.blocks.replace(&led.id, led.native);
        let missing = self.quick.as_ref().map_or(0, |quick| quick.missing());
        let slot = jump_slot(led.id.pc);
        for entry in [slot, slot ^ OTHER_JUMP] {
            let entry = &mut self.cx.jumps[entry];
            if entry.code == led.code && entry.native != missing {
                entry.native = led.native;
            }
        }
    }

    /// The access at a code index did not find its page with those that it goes with.
    pub(super) fn strain(&mut self, at: u32) {
        let Some(block) = self.arena.block_at(at).map(|block| self.arena.blocks[block as usize]) else { return };
        let Some(quick) = &mut self.quick else { return };
        if !quick.strain(block.code) || self.arena.code[block.code as usize].op != Bc::Enter {
            return;
        }
        // Its jumps are linked anew.
        for at in block.code as usize..block.end as usize {
            let c = self.arena.code[at];
            if c.op == Bc::Linked
                && let Some(to) = self.arena.block_at(c.imm as u32)
            {
                self.arena.code[at] = Code { op: Bc::Jump, x: 1, imm: self.arena.blocks[to as usize].pc, ..c };
            }
        }
        for led in quick.set_apart(&self.arena, &block) {
            self.lead(&led);
            if let Some(regions) = &self.regions {
                self.cx.heat[heat_slot(led.id.pc)] = regions.threshold;
            }
        }
    }

    /// The host refused an access of a region, which the interpreter has done since, from this code index on.
    pub(super) fn refused(&mut self, at: u32, address: usize) {
        let Some(again) = self.cx.tlb.refused(address) else { return };
        if self.regions.as_ref().is_some_and(|regions| regions.windows == Some(true)) {
            return;
        }
        let Some(block) = self.arena.head_of(at) else { return };
        for (led, index) in self.quick.as_mut().map_or(Vec::new(), |quick| quick.refused(block, again)) {
            self.lead(&led);
            if let Some(regions) = &mut self.regions {
                let credit = &mut regions.credit[usize::from(index)];
                *credit = credit.saturating_sub(DEBIT);
                regions.asked.remove(&led.code);
                self.cx.heat[heat_slot(led.id.pc)] = regions.threshold;
            }
        }
    }

    /// A region has been entered often. By now more may be known of what is around it, and where it is left to: then a better one is asked for. Else it goes if
    /// it is left soon.
    pub(super) fn judge_region(&mut self, bus: &dyn GuestBus, code: u32) {
        let Some(regions) = &mut self.regions else { return };
        let computed = self.cx.computed.iter_mut().filter(|pc| **pc != 0).map(std::mem::take);
        regions.computed.entry(code).or_default().extend(computed);
        let may_ask = regions.waiting.len() < MAX_WAITING && regions.asked.get(&code).is_none_or(|asked| *asked < MAX_BETTER);
        let better = may_ask && self.ask_region(bus, code, Why::Left).is_some();
        let cx = &mut *self.cx;
        let Some(quick) = &mut self.quick else { return };
        let short = !better && quick.is_short(code, &cx.spent);
        quick.judge_again(code, better, &mut cx.visits, &mut cx.spent);
        let led = if short { quick.give_up(code) } else { None };
        if let Some(led) = led {
            cx.stats.dropped_regions += 1;
            self.lead(&led);
            if let Some(regions) = &self.regions {
                self.cx.heat[heat_slot(led.id.pc)] = regions.threshold;
            }
        }
    }
}

/// The code index of the block at a pc with this key, if one at another pc, in this RAM and page, may lead there directly.
fn find(blocks: &Blocks, (ram, page): (u16, u64), from: u64, key: BlockKey, direct: bool, pc: u64) -> Option<u32> {
    let page = match pc >> PAGE_BITS == from >> PAGE_BITS {
        true => page,
        // The host maps every page where its address says, for good.
        false if direct => pc >> PAGE_BITS,
        false => return None,
    };
    blocks.get(&BlockId::new((ram, page), pc, key)).filter(Cached::in_one_page).map(|block| block.code)
}

//! What generated code must know of an instruction set, and where it finds things: the same for all its blocks.

use super::super::Context;
use super::super::region::{Piece, written};
use super::float::Constants;
use crate::guest::{BlockKey, FloatEnvDesc, Isa, KeyPart, SlotOr};
use crate::state::StateLayout;
use emu_softfloat::{NanRule, Round};
use std::mem::offset_of;

/// Offsets are from the first cell, in bytes.
pub struct Shape {
    pub layout: &'static StateLayout,
    pub envs: &'static [FloatEnvDesc],
    /// Instructions that may still be executed in this run.
    pub left: i32,
    /// Pointer to [`super::Run`].
    pub run: i32,
    /// Pointer to the attention word.
    pub attention: i32,
    /// The lines that are high, 64 bits.
    pub levels: i32,
    /// The epoch of the jump cache, above what a key has.
    pub epoch: i32,
    pub global_epoch: i32,
    pub jumps: i32,
    /// Pointer to the TLB's front, or to the byte at virtual address 0.
    pub front: i32,
    /// The address of the space tag's first window.
    pub window: i32,
    /// Counters of jumps back, if regions are made.
    pub heat: Option<i32>,
    /// Where a region finds that the host refused an access, and where its visits and the instructions in it are counted.
    pub refused: i32,
    pub visits: i32,
    pub spent: i32,
    /// The number of the mapping, and where a region finds that with which its pages were looked up.
    pub mapping: i32,
    pub mapped: i32,
    /// Where it notes where computed jumps led from it.
    pub computed: i32,
    /// Where it computes flags from.
    pub flags: i32,
    /// Pages that regions use.
    pub slots: i32,
    /// The host maps the guest's memory: accesses need no look-up.
    pub direct: bool,
    /// Each access looks for its page, as those that go together lie on two.
    pub apart: bool,
    /// Instructions are counted, and polls at every block; else polls are at jumps back and computed ones.
    pub counted: bool,
    /// The host's MXCSR while guest code runs: it gathers sticky flags.
    pub mxcsr: i32,
    constants: i32,
    /// The one cell with sticky flags of floating point by the host, if all environments that suit it share one.
    pub sticky: Option<u16>,
    /// By cell of the state: what is special about it.
    roles: Vec<u8>,
    /// The host has SSE4.2 and what came before it.
    pub sse: bool,
    /// ... and AVX2.
    pub avx2: bool,
    /// The host rotates into another register.
    pub bmi2: bool,
    parts: &'static [KeyPart],
}

/// A cell that is a part of the key: bits `lo` to `end`, exclusive.
#[derive(Clone, Copy)]
pub struct Copied {
    pub cell: u16,
    pub lo: u8,
    pub end: u8,
}

impl Copied {
    /// What the cell holds where a block with this key begins.
    pub fn value(&self, key: BlockKey) -> u64 {
        key.0 >> self.lo & ((1 << (self.end - self.lo)) - 1)
    }
}

/// A cell's roles: it holds slots of the lowest byte only.
const BYTE: u8 = 1;
/// A slot of 128 bits begins there.
const QUAD: u8 = 2;
/// The block key depends on it.
pub const KEY: u8 = 4;
/// It controls floating point.
pub const CONTROLS: u8 = 8;

impl Shape {
    pub fn of<I: Isa>(isa: &I, direct: bool, counted: bool, regions: bool) -> Shape {
        let layout = isa.layout();
        let from = |field: usize| field as i32 - offset_of!(Context<I>, cells) as i32;
        let cell = |slot: crate::state::Slot| layout.slots[slot.0 as usize].cell;
        let mut roles = vec![BYTE; layout.cells];
        for desc in layout.slots {
            let (first, cells) = (usize::from(desc.cell), usize::from(desc.ty.cells()));
            if u32::from(desc.lo) + u32::from(desc.bits) > 8 {
                roles[first..first + cells].fill(0);
            }
        }
        layout.slots.iter().filter(|desc| desc.bits == 128).for_each(|desc| roles[usize::from(desc.cell)] |= QUAD);
        isa.key_parts().iter().flat_map(|part| part.cells).for_each(|cell| roles[usize::from(*cell)] |= KEY);
        let envs = isa.float_envs();
        let mut sticky: Vec<u16> = envs.iter().filter(|env| suits(env)).map(|env| cell(env.sticky)).collect();
        sticky.dedup();
        let controls = envs.iter().flat_map(|env| {
            let flush = if let SlotOr::Slot(slot) = env.flush { Some(slot) } else { None };
            env.round.into_iter().chain(flush).map(cell)
        });
        controls.for_each(|cell| roles[usize::from(cell)] |= CONTROLS);
        Shape {
            layout,
            envs,
            left: from(offset_of!(Context<I>, left)),
            run: from(offset_of!(Context<I>, run)),
            attention: from(offset_of!(Context<I>, attention)),
            levels: from(offset_of!(Context<I>, levels)),
            epoch: from(offset_of!(Context<I>, epoch)),
            global_epoch: from(offset_of!(Context<I>, global_epoch)),
            jumps: from(offset_of!(Context<I>, jumps)),
            front: from(offset_of!(Context<I>, front)),
            window: from(offset_of!(Context<I>, window)),
            heat: regions.then_some(from(offset_of!(Context<I>, heat))),
            refused: from(offset_of!(Context<I>, refused)),
            visits: from(offset_of!(Context<I>, visits)),
            spent: from(offset_of!(Context<I>, spent)),
            mapping: from(offset_of!(Context<I>, mapping)),
            mapped: from(offset_of!(Context<I>, mapped)),
            computed: from(offset_of!(Context<I>, computed)),
            flags: from(offset_of!(Context<I>, flags)),
            slots: from(offset_of!(Context<I>, slots)),
            direct,
            apart: false,
            counted,
            mxcsr: from(offset_of!(Context<I>, mxcsr)),
            constants: from(offset_of!(Context<I>, constants)),
            sticky: if let [one] = sticky[..] { Some(one) } else { None },
            roles,
            sse: std::is_x86_feature_detected!("ssse3") && std::is_x86_feature_detected!("sse4.2"),
            avx2: std::is_x86_feature_detected!("avx2"),
            bmi2: std::is_x86_feature_detected!("bmi2"),
            parts: isa.key_parts(),
        }
    }

    /// What is special about a cell: [`KEY`], [`CONTROLS`] and others.
    pub fn role(&self, cell: u16) -> u8 {
        self.roles.get(usize::from(cell)).copied().unwrap_or(0)
    }

    pub fn is_byte(&self, cell: u16) -> bool {
        self.role(cell) & BYTE != 0
    }

    pub fn is_quad(&self, cell: u16) -> bool {
        self.role(cell) & QUAD != 0
    }

    /// An environment that rounds to nearest and flushes denormal numbers, whatever its controls, as ARM's does; the host gathers its sticky flags.
    pub fn flushes(&self, env: u8) -> bool {
        self.envs.get(usize::from(env)).is_some_and(|env| {
            (env.flush, env.nan_rule, env.round) == (SlotOr::Const(true), NanRule::Arm, None)
                && env.round_map[0] == Round::NearestEven
                && self.sticky == Some(self.layout.slots[env.sticky.0 as usize].cell)
        })
    }

    /// Where the sign's mask and the least normal number are.
    pub fn constants(&self, wide: bool) -> (i32, i32) {
        let at = |field: usize| self.constants + field as i32 + 8 * i32::from(wide);
        (at(offset_of!(Constants, magnitude)), at(offset_of!(Constants, normal)))
    }

    /// Where zeros are.
    pub fn zero(&self) -> i32 {
        self.constants + offset_of!(Constants, zero) as i32
    }

    /// The cells of these blocks' words that the key depends on; helpers may write any, which is [`u16::MAX`].
    pub fn keys_written(&self, pieces: &[Piece]) -> Vec<u16> {
        let words = pieces.iter().flat_map(|piece| &piece.words);
        let mut keys: Vec<u16> = words.flat_map(written).filter(|cell| self.role(*cell) & KEY != 0).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.extend(pieces.iter().any(Piece::calls).then_some(u16::MAX));
        keys
    }

    /// The cells that parts of a key are copies of, and what they hold where a block with this key begins.
    pub fn copies(&self, key: BlockKey) -> impl Iterator<Item = (u16, u64)> {
        let copies = self.parts.iter().filter(|part| part.copy).filter_map(|part| self.copy_of(part));
        copies.map(move |copy| (copy.cell, copy.value(key)))
    }

    /// A part of the key that is a copy of its one cell.
    fn copy_of(&self, part: &KeyPart) -> Option<Copied> {
        let &[cell] = part.cells else { return None };
        let end = self.parts.iter().map(|p| p.lo).filter(|lo| *lo > part.lo).min().unwrap_or(48);
        part.copy.then_some(Copied { cell, lo: part.lo, end })
    }

    /// The key after a block with key `key` has written these cells: what of it is still known, and the cells to be or-ed in with their places.
    /// `None` if it is no matter of copies; [`u16::MAX`] is any cell.
    pub fn key_after(&self, key: BlockKey, written: &[u16]) -> Option<(u64, Vec<Copied>)> {
        if written.contains(&u16::MAX) {
            return None;
        }
        let (mut known, mut copies) = (key.0, Vec::new());
        for part in self.parts.iter().filter(|part| part.cells.iter().any(|cell| written.contains(cell))) {
            let copy = self.copy_of(part)?;
            known &= !((1 << copy.end) - (1 << copy.lo));
            copies.push(copy);
        }
        Some((known, copies))
    }
}

/// The host may compute in this environment, if its controls are so.
pub fn suits(env: &FloatEnvDesc) -> bool {
    // x86 reports denormal operands, which is not looked for.
    env.flush != SlotOr::Const(true)
        && !matches!(env.nan_rule, NanRule::X86Sse | NanRule::X87)
        && env.round_map.contains(&Round::NearestEven)
        && (env.round.is_some() || env.round_map[0] == Round::NearestEven)
}

//! Which words of the side table a region has code of its own for, and what that code needs to know of the guest.

use super::super::code::{Code, Operand, Side};
use super::{Piece, plan, vector};
use crate::guest::{FloatEnvDesc, SlotOr};
use crate::interp::code::Bc;
use crate::interp::quick::suits;
use crate::op::{Fop, Op, Round, Type};
use crate::state::{Slot, StateLayout};

/// What `x` is in a word of a region that has code of its own for it: `c` is its place in the piece's side table, and `imm` the cells it reads.
pub const INLINE: u8 = 1;
/// No cell.
const NO_CELL: u16 = 0x7fff;
/// The cell and the next one.
const WIDE: u16 = 0x8000;

/// A control that has to have one value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Control {
    pub cell: u16,
    pub shift: u8,
    pub mask: u64,
    pub value: u64,
}

/// Floating point of the guest's.
#[derive(Clone, Copy)]
pub struct Guest {
    pub layout: &'static StateLayout,
    pub envs: &'static [FloatEnvDesc],
    /// The cell of the sticky flags that the host gathers.
    pub sticky: Option<u16>,
    /// The host has vector instructions enough.
    pub vectors: bool,
}

/// The word is one that a region has code of its own for.
pub fn is_inline(c: &Code) -> bool {
    matches!(c.op, Bc::Generic | Bc::Float) && c.x == INLINE
}

/// The cells that such a word reads.
pub fn inline_reads(c: &Code) -> impl Iterator<Item = u16> + use<> {
    let imm = c.imm;
    let all = (0..4).map(move |at| (imm >> (16 * at)) as u16).filter(|cell| cell & NO_CELL != NO_CELL);
    all.flat_map(|cell| (cell & NO_CELL)..(cell & NO_CELL) + 1 + (cell >> 15))
}

/// The environment of an operation.
fn env_of(op: Op) -> Option<u16> {
    match op {
        Op::Float { env, .. } | Op::FloatConvert { env, .. } | Op::IntToFloat { env, .. } | Op::FloatToInt { env, .. } => Some(env.into()),
        _ => None,
    }
}

fn host(ty: Type) -> bool {
    matches!(ty, Type::F32 | Type::F64)
}

impl Guest {
    /// The host computes it.
    fn computes(&self, side: &Side) -> bool {
        let (from, to) = (side.types[0], side.inst.ty);
        let known = match side.inst.op {
            Op::Float { op, .. } => {
                host(from) && matches!(op, Fop::Add | Fop::Sub | Fop::Mul | Fop::Div | Fop::Sqrt | Fop::Cmp | Fop::CmpSignal)
            }
            Op::FloatConvert { alt: false, .. } => host(from) && host(to) && from != to,
            Op::IntToFloat { round: Round::Env | Round::Nearest, frac: 0, bits: 32, .. } => host(to) && from == Type::I32,
            Op::FloatToInt { round: Round::Zero, frac: 0, bits: 32, .. } => host(from) && to == Type::I32,
            _ => false,
        };
        let env = env_of(side.inst.op).and_then(|env| self.envs.get(usize::from(env)));
        known && env.is_some_and(|env| suits(env) && self.sticky == Some(self.layout.slots[usize::from(env.sticky.0)].cell))
    }

    /// Marks a word that a region has code of its own for, whose entry in the side table is this one; it gets a place in the piece's.
    pub fn mark(&self, c: &mut Code, side: &Side, sides: &mut Vec<Side>) {
        c.x = 0;
        let mut cells = [NO_CELL; 4];
        let mut used = 0;
        for (ty, operand) in side.types.iter().zip(&side.args) {
            if let Operand::Cell(cell) = operand {
                let Some(place) = cells.get_mut(used).filter(|_| *cell < NO_CELL) else { return };
                *place = *cell | if ty.bits() > 64 { WIDE } else { 0 };
                used += 1;
            }
        }
        if self.computes(side) || self.vectors && vector::has(side) {
            (c.x, c.c) = (INLINE, sides.len() as u16);
            c.imm = cells.iter().rev().fold(0, |imm, cell| imm << 16 | u64::from(*cell));
            sides.push(side.clone());
        }
    }

    /// What controls floating point by the host: slots, masks, values.
    fn controls_of(&self, env: &FloatEnvDesc) -> impl Iterator<Item = (Slot, u64, u64)> + use<> {
        let flush = if let SlotOr::Slot(slot) = env.flush { Some((slot, 1, 0)) } else { None };
        let nearest = env.round_map.iter().position(|r| *r == emu_softfloat::Round::NearestEven).unwrap_or(0);
        flush.into_iter().chain(env.round.map(|slot| (slot, 3, nearest as u64)))
    }

    /// A word changes what controls floating point.
    pub fn controls(&self, c: &Code) -> bool {
        let mut controls = self.envs.iter().filter(|env| suits(env)).flat_map(|env| self.controls_of(env));
        controls.any(|(slot, ..)| plan::written(c).any(|cell| cell == self.layout.slots[usize::from(slot.0)].cell))
    }

    /// What has to be so where a region of these pieces is entered.
    pub fn required(&self, pieces: &[Piece]) -> Vec<Control> {
        let sides = pieces.iter().flat_map(|piece| &piece.sides);
        let mut envs: Vec<u16> = sides.filter_map(|side| env_of(side.inst.op)).collect();
        envs.sort_unstable();
        envs.dedup();
        let envs = envs.iter().filter_map(|env| self.envs.get(usize::from(*env)));
        let mut all: Vec<Control> = Vec::new();
        for (slot, mask, value) in envs.flat_map(|env| self.controls_of(env)) {
            let desc = &self.layout.slots[usize::from(slot.0)];
            let control = Control { cell: desc.cell, shift: desc.lo, mask, value };
            if !all.contains(&control) {
                all.push(control);
            }
        }
        all
    }
}

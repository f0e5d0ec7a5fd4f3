//! Builds one block of IR, folding constants as it goes. PROVISIONAL BODY: the signatures are the contract with generated code.

use crate::op::*;
use crate::state::{Slot, StateLayout};

/// Builds a block. Every method that takes values of known constants folds; types are checked in debug builds.
pub struct Builder {
    block: Block,
    layout: &'static StateLayout,
}

#[allow(unused_variables, missing_docs)]
impl Builder {
    pub fn new(layout: &'static StateLayout) -> Builder {
        Builder { block: Block::default(), layout }
    }
    pub fn finish(self) -> Block {
        self.block
    }

    // ---- instructions and pending context
    /// Begins a guest instruction.
    pub fn mark(&mut self, pc: u64, next_pc: u64) {
        todo!()
    }
    /// Decoder-context slots (ITSTATE ...) that must hold these constants once the current instruction retires: written before every exit
    /// of the instruction (jump, wait) and at its end by `end_insn`, but only if different from what the slot is known to hold.
    pub fn pending_context(&mut self, slot: Slot, value: u64) {
        todo!()
    }
    /// Writes the pending context now (before a `raise` whose state is the next instruction's, e.g. SVC).
    pub fn commit_context(&mut self) {
        todo!()
    }
    pub fn end_insn(&mut self) {
        todo!()
    }
    /// True once the current path ended (after a jump or raise outside any `If`).
    pub fn ended(&self) -> bool {
        todo!()
    }

    // ---- values
    pub fn iconst(&mut self, ty: Type, x: u128) -> Value {
        todo!()
    }
    pub fn as_const(&self, v: Value) -> Option<u128> {
        todo!()
    }
    pub fn ty(&self, v: Value) -> Type {
        self.block.values[v.0 as usize]
    }
    pub fn get(&mut self, slot: Slot) -> Value {
        todo!()
    }
    pub fn set(&mut self, slot: Slot, v: Value) {
        todo!()
    }
    pub fn var(&mut self, ty: Type) -> Var {
        todo!()
    }
    pub fn var_get(&mut self, var: Var) -> Value {
        todo!()
    }
    pub fn var_set(&mut self, var: Var, v: Value) {
        todo!()
    }
    /// Two-operand integer operation: Add Sub Mul MulHigh* Div* Rem* And Or Xor (same types), Shl Shr Sar Ror (amount: any integer type).
    pub fn binary(&mut self, op: Op, a: Value, b: Value) -> Value {
        todo!()
    }
    /// Not Neg Clz Ctz Popcnt Bswap Bitrev.
    pub fn unary(&mut self, op: Op, a: Value) -> Value {
        todo!()
    }
    pub fn carry_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        todo!()
    }
    pub fn overflow_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        todo!()
    }
    pub fn cmp(&mut self, cond: Cond, a: Value, b: Value) -> Value {
        todo!()
    }
    pub fn select(&mut self, c: Value, a: Value, b: Value) -> Value {
        todo!()
    }
    pub fn zext(&mut self, ty: Type, a: Value) -> Value {
        todo!()
    }
    pub fn sext(&mut self, ty: Type, a: Value) -> Value {
        todo!()
    }
    pub fn trunc(&mut self, ty: Type, a: Value) -> Value {
        todo!()
    }
    /// Bits lo..lo+len of a, zero-extended, as `ty`.
    pub fn extract(&mut self, ty: Type, a: Value, lo: u8, len: u8) -> Value {
        todo!()
    }
    pub fn insert(&mut self, a: Value, b: Value, lo: u8, len: u8) -> Value {
        todo!()
    }
    pub fn concat(&mut self, hi: Value, lo: Value) -> Value {
        todo!()
    }
    pub fn bitcast(&mut self, ty: Type, a: Value) -> Value {
        todo!()
    }

    // ---- memory
    pub fn load(&mut self, mem: Mem, addr: Value) -> Value {
        todo!()
    }
    pub fn store(&mut self, mem: Mem, addr: Value, v: Value) {
        todo!()
    }
    pub fn probe(&mut self, mem: Mem, addr: Value, write: bool) {
        todo!()
    }
    pub fn load_exclusive(&mut self, mem: Mem, addr: Value) -> Value {
        todo!()
    }
    pub fn store_exclusive(&mut self, mem: Mem, addr: Value, v: Value) -> Value {
        todo!()
    }
    pub fn clear_exclusive(&mut self) {
        todo!()
    }
    pub fn swap(&mut self, mem: Mem, addr: Value, v: Value) -> Value {
        todo!()
    }
    pub fn compare_swap(&mut self, mem: Mem, addr: Value, expected: Value, v: Value) -> Value {
        todo!()
    }
    pub fn fence(&mut self, order: Order) {
        todo!()
    }

    // ---- floating point: operands and results are integers of the format's width (I16/I32/I64/I128); the builder bitcasts
    pub fn float(&mut self, op: Fop, env: u8, args: &[Value]) -> Value {
        todo!()
    }
    pub fn float_round(&mut self, round: Round, exact: bool, env: u8, a: Value) -> Value {
        todo!()
    }
    /// Converts between formats given by the integer types' widths.
    pub fn float_convert(&mut self, to: Type, env: u8, alt: bool, a: Value) -> Value {
        todo!()
    }
    pub fn float_to_int(&mut self, to: Type, env: u8, signed: bool, round: Round, frac: u8, bits: u8, a: Value) -> Value {
        todo!()
    }
    pub fn int_to_float(&mut self, to: Type, env: u8, signed: bool, round: Round, frac: u8, bits: u8, a: Value) -> Value {
        todo!()
    }

    // ---- vectors: operands and results are I64/I128; the builder bitcasts
    /// The result's width follows from the operation and its operands (see [`Vop`]).
    pub fn vec(&mut self, op: Vop, lane: u8, args: &[Value], imm: u64) -> Value {
        todo!()
    }
    pub fn vec_sat(&mut self, op: Vop, lane: u8, args: &[Value], imm: u64) -> Value {
        todo!()
    }
    /// Lane `index`, zero-extended to I64.
    pub fn lane_get(&mut self, lane: u8, v: Value, index: u8) -> Value {
        todo!()
    }
    /// `x`: I64; low bits used.
    pub fn lane_set(&mut self, lane: u8, v: Value, index: u8, x: Value) -> Value {
        todo!()
    }
    pub fn table_lookup(&mut self, index: Value, fallback: Value, table: &[Value]) -> Value {
        todo!()
    }

    // ---- control
    pub fn call(&mut self, helper: u16, args: &[Value], result: Option<Type>) -> Option<Value> {
        todo!()
    }
    pub fn begin_if(&mut self, cond: Value) {
        todo!()
    }
    pub fn begin_else(&mut self) {
        todo!()
    }
    pub fn end_if(&mut self) {
        todo!()
    }
    pub fn begin_repeat(&mut self) {
        todo!()
    }
    pub fn break_if(&mut self, cond: Value) {
        todo!()
    }
    pub fn end_repeat(&mut self) {
        todo!()
    }
    pub fn jump(&mut self, pc: u64) {
        todo!()
    }
    pub fn jump_to(&mut self, pc: Value) {
        todo!()
    }
    pub fn jump_rekey(&mut self, pc: Value) {
        todo!()
    }
    pub fn raise(&mut self, exception: u16, args: &[Value]) {
        todo!()
    }
    /// Ends the block at `next_pc`, asleep until an interrupt (or event).
    pub fn wait(&mut self, event: bool, next_pc: u64) {
        todo!()
    }
}

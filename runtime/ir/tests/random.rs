//! Random IR: what the builder folds, the passes remove and the interpreter executes must do what the plain block does in the
//! reference evaluator.

mod common;

use common::Bus;
use emu_ir::builder::Builder;
use emu_ir::guest::*;
use emu_ir::interp::{Engine, Tiers, Workers};
use emu_ir::op::*;
use emu_ir::passes::Passes;
use emu_ir::reference::{Exit, World, run};
use emu_ir::state::{Slot, SlotDesc, StateLayout};
use emu_ir::{text, verify};
use emu_memory::*;
use emu_softfloat::{NanRule, Round as SoftRound};
use proptest::prelude::*;
use std::sync::Arc;

const fn slot(name: &'static str, ty: Type, bits: u8, cell: u16, lo: u8) -> SlotDesc {
    SlotDesc { name, ty, bits, cell, lo }
}

/// Registers, a quadword with its overlapping parts, flags, a five-bit field in a shared cell.
static SLOTS: [SlotDesc; 31] = [
    slot("r0", Type::I32, 32, 0, 0),
    slot("r1", Type::I32, 32, 1, 0),
    slot("r2", Type::I32, 32, 2, 0),
    slot("r3", Type::I32, 32, 3, 0),
    slot("x0", Type::I64, 64, 4, 0),
    slot("q0", Type::I128, 128, 5, 0),
    slot("d0", Type::I64, 64, 5, 0),
    slot("d1", Type::I64, 64, 6, 0),
    slot("s0", Type::I32, 32, 5, 0),
    slot("s1", Type::I32, 32, 5, 32),
    slot("s2", Type::I32, 32, 6, 0),
    slot("s3", Type::I32, 32, 6, 32),
    slot("b7", Type::I8, 8, 5, 56),
    slot("n", Type::I1, 1, 7, 0),
    slot("z", Type::I1, 1, 8, 0),
    slot("low", Type::I8, 5, 9, 0),
    slot("high", Type::I1, 1, 9, 5),
    slot("five", Type::I8, 5, 10, 0),
    slot("sticky", Type::I8, 8, 11, 0),
    slot("pc", Type::I64, 64, 12, 0),
    slot("arg0", Type::I64, 64, 13, 0),
    slot("arg1", Type::I64, 64, 14, 0),
    slot("arg2", Type::I64, 64, 15, 0),
    slot("arg3", Type::I64, 64, 16, 0),
    slot("h", Type::I16, 16, 17, 0),
    slot("q1", Type::I128, 128, 18, 0),
    slot("q2", Type::I128, 128, 20, 0),
    slot("q3", Type::I128, 128, 22, 0),
    slot("d2", Type::I64, 64, 18, 0),
    slot("d3", Type::I64, 64, 19, 0),
    slot("d4", Type::I64, 64, 20, 0),
];
static LAYOUT: StateLayout = StateLayout { slots: &SLOTS, cells: 24 };
const PC: Slot = Slot(19);
/// Quadwords, and doublewords in them.
const QUADS: [u16; 4] = [5, 25, 26, 27];
const DOUBLES: [u16; 5] = [6, 7, 28, 29, 30];
/// Slots programs use: those before the pc, and the one after its arguments.
const USED: [u16; 20] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24];

/// One with controls, and one as ARM's Advanced SIMD has it.
static ENVS: [FloatEnvDesc; 2] = [
    FloatEnvDesc {
        name: "fp",
        round: None,
        round_map: [SoftRound::NearestEven; 4],
        flush: SlotOr::Const(false),
        default_nan: SlotOr::Slot(Slot(14)),
        alt_half: SlotOr::Const(false),
        sticky: Slot(18),
        nan_rule: NanRule::Arm,
        tininess_before: true,
        precision: None,
    },
    FloatEnvDesc {
        name: "std",
        round: None,
        round_map: [SoftRound::NearestEven; 4],
        flush: SlotOr::Const(true),
        default_nan: SlotOr::Const(true),
        alt_half: SlotOr::Const(false),
        sticky: Slot(18),
        nan_rule: NanRule::Arm,
        tininess_before: true,
        precision: None,
    },
];

static HELPERS: [HelperDesc; 2] = [
    HelperDesc {
        name: "mix",
        args: &[Type::I32],
        result: Some(Type::I32),
        reads: Some(&[Slot(1)]),
        writes: Some(&[Slot(2), Slot(9)]),
        memory: false,
        raises: false,
    },
    HelperDesc { name: "refuse", args: &[Type::I32], result: None, reads: None, writes: None, memory: false, raises: true },
];

fn helper(id: u16, state: &mut [u64], args: &[u64; 6]) -> Result<u64, Exception> {
    if id == 0 {
        let r1 = LAYOUT.read(state, Slot(1)) as u64;
        LAYOUT.write(state, Slot(2), u128::from(r1 ^ args[0]));
        LAYOUT.write(state, Slot(9), u128::from(args[0] >> 3));
        return Ok(r1.wrapping_add(args[0]));
    }
    LAYOUT.write(state, Slot(3), 0x33);
    if args[0] & 1 != 0 { Err(Exception { id: 1, args: [args[0], 2, 3, 4] }) } else { Ok(0) }
}

#[derive(Clone, Debug)]
enum Step {
    Get(u16),
    Set(u16, u8),
    Const(u8, u64),
    Binary(u8, u8, u8),
    Shift(u8, u8, u8),
    Unary(u8, u8),
    Carry(bool, u8, u8, u8),
    Cmp(u8, u8, u8),
    Select(u8, u8, u8),
    Resize(u8, u8, bool),
    Extract(u8, u8, u8, u8),
    Insert(u8, u8, u8, u8),
    Concat(u8, u8),
    Load(u8, u8, bool),
    Store(u8, u8, u8),
    Exclusive(u8, u8),
    Vec(u16, u8, u8, u8, u8),
    Table(u8, u8, u8),
    Quad(bool, u8, u8),
    Half(u8, u8),
    Float(u8, u8, u8, bool),
    Number(u8, u8, u8, bool),
    Call(u8, u8),
    VarGet(u8),
    VarSet(u8, u8),
    If(u8, Vec<Step>, Vec<Step>),
    Exit(u8, u8),
    Flags(bool, u8, u8, u8),
    Mark,
    Repeat(u8, Vec<Step>),
}

fn leaf() -> impl Strategy<Value = Step> {
    let v = any::<u8>;
    let s = || prop::sample::select(USED.to_vec());
    prop_oneof![
        3 => s().prop_map(Step::Get),
        4 => (s(), v()).prop_map(|(s, a)| Step::Set(s, a)),
        2 => (v(), prop_oneof![any::<u64>(), 0u64..40, Just(u64::MAX), Just(1 << 31)]).prop_map(|(t, x)| Step::Const(t, x)),
        4 => (0u8..12, v(), v()).prop_map(|(o, a, b)| Step::Binary(o, a, b)),
        2 => (0u8..4, v(), v()).prop_map(|(o, a, b)| Step::Shift(o, a, b)),
        2 => (0u8..7, v()).prop_map(|(o, a)| Step::Unary(o, a)),
        2 => (any::<bool>(), v(), v(), v()).prop_map(|(o, a, b, c)| Step::Carry(o, a, b, c)),
        2 => (0u8..6, v(), v()).prop_map(|(o, a, b)| Step::Cmp(o, a, b)),
        1 => (v(), v(), v()).prop_map(|(a, b, c)| Step::Select(a, b, c)),
        2 => (v(), v(), any::<bool>()).prop_map(|(a, t, s)| Step::Resize(a, t, s)),
        1 => (v(), v(), v(), v()).prop_map(|(a, t, lo, len)| Step::Extract(a, t, lo, len)),
        1 => (v(), v(), v(), v()).prop_map(|(a, b, lo, len)| Step::Insert(a, b, lo, len)),
        1 => (v(), v()).prop_map(|(a, b)| Step::Concat(a, b)),
        2 => (v(), 0u8..5, any::<bool>()).prop_map(|(a, s, big)| Step::Load(a, s, big)),
        2 => (v(), v(), 0u8..5).prop_map(|(a, b, s)| Step::Store(a, b, s)),
        1 => (v(), v()).prop_map(|(a, b)| Step::Exclusive(a, b)),
        2 => (0..Vop::ALL.len() as u16, 0u8..3, v(), v(), v()).prop_map(|(o, l, a, b, c)| Step::Vec(o, l, a, b, c)),
        1 => (0u8..8, v(), v(), any::<bool>()).prop_map(|(o, a, b, d)| Step::Float(o, a, b, d)),
        1 => (0u8..2, v()).prop_map(|(h, a)| Step::Call(h, a)),
        1 => (0u8..3).prop_map(Step::VarGet),
        1 => (0u8..3, v()).prop_map(|(x, a)| Step::VarSet(x, a)),
        3 => (any::<bool>(), v(), v(), v()).prop_map(|(sub, a, b, which)| Step::Flags(sub, a, b, which)),
        2 => Just(Step::Mark),
        1 => (0u8..4, v()).prop_map(|(k, a)| Step::Exit(k, a)),
    ]
}

/// Mostly operations on vectors.
fn vector_leaf() -> impl Strategy<Value = Step> {
    let v = any::<u8>;
    let s = || prop_oneof![prop::sample::select(QUADS.to_vec()), prop::sample::select(DOUBLES.to_vec())];
    prop_oneof![
        24 => (0..Vop::ALL.len() as u16, 0u8..4, v(), v(), v()).prop_map(|(o, l, a, b, c)| Step::Vec(o, l, a, b, c)),
        8 => s().prop_map(Step::Get),
        8 => (s(), v()).prop_map(|(s, a)| Step::Set(s, a)),
        2 => (v(), v(), v()).prop_map(|(n, a, b)| Step::Table(n, a, b)),
        2 => (any::<bool>(), v(), v()).prop_map(|(store, a, b)| Step::Quad(store, a, b)),
        2 => (v(), v()).prop_map(|(a, lo)| Step::Half(a, lo)),
        2 => (3u8..6, v(), v()).prop_map(|(o, a, b)| Step::Binary(o, a, b)),
        1 => v().prop_map(|a| Step::Unary(0, a)),
        2 => (v(), v(), v(), v()).prop_map(|(a, b, lo, len)| Step::Insert(a, b, lo & 0xf8, [7, 15, 31, 63][usize::from(len % 4)])),
        1 => (v(), v(), v(), v()).prop_map(|(a, t, lo, len)| Step::Extract(a, t, lo, len)),
        1 => (v(), v()).prop_map(|(a, b)| Step::Concat(a, b)),
        1 => (0u8..8, v(), v(), any::<bool>()).prop_map(|(o, a, b, d)| Step::Float(o, a, b, d)),
        1 => v().prop_map(|a| Step::Call(0, a)),
        1 => Just(Step::Get(18)),
        4 => leaf(),
    ]
}

/// Mostly scalar floating point.
fn number_leaf() -> impl Strategy<Value = Step> {
    let v = any::<u8>;
    let s = || prop::sample::select(vec![4u16, 6, 7, 8, 9, 10, 11, 28, 29, 30, 0, 1, 13]);
    prop_oneof![
        24 => (0u8..16, v(), v(), any::<bool>()).prop_map(|(o, a, b, d)| Step::Number(o, a, b, d)),
        8 => s().prop_map(Step::Get),
        10 => (s(), v()).prop_map(|(s, a)| Step::Set(s, a)),
        2 => (v(), number()).prop_map(|(t, x)| Step::Const(3 + t % 2, if t % 2 == 0 { x >> 32 } else { x })),
        3 => (v(), 2u8..4, Just(false)).prop_map(|(a, s, big)| Step::Load(a, s, big)),
        2 => (v(), v(), 2u8..4).prop_map(|(a, b, s)| Step::Store(a & !1, b, s)),
        1 => (v(), v(), v()).prop_map(|(a, b, c)| Step::Select(a, b, c)),
        1 => (v(), v()).prop_map(|(a, b)| Step::Float(4, a, b, true)),
        2 => Just(Step::Mark),
        1 => leaf(),
    ]
}

fn number_steps() -> impl Strategy<Value = Vec<Step>> {
    let body =
        || prop::collection::vec(prop_oneof![20 => number_leaf(), 1 => (1u8..4, any::<u8>()).prop_map(|(k, a)| Step::Exit(k, a))], 0..6);
    let branch = (any::<u8>(), body(), body()).prop_map(|(c, a, b)| Step::If(c, a, b));
    prop::collection::vec(prop_oneof![6 => number_leaf(), 1 => branch], 1..30)
}

/// A number of double precision, or two of single.
fn number() -> impl Strategy<Value = u64> {
    let double = prop::sample::select(vec![
        0f64,
        -0.0,
        1.0,
        -1.0,
        0.5,
        3.0,
        0.1,
        -2.5,
        1e300,
        1e-300,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        f64::INFINITY,
        f64::NAN,
        2147483647.0,
        -2147483648.5,
        4294967295.5,
        1e-308,
    ]);
    let single = || {
        prop::sample::select(vec![
            0f32,
            -0.0,
            1.0,
            -1.0,
            0.5,
            3.0,
            0.1,
            -2.5,
            1e30,
            1e-30,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            f32::INFINITY,
            f32::NAN,
            2e9,
            -3e9,
        ])
    };
    prop_oneof![
        4 => double.prop_map(f64::to_bits),
        3 => (single(), single()).prop_map(|(low, high)| u64::from(low.to_bits()) | u64::from(high.to_bits()) << 32),
        2 => (1u64..2000).prop_map(|n| (n as f64 / 8.0).to_bits()),
        1 => any::<u64>(),
    ]
}

fn vector_steps() -> impl Strategy<Value = Vec<Step>> {
    let body = || prop::collection::vec(vector_leaf(), 0..6);
    let branch = (any::<u8>(), body(), body()).prop_map(|(c, a, b)| Step::If(c, a, b));
    prop::collection::vec(prop_oneof![12 => vector_leaf(), 1 => branch], 1..40)
}

/// 64 bits for lanes: boundaries of every width, and of single precision.
fn lanes() -> impl Strategy<Value = u64> {
    let word = prop_oneof![
        3 => prop::sample::select(vec![
            0u32, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x8080_8080, 0x7f7f_7f7f, 0x8000_8000,
            0x7fff_7fff, 0x00ff_ff00, 0x0001_ff80, 0x80ff_7f00, 0xffff_fffe, 0x0102_0304, 0x1f20_0fe0,
        ]),
        3 => prop::sample::select(vec![
            0x0000_0001u32, 0x007f_ffff, 0x0080_0000, 0x0080_0001, 0x0100_0000, 0x8000_0001, 0x8080_0000, 0x1fff_ffff, 0x2000_0000, 0x1f80_0000,
            0x2080_0000, 0x3f7f_ffff, 0x3f80_0000, 0x3f80_0001, 0xbf80_0000, 0x4b00_0001, 0x4eff_ffff, 0x4f00_0000, 0x4f7f_ffff, 0x4f80_0000,
            0xcf00_0000, 0xbf00_0000, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0x7f80_0001, 0xffc1_2345, 0x6000_0000,
        ]),
        // Ordinary numbers.
        3 => (any::<u32>()).prop_map(|x| x & 0x80ff_ffff | 0x3f00_0000),
        2 => any::<u32>(),
    ];
    (word.clone(), word).prop_map(|(low, high)| u64::from(low) | u64::from(high) << 32)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let nested = leaf().prop_recursive(2, 24, 6, |inner| {
        let body = prop::collection::vec(inner, 0..6);
        prop_oneof![
            3 => (any::<u8>(), body.clone(), body.clone()).prop_map(|(c, a, b)| Step::If(c, a, b)),
            1 => (any::<u8>(), body).prop_map(|(n, a)| Step::Repeat(n, a)),
        ]
    });
    prop::collection::vec(prop_oneof![4 => leaf(), 1 => nested], 1..40)
}

const INTS: [Type; 6] = [Type::I1, Type::I8, Type::I16, Type::I32, Type::I64, Type::I128];
const START: u64 = 0x1000;
const UNMAPPED: u64 = 0x9000;

struct Maker<'a> {
    b: &'a mut Builder,
    pool: Vec<Value>,
    vars: [Var; 3],
    pc: u64,
    depth: usize,
}

impl Maker<'_> {
    fn pick(&mut self, index: u8) -> Value {
        self.pool[index as usize % self.pool.len()]
    }
    /// The first of this type from an index on, or else one made from it.
    fn pick_of(&mut self, index: u8, ty: Type) -> Value {
        let count = self.pool.len();
        let from = (0..count).map(|n| self.pool[(usize::from(index) + n) % count]).find(|v| self.b.ty(*v) == ty);
        from.unwrap_or_else(|| self.pick_as(index, ty))
    }
    fn pick_as(&mut self, index: u8, ty: Type) -> Value {
        let v = self.pick(index);
        self.resize(v, ty, false)
    }
    fn resize(&mut self, v: Value, ty: Type, signed: bool) -> Value {
        let from = self.b.ty(v);
        if from.bits() > ty.bits() {
            self.b.trunc(ty, v)
        } else if signed {
            self.b.sext(ty, v)
        } else {
            self.b.zext(ty, v)
        }
    }
    fn address(&mut self, index: u8) -> Value {
        let v = self.pick_as(index, Type::I64);
        let mask = self.b.iconst(Type::I64, 0x1f38);
        let v = self.b.binary(Op::And, v, mask);
        let base = self.b.iconst(Type::I64, 0x7f00 + u128::from(index % 8));
        self.b.binary(Op::Add, v, base)
    }
    fn mem(&self, size: u8, big: bool) -> Mem {
        Mem { size: 1 << size, big, align: if big { 4 } else { 1 }, mmu: 0, order: Order::Relaxed, atomic: false, physical: false }
    }
    fn mark(&mut self) {
        if self.depth == 0 {
            self.b.end_insn();
            self.b.mark(self.pc, self.pc + 4);
            self.pc += 4;
        }
    }
    fn body(&mut self, steps: &[Step]) {
        let outside = self.pool.len();
        self.depth += 1;
        for step in steps {
            self.step(step);
        }
        self.depth -= 1;
        self.pool.truncate(outside);
    }
    fn step(&mut self, step: &Step) {
        if self.b.ended() {
            return;
        }
        let v = match step {
            Step::Get(slot) => self.b.get(Slot(*slot)),
            Step::Set(slot, a) => {
                let v = self.pick_as(*a, SLOTS[*slot as usize].ty);
                return self.b.set(Slot(*slot), v);
            }
            Step::Const(ty, x) => self.b.iconst(INTS[*ty as usize % 6], u128::from(*x) | u128::from(*x) << 64),
            Step::Binary(op, a, b) => {
                let ops = [
                    Op::Add,
                    Op::Sub,
                    Op::Mul,
                    Op::And,
                    Op::Or,
                    Op::Xor,
                    Op::MulHighU,
                    Op::MulHighS,
                    Op::DivU,
                    Op::DivS,
                    Op::RemU,
                    Op::RemS,
                ];
                let a = self.pick(*a);
                let b = self.pick_as(*b, self.b.ty(a));
                self.b.binary(ops[*op as usize], a, b)
            }
            Step::Shift(op, a, b) => {
                let (a, b) = (self.pick(*a), self.pick(*b));
                self.b.binary([Op::Shl, Op::Shr, Op::Sar, Op::Ror][*op as usize], a, b)
            }
            Step::Unary(op, a) => {
                let a = self.pick(*a);
                self.b.unary([Op::Not, Op::Neg, Op::Clz, Op::Ctz, Op::Popcnt, Op::Bswap, Op::Bitrev][*op as usize], a)
            }
            Step::Carry(carry, a, b, c) => {
                let a = self.pick(*a);
                let (b, c) = (self.pick_as(*b, self.b.ty(a)), self.pick_as(*c, Type::I1));
                if *carry { self.b.carry_add(a, b, c) } else { self.b.overflow_add(a, b, c) }
            }
            Step::Cmp(cond, a, b) => {
                let a = self.pick(*a);
                let b = self.pick_as(*b, self.b.ty(a));
                self.b.cmp(Cond::ALL[*cond as usize], a, b)
            }
            Step::Select(c, a, b) => {
                let (c, a) = (self.pick_as(*c, Type::I1), self.pick(*a));
                let b = self.pick_as(*b, self.b.ty(a));
                self.b.select(c, a, b)
            }
            Step::Resize(a, ty, signed) => {
                let a = self.pick(*a);
                self.resize(a, INTS[*ty as usize % 6], *signed)
            }
            Step::Extract(a, ty, lo, len) => {
                let (a, ty) = (self.pick(*a), INTS[*ty as usize % 6]);
                let lo = u32::from(*lo) % self.b.ty(a).bits();
                let len = (1 + u32::from(*len) % 64).min(self.b.ty(a).bits() - lo).min(ty.bits());
                self.b.extract(ty, a, lo as u8, len as u8)
            }
            Step::Insert(a, b, lo, len) => {
                let (a, b) = (self.pick(*a), self.pick(*b));
                let lo = u32::from(*lo) % self.b.ty(a).bits();
                let len = (1 + u32::from(*len) % 64).min(self.b.ty(a).bits() - lo);
                self.b.insert(a, b, lo as u8, len as u8)
            }
            Step::Concat(a, b) => {
                let ty = [Type::I8, Type::I16, Type::I32, Type::I64][(*a % 4) as usize];
                let (a, b) = (self.pick_as(*a, ty), self.pick_as(*b, ty));
                self.b.concat(a, b)
            }
            Step::Load(a, size, big) => {
                if self.depth > 0 {
                    return;
                }
                self.mark();
                let at = self.address(*a);
                let mem = self.mem(*size, *big);
                self.b.load(mem, at)
            }
            Step::Store(a, x, size) => {
                if self.depth > 0 {
                    return;
                }
                self.mark();
                let at = self.address(*a);
                let x = self.pick_as(*x, INTS[*size as usize + 1]);
                let mem = self.mem(*size, *a & 1 != 0);
                return self.b.store(mem, at, x);
            }
            Step::Exclusive(a, x) => {
                if self.depth > 0 {
                    return;
                }
                self.mark();
                let at = self.address(*a & !7);
                let mem = Mem { align: 4, ..self.mem(2, false) };
                let old = self.b.load_exclusive(mem, at);
                self.pool.push(old);
                self.mark();
                let x = self.pick_as(*x, Type::I32);
                self.b.store_exclusive(mem, at, x)
            }
            Step::Vec(op, lane, a, b, c) => {
                let op = Vop::ALL[*op as usize];
                let lane = match op {
                    Vop::F32ToF16 | Vop::F16ToF32 => 1,
                    Vop::RecipEstU | Vop::RsqrtEstU => 2,
                    // Pairs and permutations are of two lanes at least, and what widens has room.
                    _ if op.is_float() => 2,
                    _ if op.shape() != Shape::Same && op.shape() != Shape::Dup => *lane % 3,
                    Vop::PairAddLongS | Vop::PairAddLongU => *lane % 3,
                    _ if *a & 1 == 0 => *lane % 3,
                    _ => *lane,
                };
                let ty = |at: usize| match op.shape() {
                    Shape::Widen => Type::I64,
                    Shape::Wide if at == 1 => Type::I64,
                    Shape::Wide | Shape::Narrow => Type::I128,
                    _ if *a & 1 == 0 => Type::I64,
                    _ => Type::I128,
                };
                let args: Vec<Value> =
                    [*a, *b, *c].into_iter().take(op.operands()).enumerate().map(|(at, v)| self.pick_as(v, ty(at))).collect();
                let bits = 8u64 << lane;
                let imm = match op {
                    Vop::FToS | Vop::FToU | Vop::SToF | Vop::UToF => u64::from(*c & 1) | u64::from(*c >> 3 & *c >> 1 & 31) << 32,
                    _ if op.is_float() => u64::from(*c % 4 != 0),
                    Vop::Dup => (u64::from(*b & 1) << 8) | (u64::from(*c) % (64 / bits)),
                    Vop::Ext => u64::from(*c % 8),
                    Vop::ShlImm
                    | Vop::SatShlImmS
                    | Vop::SatShlImmU
                    | Vop::SatShlImmSU
                    | Vop::ShlInsert
                    | Vop::ShlLongImmS
                    | Vop::ShlLongImmU => u64::from(*c) % bits,
                    _ => 1 + u64::from(*c) % bits,
                };
                if *c & 0x40 != 0 && !op.is_float() {
                    let saturated = self.b.vec_sat(op, lane, &args, imm);
                    self.pool.push(saturated);
                    if *c & 0x20 != 0 {
                        // Sticky.
                        let old = self.b.get(Slot(13));
                        let new = self.b.binary(Op::Or, old, saturated);
                        self.b.set(Slot(13), new);
                    }
                }
                self.b.vec(op, lane, &args, imm)
            }
            Step::Table(n, a, b) => {
                let args: Vec<Value> = (0..3 + n % 4).map(|at| self.pick_as(a.wrapping_add(at.wrapping_mul(*b)), Type::I64)).collect();
                self.b.table_lookup(args[0], args[1], &args[2..])
            }
            Step::Quad(store, a, q) => {
                if self.depth > 0 {
                    return;
                }
                self.mark();
                let at = self.address(*a);
                let eight = self.b.iconst(Type::I64, 8);
                let next = self.b.binary(Op::Add, at, eight);
                let (first, mem) = (self.mem(3, false), self.mem(3, false));
                let first = Mem { align: if a & 1 != 0 { 8 } else { 1 }, ..first };
                let (low, high) = [(6, 7), (28, 29)][usize::from(q & 1)];
                if *store {
                    let (x, y) = (self.b.get(Slot(low)), self.b.get(Slot(high)));
                    self.b.store(first, at, x);
                    return self.b.store(mem, next, y);
                }
                let x = self.b.load(first, at);
                self.b.set(Slot(low), x);
                let y = self.b.load(mem, next);
                return self.b.set(Slot(high), y);
            }
            Step::Half(a, lo) => {
                let a = self.pick_as(*a, Type::I128);
                self.b.extract(Type::I64, a, 64 * (lo & 1), 64)
            }
            Step::Float(op, a, b, double) => {
                let ty = if *double { Type::I64 } else { Type::I32 };
                let (a, b) = (self.pick_as(*a, ty), self.pick_as(*b, ty));
                match op {
                    0 => self.b.float(Fop::Add, 0, &[a, b]),
                    1 => self.b.float(Fop::Mul, 0, &[a, b]),
                    2 => self.b.float(Fop::Sqrt, 0, &[a]),
                    3 => self.b.float(Fop::Cmp, 0, &[a, b]),
                    4 => self.b.float(Fop::Fma, 0, &[a, b, a]),
                    5 => self.b.float_to_int(Type::I32, 0, true, Round::Zero, 0, 32, a),
                    6 => self.b.int_to_float(Type::I64, 0, true, Round::Env, 0, 32, a),
                    _ => self.b.float_convert(if *double { Type::I32 } else { Type::I64 }, 0, false, a),
                }
            }
            Step::Number(op, a, b, double) => {
                let ty = if *double { Type::I64 } else { Type::I32 };
                let (first, second) = (*a, *b);
                let (a, b) = (self.pick_of(first, ty), self.pick_of(second, ty));
                match op {
                    0 | 1 => self.b.float(Fop::Add, 0, &[a, b]),
                    2 => self.b.float(Fop::Sub, 0, &[a, b]),
                    3 | 4 => self.b.float(Fop::Mul, 0, &[a, b]),
                    5 | 6 => self.b.float(Fop::Div, 0, &[a, b]),
                    7 => self.b.float(Fop::Sqrt, 0, &[a]),
                    8 | 9 => {
                        let how = self.b.float(if *op == 8 { Fop::Cmp } else { Fop::CmpSignal }, 0, &[a, b]);
                        let result = self.b.iconst(Type::I8, u128::from(second % 4));
                        self.b.cmp(Cond::Eq, how, result)
                    }
                    10 => self.b.float_to_int(Type::I32, 0, second % 3 != 0, Round::Zero, 0, 32, a),
                    11 | 12 => {
                        let a = self.pick_of(first, Type::I32);
                        self.b.int_to_float(ty, 0, *op == 11, Round::Env, 0, 32, a)
                    }
                    13 => self.b.float_convert(if *double { Type::I32 } else { Type::I64 }, 0, false, a),
                    _ => {
                        // A sign.
                        let mask = if *double { 1u128 << 63 } else { 1 << 31 };
                        let mask = self.b.iconst(ty, if *op == 14 { mask } else { mask - 1 });
                        self.b.binary(if *op == 14 { Op::Xor } else { Op::And }, a, mask)
                    }
                }
            }
            Step::Call(id, a) => {
                if *id == 1 && self.depth > 0 {
                    return;
                }
                self.mark();
                let a = self.pick_as(*a, Type::I32);
                match self.b.call(u16::from(*id), &[a], HELPERS[*id as usize].result) {
                    Some(v) => v,
                    None => return,
                }
            }
            Step::VarGet(var) => self.b.var_get(self.vars[*var as usize]),
            Step::VarSet(var, a) => {
                let v = self.pick_as(*a, Type::I32);
                return self.b.var_set(self.vars[*var as usize], v);
            }
            Step::If(c, yes, no) => {
                let c = self.pick_as(*c, Type::I1);
                self.b.begin_if(c);
                self.body(yes);
                self.b.begin_else();
                self.body(no);
                return self.b.end_if();
            }
            Step::Repeat(n, body) => {
                // A counted loop over r0, with the work in between.
                let n = self.b.iconst(Type::I32, u128::from(*n % 5));
                self.b.set(Slot(0), n);
                self.b.begin_repeat();
                let left = self.b.get(Slot(0));
                let zero = self.b.iconst(Type::I32, 0);
                let done = self.b.cmp(Cond::Sle, left, zero);
                self.b.break_if(done);
                let one = self.b.iconst(Type::I32, 1);
                let left = self.b.binary(Op::Sub, left, one);
                // The body may write r0 itself: the counter is kept in a local then written after it.
                let counter = self.b.var(Type::I32);
                self.b.var_set(counter, left);
                let outside = self.pool.len();
                self.pool.push(left);
                let no_exits: Vec<Step> = body
                    .iter()
                    .filter(|s| {
                        matches!(
                            s,
                            Step::Get(_)
                                | Step::Set(..)
                                | Step::Binary(..)
                                | Step::Cmp(..)
                                | Step::VarGet(_)
                                | Step::VarSet(..)
                                | Step::Select(..)
                        )
                    })
                    .cloned()
                    .collect();
                self.body(&no_exits);
                self.pool.truncate(outside);
                let left = self.b.var_get(counter);
                self.b.set(Slot(0), left);
                self.b.commit_context();
                return self.b.end_repeat();
            }
            Step::Exit(kind, a) => {
                if self.depth == 0 {
                    return;
                }
                let a = self.pick_as(*a, Type::I64);
                return match kind {
                    0 => self.b.raise(2, &[a]),
                    _ => self.b.wait(*kind == 1, 0x2000 + u64::from(*kind)),
                };
            }
            Step::Flags(subtract, a, b, which) => {
                // As instruction sets write it: a + b, or a + !b + 1, with some of the flags.
                let (x, y) = (self.pick_as(*a, Type::I32), self.pick_as(*b, Type::I32));
                let y = if *subtract { self.b.unary(Op::Not, y) } else { y };
                let carry = self.b.iconst(Type::I1, (*subtract).into());
                let one = self.b.iconst(Type::I32, (*subtract).into());
                let sum = self.b.binary(Op::Add, x, y);
                let sum = self.b.binary(Op::Add, sum, one);
                let zero = self.b.iconst(Type::I32, 0);
                let n = self.b.extract(Type::I1, sum, 31, 1);
                let z = self.b.cmp(Cond::Eq, sum, zero);
                let (c, v) = (self.b.carry_add(x, y, carry), self.b.overflow_add(x, y, carry));
                for (bit, (slot, flag)) in [(13, n), (14, z), (16, c), (13, v)].into_iter().enumerate() {
                    if which >> bit & 1 != 0 {
                        self.b.set(Slot(slot), flag);
                    }
                    self.pool.push(flag);
                }
                if which & 16 != 0 {
                    self.b.set(Slot(u16::from(which >> 6)), sum);
                }
                sum
            }
            Step::Mark => return self.mark(),
        };
        self.pool.push(v);
    }
}

/// How often a loop goes round, and the slot that counts.
const ROUNDS: u128 = 5;
const ROUND: Slot = Slot(20);

fn build(steps: &[Step], rounds: bool, b: &mut Builder) {
    let vars = [b.var(Type::I32), b.var(Type::I32), b.var(Type::I32)];
    let zero = b.iconst(Type::I32, 0);
    let mut maker = Maker { b, pool: vec![zero], vars, pc: START, depth: 0 };
    maker.mark();
    for slot in [0, 4, 5, 25, 26, 27] {
        let v = maker.b.get(Slot(slot));
        maker.pool.push(v);
    }
    for step in steps {
        maker.step(step);
    }
    maker.b.end_insn();
    let next = maker.pc;
    if !b.ended() && rounds {
        let (left, one, none) = (b.get(ROUND), b.iconst(Type::I64, 1), b.iconst(Type::I64, 0));
        let left = b.binary(Op::Sub, left, one);
        b.set(ROUND, left);
        let last = b.cmp(Cond::Eq, left, none);
        b.begin_if(last);
        b.wait(false, next);
        b.end_if();
        b.jump(START);
    } else if !b.ended() {
        b.wait(false, next);
    }
}

fn lower_exception(id: u16, b: &mut Builder) {
    let id = b.iconst(Type::I64, u128::from(id));
    b.set(Slot(23), id);
    b.wait(false, 0x3000);
}

/// What it executes, and whether that is a loop.
struct Random(Vec<Step>, bool);

impl Isa for Random {
    fn name(&self) -> &'static str {
        "random"
    }
    fn layout(&self) -> &'static StateLayout {
        &LAYOUT
    }
    fn float_envs(&self) -> &'static [FloatEnvDesc] {
        &ENVS
    }
    fn helpers(&self) -> &'static [HelperDesc] {
        &HELPERS
    }
    fn pc(&self) -> Slot {
        PC
    }
    fn exception_args(&self) -> [Slot; 4] {
        [Slot(20), Slot(21), Slot(22), Slot(23)]
    }
    fn block_key(&self, _state: &[u64]) -> BlockKey {
        BlockKey(0)
    }
    fn key_parts(&self) -> &'static [KeyPart] {
        &[]
    }
    fn space_tag(&self, _state: &[u64]) -> u32 {
        0
    }
    fn fetch_mmu(&self, _key: BlockKey) -> u8 {
        0
    }
    fn translate(
        &self,
        _pc: u64,
        _key: BlockKey,
        _max: u32,
        _fetch: &mut dyn FnMut(u64, u8) -> Result<u64, FetchFault>,
        b: &mut Builder,
    ) -> Result<(), FetchFault> {
        build(&self.0, self.1, b);
        Ok(())
    }
    fn lower_exception(&self, id: u16, b: &mut Builder) {
        lower_exception(id, b);
    }
    fn exception_name(&self, _id: u16) -> &'static str {
        "exception"
    }
    fn interrupt(&self, _state: &[u64], _lines: u64) -> Option<Exception> {
        None
    }
    fn wakes(&self, _state: &[u64], _lines: u64) -> bool {
        false
    }
    fn translate_address(&self, _cx: &mut HelperCx<'_>, va: u64, _kind: AccessKind, _mmu: u8) -> Result<Translation, Exception> {
        if va >= UNMAPPED {
            return Err(Exception { id: 0, args: [va, 0, 0, 0] });
        }
        Ok(Translation { phys: GuestPhys(va), page_shift: 12, read: true, write: true, execute: true, global: true })
    }
    fn alignment_fault(&self, _cx: &mut HelperCx<'_>, va: u64, _kind: AccessKind) -> Exception {
        Exception { id: 0, args: [va, 98, 0, 0] }
    }
    fn bus_fault(&self, _cx: &mut HelperCx<'_>, va: u64, _kind: AccessKind) -> Exception {
        Exception { id: 0, args: [va, 99, 0, 0] }
    }
    fn call(&self, id: u16, cx: &mut HelperCx<'_>, args: &[u64; 6]) -> Result<u64, Exception> {
        helper(id, cx.state, args)
    }
    fn reset(&self, _state: &mut [u64]) {}
}

struct Ram<'a>(&'a RamBlock);

impl World for Ram<'_> {
    fn load(&mut self, at: u64, mem: Mem) -> Result<u64, Exception> {
        self.probe(at, mem, false)?;
        Ok(self.0.read(at, mem.size).unwrap())
    }
    fn store(&mut self, at: u64, value: u64, mem: Mem) -> Result<(), Exception> {
        self.probe(at, mem, true)?;
        assert!(self.0.write(at, mem.size, value));
        Ok(())
    }
    fn probe(&mut self, at: u64, mem: Mem, _write: bool) -> Result<(), Exception> {
        if !at.is_multiple_of(u64::from(mem.align)) {
            return Err(Exception { id: 0, args: [at, 98, 0, 0] });
        }
        if at >= UNMAPPED {
            return Err(Exception { id: 0, args: [at, 0, 0, 0] });
        }
        if at + u64::from(mem.size) > UNMAPPED {
            return Err(Exception { id: 0, args: [UNMAPPED, 0, 0, 0] });
        }
        Ok(())
    }
    fn call(&mut self, id: u16, state: &mut [u64], args: &[u64; 6]) -> Result<u64, Exception> {
        helper(id, state, args)
    }
}

/// What is left after a block and the exception it raised.
fn outcome(block: &Block, state: &[u64], ram: &RamBlock) -> (Vec<u64>, Vec<u8>) {
    let mut state = state.to_vec();
    fill(ram);
    let mut exit = run(block, &LAYOUT, &ENVS, &mut state, &mut Ram(ram));
    while matches!(exit, Exit::Jump(START, _)) {
        exit = run(block, &LAYOUT, &ENVS, &mut state, &mut Ram(ram));
    }
    match exit {
        Exit::Jump(pc, _) | Exit::Wait(_, pc) => LAYOUT.write(&mut state, PC, pc.into()),
        Exit::Fault(pc, exception) => {
            LAYOUT.write(&mut state, PC, pc.into());
            for (slot, value) in [20, 21, 22, 23].into_iter().zip(exception.args) {
                LAYOUT.write(&mut state, Slot(slot), value.into());
            }
            let mut b = Builder::plain(&LAYOUT);
            lower_exception(exception.id, &mut b);
            run(&b.finish(), &LAYOUT, &ENVS, &mut state, &mut Ram(ram));
            LAYOUT.write(&mut state, PC, 0x3000);
        }
    }
    let mut bytes = vec![0; 0x3000];
    ram.copy_out(0x7000, &mut bytes);
    (state, bytes)
}

fn well_formed(block: &Block) {
    let printed = text::print(block, &LAYOUT);
    if let Err(error) = verify::verify(block, &LAYOUT, Some(&HELPERS)) {
        panic!("{error}\n{printed}");
    }
    let again = text::parse(&printed, &LAYOUT).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(text::print(&again, &LAYOUT), printed);
    assert_eq!(again.guest_insns, block.guest_insns);
}

fn agree(steps: Vec<Step>, rounds: bool, initial: impl Fn(usize, u16) -> u128) -> Result<(), TestCaseError> {
    let mut b = Builder::plain(&LAYOUT);
    build(&steps, rounds, &mut b);
    let plain = b.finish();
    well_formed(&plain);
    let isa = Random(steps.clone(), rounds);
    let mut b = Builder::for_isa(&isa);
    build(&steps, rounds, &mut b);
    let mut optimised = b.finish();
    well_formed(&optimised);
    Passes::new(&isa).optimise(&mut optimised);
    well_formed(&optimised);

    let bus = Bus::new(&[]);
    let mut engine = Engine::new(Arc::new(isa), 0);
    let mut state = engine.state().to_vec();
    for (index, slot) in USED.into_iter().chain(QUADS).enumerate() {
        LAYOUT.write(&mut state, Slot(slot), initial(index, slot));
    }
    LAYOUT.write(&mut state, PC, START.into());
    if rounds {
        LAYOUT.write(&mut state, ROUND, ROUNDS);
    }
    let expected = outcome(&plain, &state, &bus.ram);
    let better = outcome(&optimised, &state, &bus.ram);
    prop_assert_eq!(
        &expected.0,
        &better.0,
        "state after the passes\n{}\n{}",
        text::print(&plain, &LAYOUT),
        text::print(&optimised, &LAYOUT)
    );
    prop_assert!(expected.1 == better.1, "memory after the passes");

    let regions = || Tiers::All { workers: Arc::new(Workers::new(0, |make| make())), threshold: 1, thorough: true };
    for tier in ["interpreter", "quick tier", "quick tier, again", "regions", "regions, again"] {
        if tier == "quick tier" && !engine.use_quick_tier() || tier == "regions" && !rounds {
            break;
        }
        if tier == "regions" {
            engine = Engine::new(Arc::new(Random(steps.clone(), rounds)), 0);
            engine.use_tiers(&regions());
        }
        fill(&bus.ram);
        engine.state_mut().copy_from_slice(&state);
        engine.run(&bus);
        prop_assert_eq!(engine.stats().interpreted, 0, "the quick tier takes every operation");
        let mut bytes = vec![0; 0x3000];
        bus.ram.copy_out(0x7000, &mut bytes);
        prop_assert!(expected.1 == bytes, "memory after the {tier}\n{}", text::print(&optimised, &LAYOUT));
        prop_assert_eq!(&expected.0[..], engine.state(), "state after the {}\n{}", tier, text::print(&optimised, &LAYOUT));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn executors_and_passes_agree(steps in steps(), seeds in prop::array::uniform8(any::<u64>())) {
        agree(steps, false, |index, _| u128::from(seeds[index % 8].rotate_left(index as u32)))?;
    }

    #[test]
    fn vectors_agree(steps in vector_steps(), seeds in prop::array::uniform8(lanes())) {
        agree(steps, false, quads(&seeds))?;
    }

    #[test]
    fn loops_of_vectors_agree(steps in vector_steps(), seeds in prop::array::uniform8(lanes())) {
        agree(steps, true, quads(&seeds))?;
    }

    #[test]
    fn loops_agree(steps in steps(), seeds in prop::array::uniform8(any::<u64>())) {
        agree(steps, true, |index, _| u128::from(seeds[index % 8].rotate_left(index as u32)))?;
    }

    #[test]
    fn loops_of_numbers_agree(steps in number_steps(), seeds in prop::array::uniform8(number())) {
        agree(steps, true, quads(&seeds))?;
    }
}

/// What slots hold at the beginning.
fn quads(seeds: &[u64; 8]) -> impl Fn(usize, u16) -> u128 {
    |index, slot| match QUADS.iter().position(|q| *q == slot) {
        Some(quad) => u128::from(seeds[2 * quad]) | u128::from(seeds[2 * quad + 1]) << 64,
        None if slot == 18 => 0,
        None => u128::from(seeds[index % 8]),
    }
}

fn fill(ram: &RamBlock) {
    for index in 0..0x600 {
        ram.write_u64(0x7000 + 8 * index, index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}

//! Types, values, operations and blocks of the IR.

use crate::state::Slot;
use serde::{Deserialize, Serialize};

/// The type of a value. Integers carry no sign; operations do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Type {
    /// One bit: conditions and flags.
    I1,
    /// 8 bits.
    I8,
    /// 16 bits.
    I16,
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
    /// 128 bits.
    I128,
    /// IEEE 754 binary16 (conversions only).
    F16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// x87 double extended (80 bits, held in 128).
    F80,
    /// A 64-bit vector; operations give the lane.
    V64,
    /// A 128-bit vector.
    V128,
}

impl Type {
    /// Width in bits; that of the container (128) for [`Type::F80`].
    pub const fn bits(self) -> u32 {
        match self {
            Type::I1 => 1,
            Type::I8 => 8,
            Type::I16 | Type::F16 => 16,
            Type::I32 | Type::F32 => 32,
            Type::I64 | Type::F64 | Type::V64 => 64,
            Type::I128 | Type::F80 | Type::V128 => 128,
        }
    }

    /// All bits of the type set.
    pub const fn mask(self) -> u128 {
        const MASKS: [u128; Type::ALL.len()] = {
            let mut masks = [0; Type::ALL.len()];
            let mut at = 0;
            while at < masks.len() {
                masks[at] = u128::MAX >> (128 - Type::ALL[at].bits());
                at += 1;
            }
            masks
        };
        MASKS[self as usize]
    }

    /// The integer type of `bits` bits (1, 8, 16, 32, 64 or 128).
    pub const fn int(bits: u32) -> Option<Type> {
        Some(match bits {
            1 => Type::I1,
            8 => Type::I8,
            16 => Type::I16,
            32 => Type::I32,
            64 => Type::I64,
            128 => Type::I128,
            _ => return None,
        })
    }

    /// The integer type of the same width.
    pub const fn to_int(self) -> Type {
        match self {
            Type::F16 => Type::I16,
            Type::F32 => Type::I32,
            Type::F64 | Type::V64 => Type::I64,
            Type::F80 | Type::V128 => Type::I128,
            int => int,
        }
    }

    /// The floating-point type of the same width (I128: [`Type::F80`]).
    pub const fn to_float(self) -> Option<Type> {
        Some(match self.to_int() {
            Type::I16 => Type::F16,
            Type::I32 => Type::F32,
            Type::I64 => Type::F64,
            Type::I128 => Type::F80,
            _ => return None,
        })
    }

    /// The vector type of the same width.
    pub const fn to_vector(self) -> Option<Type> {
        Some(match self.to_int() {
            Type::I64 => Type::V64,
            Type::I128 => Type::V128,
            _ => return None,
        })
    }

    /// True for I1 ... I128.
    pub const fn is_int(self) -> bool {
        matches!(self, Type::I1 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::I128)
    }

    /// True for F16 ... F80.
    pub const fn is_float(self) -> bool {
        matches!(self, Type::F16 | Type::F32 | Type::F64 | Type::F80)
    }

    /// True for V64 and V128.
    pub const fn is_vector(self) -> bool {
        matches!(self, Type::V64 | Type::V128)
    }

    /// 64-bit cells a value occupies.
    pub const fn cells(self) -> u16 {
        if self.bits() > 64 { 2 } else { 1 }
    }
}

/// An SSA value: the result of the instruction that defines it, within one block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Value(pub u32);

impl Value {
    /// No value: fills unused argument places.
    pub const NONE: Value = Value(u32::MAX);
}

/// A mutable local of one block: the only way a value crosses the end of an `if` or `repeat` body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Var(pub u32);

/// How a memory access is done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Mem {
    /// Size in bytes: 1, 2, 4, 8 or 16.
    pub size: u8,
    /// Big-endian byte order.
    pub big: bool,
    /// Required alignment in bytes (1: none). A misaligned address raises the ISA's alignment fault before anything happens.
    pub align: u8,
    /// What the exception of a misaligned address is told of the instruction.
    pub note: u16,
    /// Which MMU index (privilege view) translates the address.
    pub mmu: u8,
    /// Ordering of this access.
    pub order: Order,
    /// Must be single-copy atomic (exclusives, aligned LDRD with LPAE ...).
    pub atomic: bool,
    /// The address is physical (boot loaders, MMU helpers): no translation.
    pub physical: bool,
}

/// Memory ordering of an access or fence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Order {
    /// No ordering of its own.
    Relaxed,
    /// Load-acquire.
    Acquire,
    /// Store-release.
    Release,
    /// Sequentially consistent; a full fence.
    SeqCst,
}

/// Integer comparison.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Cond {
    Eq,
    Ne,
    Ult,
    Ule,
    Slt,
    Sle,
}

/// Floating-point operations; the environment (rounding, flush, NaN rule, sticky flags) is named by index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Fop {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// Square root of `a`.
    Sqrt,
    /// `a + b * c`, one rounding (the addend first, as on ARM).
    Fma,
    /// Minimum, NaN propagates.
    Min,
    /// Maximum, NaN propagates.
    Max,
    /// IEEE 754-2008 minNum.
    MinNum,
    /// IEEE 754-2008 maxNum.
    MaxNum,
    /// Quiet comparison: I8 result: 0 less, 1 equal, 2 greater, 3 unordered.
    Cmp,
    /// Comparison that signals on any NaN; same result.
    CmpSignal,
    /// Reciprocal step, ARM VRECPS: 2 - a*b.
    RecipStep,
    /// Reciprocal square root step, ARM VRSQRTS: (3 - a*b)/2.
    RsqrtStep,
    /// Reciprocal estimate, ARM VRECPE.
    RecipEst,
    /// Reciprocal square root estimate, ARM VRSQRTE.
    RsqrtEst,
}

/// Rounding of one operation: the environment's, or a fixed one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Round {
    Env,
    Nearest,
    Zero,
    Up,
    Down,
    NearestAway,
}

/// Vector operations over lanes. `lane` is the log2 of the lane's bytes (0: 8 bits ... 3: 64 bits) of the *narrow* side where widths differ.
/// The semantics of each name is written once, in `vector.rs`, for the interpreter; JIT tiers must agree with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Vop {
    // lanewise, two operands
    Add,
    Sub,
    Mul,
    And,
    Or,
    Xor,
    AndNot,
    OrNot,
    MinS,
    MinU,
    MaxS,
    MaxU,
    AbsDiffS,
    AbsDiffU,
    HalvAddS,
    HalvAddU,
    HalvSubS,
    HalvSubU,
    RoundHalvAddS,
    RoundHalvAddU,
    /// Saturating; or-s the environment's QC slot through result `sat` (see [`Op::VecSat`]).
    SatAddS,
    SatAddU,
    SatSubS,
    SatSubU,
    /// Saturating doubling multiply high half, plain and rounding.
    SatDblMulHigh,
    SatRoundDblMulHigh,
    CmpEq,
    CmpGtS,
    CmpGtU,
    CmpGeS,
    CmpGeU,
    Test,
    PolyMul,
    /// Shift each lane by the signed low byte of the other operand's lane (left if positive).
    ShlS,
    ShlU,
    RoundShlS,
    RoundShlU,
    SatShlS,
    SatShlU,
    SatRoundShlS,
    SatRoundShlU,
    // pairwise
    PairAdd,
    PairMinS,
    PairMinU,
    PairMaxS,
    PairMaxU,
    PairAddLongS,
    PairAddLongU,
    // one operand
    Neg,
    Abs,
    SatNeg,
    SatAbs,
    Not,
    CountLeadSign,
    CountLeadZero,
    PopCount,
    Rev16,
    Rev32,
    Rev64,
    RecipEstU,
    RsqrtEstU,
    // immediate shifts (imm)
    ShlImm,
    ShrImmS,
    ShrImmU,
    RoundShrImmS,
    RoundShrImmU,
    SatShlImmS,
    SatShlImmU,
    SatShlImmSU,
    /// (d, a): a shifted left by `imm`, the vacated bits from d.
    ShlInsert,
    /// (d, a): a shifted right by `imm`, the vacated bits from d.
    ShrInsert,
    // widening: V64 operand(s) -> V128
    WidenS,
    WidenU,
    AddLongS,
    AddLongU,
    SubLongS,
    SubLongU,
    MulLongS,
    MulLongU,
    PolyMulLong,
    AbsDiffLongS,
    AbsDiffLongU,
    SatDblMulLong,
    ShlLongImmS,
    ShlLongImmU,
    // wide: V128 op V64
    AddWideS,
    AddWideU,
    SubWideS,
    SubWideU,
    // narrowing: V128 -> V64
    Narrow,
    SatNarrowS,
    SatNarrowU,
    SatNarrowSU,
    AddHighNarrow,
    RoundAddHighNarrow,
    SubHighNarrow,
    RoundSubHighNarrow,
    ShrNarrowImm,
    RoundShrNarrowImm,
    SatShrNarrowImmS,
    SatShrNarrowImmU,
    SatShrNarrowImmSU,
    SatRoundShrNarrowImmS,
    SatRoundShrNarrowImmU,
    SatRoundShrNarrowImmSU,
    // permutes
    /// (v): broadcasts lane `imm & 0xff`; the result is V128 if bit 8 of `imm` is set, else V64.
    Dup,
    /// (a, b): the bytes of b:a from byte `imm` on.
    Ext,
    Zip1,
    Zip2,
    Uzp1,
    Uzp2,
    Trn1,
    Trn2,
    /// Bit select: (a & c) | (b & !c), c the third operand.
    BitSelect,
    // floating-point lanes; environment index in `imm`
    FAdd,
    FSub,
    FMul,
    /// (acc, a, b): acc + a * b, two roundings.
    FMulAdd,
    /// (acc, a, b): acc - a * b, two roundings.
    FMulSub,
    /// (acc, a, b): acc + a * b, one rounding.
    FFma,
    /// (acc, a, b): acc - a * b, one rounding.
    FFms,
    FMin,
    FMax,
    FAbs,
    FNeg,
    FAbsDiff,
    FCmpEq,
    FCmpGe,
    FCmpGt,
    FAbsGe,
    FAbsGt,
    FPairAdd,
    FPairMin,
    FPairMax,
    FRecipEst,
    FRsqrtEst,
    FRecipStep,
    FRsqrtStep,
    /// Conversions of F32 lanes; fraction bits in the high half of `imm`.
    FToS,
    FToU,
    SToF,
    UToF,
    F32ToF16,
    F16ToF32,
}

impl Cond {
    /// Every one, in order of declaration.
    pub const ALL: [Cond; 6] = {
        use Cond::*;
        [Eq, Ne, Ult, Ule, Slt, Sle]
    };
}

impl Fop {
    /// Every one, in order of declaration.
    pub const ALL: [Fop; 16] = {
        use Fop::*;
        [Add, Sub, Mul, Div, Sqrt, Fma, Min, Max, MinNum, MaxNum, Cmp, CmpSignal, RecipStep, RsqrtStep, RecipEst, RsqrtEst]
    };
}

impl Round {
    /// Every one, in order of declaration.
    pub const ALL: [Round; 6] = {
        use Round::*;
        [Env, Nearest, Zero, Up, Down, NearestAway]
    };
}

impl Order {
    /// Every one, in order of declaration.
    pub const ALL: [Order; 4] = {
        use Order::*;
        [Relaxed, Acquire, Release, SeqCst]
    };
}

impl Vop {
    /// Every one, in order of declaration.
    pub const ALL: [Vop; 144] = {
        use Vop::*;
        [
            Add,
            Sub,
            Mul,
            And,
            Or,
            Xor,
            AndNot,
            OrNot,
            MinS,
            MinU,
            MaxS,
            MaxU,
            AbsDiffS,
            AbsDiffU,
            HalvAddS,
            HalvAddU,
            HalvSubS,
            HalvSubU,
            RoundHalvAddS,
            RoundHalvAddU,
            SatAddS,
            SatAddU,
            SatSubS,
            SatSubU,
            SatDblMulHigh,
            SatRoundDblMulHigh,
            CmpEq,
            CmpGtS,
            CmpGtU,
            CmpGeS,
            CmpGeU,
            Test,
            PolyMul,
            ShlS,
            ShlU,
            RoundShlS,
            RoundShlU,
            SatShlS,
            SatShlU,
            SatRoundShlS,
            SatRoundShlU,
            PairAdd,
            PairMinS,
            PairMinU,
            PairMaxS,
            PairMaxU,
            PairAddLongS,
            PairAddLongU,
            Neg,
            Abs,
            SatNeg,
            SatAbs,
            Not,
            CountLeadSign,
            CountLeadZero,
            PopCount,
            Rev16,
            Rev32,
            Rev64,
            RecipEstU,
            RsqrtEstU,
            ShlImm,
            ShrImmS,
            ShrImmU,
            RoundShrImmS,
            RoundShrImmU,
            SatShlImmS,
            SatShlImmU,
            SatShlImmSU,
            ShlInsert,
            ShrInsert,
            WidenS,
            WidenU,
            AddLongS,
            AddLongU,
            SubLongS,
            SubLongU,
            MulLongS,
            MulLongU,
            PolyMulLong,
            AbsDiffLongS,
            AbsDiffLongU,
            SatDblMulLong,
            ShlLongImmS,
            ShlLongImmU,
            AddWideS,
            AddWideU,
            SubWideS,
            SubWideU,
            Narrow,
            SatNarrowS,
            SatNarrowU,
            SatNarrowSU,
            AddHighNarrow,
            RoundAddHighNarrow,
            SubHighNarrow,
            RoundSubHighNarrow,
            ShrNarrowImm,
            RoundShrNarrowImm,
            SatShrNarrowImmS,
            SatShrNarrowImmU,
            SatShrNarrowImmSU,
            SatRoundShrNarrowImmS,
            SatRoundShrNarrowImmU,
            SatRoundShrNarrowImmSU,
            Dup,
            Ext,
            Zip1,
            Zip2,
            Uzp1,
            Uzp2,
            Trn1,
            Trn2,
            BitSelect,
            FAdd,
            FSub,
            FMul,
            FMulAdd,
            FMulSub,
            FFma,
            FFms,
            FMin,
            FMax,
            FAbs,
            FNeg,
            FAbsDiff,
            FCmpEq,
            FCmpGe,
            FCmpGt,
            FAbsGe,
            FAbsGt,
            FPairAdd,
            FPairMin,
            FPairMax,
            FRecipEst,
            FRsqrtEst,
            FRecipStep,
            FRsqrtStep,
            FToS,
            FToU,
            SToF,
            UToF,
            F32ToF16,
            F16ToF32,
        ]
    };
}

impl Type {
    /// Every one, in order of declaration.
    pub const ALL: [Type; 12] = {
        use Type::*;
        [I1, I8, I16, I32, I64, I128, F16, F32, F64, F80, V64, V128]
    };
}

/// How the width of a [`Vop`]'s result follows from its operands'.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// The first operand's.
    Same,
    /// V64 operands, V128 result.
    Widen,
    /// (V128, V64), V128 result.
    Wide,
    /// V128 operands, V64 result.
    Narrow,
    /// By bit 8 of `imm` ([`Vop::Dup`]).
    Dup,
}

impl Vop {
    /// The shape of its operands and result.
    pub const fn shape(self) -> Shape {
        use Vop::*;
        match self {
            WidenS | WidenU | AddLongS | AddLongU | SubLongS | SubLongU | MulLongS | MulLongU | PolyMulLong | AbsDiffLongS
            | AbsDiffLongU | SatDblMulLong | ShlLongImmS | ShlLongImmU | F16ToF32 => Shape::Widen,
            AddWideS | AddWideU | SubWideS | SubWideU => Shape::Wide,
            Narrow
            | SatNarrowS
            | SatNarrowU
            | SatNarrowSU
            | AddHighNarrow
            | RoundAddHighNarrow
            | SubHighNarrow
            | RoundSubHighNarrow
            | ShrNarrowImm
            | RoundShrNarrowImm
            | SatShrNarrowImmS
            | SatShrNarrowImmU
            | SatShrNarrowImmSU
            | SatRoundShrNarrowImmS
            | SatRoundShrNarrowImmU
            | SatRoundShrNarrowImmSU
            | F32ToF16 => Shape::Narrow,
            Dup => Shape::Dup,
            _ => Shape::Same,
        }
    }

    /// Number of operands.
    pub const fn operands(self) -> usize {
        use Vop::*;
        match self {
            PairAddLongS
            | PairAddLongU
            | Neg
            | Abs
            | SatNeg
            | SatAbs
            | Not
            | CountLeadSign
            | CountLeadZero
            | PopCount
            | Rev16
            | Rev32
            | Rev64
            | RecipEstU
            | RsqrtEstU
            | ShlImm
            | ShrImmS
            | ShrImmU
            | RoundShrImmS
            | RoundShrImmU
            | SatShlImmS
            | SatShlImmU
            | SatShlImmSU
            | WidenS
            | WidenU
            | ShlLongImmS
            | ShlLongImmU
            | Narrow
            | SatNarrowS
            | SatNarrowU
            | SatNarrowSU
            | ShrNarrowImm
            | RoundShrNarrowImm
            | SatShrNarrowImmS
            | SatShrNarrowImmU
            | SatShrNarrowImmSU
            | SatRoundShrNarrowImmS
            | SatRoundShrNarrowImmU
            | SatRoundShrNarrowImmSU
            | Dup
            | FAbs
            | FNeg
            | FRecipEst
            | FRsqrtEst
            | FToS
            | FToU
            | SToF
            | UToF
            | F32ToF16
            | F16ToF32 => 1,
            BitSelect | FMulAdd | FMulSub | FFma | FFms => 3,
            _ => 2,
        }
    }

    /// True if it works on floating-point lanes in the environment `imm & 0xff` names, and may set its sticky flags.
    pub const fn is_float(self) -> bool {
        use Vop::*;
        matches!(
            self,
            FAdd | FSub
                | FMul
                | FMulAdd
                | FMulSub
                | FFma
                | FFms
                | FMin
                | FMax
                | FAbsDiff
                | FCmpEq
                | FCmpGe
                | FCmpGt
                | FAbsGe
                | FAbsGt
                | FPairAdd
                | FPairMin
                | FPairMax
                | FRecipEst
                | FRsqrtEst
                | FRecipStep
                | FRsqrtStep
                | FToS
                | FToU
                | SToF
                | UToF
                | F32ToF16
                | F16ToF32
        )
    }
}

/// An operation. Operands are `Inst::args` in the order given here; `ty` is the result's type unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Op {
    /// A constant: `imm` (low 64 bits) and `imm_hi`.
    Const,
    /// Reads a state slot.
    Get(Slot),
    /// Writes a state slot: (value). No result.
    Set(Slot),
    /// Reads a local.
    VarGet(Var),
    /// Writes a local: (value).
    VarSet(Var),
    /// Same bits as another type of the same width.
    Bitcast,
    /// Wrapping arithmetic: (a, b).
    Add,
    /// a - b.
    Sub,
    /// a * b, low half.
    Mul,
    /// a * b, high half, unsigned.
    MulHighU,
    /// a * b, high half, signed.
    MulHighS,
    /// Unsigned quotient; by zero gives 0.
    DivU,
    /// Signed quotient; by zero gives 0, MIN / -1 gives MIN.
    DivS,
    /// Unsigned remainder; by zero gives a.
    RemU,
    /// Signed remainder; by zero gives a, MIN % -1 gives 0.
    RemS,
    /// Bitwise: (a, b).
    And,
    /// a | b.
    Or,
    /// a ^ b.
    Xor,
    /// Shifts: (a, amount of type I32 or a's type). Amounts of the width or more give 0, or copies of the sign for `Sar`.
    Shl,
    /// Logical right.
    Shr,
    /// Arithmetic right.
    Sar,
    /// Rotate right; amount modulo width.
    Ror,
    /// One operand.
    Not,
    /// Two's complement negation.
    Neg,
    /// Count leading zeros: the width if a is 0; result of a's type.
    Clz,
    /// Count trailing zeros.
    Ctz,
    /// Number of ones.
    Popcnt,
    /// Reverse bytes.
    Bswap,
    /// Reverse bits.
    Bitrev,
    /// Carry out of a + b + c: (a, b, c: I1) -> I1.
    CarryAdd,
    /// Signed overflow of a + b + c: (a, b, c: I1) -> I1.
    OverflowAdd,
    /// Comparison: (a, b) -> I1.
    Cmp(Cond),
    /// (cond: I1, a, b): a if cond else b.
    Select,
    /// Zero-extension to `ty`.
    Zext,
    /// Sign-extension to `ty`.
    Sext,
    /// Low bits.
    Trunc,
    /// Bits `imm.lo .. imm.lo + len` of a, zero-extended: (a).
    Extract {
        /// Least bit.
        lo: u8,
        /// Number of bits.
        len: u8,
    },
    /// a with its bits lo.. replaced by the low `len` bits of b: (a, b).
    Insert {
        /// Least bit.
        lo: u8,
        /// Number of bits.
        len: u8,
    },
    /// The wide value hi:lo: (hi, lo), `ty` twice as wide.
    Concat,
    /// Memory load: (address: I32 or I64) -> integer of `mem.size`.
    Load(Mem),
    /// Memory store: (address, value).
    Store(Mem),
    /// Checks that an access of this kind would not fault: (address); `imm` 1 for a store. STM and its like check first, then write.
    Probe(Mem),
    /// Load and set the exclusive monitor: (address).
    LoadExclusive(Mem),
    /// Store if the monitor still holds: (address, value) -> I1: 1 if stored.
    StoreExclusive(Mem),
    /// Clear the exclusive monitor.
    ClearExclusive,
    /// Atomic swap: (address, new) -> old.
    Swap(Mem),
    /// Compare and swap: (address, expected, new) -> old.
    CompareSwap(Mem),
    /// Memory barrier.
    Fence(Order),
    /// Floating point: operands and result of `ty` (F16/F32/F64/F80), environment `env`.
    Float {
        /// Which operation.
        op: Fop,
        /// Index into the ISA's FP environments.
        env: u8,
    },
    /// Rounds to an integral value of the same format; `exact` raises inexact.
    FloatRound {
        /// Rounding.
        round: Round,
        /// Raises inexact.
        exact: bool,
        /// Environment.
        env: u8,
    },
    /// Converts between formats: (a) of another float type; `alt`: the F16 side is ARM alternative half precision, as this bit says.
    FloatConvert {
        /// Environment.
        env: u8,
        /// ARM alternative half precision.
        alt: bool,
    },
    /// Float (the argument's type) to integer `ty`, saturating, with `frac` fraction bits and `bits` significant result bits.
    FloatToInt {
        /// Environment.
        env: u8,
        /// Signed result.
        signed: bool,
        /// Rounding.
        round: Round,
        /// Fraction bits (0-64).
        frac: u8,
        /// Result is saturated to that many bits (16, 32, 64) and sign- or zero-extended to `ty`.
        bits: u8,
    },
    /// Integer to float `ty`.
    IntToFloat {
        /// Environment.
        env: u8,
        /// Signed source.
        signed: bool,
        /// Rounding.
        round: Round,
        /// Fraction bits.
        frac: u8,
        /// Only that many low bits of the source count.
        bits: u8,
    },
    /// Vector operation: (a[, b[, c]]); `imm` as the operation says; `ty` V64 or V128.
    Vec(Vop, u8),
    /// 1 if the saturating [`Vop`] of the same operands would saturate any lane: same operands -> I1.
    VecSat(Vop, u8),
    /// Lane `imm` of a vector, zero-extended to `ty`: (v); lane size log2 bytes.
    LaneGet(u8),
    /// A vector with lane `imm` replaced: (v, x).
    LaneSet(u8),
    /// ARM VTBL: (table of up to four V64 as arguments after the index vector; `imm` = number of registers; index, fallback: V64, t0, t1, t2, t3).
    TableLookup,
    /// Calls a declared helper: up to six arguments.
    Call(u16),
    /// Begins a conditional part: (cond: I1). Values defined inside do not leave it; use a [`Var`].
    If,
    /// Its other side.
    Else,
    /// Its end.
    EndIf,
    /// Begins a restartable loop; its progress is architected state (see `ir.md`).
    Repeat,
    /// Leaves the loop if the condition holds: (cond).
    BreakIf,
    /// Next round of the loop; a poll.
    EndRepeat,
    /// Instruction mark: `imm` = pc, `imm_hi` = next pc.
    Mark,
    /// Ends the block: execution continues at constant `imm`. The block key stays as it is.
    Jump,
    /// Ends the block at a computed address: (pc).
    JumpTo,
    /// Ends the block after state in the block key may have changed: (pc); the next key is computed anew.
    JumpRekey,
    /// Raises an exception of the ISA, state as at the last mark; up to four arguments.
    Raise(u16),
    /// Wait for interrupt (`imm` 0) or event (`imm` 1): ends the block, pc set to the next instruction, the vCPU sleeps until woken.
    Wait,
}

/// One instruction of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// Result type (or the operand type where there is no result).
    pub ty: Type,
    /// Operands; the places after the last hold [`Value::NONE`].
    pub args: [Value; 6],
    /// Immediate, by operation.
    pub imm: u64,
    /// High half of the immediate.
    pub imm_hi: u64,
    /// The value it defines, or [`Value::NONE`].
    pub res: Value,
}

impl Inst {
    /// An instruction without result or immediate.
    // Inlined where the number of operands is known, it is a few stores.
    #[inline(always)]
    pub fn new(op: Op, ty: Type, args: &[Value]) -> Inst {
        let mut all = [Value::NONE; 6];
        all[..args.len()].copy_from_slice(args);
        Inst { op, ty, args: all, imm: 0, imm_hi: 0, res: Value::NONE }
    }

    /// The operands in use.
    #[inline]
    pub fn operands(&self) -> impl Iterator<Item = Value> + '_ {
        self.args.iter().copied().take_while(|v| *v != Value::NONE)
    }

    /// The constant's value, if this is one.
    pub fn constant(&self) -> Option<u128> {
        matches!(self.op, Op::Const).then_some(u128::from(self.imm) | u128::from(self.imm_hi) << 64)
    }
}

impl Op {
    /// True if it does nothing but compute its result: removable when unused, and the same wherever its operands are the same
    /// ([`Op::Get`] and [`Op::VarGet`] depend on where they stand).
    pub const fn is_pure(self) -> bool {
        use Op::*;
        match self {
            Const
            | Bitcast
            | Add
            | Sub
            | Mul
            | MulHighU
            | MulHighS
            | DivU
            | DivS
            | RemU
            | RemS
            | And
            | Or
            | Xor
            | Shl
            | Shr
            | Sar
            | Ror
            | Not
            | Neg
            | Clz
            | Ctz
            | Popcnt
            | Bswap
            | Bitrev
            | CarryAdd
            | OverflowAdd
            | Cmp(_)
            | Select
            | Zext
            | Sext
            | Trunc
            | Extract { .. }
            | Insert { .. }
            | Concat
            | VecSat(..)
            | LaneGet(_)
            | LaneSet(_)
            | TableLookup => true,
            Vec(op, _) => !op.is_float(),
            _ => false,
        }
    }

    /// True if it accesses guest memory (and so may fault).
    pub const fn is_memory(self) -> bool {
        use Op::*;
        matches!(self, Load(_) | Store(_) | Probe(_) | LoadExclusive(_) | StoreExclusive(_) | Swap(_) | CompareSwap(_))
    }

    /// True if it ends the block.
    pub const fn is_exit(self) -> bool {
        use Op::*;
        matches!(self, Jump | JumpTo | JumpRekey | Raise(_) | Wait)
    }
}

/// A translated piece of guest code: straight line, with forward control flow inside instructions only.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// Instructions in order.
    pub insts: Vec<Inst>,
    /// Type of each value, by number.
    pub values: Vec<Type>,
    /// Type of each local, by number.
    pub vars: Vec<Type>,
    /// Number of guest instructions (marks).
    pub guest_insns: u32,
    /// Decoder-context slots, and what each holds where the block begins.
    pub context: Vec<(Slot, u64)>,
}

//! The floating-point units that can be asked, and the environment in which softfloat is to be like each.

use crate::Op;
use emu_softfloat::{Env, Flags, Fmt, InfZeroNan, IntInvalid, NanRule, Round};

/// A unit.
pub struct Peer {
    /// As the oracle knows it.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// The oracle's file.
    pub oracle: &'static str,
    /// What runs it.
    pub runner: &'static [&'static str],
    /// Modes to go through, as `oracle.c` numbers them.
    pub modes: &'static [u8],
    /// Environment by mode and rounding.
    pub env: fn(u8, Round) -> Env,
    /// Flags that are set before, by mode.
    pub sticky: fn(u8) -> Flags,
    /// Flags it has.
    pub flags: u8,
    /// What it can be asked.
    pub asks: &'static [(&'static [Op], Fmt)],
    /// Differences that are the unit's own fault, each with its reason there.
    pub excused: fn(&Op, Fmt, &[u128; 3], (u128, Flags), (u128, Flags)) -> bool,
}

const IEEE: u8 = 0x1f;

fn x86(round: Round) -> Env {
    Env {
        round,
        flush_inexact: true,
        report_denormals: true,
        nan_rule: NanRule::X86Sse,
        inf_zero_nan: InfZeroNan::PropagateQuietly,
        tininess_before: false,
        int_invalid: IntInvalid::Indefinite,
        ..Env::ARM
    }
}

fn never(_: &Op, _: Fmt, _: &[u128; 3], _: (u128, Flags), _: (u128, Flags)) -> bool {
    false
}

const ARITHMETIC: &[Op] = &[Op::Add, Op::Sub, Op::Mul, Op::Div];

fn arm(mode: u8, round: Round) -> Env {
    Env { round, flush_inputs: mode & 1 != 0, flush_outputs: mode & 1 != 0, default_nan: mode & 2 != 0, ..Env::ARM }
}

/// Inexact is set before the operation, which lets an emulator use the host's unit.
fn sticky(mode: u8) -> Flags {
    if mode & 4 != 0 { Flags::INEXACT } else { Flags::NONE }
}

const ARM: &[(&[Op], Fmt)] = &[
    (ARITHMETIC, Fmt::F32),
    (ARITHMETIC, Fmt::F64),
    (VFP, Fmt::F32),
    (VFP, Fmt::F64),
    (&[Op::ToF64], Fmt::F32),
    (&[Op::ToF32], Fmt::F64),
    (&[Op::ToF32, Op::ToF64], Fmt::F16),
];

/// All units.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "sse",
        title: "the host's SSE",
        oracle: "host",
        runner: &[],
        modes: &[0, 1, 2, 3],
        env: |mode, round| Env { flush_inputs: mode & 1 != 0, flush_outputs: mode & 2 != 0, ..x86(round) },
        sticky: |_| Flags::NONE,
        flags: 0x3f,
        asks: &[
            (ARITHMETIC, Fmt::F32),
            (ARITHMETIC, Fmt::F64),
            (SSE, Fmt::F32),
            (SSE, Fmt::F64),
            (&[Op::ToF64, Op::ToF16], Fmt::F32),
            (&[Op::ToF32], Fmt::F64),
            (&[Op::ToF32], Fmt::F16),
        ],
        excused: never,
    },
    Peer {
        name: "x87",
        title: "the host's x87",
        oracle: "host",
        runner: &[],
        modes: &[0, 2, 3],
        env: |mode, round| Env { nan_rule: NanRule::X87, precision: [24, 24, 53, 64][usize::from(mode)], ..x86(round) },
        sticky: |_| Flags::NONE,
        flags: 0x3f,
        asks: &[
            (ARITHMETIC, Fmt::F80),
            (
                &[
                    Op::Sqrt,
                    Op::RoundToInt,
                    Op::ToS32,
                    Op::ToS64,
                    Op::FromS32,
                    Op::FromS64,
                    Op::ToF32,
                    Op::ToF64,
                    Op::Compare,
                    Op::CompareSignalling,
                ],
                Fmt::F80,
            ),
            (&[Op::ToF80], Fmt::F32),
            (&[Op::ToF80], Fmt::F64),
        ],
        excused: never,
    },
    Peer {
        name: "quad",
        title: "GCC's quadruple precision library",
        oracle: "host",
        runner: &[],
        modes: &[0],
        env: |_, round| Env { nan_rule: NanRule::X87, report_denormals: false, ..x86(round) },
        sticky: |_| Flags::NONE,
        flags: IEEE,
        asks: &[
            (ARITHMETIC, Fmt::F128),
            (&[Op::ToF32, Op::ToF64, Op::ToF80, Op::Compare], Fmt::F128),
            (&[Op::ToF128], Fmt::F32),
            (&[Op::ToF128], Fmt::F64),
            (&[Op::ToF128], Fmt::F80),
        ],
        // What x87 does not support it takes for what it spells, pseudo-denormals for half of that; of NaNs that differ in sign it takes the first.
        excused: |_, fmt, x, _, _| {
            let odd = fmt == Fmt::F80 && (x[0] >> 63 & 1 != 0) != (x[0] >> 64 & 0x7fff != 0);
            odd || fmt == Fmt::F128 && x[0] ^ x[1] == 1 << 127
        },
    },
    Peer {
        name: "arm",
        title: "ARM's VFP in QEMU",
        oracle: "arm",
        runner: &["qemu-arm", "-cpu", "max"],
        modes: &[0, 1, 2, 3],
        env: arm,
        sticky,
        flags: 0x3f,
        asks: ARM,
        excused: never,
    },
    Peer {
        name: "emu",
        title: "ARM's VFP in `emu run`",
        oracle: "arm",
        runner: &["emu", "run"],
        modes: &[0, 1, 2, 3, 4, 5, 6],
        env: arm,
        sticky,
        flags: 0x3f,
        // Without what ARMv8 added.
        asks: &[
            (ARITHMETIC, Fmt::F32),
            (ARITHMETIC, Fmt::F64),
            (VFP_7, Fmt::F32),
            (VFP_7, Fmt::F64),
            (&[Op::ToF64, Op::ToF16], Fmt::F32),
            (&[Op::ToF32], Fmt::F64),
            (&[Op::ToF32], Fmt::F16),
        ],
        excused: never,
    },
    Peer {
        name: "s390x",
        title: "the s390x in QEMU",
        oracle: "s390x",
        runner: &["qemu-s390x"],
        modes: &[0],
        env: |_, round| Env { round, ..Env::ARM },
        sticky: |_| Flags::NONE,
        flags: IEEE,
        asks: &[
            (ARITHMETIC, Fmt::F128),
            (&[Op::Sqrt, Op::RoundToInt, Op::FromS64, Op::ToF32, Op::ToF64, Op::Compare, Op::CompareSignalling], Fmt::F128),
            (&[Op::ToF128], Fmt::F32),
            (&[Op::ToF128], Fmt::F64),
        ],
        excused: never,
    },
    Peer {
        name: "ppc",
        title: "the PowerPC in QEMU",
        oracle: "ppc",
        runner: &["qemu-ppc", "-cpu", "7447A"],
        modes: &[0],
        env: |_, round| Env {
            round,
            nan_rule: NanRule::PowerPc,
            inf_zero_nan: InfZeroNan::Propagate,
            int_invalid: IntInvalid::SaturateNanMin,
            ..Env::ARM
        },
        sticky: |_| Flags::NONE,
        flags: IEEE,
        asks: &[(ARITHMETIC, Fmt::F64), (&[Op::Fma, Op::ToS32, Op::ToF32], Fmt::F64), (ARITHMETIC, Fmt::F32)],
        excused: never,
    },
];

const SSE: &[Op] = &[Op::Sqrt, Op::Fma, Op::RoundToInt, Op::ToS32, Op::ToS64, Op::FromS32, Op::FromS64, Op::Compare, Op::CompareSignalling];

const VFP: &[Op] =
    &[Op::Sqrt, Op::Fma, Op::RoundToInt, Op::ToS32, Op::ToU32, Op::FromS32, Op::FromU32, Op::ToF16, Op::Compare, Op::CompareSignalling];

const VFP_7: &[Op] = &[Op::Sqrt, Op::Fma, Op::ToS32, Op::ToU32, Op::FromS32, Op::FromU32, Op::Compare, Op::CompareSignalling];

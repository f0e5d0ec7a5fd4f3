//! Binds the floating-point operations to the softfloat library, in the environments an instruction set describes.
//!
//! Data path: the environment's controls are read from state, the operation runs on raw encodings, its exceptions are or-ed into the sticky slot.
//! What an x86, PowerPC or MIPS environment does beyond its NaN rule and tininess
//! follows from the NaN rule, which names the architecture.

use crate::guest::{FloatEnvDesc, SlotOr};
use crate::op::{Fop, Inst, Op, Round, Type, Vop};
use crate::state::StateLayout;
use crate::vector::{join, lanes};
use emu_softfloat::{Env, Flags, Fmt, InfZeroNan, IntInvalid, NanRule};
use std::cmp::Ordering;

/// The controls of one operation.
struct Controls {
    env: Env,
    alt_half: bool,
}

fn controls(layout: &StateLayout, desc: &FloatEnvDesc, cells: &[u64]) -> Controls {
    let flag = |s: SlotOr| match s {
        SlotOr::Slot(slot) => layout.read(cells, slot) != 0,
        SlotOr::Const(x) => x,
    };
    let round = desc.round.map_or(0, |slot| layout.read(cells, slot) as usize & 3);
    let flush = flag(desc.flush);
    let x86 = matches!(desc.nan_rule, NanRule::X86Sse | NanRule::X87);
    let env = Env {
        round: desc.round_map[round],
        flush_inputs: flush,
        flush_outputs: flush,
        flush_inexact: x86,
        report_denormals: x86,
        precision: desc.precision.map_or(Env::WHOLE, |(slot, bits)| bits[layout.read(cells, slot) as usize & 3]),
        default_nan: flag(desc.default_nan),
        nan_rule: desc.nan_rule,
        inf_zero_nan: match desc.nan_rule {
            NanRule::X86Sse | NanRule::X87 => InfZeroNan::PropagateQuietly,
            NanRule::PowerPc => InfZeroNan::Propagate,
            _ => InfZeroNan::DefaultNan,
        },
        tininess_before: desc.tininess_before,
        int_invalid: match desc.nan_rule {
            NanRule::X86Sse | NanRule::X87 => IntInvalid::Indefinite,
            NanRule::PowerPc => IntInvalid::SaturateNanMin,
            NanRule::MipsLegacy => IntInvalid::Max,
            _ => IntInvalid::SaturateNanZero,
        },
    };
    Controls { env, alt_half: flag(desc.alt_half) }
}

fn rounding(round: Round, env: &Env) -> emu_softfloat::Round {
    match round {
        Round::Env => env.round,
        Round::Nearest => emu_softfloat::Round::NearestEven,
        Round::Zero => emu_softfloat::Round::Zero,
        Round::Up => emu_softfloat::Round::Up,
        Round::Down => emu_softfloat::Round::Down,
        Round::NearestAway => emu_softfloat::Round::NearestAway,
    }
}

/// The format of a type, F16 being ARM's alternative half precision if `alt`.
fn format(ty: Type, alt: bool) -> Option<Fmt> {
    match ty {
        Type::F16 if alt => Some(Fmt::Ahp),
        Type::F16 => Some(Fmt::F16),
        Type::F32 => Some(Fmt::F32),
        Type::F64 => Some(Fmt::F64),
        Type::F80 => Some(Fmt::F80),
        _ => None,
    }
}

/// Runs floating-point operation `inst`, whose first operand has type `from`, on these operands; its flags go to state. Formats
/// that are not modelled give 0.
pub fn eval(layout: &StateLayout, envs: &[FloatEnvDesc], cells: &mut [u64], inst: &Inst, from: Type, args: &[u128; 6]) -> u128 {
    let index = match inst.op {
        Op::Float { env, .. }
        | Op::FloatRound { env, .. }
        | Op::FloatConvert { env, .. }
        | Op::FloatToInt { env, .. }
        | Op::IntToFloat { env, .. } => env,
        _ => inst.imm as u8,
    };
    let Some(desc) = envs.get(index as usize) else { return 0 };
    let controls = controls(layout, desc, cells);
    let mut flags = Flags::NONE;
    let value = match inst.op {
        Op::Vec(op, lane) => vector(op, lane, inst, from, args, &controls, &mut flags),
        _ => scalar(inst, from, args, &controls, &mut flags).unwrap_or(0),
    };
    if flags != Flags::NONE {
        let sticky = layout.read(cells, desc.sticky);
        layout.write(cells, desc.sticky, sticky | u128::from(flags.0));
    }
    value & inst.ty.mask()
}

fn scalar(inst: &Inst, from: Type, args: &[u128; 6], controls: &Controls, flags: &mut Flags) -> Option<u128> {
    let env = &controls.env;
    let [a, b, c, ..] = *args;
    Some(match inst.op {
        Op::Float { op, .. } => {
            let fmt = format(from, false)?;
            match op {
                Fop::Add => fmt.add(a, b, env, flags),
                Fop::Sub => fmt.sub(a, b, env, flags),
                Fop::Mul => fmt.mul(a, b, env, flags),
                Fop::Div => fmt.div(a, b, env, flags),
                Fop::Sqrt => fmt.sqrt(a, env, flags),
                Fop::Fma => fmt.fma(a, b, c, env, flags),
                Fop::Min => fmt.min(a, b, env, flags),
                Fop::Max => fmt.max(a, b, env, flags),
                Fop::MinNum => fmt.min_num(a, b, env, flags),
                Fop::MaxNum => fmt.max_num(a, b, env, flags),
                Fop::Cmp => relation(fmt.compare(a, b, env, flags)),
                Fop::CmpSignal => relation(fmt.compare_signalling(a, b, env, flags)),
                Fop::RecipStep => fmt.recip_step(a, b, env, flags),
                Fop::RsqrtStep => fmt.rsqrt_step(a, b, env, flags),
                Fop::RecipEst => fmt.recip_estimate(a, env, flags),
                Fop::RsqrtEst => fmt.rsqrt_estimate(a, env, flags),
            }
        }
        Op::FloatRound { round, exact, .. } => format(from, false)?.round_to_int(a, rounding(round, env), exact, env, flags),
        Op::FloatConvert { alt, .. } => {
            let alt = alt || controls.alt_half;
            format(from, alt)?.convert(format(inst.ty, alt)?, a, env, flags)
        }
        Op::FloatToInt { signed, round, frac, bits, .. } => {
            format(from, false)?.to_int(a, signed, bits.into(), frac.into(), rounding(round, env), env, flags).into()
        }
        Op::IntToFloat { signed, round, frac, bits, .. } => {
            format(inst.ty, false)?.from_int(a as u64, signed, bits.into(), frac.into(), rounding(round, env), env, flags)
        }
        _ => return None,
    })
}

fn relation(ordering: Option<Ordering>) -> u128 {
    match ordering {
        Some(Ordering::Less) => 0,
        Some(Ordering::Equal) => 1,
        Some(Ordering::Greater) => 2,
        None => 3,
    }
}

fn vector(op: Vop, lane: u8, inst: &Inst, from: Type, args: &[u128; 6], controls: &Controls, flags: &mut Flags) -> u128 {
    let env = &controls.env;
    let bits = 8u32 << lane;
    let Some(fmt) = Fmt::of_width(bits) else { return 0 };
    let all = u128::MAX >> (128 - bits);
    let frac = (inst.imm >> 32) as u32 as i32;
    let width = from.bits();
    let [a, b, c] = [lanes(args[0], width, bits), lanes(args[1], width, bits), lanes(args[2], width, bits)];
    let mut each = |f: &mut dyn FnMut(u128, u128, u128, &mut Flags) -> u128| {
        join(a.clone().zip(b.clone()).zip(c.clone()).map(|((a, b), c)| f(a, b, c, flags)), bits)
    };
    let truth = |yes: bool| if yes { all } else { 0 };
    match op {
        Vop::FAdd => each(&mut |a, b, _, f| fmt.add(a, b, env, f)),
        Vop::FSub => each(&mut |a, b, _, f| fmt.sub(a, b, env, f)),
        Vop::FMul => each(&mut |a, b, _, f| fmt.mul(a, b, env, f)),
        Vop::FMulAdd => each(&mut |acc, a, b, f| {
            let product = fmt.mul(a, b, env, f);
            fmt.add(acc, product, env, f)
        }),
        Vop::FMulSub => each(&mut |acc, a, b, f| {
            let product = fmt.mul(a, b, env, f);
            fmt.add(acc, fmt.neg(product), env, f)
        }),
        Vop::FFma => each(&mut |acc, a, b, f| fmt.fma(acc, a, b, env, f)),
        Vop::FFms => each(&mut |acc, a, b, f| fmt.fma(acc, fmt.neg(a), b, env, f)),
        Vop::FMin => each(&mut |a, b, _, f| fmt.min(a, b, env, f)),
        Vop::FMax => each(&mut |a, b, _, f| fmt.max(a, b, env, f)),
        Vop::FAbsDiff => each(&mut |a, b, _, f| fmt.abs(fmt.sub(a, b, env, f))),
        Vop::FCmpEq => each(&mut |a, b, _, f| truth(fmt.compare(a, b, env, f) == Some(Ordering::Equal))),
        Vop::FCmpGe => each(&mut |a, b, _, f| truth(fmt.compare_signalling(a, b, env, f).is_some_and(Ordering::is_ge))),
        Vop::FCmpGt => each(&mut |a, b, _, f| truth(fmt.compare_signalling(a, b, env, f).is_some_and(Ordering::is_gt))),
        Vop::FAbsGe => each(&mut |a, b, _, f| truth(fmt.compare_signalling(fmt.abs(a), fmt.abs(b), env, f).is_some_and(Ordering::is_ge))),
        Vop::FAbsGt => each(&mut |a, b, _, f| truth(fmt.compare_signalling(fmt.abs(a), fmt.abs(b), env, f).is_some_and(Ordering::is_gt))),
        Vop::FPairAdd | Vop::FPairMin | Vop::FPairMax => {
            let all: Vec<u128> = a.chain(b).collect();
            let pair = |pair: &[u128]| match op {
                Vop::FPairAdd => fmt.add(pair[0], pair[1], env, flags),
                Vop::FPairMin => fmt.min(pair[0], pair[1], env, flags),
                _ => fmt.max(pair[0], pair[1], env, flags),
            };
            join(all.chunks_exact(2).map(pair), bits)
        }
        Vop::FRecipEst => each(&mut |a, _, _, f| fmt.recip_estimate(a, env, f)),
        Vop::FRsqrtEst => each(&mut |a, _, _, f| fmt.rsqrt_estimate(a, env, f)),
        Vop::FRecipStep => each(&mut |a, b, _, f| fmt.recip_step(a, b, env, f)),
        Vop::FRsqrtStep => each(&mut |a, b, _, f| fmt.rsqrt_step(a, b, env, f)),
        Vop::FToS => each(&mut |a, _, _, f| fmt.to_int(a, true, bits, frac, emu_softfloat::Round::Zero, env, f).into()),
        Vop::FToU => each(&mut |a, _, _, f| fmt.to_int(a, false, bits, frac, emu_softfloat::Round::Zero, env, f).into()),
        Vop::SToF => each(&mut |a, _, _, f| fmt.from_int(a as u64, true, bits, frac, env.round, env, f)),
        Vop::UToF => each(&mut |a, _, _, f| fmt.from_int(a as u64, false, bits, frac, env.round, env, f)),
        Vop::F32ToF16 => {
            let half = if controls.alt_half { Fmt::Ahp } else { Fmt::F16 };
            join(lanes(args[0], 128, 32).map(|x| Fmt::F32.convert(half, x, env, flags)), 16)
        }
        Vop::F16ToF32 => {
            let half = if controls.alt_half { Fmt::Ahp } else { Fmt::F16 };
            join(lanes(args[0], 64, 16).map(|x| half.convert(Fmt::F32, x, env, flags)), 32)
        }
        _ => 0,
    }
}

//! Floating point by the host, where it gives the guest's answer: to nearest, nothing flushed, and no NaN comes of it. All else is called.
//!
//! The host's MXCSR gathers the sticky flags while generated code runs ([`Context::gather`]). Its underflow is detected after rounding: a result that
//! may have been rounded up to the least normal number is called too.

use super::super::Context;
use super::super::code::{Operand, Side};
use super::cold::{Cold, Into};
use super::emit::Emitter;
use super::regs::RAX;
use super::shape::suits;
use crate::guest::Isa;
use crate::op::{Fop, Op, Round, Type};
use crate::state::Slot;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use emu_softfloat::Flags;

/// MXCSR as guest code begins with it: to nearest, nothing flushed, all exceptions masked, none seen.
pub const MXCSR: u32 = 0x1f80;

/// What generated code compares results with.
pub struct Constants {
    /// All but the sign.
    pub magnitude: [u64; 2],
    /// The least normal number.
    pub normal: [u64; 2],
    /// What a compiler does not know to be zero.
    pub zero: [u64; 2],
}

/// For single and double precision.
pub const CONSTANTS: Constants = Constants { magnitude: [0x7fff_ffff, u64::MAX >> 1], normal: [1 << 23, 1 << 52], zero: [0; 2] };

impl<I: Isa> Context<I> {
    /// Adds what the host's MXCSR gathered to the state's sticky flags (Intel SDM volume 1, 10.2.3).
    pub fn gather(&mut self) {
        let seen = std::mem::replace(&mut self.mxcsr, MXCSR);
        if seen & 0x3d == 0 {
            return;
        }
        let flags = [(0, Flags::INVALID), (2, Flags::DIV_BY_ZERO), (3, Flags::OVERFLOW), (4, Flags::UNDERFLOW), (5, Flags::INEXACT)];
        let raised = flags.into_iter().filter(|(bit, _)| seen >> bit & 1 != 0).fold(0, |all, (_, flag)| all | u128::from(flag.0));
        let (layout, envs) = (self.isa.layout(), self.isa.float_envs());
        if let Some(env) = envs.iter().find(|env| suits(env)) {
            let old = layout.read(&self.cells, env.sticky);
            layout.write(&mut self.cells, env.sticky, old | raised);
        }
    }
}

fn host(ty: Type) -> bool {
    matches!(ty, Type::F32 | Type::F64)
}

/// What the result is compared with.
enum Check {
    Nothing,
    /// It may be a NaN.
    Nan,
    /// Or the least normal number.
    Normal,
}

impl Emitter<'_> {
    /// Goes to `away` unless the bits of a slot that `mask` names are `value`. Registers stay as they are.
    fn require(&mut self, slot: Slot, mask: u64, value: u64, away: DynamicLabel) {
        let desc = &self.shape.layout.slots[slot.0 as usize];
        let reg = self.peek(desc.cell);
        self.copy(RAX, reg);
        dynasm!(self.ops ; .arch x64 ; shr rax, desc.lo as i8 ; and eax, mask as i32 ; cmp eax, value as i32 ; jne =>away);
    }

    /// Makes sure that the environment's controls suit the host; the interpreter goes on with the block if not.
    fn controls(&mut self, env: u16, at: u32) {
        if self.suited.contains(&env) {
            return;
        }
        let desc = &self.shape.envs[env as usize];
        let away = self.leave(self.stubs.resume, at);
        if let crate::guest::SlotOr::Slot(flush) = desc.flush {
            self.require(flush, 1, 0, away);
        }
        if let Some(round) = desc.round {
            let nearest = desc.round_map.iter().position(|r| *r == emu_softfloat::Round::NearestEven).unwrap_or(0);
            self.require(round, 3, nearest as u64, away);
        }
        self.suited.push(env);
    }

    /// An operand in a vector register.
    fn float_operand(&mut self, side: &Side, index: usize) -> u8 {
        match side.args[index] {
            Operand::Cell(cell) => self.get_vector(cell),
            Operand::Const(x) => {
                let scratch = 1 + index as u8;
                self.constant(RAX, x as u64);
                dynasm!(self.ops ; .arch x64 ; movq Rx(scratch), rax);
                scratch
            }
            Operand::None => 0,
        }
    }

    /// Emits a floating-point operation; false: it has no template.
    pub fn float(&mut self, side: &Side, at: u32) -> bool {
        let (from, to) = (side.types[0], side.inst.ty);
        let Some((env, fits)) = (match side.inst.op {
            Op::Float { op, env } => {
                let known = matches!(op, Fop::Add | Fop::Sub | Fop::Mul | Fop::Div | Fop::Sqrt | Fop::Cmp | Fop::CmpSignal);
                Some((env, known && host(from)))
            }
            Op::FloatConvert { env, alt: false } => Some((env, host(from) && host(to) && from != to)),
            Op::IntToFloat { env, round: Round::Env | Round::Nearest, frac: 0, bits: 32, .. } => Some((env, host(to) && from == Type::I32)),
            Op::FloatToInt { env, round: Round::Zero, frac: 0, bits: 32, signed: true } => Some((env, host(from) && to == Type::I32)),
            _ => None,
        }) else {
            return false;
        };
        let Some(desc) = self.shape.envs.get(env as usize).filter(|desc| fits && suits(desc)) else { return false };
        if self.shape.sticky != Some(self.shape.layout.slots[desc.sticky.0 as usize].cell) {
            return false;
        }
        self.controls(env.into(), at);
        let (slow, back) = (self.label(), self.label());
        let double = from == Type::F64;
        // All operands have their registers before the way out of line: they are there what they are here.
        let int_operand =
            if let (Op::IntToFloat { .. }, Operand::Cell(cell)) = (side.inst.op, side.args[0]) { Some(self.get(cell)) } else { None };
        let (a, b) = match (int_operand, side.inst.op) {
            (None, Op::IntToFloat { .. }) => return false,
            (Some(_), _) => (0, 0),
            (None, Op::Float { op: Fop::Sqrt, .. } | Op::FloatConvert { .. } | Op::FloatToInt { .. }) => (self.float_operand(side, 0), 0),
            _ => (self.float_operand(side, 0), self.float_operand(side, 1)),
        };
        let saved = self.regs;
        macro_rules! sse {
            ($single:ident, $double:ident, $a:expr, $b:expr) => {
                if double {
                    dynasm!(self.ops ; .arch x64 ; $double Rx($a), Rx($b));
                } else {
                    dynasm!(self.ops ; .arch x64 ; $single Rx($a), Rx($b));
                }
            };
        }
        macro_rules! arithmetic {
            ($single:ident, $double:ident) => {{
                dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(a));
                sse!($single, $double, 0, b);
            }};
        }
        let check = match side.inst.op {
            Op::Float { op, .. } => match op {
                Fop::Add => {
                    arithmetic!(addss, addsd);
                    Check::Nan
                }
                Fop::Sub => {
                    arithmetic!(subss, subsd);
                    Check::Nan
                }
                Fop::Mul => {
                    arithmetic!(mulss, mulsd);
                    Check::Normal
                }
                Fop::Div => {
                    arithmetic!(divss, divsd);
                    Check::Normal
                }
                Fop::Sqrt => {
                    dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(a));
                    sse!(sqrtss, sqrtsd, 0, a);
                    Check::Nan
                }
                _ => {
                    sse!(ucomiss, ucomisd, a, b);
                    // 0 less, 1 equal, 2 greater.
                    dynasm!(self.ops ; .arch x64 ; jp =>slow ; seta cl ; setae al ; movzx ecx, cl ; movzx eax, al ; add eax, ecx);
                    Check::Nothing
                }
            },
            Op::FloatConvert { .. } => {
                dynasm!(self.ops ; .arch x64 ; xorps xmm0, xmm0);
                sse!(cvtss2sd, cvtsd2ss, 0, a);
                if double { Check::Normal } else { Check::Nan }
            }
            Op::IntToFloat { signed, .. } => {
                let operand = int_operand.unwrap_or(RAX);
                if signed {
                    dynasm!(self.ops ; .arch x64 ; movsxd rax, Rd(operand));
                } else {
                    dynasm!(self.ops ; .arch x64 ; mov eax, Rd(operand));
                }
                dynasm!(self.ops ; .arch x64 ; xorps xmm0, xmm0);
                if to == Type::F64 {
                    dynasm!(self.ops ; .arch x64 ; cvtsi2sd xmm0, rax);
                } else {
                    dynasm!(self.ops ; .arch x64 ; cvtsi2ss xmm0, rax);
                }
                Check::Nothing
            }
            _ => {
                if double {
                    dynasm!(self.ops ; .arch x64 ; cvttsd2si eax, Rx(a));
                } else {
                    dynasm!(self.ops ; .arch x64 ; cvttss2si eax, Rx(a));
                }
                // What does not fit is the least integer.
                dynasm!(self.ops ; .arch x64 ; cmp eax, 1 ; jo =>slow);
                Check::Nothing
            }
        };
        let wide = to == Type::F64;
        match check {
            Check::Nothing => {}
            Check::Nan if wide => dynasm!(self.ops ; .arch x64 ; ucomisd xmm0, xmm0 ; jp =>slow),
            Check::Nan => dynasm!(self.ops ; .arch x64 ; ucomiss xmm0, xmm0 ; jp =>slow),
            Check::Normal => {
                // Equal, or a NaN.
                let (magnitude, normal) = self.shape.constants(wide);
                dynasm!(self.ops ; .arch x64 ; movsd xmm3, [rbx + magnitude] ; andps xmm3, xmm0);
                if wide {
                    dynasm!(self.ops ; .arch x64 ; ucomisd xmm3, [rbx + normal] ; je =>slow);
                } else {
                    dynasm!(self.ops ; .arch x64 ; ucomiss xmm3, [rbx + normal] ; je =>slow);
                }
            }
        }
        dynasm!(self.ops ; .arch x64 ; =>back);
        let cell = side.result;
        let into = if host(to) {
            let into = self.def_vector(cell);
            dynasm!(self.ops ; .arch x64 ; movaps Rx(into), xmm0);
            Into::Xmm0
        } else {
            self.set(cell, RAX);
            Into::Rax
        };
        self.cold.push(Cold::Word { label: slow, back, at, cell, into, saved });
        true
    }
}

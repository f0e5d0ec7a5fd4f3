//! The loop that executes bytecode.

use super::Context;
use super::code::*;
use crate::guest::{Exception, Isa};
use emu_memory::{GuestBus, RamBlock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Before the block at this code index: no budget left, attention asked for, or the block is stale.
    Block(u32),
    /// Before the instruction at this code index, as asked.
    Mark(u32),
    /// The next block is not known: the pc, and the jump to be linked, if it may.
    Miss(u64, Option<u32>),
    /// As `Miss`, and there may be an interrupt to take.
    Rekey(u64),
    /// The word at this index asked for the block to end after its instruction; it has been executed.
    Soon(u32),
    /// The instruction at this code index faulted.
    Fault(u32, Exception),
    /// The instruction at this code index is to be begun again later (a loop that polled).
    Again(u32),
    /// Sleep, for an event or not, and go on at this pc.
    Wait(bool, u64),
    /// The block at this code index is next, and the quick tier may have code for it.
    Quick(u32),
    /// The jump at this code index, to this pc, was taken often.
    Hot(u32, u64),
    /// The region in front of the block at this code index has been entered often.
    Judge(u32),
    /// The interpreter goes on at this code index, inside a block.
    Resume(u32),
}

/// A jump cache entry: where the block for a pc and key begins. None lies in two of the host's cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct JumpEntry {
    pub pc: u64,
    /// The block key, and above it the epoch of the cache ([`Context::epoch`]) of the address space that used it last.
    pub stamp: u64,
    /// Its code in the quick tier, or that which says that it has none.
    pub native: u64,
    pub code: u32,
    /// If its page is global: the number of the epoch of such pages. Then every address space may make it its own, by its stamp. Else 0.
    pub global: u32,
}

impl JumpEntry {
    /// Nothing is known.
    pub const NONE: JumpEntry = JumpEntry { pc: 0, stamp: 0, native: 0, code: 0, global: 0 };
}

/// Entries of the jump cache, less one.
pub const JUMP_MASK: usize = 8191;
/// Entries for pcs of one page, which are neighbours, less one.
pub const PAGE_JUMPS: usize = 127;
/// From the place of an entry to where it goes when another takes its place.
pub const OTHER_JUMP: usize = 64;

/// Where `pc` is in the jump cache: here, or in the place that differs by [`OTHER_JUMP`].
#[inline(always)]
pub fn jump_slot(pc: u64) -> usize {
    // Bits 11:5 by 7:1, which instructions and functions differ in.
    (pc ^ (pc & 0xff) << 4) as usize >> 5 & JUMP_MASK
}

/// Executes from code index `at`. With `STEP` it ends at index `stop`, and at the next block.
pub fn execute<I: Isa, const STEP: bool>(
    cx: &mut Context<I>,
    arena: &Arena,
    rams: &[Arc<RamBlock>],
    bus: &dyn GuestBus,
    at: u32,
    stop: u32,
) -> Leave {
    let code: &[Code] = &arena.code;
    let attention = bus.attention();
    let mut pc = at as usize;
    macro_rules! cell {
        ($index:expr) => {
            cx.cells[$index as usize & (FRAME - 1)]
        };
    }
    loop {
        if STEP && pc == stop as usize {
            return Leave::Mark(stop);
        }
        let Some(&c) = code.get(pc) else { return Leave::Block(at) };
        pc += 1;
        macro_rules! set {
            ($value:expr) => {{
                let value = $value;
                cell!(c.a) = value;
            }};
        }
        macro_rules! two {
            (|$b:ident, $c:ident| $value:expr) => {{
                let ($b, $c) = (cell!(c.b), cell!(c.c));
                set!($value)
            }};
        }
        macro_rules! imm {
            (|$b:ident, $i:ident| $value:expr) => {{
                let ($b, $i) = (cell!(c.b), c.imm);
                set!($value)
            }};
        }
        macro_rules! branch {
            (|$b:ident, $c:ident| $value:expr) => {{
                let ($b, $c) = (cell!(c.b), cell!(c.c));
                if $value {
                    pc = c.imm as usize;
                }
            }};
        }
        macro_rules! flags {
            ($y:expr, $op:ident, |$carry:ident| $flag:expr) => {{
                let (x, y) = (cell!(c.b) as u32, $y);
                let (sum, $carry) = x.$op(y);
                let overflow = (x as i32).$op(y as i32).1;
                cell!(c.a) = u64::from(sum);
                cell!(c.imm) = u64::from(sum >> 31);
                cell!(c.imm >> 16) = u64::from(sum == 0);
                cell!(c.imm >> 32) = u64::from($flag);
                cell!(c.imm >> 48) = u64::from(overflow);
            }};
        }
        macro_rules! go {
            ($key:expr, $to:ident = $pc:expr, $miss:expr) => {{
                let $to: u64 = $pc;
                cx.executed -= u64::from(c.a);
                // Host code that is entered does not look whether somebody asks for something, such as to forget it.
                let asked = cx.native && attention.load(Ordering::Relaxed) != 0;
                if !STEP
                    && !asked
                    && let Some(entry) = cx.known_jump($to, $key)
                {
                    if cx.native {
                        return Leave::Quick(entry.code);
                    }
                    pc = entry.code as usize;
                } else {
                    return $miss;
                }
            }};
        }
        macro_rules! load {
            ($read:ident, $size:expr) => {{
                let va = cell!(c.b).wrapping_add(c.imm) & (u64::MAX >> (c.x & 63));
                let mmu = c.c as u8;
                let value = match cx.tlb.$read(va, mmu, cx.tag) {
                    Some(value) if va & u64::from(c.c >> 8) == 0 => u64::from(value),
                    _ => {
                        let here = pc as u32 - 1;
                        match cx.slow_load(arena, bus, here, va, $size, mmu, c.c >> 8, c.x) {
                            Ok(value) => value,
                            Err(exception) => return Leave::Fault(here, exception),
                        }
                    }
                };
                cell!(c.a) = value;
                if cx.soon {
                    return Leave::Soon(pc as u32 - 1);
                }
            }};
        }
        macro_rules! store {
            ($write:ident, $ty:ty, $size:expr) => {{
                let va = cell!(c.b).wrapping_add(c.imm) & (u64::MAX >> (c.x & 63));
                let mmu = c.c as u8;
                let value = cell!(c.a);
                if va & u64::from(c.c >> 8) != 0 || !cx.tlb.$write(va, value as $ty, mmu, cx.tag) {
                    let here = pc as u32 - 1;
                    if let Err(exception) = cx.slow_store(arena, bus, here, va, $size, value, mmu, c.c >> 8, c.x) {
                        return Leave::Fault(here, exception);
                    }
                    if cx.soon {
                        return Leave::Soon(here);
                    }
                }
            }};
        }
        match c.op {
            Bc::Enter if !STEP && cx.native && pc - 1 != at as usize => {
                // Code that left as somebody asks for something need not look at that when it is entered.
                let asked = attention.load(Ordering::Relaxed) != 0;
                return if asked { Leave::Block(pc as u32 - 1) } else { Leave::Quick(pc as u32 - 1) };
            }
            Bc::Enter => {
                let executed = cx.executed + u64::from(c.a);
                let fresh = match rams.get(c.b as usize) {
                    Some(ram) => ram.page_generation(c.imm >> 32) == c.imm as u32,
                    None => false,
                };
                if STEP || executed > cx.limit || attention.load(Ordering::Relaxed) != 0 || !fresh || cx.interrupted() {
                    return Leave::Block(pc as u32 - 1);
                }
                cx.executed = executed;
            }
            Bc::Mov => set!(cell!(c.b)),
            Bc::MovI => set!(c.imm),
            Bc::AndI => imm!(|b, i| b & i),
            Bc::And => two!(|b, c| b & c),
            Bc::Or => two!(|b, c| b | c),
            Bc::OrI => imm!(|b, i| b | i),
            Bc::Xor => two!(|b, c| b ^ c),
            Bc::XorI => imm!(|b, i| b ^ i),
            Bc::Add32 => two!(|b, c| u64::from((b as u32).wrapping_add(c as u32))),
            Bc::Add32I => imm!(|b, i| u64::from((b as u32).wrapping_add(i as u32))),
            Bc::Add64 => two!(|b, c| b.wrapping_add(c)),
            Bc::Add64I => imm!(|b, i| b.wrapping_add(i)),
            Bc::Sub32 => two!(|b, c| u64::from((b as u32).wrapping_sub(c as u32))),
            Bc::RSub32I => imm!(|b, i| u64::from((i as u32).wrapping_sub(b as u32))),
            Bc::Sub64 => two!(|b, c| b.wrapping_sub(c)),
            Bc::RSub64I => imm!(|b, i| i.wrapping_sub(b)),
            Bc::Mul32 => two!(|b, c| u64::from((b as u32).wrapping_mul(c as u32))),
            Bc::Mul64 => two!(|b, c| b.wrapping_mul(c)),
            Bc::Shl32 => two!(|b, c| if c < 32 { u64::from((b as u32) << c) } else { 0 }),
            Bc::Shl32I => set!(if c.x < 32 { u64::from((cell!(c.b) as u32) << c.x) } else { 0 }),
            Bc::Shl64 => two!(|b, c| if c < 64 { b << c } else { 0 }),
            Bc::Shl64I => set!(cell!(c.b) << (c.x & 63)),
            Bc::Shr => two!(|b, c| if c < 64 { b >> c } else { 0 }),
            Bc::ShrI => set!(cell!(c.b) >> (c.x & 63)),
            Bc::Sar32 => two!(|b, c| u64::from((b as i32 >> c.min(31)) as u32)),
            Bc::Sar32I => set!(u64::from((cell!(c.b) as i32 >> (c.x & 31)) as u32)),
            Bc::Sar64 => two!(|b, c| (b as i64 >> c.min(63)) as u64),
            Bc::Ror32 => two!(|b, c| u64::from((b as u32).rotate_right(c as u32 & 31))),
            Bc::Ror32I => set!(u64::from((cell!(c.b) as u32).rotate_right(u32::from(c.x)))),
            Bc::Ror64 => two!(|b, c| b.rotate_right(c as u32 & 63)),
            Bc::DivU => two!(|b, c| b.checked_div(c).unwrap_or(0)),
            Bc::DivS32 => two!(|b, c| if c == 0 { 0 } else { u64::from((b as i32).wrapping_div(c as i32) as u32) }),
            Bc::DivS64 => two!(|b, c| if c == 0 { 0 } else { (b as i64).wrapping_div(c as i64) as u64 }),
            Bc::RemU => two!(|b, c| b.checked_rem(c).unwrap_or(b)),
            Bc::Clz => set!(u64::from(cell!(c.b).leading_zeros()) - u64::from(c.x)),
            Bc::Popcnt => set!(u64::from(cell!(c.b).count_ones())),
            Bc::Bswap => set!(cell!(c.b).swap_bytes() >> (c.x & 63)),
            Bc::Bitrev => set!(cell!(c.b).reverse_bits() >> (c.x & 63)),
            Bc::Sext => set!(((cell!(c.b) << (c.x & 63)) as i64 >> (c.x & 63)) as u64 & c.imm),
            Bc::Extract => set!(cell!(c.b) >> (c.x & 63) & c.imm),
            Bc::Insert => set!(cell!(c.b) & !c.imm | cell!(c.c) << (c.x & 63) & c.imm),
            Bc::Concat => set!(cell!(c.b) << (c.x & 63) | cell!(c.c)),
            Bc::CmpEq => two!(|b, c| u64::from(b == c)),
            Bc::CmpEqI => imm!(|b, i| u64::from(b == i)),
            Bc::CmpNe => two!(|b, c| u64::from(b != c)),
            Bc::CmpNeI => imm!(|b, i| u64::from(b != i)),
            Bc::CmpUlt => two!(|b, c| u64::from(b < c)),
            Bc::CmpUltI => imm!(|b, i| u64::from(b < i)),
            Bc::CmpUle => two!(|b, c| u64::from(b <= c)),
            Bc::CmpUleI => imm!(|b, i| u64::from(b <= i)),
            Bc::CmpSlt32 => two!(|b, c| u64::from((b as i32) < c as i32)),
            Bc::CmpSle32 => two!(|b, c| u64::from(b as i32 <= c as i32)),
            Bc::CmpSlt64 => two!(|b, c| u64::from((b as i64) < c as i64)),
            Bc::CmpSle64 => two!(|b, c| u64::from(b as i64 <= c as i64)),
            Bc::Carry32 => {
                let carry = cell!(c.imm);
                two!(|b, c| (b + c + carry) >> 32)
            }
            Bc::Overflow32 => {
                let carry = cell!(c.imm);
                two!(|b, c| {
                    let sum = b.wrapping_add(c).wrapping_add(carry);
                    (!(b ^ c) & (b ^ sum)) >> 31 & 1
                })
            }
            Bc::OverflowAdd32 => two!(|b, c| (!(b ^ c) & (b ^ b.wrapping_add(c))) >> 31 & 1),
            Bc::CarryAdd32 => two!(|b, c| (b + c) >> 32),
            Bc::AddFlags32 => flags!(cell!(c.c) as u32, overflowing_add, |carry| carry),
            Bc::AddFlags32I => flags!(u32::from(c.c), overflowing_add, |carry| carry),
            Bc::SubFlags32 => flags!(cell!(c.c) as u32, overflowing_sub, |borrow| !borrow),
            Bc::SubFlags32I => flags!(u32::from(c.c), overflowing_sub, |borrow| !borrow),
            Bc::Select => {
                let other = cell!(c.imm);
                two!(|b, c| if b != 0 { c } else { other })
            }
            Bc::Generic => cx.generic(&arena.side[c.imm as usize]),
            Bc::Float => cx.float(&arena.side[c.imm as usize]),
            Bc::Load8 => load!(read_u8, 1),
            Bc::Load16 => load!(read_u16, 2),
            Bc::Load32 => load!(read_u32, 4),
            Bc::Load64 => load!(read_u64, 8),
            Bc::Store8 => store!(write_u8, u8, 1),
            Bc::Store16 => store!(write_u16, u16, 2),
            Bc::Store32 => store!(write_u32, u32, 4),
            Bc::Store64 => store!(write_u64, u64, 8),
            Bc::ProbeRead | Bc::ProbeWrite => {
                let va = cell!(c.b).wrapping_add(c.imm) & (u64::MAX >> (c.x & 63));
                let (mmu, size, write) = (c.c as u8, c.a as u8, c.op == Bc::ProbeWrite);
                if va & u64::from(c.c >> 8) != 0 || !cx.tlb.permits(va, size, write, mmu, cx.tag) {
                    let here = pc as u32 - 1;
                    if let Err(exception) = cx.slow_probe(arena, bus, here, va, size, write, mmu, c.c >> 8, c.x) {
                        return Leave::Fault(here, exception);
                    }
                }
            }
            Bc::Memory => {
                let here = pc as u32 - 1;
                if let Err(exception) = cx.memory(arena, bus, here, &arena.side[c.imm as usize]) {
                    return Leave::Fault(here, exception);
                }
                if cx.soon {
                    return Leave::Soon(here);
                }
            }
            Bc::Fence => fence(Ordering::SeqCst),
            Bc::Count => {
                // SAFETY: the address of a counter of the engine's `Coverage`, which keeps it where it is.
                let counter = unsafe { &*(c.imm as *const AtomicU64) };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Bc::ClearExclusive => cx.monitor = None,
            Bc::Call => {
                let here = pc as u32 - 1;
                if let Err(exception) = cx.call(bus, &arena.side[c.imm as usize]) {
                    return Leave::Fault(here, exception);
                }
                if cx.soon {
                    return Leave::Soon(here);
                }
            }
            Bc::Br => pc = c.imm as usize,
            Bc::BrZ => branch!(|b, _c| b == 0),
            Bc::BrNz => branch!(|b, _c| b != 0),
            Bc::BrEq => branch!(|b, c| b == c),
            Bc::BrNe => branch!(|b, c| b != c),
            Bc::BrUlt => branch!(|b, c| b < c),
            Bc::BrUle => branch!(|b, c| b <= c),
            Bc::BrSlt32 => branch!(|b, c| (b as i32) < c as i32),
            Bc::BrSle32 => branch!(|b, c| b as i32 <= c as i32),
            Bc::BrSlt64 => branch!(|b, c| (b as i64) < c as i64),
            Bc::BrSle64 => branch!(|b, c| b as i64 <= c as i64),
            Bc::Poll => {
                if attention.load(Ordering::Relaxed) != 0 {
                    return Leave::Again(pc as u32 - 1);
                }
                pc = c.imm as usize;
            }
            Bc::Linked => {
                cx.executed -= u64::from(c.a);
                pc = c.imm as usize;
            }
            Bc::Jump => go!(cx.key, to = c.imm, Leave::Miss(to, (c.x != 0).then_some(pc as u32 - 1))),
            Bc::JumpTo => go!(cx.key, to = cell!(c.b), Leave::Miss(to, None)),
            Bc::JumpRekey => {
                let key = cx.isa.block_key(&cx.cells[..cx.state_cells]);
                if cx.interrupted() {
                    cx.executed -= u64::from(c.a);
                    return Leave::Rekey(cell!(c.b));
                }
                go!(key, to = cell!(c.b), Leave::Rekey(to));
                cx.key = key;
            }
            Bc::Raise => {
                cx.executed -= u64::from(c.a);
                let exception = cx.raised(c.c, &arena.side[c.imm as usize]);
                // The count is right already.
                cx.executed += u64::from(c.a);
                return Leave::Fault(pc as u32 - 1, exception);
            }
            Bc::Wait => {
                cx.executed -= u64::from(c.a);
                return Leave::Wait(c.x != 0, c.imm);
            }
            Bc::Trap => return Leave::Block(at),
        }
    }
}

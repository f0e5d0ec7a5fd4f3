//! Linux on MicroBlaze, of both byte orders: registers of system calls, exceptions, frames of signals (numbers and structures: `abi/microblaze.kdl`).
//!
//! Sources: Linux arch/microblaze/include/uapi/asm/{ptrace,sigcontext}.h, kernel/{signal,exceptions}.c, kernel/entry.S (what a program sees of them);
//! UG984, chapter 2, for the exceptions.
//!
//! A program calls the system by BRKI to the vector at 8, a debugger's breakpoint is BRKI to 0x18: the instruction leaves user mode, and the process has
//! no page there for privileged code, so both come as page faults at the vector. An unaligned access is done here, as the kernel does it.
//!
//! Not modelled: the FPU, which the processor here is without (its instructions are SIGILL; programs for any MicroBlaze do not use it).

use crate::abi::{self, Abi};
use crate::elf::Kind;
use crate::guest::{BEYOND_FILE, MISALIGNED, PAGE_FAULT};
use crate::machine::{CloneArguments, Event, Frame, Left, Machine};
use crate::space::{EXEC, Fault, READ, Space};
use emu_ir::guest::{Exception, Isa};
use emu_isa_microblaze::exception::{DIVIDE, PRIVILEGED};
use emu_isa_microblaze::{Microblaze, System, fsr, set_fsr, state};

/// Linux on MicroBlaze, little-endian or big-endian.
pub struct MicroblazeLinux<const LITTLE: bool>;

/// Where a signal handler returns to, minus 8 as RTSD has it. The frame has the same two instructions, but a stack need not be executable.
pub const SIGNAL_RETURN: u64 = 0xffff_f000;
/// `addik r12, r0, 173` (`rt_sigreturn`); `brki r14, 8`.
const TRAMPOLINE: [u32; 2] = [0x3180_00ad, 0xb9cc_0008];

/// The vector of system calls.
const CALL_VECTOR: u32 = 8;
/// The vector of breakpoints.
const BREAK_VECTOR: u32 = 0x18;

/// PVR0: all registers; barrel shifter, divider, multiplier, FPU, exceptions, MMU, instructions that reverse.
const PVR0: u32 = 0xfc84_0000;
/// PVR0 of a little-endian processor.
const PVR0_LITTLE: u32 = 0x0020_0000;
/// PVR2: MSR, pattern compare, barrel shift, divide, multiply and all floating-point instructions; bus, unaligned, illegal and divide exceptions.
const PVR2: u32 = 0x5783_7fb2;

impl<const LITTLE: bool> Machine for MicroblazeLinux<LITTLE> {
    type Isa = Microblaze<System>;
    const KIND: Kind = Kind { machine: 189, wide: false, little: LITTLE };
    const MODEL: &'static str = if LITTLE { "microblazeel" } else { "microblaze" };
    const PLATFORM: &'static str = "microblaze";
    const HWCAP: [u64; 2] = [0, 0];
    /// The helper page is above.
    const TASK_SIZE: u64 = 0xc000_0000;
    const STACK_TOP: u64 = 0xc000_0000;
    const MAP_TOP: u64 = 0xb800_0000;
    const RESTORER: bool = false;

    fn abi() -> &'static Abi {
        &abi::MICROBLAZE
    }

    fn isa(model: &str) -> Result<Microblaze<System>, String> {
        let isa = Microblaze::model(model, System).ok_or_else(|| format!("there is no MicroBlaze CPU model `{model}`"))?;
        if isa.big_endian() == LITTLE {
            return Err(format!("CPU model `{model}` has the other byte order: `{}` has its own", Self::MODEL));
        }
        Ok(isa)
    }

    fn map_helpers(space: &Space) -> bool {
        let bytes = TRAMPOLINE.map(|word| Self::KIND.u32_bytes(word)).concat();
        space.map_zeros(SIGNAL_RETURN, 0x1000, READ | EXEC) && space.put(SIGNAL_RETURN, &bytes).is_ok()
    }

    fn start(cells: &mut [u64], entry: u64, stack: u64) {
        state::set_pvr0(cells, PVR0 | if LITTLE { PVR0_LITTLE } else { 0 });
        state::set_pvr2(cells, PVR2);
        state::set_ie(cells, true);
        state::set_ee(cells, true);
        state::set_ice(cells, true);
        state::set_dce(cells, true);
        be_user(cells);
        state::set_r(cells, 1, stack as u32);
        state::set_pc(cells, entry as u32);
    }

    fn is_call(_: u16, cells: &[u64]) -> bool {
        !state::um(cells) && state::pc(cells) == CALL_VECTOR
    }

    fn begin_call(cells: &mut [u64]) {
        back_to_break(cells);
    }

    fn event(exception: Exception, cells: &mut [u64], space: &Space) -> Event {
        let at = exception.args[0];
        let vector = back_to_break(cells);
        let pc = state::pc(cells).into();
        // si_code: SEGV_MAPERR or SEGV_ACCERR, BUS_ADRALN, BUS_ADRERR, FPE_INTDIV, ILL_PRVOPC, ILL_ILLOPC.
        match exception.id {
            _ if vector == Some(CALL_VECTOR) => Event::Call,
            _ if vector == Some(BREAK_VECTOR) => Event::Fault(libc::SIGTRAP as u32, 1, pc),
            PAGE_FAULT => Event::Fault(libc::SIGSEGV as u32, 1 + exception.args[1] as i32, at),
            BEYOND_FILE => Event::Fault(libc::SIGBUS as u32, 2, at),
            MISALIGNED => match unaligned(cells, space, Self::KIND, at, exception.args[1]) {
                Ok(()) => Event::Done,
                Err(Fault(at)) => Event::Fault(libc::SIGSEGV as u32, 1 + i32::from(space.page(at) != 0), at),
            },
            DIVIDE => Event::Fault(libc::SIGFPE as u32, 1, pc),
            PRIVILEGED => Event::Fault(libc::SIGILL as u32, 5, pc),
            _ => Event::Fault(libc::SIGILL as u32, 1, pc),
        }
    }

    fn call(cells: &[u64]) -> (u32, [u64; 6]) {
        (state::r(cells, 12), std::array::from_fn(|i| state::r(cells, 5 + i).into()))
    }

    fn clone_arguments([flags, stack, _, parent, child, tls]: [u64; 6]) -> CloneArguments {
        CloneArguments { flags, stack, parent, child, tls }
    }

    fn finish(cells: &mut [u64], result: i64) {
        // The kernel returns by r14.
        let next = state::pc(cells).wrapping_add(4);
        state::set_r(cells, 14, next);
        state::set_pc(cells, next);
        state::set_r(cells, 3, result as u32);
    }

    fn stack(cells: &[u64]) -> u64 {
        state::r(cells, 1).into()
    }

    fn set_stack(cells: &mut [u64], value: u64) {
        state::set_r(cells, 1, value as u32);
    }

    fn set_tls(cells: &mut [u64], value: u64) {
        state::set_r(cells, 21, value as u32);
    }

    fn enter_handler(cells: &mut [u64], space: &Space, f: &Frame) -> Result<(), Fault> {
        to_restart(cells);
        let at = f.top.saturating_sub(FRAME) & !7;
        let mut frame = vec![0; FRAME as usize];
        frame[..128].copy_from_slice(&f.siginfo);
        let mut put = |offset: u64, value: u32| {
            frame[offset as usize..offset as usize + 4].copy_from_slice(&Self::KIND.u32_bytes(value));
        };
        for (n, value) in (0..).zip(f.stack) {
            put(STACK + 4 * n, value as u32);
        }
        for n in 0..32 {
            put(REGISTERS + 4 * n, state::r(cells, n as usize));
        }
        let special = [state::pc(cells), msr(cells), state::ear(cells), state::esr(cells), fsr(cells)];
        for (n, value) in (0..).zip(special) {
            put(PC + 4 * n, value);
        }
        put(OLD_MASK, f.mask as u32);
        put(MASK, f.mask as u32);
        put(MASK + 4, (f.mask >> 32) as u32);
        for (n, word) in (0..).zip(TRAMPOLINE) {
            put(RETURN + 4 * n, word);
        }
        space.write(at, &frame)?;
        for (n, value) in [(1, at), (5, f.number.into()), (6, at), (7, at + CONTEXT), (15, SIGNAL_RETURN - 8)] {
            state::set_r(cells, n, value as u32);
        }
        state::set_pc(cells, f.handler as u32);
        Ok(())
    }

    const CORE_SHORT_IDS: bool = false;

    /// `struct pt_regs`: r0 to r31, pc, msr, ear, esr, fsr, and the mode, which is User's.
    fn core_registers(cells: &[u64]) -> Vec<u64> {
        let general = (0..32).map(|n| state::r(cells, n).into());
        let special = [state::pc(cells), msr(cells), state::ear(cells), state::esr(cells), fsr(cells), 0];
        general.chain(special.map(u64::from)).collect()
    }

    fn core_notes(_: &[u64]) -> Vec<(&'static str, u32, Vec<u8>)> {
        Vec::new()
    }

    fn leave_handler(cells: &mut [u64], space: &Space, _: bool) -> Result<Left, Fault> {
        let mut frame = vec![0; FRAME as usize];
        space.read(Self::stack(cells), &mut frame)?;
        let word = |offset: u64| {
            let o = offset as usize;
            Self::KIND.u32([frame[o], frame[o + 1], frame[o + 2], frame[o + 3]])
        };
        for n in 1..32 {
            state::set_r(cells, n as usize, word(REGISTERS + 4 * n));
        }
        state::set_pc(cells, word(PC));
        // Only what a program may change itself: the modes stay.
        state::set_c(cells, word(MSR) & MSR_C != 0);
        state::set_dzo(cells, word(MSR) & MSR_DZO != 0);
        state::set_ear(cells, word(MSR + 4));
        state::set_esr(cells, word(MSR + 8));
        set_fsr(cells, word(MSR + 12));
        Ok(Left {
            mask: u64::from(word(MASK)) | u64::from(word(MASK + 4)) << 32,
            stack: std::array::from_fn(|n| word(STACK + 4 * n as u64).into()),
        })
    }
}

/// The modes the kernel leaves to a program, as a return to it sets them.
fn be_user(cells: &mut [u64]) {
    state::set_um(cells, true);
    state::set_vm(cells, true);
    state::set_ums(cells, false);
    state::set_vms(cells, false);
    state::set_bip(cells, false);
}

/// Behind a BRKI to a vector, which has left user mode: back to it, which the vectors' links lead to. All but the link is as it was.
fn back_to_break(cells: &mut [u64]) -> Option<u32> {
    if state::um(cells) {
        return None;
    }
    let vector = state::pc(cells);
    let pc = state::r(cells, if vector == CALL_VECTOR { 14 } else { 16 });
    be_user(cells);
    state::set_pc(cells, pc);
    Some(vector)
}

/// Makes pc alone say where to go on. In a delay slot or behind IMM that is the instruction before, or both: they do the same again.
fn to_restart(cells: &mut [u64]) {
    // A signal may come before the system call has.
    back_to_break(cells);
    // 3: the branch had a prefix.
    let before = match (state::delay(cells), state::prefixed(cells)) {
        (3, _) => 8,
        (0, false) => 0,
        _ => 4,
    };
    let pc = state::pc(cells).wrapping_sub(before);
    state::set_pc(cells, pc);
    be_plain(cells);
}

/// The next instruction is in no delay slot and has no prefix.
fn be_plain(cells: &mut [u64]) {
    state::set_delay(cells, 0);
    state::set_target(cells, 0);
    state::set_prefixed(cells, false);
    state::set_imm_hi(cells, 0);
}

/// Does an unaligned access, and goes on behind it. What the specification notes, which is ESR's, has all of it but the order of bytes, which here is
/// never reversed, as in the kernel.
fn unaligned(cells: &mut [u64], space: &Space, kind: Kind, at: u64, esr: u64) -> Result<(), Fault> {
    const WORD: u64 = 1 << 11;
    const STORE: u64 = 1 << 10;
    /// A reversed half word has the address of the word's other end.
    const OTHER_END: u64 = 1 << 12;
    let at = if esr & OTHER_END != 0 { at ^ 2 } else { at };
    let register = (esr >> 5 & 31) as usize;
    // Of the word's bytes, those that count.
    let part = match (esr & WORD != 0, kind.little) {
        (true, _) => 0..4,
        (false, true) => 0..2,
        (false, false) => 2..4,
    };
    if esr & STORE != 0 {
        let value = if register == 0 { 0 } else { state::r(cells, register) };
        space.write(at, &kind.u32_bytes(value)[part])?;
    } else {
        let mut bytes = [0; 4];
        space.read(at, &mut bytes[part])?;
        if register != 0 {
            state::set_r(cells, register, kind.u32(bytes));
        }
    }
    let next = if state::delay(cells) == 0 { state::pc(cells).wrapping_add(4) } else { state::target(cells) };
    state::set_pc(cells, next);
    be_plain(cells);
    Ok(())
}

const MSR_C: u32 = 1 << 2;
const MSR_DZO: u32 = 1 << 6;
/// IE, ICE, PVR, DCE, EE, UM, VM.
const MSR_USER: u32 = 0x2da2;

/// MSR in user mode.
fn msr(cells: &[u64]) -> u32 {
    MSR_USER | if state::c(cells) { MSR_C | 1 << 31 } else { 0 } | if state::dzo(cells) { MSR_DZO } else { 0 }
}

// Offsets in `struct rt_sigframe`: siginfo, then ucontext (flags, link, stack, sigcontext, mask), then the trampoline. `sigcontext` is `pt_regs` (32
// registers, pc, MSR, EAR, ESR, FSR, mode) and the low half of the mask.
const CONTEXT: u64 = 128;
const STACK: u64 = CONTEXT + 8;
const REGISTERS: u64 = CONTEXT + 20;
const PC: u64 = REGISTERS + 128;
const MSR: u64 = PC + 4;
const OLD_MASK: u64 = PC + 24;
const MASK: u64 = OLD_MASK + 4;
const RETURN: u64 = MASK + 8;
const FRAME: u64 = RETURN + 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::WRITE;

    const STACK_AT: u64 = 0x2_0000;

    fn space() -> Space {
        crate::host_signal::install();
        let space = Space::new(1 << 24).unwrap();
        assert!(space.map_zeros(STACK_AT, 0x2000, READ | WRITE));
        space
    }

    fn started<M: Machine>() -> Vec<u64> {
        let mut cells = vec![0; state::CELLS];
        M::start(&mut cells, 0x1000_0000, STACK_AT + 0x2000);
        cells
    }

    fn frame(handler: u64, top: u64) -> Frame {
        let mut siginfo = [0; 128];
        siginfo[127] = 0x5a;
        Frame { handler, top, restorer: None, siginfo, with_info: true, number: 10, mask: 0x1_2345_6789, stack: [0x500, 2, 0x600] }
    }

    fn round_trip<const LITTLE: bool>() {
        let (space, mut cells) = (space(), started::<MicroblazeLinux<LITTLE>>());
        (2..32).for_each(|n| state::set_r(&mut cells, n, 0x0101_0000 + n as u32));
        state::set_c(&mut cells, true);
        let (before, stack) = (cells.clone(), MicroblazeLinux::<LITTLE>::stack(&cells));
        MicroblazeLinux::<LITTLE>::enter_handler(&mut cells, &space, &frame(0x1000_4000, stack)).unwrap();
        let at = stack - 320;
        assert_eq!((state::pc(&cells), state::r(&cells, 1), state::r(&cells, 5)), (0x1000_4000, at as u32, 10));
        assert_eq!((state::r(&cells, 6), state::r(&cells, 7)), (at as u32, at as u32 + 128));
        assert_eq!(state::r(&cells, 15) + 8, SIGNAL_RETURN as u32);
        // Where the kernel's structures have them.
        let word = |offset: u64| {
            let mut bytes = [0; 4];
            space.read(at + offset, &mut bytes).unwrap();
            MicroblazeLinux::<LITTLE>::KIND.u32(bytes)
        };
        assert_eq!([word(136), word(148 + 4), word(148 + 128), word(148 + 132)], [0x500, stack as u32, 0x1000_0000, 0x8000_2da6]);
        assert_eq!([word(300), word(304), word(308), word(312), word(316)], [0x2345_6789, 0x2345_6789, 1, 0x3180_00ad, 0xb9cc_0008]);
        // The handler changes what it likes; the mode is no part of it.
        (2..32).for_each(|n| state::set_r(&mut cells, n, 0));
        state::set_c(&mut cells, false);
        let left = MicroblazeLinux::<LITTLE>::leave_handler(&mut cells, &space, true).unwrap();
        assert_eq!((left.mask, left.stack), (0x1_2345_6789, [0x500, 2, 0x600]));
        assert!(cells == before);
    }

    #[test]
    fn frames_come_back_in_both_orders() {
        round_trip::<true>();
        round_trip::<false>();
    }

    #[test]
    fn a_frame_in_a_delay_slot_restarts_at_the_branch() {
        for (delay, prefixed, expected) in [(0, false, 0), (1, false, 4), (3, false, 8), (0, true, 4)] {
            let (space, mut cells) = (space(), started::<MicroblazeLinux<true>>());
            state::set_delay(&mut cells, delay);
            state::set_prefixed(&mut cells, prefixed);
            MicroblazeLinux::<true>::enter_handler(&mut cells, &space, &frame(0x1000_4000, STACK_AT + 0x2000)).unwrap();
            assert!(state::delay(&cells) == 0 && !state::prefixed(&cells));
            MicroblazeLinux::<true>::leave_handler(&mut cells, &space, true).unwrap();
            assert_eq!(state::pc(&cells), 0x1000_0000 - expected);
        }
    }

    /// As `brki`'s specification leaves the registers.
    fn at_vector(cells: &mut [u64], vector: u32, link: usize) -> Exception {
        state::set_r(cells, link, 0x1000_0040);
        state::set_um(cells, false);
        state::set_ums(cells, true);
        state::set_vm(cells, false);
        state::set_vms(cells, true);
        state::set_bip(cells, vector == 8);
        state::set_pc(cells, vector);
        Exception { id: PAGE_FAULT, args: [vector.into(), 0, 0, 0] }
    }

    #[test]
    fn a_call_may_be_made_again_and_is_finished_behind_it() {
        let (space, mut cells) = (space(), started::<MicroblazeLinux<false>>());
        state::set_r(&mut cells, 12, 4);
        (0..6).for_each(|n| state::set_r(&mut cells, 5 + n, 100 + n as u32));
        let before = cells.clone();
        let exception = at_vector(&mut cells, 8, 14);
        assert_eq!(MicroblazeLinux::<false>::event(exception, &mut cells, &space), Event::Call);
        assert_eq!(state::pc(&cells), 0x1000_0040);
        assert!(state::um(&cells) && state::vm(&cells) && !state::bip(&cells));
        assert_eq!(MicroblazeLinux::<false>::call(&cells), (4, [100, 101, 102, 103, 104, 105]));
        MicroblazeLinux::<false>::finish(&mut cells, -22);
        assert_eq!([state::pc(&cells), state::r(&cells, 14), state::r(&cells, 3)], [0x1000_0044, 0x1000_0044, -22i32 as u32]);
        (3..32).filter(|n| ![3, 14].contains(n)).for_each(|n| assert_eq!(state::r(&cells, n), state::r(&before, n)));
    }

    #[test]
    fn a_signal_before_the_call_has_the_call_made_behind_it() {
        let (space, mut cells) = (space(), started::<MicroblazeLinux<false>>());
        at_vector(&mut cells, 8, 14);
        MicroblazeLinux::<false>::enter_handler(&mut cells, &space, &frame(0x1000_4000, STACK_AT + 0x2000)).unwrap();
        assert!(state::um(&cells) && state::vm(&cells) && state::pc(&cells) == 0x1000_4000);
        MicroblazeLinux::<false>::leave_handler(&mut cells, &space, true).unwrap();
        assert_eq!((state::pc(&cells), state::um(&cells)), (0x1000_0040, true));
    }

    #[test]
    fn a_breakpoint_is_a_trap_and_a_jump_to_the_vectors_a_fault() {
        let (space, mut cells) = (space(), started::<MicroblazeLinux<false>>());
        let exception = at_vector(&mut cells, 0x18, 16);
        let event = MicroblazeLinux::<false>::event(exception, &mut cells, &space);
        assert_eq!(event, Event::Fault(libc::SIGTRAP as u32, 1, 0x1000_0040));
        state::set_pc(&mut cells, 8);
        let exception = Exception { id: PAGE_FAULT, args: [8, 0, 0, 0] };
        let event = MicroblazeLinux::<false>::event(exception, &mut cells, &space);
        assert_eq!(event, Event::Fault(libc::SIGSEGV as u32, 1, 8));
    }

    fn unaligned_accesses<const LITTLE: bool>() {
        let (space, mut cells) = (space(), started::<MicroblazeLinux<LITTLE>>());
        let (word, store, r3) = (1 << 11, 1 << 10, 3 << 5);
        let mut does = |at: u64, esr: u64, r: u32| {
            state::set_r(&mut cells, 3, r);
            let exception = Exception { id: MISALIGNED, args: [at, esr, 0, 0] };
            let event = MicroblazeLinux::<LITTLE>::event(exception, &mut cells, &space);
            (event, state::r(&cells, 3), state::pc(&cells))
        };
        assert_eq!(does(STACK_AT + 1, word | store | r3, 0x0102_0304), (Event::Done, 0x0102_0304, 0x1000_0004));
        assert_eq!(does(STACK_AT + 1, word | r3, 0), (Event::Done, 0x0102_0304, 0x1000_0008));
        assert_eq!(does(STACK_AT + 2, r3, 0), (Event::Done, 0x0203, 0x1000_000c));
        assert_eq!(does(STACK_AT + 5, store | r3, 0xaabb_ccdd), (Event::Done, 0xaabb_ccdd, 0x1000_0010));
        assert_eq!(does(STACK_AT + 5, r3, 0), (Event::Done, 0xccdd, 0x1000_0014));
        let mut bytes = [0; 4];
        space.read(STACK_AT + 1, &mut bytes).unwrap();
        assert_eq!(bytes, if LITTLE { [4, 3, 2, 1] } else { [1, 2, 3, 4] });
        assert_eq!(does(0x9001, word | r3, 7), (Event::Fault(libc::SIGSEGV as u32, 1, 0x9001), 7, 0x1000_0014));
    }

    #[test]
    fn unaligned_accesses_are_done_in_both_orders() {
        unaligned_accesses::<true>();
        unaligned_accesses::<false>();
    }

    #[test]
    fn a_model_of_the_other_order_is_refused() {
        assert!(MicroblazeLinux::<true>::isa("microblazeel").is_ok() && MicroblazeLinux::<true>::isa("microblaze").is_err());
        assert!(MicroblazeLinux::<false>::isa("microblaze").is_ok() && MicroblazeLinux::<false>::isa("microblazeel").is_err());
    }
}

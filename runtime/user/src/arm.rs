//! The ARM EABI of Linux: registers of system calls, frames of signals, the kernel's helper page (numbers and structures: `abi/arm.kdl`).
//!
//! Sources: Linux Documentation/arch/arm/kernel_user_helpers.rst, include/uapi/asm/hwcap.h.

use crate::abi::{self, Abi};
use crate::elf::Kind;
use crate::guest::{BEYOND_FILE, MISALIGNED, PAGE_FAULT};
use crate::machine::{CloneArguments, Event, Frame, Left, Machine};
use crate::space::{EXEC, Fault, READ, Space};
use emu_ir::guest::Exception;
use emu_isa_arm::exception::{PREFETCH_ABORT, SVC};
use emu_isa_arm::{Arm, System, state};

/// Linux on ARMv7-A, little-endian.
pub struct ArmLinux;

/// Where a signal handler without siginfo returns to if it brings no address of its own; one with siginfo returns 8 bytes behind.
pub const SIGNAL_RETURN: u64 = 0xffff_0f00;

impl Machine for ArmLinux {
    type Isa = Arm<System>;
    const KIND: Kind = Kind { machine: 40, wide: false, little: true };
    const MODEL: &'static str = "cortex-a15";
    const PLATFORM: &'static str = "v7l";
    /// swp half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32.
    const HWCAP: [u64; 2] = [0x000f_b0d7, 0];
    /// The helper page is above.
    const TASK_SIZE: u64 = 0xffff_0000;
    const STACK_TOP: u64 = 0xbeff_f000;
    const MAP_TOP: u64 = 0xb6f0_0000;
    const RESTORER: bool = true;

    fn abi() -> &'static Abi {
        &abi::ARM
    }

    fn isa(model: &str) -> Result<Arm<System>, String> {
        Arm::model(model, System::new(model)).ok_or_else(|| format!("there is no ARM CPU model `{model}`"))
    }

    fn map_helpers(space: &Space) -> bool {
        map_helpers(space)
    }

    fn start(cells: &mut [u64], entry: u64, stack: u64) {
        // User mode, and the floating-point unit on, as the kernel leaves them.
        emu_isa_arm::vectors::set_cpsr(cells, 0x10);
        state::set_cpacr(cells, 0x00f0_0000);
        state::set_fpexc_en(cells, true);
        state::set_r(cells, 13, stack as u32);
        state::set_T(cells, entry & 1 != 0);
        state::set_pc(cells, entry as u32 & !1);
    }

    fn is_call(exception: u16, _: &[u64]) -> bool {
        exception == SVC
    }

    fn event(exception: Exception, cells: &mut [u64], _: &Space) -> Event {
        let pc = state::pc(cells).into();
        // si_code: SEGV_MAPERR or SEGV_ACCERR, BUS_ADRALN, BUS_ADRERR, TRAP_BRKPT, ILL_ILLOPC.
        match exception.id {
            PAGE_FAULT => Event::Fault(libc::SIGSEGV as u32, 1 + exception.args[1] as i32, exception.args[0]),
            MISALIGNED => Event::Fault(libc::SIGBUS as u32, 1, exception.args[0]),
            BEYOND_FILE => Event::Fault(libc::SIGBUS as u32, 2, exception.args[0]),
            SVC => Event::Call,
            PREFETCH_ABORT => Event::Fault(libc::SIGTRAP as u32, 1, pc),
            _ => Event::Fault(libc::SIGILL as u32, 1, pc),
        }
    }

    fn call(cells: &[u64]) -> (u32, [u64; 6]) {
        (state::r(cells, 7), std::array::from_fn(|i| state::r(cells, i).into()))
    }

    fn clone_arguments([flags, stack, parent, tls, child, _]: [u64; 6]) -> CloneArguments {
        CloneArguments { flags, stack, parent, child, tls }
    }

    fn finish(cells: &mut [u64], result: i64) {
        let next = state::pc(cells).wrapping_add(if state::T(cells) { 2 } else { 4 });
        state::set_pc(cells, next);
        state::set_r(cells, 0, result as u32);
    }

    fn stack(cells: &[u64]) -> u64 {
        state::r(cells, 13).into()
    }

    fn set_stack(cells: &mut [u64], value: u64) {
        state::set_r(cells, 13, value as u32);
    }

    fn set_tls(cells: &mut [u64], value: u64) {
        state::set_tpidruro(cells, value as u32);
    }

    /// The stack pointer is at the siginfo for a handler that takes it, else at the ucontext.
    fn enter_handler(cells: &mut [u64], space: &Space, f: &Frame) -> Result<(), Fault> {
        let at = f.top.saturating_sub(FRAME) & !7;
        let mut frame = vec![0; FRAME as usize];
        let mut put = |offset: u64, bytes: &[u8]| frame[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        put(0, &f.siginfo);
        for (n, value) in (0..).zip(f.stack) {
            put(STACK + 4 * n, &(value as u32).to_le_bytes());
        }
        for n in 0..15 {
            put(REGISTERS + 4 * n, &state::r(cells, n as usize).to_le_bytes());
        }
        put(REGISTERS + 60, &state::pc(cells).to_le_bytes());
        put(CPSR, &emu_isa_arm::vectors::cpsr(cells).to_le_bytes());
        put(CPSR + 4, &f.siginfo[12..16]);
        put(MASK, &f.mask.to_le_bytes());
        put(VFP, &VFP_MAGIC.to_le_bytes());
        for n in 0..32 {
            put(VFP + 8 + 8 * n, &state::d(cells, n as usize).to_le_bytes());
        }
        put(VFP + 264, &emu_isa_arm::vectors::fpscr(cells).to_le_bytes());
        space.write(at, &frame)?;
        let back = f.restorer.unwrap_or(SIGNAL_RETURN + if f.with_info { 8 } else { 0 });
        let sp = if f.with_info { at } else { at + CONTEXT };
        for (n, value) in [(0, f.number.into()), (1, at), (2, at + CONTEXT), (13, sp), (14, back)] {
            state::set_r(cells, n, value as u32);
        }
        state::set_ITSTATE(cells, 0);
        state::set_T(cells, f.handler & 1 != 0);
        state::set_pc(cells, f.handler as u32 & !1);
        Ok(())
    }

    fn leave_handler(cells: &mut [u64], space: &Space, with_info: bool) -> Result<Left, Fault> {
        let at = if with_info { Self::stack(cells) } else { Self::stack(cells).wrapping_sub(CONTEXT) };
        let mut frame = vec![0; FRAME as usize];
        space.read(at, &mut frame)?;
        let word = |offset: u64| {
            let o = offset as usize;
            u32::from_le_bytes([frame[o], frame[o + 1], frame[o + 2], frame[o + 3]])
        };
        let long = |offset: u64| u64::from(word(offset)) | u64::from(word(offset + 4)) << 32;
        for n in 0..15 {
            state::set_r(cells, n as usize, word(REGISTERS + 4 * n));
        }
        // Only what a program may set itself: the mode stays User's.
        emu_isa_arm::vectors::set_cpsr(cells, word(CPSR) & 0xfe0f_fe20 | 0x10);
        state::set_pc(cells, word(REGISTERS + 60));
        if long(VFP) == VFP_MAGIC {
            for n in 0..32 {
                state::set_d(cells, n as usize, long(VFP + 8 + 8 * n));
            }
            emu_isa_arm::vectors::set_fpscr(cells, word(VFP + 264));
        }
        Ok(Left { mask: long(MASK), stack: std::array::from_fn(|n| word(STACK + 4 * n as u64).into()) })
    }

    const CORE_SHORT_IDS: bool = true;

    /// r0 to r14, pc, cpsr, and r0 as it was before a system call.
    fn core_registers(cells: &[u64]) -> Vec<u64> {
        let general = (0..15).map(|n| state::r(cells, n).into());
        general.chain([state::pc(cells).into(), emu_isa_arm::vectors::cpsr(cells).into(), u32::MAX.into()]).collect()
    }

    /// `NT_ARM_VFP`: d0 to d31, fpscr.
    fn core_notes(cells: &[u64]) -> Vec<(&'static str, u32, Vec<u8>)> {
        let mut bytes: Vec<u8> = (0..32).flat_map(|n| state::d(cells, n).to_le_bytes()).collect();
        bytes.extend(emu_isa_arm::vectors::fpscr(cells).to_le_bytes());
        vec![("LINUX", 0x400, bytes)]
    }
}

/// The kernel's helper page: get_tls, cmpxchg, memory_barrier, their number, and the 64-bit cmpxchg.
fn map_helpers(space: &Space) -> bool {
    const CODE: &[(u64, &[u32])] = &[
        // cmpxchg64: r0 points to the old value, r1 to the new one, r2 to the place; r0 = 0 and C set if it was exchanged.
        (
            0xffff_0f60,
            &[
                0xe92d_40f0, // push {r4-r7, lr}
                0xe1c0_40d0, // ldrd r4, r5, [r0]
                0xe1c1_60d0, // ldrd r6, r7, [r1]
                0xe1b2_0f9f, // ldrexd r0, r1, [r2]
                0xe030_3004, // eors r3, r0, r4
                0x0031_3005, // eorseq r3, r1, r5
                0x01a2_3f96, // strexdeq r3, r6, r7, [r2]
                0x0333_0001, // teqeq r3, #1
                0x0aff_fff9, // beq to the ldrexd
                0xe273_0000, // rsbs r0, r3, #0
                0xe8bd_80f0, // pop {r4-r7, pc}
            ],
        ),
        (0xffff_0fa0, &[0xf57f_f05b, 0xe12f_ff1e]), // dmb ish; bx lr
        // cmpxchg: r0 old value, r1 new value, r2 the place; r0 = 0 and C set if it was exchanged.
        (
            0xffff_0fc0,
            &[
                0xe192_3f9f, // ldrex r3, [r2]
                0xe053_3000, // subs r3, r3, r0
                0x0182_3f91, // strexeq r3, r1, [r2]
                0x0333_0001, // teqeq r3, #1
                0x0aff_fffa, // beq to the ldrex
                0xe273_0000, // rsbs r0, r3, #0
                0xe12f_ff1e, // bx lr
            ],
        ),
        (0xffff_0fe0, &[0xee1d_0f70, 0xe12f_ff1e]),       // mrc p15, 0, r0, c13, c0, 3; bx lr
        (SIGNAL_RETURN, &[0xe3a0_7077, 0xef00_0000]),     // mov r7, #119; svc #0
        (SIGNAL_RETURN + 8, &[0xe3a0_70ad, 0xef00_0000]), // mov r7, #173; svc #0
        (0xffff_0ffc, &[5]),
    ];
    space.map_zeros(ArmLinux::TASK_SIZE, 0x1000, READ | EXEC)
        && CODE.iter().all(|(at, words)| {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            space.put(*at, &bytes).is_ok()
        })
}

// Offsets in `struct rt_sigframe`: siginfo, then ucontext (flags, link, stack, sigcontext of 21 words, mask), then at the next multiple
// of 8 the VFP frame.
const CONTEXT: u64 = 128;
const STACK: u64 = CONTEXT + 8;
const REGISTERS: u64 = CONTEXT + 20 + 12;
const CPSR: u64 = REGISTERS + 64;
const MASK: u64 = CONTEXT + 20 + 84;
const VFP: u64 = (MASK + 128 + 7) & !7;
const FRAME: u64 = VFP + 288 + 8;
const VFP_MAGIC: u64 = 288 << 32 | 0x5646_5001;

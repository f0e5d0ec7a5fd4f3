//! System control coprocessor CP15 and the registers kernels look for in CP14 (ARM ARM B3.17, B4.1; Cortex-A9 TRM 4; C6).
//!
//! MRC and MCR -> register by (CRn, opc1, CRm, opc2) -> CPU state. Caches are not modelled, so their maintenance does nothing but end
//! the block where code may have changed; TLB maintenance empties the soft TLB, that of other CPUs too for the Inner Shareable forms.
//! An access to a register that does not exist, or that User mode may not use, is undefined; the former is logged once each.
//!
//! Not modelled: the Security Extensions' non-secure state (SCR is stored; NS banks no register, restricts no access and is logged once; SMC
//! is undefined), the generic timer (undefined), long-descriptor registers, breakpoints and watchpoints (DBGDIDR reads as 0: no debug
//! architecture).

use crate::models::{self, Identification};
use crate::{Externs, exception, mmu, pmu, state};
use emu_ir::guest::{AccessKind, Exception, HelperCx, Translation};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// A coprocessor register: coprocessor, CRn, opc1, CRm, opc2.
type Register = (u8, u8, u8, u8, u8);

/// SCTLR's bits that are always 1, and those software may change: M A C SW Z I V RR EE TRE AFE TE.
const SCTLR_ONES: u32 = 0x00c5_0078;
const SCTLR_WRITABLE: u32 = 0x7200_7c07;
/// SCTLR's bits on which translations depend: M, EE, TRE, AFE.
const SCTLR_TRANSLATION: u32 = 0x3200_0001;
/// CPACR: access to CP10 and CP11; ASEDIS and D32DIS are not modelled and read as 0.
const CPACR_WRITABLE: u32 = 0x00f0_0000;
const SCR_NS: u32 = 1;
const USER: u8 = 0x10;

/// The hand-written part of a CPU: its model's identification, and which unknown registers were reported.
#[derive(Debug)]
pub struct System {
    id: &'static Identification,
    reported: Mutex<BTreeSet<(bool, Register)>>,
    /// SCR.NS was reported.
    non_secure: AtomicBool,
}

impl System {
    /// For the model with this name (`cortex-a9`, `cortex-a15`).
    pub fn new(model: &str) -> System {
        System { id: models::identification(model), reported: Mutex::default(), non_secure: AtomicBool::new(false) }
    }

    fn unknown(&self, cx: &HelperCx<'_>, write: bool, register: Register) -> Exception {
        if let Ok(mut reported) = self.reported.lock()
            && reported.insert((write, register))
        {
            let (cp, crn, opc1, crm, opc2) = register;
            let what = if write { "write to" } else { "read of" };
            tracing::warn!(
                "cpu{}: {what} unknown coprocessor register p{cp}, {opc1}, c{crn}, c{crm}, {opc2} at {:#x}",
                cx.cpu,
                state::pc(cx.state)
            );
        }
        exception::undef()
    }

    fn read15(&self, cx: &mut HelperCx<'_>, at: (u8, u8, u8, u8)) -> Option<u32> {
        let id = self.id;
        let cells = &*cx.state;
        Some(match at {
            // c0: identification
            (0, 0, 0, 1) => id.ctr,
            (0, 0, 0, 2) => 0,
            (0, 0, 0, 3) => id.tlbtr,
            (0, 0, 0, 5) => state::mpidr(cells),
            // REVIDR; the encodings left are MIDR's aliases
            (0, 0, 0, 6) => 0,
            (0, 0, 0, _) => state::midr(cells),
            (0, 0, 1, n) => id.features[usize::from(n & 7)],
            (0, 0, 2, n) => id.isar[usize::from(n & 7)],
            (0, 0, 3..=7, _) => 0,
            (0, 1, 0, 0) => id.ccsidr.get(state::csselr(cells) as usize).copied().unwrap_or(0),
            (0, 1, 0, 1) => id.clidr,
            (0, 1, 0, 7) => 0,
            (0, 2, 0, 0) => state::csselr(cells),
            // c1: system control
            (1, 0, 0, 0) => state::sctlr(cells),
            (1, 0, 0, 1) => state::actlr(cells),
            (1, 0, 0, 2) => state::cpacr(cells),
            (1, 0, 1, 0) => state::scr(cells),
            (1, 0, 1, 1) => state::sder(cells),
            (1, 0, 1, 2) => state::nsacr(cells),
            // c2, c3, c5, c6: translation and faults
            (2, 0, 0, 0) => state::ttbr0(cells),
            (2, 0, 0, 1) => state::ttbr1(cells),
            (2, 0, 0, 2) => state::ttbcr(cells),
            // c3 has nothing else: other encodings are UNPREDICTABLE, and are DACR (B3.17)
            (3, ..) => state::dacr(cells),
            (5, 0, 0, 0) => state::dfsr(cells),
            (5, 0, 0, 1) => state::ifsr(cells),
            (5, 0, 1, 0) => state::adfsr(cells),
            (5, 0, 1, 1) => state::aifsr(cells),
            (6, 0, 0, 0) => state::dfar(cells),
            (6, 0, 0, 2) => state::ifar(cells),
            (7, 0, 4, 0) => state::par(cells),
            (9, 0, 12..=14, _) => return pmu::read(cx, id, at.2, at.3),
            // c10, c12, c13
            (10, 0, 0, 0) => state::tlb_lockdown(cells),
            (10, 0, 2, 0) => state::prrr(cells),
            (10, 0, 2, 1) => state::nmrr(cells),
            (12, 0, 0, 0) => state::vbar(cells),
            (12, 0, 0, 1) => state::mvbar(cells),
            // ISR: IRQ in bit 7, FIQ in bit 6
            (12, 0, 1, 0) => ((cx.lines & 1) << 7 | (cx.lines >> 1 & 1) << 6) as u32,
            (13, 0, 0, 0) => 0,
            (13, 0, 0, 1) => state::contextidr(cells),
            (13, 0, 0, 2) => state::tpidrurw(cells),
            (13, 0, 0, 3) => state::tpidruro(cells),
            (13, 0, 0, 4) => state::tpidrprw(cells),
            // c15: implementation defined
            (15, 4, 0, 0) => state::cbar(cells),
            (15, 0, 0, 0) if id.a9_registers => state::power_control(cells),
            (15, 0, 0, 1) if id.a9_registers => state::diagnostic(cells),
            (15, 0, 1, 0) if id.a9_registers => 0,
            // Main TLB lockdown: VA, PA, attributes of an entry that is never locked
            (15, 5, 5..=7, 2) if id.a9_registers => 0,
            _ => return None,
        })
    }

    fn write15(&self, cx: &mut HelperCx<'_>, at: (u8, u8, u8, u8), value: u32) -> Option<()> {
        match at {
            (0, 2, 0, 0) => state::set_csselr(cx.state, value & 0xf),
            (1, 0, 0, 0) => {
                let old = state::sctlr(cx.state);
                let new = value & SCTLR_WRITABLE | SCTLR_ONES;
                state::set_sctlr(cx.state, new);
                if (old ^ new) & SCTLR_TRANSLATION != 0 {
                    mmu::flush_all(cx);
                }
            }
            (1, 0, 0, 1) => state::set_actlr(cx.state, value),
            (1, 0, 0, 2) => state::set_cpacr(cx.state, value & CPACR_WRITABLE),
            (1, 0, 1, 0) => {
                if value & SCR_NS != 0 && !self.non_secure.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "cpu{}: SCR.NS set at {:#x}: the non-secure state has no registers of its own here and stays as privileged as the secure",
                        cx.cpu,
                        state::pc(cx.state)
                    );
                }
                state::set_scr(cx.state, value & 0x7f);
            }
            (1, 0, 1, 1) => state::set_sder(cx.state, value & 3),
            (1, 0, 1, 2) => state::set_nsacr(cx.state, value),
            (2, 0, 0, 0) => state::set_ttbr0(cx.state, value),
            (2, 0, 0, 1) => state::set_ttbr1(cx.state, value),
            (2, 0, 0, 2) => {
                if state::ttbcr(cx.state) != value & 0x37 {
                    state::set_ttbcr(cx.state, value & 0x37);
                    mmu::flush_all(cx);
                }
            }
            (3, ..) => mmu::write_dacr(cx, value),
            (5, 0, 0, 0) => state::set_dfsr(cx.state, value),
            (5, 0, 0, 1) => state::set_ifsr(cx.state, value),
            (5, 0, 1, 0) => state::set_adfsr(cx.state, value),
            (5, 0, 1, 1) => state::set_aifsr(cx.state, value),
            (6, 0, 0, 0) => state::set_dfar(cx.state, value),
            (6, 0, 0, 2) => state::set_ifar(cx.state, value),
            (7, 0, 4, 0) => state::set_par(cx.state, value),
            (7, 0, 8, n @ 0..=3) => self.probe(cx, value, n),
            // Instruction cache and branch predictor: the block ends
            (7, 0, 1, 0 | 6) | (7, 0, 5, 0 | 1 | 4 | 6 | 7) => cx.flush_code = true,
            // Barriers as ARMv6 has them
            (7, 0, 10, 4 | 5) => fence(Ordering::SeqCst),
            // Wait for interrupt as ARMv6 has it (no operation since), data cache maintenance
            (7, 0, 0, 4) | (7, 0, 6, 1 | 2) | (7, 0, 10, 1 | 2) | (7, 0, 11, 1) | (7, 0, 13, 1) | (7, 0, 14, 1 | 2) => {}
            (8, 0, 3 | 5..=7, 0..=3) => {
                match at.3 {
                    0 => mmu::flush_all(cx),
                    2 => mmu::flush_asid(cx, value),
                    _ => mmu::flush_page(cx, value),
                }
                cx.flush_others |= at.2 == 3;
            }
            (9, 0, 12..=14, _) => return pmu::write(cx, self.id, at.2, at.3, value),
            (10, 0, 0, 0) => state::set_tlb_lockdown(cx.state, value),
            (10, 0, 2, 0) => state::set_prrr(cx.state, value),
            (10, 0, 2, 1) => state::set_nmrr(cx.state, value),
            (12, 0, 0, 0) => state::set_vbar(cx.state, value & !0x1f),
            (12, 0, 0, 1) => state::set_mvbar(cx.state, value & !0x1f),
            (13, 0, 0, 0) => {}
            // The space tag follows
            (13, 0, 0, 1) => state::set_contextidr(cx.state, value),
            (13, 0, 0, 2) => state::set_tpidrurw(cx.state, value),
            (13, 0, 0, 3) => state::set_tpidruro(cx.state, value),
            (13, 0, 0, 4) => state::set_tpidrprw(cx.state, value),
            (15, 0, 0, 0) if self.id.a9_registers => state::set_power_control(cx.state, value & 0x701),
            (15, 0, 0, 1) if self.id.a9_registers => state::set_diagnostic(cx.state, value),
            (15, 0, 1, 0) | (15, 5, 4..=7, _) if self.id.a9_registers => {}
            _ => return None,
        }
        Some(())
    }

    /// Address translation operations ATS1CPR, PW, UR, UW (B3.17.6): the result or the fault goes to PAR.
    fn probe(&self, cx: &mut HelperCx<'_>, va: u32, operation: u8) {
        let kind = if operation & 1 != 0 { AccessKind::Write } else { AccessKind::Read };
        let mmu = u8::from(operation < 2);
        let par = match mmu::translate(cx, va.into(), kind, mmu, self.id.pxn) {
            // Attributes of normal memory, inner and outer write-back, are not looked up: bits 11:1 are 0 but for supersections.
            Ok(found) if found.page_shift == 24 => found.phys.0 as u32 & 0xff00_0000 | 1 << 1,
            Ok(found) => found.phys.0 as u32 & 0xffff_f000,
            Err(fault) => u32::from(fault.status) << 1 | 1,
        };
        state::set_par(cx.state, par);
    }

    /// CP14, privileged unless said otherwise: debug registers read as 0 and ignore writes (DBGDIDR 0 says that none exist).
    fn read14(&self, cx: &HelperCx<'_>, at: (u8, u8, u8, u8)) -> Option<u32> {
        match at {
            (0, 0, 2, 2) => Some(state::dbgdscr(cx.state)),
            (_, 0, _, _) => Some(0),
            (0, 6, 0, 0) => Some(state::teecr(cx.state)),
            (1, 6, 0, 0) => Some(state::teehbr(cx.state)),
            // Jazelle, trivial implementation
            (0..=2, 7, 0, 0) => Some(0),
            _ => None,
        }
    }

    fn write14(&self, cx: &mut HelperCx<'_>, at: (u8, u8, u8, u8), value: u32) -> Option<()> {
        match at {
            (0, 0, 2, 2) => state::set_dbgdscr(cx.state, value),
            (_, 0, _, _) => {}
            (0, 6, 0, 0) => state::set_teecr(cx.state, value & 1),
            (1, 6, 0, 0) => state::set_teehbr(cx.state, value & !3),
            (0..=2, 7, 0, 0) => {}
            _ => return None,
        }
        Some(())
    }
}

/// May User mode use it? Barriers and flushes of old, thread pointers, and the performance monitors if PMUSERENR allows (B3.17.2).
fn user_may(cells: &[u64], write: bool, at: (u8, u8, u8, u8)) -> bool {
    match at {
        (7, 0, 5, 4) | (7, 0, 10, 4 | 5) => write,
        (13, 0, 0, 2) => true,
        (13, 0, 0, 3) => !write,
        (9, 0, 14, 0) => !write,
        (9, 0, 14, _) => false,
        (9, 0, 12 | 13, _) => pmu::user_access(cells),
        _ => false,
    }
}

impl Externs for System {
    fn cp15_read(&self, cx: &mut HelperCx<'_>, crn: u8, opc1: u8, crm: u8, opc2: u8) -> Result<u32, Exception> {
        let at = (crn, opc1, crm, opc2);
        if state::M(cx.state) == USER && !user_may(cx.state, false, at) {
            return Err(exception::undef());
        }
        self.read15(cx, at).ok_or_else(|| self.unknown(cx, false, (15, crn, opc1, crm, opc2)))
    }

    fn cp15_write(&self, cx: &mut HelperCx<'_>, crn: u8, opc1: u8, crm: u8, opc2: u8, v: u32) -> Result<(), Exception> {
        let at = (crn, opc1, crm, opc2);
        if state::M(cx.state) == USER && !user_may(cx.state, true, at) {
            return Err(exception::undef());
        }
        self.write15(cx, at, v).ok_or_else(|| self.unknown(cx, true, (15, crn, opc1, crm, opc2)))
    }

    // The 64-bit registers belong to extensions that are not modelled.
    fn cp15_read64(&self, cx: &mut HelperCx<'_>, opc1: u8, crm: u8) -> Result<u64, Exception> {
        Err(self.unknown(cx, false, (15, 0, opc1, crm, 0)))
    }

    fn cp15_write64(&self, cx: &mut HelperCx<'_>, opc1: u8, crm: u8, _v: u64) -> Result<(), Exception> {
        Err(self.unknown(cx, true, (15, 0, opc1, crm, 0)))
    }

    fn cp14_read64(&self, cx: &mut HelperCx<'_>, opc1: u8, crm: u8) -> Result<u64, Exception> {
        match (opc1, crm) {
            // DBGDRAR and DBGDSAR: no debug ROM
            (0, 1 | 2) if self.id.debug64 && state::M(cx.state) != USER => Ok(0),
            _ => Err(self.unknown(cx, false, (14, 0, opc1, crm, 0))),
        }
    }

    fn cp14_read(&self, cx: &mut HelperCx<'_>, crn: u8, opc1: u8, crm: u8, opc2: u8) -> Result<u32, Exception> {
        if state::M(cx.state) == USER {
            return Err(exception::undef());
        }
        self.read14(cx, (crn, opc1, crm, opc2)).ok_or_else(|| self.unknown(cx, false, (14, crn, opc1, crm, opc2)))
    }

    fn cp14_write(&self, cx: &mut HelperCx<'_>, crn: u8, opc1: u8, crm: u8, opc2: u8, v: u32) -> Result<(), Exception> {
        if state::M(cx.state) == USER {
            return Err(exception::undef());
        }
        self.write14(cx, (crn, opc1, crm, opc2), v).ok_or_else(|| self.unknown(cx, true, (14, crn, opc1, crm, opc2)))
    }

    fn send_event(&self, cx: &mut HelperCx<'_>) {
        cx.send_event = true;
    }

    fn translate_address(&self, cx: &mut HelperCx<'_>, va: u64, kind: AccessKind, mmu: u8) -> Result<Translation, Exception> {
        mmu::translate(cx, va, kind, mmu, self.id.pxn).map_err(|fault| fault.exception(va, kind))
    }

    fn alignment_fault(&self, _cx: &mut HelperCx<'_>, va: u64, kind: AccessKind, _: u16) -> Exception {
        mmu::Fault::plain(mmu::status::ALIGNMENT).exception(va, kind)
    }

    fn bus_fault(&self, _cx: &mut HelperCx<'_>, va: u64, kind: AccessKind) -> Exception {
        mmu::Fault::plain(mmu::status::EXTERNAL).exception(va, kind)
    }

    fn space_tag(&self, state: &[u64]) -> u32 {
        mmu::space_tag(state)
    }

    fn reset(&self, state: &mut [u64]) {
        state::set_midr(state, self.id.midr);
    }
}

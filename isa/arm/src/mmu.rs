//! Address translation by short-descriptor tables (ARM ARM B3.5), and the faults' status codes (B3.13).
//!
//! Virtual address, kind of access and privilege -> TTBR0 or TTBR1 by TTBCR.N -> first- and perhaps second-level descriptor -> access
//! flag, domain, permissions. The result holds for the whole section or page; the soft TLB keeps it under a space tag of the
//! ASID and the number of the DACR value in force, so that switching a domain on and off, as kernels do around user accesses, costs
//! no flush. A global translation is found under every tag, so DACR changes flush if they touch the domain of one.
//!
//! Not modelled: the long-descriptor format, supersections beyond 32 bits of physical address, memory attributes (all memory is
//! coherent and strongly ordered), hardware management of the access flag, FCSE.

use crate::state;
use emu_ir::guest::{AccessKind, Exception, HelperCx, Translation};
use emu_memory::{Access, GuestPhys};

/// Fault status, FS[4:0], in the short-descriptor format (table B3-23).
pub mod status {
    #![allow(missing_docs)]
    pub const ALIGNMENT: u8 = 0b00001;
    pub const ACCESS_FLAG_SECTION: u8 = 0b00011;
    pub const TRANSLATION_SECTION: u8 = 0b00101;
    pub const ACCESS_FLAG_PAGE: u8 = 0b00110;
    pub const TRANSLATION_PAGE: u8 = 0b00111;
    pub const EXTERNAL: u8 = 0b01000;
    pub const DOMAIN_SECTION: u8 = 0b01001;
    pub const DOMAIN_PAGE: u8 = 0b01011;
    pub const WALK_EXTERNAL_SECTION: u8 = 0b01100;
    pub const PERMISSION_SECTION: u8 = 0b01101;
    pub const WALK_EXTERNAL_PAGE: u8 = 0b01110;
    pub const PERMISSION_PAGE: u8 = 0b01111;
}

const SCTLR_M: u32 = 1 << 0;
const SCTLR_EE: u32 = 1 << 25;
const SCTLR_AFE: u32 = 1 << 29;
/// A privileged access's MMU index.
const PRIVILEGED: u8 = 1;

/// Why a translation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// FS[4:0].
    pub status: u8,
    /// The domain, 0 where it is unknown.
    pub domain: u8,
}

impl Fault {
    /// A fault without a domain.
    pub const fn plain(status: u8) -> Fault {
        Fault { status, domain: 0 }
    }

    /// The value for IFSR; with domain and `write` (WnR) for DFSR.
    const fn fsr(self) -> u32 {
        (self.status as u32 & 0x10) << 6 | self.status as u32 & 0xf
    }

    /// The exception an access of this kind at `va` raises.
    pub fn exception(self, va: u64, kind: AccessKind) -> Exception {
        match kind {
            AccessKind::Execute => crate::exception::prefetch_abort(va as u32, self.fsr()),
            AccessKind::Read => crate::exception::data_abort(va as u32, self.fsr() | u32::from(self.domain) << 4),
            AccessKind::Write => crate::exception::data_abort(va as u32, self.fsr() | u32::from(self.domain) << 4 | 1 << 11),
        }
    }
}

/// What the tables say of an address, before permissions.
struct Entry {
    phys: u32,
    shift: u8,
    domain: u8,
    /// AP[2:0].
    access: u8,
    never_execute: bool,
    privileged_never_execute: bool,
    global: bool,
    section: bool,
}

/// Walks the tables for one access. `mmu`: 1 privileged, 0 not. `pxn`: see [`crate::models::Identification::pxn`].
///
/// # Errors
/// The fault, to be turned into the exception of the access's kind (or into PAR).
pub fn translate(cx: &mut HelperCx<'_>, va: u64, kind: AccessKind, mmu: u8, pxn: bool) -> Result<Translation, Fault> {
    let va = va as u32;
    let sctlr = state::sctlr(cx.state);
    if sctlr & SCTLR_M == 0 {
        return Ok(Translation { phys: GuestPhys(va.into()), page_shift: 20, read: true, write: true, execute: true, global: true });
    }
    let entry = walk(cx, va, pxn)?;
    let fault = |section, page| Fault { status: if entry.section { section } else { page }, domain: entry.domain };
    let simple = sctlr & SCTLR_AFE != 0;
    if simple && entry.access & 1 == 0 {
        return Err(fault(status::ACCESS_FLAG_SECTION, status::ACCESS_FLAG_PAGE));
    }
    let (read, write, execute) = match state::dacr(cx.state) >> (2 * entry.domain) & 3 {
        1 => {
            let (read, write) = permissions(entry.access, simple, mmu == PRIVILEGED);
            (read, write, read && !entry.never_execute && !(mmu == PRIVILEGED && entry.privileged_never_execute))
        }
        // Manager: nothing is checked.
        3 => (true, true, true),
        _ => return Err(fault(status::DOMAIN_SECTION, status::DOMAIN_PAGE)),
    };
    let allowed = match kind {
        AccessKind::Read => read,
        AccessKind::Write => write,
        AccessKind::Execute => execute,
    };
    if !allowed {
        return Err(fault(status::PERMISSION_SECTION, status::PERMISSION_PAGE));
    }
    if entry.global {
        let domains = state::global_domains(cx.state) | 1 << entry.domain;
        state::set_global_domains(cx.state, domains);
    }
    Ok(Translation { phys: GuestPhys(entry.phys.into()), page_shift: entry.shift, read, write, execute, global: entry.global })
}

/// Read and write permission by AP[2:0]; `simple`: AP[0] is the access flag (B3.7.1).
fn permissions(access: u8, simple: bool, privileged: bool) -> (bool, bool) {
    let access = if simple { access | 1 } else { access };
    match (access, privileged) {
        (0b001..=0b011, true) | (0b011, false) => (true, true),
        (0b010, false) | (0b101, true) | (0b110 | 0b111, _) => (true, false),
        // 0b000, the reserved 0b100, and what User mode may not see.
        _ => (false, false),
    }
}

fn walk(cx: &HelperCx<'_>, va: u32, pxn: bool) -> Result<Entry, Fault> {
    let ttbcr = state::ttbcr(cx.state);
    let n = ttbcr & 7;
    let (base, disabled, index) = if n == 0 || va >> (32 - n) == 0 {
        let size = 14 - n;
        (state::ttbr0(cx.state) >> size << size, ttbcr & 1 << 4 != 0, (va >> 20) & (0xfff >> n))
    } else {
        (state::ttbr1(cx.state) & !0x3fff, ttbcr & 1 << 5 != 0, va >> 20)
    };
    if disabled {
        return Err(Fault::plain(status::TRANSLATION_SECTION));
    }
    let first = descriptor(cx, base | index << 2).ok_or(Fault::plain(status::WALK_EXTERNAL_SECTION))?;
    let bit = |word: u32, bit: u32| word >> bit & 1 != 0;
    let domain = (first >> 5 & 15) as u8;
    match first & 3 {
        1 => {
            let second = descriptor(cx, first & !0x3ff | (va >> 12 & 0xff) << 2);
            let second = second.ok_or(Fault { status: status::WALK_EXTERNAL_PAGE, domain })?;
            let (phys, shift, never_execute) = match second & 3 {
                0 => return Err(Fault { status: status::TRANSLATION_PAGE, domain }),
                1 => (second & 0xffff_0000 | va & 0xffff, 16, bit(second, 15)),
                _ => (second & 0xffff_f000 | va & 0xfff, 12, bit(second, 0)),
            };
            Ok(Entry {
                phys,
                shift,
                domain,
                access: (second >> 4 & 3 | (second >> 9 & 1) << 2) as u8,
                never_execute,
                privileged_never_execute: pxn && bit(first, 2),
                global: !bit(second, 11),
                section: false,
            })
        }
        kind @ (2 | 3) if kind == 2 || pxn => {
            let supersection = bit(first, 18);
            Ok(Entry {
                phys: if supersection { first & 0xff00_0000 | va & 0x00ff_ffff } else { first & 0xfff0_0000 | va & 0x000f_ffff },
                shift: if supersection { 24 } else { 20 },
                domain: if supersection { 0 } else { domain },
                access: (first >> 10 & 3 | (first >> 15 & 1) << 2) as u8,
                never_execute: bit(first, 4),
                privileged_never_execute: pxn && bit(first, 0),
                global: !bit(first, 17),
                section: true,
            })
        }
        _ => Err(Fault::plain(status::TRANSLATION_SECTION)),
    }
}

/// One table entry, in the byte order of SCTLR.EE; `None`: external abort.
fn descriptor(cx: &HelperCx<'_>, at: u32) -> Option<u32> {
    let word = cx.bus.read(GuestPhys(at.into()), 4, Access::cpu(cx.cpu)).ok()? as u32;
    Some(if state::sctlr(cx.state) & SCTLR_EE != 0 { word.swap_bytes() } else { word })
}

/// The space tag: ASID in bits 7:0, number of the DACR value in bits 15:8.
pub fn space_tag(cells: &[u64]) -> u32 {
    state::contextidr(cells) & 0xff | u32::from(state::dacr_index(cells)) << 8
}

/// Writes DACR: gives its value a number, and flushes what depends on the old one and is in every space.
pub fn write_dacr(cx: &mut HelperCx<'_>, value: u32) {
    let old = state::dacr(cx.state);
    let changed = old ^ value;
    state::set_dacr(cx.state, value);
    let domains = state::global_domains(cx.state);
    let touched = (0..16).any(|d| domains >> d & 1 != 0 && changed >> (2 * d) & 3 != 0);
    let mut count = usize::from(state::dacr_count(cx.state));
    if count == 0 {
        // The value of reset, under which translations may exist.
        state::set_dacr_seen(cx.state, 0, old);
        count = 1;
    }
    let found = (0..count).find(|&i| state::dacr_seen(cx.state, i) == value);
    let index = match found {
        Some(index) if !touched => index,
        None if !touched && count < 8 => {
            state::set_dacr_seen(cx.state, count, value);
            count += 1;
            count - 1
        }
        _ => {
            flush_all(cx);
            state::set_dacr_seen(cx.state, 0, value);
            count = 1;
            0
        }
    };
    state::set_dacr_count(cx.state, count as u8);
    state::set_dacr_index(cx.state, index as u8);
    if changed != 0 {
        cx.flush_code = true;
    }
}

/// Forgets all translations of this CPU.
pub fn flush_all(cx: &mut HelperCx<'_>) {
    cx.tlb.flush_all();
    state::set_global_domains(cx.state, 0);
    cx.flush_code = true;
}

/// TLBIASID: the non-global translations of an ASID, under whatever DACR.
pub fn flush_asid(cx: &mut HelperCx<'_>, asid: u32) {
    cx.tlb.flush_tags(0xff, asid & 0xff);
    cx.flush_code = true;
}

/// TLBIMVA and TLBIMVAA: the page of an address. Those of other ASIDs go too, which is allowed.
pub fn flush_page(cx: &mut HelperCx<'_>, va: u32) {
    cx.tlb.flush_page((va & !0xfff).into(), None);
    cx.flush_code = true;
}

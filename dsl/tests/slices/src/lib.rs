//! Slices of instruction sets: a few instructions of each, the ones that are hard to describe, with tests that execute them.
//!
//! Source: `<slice>/*.isa`. Data path: specification -> build script -> the module of that name, whose `tests` run in `tests/run.rs`.
//! Not modelled: address translation. Addresses from [`MAPPED`] to [`MAPPED_AGAIN`] are unmapped, all others are physical.

/// Addresses from here on are unmapped ...
pub const MAPPED: u64 = 0x8_0000;
/// ... up to here.
pub const MAPPED_AGAIN: u64 = 0xffff_0000;

macro_rules! slice {
    ($name:ident, $doc:literal, $miss:ident, $align:ident) => {
        #[doc = $doc]
        #[allow(missing_docs, unused, non_snake_case, non_upper_case_globals, clippy::all)] // generated text
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), "/isa.rs"));
            /// The assembler's and disassembler's tables.
            pub const TABLES: &str = include_str!(concat!(env!("OUT_DIR"), "/", stringify!($name), "/asm.json"));
            /// The hand-written part.
            pub struct Flat;
            impl Externs for Flat {
                fn translate_address(&self, _: &mut HelperCx<'_>, va: u64, kind: AccessKind, _: u8) -> Result<Translation, Exception> {
                    if (crate::MAPPED..crate::MAPPED_AGAIN).contains(&va) {
                        return Err(exception::$miss(va as u32, u8::from(kind == AccessKind::Write)));
                    }
                    Ok(Translation {
                        phys: emu_memory::GuestPhys(va),
                        page_shift: 12,
                        read: true,
                        write: true,
                        execute: true,
                        global: true,
                    })
                }
                fn alignment_fault(&self, _: &mut HelperCx<'_>, va: u64, kind: AccessKind, _: u16) -> Exception {
                    exception::$align(va as u32, u8::from(kind == AccessKind::Write))
                }
                fn bus_fault(&self, _: &mut HelperCx<'_>, va: u64, kind: AccessKind) -> Exception {
                    exception::$miss(va as u32, u8::from(kind == AccessKind::Write))
                }
                fn space_tag(&self, _: &[u64]) -> u32 {
                    0
                }
                fn reset(&self, _: &mut [u64]) {}
            }
        }
    };
}

slice!(mips, "MIPS32, of both byte orders.", tlb_miss, address_error);
slice!(sparc, "SPARC V8.", data_access, not_aligned);
slice!(sh4, "SH-4, little-endian.", tlb_miss, address_error);
slice!(ppc, "PowerPC, 32-bit, big-endian.", data_storage, alignment);
slice!(x86, "x86, 32-bit protected mode.", page_fault, alignment_check);

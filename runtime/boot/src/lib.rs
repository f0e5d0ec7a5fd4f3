//! Boot: recognises what a user wants to start, decides where it goes, and says how the first CPU begins.
//!
//! Image file -> [`image::Image`] (gzip and xz undone, format recognised) -> a protocol ([`linux`], or plain firmware) ->
//! [`Plan`]: bytes with addresses and CPU registers. The plan is applied at power-on and again at every reset, so a guest's
//! `reboot` boots again. Nothing here knows a board: addresses and identities come as [`Place`].
//!
//! Not modelled: multiboot, x86 `bzImage` and PE entry protocols (recognised, refused with a message).

pub mod fdt;
pub mod image;
pub mod linux;

use std::ops::Range;

/// How Linux wants to be entered: which registers hold what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// 32-bit ARM (Linux Documentation/arm/booting.rst): MMU and caches off, SVC mode, interrupts off; r0 = 0, r1 = machine id, r2 = device tree.
    Arm {
        /// `!0`: the device tree decides.
        machine_id: u32,
    },
    /// MicroBlaze (Linux arch/microblaze/kernel/head.S): MMU off; r5 = command line or 0, r6 = initial RAM disk or 0, r7 = device tree.
    MicroBlaze,
}

impl Protocol {
    /// The CPU's name, and its ELF machine numbers.
    fn machine(self) -> (&'static str, &'static [u16]) {
        match self {
            Protocol::Arm { .. } => ("ARM", &[40]),
            Protocol::MicroBlaze => ("MicroBlaze", &[189, 0xbaab]),
        }
    }
}

/// Where boot images may go on a board, and what the board is; filled from the board file's `boot` node.
#[derive(Clone, Debug)]
pub struct Place {
    /// Guest physical addresses of the RAM that images may use.
    pub ram: Range<u64>,
    /// Where a kernel image is loaded, absolute.
    pub kernel_at: u64,
    /// Where the initial RAM disk goes; `None`: 128 MiB into RAM, or its middle if that is nearer.
    pub initrd_at: Option<u64>,
    /// Where the device tree goes; `None`: behind the initial RAM disk.
    pub dtb_at: Option<u64>,
    /// How Linux is entered here.
    pub protocol: Protocol,
    /// `compatible` strings of the board's root; a device tree must name one of them. Empty: any will do.
    pub compatible: Vec<String>,
}

/// A piece of memory to fill.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// What it is, for messages: a file's name.
    pub name: String,
    /// Guest physical address.
    pub at: u64,
    /// Contents.
    pub bytes: Vec<u8>,
}

impl Load {
    fn range(&self) -> Range<u64> {
        self.at..self.at.saturating_add(self.bytes.len() as u64)
    }
}

/// What to put in memory and how the first CPU starts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Memory contents.
    pub loads: Vec<Load>,
    /// First instruction.
    pub entry: u64,
    /// Registers of the first CPU, by name.
    pub registers: Vec<(&'static str, u64)>,
}

/// Why a boot request cannot be carried out. Each message names the file, the rule and the fix.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {what} `{file}`: {source}")]
    Read {
        /// `kernel`, `initrd` ...
        what: &'static str,
        /// Path.
        file: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{what} `{file}`: {problem}\n  help: {help}")]
    Image {
        /// `kernel`, `initrd`, `device tree` ...
        what: &'static str,
        /// Path.
        file: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        help: String,
    },
    /// Two images overlap, or one does not fit into RAM.
    #[error("{problem}\n  help: {help}")]
    Fit {
        /// Which, and where.
        problem: String,
        /// What to do.
        help: String,
    },
}

/// Checks that every load lies in RAM (loads outside, as in ROM, are the machine's to check) and that no two overlap.
///
/// # Errors
/// [`Error::Fit`] for the first conflict found.
pub fn check_fit(loads: &[Load], place: &Place) -> Result<(), Error> {
    for (i, load) in loads.iter().enumerate() {
        let range = load.range();
        if range.start < place.ram.start || range.end > place.ram.end {
            return Err(Error::Fit {
                problem: format!(
                    "`{}` ({} bytes at {:#x}..{:#x}) does not fit into RAM at {:#x}..{:#x}",
                    load.name,
                    load.bytes.len(),
                    range.start,
                    range.end,
                    place.ram.start,
                    place.ram.end
                ),
                help: "give the machine more memory (--memory), or move the image in the board's `boot` node".into(),
            });
        }
        for other in &loads[..i] {
            let with = other.range();
            if range.start < with.end && with.start < range.end {
                return Err(Error::Fit {
                    problem: format!(
                        "`{}` at {:#x}..{:#x} runs into `{}` at {:#x}..{:#x}",
                        load.name, range.start, range.end, other.name, with.start, with.end
                    ),
                    help:
                        "change `kernel-at`, `initrd-at` or `dtb-at` in the board's `boot` node, or by `--set boot.protocol.initrd-at=...`"
                            .into(),
                });
            }
        }
    }
    Ok(())
}

/// Reads a file for booting.
///
/// # Errors
/// [`Error::Read`] with the path.
pub fn read(what: &'static str, file: &str) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|source| Error::Read { what, file: file.to_string(), source })
}

/// A plan for bare firmware: an ELF file at its own addresses, or raw bytes at `at`, entered at its entry point or first byte.
///
/// # Errors
/// What [`image::Image::recognise`] finds wrong, and images that are no firmware.
pub fn firmware(file: &str, bytes: Vec<u8>, at: u64) -> Result<Plan, Error> {
    match image::Image::recognise("firmware", file, bytes)? {
        image::Image::Elf { segments, entry, .. } => Ok(Plan {
            loads: segments.into_iter().map(|(at, bytes)| Load { name: file.into(), at, bytes }).collect(),
            entry,
            registers: vec![],
        }),
        image::Image::UImage { load, entry, bytes, .. } => {
            Ok(Plan { loads: vec![Load { name: file.into(), at: load, bytes }], entry, registers: vec![] })
        }
        image::Image::ZImage(bytes) | image::Image::Raw(bytes) => {
            Ok(Plan { loads: vec![Load { name: file.into(), at, bytes }], entry: at, registers: vec![] })
        }
    }
}

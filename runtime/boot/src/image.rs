//! Recognises boot images: ELF, ARM zImage, U-Boot uImage, raw; under gzip or xz.
//!
//! Sources: System V ABI (ELF), Linux Documentation/arm/booting.rst and the zImage header, U-Boot include/image.h (legacy header).

use crate::Error;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader};
use std::io::Read;

/// Decompressed images may not be larger than this (bytes): a small file must not fill the host's memory.
pub const MAX_IMAGE: u64 = 1 << 30;

/// A recognised image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Image {
    /// An ELF executable: loadable segments by physical address (zero-filled to their memory size), entry, `e_machine`.
    Elf {
        /// Physical address and contents.
        segments: Vec<(u64, Vec<u8>)>,
        /// Entry point.
        entry: u64,
        /// ELF machine number.
        machine: u16,
    },
    /// An ARM Linux zImage, whole.
    ZImage(Vec<u8>),
    /// A legacy U-Boot image, header removed, payload decompressed.
    UImage {
        /// Load address of its header.
        load: u64,
        /// Entry point of its header.
        entry: u64,
        /// Image type (2 kernel, 3 RAM disk ...).
        kind: u8,
        /// Payload.
        bytes: Vec<u8>,
    },
    /// Anything else.
    Raw(Vec<u8>),
}

impl Image {
    /// Finds out what `bytes`, read from `file`, is; `what` names its role in messages.
    ///
    /// # Errors
    /// [`Error::Image`]: truncated or broken images of a recognised format, and formats of other machines.
    pub fn recognise(what: &'static str, file: &str, bytes: Vec<u8>) -> Result<Image, Error> {
        let bad = |problem: String, help: &str| Error::Image { what, file: file.to_string(), problem, help: help.to_string() };
        if bytes.is_empty() {
            return Err(bad("the file is empty".into(), "check how it was made"));
        }
        let bytes = decompress(bytes).map_err(|problem| bad(problem, "the file looks damaged or cut short: copy or build it again"))?;
        if bytes.starts_with(&elf::ELFMAG) {
            return elf_image(&bytes).map_err(|problem| bad(problem, "give a statically linked executable for this CPU"));
        }
        if word(&bytes, 0x24) == Some(0x016f_2818) {
            let (start, end) = (word(&bytes, 0x28).unwrap_or(0), word(&bytes, 0x2c).unwrap_or(0));
            let size = u64::from(end.wrapping_sub(start));
            if (bytes.len() as u64) < size {
                return Err(bad(
                    format!("the zImage is truncated: its header says {size} bytes, the file has {}", bytes.len()),
                    "copy or build the kernel again",
                ));
            }
            return Ok(Image::ZImage(bytes));
        }
        if bytes.len() >= 64 && bytes[..4] == 0x2705_1956u32.to_be_bytes() {
            return uimage(&bytes).map_err(|problem| bad(problem, "make it again with mkimage"));
        }
        if bytes.get(0x38..0x3c) == Some(b"ARM\x64") {
            return Err(bad("this is an AArch64 kernel Image".into(), "give a kernel for this board's CPU"));
        }
        if bytes.get(0x202..0x206) == Some(b"HdrS") {
            return Err(bad("this is an x86 bzImage".into(), "give a kernel for this board's CPU"));
        }
        Ok(Image::Raw(bytes))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn word_be(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Undoes gzip or xz, told by their magic numbers; anything else is returned as it is.
///
/// # Errors
/// A message for damaged data or an output larger than [`MAX_IMAGE`].
pub fn decompress(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut out = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..])
            .take(MAX_IMAGE + 1)
            .read_to_end(&mut out)
            .map_err(|e| format!("gzip data is damaged: {e}"))?;
        return bounded(out);
    }
    if bytes.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        let mut out = Limited(Vec::new());
        lzma_rs::xz_decompress(&mut &bytes[..], &mut out).map_err(|e| format!("xz data is damaged: {e:?}"))?;
        return bounded(out.0);
    }
    Ok(bytes)
}

fn bounded(out: Vec<u8>) -> Result<Vec<u8>, String> {
    if out.len() as u64 > MAX_IMAGE { Err(format!("unpacks to more than {MAX_IMAGE} bytes")) } else { Ok(out) }
}

/// A writer that stops at [`MAX_IMAGE`].
struct Limited(Vec<u8>);

impl std::io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if (self.0.len() + bytes.len()) as u64 > MAX_IMAGE {
            return Err(std::io::Error::other("unpacked image too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn elf_image(bytes: &[u8]) -> Result<Image, String> {
    match bytes.get(4).copied().map(elf::FileClass) {
        Some(elf::ELFCLASS32) => elf_class::<elf::FileHeader32<object::Endianness>>(bytes),
        Some(elf::ELFCLASS64) => elf_class::<elf::FileHeader64<object::Endianness>>(bytes),
        _ => Err("the ELF header is damaged".into()),
    }
}

fn elf_class<H: FileHeader<Endian = object::Endianness>>(bytes: &[u8]) -> Result<Image, String> {
    let fail = |e: object::read::Error| format!("the ELF file is damaged: {e}");
    let header = H::parse(bytes).map_err(fail)?;
    let endian = header.endian().map_err(fail)?;
    let mut segments = Vec::new();
    let mut total = 0u64;
    for p in header.program_headers(endian, bytes).map_err(fail)? {
        if p.p_type(endian) != elf::PT_LOAD {
            continue;
        }
        let memory: u64 = p.p_memsz(endian).into();
        total = total.saturating_add(memory);
        if total > MAX_IMAGE {
            return Err("its segments are larger than 1 GiB".into());
        }
        let data = p.data(endian, bytes).map_err(|()| "a segment lies outside the file: the file is truncated".to_string())?;
        let mut contents = data.to_vec();
        contents.resize(contents.len().max(memory as usize), 0);
        if !contents.is_empty() {
            segments.push((p.p_paddr(endian).into(), contents));
        }
    }
    if segments.is_empty() {
        return Err("the ELF file has no loadable segment".into());
    }
    Ok(Image::Elf { segments, entry: header.e_entry(endian).into(), machine: header.e_machine(endian).0 })
}

fn uimage(bytes: &[u8]) -> Result<Image, String> {
    let size = word_be(bytes, 12) as usize;
    let payload = bytes
        .get(64..64 + size)
        .ok_or_else(|| format!("the uImage is truncated: its header says {size} bytes of payload, the file has {}", bytes.len() - 64))?;
    let mut crc = flate2::Crc::new();
    crc.update(payload);
    if crc.sum() != word_be(bytes, 24) {
        return Err("the uImage's payload does not match its checksum".into());
    }
    let contents = match bytes[31] {
        0 => payload.to_vec(),
        1 => decompress(payload.to_vec())?,
        other => return Err(format!("uImage compression {other} is not supported (0 none, 1 gzip are)")),
    };
    Ok(Image::UImage { load: word_be(bytes, 16).into(), entry: word_be(bytes, 20).into(), kind: bytes[30], bytes: contents })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zimage(len: usize, claimed: u32) -> Vec<u8> {
        let mut bytes = vec![0; len];
        bytes[0x24..0x28].copy_from_slice(&0x016f_2818u32.to_le_bytes());
        bytes[0x2c..0x30].copy_from_slice(&claimed.to_le_bytes());
        bytes
    }

    #[test]
    fn a_truncated_zimage_is_told_by_its_header() {
        let error = Image::recognise("kernel", "zImage", zimage(0x1000, 0x2000)).unwrap_err().to_string();
        assert!(error.contains("truncated") && error.contains("8192") && error.contains("zImage"), "{error}");
        assert!(matches!(Image::recognise("kernel", "zImage", zimage(0x1000, 0x1000)), Ok(Image::ZImage(_))));
    }

    #[test]
    fn gzip_is_undone_and_its_damage_reported() {
        let mut encoder = flate2::read::GzEncoder::new(&b"hello"[..], flate2::Compression::best());
        let mut packed = Vec::new();
        encoder.read_to_end(&mut packed).unwrap();
        assert_eq!(decompress(packed.clone()).unwrap(), b"hello");
        packed.truncate(packed.len() - 6);
        assert!(decompress(packed).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..300), magic in 0usize..6) {
            let head: &[u8] = [&b""[..], b"\x7fELF\x01\x01\x01", b"\x7fELF\x02\x02\x01", &[0x27, 5, 0x19, 0x56], &[0x1f, 0x8b, 8, 0], &[0xfd, b'7', b'z', b'X', b'Z', 0]][magic];
            for (to, from) in bytes.iter_mut().zip(head) { *to = *from; }
            let _ = Image::recognise("kernel", "x", bytes);
        }
    }
}

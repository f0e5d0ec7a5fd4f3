//! How chunks of images are compressed.
//!
//! Everything is bounded by the length that the image says a chunk has: what unpacks to more is an error and not a large allocation.
//! ADC (Apple Data Compression) is as in Apple's `hfs`/`diskimages` readers: bytes, and copies of 3 to 18 or 4 to 67 bytes.

use flate2::read::{DeflateDecoder, ZlibDecoder};
use std::io::{self, Read, Write};

/// A way of compression.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Codec {
    /// Deflate (RFC 1951), without a header; whatever follows the bytes wanted is ignored.
    Deflate,
    /// zlib (RFC 1950).
    Zlib,
    /// bzip2.
    Bzip2,
    /// Apple's LZFSE, with its blocks of LZVN.
    Lzfse,
    /// Apple Data Compression.
    Adc,
}

impl Codec {
    /// Exactly `len` bytes, or why not.
    pub fn unpack(self, packed: &[u8], len: usize) -> Result<Vec<u8>, String> {
        let said = |e: io::Error| format!("the compressed data is bad: {e}");
        let bytes = match self {
            Codec::Deflate => bounded(DeflateDecoder::new(packed), len, false).map_err(said)?,
            Codec::Zlib => bounded(ZlibDecoder::new(packed), len, true).map_err(said)?,
            Codec::Bzip2 => bounded(bzip2::read::BzDecoder::new(packed), len, true).map_err(said)?,
            Codec::Lzfse => {
                let mut sink = Sink { bytes: vec![], most: len };
                let mut packed = packed;
                lzfse_rust::LzfseRingDecoder::default()
                    .decode(&mut packed, &mut sink)
                    .map_err(|e| format!("the compressed data is bad: {e}"))?;
                sink.bytes
            }
            Codec::Adc => adc(packed, len)?,
        };
        if bytes.len() == len { Ok(bytes) } else { Err(format!("the chunk has {} bytes and should have {len}", bytes.len())) }
    }
}

fn bounded(mut from: impl Read, len: usize, to_the_end: bool) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    from.by_ref().take(len as u64).read_to_end(&mut bytes)?;
    // At its end the stream's checksum is compared.
    if to_the_end && from.read(&mut [0])? != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the chunk has more than {len} bytes")));
    }
    Ok(bytes)
}

struct Sink {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.bytes.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the chunk has more than {} bytes", self.most)));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn adc(mut packed: &[u8], len: usize) -> Result<Vec<u8>, String> {
    let ends = || "the compressed data ends in the middle".to_string();
    let mut bytes = Vec::new();
    while let Some((&code, rest)) = packed.split_first() {
        let (count, back);
        (packed, count, back) = match (code, rest) {
            (0x80.., _) => {
                let count = usize::from(code & 0x7f) + 1;
                bytes.extend_from_slice(rest.get(..count).ok_or_else(ends)?);
                (&rest[count..], 0, 0)
            }
            (0x40.., [high, low, rest @ ..]) => (rest, usize::from(code & 0x3f) + 4, usize::from(u16::from_be_bytes([*high, *low])) + 1),
            (..0x40, [low, rest @ ..]) => (rest, usize::from(code >> 2) + 3, usize::from(u16::from_be_bytes([code & 3, *low])) + 1),
            _ => return Err(ends()),
        };
        let start = bytes.len().checked_sub(back).ok_or("the compressed data copies from before its start")?;
        // A copy may run into what it writes.
        for i in start..start + count {
            bytes.push(bytes[i]);
        }
        if bytes.len() > len {
            return Err(format!("the chunk has more than {len} bytes"));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adc_has_bytes_short_copies_and_long_ones() {
        // `abcd`, 3 bytes from 4 back, 20 bytes from 1 back.
        assert_eq!(adc(b"\x83abcd\x00\x03\x50\x00\x00", 27).unwrap(), b"abcdabccccccccccccccccccccc");
        assert!(adc(b"\x83abc", 4).is_err(), "ends in the middle");
        assert!(adc(b"\x80a\x00\x01", 4).is_err(), "copies from before the start");
        assert!(adc(b"\x83abcd", 3).is_err(), "too long");
    }

    #[test]
    fn what_unpacks_to_more_is_refused() {
        let mut zlib = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::best());
        zlib.write_all(&vec![0; 1 << 20]).unwrap();
        let packed = zlib.finish().unwrap();
        assert_eq!(Codec::Zlib.unpack(&packed, 1 << 20).unwrap(), vec![0; 1 << 20]);
        for wrong in [1000, (1 << 20) + 1] {
            assert!(Codec::Zlib.unpack(&packed, wrong).is_err());
        }
        let mut lzfse = vec![];
        lzfse_rust::encode_bytes(&vec![7; 100_000], &mut lzfse).unwrap();
        assert_eq!(Codec::Lzfse.unpack(&lzfse, 100_000).unwrap(), vec![7; 100_000]);
        assert!(Codec::Lzfse.unpack(&lzfse, 99_999).is_err());
    }
}

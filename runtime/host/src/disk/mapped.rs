//! The one reader of all read-only formats: a format says where a byte of the disk is, this fetches it.
//!
//! Request -> [`Map::locate`], for one stretch after the other -> the file, the backing file, zeroes, or a chunk that is unpacked. The chunk
//! unpacked last is kept, as reads mostly go on where the last ended.

use super::error::Error;
use super::source::Source;
use super::unpack::Codec;
use emu_machine::backend::Disk;
use std::io;
use std::ops::Range;

/// The most bytes a chunk may have, packed or not: as QEMU has it.
pub(super) const MOST_CHUNK: u64 = 64 << 20;

/// Where a stretch of the disk is.
pub(super) enum Place {
    /// Nowhere: it is zeroes.
    Zero,
    /// At the same offset of the backing file, or zeroes without one.
    Below,
    /// In the image file, from this byte on.
    File(u64),
    /// In a chunk, from this byte of the unpacked chunk on.
    Packed(Chunk, u64),
}

/// A compressed piece of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Where it is in the file.
    pub at: u64,
    /// Its length there, at most [`MOST_CHUNK`].
    pub len: u64,
    /// How many bytes it has unpacked, at most [`MOST_CHUNK`].
    pub unpacked: u64,
    /// How it is packed.
    pub codec: Codec,
}

/// A format: where the disk's bytes are.
pub(super) trait Map: Send {
    /// The disk's size in bytes.
    fn size(&self) -> u64;
    /// Where byte `at` is, which is below the size, and for how many bytes from there on that holds: at least one; it may go past the end.
    fn locate(&mut self, source: &mut Source, at: u64) -> Result<(Place, u64), Error>;
}

struct Mapped<M> {
    source: Source,
    map: M,
    below: Option<Box<dyn Disk>>,
    chunk: Option<(Chunk, Vec<u8>)>,
}

/// The disk of an image that is mapped so, over its backing file if it has one.
pub(super) fn disk(source: Source, map: impl Map + 'static, below: Option<Box<dyn Disk>>) -> Box<dyn Disk> {
    Box::new(Mapped { source, map, below, chunk: None })
}

impl<M: Map> Mapped<M> {
    fn stretch(&mut self, place: Place, at: u64, target: &mut [u8]) -> io::Result<()> {
        match place {
            Place::Zero => target.fill(0),
            Place::File(from) => self.source.read(from, target)?,
            Place::Below => {
                let size = self.below.as_ref().map_or(0, |below| below.size());
                let there = size.saturating_sub(at).min(target.len() as u64) as usize;
                let (front, rest) = target.split_at_mut(there);
                rest.fill(0);
                if let Some(below) = self.below.as_mut().filter(|_| there > 0) {
                    below.read(at, front)?;
                }
            }
            Place::Packed(chunk, skip) => {
                if self.chunk.as_ref().is_none_or(|(kept, _)| *kept != chunk) {
                    // One chunk at a time in memory.
                    self.chunk = None;
                    let packed = self.source.read_vec(chunk.at, chunk.len)?;
                    let bytes = chunk.codec.unpack(&packed, chunk.unpacked as usize).map_err(|what| self.source.broken(chunk.at, what))?;
                    self.chunk = Some((chunk, bytes));
                }
                let bytes = self.chunk.as_ref().and_then(|(_, bytes)| bytes.get(skip as usize..)?.get(..target.len()));
                target.copy_from_slice(bytes.ok_or_else(|| self.source.broken(chunk.at, "the chunk is too short"))?);
            }
        }
        Ok(())
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "images of this format are read-only"))
}

impl<M: Map> Disk for Mapped<M> {
    fn size(&self) -> u64 {
        self.map.size()
    }

    fn read_only(&self) -> bool {
        true
    }

    fn read(&mut self, mut at: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        if at.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the range does not lie on the disk"));
        }
        while !buffer.is_empty() {
            let (place, len) = self.map.locate(&mut self.source, at)?;
            let now = len.clamp(1, buffer.len() as u64);
            let (target, rest) = buffer.split_at_mut(now as usize);
            self.stretch(place, at, target)?;
            (at, buffer) = (at + now, rest);
        }
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        refused()
    }

    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        refused()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        Ok(vec![])
    }

    fn revert(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Large contents in a snapshot: cut into chunks, each nothing if it is all zeroes, else compressed (LZ4, or plain where that is shorter).
//!
//! Data path: memory or disk -> [`Chunks::pack`], on several threads -> bytes that snapshots share where nothing changed, and files hold ->
//! [`Chunks::check`], which looks at everything before anything changes -> [`Chunks::unpack`].

use crate::machine::lock;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Bytes of a chunk; the last of its contents may be shorter.
pub(crate) const CHUNK: usize = 64 << 10;
/// Contents that are not worth a thread.
const SMALL: usize = 16;

/// Bytes of a chunk as they are kept, perhaps a part of a file's.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    whole: Arc<Vec<u8>>,
    part: Range<usize>,
    /// What was packed, in short; unknown of what comes from a file.
    hash: Option<[u8; 32]>,
}

impl Packed {
    fn bytes(&self) -> &[u8] {
        self.whole.get(self.part.clone()).unwrap_or_default()
    }
}

/// Contents of a memory, a disk or an image.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunks {
    size: u64,
    /// `None`: zeroes.
    chunks: Vec<Option<Packed>>,
}

/// Does something with each of `count` things, on as many threads as there are processors; the first error.
fn on_threads(count: usize, each: impl Fn(usize) -> Result<(), String> + Sync) -> Result<(), String> {
    let threads = if count < SMALL { 1 } else { thread::available_parallelism().map_or(1, |n| n.get().min(4)) };
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let work = || {
        while lock(&failed).is_none() {
            // A few in a row, so that the zeroes of neighbours are found together.
            let first = next.fetch_add(SMALL, Ordering::Relaxed);
            if first >= count {
                return;
            }
            if let Err(e) = (first..count.min(first + SMALL)).try_for_each(&each) {
                lock(&failed).get_or_insert(e);
            }
        }
    };
    thread::scope(|scope| {
        // Fewer threads are only slower.
        let helpers: Vec<_> = (1..threads).filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        work();
        helpers.into_iter().for_each(|h| h.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    });
    failed.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)
}

impl Chunks {
    fn count(size: u64) -> Result<usize, String> {
        usize::try_from(size.div_ceil(CHUNK as u64)).map_err(|_| "it is larger than this host can hold".to_string())
    }

    /// Where a chunk lies in the contents.
    fn place(&self, index: usize) -> (u64, usize) {
        let at = index as u64 * CHUNK as u64;
        (at, (self.size - at).min(CHUNK as u64) as usize)
    }

    /// Bytes there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes they take.
    pub fn packed(&self) -> u64 {
        self.chunks.iter().flatten().map(|p| p.bytes().len() as u64).sum()
    }

    /// Hashes what it holds; for contents that were packed, not read.
    pub fn digest(&self, hasher: &mut blake3::Hasher) {
        let hash = |chunk: &Option<Packed>| chunk.as_ref().and_then(|c| c.hash).unwrap_or_default();
        self.chunks.iter().for_each(|chunk| _ = hasher.update(&hash(chunk)));
    }

    /// Bytes of what `known` does not have yet.
    pub fn new_bytes(&self, known: &mut HashSet<usize>) -> u64 {
        let new = self.chunks.iter().flatten().filter(|c| known.insert(Arc::as_ptr(&c.whole) as usize));
        new.map(|c| c.whole.len() as u64).sum()
    }

    /// Packs `size` bytes, which `read` gives by offset. What is as it was in `before` is shared with it.
    pub fn pack(size: u64, before: Option<&Chunks>, read: impl Fn(u64, &mut [u8]) -> Result<(), String> + Sync) -> Result<Chunks, String> {
        let mut made = Chunks { size, chunks: Vec::new() };
        let slots: Vec<Mutex<Option<Packed>>> = (0..Chunks::count(size)?).map(|_| Mutex::default()).collect();
        on_threads(slots.len(), |index| {
            let (at, len) = made.place(index);
            let mut buffer = vec![0; len];
            read(at, &mut buffer)?;
            if buffer.iter().all(|b| *b == 0) {
                return Ok(());
            }
            let hash = *blake3::hash(&buffer).as_bytes();
            let same = before.and_then(|b| b.chunks.get(index)?.as_ref()).filter(|p| p.hash == Some(hash));
            *lock(&slots[index]) = Some(same.cloned().unwrap_or_else(|| {
                let packed = lz4_flex::block::compress(&buffer);
                let whole = if packed.len() < len { packed } else { buffer };
                Packed { part: 0..whole.len(), whole: Arc::new(whole), hash: Some(hash) }
            }));
            Ok(())
        })?;
        made.chunks = slots.into_iter().map(|s| s.into_inner().unwrap_or_else(|e| e.into_inner())).collect();
        Ok(made)
    }

    fn unpack_one(packed: &Packed, buffer: &mut [u8]) -> Result<(), String> {
        let bytes = packed.bytes();
        if bytes.len() == buffer.len() {
            buffer.copy_from_slice(bytes);
            return Ok(());
        }
        match lz4_flex::block::decompress_into(bytes, buffer) {
            Ok(n) if n == buffer.len() => Ok(()),
            _ => Err("it is damaged: compressed contents cannot be read".into()),
        }
    }

    /// Looks whether all of it can be unpacked.
    pub fn check(&self) -> Result<(), String> {
        on_threads(self.chunks.len(), |index| match &self.chunks[index] {
            None => Ok(()),
            Some(packed) => Chunks::unpack_one(packed, &mut vec![0; self.place(index).1]),
        })
    }

    /// Gives all bytes to `write`, by offset, in no order, and of whole runs of zeroes only offset and length to `clear`.
    pub fn unpack(
        &self,
        write: impl Fn(u64, &[u8]) -> Result<(), String> + Sync,
        clear: impl Fn(u64, u64) -> Result<(), String> + Sync,
    ) -> Result<(), String> {
        on_threads(self.chunks.len(), |index| {
            let (at, len) = self.place(index);
            match &self.chunks[index] {
                Some(packed) => {
                    let mut buffer = vec![0; len];
                    Chunks::unpack_one(packed, &mut buffer)?;
                    write(at, &buffer)
                }
                None if index > 0 && self.chunks[index - 1].is_none() => Ok(()),
                None => {
                    let run = self.chunks[index..].iter().take_while(|c| c.is_none()).count();
                    clear(at, (run as u64 * CHUNK as u64).min(self.size - at))
                }
            }
        })
    }

    /// All of it.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let bytes = Mutex::new(vec![0; usize::try_from(self.size).map_err(|e| e.to_string())?]);
        let write = |at: u64, from: &[u8]| {
            lock(&bytes)[at as usize..][..from.len()].copy_from_slice(from);
            Ok(())
        };
        self.unpack(write, |_, _| Ok(()))?;
        Ok(bytes.into_inner().unwrap_or_else(|e| e.into_inner()))
    }

    /// Appends it as a file holds it: size, the length of each chunk (0: zeroes), chunks.
    pub fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.size.to_le_bytes());
        for chunk in &self.chunks {
            to.extend(chunk.as_ref().map_or(0, |c| c.bytes().len() as u32).to_le_bytes());
        }
        self.chunks.iter().flatten().for_each(|c| to.extend(c.bytes()));
    }

    /// What [`Chunks::write`] wrote, from a part of a file; refused if it is not `size` bytes.
    pub fn read(file: &Arc<Vec<u8>>, part: Range<usize>, size: u64) -> Result<Chunks, String> {
        let damaged = || "it is damaged: contents of another length".to_string();
        let bytes = file.get(part.clone()).ok_or_else(damaged)?;
        let (found, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
        let mut made = Chunks { size: u64::from_le_bytes(*found), chunks: Vec::new() };
        let count = Chunks::count(size)?;
        let (lengths, data) = count.checked_mul(4).and_then(|n| rest.split_at_checked(n)).ok_or_else(damaged)?;
        if made.size != size {
            return Err(damaged());
        }
        let mut at = part.end - data.len();
        let (lengths, _) = lengths.as_chunks::<4>();
        for (index, length) in lengths.iter().enumerate() {
            let length = u32::from_le_bytes(*length) as usize;
            let end = at.checked_add(length).filter(|end| *end <= part.end && length <= made.place(index).1).ok_or_else(damaged)?;
            made.chunks.push((length > 0).then(|| Packed { whole: file.clone(), part: at..end, hash: None }));
            at = end;
        }
        if at == part.end { Ok(made) } else { Err(damaged()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(bytes: &[u8], before: Option<&Chunks>) -> Chunks {
        let read = |at: u64, to: &mut [u8]| {
            to.copy_from_slice(&bytes[at as usize..][..to.len()]);
            Ok(())
        };
        Chunks::pack(bytes.len() as u64, before, read).unwrap()
    }

    /// Pieces of noise, of one byte and of zeroes.
    fn contents() -> impl Strategy<Value = Vec<u8>> {
        let piece = (0..3u8, 0..3 * CHUNK, any::<u8>()).prop_map(|(kind, len, seed)| match kind {
            0 => vec![0; len],
            1 => vec![seed; len],
            _ => (0..len).map(|n| (n as u32).wrapping_mul(2_654_435_761).rotate_left(seed.into()).to_le_bytes()[3]).collect(),
        });
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_is_packed_comes_out_again(bytes in contents()) {
            let packed = pack(&bytes, None);
            prop_assert!(packed.check().is_ok());
            prop_assert_eq!(&packed.bytes().unwrap(), &bytes);
            let mut file = vec![7; 5];
            packed.write(&mut file);
            let end = file.len();
            file.push(9);
            let file = Arc::new(file);
            prop_assert_eq!(&Chunks::read(&file, 5..end, bytes.len() as u64).unwrap().bytes().unwrap(), &bytes);
            for (part, size) in [(5..end + 1, bytes.len()), (5..end - 1, bytes.len()), (5..end, bytes.len() + 1), (5..end + 2, bytes.len())] {
                prop_assert!(Chunks::read(&file, part, size as u64).is_err());
            }
        }
    }

    #[test]
    fn what_did_not_change_is_shared() {
        let mut bytes = vec![5; 3 * CHUNK];
        let first = pack(&bytes, None);
        bytes[CHUNK] = 6;
        let second = pack(&bytes, Some(&first));
        let shared = |n: usize| Arc::ptr_eq(&first.chunks[n].as_ref().unwrap().whole, &second.chunks[n].as_ref().unwrap().whole);
        assert_eq!([0, 1, 2].map(shared), [true, false, true]);
    }
}

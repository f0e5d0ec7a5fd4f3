//! A file of values: who reads it finds them by a hash, and takes only what bears the seal of the key.
//!
//! ```text
//! header   magic, version; identity (32 bytes); number of chunks, of entries (u32 each)
//! chunks   for each: offset in the file (u64), bytes (u32), seal (16 bytes)
//! entries  for each, by ascending hash: hash (u64), number of its chunk, offset in that (u32 each)
//! ...      the chunks: values one behind the other, each after its hash (u64) and length (u32)
//! ```
//!
//! Numbers are little-endian. The seal of a chunk is a keyed hash of its bytes and number; the key is made of the user's and the identity. So what the tables in front say
//! need not be believed: at worst they lead to no value.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const MAGIC: [u8; 8] = *b"emucode\x01";
/// A chunk is begun when one has so many bytes: what is read, and checked, at a time.
const CHUNK: usize = 64 << 10;
/// Bytes of a value at most.
pub const MAX_VALUE: usize = 1 << 20;

const HEADER: usize = 48;
const CHUNK_ENTRY: usize = 28;
const INDEX_ENTRY: usize = 16;
const VALUE_HEAD: usize = 12;

/// What values are for: another build's or host's are not read.
pub type Identity = [u8; 32];
/// What chunks are sealed with.
pub type Key = [u8; 32];

/// The key for files of an identity.
pub fn key_for(user: &Key, identity: &Identity) -> Key {
    *blake3::keyed_hash(user, identity).as_bytes()
}

fn seal(key: &Key, number: u32, bytes: &[u8]) -> [u8; 16] {
    let hash = blake3::Hasher::new_keyed(key).update(bytes).update(&number.to_le_bytes()).finalize();
    *hash.as_bytes().first_chunk().unwrap_or(&[0; 16])
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

/// Bytes that are read in pieces.
pub trait Source {
    /// Fills a buffer with what is there from an offset on.
    ///
    /// # Errors
    /// There is not so much, or it cannot be read.
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl Source for File {
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }
}

impl Source for &[u8] {
    fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let there = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..buffer.len()));
        there.map(|bytes| buffer.copy_from_slice(bytes)).ok_or(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The identity that a file says it is for; `None`: it is no such file.
pub fn identity_of(source: &impl Source) -> Option<Identity> {
    let mut head = [0; HEADER];
    source.read(&mut head, 0).ok()?;
    let identity = head[8..40].first_chunk().copied();
    identity.filter(|_| head[..8] == MAGIC)
}

enum Chunk {
    Unread { at: u64, len: u32, seal: [u8; 16] },
    Good(Box<[u8]>),
    Bad,
}

/// A file that is there. Chunks are read when a value of theirs is asked for, and kept.
pub struct Reader<S> {
    source: S,
    key: Key,
    chunks: Vec<Chunk>,
    index: Box<[u8]>,
}

impl<S: Source> Reader<S> {
    /// Of a source of so many bytes; `None` if it is not for this identity, or no such file at all.
    pub fn new(source: S, size: u64, identity: &Identity, key: Key) -> Option<Reader<S>> {
        if identity_of(&source)? != *identity {
            return None;
        }
        let mut head = [0; HEADER];
        source.read(&mut head, 0).ok()?;
        let [chunks, entries] = [u32_at(&head, 40)? as usize, u32_at(&head, 44)? as usize];
        let (chunk_bytes, index_bytes) = (chunks.checked_mul(CHUNK_ENTRY)?, entries.checked_mul(INDEX_ENTRY)?);
        if (HEADER + chunk_bytes) as u64 + index_bytes as u64 > size {
            return None;
        }
        let mut table = vec![0; chunk_bytes];
        source.read(&mut table, HEADER as u64).ok()?;
        let mut index = vec![0; index_bytes];
        source.read(&mut index, (HEADER + chunk_bytes) as u64).ok()?;
        let chunk = |entry: &[u8]| {
            let (at, len) = (u64_at(entry, 0)?, u32_at(entry, 8)?);
            let fits = at.checked_add(len.into())? <= size && len as usize <= CHUNK + VALUE_HEAD + MAX_VALUE;
            fits.then_some(Chunk::Unread { at, len, seal: *entry.last_chunk()? })
        };
        let chunks = table.chunks_exact(CHUNK_ENTRY).map(|entry| chunk(entry).unwrap_or(Chunk::Bad)).collect();
        Some(Reader { source, key, chunks, index: index.into() })
    }

    fn entry(&self, n: usize) -> Option<(u64, usize, usize)> {
        let entry = self.index.get(n * INDEX_ENTRY..)?;
        Some((u64_at(entry, 0)?, u32_at(entry, 8)? as usize, u32_at(entry, 12)? as usize))
    }

    /// How many entries it says it has.
    pub fn count(&self) -> usize {
        self.index.len() / INDEX_ENTRY
    }

    /// Which entries have a hash.
    pub fn places(&self, hash: u64) -> std::ops::Range<usize> {
        let (mut first, mut end) = (0, self.count());
        while first < end {
            let middle = first.midpoint(end);
            if self.entry(middle).is_some_and(|entry| entry.0 < hash) { first = middle + 1 } else { end = middle }
        }
        let count = (first..self.count()).take_while(|n| self.entry(*n).is_some_and(|entry| entry.0 == hash)).count();
        first..first + count
    }

    /// The hash and value of an entry; `None`: it is not what was written.
    pub fn value(&mut self, n: usize) -> Option<(u64, &[u8])> {
        let (hash, chunk, at) = self.entry(n)?;
        let bytes = self.chunk(chunk)?;
        let len = u32_at(bytes, at.checked_add(8)?)? as usize;
        let value = bytes.get(at + VALUE_HEAD..)?.get(..len)?;
        (u64_at(bytes, at)? == hash).then_some((hash, value))
    }

    /// All values that are what was written, in the order in which they were.
    pub fn all(&mut self) -> Vec<(u64, &[u8])> {
        (0..self.chunks.len()).for_each(|number| _ = self.chunk(number));
        let mut all = Vec::new();
        for chunk in &self.chunks {
            let Chunk::Good(bytes) = chunk else { continue };
            let mut rest = &**bytes;
            while let (Some(hash), Some(len)) = (u64_at(rest, 0), u32_at(rest, 8))
                && let Some((value, behind)) = rest[VALUE_HEAD..].split_at_checked(len as usize)
            {
                all.push((hash, value));
                rest = behind;
            }
        }
        all
    }

    fn chunk(&mut self, number: usize) -> Option<&[u8]> {
        let chunk = self.chunks.get_mut(number)?;
        if let Chunk::Unread { at, len, seal: expected } = *chunk {
            let mut bytes = vec![0; len as usize].into_boxed_slice();
            let read = self.source.read(&mut bytes, at);
            let good = read.is_ok() && seal(&self.key, number as u32, &bytes) == expected;
            *chunk = if good { Chunk::Good(bytes) } else { Chunk::Bad };
        }
        match chunk {
            Chunk::Good(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Values that are not in a file yet.
#[derive(Default)]
pub struct Writer {
    chunks: Vec<Vec<u8>>,
    index: Vec<(u64, u32, u32)>,
    bytes: usize,
}

impl Writer {
    /// Adds a value.
    pub fn add(&mut self, hash: u64, value: &[u8]) {
        if value.len() > MAX_VALUE {
            return;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() + VALUE_HEAD + value.len() > CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let number = self.chunks.len() as u32 - 1;
        let Some(chunk) = self.chunks.last_mut() else { return };
        self.index.push((hash, number, chunk.len() as u32));
        chunk.extend(hash.to_le_bytes());
        chunk.extend((value.len() as u32).to_le_bytes());
        chunk.extend(value);
        self.bytes += VALUE_HEAD + value.len();
    }

    /// How many values there are.
    pub fn count(&self) -> usize {
        self.index.len()
    }

    /// Bytes of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The hash and value that were added as number `n`.
    pub fn value(&self, n: usize) -> Option<(u64, &[u8])> {
        let (hash, chunk, at) = *self.index.get(n)?;
        let (bytes, at) = (self.chunks.get(chunk as usize)?, at as usize);
        Some((hash, bytes.get(at + VALUE_HEAD..)?.get(..u32_at(bytes, at + 8)? as usize)?))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// The output's.
    pub fn write(&self, out: &mut impl io::Write, identity: &Identity, key: &Key) -> io::Result<()> {
        let mut index = self.index.clone();
        index.sort_unstable();
        let mut head = Vec::with_capacity(HEADER + self.chunks.len() * CHUNK_ENTRY + index.len() * INDEX_ENTRY);
        head.extend(MAGIC);
        head.extend(identity);
        head.extend((self.chunks.len() as u32).to_le_bytes());
        head.extend((index.len() as u32).to_le_bytes());
        let mut at = (HEADER + self.chunks.len() * CHUNK_ENTRY + index.len() * INDEX_ENTRY) as u64;
        for (chunk, number) in self.chunks.iter().zip(0..) {
            head.extend(at.to_le_bytes());
            head.extend((chunk.len() as u32).to_le_bytes());
            head.extend(seal(key, number, chunk));
            at += chunk.len() as u64;
        }
        for (hash, chunk, at) in index {
            head.extend(hash.to_le_bytes());
            head.extend(chunk.to_le_bytes());
            head.extend(at.to_le_bytes());
        }
        out.write_all(&head)?;
        self.chunks.iter().try_for_each(|chunk| out.write_all(chunk))
    }
}

//! Compressed loop images (cloop, version 2), as Knoppix has.
//!
//! Source: cloop's `compressed_loop.h`, QEMU `block/cloop.c`. A shell script of 128 bytes, the size of a block and how many there are, where
//! each begins and the last ends, and the blocks, each a zlib stream. Refused: other versions.

use super::formats::Format;
use super::mapped::{self, Chunk, MOST_CHUNK, Map, Place};
use super::unpack::Codec;
use super::{error::Error, source::Source};
use emu_machine::backend::Disk;
use std::fs::File;

pub(super) const FORMAT: Format = Format { name: "cloop", probe, open, over: None };

const SCRIPT: &[u8] = b"#!/bin/sh\n#V2.0 Format\n";
const TABLE: u64 = 136;

struct Cloop {
    block: u64,
    blocks: u64,
}

fn probe(head: &[u8], _: &[u8]) -> bool {
    head.starts_with(SCRIPT)
}

fn open(file: File) -> Result<Box<dyn Disk>, Error> {
    let mut s = Source::new(file, FORMAT.name)?;
    let script: [u8; 128] = s.bytes(0)?;
    s.check(script.starts_with(SCRIPT), 0, "the signature of version 2 is missing")?;
    let (block, blocks) = (u64::from(s.be32(128)?), u64::from(s.be32(132)?));
    s.check(block > 0 && block % 512 == 0 && block <= MOST_CHUNK, 128, format!("blocks cannot have {block} bytes"))?;
    let end = s.be64(TABLE + 8 * blocks)?;
    s.check(end <= s.len(), TABLE + 8 * blocks, "the last block goes past the end of the file")?;
    Ok(mapped::disk(s, Cloop { block, blocks }, None))
}

impl Map for Cloop {
    fn size(&self) -> u64 {
        self.block * self.blocks
    }

    fn locate(&mut self, source: &mut Source, at: u64) -> Result<(Place, u64), Error> {
        let (number, skip) = (at / self.block, at % self.block);
        let entry = TABLE + 8 * number;
        let (from, to) = (source.be64(entry)?, source.be64(entry + 8)?);
        source.check(from <= to && to - from <= MOST_CHUNK, entry, format!("a block cannot be from {from:#x} to {to:#x}"))?;
        let chunk = Chunk { at: from, len: to - from, unpacked: self.block, codec: Codec::Zlib };
        Ok((Place::Packed(chunk, skip), self.block - skip))
    }
}

//! Compressed clusters.
//!
//! Deflate has no header here, and QEMU undoes it with a window of 4 KiB. The compressor we have knows no such window; it forgets what it has seen every
//! 4 KiB instead, which any window will do for.

use super::header::Compression;
use crate::disk::invalid;
use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use std::io::{self, Read};

const WINDOW: usize = 4096;

/// Fills a cluster from compressed bytes; those may be followed by others.
pub fn inflate(how: Compression, bytes: &[u8], cluster: &mut [u8]) -> io::Result<()> {
    let damaged = || invalid("a compressed cluster is damaged");
    match how {
        Compression::Zlib => {
            let mut stream = Decompress::new(false);
            stream.decompress(bytes, cluster, FlushDecompress::Finish).map_err(|_| damaged())?;
            if stream.total_out() == cluster.len() as u64 { Ok(()) } else { Err(damaged()) }
        }
        Compression::Zstd => {
            let mut stream = ruzstd::decoding::StreamingDecoder::new(bytes).map_err(|_| damaged())?;
            stream.read_exact(cluster).map_err(|_| damaged())
        }
    }
}

/// Deflates a cluster; none if that makes it no smaller.
pub fn deflate(cluster: &[u8]) -> Option<Vec<u8>> {
    let mut stream = Compress::new(flate2::Compression::default(), false);
    let mut out = Vec::with_capacity(cluster.len());
    let mut pieces = cluster.chunks(WINDOW).peekable();
    while let Some(piece) = pieces.next() {
        let flush = if pieces.peek().is_some() { FlushCompress::Full } else { FlushCompress::Finish };
        let before = stream.total_in();
        let status = stream.compress_vec(piece, &mut out, flush).ok()?;
        // The buffer is full: it is as long as the cluster.
        if stream.total_in() - before != piece.len() as u64 || out.len() == out.capacity() {
            return None;
        }
        if flush == FlushCompress::Finish && status != Status::StreamEnd {
            return None;
        }
    }
    (out.len() < cluster.len()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deflated_inflates_and_noise_is_left() {
        let text: Vec<u8> = (0..65536u32).flat_map(|n| format!("{n} ").into_bytes()).take(65536).collect();
        let mut packed = deflate(&text).unwrap();
        assert!(packed.len() < 40000);
        packed.extend([0xff; 511]);
        let mut cluster = vec![1; 65536];
        inflate(Compression::Zlib, &packed, &mut cluster).unwrap();
        assert_eq!(cluster, text);
        let mut seed = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .take(65536)
        .collect();
        assert_eq!(deflate(&noise), None);
        assert!(inflate(Compression::Zlib, &noise, &mut cluster).is_err());
        assert!(inflate(Compression::Zstd, &noise, &mut cluster).is_err());
    }
}

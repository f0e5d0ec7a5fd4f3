//! Small images of every read-only format, made here from the formats' descriptions, and what each disk holds.
//!
//! The fuzz target begins with these, too.

// Whoever includes this uses a part of it.
#![allow(dead_code)]

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

/// A sparse file.
#[derive(Default)]
pub struct Image {
    /// Bytes.
    pub len: u64,
    /// Where, and what.
    pub pieces: Vec<(u64, Vec<u8>)>,
}

impl Image {
    fn put(&mut self, at: u64, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref().to_vec();
        self.len = self.len.max(at + bytes.len() as u64);
        self.pieces.push((at, bytes));
    }

    fn be32(&mut self, at: u64, values: &[u32]) {
        self.put(at, values.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<_>>());
    }

    fn be64(&mut self, at: u64, values: &[u64]) {
        self.put(at, values.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<_>>());
    }

    fn le32(&mut self, at: u64, values: &[u32]) {
        self.put(at, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    }

    fn le64(&mut self, at: u64, values: &[u64]) {
        self.put(at, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    }

    /// Makes the file this image.
    pub fn write(&self, file: &File) {
        file.set_len(0).unwrap();
        file.set_len(self.len).unwrap();
        for (at, bytes) in &self.pieces {
            file.write_all_at(bytes, *at).unwrap();
        }
    }
}

/// Bytes that can be compressed and are not the same anywhere.
pub fn data(seed: u32, len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| if i % 64 < 40 { (seed + i / 512) as u8 } else { (i * seed % 251) as u8 }).collect()
}

/// A sample: format, file, what the disk holds.
pub type Sample = (&'static str, Image, Vec<u8>);

/// Every kind of image.
pub fn all() -> Vec<Sample> {
    let dmg = |fork| dmg(&["raw", "zero", "zlib", "bzip2", "lzfse", "adc"], fork, false);
    let cow = [2, 3].map(|version| cow(version, false));
    let mut all = vec![vdi(), vpc_dynamic(), vpc_fixed(), vhdx(), qcow(), bochs(1), bochs(2), cloop(), dmg(true), dmg(false)];
    all.extend([parallels(b"WithoutFreeSpace"), parallels(b"WithouFreSpacExt")]);
    all.extend(cow);
    all
}

pub fn vdi() -> Sample {
    let (mut image, block) = (Image::default(), 1 << 20);
    image.put(0, b"<<< Oracle VM VirtualBox Disk Image >>>\n");
    image.le32(0x40, &[0xbeda_107f, 0x0001_0001, 0x190, 1]);
    image.le32(0x154, &[0x200, 0x400, 0, 0, 0, 512, 0]);
    image.le64(0x170, &[3 * block]);
    image.le32(0x178, &[block as u32, 0, 4, 2]);
    image.put(0x188, [7; 16]);
    // The second block first; the third is none, the fourth not needed.
    image.le32(0x200, &[1, 0, 0xffff_ffff, 0xffff_fffe]);
    let mut disk = vec![0; 3 * block as usize];
    for (number, place) in [(0u64, 1u64), (1, 0)] {
        let bytes = data(3 + number as u32, 5000);
        image.put(0x400 + place * block + 700, &bytes);
        disk[(number * block + 700) as usize..][..5000].copy_from_slice(&bytes);
    }
    image.len = 0x400 + 2 * block;
    ("vdi", image, disk)
}

fn vhd_footer(creator: &[u8; 4], size: u64, geometry: [u8; 4], kind: u32, header: u64) -> Vec<u8> {
    let mut footer = Image::default();
    footer.put(0, b"conectix");
    footer.be32(8, &[2, 0x0001_0000]);
    footer.be64(16, &[header]);
    footer.put(28, creator);
    footer.be64(40, &[size, size]);
    footer.put(56, geometry);
    footer.be32(60, &[kind]);
    footer.put(511, [0]);
    let mut bytes = vec![0; 512];
    for (at, piece) in &footer.pieces {
        bytes[*at as usize..][..piece.len()].copy_from_slice(piece);
    }
    vhd_seal(&mut bytes, 64);
    bytes
}

fn vhd_seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let sum: u32 = bytes.iter().map(|b| u32::from(*b)).sum();
    bytes[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

pub fn vpc_dynamic() -> Sample {
    let (mut image, block) = (Image::default(), 0x1_0000u64);
    let disk_len = 3 * block as usize - 512;
    let footer = vhd_footer(b"win ", disk_len as u64, [0, 10, 4, 17], 3, 512);
    image.put(0, &footer);
    let mut header = vec![0; 1024];
    header[..16].copy_from_slice(b"cxsparse\xff\xff\xff\xff\xff\xff\xff\xff");
    header[16..36].copy_from_slice(&[0, 0, 0, 0, 0, 0, 6, 0, 0, 1, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0]);
    vhd_seal(&mut header, 36);
    image.put(512, header);
    image.be32(0x600, &[0x100, 0xffff_ffff, 4]);
    let mut disk = vec![0; disk_len];
    for (number, sector) in [(0u64, 0x100u64), (2, 4)] {
        let bytes = data(5 + number as u32, 3 * 512);
        image.put(sector * 512, [0xff; 512]);
        image.put(sector * 512 + 512 + 1024, &bytes);
        disk[(number * block + 1024) as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    image.put((0x101 * 512) + block, &footer);
    ("vpc", image, disk)
}

pub fn vpc_fixed() -> Sample {
    let disk = data(9, 4 * 4 * 17 * 512);
    let mut image = Image::default();
    image.put(0, &disk);
    // The size field is not the geometry's, which is what Virtual PC looks at.
    image.put(disk.len() as u64, vhd_footer(b"vpc ", disk.len() as u64 + 512, [0, 4, 4, 17], 2, u64::MAX));
    ("vpc", image, disk)
}

const VHDX_LOG: u64 = 1 << 20;

/// Two blocks of 1 MiB, of which the second is only in the log.
pub fn vhdx() -> Sample {
    let (mut image, mib) = (Image::default(), 1u64 << 20);
    let id = [5; 16];
    image.put(0, b"vhdxfile");
    for (at, sequence) in [(0x1_0000, 7), (0x2_0000, 8)] {
        image.put(at, b"head");
        image.le64(at + 8, &[sequence]);
        image.put(at + 16, [1; 32]);
        image.put(at + 48, id);
        image.le32(at + 64, &[0x0001_0000, mib as u32]);
        image.le64(at + 72, &[VHDX_LOG]);
    }
    let bat = [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08];
    let metadata = [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];
    for at in [0x3_0000, 0x4_0000] {
        image.put(at, b"regi");
        image.le32(at + 8, &[2]);
        for (at, id, region) in [(at + 16, bat, 3 * mib), (at + 48, metadata, 2 * mib)] {
            image.put(at, id);
            image.le64(at + 16, &[region]);
            image.le32(at + 24, &[mib as u32, 1]);
        }
    }
    image.put(2 * mib, b"metadata\0\0\x05\0");
    let items: [([u8; 16], u32, &[u8], u32); 5] = [
        (
            [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b],
            0,
            &[0, 0, 0x10, 0, 0, 0, 0, 0],
            4,
        ),
        (
            [0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8],
            8,
            &[0, 0, 0x28, 0, 0, 0, 0, 0],
            6,
        ),
        ([0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46], 16, &[9; 16], 6),
        ([0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f], 32, &[0, 2, 0, 0], 6),
        ([0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56], 36, &[0, 2, 0, 0], 6),
    ];
    for (i, (id, offset, value, flags)) in items.into_iter().enumerate() {
        let entry = 2 * mib + 32 + 32 * i as u64;
        image.put(entry, id);
        image.le32(entry + 16, &[0x1_0000 + offset, value.len() as u32, flags]);
        image.put(2 * mib + 0x1_0000 + u64::from(offset), value);
    }
    image.le64(3 * mib, &[(4 * mib) | 6]);
    let (mut disk, bytes) = (vec![0; 5 << 19], data(11, 3 * 4096));
    for number in [0, 1] {
        image.put((4 + number) * mib, &bytes);
        disk[(number * mib) as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    image.len = 6 * mib;
    // Two entries at the ring's end and start: one that is older than the tail, and one that zeroes and writes.
    for (entry, sequence, tail) in [(VHDX_LOG + mib - 0x2000, 20u64, mib - 0x2000), (VHDX_LOG, 21, 0)] {
        image.put(entry, b"loge");
        image.le32(entry + 8, &[0x2000, tail as u32]);
        image.le64(entry + 16, &[sequence, 2]);
        image.put(entry + 32, id);
        image.le64(entry + 48, &[6 * mib, 6 * mib]);
        image.put(entry + 64, b"zero\0\0\0\0");
        image.le64(entry + 72, &[4096, if sequence == 21 { 4 * mib + 4096 } else { 4 * mib }, sequence]);
        image.put(entry + 96, b"desc\0\0\0\0");
        image.le64(entry + 104, &[(4 * mib) | 6, 3 * mib, sequence]);
        image.put(entry + 4096, b"data\0\0\0\0");
        image.le64(entry + 4096 + 8, &[(5 * mib) | 6]);
        image.le32(entry + 8188, &[sequence as u32]);
    }
    disk[4096..8192].fill(0);
    ("vhdx", image, disk)
}

/// Puts right the checksums that a changed image has.
pub fn seal(format: &str, file: &File) {
    let Ok(len) = file.metadata().map(|m| m.len()) else { return };
    let sum = |at: u64, size: usize, seal: &dyn Fn(&mut [u8])| {
        let mut bytes = vec![0; size];
        if file.read_exact_at(&mut bytes, at).is_ok() {
            seal(&mut bytes);
            _ = file.write_all_at(&bytes, at);
        }
    };
    let crc = |bytes: &mut [u8]| {
        bytes[4..8].fill(0);
        let crc = bytes.iter().fold(!0u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |c, _| (c >> 1) ^ ((c & 1) * 0x82f6_3b78)));
        bytes[4..8].copy_from_slice(&(!crc).to_le_bytes());
    };
    match format {
        "vpc" => {
            // A fixed disk has the guest's bytes there.
            sum(512, 1024, &|bytes| {
                if bytes.starts_with(b"cxsparse") {
                    vhd_seal(bytes, 36)
                }
            });
            sum(len.saturating_sub(512), 512, &|bytes| vhd_seal(bytes, 64));
        }
        "vhdx" => {
            for (at, size) in
                [(0x1_0000, 0x1000), (0x2_0000, 0x1000), (0x3_0000, 0x1_0000), (VHDX_LOG, 0x2000), ((2 << 20) - 0x2000, 0x2000)]
            {
                sum(at, size, &crc);
            }
        }
        _ => {}
    }
}

pub fn qcow() -> Sample {
    let mut image = Image::default();
    image.put(0, b"QFI\xfb\0\0\0\x01");
    image.be64(24, &[5 * 4096 - 512]);
    image.put(32, [12, 9]);
    image.be64(40, &[48, 4096]);
    let mut disk = vec![0; 5 * 4096 - 512];
    let (plain, packed) = (data(13, 4096), data(17, 4096));
    let mut deflate = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::best());
    deflate.write_all(&packed).unwrap();
    let deflate = deflate.finish().unwrap();
    image.be64(4096, &[8192, 0, 1 << 63 | (deflate.len() as u64) << 51 | 12345, 0, 1 << 63 | (deflate.len() as u64) << 51 | 12345]);
    image.put(8192, &plain);
    image.put(12345, deflate);
    image.put(16384, [0; 512]);
    disk[..4096].copy_from_slice(&plain);
    disk[8192..12288].copy_from_slice(&packed);
    disk[16384..].copy_from_slice(&packed[..3584]);
    ("qcow", image, disk)
}

pub fn bochs(version: u32) -> Sample {
    let (mut image, extent) = (Image::default(), 8192u64);
    image.put(0, b"Bochs Virtual HD Image");
    image.put(32, b"Redolog\0\0\0\0\0\0\0\0\0Growing");
    image.le32(64, &[version << 16, 512, 4, 512, extent as u32]);
    image.le64(if version == 2 { 88 } else { 84 }, &[3 * extent + 1024]);
    image.le32(512, &[1, 0xffff_ffff, 0, 0xffff_ffff]);
    let mut disk = vec![0; 3 * extent as usize + 1024];
    for (number, place, sectors) in [(0u64, 1u64, 0b1000_0000_0110_0001u16), (2, 0, 0xffff)] {
        let at = 512 + 16 + place * (512 + extent);
        image.put(at, sectors.to_le_bytes());
        // What is in sectors without a bit is not seen.
        let bytes = data(19 + number as u32, extent as usize);
        image.put(at + 512, &bytes);
        for sector in (0..16).filter(|sector| sectors >> sector & 1 != 0) {
            let range = sector * 512..sector * 512 + 512;
            disk[(number * extent) as usize..][range.clone()].copy_from_slice(&bytes[range]);
        }
    }
    ("bochs", image, disk)
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::best());
    zlib.write_all(bytes).unwrap();
    zlib.finish().unwrap()
}

pub fn cloop() -> Sample {
    let (mut image, disk) = (Image::default(), data(23, 3 * 4096));
    image.put(0, b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\nexit $?\n");
    image.be32(128, &[4096, 3]);
    let mut at = 136 + 4 * 8;
    for (i, block) in disk.chunks(4096).enumerate() {
        let packed = zlib(block);
        image.be64(136 + 8 * i as u64, &[at, at + packed.len() as u64]);
        image.put(at, &packed);
        at += packed.len() as u64;
    }
    ("cloop", image, disk)
}

/// Literals, and copies wherever the bytes of 64 before come again.
fn adc(bytes: &[u8]) -> Vec<u8> {
    let (mut packed, mut at) = (vec![], 0);
    while at < bytes.len() {
        let again = |at: usize, back: usize| (at..bytes.len()).take_while(|i| *i >= back && bytes[*i] == bytes[i - back]).count();
        let near = again(at, 1).min(67);
        let far = again(at, 512 * 3).min(67);
        if near >= 19 || far >= 19 {
            let (count, back) = if near >= far { (near, 0) } else { (far, 512 * 3 - 1) };
            packed.extend([0x40 | (count - 4) as u8, (back >> 8) as u8, back as u8]);
            at += count;
        } else if near >= 3 {
            let count = near.min(18);
            packed.extend([((count - 3) << 2) as u8, 0]);
            at += count;
        } else {
            let end = (at + 1..bytes.len().min(at + 128)).find(|at| again(*at, 1) >= 3).unwrap_or(bytes.len().min(at + 128));
            packed.push(0x80 | (end - at - 1) as u8);
            packed.extend(&bytes[at..end]);
            at = end;
        }
    }
    packed
}

fn base64(bytes: &[u8]) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (i, three) in bytes.chunks(3).enumerate() {
        let value = three.iter().chain([0, 0].iter()).take(3).fold(0u32, |v, b| v << 8 | u32::from(*b));
        let line = if i % 13 == 0 { "\n\t\t\t\t" } else { "" };
        text.push_str(line);
        text.extend((0..4).map(|i| if i <= three.len() { digits[(value >> (18 - 6 * i)) as usize & 63] as char } else { '=' }));
    }
    text
}

/// Two partitions with a chunk of each kind, described in a resource fork or in a property list.
///
/// The data fork does not begin with the file, nor a partition's data with the fork, unless the image is `plain`.
pub fn dmg(kinds: &[&str], fork: bool, plain: bool) -> Sample {
    let (mut image, mut disk, mut tables) = (Image::default(), vec![], vec![]);
    let (data_fork, base) = if plain { (0, 0) } else { (100, 28) };
    image.put(0, vec![0xee; (data_fork + base) as usize]);
    for partition in 0..2u32 {
        let first = disk.len() as u64 / 512;
        let mut chunks = vec![];
        for (i, kind) in kinds.iter().enumerate() {
            let sectors = 5 + i as u64;
            let bytes = data(29 + partition * 16 + i as u32, sectors as usize * 512);
            let (code, packed) = match *kind {
                "raw" => (1u32, bytes.clone()),
                "zero" => (2 * partition, vec![]),
                "zlib" => (0x8000_0005, zlib(&bytes)),
                "adc" => (0x8000_0004, adc(&bytes)),
                "bzip2" => {
                    let mut bzip2 = bzip2::write::BzEncoder::new(vec![], bzip2::Compression::best());
                    bzip2.write_all(&bytes).unwrap();
                    (0x8000_0006, bzip2.finish().unwrap())
                }
                "lzfse" => {
                    let mut packed = vec![];
                    lzfse_rust::encode_bytes(&bytes, &mut packed).unwrap();
                    (0x8000_0007, packed)
                }
                other => panic!("{other}"),
            };
            chunks.push((code, disk.len() as u64 / 512 - first, sectors, image.len - data_fork - base, packed.len() as u64));
            disk.extend(if *kind == "zero" { vec![0; bytes.len()] } else { bytes });
            image.put(image.len, packed);
        }
        let sectors = disk.len() as u64 / 512 - first;
        chunks.insert(1, (0x7fff_fffe, 0, 0, 0, 0));
        chunks.push((0xffff_ffff, sectors, 0, 0, 0));
        let mut table = b"mish\0\0\0\x01".to_vec();
        for field in [first, sectors, base] {
            table.extend(field.to_be_bytes());
        }
        table.resize(200, 0);
        table.extend((chunks.len() as u32).to_be_bytes());
        for (kind, sector, sectors, at, len) in chunks {
            table.extend(kind.to_be_bytes());
            table.extend([0; 4]);
            for field in [sector, sectors, at, len] {
                table.extend(field.to_be_bytes());
            }
        }
        tables.push(table);
    }
    let list = image.len;
    if fork {
        let mut data = vec![];
        for table in &tables {
            data.extend((table.len() as u32).to_be_bytes());
            data.extend(table);
        }
        image.be32(list, &[256, 256 + data.len() as u32, data.len() as u32, 50]);
        image.put(list + 256, data);
        image.put(image.len, [0xaa; 50]);
    } else {
        let dict = |table: &Vec<u8>| {
            let data = base64(table);
            let tail = "<key>ID</key>\n\t\t\t\t<string>0</string>\n\t\t\t\t<key>Name</key>\n\t\t\t\t<string>disk (Apple_HFS : 1)</string>";
            format!("\t\t\t<dict>\n\t\t\t\t<key>Data</key>\n\t\t\t\t<data>{data}\n\t\t\t\t</data>\n\t\t\t\t{tail}\n\t\t\t</dict>\n")
        };
        let dicts: String = tables.iter().map(dict).collect();
        let list = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<plist version=\"1.0\">\n<dict>\n\t<key>resource-fork</key>\n\t<dict>\n\t\t<key>blkx</key>\n\
             \t\t<array>\n{dicts}\t\t</array>\n\t\t<key>plst</key>\n\t\t<array>\n\t\t\t<dict>\n\t\t\t\t<key>Data</key>\n\t\t\t\t<data>AAAA</data>\n\t\t\t</dict>\n\
             \t\t</array>\n\t</dict>\n</dict>\n</plist>\n"
        );
        image.put(image.len, list);
    }
    let koly = image.len;
    image.put(koly, b"koly\0\0\0\x04\0\0\x02\0\0\0\0\x01");
    image.be64(koly + 24, &[data_fork, list - data_fork]);
    image.be64(koly + if fork { 40 } else { 216 }, &[list, koly - list]);
    image.be32(koly + 56, &[1, 1]);
    image.be64(koly + 492, &[disk.len() as u64 / 512]);
    image.len = koly + 512;
    ("dmg", image, disk)
}

pub fn parallels(magic: &[u8; 16]) -> Sample {
    let (mut image, cluster) = (Image::default(), 8192u64);
    let unit = if magic == b"WithoutFreeSpace" { 512 } else { cluster };
    image.put(0, magic);
    image.le32(16, &[2, 16, 8, 16, 4]);
    // With the old signature a disk has 32 bits of sectors.
    image.le32(36, &[3 * 16 + 2, if unit == 512 { 7 } else { 0 }]);
    image.le32(44, &[0x312e_3276, (cluster / 512) as u32]);
    image.le32(64, &[0, (2 * cluster / unit) as u32, (cluster / unit) as u32, 0]);
    let mut disk = vec![0; 3 * cluster as usize + 1024];
    for (number, place) in [(1, 2), (2, 1)] {
        let bytes = data(31 + number as u32, cluster as usize);
        image.put(place * cluster, &bytes);
        disk[number * cluster as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    ("parallels", image, disk)
}

/// Version 2 or 3 of Linux, without a backing file; `old` is what QEMU made of 2, and 64-bit kernels of 3.
pub fn cow(version: u32, old: bool) -> Sample {
    let mut image = Image::default();
    image.put(0, b"OOOM");
    image.be32(4, &[version]);
    let (size_at, header) = match (version, old) {
        (2, false) => (4108, 4120),
        (2, true) => (1040, 1056),
        (_, false) => (12, 4128),
        (_, true) => (16, 4136),
    };
    let sectors = 40u64;
    image.be64(size_at, &[sectors * 512]);
    image.be32(size_at + 8, &[512]);
    if version == 3 {
        image.be32(size_at + 12, &[4096, 0]);
        // Without a name only the old layout can be told from the new.
        image.put(if old { 36 } else { 32 }, b"base");
    }
    let align = if version == 3 { 4096 } else { 512 };
    let bitmap = if version == 3 { u64::next_multiple_of(header, align) } else { header };
    let data_at = (bitmap + sectors / 8).next_multiple_of(align);
    let here = [0b0110_0001u8, 0, 0xff, 0, 0x80];
    image.put(bitmap, here);
    let bytes = data(37 + version, sectors as usize * 512);
    image.put(data_at, &bytes);
    let seen = |sector: usize| here[sector / 8] >> (sector % 8) & 1 != 0;
    let disk = bytes.iter().enumerate().map(|(i, b)| if seen(i / 512) { *b } else { 0 }).collect();
    ("cow", image, disk)
}

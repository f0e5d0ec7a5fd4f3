//! Disk images against QEMU's tools, where they are installed, and against a model. `imago`, another implementation, reads what we write.

mod killed;
mod support;

use emu_host::disk::qcow2::{self, Options, check};
use emu_host::disk::{self, Spec};
use emu_machine::backend::Disk;
use proptest::prelude::*;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Folder, contents, noise, qemu, qemu_fails, spec};

fn options(size: u64, cluster: u64) -> Options {
    Options { size, cluster, backing: None }
}

fn made(path: &Path, options: &Options) {
    qcow2::create(&support::new(path), options).unwrap();
}

/// No leaks, no corruptions: says our checker, and QEMU's.
fn sound(path: &Path) {
    let report = check::check(&File::open(path).unwrap()).unwrap();
    assert_eq!((report.corruptions, report.leaks), (0, 0), "{:?}", report.lines);
    qemu(&["check", "-q", "-f", "qcow2", path.to_str().unwrap()]);
}

/// What imago reads.
fn imago(path: &Path) -> Vec<u8> {
    use imago::{DenyImplicitOpenGate, FormatAccess, FormatDriverBuilder, Storage, StorageOpenOptions, file::File, qcow2::Qcow2};
    let file = File::open(StorageOpenOptions::new().filename(path)).unwrap();
    let image = FormatAccess::new(Qcow2::<File>::builder(file).backing(None).open(DenyImplicitOpenGate::default()).unwrap());
    let mut bytes = vec![0; image.size() as usize];
    image.read(&mut bytes[..], 0).unwrap();
    bytes
}

#[derive(Clone, Debug)]
enum Op {
    Write(u64, u64, u8),
    Discard(u64, u64),
    Flush,
    Reopen,
    Revert,
}

fn ops(size: u64) -> impl Strategy<Value = Vec<Op>> {
    let range = (0..size, prop_oneof![1..600u64, 1..70_000u64, 60_000..200_000u64]);
    let op = prop_oneof![
        8 => (range.clone(), any::<u8>()).prop_map(|((at, len), value)| Op::Write(at, len, value)),
        3 => range.prop_map(|(at, len)| Op::Discard(at, len)),
        1 => Just(Op::Flush),
        1 => Just(Op::Reopen),
        1 => Just(Op::Revert),
    ];
    proptest::collection::vec(op, 1..40)
}

/// Performs operations on a disk and on a model; `base` is what a revert leaves.
fn model(spec: &Spec, base: &[u8], ops: &[Op], reopen: bool) -> Vec<u8> {
    let mut disk = disk::open(spec).unwrap();
    let mut bytes = base.to_vec();
    let size = bytes.len() as u64;
    assert_eq!(disk.size(), size);
    for op in ops {
        match *op {
            Op::Write(at, len, value) => {
                let range = at as usize..(at + len).min(size) as usize;
                let data = noise(u64::from(value), range.len());
                disk.write(at, &data).unwrap();
                bytes[range].copy_from_slice(&data);
            }
            Op::Discard(at, len) => {
                let range = at as usize..(at + len).min(size) as usize;
                disk.discard(at, range.len() as u64).unwrap();
                bytes[range].fill(0);
            }
            Op::Flush => disk.flush().unwrap(),
            Op::Reopen if reopen => {
                drop(disk);
                disk = disk::open(spec).unwrap();
            }
            Op::Reopen => {}
            Op::Revert => {
                disk.revert().unwrap();
                bytes.copy_from_slice(base);
            }
        }
    }
    assert!(contents(&mut *disk) == bytes, "the disk differs from the model");
    // What is not its own is what the base has.
    let own = disk.own_ranges().unwrap();
    let mut at = 0;
    for range in own.into_iter().chain(std::iter::once(size..size)) {
        assert!(range.start >= at && range.end <= size);
        assert!(bytes[at as usize..range.start as usize] == base[at as usize..range.start as usize]);
        at = range.end;
    }
    bytes
}

fn same(folder: &Folder, image: &Path, bytes: &[u8]) {
    std::fs::write(folder.path("same.raw"), bytes).unwrap();
    qemu(&["compare", "-q", "-f", "qcow2", "-F", "raw", image.to_str().unwrap(), &folder.text("same.raw")]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn qcow2_is_as_the_model(ops in ops(1_000_448), cluster in 9u32..17) {
        let folder = Folder::new();
        let path = folder.path("a.qcow2");
        made(&path, &options(1_000_448, 1 << cluster));
        let bytes = model(&spec(&path, ""), &vec![0; 1_000_448], &ops, true);
        sound(&path);
        assert!(imago(&path) == bytes);
        same(&folder, &path, &bytes);
    }

    #[test]
    fn overlays_are_as_the_model(ops in ops(900_096), cluster in 9u32..17, base_sectors in 800usize..2000) {
        let folder = Folder::new();
        let mut base = noise(7, base_sectors * 512);
        std::fs::write(folder.path("base.raw"), &base).unwrap();
        let path = folder.path("a.qcow2");
        let backing = Some(("base.raw".to_string(), "raw".to_string()));
        made(&path, &Options { size: 900_096, cluster: 1 << cluster, backing });
        base.resize(900_096, 0);
        let bytes = model(&spec(&path, ",backing=allow"), &base, &ops, true);
        sound(&path);
        same(&folder, &path, &bytes);
    }

    #[test]
    fn raw_is_as_the_model(ops in ops(300_000)) {
        let folder = Folder::new();
        let path = folder.path("a.raw");
        support::new(&path).set_len(300_000).unwrap();
        let bytes = model(&spec(&path, ",format=raw"), &vec![0; 300_000], &ops, true);
        assert!(std::fs::read(&path).unwrap() == bytes);
    }

    #[test]
    fn a_snapshot_is_as_the_model_and_leaves_the_image(ops in ops(300_000)) {
        let folder = Folder::new();
        let base = noise(3, 300_000);
        std::fs::write(folder.path("a.raw"), &base).unwrap();
        model(&spec(&folder.path("a.raw"), ",snapshot"), &base, &ops, false);
        assert!(std::fs::read(folder.path("a.raw")).unwrap() == base);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing a file says makes us panic, or take for ever.
    #[test]
    fn damaged_images_are_errors(flips in proptest::collection::vec((0usize..20, any::<u16>(), any::<u8>()), 1..6), cut in 0u64..400_000) {
        let folder = Folder::new();
        let path = folder.path("a.qcow2");
        made(&path, &options(500_000, 512));
        {
            let mut image = qcow2::Qcow2::open(support::rw(&path), true).unwrap();
            image.write_compressed(0, &[7; 512]).unwrap();
            image.write_compressed(1024, &[8; 512]).unwrap();
            image.write(100_000, &noise(1, 50_000)).unwrap();
        }
        let mut bytes = std::fs::read(&path).unwrap();
        for (region, at, value) in flips {
            // Most of them in the header and the tables.
            let at = match region {
                0..8 => usize::from(at) % 112,
                8..16 => usize::from(at) % 16384,
                _ => usize::from(at) * 8 % bytes.len(),
            };
            bytes[at] ^= value;
        }
        bytes.truncate(bytes.len().min(cut.max(100) as usize * 3));
        std::fs::write(&path, &bytes).unwrap();
        let _ = check::check(&File::open(&path).unwrap());
        if let Ok(mut disk) = disk::open(&spec(&path, ",format=qcow2")) {
            let size = disk.size();
            let mut buffer = vec![0; 100_000.min(size as usize)];
            let _ = disk.read(0, &mut buffer);
            let _ = disk.write(size / 2, &noise(2, 5000.min((size - size / 2) as usize)));
            let _ = disk.discard(0, 50_000.min(size));
            let _ = disk.flush();
            let _ = disk.own_ranges();
            let _ = disk.revert();
        }
    }
}

/// A disk with zeroes, text and noise.
fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = noise(5, len);
    for (n, chunk) in bytes.chunks_mut(50_000).enumerate() {
        match n % 4 {
            0 => chunk.fill(0),
            1 => chunk.iter_mut().enumerate().for_each(|(i, b)| *b = (i / 100) as u8),
            _ => {}
        }
    }
    bytes
}

#[test]
fn images_made_by_qemu_are_read() {
    if support::no_qemu() {
        return;
    }
    let folder = Folder::new();
    let bytes = pattern(3_000_320);
    std::fs::write(folder.path("a.raw"), &bytes).unwrap();
    let (raw, image) = (folder.text("a.raw"), folder.text("a.img"));
    let mut cases: Vec<(&str, String, &str)> = vec![];
    for bits in 9..=21 {
        let cluster = format!("cluster_size={}", 1u64 << bits);
        cases.push(("qcow2", cluster.clone(), ""));
        cases.push(("qcow2", format!("{cluster},compat=0.10"), "-c"));
        cases.push(("qcow2", format!("{cluster},compression_type=zstd"), "-c"));
        if bits >= 14 {
            cases.push(("qcow2", format!("{cluster},extended_l2=on"), ""));
            cases.push(("qcow2", format!("{cluster},extended_l2=on"), "-c"));
        }
    }
    cases.push(("qcow2", "lazy_refcounts=on".into(), ""));
    cases.push(("vmdk", "subformat=monolithicSparse".into(), ""));
    cases.push(("vmdk", "subformat=streamOptimized".into(), ""));
    cases.push(("vmdk", "subformat=monolithicFlat".into(), ",backing=allow"));
    cases.push(("vmdk", "subformat=twoGbMaxExtentSparse".into(), ",backing=allow"));
    cases.push(("vmdk", "subformat=twoGbMaxExtentFlat".into(), ",backing=allow"));
    for (format, options, extra) in cases {
        let mut arguments = vec!["convert", "-f", "raw", "-O", format, "-o", &options, &raw, &image];
        let more = if extra == "-c" { "" } else { extra };
        if extra == "-c" {
            arguments.insert(1, "-c");
        }
        qemu(&arguments);
        let spec = spec(Path::new(&image), &format!(",readonly{more}"));
        let mut disk = disk::open(&spec).unwrap_or_else(|e| panic!("{options} {extra}: {e}"));
        assert!(contents(&mut *disk)[..bytes.len()] == bytes, "{format} {options} {extra}");
        let (mut disk, ranges) = disk::open_sparse(&spec).unwrap();
        let mut all = vec![0; disk.size() as usize];
        for range in ranges {
            disk.read(range.start, &mut all[range.start as usize..range.end as usize]).unwrap();
        }
        assert!(all[..bytes.len()] == bytes, "the ranges of {format} {options} {extra}");
        if format == "qcow2" {
            let report = check::check(&File::open(&image).unwrap()).unwrap();
            assert_eq!((report.corruptions, report.leaks), (0, 0), "{options}: {:?}", report.lines);
        }
        std::fs::remove_file(&image).unwrap();
    }
}

#[test]
fn images_made_by_qemu_are_written() {
    if support::no_qemu() {
        return;
    }
    for options in [
        "compat=0.10",
        "compat=0.10,cluster_size=512",
        "compression_type=zstd",
        "lazy_refcounts=on",
        // Their refcount tables must grow.
        "cluster_size=512,refcount_bits=64",
        "cluster_size=512,refcount_bits=1",
        "cluster_size=512,refcount_bits=4",
        "refcount_bits=32,preallocation=metadata",
    ] {
        let folder = Folder::new();
        let mut bytes = pattern(12_000_256);
        std::fs::write(folder.path("a.raw"), &bytes[..6_000_128]).unwrap();
        let (raw, image) = (folder.text("a.raw"), folder.text("a.img"));
        let mut arguments = vec!["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, &raw, &image];
        // Neither goes with compressed clusters.
        if options.contains("_bits=1") || options.contains("preallocation") {
            arguments.remove(1);
        }
        qemu(&arguments);
        qemu(&["resize", "-q", &image, "12000256"]);
        bytes[6_000_128..].fill(0);
        let mut disk = disk::open(&spec(Path::new(&image), "")).unwrap();
        for n in 0..400u64 {
            let at = n * 7_654_321 % 11_900_000;
            let len = (1 + n * n % 70_000).min(12_000_256 - at);
            let range = at as usize..(at + len) as usize;
            if n % 5 == 4 {
                disk.discard(at, len).unwrap();
                bytes[range].fill(0);
            } else {
                let data = noise(n, len as usize);
                disk.write(at, &data).unwrap();
                bytes[range].copy_from_slice(&data);
            }
            if n % 100 == 50 {
                disk.flush().unwrap();
            }
        }
        drop(disk);
        sound(Path::new(&image));
        same(&folder, Path::new(&image), &bytes);
    }
}

#[test]
fn snapshots_inside_of_an_image_are_kept() {
    if support::no_qemu() {
        return;
    }
    let folder = Folder::new();
    let (raw, image) = (folder.text("a.raw"), folder.text("a.img"));
    let bytes = pattern(4_000_256);
    std::fs::write(&raw, &bytes).unwrap();
    qemu(&["convert", "-c", "-O", "qcow2", "-o", "cluster_size=4096", &raw, &image]);
    qemu(&["snapshot", "-c", "one", &image]);
    let mut disk = disk::open(&spec(Path::new(&image), "")).unwrap();
    for n in 0..40 {
        disk.write(n * 99_000, &noise(n, 20_000)).unwrap();
        disk.discard(n * 98_000, 10_000).unwrap();
    }
    drop(disk);
    sound(Path::new(&image));
    qemu(&["convert", "-l", "one", "-O", "raw", &image, &folder.text("b.raw")]);
    assert!(std::fs::read(folder.path("b.raw")).unwrap() == bytes);
}

#[test]
fn chains_are_read_and_only_on_request() {
    if support::no_qemu() {
        return;
    }
    let folder = Folder::new();
    let bytes = pattern(2_000_384);
    std::fs::write(folder.path("0.raw"), &bytes).unwrap();
    let (one, two) = (folder.text("1.qcow2"), folder.text("2.qcow2"));
    qemu(&["create", "-q", "-f", "qcow2", "-b", "0.raw", "-F", "raw", "-o", "compat=0.10", &one]);
    qemu(&["create", "-q", "-f", "qcow2", "-b", "1.qcow2", "-F", "qcow2", &two]);
    let refused = disk::open(&spec(Path::new(&two), "")).err().unwrap().to_string();
    assert!(refused.contains("backing=allow") && refused.contains("1.qcow2"), "{refused}");
    let mut disk = disk::open(&spec(Path::new(&two), ",backing=allow")).unwrap();
    assert!(contents(&mut *disk) == bytes);
    disk.write(1, b"x").unwrap();
    drop(disk);
    assert!(std::fs::read(folder.path("0.raw")).unwrap() == bytes);
    // The format of a backing file that was guessed gives no right to name another file.
    let mut head = std::fs::read(&two).unwrap();
    let at = head.windows(4).position(|bytes| bytes == [0xe2, 0x79, 0x2a, 0xca]).unwrap();
    head[at] = 0xe3;
    std::fs::write(&two, head).unwrap();
    let refused = disk::open(&spec(Path::new(&two), ",backing=allow")).err().unwrap().to_string();
    assert!(refused.contains("0.raw") && refused.contains("format"), "{refused}");
    // A chain that bites its tail.
    qemu(&["rebase", "-u", "-b", "2.qcow2", "-F", "qcow2", &two]);
    let refused = disk::open(&spec(Path::new(&two), ",backing=allow")).err().unwrap().to_string();
    assert!(refused.contains("its own backing file"), "{refused}");
}

#[test]
fn images_do_not_open_the_hosts_files() {
    let folder = Folder::new();
    let path = folder.path("a.qcow2");
    made(&path, &Options { size: 1 << 20, cluster: 65536, backing: Some(("/etc/passwd".into(), "raw".into())) });
    let error = disk::open(&spec(&path, "")).err().unwrap().to_string();
    assert!(error.contains("/etc/passwd") && error.contains("backing=allow"), "{error}");
    assert!(disk::open(&spec(&path, ",backing=allow,readonly")).is_ok());
    // Data in another file.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[79] |= 4;
    bytes[8..20].fill(0);
    bytes[104..160].fill(0);
    bytes[104..112].copy_from_slice(&[0x44, 0x41, 0x54, 0x41, 0, 0, 0, 11]);
    bytes[112..128].copy_from_slice(b"/etc/passwd\0\0\0\0\0");
    std::fs::write(&path, &bytes).unwrap();
    let error = disk::open(&spec(&path, ",readonly")).err().unwrap().to_string();
    assert!(error.contains("data file") && error.contains("backing=allow"), "{error}");
    // An extent.
    let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 2 FLAT \"/etc/passwd\" 0\n";
    std::fs::write(&path, text).unwrap();
    let error = disk::open(&spec(&path, ",readonly")).err().unwrap().to_string();
    assert!(error.contains("extent") && error.contains("backing=allow"), "{error}");
}

#[test]
fn an_image_has_one_writer() {
    let folder = Folder::new();
    let path = folder.path("a.qcow2");
    made(&path, &options(1 << 20, 65536));
    let first = disk::open(&spec(&path, "")).unwrap();
    for more in ["", ",readonly", ",snapshot"] {
        let error = disk::open(&spec(&path, more)).err().unwrap().to_string();
        assert!(error.contains("in use"), "{error}");
    }
    if !support::no_qemu() {
        assert!(qemu_fails(&["check", path.to_str().unwrap()]).contains("lock"));
    }
    drop(first);
    let reader = disk::open(&spec(&path, ",readonly")).unwrap();
    let other = disk::open(&spec(&path, ",snapshot")).unwrap();
    assert!(disk::open(&spec(&path, "")).is_err());
    drop((reader, other));
    if support::no_qemu() {
        return;
    }
    // QEMU has it.
    let mut qemu = Command::new("qemu-io").arg(&path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    let mut refused = false;
    while !refused && Instant::now() < end {
        refused = disk::open(&spec(&path, "")).is_err();
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(qemu.stdin.take());
    qemu.wait().unwrap();
    assert!(refused);
    assert!(disk::open(&spec(&path, "")).is_ok());
}

#[test]
fn a_guessed_raw_disk_does_not_become_another_format() {
    let folder = Folder::new();
    let path = folder.path("a.img");
    support::new(&path).set_len(1 << 20).unwrap();
    let head = [b'Q', b'F', b'I', 0xfb, 0, 0, 0, 3];
    let mut disk = disk::open(&spec(&path, "")).unwrap();
    disk.write(0, b"MBR").unwrap();
    disk.write(4, &head[4..]).unwrap();
    let error = disk.write(0, &head[..4]).unwrap_err().to_string();
    assert!(error.contains("format=raw"), "{error}");
    drop(disk);
    let mut disk = disk::open(&spec(&path, ",format=raw")).unwrap();
    disk.write(0, &head).unwrap();
}

#[test]
fn what_cannot_be_is_an_error() {
    let folder = Folder::new();
    let error = |path: &Path, more: &str| disk::open(&spec(path, more)).err().unwrap().to_string();
    assert!(error(&folder.path("none"), "").contains("No such file"));
    assert!(error(Path::new("/"), ",readonly").contains("neither a file"));
    std::fs::write(folder.path("short"), b"QFI\xfb\0\0\0\x03").unwrap();
    assert!(error(&folder.path("short"), "").contains("clusters of 2^0"));
    let path = folder.path("a");
    made(&path, &options(1 << 20, 65536));
    let good = std::fs::read(&path).unwrap();
    let wrong = [
        (79, 1, "not closed"),
        (79, 2, "corrupt"),
        (79, 32, "not known"),
        (35, 1, "encrypted"),
        (36, 255, "32M"),
        (56, 255, "8M"),
        (99, 9, "refcounts"),
    ];
    for (at, value, text) in wrong {
        let mut bytes = good.clone();
        bytes[at] = value;
        std::fs::write(&path, bytes).unwrap();
        let error = error(&path, "");
        assert!(error.contains(text), "{at} {value}: {error}");
    }
    // A disk that only lost its refcounts can be read.
    let mut bytes = good.clone();
    bytes[79] = 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(disk::open(&spec(&path, ",readonly")).is_ok());
    // A table whose cluster is counted as free is not given to another use.
    std::fs::write(&path, &good).unwrap();
    disk::open(&spec(&path, "")).unwrap().write(0, b"x").unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    // Header, table, block, L1, then the L2 table, and the data.
    assert_eq!(bytes[2 * 65536..2 * 65536 + 14], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0]);
    bytes[2 * 65536 + 9] = 0;
    std::fs::write(&path, &bytes).unwrap();
    let report = check::check(&File::open(&path).unwrap()).unwrap();
    assert!(report.corruptions > 0 && report.leaks == 0, "{report:?}");
    let mut disk = disk::open(&spec(&path, "")).unwrap();
    assert!(disk.write(500_000, b"x").unwrap_err().to_string().contains("damaged"));
}

#[test]
fn discards_give_space_back() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new();
    let path = folder.path("a.qcow2");
    made(&path, &options(16 << 20, 65536));
    let mut disk = disk::open(&spec(&path, "")).unwrap();
    disk.write(0, &noise(1, 16 << 20)).unwrap();
    disk.flush().unwrap();
    assert!(std::fs::metadata(&path).unwrap().blocks() * 512 > 16 << 20);
    disk.discard(0, 16 << 20).unwrap();
    disk.flush().unwrap();
    assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
    assert_eq!(disk.own_ranges().unwrap(), []);
    drop(disk);
    sound(&path);
}

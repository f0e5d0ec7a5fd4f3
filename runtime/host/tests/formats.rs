//! Read-only image formats: against `qemu-img` (and `dmg2img` for what that does not unpack), and broken images of each.

mod images;

use emu_host::disk::ImageError as Error;
use emu_host::disk::formats::{self, FORMATS, Format};
use emu_machine::backend::Disk;
use images::{Image, Sample, data};
use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Counts what a thread has allocated, and the most it had at once.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        _ = MOST.try_with(|most| most.set(most.get().max(now.get())));
    });
}

// SAFETY: everything is the system allocator's; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A backing file.
struct Plain(Vec<u8>);

impl Disk for Plain {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_only(&self) -> bool {
        true
    }
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.copy_from_slice(&self.0[at as usize..][..buffer.len()]);
        Ok(())
    }
    fn write(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        unreachable!("nobody writes to a backing file")
    }
    fn discard(&mut self, _: u64, _: u64) -> io::Result<()> {
        unreachable!("nobody writes to a backing file")
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

/// Opens an image, over an empty backing file if it wants one.
fn open(format: &Format, file: &File) -> Result<Box<dyn Disk>, Error> {
    match ((format.open)(file.try_clone().unwrap()), format.over) {
        (Err(Error::Backing { .. }), Some(over)) => over(file.try_clone().unwrap(), Box::new(Plain(vec![]))),
        (result, _) => result,
    }
}

fn file(image: &Image) -> File {
    let file = tempfile::tempfile().unwrap();
    image.write(&file);
    file
}

fn whole(disk: &mut dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0xcc; disk.size() as usize];
    disk.read(0, &mut bytes).unwrap();
    bytes
}

#[track_caller]
fn same(name: &str, got: &[u8], wanted: &[u8]) {
    let different = got.iter().zip(wanted).position(|(a, b)| a != b);
    assert!(different.is_none(), "{name}: byte {different:x?} is another");
    assert_eq!(got.len(), wanted.len(), "{name}: another size");
}

/// Reads as a whole and in pieces at odd places.
#[track_caller]
fn check(name: &str, disk: &mut dyn Disk, wanted: &[u8]) {
    same(name, &whole(disk), wanted);
    let mut at = 1;
    while at < wanted.len() {
        let len = (at * 7919 % 9000).min(wanted.len() - at);
        let mut bytes = vec![0xcc; len];
        disk.read(at as u64, &mut bytes).unwrap();
        same(name, &bytes, &wanted[at..at + len]);
        at += at * 31 % 20011 + 1;
    }
    assert!(disk.read(wanted.len() as u64 - 1, &mut [0; 2]).is_err(), "{name}: past the end");
    assert!(disk.read(u64::MAX, &mut [0; 2]).is_err(), "{name}: far past the end");
    assert_eq!(disk.write(0, &[0]).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(disk.discard(0, 1).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert!(disk.read_only() && disk.own_ranges().unwrap().is_empty() && disk.revert().is_ok() && disk.flush().is_ok());
}

fn installed(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: {tool} is not installed");
    }
    there
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn qemu_img(args: &[&str], paths: &[&Path]) {
    run(Command::new("qemu-img").args(args).args(paths));
}

/// What `qemu-img` reads in an image.
fn oracle(folder: &Path, format: &str, image: &Path) -> Vec<u8> {
    let raw = folder.join("oracle.raw");
    qemu_img(&["convert", "-f", format, "-O", "raw"], &[image, &raw]);
    std::fs::read(raw).unwrap()
}

/// Some runs of data, some of zeroes, no round size.
fn content() -> Vec<u8> {
    let mut bytes = vec![0; (5 << 20) + 3 * 512];
    for (i, at) in [0, 70_000, 1 << 20, 3_000_000, 4 << 20, (5 << 20) + 512].into_iter().enumerate() {
        let len = [60_000, 4096, 1_500_000, 512, 300_000, 1024][i];
        bytes[at..at + len].copy_from_slice(&data(i as u32 * 2 + 1, len));
    }
    bytes
}

#[test]
fn images_of_qemu_read_as_qemu_reads_them() {
    if !installed("qemu-img") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("raw");
    std::fs::write(&raw, content()).unwrap();
    for (format, options) in [
        ("vdi", "static=off"),
        ("vdi", "static=on"),
        ("vpc", "subformat=dynamic"),
        ("vpc", "subformat=dynamic,force_size=on"),
        ("vpc", "subformat=fixed"),
        ("vpc", "subformat=fixed,force_size=on"),
        ("vhdx", "subformat=dynamic"),
        ("vhdx", "subformat=dynamic,block_size=2M,log_size=2M"),
        ("vhdx", "subformat=fixed"),
        ("parallels", "cluster_size=1M"),
        ("parallels", "cluster_size=64k"),
        ("qcow", ""),
    ] {
        let name = format!("{format} {options}");
        let image = folder.path().join("image");
        let options = if options.is_empty() { vec![] } else { vec!["-o", options] };
        qemu_img(&[&["convert", "-f", "raw", "-O", format][..], &options].concat(), &[&raw, &image]);
        let found = formats::probe(&File::open(&image).unwrap()).unwrap().expect(&name);
        assert_eq!(found.name, format, "{name}");
        let wanted = oracle(folder.path(), format, &image);
        same(&name, &wanted[..content().len()], &content());
        check(&name, &mut *(found.open)(File::open(&image).unwrap()).unwrap(), &wanted);
    }
}

#[test]
fn images_made_by_hand_read_as_described() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let qemu = installed("qemu-img");
    for (i, (format, image, disk)) in images::all().into_iter().enumerate() {
        let name = format!("{format} ({i})");
        let file = file(&image);
        images::seal(format, &file);
        let found = formats::probe(&file).unwrap().expect(&name);
        assert_eq!(found.name, format);
        check(&name, &mut *open(found, &file).unwrap(), &disk);
        // QEMU has no `cow` any more, and not all of a `dmg`'s chunks.
        if !qemu || matches!(format, "cow" | "dmg") {
            continue;
        }
        let mut bytes = vec![0; image.len as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        std::fs::write(&path, bytes).unwrap();
        if format == "vhdx" {
            // To play the log back it wants to write.
            qemu_img(&["check", "-q", "-r", "all", "-f", "vhdx"], &[&path]);
        }
        same(&name, &oracle(folder.path(), format, &path), &disk);
    }
}

#[test]
fn a_large_disk_has_bit_maps_in_its_table() {
    if !installed("qemu-img") || !installed("qemu-io") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    qemu_img(&["create", "-q", "-f", "vhdx", "-o", "block_size=256M"], &[&image, Path::new("9G")]);
    run(Command::new("qemu-io")
        .args(["-f", "vhdx", "-c", "write -P 1 3G 1M", "-c", "write -P 2 4608M 1M", "-c", "write -P 3 8448M 1M"])
        .arg(&image));
    let mut disk = (formats::named("vhdx").unwrap().open)(File::open(&image).unwrap()).unwrap();
    for (at, value) in [(3 << 30, 1), (4608 << 20, 2), (8448 << 20, 3), (4 << 30, 0), ((9 << 30) - 4096, 0)] {
        let mut bytes = [0xcc; 4096];
        disk.read(at, &mut bytes).unwrap();
        assert_eq!(bytes, [value; 4096], "at {at:#x}");
    }
}

#[test]
fn a_cut_image_is_an_error_where_it_is_cut() {
    for (format, image, disk) in images::all() {
        // A footer is missed at once, and so is what a log or a table says of the file's length.
        if matches!(format, "vpc" | "dmg" | "cloop" | "vhdx") {
            continue;
        }
        let file = file(&image);
        images::seal(format, &file);
        file.set_len(if format == "qcow" { 9000 } else { image.len - 512 }).unwrap();
        let mut opened = open(formats::named(format).unwrap(), &file).unwrap();
        let mut bytes = vec![0; disk.len()];
        let error = opened.read(0, &mut bytes).expect_err(format);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{format}");
        assert!(error.to_string().contains("the file ends at"), "{error}");
    }
}

#[test]
fn a_log_left_by_qemu_is_played_back() {
    if !installed("qemu-img") || !installed("qemu-io") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    qemu_img(&["create", "-q", "-f", "vhdx", "-o", "block_size=1M"], &[&image, Path::new("40M")]);
    let before = std::fs::read(&image).unwrap();
    run(Command::new("qemu-io").args(["-f", "vhdx", "-c", "write -P 0xab 1M 3M", "-c", "write -P 0xcd 20M 1M"]).arg(&image));
    // As if it had been killed between its last entry of the log and the write to the table that this is about: the table is as before, the
    // header names the log.
    let (mut after, bat) = (std::fs::read(&image).unwrap(), 2 << 20);
    assert!(before[bat..bat + 4096] != after[bat..bat + 4096], "the table is here");
    after[bat..bat + 4096].copy_from_slice(&before[bat..bat + 4096]);
    let entry = (1 << 20..2 << 20).step_by(4096).rfind(|at| after[*at..].starts_with(b"loge")).expect("a log");
    after.copy_within(entry + 32..entry + 48, 0x1_0000 + 48);
    after.copy_within(entry + 32..entry + 48, 0x2_0000 + 48);
    std::fs::write(&image, &after).unwrap();
    images::seal("vhdx", &File::options().read(true).write(true).open(&image).unwrap());
    let after = std::fs::read(&image).unwrap();
    let found = formats::named("vhdx").unwrap();
    let got = whole(&mut *(found.open)(File::open(&image).unwrap()).unwrap());
    assert!(std::fs::read(&image).unwrap() == after, "the file stays as it is");
    let mut wanted = vec![0; 40 << 20];
    wanted[20 << 20..21 << 20].fill(0xcd);
    qemu_img(&["check", "-q", "-r", "all", "-f", "vhdx"], &[&image]);
    same("vhdx", &got, &oracle(folder.path(), "vhdx", &image));
    same("vhdx", &got[20 << 20..], &wanted[20 << 20..]);
}

#[test]
fn backing_files_are_named_and_not_opened() {
    let base = data(41, 20_000);
    for (version, old) in [(2, false), (3, false), (2, true), (3, true)] {
        let (format, image, disk) = images::cow(version, old);
        let file = file(&image);
        match (formats::named(format).unwrap().open)(file.try_clone().unwrap()) {
            Ok(_) => assert_eq!(version, 2, "the samples of version 2 name nothing"),
            Err(error) => assert_eq!(error.to_string(), "cow image needs its backing file `base`"),
        }
        let over = formats::named(format).unwrap().over.unwrap();
        let mut over = over(file, Box::new(Plain(base.clone()))).unwrap();
        // Where the sample has none of its own it is zeroes, which data has not for a whole sector.
        let mut wanted = disk;
        for (i, sector) in wanted.chunks_mut(512).enumerate() {
            if sector.iter().all(|b| *b == 0) {
                let below = base.get(i * 512..).unwrap_or_default();
                let len = below.len().min(512);
                sector[..len].copy_from_slice(&below[..len]);
            }
        }
        check(format, &mut *over, &wanted);
    }
    if !installed("qemu-img") || !installed("qemu-io") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (raw, image) = (folder.path().join("base.raw"), folder.path().join("image"));
    std::fs::write(&raw, content()).unwrap();
    qemu_img(&["create", "-q", "-f", "qcow", "-F", "raw", "-b"], &[&raw, &image, Path::new("6M")]);
    run(Command::new("qemu-io")
        .args(["-f", "qcow", "-c", "write -P 7 1000000 77777", "-c", "write -P 8 5767168 1k", "-c", "write -c -P 9 512 512"])
        .arg(&image));
    let qcow = formats::named("qcow").unwrap();
    match (qcow.open)(File::open(&image).unwrap()) {
        Err(Error::Backing { format: "qcow", name }) => assert_eq!(Path::new(&name), raw),
        other => panic!("{:?}", other.err()),
    }
    let mut over = qcow.over.unwrap()(File::open(&image).unwrap(), Box::new(Plain(content()))).unwrap();
    check("qcow", &mut *over, &oracle(folder.path(), "qcow", &image));
}

#[test]
fn disk_images_of_apple_read_as_others_read_them() {
    let folder = tempfile::tempdir().unwrap();
    let (path, raw) = (folder.path().join("image.dmg"), folder.path().join("raw"));
    let write = |(_, image, disk): Sample| {
        image.write(&File::create_new(&path).or_else(|_| File::options().read(true).write(true).open(&path)).unwrap());
        disk
    };
    if installed("qemu-img") {
        for fork in [false, true] {
            let disk = write(images::dmg(&["raw", "zero", "zlib"], fork, false));
            same("dmg", &oracle(folder.path(), "dmg", &path), &disk);
            check("dmg", &mut *open(formats::named("dmg").unwrap(), &File::open(&path).unwrap()).unwrap(), &disk);
        }
    }
    if installed("dmg2img") {
        let disk = write(images::dmg(&["raw", "zero", "adc", "zlib", "bzip2"], false, true));
        run(Command::new("dmg2img").args([&path, &raw]));
        same("dmg2img", &std::fs::read(&raw).unwrap(), &disk);
    }
}

/// A file with other bytes at a place.
fn altered((format, image, _): &Sample, changes: &[(u64, &[u8])]) -> String {
    let file = file(image);
    for (at, bytes) in changes {
        file.write_all_at(bytes, *at).unwrap();
    }
    images::seal(format, &file);
    match (formats::named(format).unwrap().open)(file) {
        Ok(_) => "it was opened".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_not_read_is_refused_clearly() {
    let footer = images::vpc_dynamic().1.len - 512;
    let koly = images::dmg(&["raw"], false, false).1.len - 512;
    let (vdi, vpc, vhdx, qcow, bochs) = (images::vdi(), images::vpc_dynamic(), images::vhdx(), images::qcow(), images::bochs(2));
    let dmg = images::dmg(&["raw"], false, false);
    let fork = images::dmg(&["zlib"], true, false);
    for (sample, changes, wanted) in [
        (&vdi, &[(0x4c, &[4u8][..])][..], "vdi image at byte 0x4c: it is a differencing image, which is not supported"),
        (&vdi, &[(0x4c, &[3])], "vdi image at byte 0x4c: it is an undo image, which is not supported"),
        (&vdi, &[(0x4c, &[9])], "vdi image is broken at byte 0x4c: there is no image type 9"),
        (&vdi, &[(0x44, &[2])], "vdi image at byte 0x44: it is version 1.2, which is not supported"),
        (&vdi, &[(0x1b8, &[1])], "vdi image at byte 0x1b8: it names a parent image, which is not supported"),
        (&vdi, &[(0x178, &[1])], "vdi image is broken at byte 0x178: blocks cannot have 1048577 bytes"),
        (&vdi, &[(0x173, &[1])], "vdi image is broken at byte 0x170: 19922944 bytes do not fit into 4 blocks"),
        (&vdi, &[(0x183, &[0x7f])], "vdi image is broken at byte 0x154: the block table goes past the end of the file"),
        (&vpc, &[(footer + 63, &[4])], "vpc image at byte 0x3023c: it is a differencing image, which is not supported"),
        (&vpc, &[(footer, b"x"), (0, b"x")], "vpc image is broken at byte 0x30200: there is no footer with a right checksum"),
        (&vpc, &[(512, b"x")], "vpc image is broken at byte 0x200: there is no dynamic header with a right checksum"),
        (&vhdx, &[(0x20_0000 + 0x1_0004, &[2])], "vhdx image at byte 0x210004: it is a differencing image, which is not supported"),
        (&vhdx, &[(0x2_0042, &[2])], "vhdx image at byte 0x20042: it is version 2, which is not supported"),
        (
            &vhdx,
            &[(0x10_0000, b"x"), (0x1f_e000, b"x")],
            "vhdx image is broken at byte 0x100000: the log should be played back and has no valid sequence of entries",
        ),
        (
            &vhdx,
            &[(0x10_0037, &[1])],
            "vhdx image is broken at byte 0x100000: the file had 72057594044219392 bytes when its log was written, and is shorter now",
        ),
        (
            &vhdx,
            &[(0x20_0020, &[0])],
            "vhdx image at byte 0x200020: it has a required metadata item of another kind, which is not supported",
        ),
        (&qcow, &[(39, &[1])], "qcow image at byte 0x24: it is encrypted, which is not supported"),
        (&qcow, &[(32, &[40])], "qcow image is broken at byte 0x20: clusters cannot have 2^40 bytes"),
        (&qcow, &[(24, &[0x7f])], "qcow image is broken at byte 0x28: the first table goes past the end of the file"),
        (&bochs, &[(48, b"Undoable")], "bochs image at byte 0x20: it is of type `Redolog         Undoable`, which is not supported"),
        (&bochs, &[(83, &[0x10])], "bochs image is broken at byte 0x50: extents cannot have 268443648 bytes"),
        (&images::cow(2, false), &[(7, &[9])], "cow image at byte 0x4: it is version 9, which is not supported"),
        (&images::cow(2, false), &[(0, b"MOOO\x01\0\0\0")], "cow image at byte 0x4: it is version 1, which is not supported"),
        (&images::cow(3, false), &[(31, &[1])], "cow image at byte 0x1c: its format is 1, which is not supported"),
        (&images::cloop(), &[(128, &[9])], "cloop image is broken at byte 0x80: blocks cannot have 150999040 bytes"),
        (&images::cloop(), &[(162, &[9])], "cloop image is broken at byte 0xa0: the last block goes past the end of the file"),
        (&dmg, &[(koly + 63, &[2])], "of several files, which is not supported"),
        (&dmg, &[(0, b"encrcdsa")], "dmg image at byte 0x0: it is encrypted, which is not supported"),
        (&fork, &[(fork.1.len - 512 - 50 - 2 * 328 + 4 + 204 + 3, &[8])], "it has chunks compressed with LZMA, which is not supported"),
        (&images::parallels(b"WithouFreSpacExt"), &[(16, &[3])], "parallels image at byte 0x10: it is version 3, which is not supported"),
        (&images::parallels(b"WithouFreSpacExt"), &[(32, &[1])], "50 sectors do not fit into 1 clusters of 8192 bytes"),
    ] {
        let error = altered(sample, changes);
        assert!(error.ends_with(wanted), "{error}\n  instead of\n{wanted}");
    }
}

/// A broken image is an error or a disk, quickly and in little memory.
fn survive(format: &Format, file: &File) {
    let (start, before) = (Instant::now(), NOW.get());
    MOST.set(before);
    if let Ok(mut disk) = open(format, file) {
        let mut bytes = vec![0; 100_000];
        let size = disk.size();
        for at in [0, 1000, 70_000, 1 << 20, size / 2, size.saturating_sub(5000)] {
            let len = size.saturating_sub(at).min(bytes.len() as u64) as usize;
            _ = disk.read(at, &mut bytes[..len]);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{}: took {:?}", format.name, start.elapsed());
    let most = MOST.get() - before;
    assert!(most < 16 << 20, "{}: allocated {most} bytes", format.name);
}

#[test]
fn broken_images_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    for (i, (format, image, _)) in images::all().into_iter().enumerate() {
        let path: PathBuf = folder.path().join(i.to_string());
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        image.write(&file);
        images::seal(format, &file);
        let found = formats::named(format).unwrap();
        // Headers and tables are where the sample has bytes.
        let mut bytes = vec![0; image.len as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let places: Vec<u64> = (0..image.len).step_by(16).filter(|at| bytes[*at as usize..].iter().take(16).any(|b| *b != 0)).collect();
        let flip = (any::<prop::sample::Index>(), 0..16u64, 0..8u32, any::<bool>());
        let flips = prop::collection::vec(flip, 1..6);
        let runner =
            || proptest::test_runner::TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) });
        let broken = runner().run(&(flips, any::<bool>()), |(flips, seal)| {
            for (place, more, bit, near_start) in &flips {
                let list = if *near_start { &places[..places.len().min(12)] } else { &places[..] };
                let at = (list[place.index(list.len())] + more).min(image.len - 1);
                file.write_all_at(&[bytes[at as usize] ^ 1 << bit], at).unwrap();
            }
            if seal {
                images::seal(format, &file);
            }
            survive(found, &file);
            image.write(&file);
            images::seal(format, &file);
            Ok(())
        });
        broken.unwrap_or_else(|e| panic!("{format} ({i}): {e}"));
        for len in places.iter().step_by(places.len() / 60 + 1).copied().chain([0, 1, 511, 512, 513]) {
            file.set_len(len).unwrap();
            survive(found, &file);
            image.write(&file);
            images::seal(format, &file);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(format in 0..FORMATS.len(), bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        _ = formats::probe(&file).unwrap();
        survive(FORMATS[format], &file);
    }
}

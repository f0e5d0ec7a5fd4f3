//! Disk images of every read-only format: any bytes, and a good image of the format with bytes changed, its checksums put right.
#![no_main]

#[path = "../../../runtime/host/tests/images/mod.rs"]
mod images;

use emu_host::disk::ImageError as Error;
use emu_host::disk::formats::{self, FORMATS, Format};
use emu_machine::backend::Disk;
use libfuzzer_sys::fuzz_target;
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

/// One change: which piece of the sample, where in it, and the bytes.
type Change<'a> = (u8, u16, &'a [u8]);

fn memory() -> File {
    rustix::fs::memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory").into()
}

fn read(format: &Format, file: File) {
    let backing = || (FORMATS[0].open)(samples_file(0)).expect("the sample");
    let disk = match ((format.open)(file.try_clone().expect("a file")), format.over) {
        (Err(Error::Backing { .. }), Some(over)) => over(file, backing()),
        (result, _) => result,
    };
    if let Ok(mut disk) = disk {
        look(&mut *disk);
    }
}

fn look(disk: &mut dyn Disk) {
    let (size, mut bytes) = (disk.size(), vec![0; 20_000]);
    for at in [0, 511, 8000, 1 << 20, size / 2, size.saturating_sub(3000)] {
        let len = size.saturating_sub(at).min(bytes.len() as u64) as usize;
        _ = disk.read(at, &mut bytes[..len]);
    }
}

fn samples() -> &'static [images::Sample] {
    static SAMPLES: OnceLock<Vec<images::Sample>> = OnceLock::new();
    SAMPLES.get_or_init(images::all)
}

fn samples_file(number: usize) -> File {
    let file = memory();
    samples()[number].1.write(&file);
    file
}

fuzz_target!(|input: (u8, Option<u32>, Vec<Change>)| {
    let (which, len, changes) = input;
    let which = usize::from(which) % (FORMATS.len() + samples().len());
    if let Some(format) = FORMATS.get(which) {
        let file = memory();
        for (_, _, bytes) in &changes {
            let end = file.metadata().expect("a file").len();
            file.write_all_at(bytes, end).expect("memory");
        }
        _ = formats::probe(&file);
        return read(format, file);
    }
    let number = which - FORMATS.len();
    let (name, image, _) = &samples()[number];
    let file = samples_file(number);
    for (piece, at, bytes) in changes {
        let (start, piece) = &image.pieces[usize::from(piece) % image.pieces.len()];
        file.write_all_at(bytes, start + u64::from(at) % (piece.len() as u64 + 1)).expect("memory");
    }
    // Cut off, at times.
    if let Some(len) = len {
        file.set_len(u64::from(len) % image.len).expect("memory");
    }
    images::seal(name, &file);
    read(formats::named(name).expect("a format"), file);
});

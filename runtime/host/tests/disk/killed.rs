//! A writer of a qcow2 image is killed at any time: the image is sound afterwards, and what was flushed is there.
//!
//! The writer is this test's own executable. What it does follows from a seed, so the test knows what each block may contain: what the last operation
//! before a flush left there, or any later one.

use crate::support::{self, Folder, contents, spec};
use emu_host::disk;
use emu_host::disk::qcow2::{self, Options, check};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SIZE: u64 = 64 << 20;
const BLOCK: u64 = 4096;
const SECTOR: usize = 512;

/// The operation with this number: blocks, and whether they are discarded.
fn operation(seed: u64, number: u64) -> (std::ops::Range<u64>, bool) {
    let noise = support::noise(seed << 32 | number, 8);
    let block = u64::from(noise[0]) << 8 | u64::from(noise[1]);
    let first = block % (SIZE / BLOCK);
    let most = if noise[2] < 40 { 64 } else { 3 };
    (first..(first + 1 + u64::from(noise[3]) % most).min(SIZE / BLOCK), noise[4] < 50)
}

fn block(number: u64) -> Vec<u8> {
    (number + 1).to_le_bytes().repeat(BLOCK as usize / 8)
}

/// Not a test of its own: what is killed.
#[test]
fn writer() {
    let Ok(arguments) = std::env::var("EMU_KILLED") else { return };
    let (seed, path) = arguments.split_once(' ').unwrap();
    let seed = seed.parse().unwrap();
    let mut disk = disk::open(&spec(Path::new(path), "")).unwrap();
    let mut out = std::io::stderr();
    for number in 0.. {
        let (blocks, discard) = operation(seed, number);
        let len = (blocks.end - blocks.start) * BLOCK;
        if discard {
            disk.discard(blocks.start * BLOCK, len).unwrap();
        } else {
            disk.write(blocks.start * BLOCK, &block(number).repeat((blocks.end - blocks.start) as usize)).unwrap();
        }
        if number % 37 == 36 {
            disk.flush().unwrap();
            writeln!(out, "flushed {number}").unwrap();
        }
    }
}

#[test]
fn an_image_survives_its_writer() {
    for round in 0..20u64 {
        let folder = Folder::new();
        let path = folder.path("a.qcow2");
        let cluster = [512, 4096, 65536][round as usize % 3];
        qcow2::create(&support::new(&path), &Options { size: SIZE, cluster, backing: None }).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::writer", "--nocapture"])
            .env("EMU_KILLED", format!("{round} {}", path.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut flushed = None;
        let note = |line: String| line.strip_prefix("flushed ").and_then(|n| n.parse::<u64>().ok());
        // Some are killed before the first flush.
        if round % 5 != 0 {
            flushed = lines.by_ref().filter_map(note).next();
        }
        std::thread::sleep(Duration::from_micros(3000 + round * 7919 % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        flushed = lines.filter_map(note).last().or(flushed);
        let report = check::check(&File::open(&path).unwrap()).unwrap();
        assert_eq!(report.corruptions, 0, "round {round}: {:?}", report.lines);
        if !support::no_qemu() {
            let done = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&path).output().unwrap();
            assert!(matches!(done.status.code(), Some(0 | 3)), "round {round}: {done:?}");
            assert_eq!(done.status.code() == Some(3), report.leaks > 0, "round {round}: {done:?} {report:?}");
        }
        let mut disk = disk::open(&spec(&path, "")).unwrap();
        let bytes = contents(&mut *disk);
        // Which operations may be seen in each block: the last that was flushed, and all later ones.
        let mut may: Vec<Vec<Option<u64>>> = vec![vec![None]; (SIZE / BLOCK) as usize];
        let before = flushed.map_or(0, |number| number + 1);
        for number in 0..before + 20_000 {
            let (blocks, discard) = operation(round, number);
            for block in blocks {
                let seen = &mut may[block as usize];
                if number < before {
                    seen.clear();
                }
                seen.push((!discard).then_some(number));
            }
        }
        // Sector by sector: as a disk, an image promises no more about what was not flushed. A block of several clusters may be of two operations.
        for (number, sector) in bytes.chunks(SECTOR).enumerate() {
            let word = u64::from_le_bytes(sector[..8].try_into().unwrap());
            let (seen, may) = (word.checked_sub(1), &may[number * SECTOR / BLOCK as usize]);
            assert!(may.contains(&seen), "round {round}: sector {number} is {seen:?}, may be {may:?}");
            assert!(sector.chunks(8).all(|other| other == &sector[..8]), "round {round}: sector {number} is of two operations");
        }
        // And the image goes on.
        disk.write(0, &block(1)).unwrap();
        drop(disk);
        assert_eq!(check::check(&File::open(&path).unwrap()).unwrap().corruptions, 0);
        eprintln!("round {round}: {flushed:?} flushed, {} leaks", report.leaks);
    }
}

//! A snapshot of a small machine, parts of which are another's: the input says which bytes. It is sealed again, so that hashes hide nothing; what is loaded
//! goes on for a while.
#![no_main]

mod small;

use emu_machine::snapshot::Snapshot;
use libfuzzer_sys::fuzz_target;
use small::machine;
use std::sync::OnceLock;

/// The parts of a snapshot's file: names and contents.
fn parts() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut machine = machine();
    for _ in 0..3 {
        _ = machine.round();
    }
    let path = std::env::temp_dir().join(format!("emu-fuzz-snapshot-{}", std::process::id()));
    machine.save_to_file(&path).expect("room in the temporary folder");
    let file = std::fs::read(&path).expect("it was written");
    _ = std::fs::remove_file(path);
    let (mut parts, mut rest) = (vec![], &file[12..]);
    while let Some((len, tail)) = rest.split_first() {
        let (name, tail) = tail.split_at((*len).into());
        let (len, tail) = tail.split_at(8);
        let (contents, tail) = tail[32..].split_at(u64::from_le_bytes(len.try_into().expect("eight bytes")) as usize);
        parts.push((name.to_vec(), contents.to_vec()));
        rest = tail;
    }
    parts
}

fuzz_target!(|bytes: &[u8]| {
    static PARTS: OnceLock<Vec<(Vec<u8>, Vec<u8>)>> = OnceLock::new();
    let parts = PARTS.get_or_init(parts);
    let Some((&[part, low, high, gone], new)) = bytes.split_first_chunk() else { return };
    let changed = usize::from(part) % parts.len();
    let mut file = b"emusnap\0\x01\0\0\0".to_vec();
    for (n, (name, contents)) in parts.iter().enumerate() {
        let mut contents = contents.clone();
        if n == changed {
            let at = usize::from(u16::from_le_bytes([low, high])) % (contents.len() + 1);
            let end = (at + usize::from(gone)).min(contents.len());
            contents.splice(at..end, new.iter().copied());
        }
        file.push(name.len() as u8);
        file.extend(name);
        file.extend((contents.len() as u64).to_le_bytes());
        file.extend(blake3::Hasher::new().update(name).update(&contents).finalize().as_bytes());
        file.extend(contents);
    }
    let mut machine = machine();
    let Ok(snapshot) = Snapshot::read(file, &machine) else { return };
    if machine.load_snapshot(&snapshot).is_ok() {
        for _ in 0..3 {
            _ = machine.round();
        }
    }
});

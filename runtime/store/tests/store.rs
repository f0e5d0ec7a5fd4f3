//! The store: what it gives back, what it refuses, and what it makes of files that are not what was written.

use emu_store::{Found, Identity, Refused, Store, examine};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const ONE: Identity = [1; 32];
const OTHER: Identity = [2; 32];

fn open(at: &Path, identity: Identity) -> Result<Store, Refused> {
    Store::open(at, identity, Ok)
}

/// A directory that does not exist yet.
fn place() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let at = dir.path().join("cache");
    (dir, at)
}

/// All values of a hash, and how many were rejected.
fn all(store: &Store, hash: u64) -> (Vec<Vec<u8>>, u32) {
    let (mut values, mut rejected, mut buffer) = (Vec::new(), 0, Vec::new());
    for n in 0.. {
        match store.get(hash, n, &mut buffer) {
            Found::Value => values.push(buffer.clone()),
            Found::Rejected => rejected += 1,
            Found::End => break,
        }
    }
    (values, rejected)
}

/// A value that its hash decides.
fn value(hash: u64) -> Vec<u8> {
    (0..hash * 37 % 900).map(|n| (n * hash) as u8).collect()
}

/// Adds values and saves them.
fn fill(at: &Path, hashes: std::ops::Range<u64>) {
    let store = open(at, ONE).unwrap();
    hashes.for_each(|hash| store.add(hash, &value(hash)));
    store.save();
}

fn files(at: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "code"));
    files.sort();
    files
}

/// How many of these values are there; the others are not there at all, or rejected, and none is another.
fn there(at: &Path, hashes: std::ops::Range<u64>) -> usize {
    let store = open(at, ONE).unwrap();
    let found = hashes.map(|hash| all(&store, hash).0.into_iter().inspect(|found| assert_eq!(*found, value(hash))).count().min(1));
    found.sum()
}

#[test]
fn what_one_process_adds_another_finds() {
    let (_dir, at) = place();
    let store = open(&at, ONE).unwrap();
    store.add(7, b"seven");
    store.add(7, b"also seven");
    store.add(7, b"seven");
    store.add(8, &[]);
    let both = vec![b"seven".to_vec(), b"also seven".to_vec()];
    assert_eq!(all(&store, 7), (both.clone(), 0), "before it is saved");
    store.save();
    assert_eq!(all(&store, 7), (both.clone(), 0), "and behind");
    let store = open(&at, ONE).unwrap();
    assert_eq!(all(&store, 7), (both, 0));
    assert_eq!(all(&store, 8), (vec![vec![]], 0));
    assert_eq!(all(&store, 9), (vec![], 0));
    assert_eq!(all(&open(&at, OTHER).unwrap(), 7), (vec![], 0), "another build's");
}

#[test]
fn everything_is_its_owners_alone() {
    let (_dir, at) = place();
    fill(&at, 0..100);
    assert_eq!(fs::metadata(&at).unwrap().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&at).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn a_directory_that_others_may_use_is_refused() {
    let (dir, at) = place();
    fill(&at, 0..10);
    let refused = |why: &str| {
        let error = open(&at, ONE).unwrap_err();
        assert!(matches!(error, Refused::Unsafe(..)) && error.to_string().contains(why), "{error}");
    };
    for mode in [0o750, 0o707, 0o701, 0o720] {
        fs::set_permissions(&at, Permissions::from_mode(mode)).unwrap();
        refused("others may use it");
    }
    fs::set_permissions(&at, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(there(&at, 0..10), 10);
    let link = dir.path().join("link");
    symlink(&at, &link).unwrap();
    assert!(matches!(open(&link, ONE), Err(Refused::Unsafe(..))), "a link");
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(open(&file, ONE).is_err(), "a file");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&at, Some(12345), None).unwrap();
        refused("another user");
    }
}

#[test]
fn a_key_that_others_may_use_is_refused() {
    let (dir, at) = place();
    fill(&at, 0..10);
    let key = at.join("key");
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(open(&at, ONE), Err(Refused::Unsafe(..))));
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let bytes = fs::read(&key).unwrap();
    for wrong in [&bytes[..31], &[&bytes[..], &[0]].concat()] {
        fs::write(&key, wrong).unwrap();
        assert!(matches!(open(&at, ONE), Err(Refused::Unsafe(..))), "{} bytes", wrong.len());
    }
    fs::rename(&key, dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), &key).unwrap();
    assert!(matches!(open(&at, ONE), Err(Refused::Unsafe(..))), "a link");
}

#[test]
fn another_users_values_are_as_if_not_there() {
    let (_dir, at) = place();
    fill(&at, 0..50);
    fs::write(at.join("key"), [9; 32]).unwrap();
    let store = open(&at, ONE).unwrap();
    assert_eq!(all(&store, 5), (vec![], 1), "sealed with another key");
    store.add(5, b"new");
    assert_eq!(all(&store, 5), (vec![b"new".to_vec()], 1));
}

#[test]
fn a_file_that_others_may_write_is_not_read() {
    let (dir, at) = place();
    fill(&at, 0..50);
    let file = files(&at).remove(0);
    fs::set_permissions(&file, Permissions::from_mode(0o620)).unwrap();
    assert_eq!(there(&at, 0..50), 0);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(there(&at, 0..50), 50);
    fs::rename(&file, dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), &file).unwrap();
    assert_eq!(there(&at, 0..50), 0, "a link");
}

#[test]
fn a_file_cut_short_anywhere_gives_less_and_nothing_wrong() {
    let (_dir, at) = place();
    fill(&at, 1..300);
    let file = files(&at).remove(0);
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.len() > 100_000, "several chunks");
    let mut most = 0;
    // Every length of what is in front, and some of the rest.
    let lengths = (0..6000).chain((6000..bytes.len()).step_by(911)).chain(bytes.len() - 3..bytes.len());
    for length in lengths {
        fs::write(&file, &bytes[..length]).unwrap();
        let found = there(&at, 1..300);
        assert!(found < 299, "{length} of {}", bytes.len());
        most = most.max(found);
    }
    assert!(most > 100, "whole chunks are of use");
}

#[test]
fn flipped_bits_give_less_and_nothing_wrong() {
    let (_dir, at) = place();
    fill(&at, 1..300);
    let file = files(&at).remove(0);
    let bytes = fs::read(&file).unwrap();
    let mut dice = 1u64;
    for n in 0..1500 {
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // The front is as likely as all the rest.
        let range = if n % 2 == 0 { 6000 } else { bytes.len() };
        let bit = (dice >> 20) as usize % (8 * range);
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, &damaged).unwrap();
        there(&at, 1..300);
    }
    fs::write(&file, &bytes).unwrap();
    assert_eq!(there(&at, 1..300), 299);
}

#[test]
fn what_was_found_damaged_can_be_added_again() {
    let (_dir, at) = place();
    fill(&at, 1..300);
    let file = files(&at).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let before = there(&at, 1..300);
    assert!(0 < before && before < 299);
    fill(&at, 1..300);
    assert_eq!(there(&at, 1..300), 299);
}

#[test]
fn many_files_become_one() {
    let (_dir, at) = place();
    for n in 0..20 {
        fill(&at, 10 * n..10 * n + 11);
        assert_eq!(there(&at, 0..10 * n + 11), 10 * n as usize + 11);
        assert!(files(&at).len() <= 6);
    }
    let bytes: u64 = files(&at).iter().map(|file| file.metadata().unwrap().len()).sum();
    let values: u64 = (0..201).map(|hash| value(hash).len() as u64 + 100).sum();
    assert!(bytes < values, "each value once, but for those of the last files");
}

#[test]
fn two_that_write_at_the_same_time_both_get_everything_in() {
    let (_dir, at) = place();
    let threads: Vec<_> = (0..4u64)
        .map(|n| {
            let at = at.clone();
            std::thread::spawn(move || (0..8).for_each(|round| fill(&at, 1000 * n + 10 * round..1000 * n + 10 * round + 10)))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for n in 0..4 {
        assert_eq!(there(&at, 1000 * n..1000 * n + 80), 80);
    }
}

#[test]
fn who_was_killed_while_writing_leaves_nothing_that_matters() {
    let (_dir, at) = place();
    fill(&at, 0..50);
    fs::write(at.join("new"), b"half").unwrap();
    fill(&at, 50..60);
    assert_eq!(there(&at, 0..60), 60);
    assert!(!at.join("new").exists());
}

/// What a process of [`fifty_that_are_killed`] does: adds and writes for ever.
#[test]
#[ignore = "a part of another test"]
fn writes_for_ever() {
    let Some(at) = std::env::var_os("EMU_STORE") else { return };
    let begun = u64::from(std::process::id()) << 20;
    for n in 0.. {
        fill(Path::new(&at), begun + 3 * n..begun + 3 * n + 3);
    }
}

/// Two write at a time, and one is killed, at whatever moment.
#[test]
fn fifty_that_are_killed() {
    let (_dir, at) = place();
    let begin = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "writes_for_ever", "--ignored"]).env("EMU_STORE", &at).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let mut other = begin();
    let mut dice = 5u64;
    for round in 0..50 {
        let mut killed = std::mem::replace(&mut other, begin());
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        std::thread::sleep(Duration::from_micros((dice >> 40) % 60_000));
        killed.kill().unwrap();
        killed.wait().unwrap();
        let examined = loop {
            // A file may go while it is looked at: the other has merged it.
            match examine(&at) {
                Ok(examined) => break examined,
                Err(Refused::Host(_, e)) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => panic!("{e}"),
            }
        };
        assert_eq!(examined.bad, 0, "after {round}: {examined:?}");
    }
    other.kill().unwrap();
    other.wait().unwrap();
    let examined = examine(&at).unwrap();
    assert!(examined.good > 500 && examined.bad == 0, "{examined:?}");
    fill(&at, 0..10);
    assert_eq!(there(&at, 0..10), 10);
}

#[test]
fn a_store_that_cannot_be_written_still_serves() {
    let (_dir, at) = place();
    let store = open(&at, ONE).unwrap();
    fs::remove_dir_all(&at).unwrap();
    store.add(1, b"one");
    assert_eq!(all(&store, 1).0.len(), 1);
    store.save();
    assert!(!at.exists(), "it is not made again where somebody took it away");
}

#[test]
fn files_of_other_builds_are_dropped_when_there_is_too_much() {
    let (_dir, at) = place();
    fill(&at, 0..10);
    let old = at.join(format!("{}-00000000.code", "ab".repeat(16)));
    // Sparse.
    fs::File::create(&old).unwrap().set_len(300 << 20).unwrap();
    fs::File::open(&old).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fill(&at, 10..20);
    assert!(!old.exists());
    assert_eq!(there(&at, 0..20), 20);
}

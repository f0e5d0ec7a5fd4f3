//! The directory: only its owner may look into it, and it holds the key, a lock, and files of values that are never changed once they have their names.

use crate::file::{Identity, Key};
use crate::{Refused, Reserve};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, linkat, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const KEY: &str = "key";
const LOCK: &str = "lock";
/// What is being written.
const NEW: &str = "new";
/// How long somebody else may have the lock.
const PATIENCE: Duration = Duration::from_millis(500);

const OPEN: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An open directory that was found to be its owner's alone.
pub struct Directory {
    path: PathBuf,
    fd: OwnedFd,
    pub key: Key,
}

/// A file of values by its number, the higher the newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Number(pub u32);

/// Nobody else changes the directory as long as it lives.
pub struct Lock {
    _file: OwnedFd,
}

/// Something is its owner's alone: not a link, the effective user's, without rights for others.
fn check(fd: impl AsFd, path: &Path, kind: rustix::fs::FileType) -> Result<u64, Refused> {
    let refused = |why: String| Refused::Unsafe(path.into(), why);
    let stat = fstat(fd).map_err(|e| Refused::Host(path.into(), e.into()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != kind {
        return Err(refused("it is of another kind".into()));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to another user".into()));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(refused(format!("others may use it (mode {:o}; chmod go= makes it yours alone)", stat.st_mode & 0o777)));
    }
    Ok(stat.st_size as u64)
}

impl Directory {
    /// Opens it, and makes it if it is not there.
    pub fn open(path: &Path, reserve: Reserve) -> Result<Directory, Refused> {
        let path = std::path::absolute(path).map_err(|e| Refused::Host(path.into(), e))?;
        let host = |e: io::Error| Refused::Host(path.clone(), e);
        // One that is there stays as it is.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(host)?;
        let opened = rustix::fs::open(&path, OPEN | OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty());
        let fd = opened.map_err(|e| match e {
            Errno::LOOP | Errno::NOTDIR => Refused::Unsafe(path.clone(), "it is no directory, or a link to one".into()),
            e => host(e.into()),
        })?;
        check(&fd, &path, rustix::fs::FileType::Directory)?;
        let mut directory = Directory { fd: reserve(fd).map_err(host)?, path, key: [0; 32] };
        directory.key = directory.read_key()?;
        Ok(directory)
    }

    fn host(&self, name: &str, e: impl Into<io::Error>) -> Refused {
        Refused::Host(self.path.join(name), e.into())
    }

    fn open_file(&self, name: &str, flags: OFlags) -> Result<(File, u64), Refused> {
        let fd = openat(&self.fd, name, flags | OPEN | OFlags::NONBLOCK, PRIVATE).map_err(|e| match e {
            Errno::LOOP => Refused::Unsafe(self.path.join(name), "it is a link".into()),
            e => self.host(name, e),
        })?;
        let size = check(&fd, &self.path.join(name), rustix::fs::FileType::RegularFile)?;
        Ok((fd.into(), size))
    }

    /// The key, which the first who comes makes; it gets its name when it is complete.
    fn read_key(&self) -> Result<Key, Refused> {
        let mut tried = false;
        loop {
            match self.open_file(KEY, OFlags::RDONLY) {
                Ok((file, _)) => {
                    let mut key = Vec::new();
                    file.take(33).read_to_end(&mut key).map_err(|e| self.host(KEY, e))?;
                    return key.try_into().map_err(|_| Refused::Unsafe(self.path.join(KEY), "it is no key".into()));
                }
                Err(Refused::Host(_, e)) if e.kind() == io::ErrorKind::NotFound && !tried => self.make_key()?,
                Err(e) => return Err(e),
            }
            tried = true;
        }
    }

    fn make_key(&self) -> Result<(), Refused> {
        let mut key = [0u8; 32];
        let filled = getrandom(&mut key, GetRandomFlags::empty()).map_err(|e| self.host(KEY, e))?;
        if filled != key.len() {
            return Err(self.host(KEY, io::ErrorKind::UnexpectedEof));
        }
        // Another thread, or a process of another container, may go by the same number.
        let _lock = self.lock();
        let name = format!("key.{}", std::process::id());
        _ = unlinkat(&self.fd, &*name, AtFlags::empty());
        let (mut file, _) = self.open_file(&name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        file.write_all(&key).map_err(|e| self.host(&name, e))?;
        // Who was first has made it.
        let linked = linkat(&self.fd, &*name, &self.fd, KEY, AtFlags::empty());
        _ = unlinkat(&self.fd, &*name, AtFlags::empty());
        linked.or_else(|e| if e == Errno::EXIST { Ok(()) } else { Err(self.host(KEY, e)) })
    }

    /// `None` if somebody else has it for long.
    pub fn lock(&self) -> Option<Lock> {
        let (file, _) = self.open_file(LOCK, OFlags::RDWR | OFlags::CREATE).ok()?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Some(Lock { _file: file.into() }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
                Err(_) => return None,
            }
        }
    }

    /// All files of values: name, bytes, and when each was written.
    fn all(&self) -> io::Result<Vec<(String, u64, i128)>> {
        let mut all = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)? {
            let Ok(name) = entry?.file_name().to_str().map(str::to_string) else { continue };
            if name.ends_with(SUFFIX)
                && let Ok(stat) = rustix::fs::statat(&self.fd, &*name, AtFlags::SYMLINK_NOFOLLOW)
            {
                all.push((name, stat.st_size as u64, i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec)));
            }
        }
        Ok(all)
    }

    /// The numbers of an identity's files, ascending.
    pub fn numbers(&self, identity: &Identity) -> io::Result<Vec<Number>> {
        let all = self.all()?;
        let mut numbers: Vec<Number> = all.iter().filter_map(|(name, ..)| number_of(name, identity)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Opens a file of values, with its size.
    pub fn values(&self, identity: &Identity, number: Number) -> Result<(File, u64), Refused> {
        self.open_file(&name_of(identity, number), OFlags::RDONLY)
    }

    /// Opens all files of values, of whatever identity.
    pub fn all_values(&self) -> Result<Vec<(File, u64)>, Refused> {
        let all = self.all().map_err(|e| Refused::Host(self.path.clone(), e))?;
        all.iter().map(|(name, ..)| self.open_file(name, OFlags::RDONLY)).collect()
    }

    /// Makes a file of values by what `write` writes; it gets its name when it is complete.
    pub fn make(
        &self,
        _: &Lock,
        identity: &Identity,
        number: Number,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), Refused> {
        // Of somebody who was killed.
        _ = unlinkat(&self.fd, NEW, AtFlags::empty());
        let (mut file, _) = self.open_file(NEW, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        let written = write(&mut file).and_then(|()| Ok(renameat(&self.fd, NEW, &self.fd, name_of(identity, number))?));
        written.map_err(|e| {
            _ = unlinkat(&self.fd, NEW, AtFlags::empty());
            self.host(NEW, e)
        })
    }

    /// Removes an identity's file.
    pub fn remove(&self, _: &Lock, identity: &Identity, number: Number) {
        _ = unlinkat(&self.fd, name_of(identity, number), AtFlags::empty());
    }

    /// Removes what is oldest, of all identities, until there are no more than so many bytes.
    pub fn limit(&self, _: &Lock, bytes: u64) {
        let Ok(mut all) = self.all() else { return };
        all.sort_by_key(|(_, _, written)| *written);
        let mut sum: u64 = all.iter().map(|(_, size, _)| size).sum();
        for (name, size, _) in all {
            if sum <= bytes {
                break;
            }
            _ = unlinkat(&self.fd, &*name, AtFlags::empty());
            sum -= size;
        }
    }
}

const SUFFIX: &str = ".code";

fn prefix_of(identity: &Identity) -> String {
    identity[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name_of(identity: &Identity, number: Number) -> String {
    format!("{}-{:08x}{SUFFIX}", prefix_of(identity), number.0)
}

fn number_of(name: &str, identity: &Identity) -> Option<Number> {
    let number = name.strip_prefix(&*prefix_of(identity))?.strip_prefix('-')?.strip_suffix(SUFFIX)?;
    u32::from_str_radix(number, 16).ok().map(Number)
}

//! Disk images: raw, qcow2, VMDK, and [`formats`] that are read only; and [`nbd`], disks that another process or host serves.
//!
//! `FILE[,format=...][,snapshot][,readonly][,backing=allow]` -> [`Spec`] -> [`open`] -> a [`Disk`], which a drive's thread calls. A chain of images is
//! opened from the top: each names the next one, by a path that whoever made the image chose. Therefore nothing that an image names is opened unless
//! `backing=allow` says so, and an image whose format was guessed must not name anything.

mod bochs;
mod cloop;
mod cow;
mod dmg;
mod error;
pub mod formats;
mod locks;
mod mapped;
pub mod nbd;
mod overlay;
mod parallels;
mod patches;
mod qcow1;
pub mod qcow2;
mod ranges;
mod raw;
mod source;
mod spec;
mod unpack;
mod vdi;
mod vhdx;
mod vhdx_log;
mod vmdk;
mod vpc;

pub use error::Error as ImageError;
pub use spec::Spec;

use emu_machine::backend::Disk;
use overlay::Overlay;
use qcow2::Qcow2;
use raw::Raw;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// So many first bytes of a file tell its format.
const HEAD: usize = 512;

/// What an image's file contains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The disk's bytes.
    Raw,
    /// QEMU's copy-on-write format, versions 2 and 3.
    Qcow2,
    /// VMware's format.
    Vmdk,
    /// One of the table.
    Other(&'static formats::Format),
}

impl Format {
    /// Formats of our own: the name on the command line, and whether a file's first bytes are of that format. The last is what no magic tells.
    const OWN: [(Format, &'static str, fn(&[u8]) -> bool); 3] =
        [(Format::Qcow2, "qcow2", qcow2::probe), (Format::Vmdk, "vmdk", vmdk::probe), (Format::Raw, "raw", |_| false)];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Other(other) => other.name,
            own => Format::OWN.iter().find(|(format, ..)| *format == own).map_or("", |(_, name, _)| name),
        }
    }

    /// The format with this name.
    pub fn named(name: &str) -> Option<Format> {
        let own = Format::OWN.iter().find(|(_, known, _)| *known == name).map(|(format, ..)| *format);
        own.or_else(|| formats::named(name).map(Format::Other))
    }

    /// The names of all formats.
    pub fn names() -> Vec<&'static str> {
        Format::OWN.iter().map(|(_, name, _)| *name).chain(formats::FORMATS.iter().map(|f| f.name)).collect()
    }

    /// The format whose magic a file begins with. Those known by their last bytes must be named: on a raw disk these are the guest's to write.
    pub fn probe(head: &[u8]) -> Option<Format> {
        let own = Format::OWN.iter().find(|(_, _, magic)| magic(head)).map(|(format, ..)| *format);
        own.or_else(|| formats::FORMATS.into_iter().find(|f| (f.probe)(head, &[])).map(Format::Other))
    }
}

/// A disk that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a specification of a disk.
    #[error("{0}")]
    Spec(String),
    /// The host refuses, or the image is not as its format says.
    #[error("disk image {}: {source}", file.display())]
    Open {
        /// The image.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another program, or another drive, uses the image.
    #[error("disk image {}: it is in use, and {}", file.display(), if *write { "a disk has one writer only\n  help: `snapshot` needs no writer" } else { "is being written" })]
    InUse {
        /// The image.
        file: PathBuf,
        /// It was to be written.
        write: bool,
    },
    /// An image names a file of the host.
    #[error("disk image {}: it names the host's file `{names}` as its {role}, and images are not trusted\n  help: `backing=allow` opens what an image names{}",
        file.display(), if *guessed { "; the format must then be given, or recorded in the overlay" } else { "" })]
    Names {
        /// The image.
        file: PathBuf,
        /// What it names.
        names: String,
        /// What for.
        role: &'static str,
        /// Its own format was guessed from its contents.
        guessed: bool,
    },
}

/// A disk that is part of a chain.
trait Layer: Disk {
    /// The ranges that may be other than zero, with those of backing files.
    fn data_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        self.own_ranges()
    }
}

/// A disk that only reads, or one elsewhere.
struct Foreign(Box<dyn Disk>);

impl Layer for Foreign {
    fn data_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        Ok(std::iter::once(0..self.0.size()).collect())
    }
}

impl Disk for Foreign {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read_only(&self) -> bool {
        self.0.read_only()
    }
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read(at, buffer)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write(at, bytes)
    }
    fn discard(&mut self, at: u64, len: u64) -> io::Result<()> {
        self.0.discard(at, len)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>> {
        self.0.own_ranges()
    }
    fn revert(&mut self) -> io::Result<()> {
        self.0.revert()
    }
}

/// An error unless the range lies on a disk of this size.
fn inside(size: u64, at: u64, len: u64) -> io::Result<()> {
    match at.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{len} bytes at {at} do not lie on a disk of {size} bytes"))),
    }
}

/// The image is not as it should be.
fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// The image is fine, but not for us.
fn unsupported(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, text.into())
}

/// Reads from a file; what is behind its end reads as zeroes.
fn read_padded(file: &File, mut at: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, at) {
            Ok(0) => {
                buffer.fill(0);
                return Ok(());
            }
            Ok(n) => (at, buffer) = (at + n as u64, &mut buffer[n..]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Opens an image's file: a file or a block device, never anything that blocks.
fn file(path: &Path, write: bool) -> io::Result<File> {
    let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
    let file = File::from(rustix::fs::open(path, access | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?);
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_block_device() { Ok(file) } else { Err(invalid("it is neither a file nor a block device")) }
}

/// Opens a disk.
///
/// # Errors
/// The image is missing, damaged, in use, or names files of the host that it may not.
pub fn open(spec: &Spec) -> Result<Box<dyn Disk>, Error> {
    Ok(layers(spec)?)
}

/// Opens a disk to be copied, and says which ranges of it may be other than zero.
///
/// # Errors
/// As for [`open`].
pub fn open_sparse(spec: &Spec) -> Result<(Box<dyn Disk>, Vec<Range<u64>>), Error> {
    let mut disk = layers(spec)?;
    let ranges = disk.data_ranges().map_err(|source| Error::Open { file: spec.file.clone(), source })?;
    Ok((disk, ranges))
}

fn layers(spec: &Spec) -> Result<Box<dyn Layer>, Error> {
    let mut chain = Chain { allow: spec.backing, guessed: false, seen: vec![] };
    let write = !spec.read_only && !spec.snapshot;
    let disk = match spec.file.to_str().filter(|name| name.starts_with("nbd:") || name.starts_with("nbd+unix:")) {
        None => chain.layer(&spec.file, spec.format, write)?,
        Some(name) => {
            let fail = |e: ImageError| Error::Open { file: spec.file.clone(), source: e.into() };
            let target = name.parse().map_err(|e: nbd::Error| fail(e.into()))?;
            Box::new(Foreign(nbd::open(&target, !write).map_err(fail)?))
        }
    };
    if !spec.snapshot || spec.read_only {
        return Ok(disk);
    }
    Ok(Box::new(Overlay::new(disk).map_err(|source| Error::Open { file: spec.file.clone(), source })?))
}

/// Opens one image, not what it names: its header only is looked at.
///
/// # Errors
/// The file cannot be opened, or is too damaged to be described.
pub fn describe(path: &Path, format: Option<Format>) -> Result<Description, Error> {
    let fail = |source| Error::Open { file: path.into(), source };
    let file = file(path, false).map_err(fail)?;
    let format = format.map_or_else(|| probed(&file), Ok).map_err(fail)?;
    let host_size = file.metadata().map_err(fail)?.blocks() * 512;
    let (size, qcow2) = match format {
        Format::Qcow2 => {
            let header = qcow2::Header::read(&file).map_err(fail)?;
            (header.size, Some(header))
        }
        Format::Raw => (Raw::new(file, true, false).map_err(fail)?.size(), None),
        Format::Vmdk => (vmdk::Vmdk::open(file).map_err(fail)?.size(), None),
        Format::Other(other) => ((other.open)(file).map_err(|e| fail(e.into()))?.size(), None),
    };
    Ok(Description { format, size, host_size, qcow2 })
}

/// What [`describe`] finds.
#[derive(Debug)]
pub struct Description {
    /// Given, or found by its magic.
    pub format: Format,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes the file takes on the host's disk.
    pub host_size: u64,
    /// What only qcow2 has.
    pub qcow2: Option<qcow2::Header>,
}

/// Checks an image, and changes nothing. None: its format has nothing to check.
///
/// # Errors
/// As for [`open`].
pub fn check(path: &Path, format: Option<Format>) -> Result<Option<qcow2::check::Report>, Error> {
    let fail = |source| Error::Open { file: path.into(), source };
    let file = Chain { allow: false, guessed: false, seen: vec![] }.file(path, false)?;
    match format.map_or_else(|| probed(&file), Ok).map_err(fail)? {
        Format::Qcow2 => qcow2::check::check(&file).map(Some).map_err(fail),
        Format::Raw | Format::Vmdk | Format::Other(_) => Ok(None),
    }
}

/// Writes what an overlay has of its own into its backing file, and empties the overlay. Gives back how many bytes were its own.
///
/// # Errors
/// As for [`open`]; the image has no backing file, or that is smaller.
pub fn commit(path: &Path) -> Result<u64, Error> {
    let fail = |source| Error::Open { file: path.into(), source };
    let mut chain = Chain { allow: true, guessed: false, seen: vec![] };
    let mut overlay = Qcow2::open(chain.file(path, true)?, true).map_err(fail)?;
    let name = overlay.header.backing.clone().ok_or_else(|| fail(invalid("it has no backing file")))?;
    let (below, format) = (chain.named(path, &name, "backing file")?, overlay.header.backing_format.as_deref().and_then(Format::named));
    let format =
        format.ok_or_else(|| fail(unsupported("it does not say of which format its backing file is, or of one we cannot write")))?;
    let mut backing = chain.layer(&below, Some(format), true)?;
    let own = overlay.own_ranges().map_err(fail)?;
    if own.last().is_some_and(|last| last.end > backing.size()) {
        return Err(fail(invalid("its backing file is smaller")));
    }
    let mut copy = || {
        let (mut new, mut old) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        for range in &own {
            for at in range.clone().step_by(new.len()) {
                let len = (range.end - at).min(1 << 20) as usize;
                overlay.read(at, &mut new[..len])?;
                backing.read(at, &mut old[..len])?;
                if new[..len] != old[..len] {
                    backing.write(at, &new[..len])?;
                }
            }
        }
        backing.flush()?;
        overlay.revert()?;
        overlay.flush()
    };
    copy().map_err(fail)?;
    Ok(own.iter().map(|range| range.end - range.start).sum())
}

/// Copies a disk into a new file, with holes where it is zero. If that fails, there is no new file.
///
/// # Errors
/// As for [`open`]; the file exists.
pub fn convert(from: &Spec, to: &Path, target: &Target) -> Result<(), Error> {
    let (mut disk, ranges) = open_sparse(from)?;
    let fail = |source| Error::Open { file: to.into(), source };
    let file = File::options().read(true).write(true).create_new(true).open(to).map_err(fail)?;
    let mut write = || match target {
        Target::Raw => {
            file.set_len(disk.size())?;
            copy(&mut *disk, &ranges, 4096, |at, bytes| file.write_all_at(bytes, at))?;
            file.sync_data()
        }
        Target::Qcow2 { cluster, compress } => {
            // QEMU's disks have whole sectors.
            let size = disk.size().next_multiple_of(512);
            qcow2::create(&file, &qcow2::Options { size, cluster: *cluster, backing: None })?;
            let mut image = Qcow2::open(file.try_clone()?, true)?;
            let mut put = |at, bytes: &[u8]| match compress {
                true => bytes.chunks(*cluster as usize).zip(0..).try_for_each(|(part, n)| image.write_compressed(at + n * cluster, part)),
                false => image.write(at, bytes),
            };
            copy(&mut *disk, &ranges, *cluster, &mut put)?;
            image.flush()
        }
    };
    write().map_err(|e| {
        _ = std::fs::remove_file(to);
        fail(e)
    })
}

/// What [`convert`] makes.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// A raw image.
    Raw,
    /// A qcow2 image.
    Qcow2 {
        /// Bytes of a cluster.
        cluster: u64,
        /// Compress clusters.
        compress: bool,
    },
}

/// Gives all of a disk that is not zero, in pieces that begin and end at multiples of `unit`, or at the disk's end.
fn copy(disk: &mut dyn Disk, ranges: &[Range<u64>], unit: u64, mut put: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let (size, window) = (disk.size(), unit.max(1 << 20));
    let mut buffer = vec![0; window as usize];
    let mut done = 0;
    for range in ranges {
        let mut at = (range.start - range.start % unit).max(done);
        let end = range.end.next_multiple_of(unit).min(size);
        while at < end {
            let bytes = &mut buffer[..window.min(end - at) as usize];
            disk.read(at, bytes)?;
            let zero = |part: &[u8]| part.iter().all(|byte| *byte == 0);
            let parts: Vec<&[u8]> = bytes.chunks(unit as usize).collect();
            let mut from = 0;
            for run in parts.chunk_by(|a, b| zero(a) == zero(b)) {
                let len: usize = run.iter().map(|part| part.len()).sum();
                if !zero(run[0]) {
                    put(at + from as u64, &bytes[from..from + len])?;
                }
                from += len;
            }
            at += bytes.len() as u64;
        }
        done = done.max(end);
    }
    Ok(())
}

fn probed(file: &File) -> io::Result<Format> {
    let mut head = [0; HEAD];
    read_padded(file, 0, &mut head)?;
    Ok(Format::probe(&head).unwrap_or(Format::Raw))
}

/// Images on the way from the top to the last backing file.
struct Chain {
    /// What images name may be opened.
    allow: bool,
    /// The format of the image at hand was guessed, and it is not the first.
    guessed: bool,
    seen: Vec<(u64, u64)>,
}

impl Chain {
    fn layer(&mut self, path: &Path, format: Option<Format>, write: bool) -> Result<Box<dyn Layer>, Error> {
        let fail = |source| Error::Open { file: path.into(), source };
        let file = self.file(path, write)?;
        self.guessed = format.is_none() && self.seen.len() > 1;
        let known = format.map_or_else(|| probed(&file), Ok).map_err(fail)?;
        match known {
            Format::Raw => Ok(Box::new(Raw::new(file, !write, format.is_none()).map_err(fail)?)),
            Format::Qcow2 => {
                let mut image = Qcow2::open(file, write).map_err(fail)?;
                if let Some(name) = image.header.data_file.clone() {
                    let next = self.named(path, &name, "data file")?;
                    image.data_file(self.file(&next, false)?);
                }
                if let Some(name) = image.header.backing.clone() {
                    let next = self.named(path, &name, "backing file")?;
                    let format = match image.header.backing_format.as_deref() {
                        None => None,
                        Some(name) => {
                            Some(Format::named(name).ok_or_else(|| fail(unsupported(format!("its backing file is of format `{name}`"))))?)
                        }
                    };
                    image.backing(self.layer(&next, format, false)?);
                }
                Ok(Box::new(image))
            }
            Format::Vmdk | Format::Other(_) if write => {
                let name = known.name();
                Err(fail(unsupported(format!("{name} can only be read\n  help: `readonly`, or `snapshot`, or `emu image convert`"))))
            }
            Format::Other(other) => match (other.open)(file) {
                Ok(disk) => Ok(Box::new(Foreign(disk))),
                Err(ImageError::Backing { name, .. }) => {
                    let below = self.layer(&self.named(path, &name, "backing file")?, None, false)?;
                    let over = other.over.ok_or_else(|| fail(unsupported("it has a backing file")))?;
                    let file = self::file(path, false).map_err(fail)?;
                    over(file, below).map(|disk| Box::new(Foreign(disk)) as Box<dyn Layer>).map_err(|e| fail(e.into()))
                }
                Err(e) => Err(fail(e.into())),
            },
            Format::Vmdk => {
                let mut image = vmdk::Vmdk::open(file).map_err(fail)?;
                for name in image.names() {
                    let next = self.named(path, &name, "extent")?;
                    image.extent(self.file(&next, false)?).map_err(fail)?;
                }
                Ok(Box::new(image))
            }
        }
    }

    /// Opens and locks a file of the chain; none may be in it twice.
    fn file(&mut self, path: &Path, write: bool) -> Result<File, Error> {
        let fail = |source| Error::Open { file: path.into(), source };
        let file = file(path, write).map_err(|e| match e.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if write => {
                fail(io::Error::new(e.kind(), format!("{e}\n  help: with `readonly` it need not be written")))
            }
            _ => fail(e),
        })?;
        let meta = file.metadata().map_err(fail)?;
        if self.seen.contains(&(meta.dev(), meta.ino())) {
            return Err(fail(invalid("it is its own backing file")));
        }
        self.seen.push((meta.dev(), meta.ino()));
        match locks::lock(&file, write) {
            Ok(true) => Ok(file),
            Ok(false) => Err(Error::InUse { file: path.into(), write }),
            // A file system without locks is no reason to do without the image.
            Err(e) => {
                tracing::debug!("disk image {}: no lock: {e}", path.display());
                Ok(file)
            }
        }
    }

    /// The path of what an image names, if it may be opened.
    fn named(&self, image: &Path, name: &str, role: &'static str) -> Result<PathBuf, Error> {
        if !self.allow || self.guessed {
            return Err(Error::Names { file: image.into(), names: name.into(), role, guessed: self.allow });
        }
        let path = name.strip_prefix("file:").unwrap_or(name);
        if path.split_once(':').is_some_and(|(protocol, _)| !protocol.contains('/')) {
            return Err(Error::Open { file: image.into(), source: unsupported(format!("its {role} `{name}` is not a file of the host")) });
        }
        Ok(image.parent().unwrap_or(Path::new("")).join(path))
    }
}

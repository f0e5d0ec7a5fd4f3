//! `emu image`: disk images without a machine.

use crate::USAGE;
use clap::Subcommand;
use emu_boards::tree::{number, size_text};
use emu_host::disk::qcow2::{self, Compression, Options};
use emu_host::disk::{self, Description, Format, Spec, Target};
use std::fs::File;
use std::path::{Path, PathBuf};

/// What `emu image` does.
#[derive(Subcommand, Debug)]
pub enum Image {
    /// Make an empty image
    Create {
        /// The new file
        file: PathBuf,
        /// Size of the disk, such as 8G; with a backing file, its size if none is given
        #[arg(value_parser = size)]
        size: Option<u64>,
        /// Format of the image
        #[arg(short, long, default_value = "qcow2", value_parser = ["qcow2", "raw"])]
        format: String,
        /// Have what is not written yet from this image, a path relative to the new file
        #[arg(short, long, value_name = "FILE", requires = "backing_format")]
        backing: Option<String>,
        /// Format of the backing file
        #[arg(short = 'F', long, value_name = "FORMAT", value_parser = format)]
        backing_format: Option<Format>,
        /// Bytes of a cluster of a qcow2 image, 512 to 2M
        #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = size)]
        cluster_size: u64,
    },
    /// Say what an image is
    Info {
        /// The image
        file: PathBuf,
        /// Its format, if it is not to be guessed
        #[arg(short, long, value_parser = format)]
        format: Option<Format>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Look for damage; exit code 0: none, 1: it could not be looked for, 2: corrupt, 3: only space is lost
    Check {
        /// The image
        file: PathBuf,
        /// Its format, if it is not to be guessed
        #[arg(short, long, value_parser = format)]
        format: Option<Format>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Copy a disk into a new image
    Convert {
        /// The disk, as a drive has it: FILE[,format=FORMAT][,backing=allow]
        from: Spec,
        /// The new file
        to: PathBuf,
        /// Format of the new image
        #[arg(short = 'O', long = "to", value_name = "FORMAT", default_value = "qcow2", value_parser = ["qcow2", "raw"])]
        format: String,
        /// Compress it
        #[arg(short, long)]
        compress: bool,
        /// Bytes of a cluster of a qcow2 image, 512 to 2M
        #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = size)]
        cluster_size: u64,
    },
    /// Write an overlay's contents into its backing file, and empty it
    Commit {
        /// The overlay
        file: PathBuf,
    },
}

fn size(text: &str) -> Result<u64, String> {
    number(text).and_then(|n| u64::try_from(n).ok()).ok_or_else(|| "it is no size such as 512M".into())
}

fn format(text: &str) -> Result<Format, String> {
    let known = Format::names().join(", ");
    Format::named(text).ok_or_else(|| format!("there are {known}"))
}

/// Performs it.
pub fn image(command: &Image) -> Result<i32, (i32, String)> {
    let usage = |e: String| (USAGE, e);
    match command {
        Image::Create { file, size, format, backing, backing_format, cluster_size } => {
            let backing = backing.clone().zip(*backing_format);
            create(file, *size, format, backing, *cluster_size).map(|()| 0).map_err(usage)
        }
        Image::Info { file, format, json } => {
            let found = disk::describe(file, *format).map_err(|e| usage(e.to_string()))?;
            print!("{}", if *json { info_json(file, &found) } else { info(file, &found) });
            Ok(0)
        }
        Image::Check { file, format, json } => check(file, *format, *json).map_err(|e| (1, e)),
        Image::Convert { from, to, format, compress, cluster_size } => {
            let target = match format.as_str() {
                "raw" if *compress => return Err(usage("raw images are not compressed\n  help: --to qcow2".into())),
                "raw" => Target::Raw,
                _ => Target::Qcow2 { cluster: *cluster_size, compress: *compress },
            };
            // The disk is only read.
            let from = Spec { read_only: true, ..from.clone() };
            disk::convert(&from, to, &target).map(|()| 0).map_err(|e| usage(e.to_string()))
        }
        Image::Commit { file } => disk::commit(file).map(|_| 0).map_err(|e| usage(e.to_string())),
    }
}

fn create(path: &Path, size: Option<u64>, format: &str, backing: Option<(String, Format)>, cluster: u64) -> Result<(), String> {
    if format == "raw" && backing.is_some() {
        return Err("a raw image has no backing file\n  help: --format qcow2".into());
    }
    let below = match &backing {
        Some((name, format)) => {
            let below = path.parent().unwrap_or(Path::new("")).join(name);
            Some(disk::describe(&below, Some(*format)).map_err(|e| e.to_string())?.size)
        }
        None => None,
    };
    let size = size.or(below).ok_or("how large?\n  help: emu image create FILE SIZE")?;
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    let file = File::options().read(true).write(true).create_new(true).open(path).map_err(fail)?;
    let backing = backing.map(|(name, format)| (name, format.name().to_string()));
    let made = match format {
        "raw" => file.set_len(size),
        _ => qcow2::create(&file, &Options { size: size.next_multiple_of(512), cluster, backing }),
    };
    made.map_err(|e| {
        _ = std::fs::remove_file(path);
        fail(e)
    })
}

fn info(file: &Path, found: &Description) -> String {
    let exact = |bytes: u64| match size_text(bytes.into()) {
        text if text == bytes.to_string() => format!("{bytes} bytes"),
        text => format!("{text} ({bytes} bytes)"),
    };
    let mut lines = vec![("file", file.display().to_string()), ("format", found.format.name().to_string())];
    lines.extend([("size", exact(found.size)), ("on the host", exact(found.host_size))]);
    if let Some(header) = &found.qcow2 {
        lines.push(("version", header.version.to_string()));
        lines.push(("clusters", exact(header.cluster())));
        lines.push(("compression", compression(header.compression).into()));
        lines.push(("encrypted", if header.encrypted { "yes" } else { "no" }.into()));
        lines.extend(header.backing.clone().map(|name| ("backing file", name)));
        lines.extend(header.backing_format.clone().map(|name| ("of format", name)));
        lines.extend(header.data_file.clone().map(|name| ("data file", name)));
        let flags = [
            (header.lazy_refcounts, "lazy refcounts"),
            (header.extended_l2, "subclusters"),
            (header.dirty(), "not closed"),
            (header.corrupt(), "marked as corrupt"),
        ];
        lines.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, text)| ("also", text.to_string())));
        if header.snapshots > 0 {
            lines.push(("snapshots", header.snapshots.to_string()));
        }
    }
    lines.into_iter().map(|(what, value)| format!("{what:13}{value}\n")).collect()
}

fn compression(how: Compression) -> &'static str {
    match how {
        Compression::Zlib => "zlib",
        Compression::Zstd => "zstd",
    }
}

fn info_json(file: &Path, found: &Description) -> String {
    let mut all = serde_json::json!({
        "file": file.to_string_lossy(), "format": found.format.name(), "size": found.size, "host-size": found.host_size,
    });
    if let (Some(header), Some(all)) = (&found.qcow2, all.as_object_mut()) {
        let more = serde_json::json!({
            "version": header.version, "cluster-size": header.cluster(), "compression": compression(header.compression),
            "encrypted": header.encrypted, "backing-file": header.backing, "backing-format": header.backing_format,
            "data-file": header.data_file, "lazy-refcounts": header.lazy_refcounts, "extended-l2": header.extended_l2,
            "refcount-bits": 1 << header.refcount_order, "dirty": header.dirty(), "corrupt": header.corrupt(), "snapshots": header.snapshots,
        });
        all.extend(more.as_object().cloned().unwrap_or_default());
    }
    format!("{all:#}\n")
}

fn check(file: &Path, format: Option<Format>, json: bool) -> Result<i32, String> {
    let report = disk::check(file, format).map_err(|e| e.to_string())?;
    let report = report.ok_or_else(|| format!("{}: images of this format have nothing to check", file.display()))?;
    if json {
        let all = serde_json::json!({
            "corruptions": report.corruptions, "leaks": report.leaks, "allocated-clusters": report.allocated, "lines": report.lines,
        });
        println!("{all:#}");
    } else {
        report.lines.iter().for_each(|line| println!("{line}"));
        println!("{} corruptions, {} leaked clusters, {} clusters in use", report.corruptions, report.leaks, report.allocated);
    }
    Ok(match (report.corruptions, report.leaks) {
        (0, 0) => 0,
        (0, _) => 3,
        _ => 2,
    })
}

//! Where board files are: on disk, or among those embedded in the program.
//!
//! A bare name (`zynq7000`) is a built-in board. `include` looks beside the including file first, then among the built-in
//! files, so that a board of one's own can say `include "soc/zynq7000.kdl"` anywhere.

use crate::diagnostic::{Diagnostic, nearest, suggest};
use std::path::{Component, Path, PathBuf};

/// Largest board file.
const MAX_BYTES: u64 = 1 << 20;

/// The embedded files, by path from the boards folder.
pub const FILES: &[(&str, &str)] = &[
    ("soc/microblaze.kdl", include_str!("../soc/microblaze.kdl")),
    ("soc/zynq7000.kdl", include_str!("../soc/zynq7000.kdl")),
    ("soc/zynq7000-boot-rom.kdl", include_str!("../soc/zynq7000-boot-rom.kdl")),
    ("microblaze-soc.kdl", include_str!("../microblaze-soc.kdl")),
    ("petalogix-ml605.kdl", include_str!("../petalogix-ml605.kdl")),
    ("petalogix-s3adsp1800.kdl", include_str!("../petalogix-s3adsp1800.kdl")),
    ("zc702.kdl", include_str!("../zc702.kdl")),
    ("microzed.kdl", include_str!("../microzed.kdl")),
    ("zedboard.kdl", include_str!("../zedboard.kdl")),
    ("zybo-z7.kdl", include_str!("../zybo-z7.kdl")),
    ("zybo.kdl", include_str!("../zybo.kdl")),
    ("zynq7000-mb.kdl", include_str!("../zynq7000-mb.kdl")),
    ("zynq7000.kdl", include_str!("../zynq7000.kdl")),
];

/// Where a file is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Origin {
    Disk(PathBuf),
    Builtin(String),
    /// A text that is in no file: name, text.
    Text(String, std::sync::Arc<str>),
}

/// Names of the built-in boards.
pub fn boards() -> impl Iterator<Item = &'static str> {
    FILES.iter().filter_map(|(path, _)| path.strip_suffix(".kdl")).filter(|path| !path.contains('/'))
}

impl Origin {
    /// What `--board` names.
    pub fn of_board(name: &str) -> Result<Origin, Diagnostic> {
        let path = Path::new(name);
        if path.is_file() {
            return Ok(Origin::Disk(path.to_path_buf()));
        }
        let bare = name.strip_prefix("builtin:").unwrap_or(name);
        let bare = bare.strip_suffix(".kdl").unwrap_or(bare);
        if !name.contains('/') && boards().any(|b| b == bare) {
            return Ok(Origin::Builtin(format!("{bare}.kdl")));
        }
        let d = if name.contains('/') || name.ends_with(".kdl") {
            let what = if path.exists() { "is not a file" } else { "does not exist" };
            Diagnostic::error("no-board", format!("board file {name} {what}"))
        } else {
            Diagnostic::error("no-board", format!("no built-in board `{name}`, and no such file"))
        };
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        Err(d.maybe_help(suggest(&stem, "built-in boards", boards())))
    }

    /// What `include` names, seen from this file; the error has a message and perhaps a help.
    pub fn join(&self, path: &str) -> Result<Origin, (String, Option<String>)> {
        if path.is_empty() {
            return Err(("`include` wants a file".into(), None));
        }
        let builtin = |base: &str| {
            let joined = normal(&Path::new(base).join(path))?;
            FILES.iter().any(|(p, _)| *p == joined).then_some(Origin::Builtin(joined))
        };
        let found = match self {
            Origin::Disk(file) => {
                let target = file.parent().unwrap_or(Path::new("")).join(path);
                if target.is_file() { Some(Origin::Disk(tidy(&target))) } else { builtin("") }
            }
            Origin::Text(..) => builtin(""),
            Origin::Builtin(file) => builtin(&Path::new(file).parent().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default()),
        };
        found.ok_or_else(|| {
            let message = format!("cannot include `{path}`: no such file beside {}, and none built in", self.name());
            (message, self.near(path))
        })
    }

    fn near(&self, path: &str) -> Option<String> {
        let mut known: Vec<String> = FILES.iter().map(|(p, _)| p.to_string()).collect();
        if let Origin::Disk(file) = self {
            let target = file.parent().unwrap_or(Path::new("")).join(path);
            let folder = target.parent().unwrap_or(Path::new(""));
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let written = Path::new(path).parent().unwrap_or(Path::new(""));
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().take(1000) {
                known.push(written.join(entry.file_name()).to_string_lossy().into_owned());
            }
        }
        known.sort();
        nearest(path, known.iter().map(String::as_str)).map(|n| format!("did you mean `{n}`?"))
    }

    /// What to call it in messages.
    pub fn name(&self) -> String {
        match self {
            Origin::Disk(path) => path.display().to_string(),
            Origin::Builtin(path) => format!("builtin:{path}"),
            Origin::Text(name, _) => name.clone(),
        }
    }

    /// The text, or why not.
    pub fn read(&self) -> Result<String, String> {
        let name = self.name();
        match self {
            Origin::Text(_, text) => Ok(text.to_string()),
            Origin::Builtin(path) => {
                FILES.iter().find(|(p, _)| p == path).map(|(_, t)| t.to_string()).ok_or_else(|| format!("{name} is not built in"))
            }
            Origin::Disk(path) => {
                let size = std::fs::metadata(path).map_err(|e| format!("cannot read {name}: {e}"))?.len();
                if size > MAX_BYTES {
                    return Err(format!("{name} is {size} bytes; a board file has at most {MAX_BYTES}"));
                }
                let bytes = std::fs::read(path).map_err(|e| format!("cannot read {name}: {e}"))?;
                String::from_utf8(bytes).map_err(|e| format!("{name} is not UTF-8 text (byte {})", e.utf8_error().valid_up_to()))
            }
        }
    }
}

/// A built-in path without `.` and `..`; nothing if it leaves the set.
fn normal(path: &Path) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(p) => parts.push(p.to_string_lossy().into_owned()),
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop()?;
            }
            _ => return None,
        }
    }
    Some(parts.join("/"))
}

/// `a/b/../c` as `a/c`, so that messages are short and an include cycle is seen; symbolic links are the user's own affair,
/// the depth of includes is bounded anyway.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

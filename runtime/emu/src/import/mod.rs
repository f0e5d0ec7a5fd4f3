//! Board files and register maps from what vendors give: `emu board import-dts`, `emu board import-svd`.

mod dts;
mod nodes;
mod svd;
#[cfg(test)]
mod tests;

use emu_boot::fdt::Tree;
use emu_machine::schema::Registry;
use std::path::Path;
use std::process::Command;

/// A text made from a file, and what could not be put into it.
pub struct Imported {
    /// KDL.
    pub text: String,
    /// A line for each thing that was left out or guessed.
    pub notes: Vec<String>,
}

/// A board file from a device tree: a blob, or a source, which `dtc` compiles first.
///
/// # Errors
/// Unreadable and broken files, and trees of other chips.
pub fn device_tree(file: &Path, registry: &Registry) -> Result<Imported, String> {
    let said = |e: String| format!("{}: {e}", file.display());
    let bytes = std::fs::read(file).map_err(|e| said(e.to_string()))?;
    let blob = if bytes.starts_with(&0xd00d_feedu32.to_be_bytes()) { bytes } else { compile(file).map_err(said)? };
    let tree = Tree::parse(&blob).map_err(|e| said(format!("not a device tree: {e}")))?;
    let name = file.file_stem().map_or("imported".into(), |s| s.to_string_lossy().into_owned());
    dts::import(&tree, &name, registry).map_err(said)
}

fn compile(file: &Path) -> Result<Vec<u8>, String> {
    let made = Command::new("dtc").args(["-q", "-I", "dts", "-O", "dtb"]).arg(file).output();
    let made =
        made.map_err(|e| format!("a device tree's source needs the device-tree compiler `dtc`: {e}\n  help: install it, or give a .dtb"))?;
    let why = || {
        format!(
            "dtc: {}\n  help: a source with #include goes through the C preprocessor first",
            String::from_utf8_lossy(&made.stderr).trim()
        )
    };
    if made.status.success() { Ok(made.stdout) } else { Err(why()) }
}

/// Register maps, one for each peripheral, from a CMSIS-SVD file.
///
/// # Errors
/// Unreadable and broken files.
pub fn svd(file: &Path) -> Result<Imported, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    svd::import(&text).map_err(|e| format!("{}: {e}", file.display()))
}

/// A name as KDL and the register maps take it: letters, digits, `-` and `_`.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect()
}

/// A text in KDL's quotes.
fn quoted(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

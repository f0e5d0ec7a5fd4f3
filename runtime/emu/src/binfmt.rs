//! `emu run --register`: programs of other architectures run by their names, through the kernel's `binfmt_misc`.
//!
//! The kernel starts what is registered as the interpreter, with the program's path, its first argument (flag `P`), and the others. It says so in the
//! auxiliary vector ([`started`]), so that no other name of this executable is needed. With flag `F` it opens the executable when it is registered: it is
//! found in other roots and mount namespaces too.
//!
//! Source: Linux Documentation/admin-guide/binfmt-misc.rst, include/uapi/linux/binfmts.h (`AT_FLAGS_PRESERVE_ARGV0`, Linux 5.12).

use emu_user::elf::Kind;
use std::ffi::OsString;
use std::io;
use std::path::Path;

const FOLDER: &str = "/proc/sys/fs/binfmt_misc";

/// What is written to register programs of a kind. The interpreter's path has no colon.
fn line(name: &str, kind: Kind, interpreter: &str) -> String {
    let half = |value: u16| if kind.little { value.to_le_bytes() } else { value.to_be_bytes() };
    // Class, data and version; then anything; an executable or a shared object; the machine.
    let mut magic = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(kind.wide), 2 - u8::from(kind.little), 1];
    let mut mask = vec![0xff; 7];
    // The system's ABI and its version may be any; the rest of the identification is 0.
    magic.extend([0; 9]);
    mask.extend([0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    magic.extend(half(2));
    mask.extend(half(0xfffe));
    magic.extend(half(kind.machine));
    mask.extend([0xff, 0xff]);
    let text = |bytes: &[u8]| bytes.iter().map(|b| format!("\\x{b:02x}")).collect::<String>();
    format!(":emu-{name}:M::{}:{}:{interpreter}:PF", text(&magic), text(&mask))
}

/// Registers this executable for programs of all machines we have, or prints what would be written.
pub fn register(print: bool) -> Result<(), String> {
    let own = std::env::current_exe().map_err(|e| format!("--register: this executable cannot be found: {e}"))?;
    let path = own.to_str().filter(|path| !path.contains([':', '\n', '\\']));
    let path = path.ok_or_else(|| format!("--register: the path {} has characters that binfmt_misc does not take", own.display()))?;
    for (name, kind) in emu_user::MACHINES {
        let line = line(name, *kind, path);
        if print {
            println!("{line}");
            continue;
        }
        let file = Path::new(FOLDER).join("register");
        std::fs::write(&file, line).map_err(|e| format!("--register: {}: {}", file.display(), said(name, &e)))?;
        println!("{path} runs programs for {name}; `echo -1 > {FOLDER}/emu-{name}` undoes it");
    }
    Ok(())
}

/// What went wrong, and what to do.
fn said(name: &str, e: &io::Error) -> String {
    let help = match e.raw_os_error() {
        Some(libc::ENOENT) => "binfmt_misc is not mounted: mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc".to_string(),
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => "only root may; `emu run --register --print` prints what to write".to_string(),
        Some(libc::EEXIST) => format!("it is registered already: `echo -1 > {FOLDER}/emu-{name}` undoes that"),
        _ => return e.to_string(),
    };
    format!("{e}\n  help: {help}")
}

/// True if the kernel started this process as an interpreter with flag `P`.
pub fn started() -> bool {
    const PRESERVE_ARGV0: libc::c_ulong = 1;
    // SAFETY: a number for a number.
    unsafe { libc::getauxval(libc::AT_FLAGS) & PRESERVE_ARGV0 != 0 }
}

/// The command line of a process that the kernel started: own path, program, its first argument, the others.
pub fn command(mut given: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let (own, program, name) = (given.next()?, given.next()?, given.next()?);
    Some([own, "run".into(), "-0".into(), name, "--".into(), program].into_iter().chain(given).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_the_kernel_takes_them() {
        let arm = Kind { machine: 40, wide: false, little: true };
        assert_eq!(
            line("arm", arm, "/usr/bin/emu"),
            ":emu-arm:M::\\x7f\\x45\\x4c\\x46\\x01\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\x28\\x00\
             :\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:/usr/bin/emu:PF"
        );
        let big = line("other", Kind { machine: 189, wide: true, little: false }, "/emu");
        assert!(big.starts_with(":emu-other:M::\\x7f\\x45\\x4c\\x46\\x02\\x02\\x01") && big.contains("\\x00\\x02\\x00\\xbd:"), "{big}");
        assert!(big.ends_with("\\xff\\xfe\\xff\\xff:/emu:PF"), "{big}");
    }

    #[test]
    fn the_kernels_arguments_are_those_of_run() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let made = command(words("/usr/bin/emu /bin/ls ls -l --help").into_iter());
        assert_eq!(made, Some(words("/usr/bin/emu run -0 ls -- /bin/ls -l --help")));
        assert_eq!(command(words("/usr/bin/emu").into_iter()), None);
    }
}

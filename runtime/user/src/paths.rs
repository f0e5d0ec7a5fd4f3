//! Paths of the guest as the host has them.
//!
//! An absolute path is looked for below the sysroot, where absolute links stay below it too (`openat2` with `RESOLVE_IN_ROOT`); what is
//! not there is the host's. Relative paths are the host's.
//!
//! Not modelled: absolute links below the sysroot that a relative path goes through, names of Unix sockets.

use crate::host;
use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Finds paths.
#[derive(Debug, Default)]
pub struct Paths {
    root: Option<Root>,
}

#[derive(Debug)]
struct Root {
    /// Its path on the host, without links.
    path: PathBuf,
    /// A descriptor that the guest cannot name.
    fd: i32,
}

impl Paths {
    /// With a sysroot, if there is one; one that cannot be opened is none.
    pub fn new(sysroot: Option<&Path>) -> Paths {
        let root = sysroot.and_then(|path| {
            let path = path.canonicalize().ok()?;
            let fd = host::open_directory(&CString::new(path.as_os_str().as_bytes()).ok()?).and_then(host::reserve).ok()?;
            Some(Root { path, fd })
        });
        Paths { root }
    }

    /// The host's path of the guest's `path`; `follow`: the link at its end is followed.
    ///
    /// # Errors
    /// `EINVAL` for a path with a zero byte.
    pub fn host(&self, path: Vec<u8>, follow: bool) -> Result<CString, host::Errno> {
        let below = self.root.as_ref().filter(|_| path.starts_with(b"/")).and_then(|root| root.find(&path, follow));
        CString::new(below.unwrap_or(path)).map_err(|_| libc::EINVAL)
    }

    /// The guest's path of the host's `path`: without the sysroot in front.
    pub fn guest(&self, path: Vec<u8>) -> Vec<u8> {
        let rest = self.root.as_ref().and_then(|root| Path::new(std::ffi::OsStr::from_bytes(&path)).strip_prefix(&root.path).ok());
        match rest {
            Some(rest) => [b"/", rest.as_os_str().as_bytes()].concat(),
            None => path,
        }
    }
}

impl Root {
    fn find(&self, path: &[u8], follow: bool) -> Option<Vec<u8>> {
        let name = CString::new(path).ok()?;
        let fd = host::open_in_root(self.fd, &name, follow).ok()?;
        let found = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok();
        _ = host::close(fd.into());
        Some(found?.into_os_string().into_vec())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        host::release(self.fd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(paths: &Paths, path: &str, follow: bool) -> PathBuf {
        PathBuf::from(std::ffi::OsStr::from_bytes(paths.host(path.as_bytes().to_vec(), follow).unwrap().as_bytes()))
    }

    #[test]
    fn absolute_paths_and_links_stay_below_the_root() {
        let folder = std::env::temp_dir().canonicalize().unwrap().join(format!("emu-paths-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("lib")).unwrap();
        std::fs::write(folder.join("lib/a.so"), "a").unwrap();
        std::os::unix::fs::symlink("/lib/a.so", folder.join("lib/link.so")).unwrap();
        let paths = Paths::new(Some(&folder));
        assert_eq!(text(&paths, "/lib/a.so", true), folder.join("lib/a.so"));
        assert_eq!(text(&paths, "/lib/link.so", true), folder.join("lib/a.so"));
        assert_eq!(text(&paths, "/lib/link.so", false), folder.join("lib/link.so"));
        assert_eq!(text(&paths, "/../../lib/a.so", true), folder.join("lib/a.so"));
        assert_eq!(text(&paths, "/dev/null", true), Path::new("/dev/null"));
        assert_eq!(text(&paths, "lib/a.so", true), Path::new("lib/a.so"));
        assert_eq!(paths.guest(folder.join("lib").into_os_string().into_vec()), b"/lib");
        assert_eq!(paths.guest(b"/tmp".to_vec()), b"/tmp");
        let fd = paths.root.as_ref().unwrap().fd;
        assert!(host::is_reserved(fd) && fd > 100);
        drop(paths);
        assert!(!host::is_reserved(fd));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn without_a_root_paths_are_the_hosts() {
        let paths = Paths::new(None);
        assert_eq!(text(&paths, "/etc/passwd", true), Path::new("/etc/passwd"));
        assert!(paths.host(b"a\0b".to_vec(), true).is_err());
    }
}

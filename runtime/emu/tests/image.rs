//! `emu image`, against `qemu-img` where it is installed.

use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder that is gone afterwards.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, program: &str, arguments: &str) -> Output {
        Command::new(program).args(arguments.split_whitespace()).current_dir(self.0.path()).output().unwrap()
    }

    /// `emu image`: exit code, what it prints, what it complains about.
    fn emu(&self, arguments: &str) -> (i32, String, String) {
        let output = self.run(env!("CARGO_BIN_EXE_emu"), &format!("image {arguments}"));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn fine(&self, arguments: &str) -> String {
        let (code, out, err) = self.emu(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments}");
        out
    }

    /// `qemu-img` must succeed; nothing if there is none.
    fn qemu(&self, arguments: &str) {
        if Command::new("qemu-img").arg("--version").output().is_err() {
            eprintln!("qemu-img is not installed: not compared with it");
            return;
        }
        let output = self.run("qemu-img", arguments);
        assert!(output.status.success(), "qemu-img {arguments}: {output:?}");
    }

    /// A disk with holes, text and noise.
    fn raw(&self, name: &str, len: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut bytes = vec![0; len];
        for (n, chunk) in bytes.chunks_mut(100_000).enumerate() {
            match n % 3 {
                0 => {}
                1 => chunk.iter_mut().enumerate().for_each(|(i, b)| *b = (i / 64) as u8),
                _ => chunk.iter_mut().for_each(|b| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    *b = (state >> 56) as u8;
                }),
            }
        }
        std::fs::write(self.path(name), &bytes).unwrap();
        bytes
    }
}

#[test]
fn created_images_are_what_was_asked_for() {
    let folder = Folder::new();
    folder.fine("create a.qcow2 3G --cluster-size 4K");
    folder.qemu("check -q a.qcow2");
    let info: serde_json::Value = serde_json::from_str(&folder.fine("info --json a.qcow2")).unwrap();
    assert_eq!((info["size"].as_u64(), info["cluster-size"].as_u64(), info["format"].as_str()), (Some(3 << 30), Some(4096), Some("qcow2")));
    folder.fine("create --format raw a.raw 1000000");
    assert_eq!(std::fs::metadata(folder.path("a.raw")).unwrap().len(), 1_000_000);
    folder.fine("create b.qcow2 --backing a.qcow2 --backing-format qcow2");
    folder.qemu("check -q b.qcow2");
    folder.qemu("compare -q a.qcow2 b.qcow2");
    let text = folder.fine("info b.qcow2");
    assert!(text.contains("backing file a.qcow2") && text.contains("3G (3221225472 bytes)"), "{text}");
    for (arguments, complaint) in [
        ("create a.qcow2 1G", "File exists"),
        ("create c.qcow2", "how large"),
        ("create c.qcow2 1x", "it is no size"),
        ("create c.qcow2 1G --cluster-size 3000", "power of two"),
        ("create c.qcow2 1T --cluster-size 512", "too small"),
        ("create c.qcow2 --backing a.qcow2", "--backing-format"),
        ("create c.qcow2 --backing none --backing-format raw", "No such file"),
        ("info none", "No such file"),
    ] {
        let (code, _, err) = folder.emu(arguments);
        assert_eq!(code, 2, "{arguments}");
        assert!(err.contains(complaint), "{arguments}: {err}");
        assert!(!folder.path("c.qcow2").exists());
    }
}

#[test]
fn conversions_are_the_same_disk() {
    let folder = Folder::new();
    let bytes = folder.raw("a.raw", 5_000_192);
    for cluster in ["512", "4K", "64K", "2M"] {
        folder.fine(&format!("convert a.raw,format=raw a.qcow2 --cluster-size {cluster}"));
        folder.fine(&format!("convert -c a.qcow2 c.qcow2 --cluster-size {cluster}"));
        folder.fine("convert --to raw c.qcow2 b.raw");
        assert!(std::fs::read(folder.path("b.raw")).unwrap() == bytes, "{cluster}");
        for image in ["a.qcow2", "c.qcow2"] {
            folder.qemu(&format!("check -q {image}"));
            folder.qemu(&format!("compare -q -F raw {image} a.raw"));
            assert!(folder.fine(&format!("check {image}")).contains("0 corruptions, 0 leaked"));
        }
        let len = |name| std::fs::metadata(folder.path(name)).unwrap().len();
        assert!(cluster == "512" || len("c.qcow2") < len("a.qcow2"), "{cluster}: {}", len("c.qcow2"));
        ["a.qcow2", "b.raw", "c.qcow2"].iter().for_each(|name| std::fs::remove_file(folder.path(name)).unwrap());
    }
    // Holes stay.
    use std::os::unix::fs::MetadataExt;
    folder.fine("create big.qcow2 100G");
    folder.fine("convert --to raw big.qcow2 big.raw");
    assert!(std::fs::metadata(folder.path("big.raw")).unwrap().blocks() < 100);
    let (code, _, err) = folder.emu("convert big.qcow2 a.raw");
    assert!(code == 2 && err.contains("File exists"), "{err}");
    assert!(std::fs::read(folder.path("a.raw")).unwrap() == bytes);
}

#[test]
fn an_overlay_is_committed() {
    let folder = Folder::new();
    let mut bytes = folder.raw("base.raw", 2_000_384);
    folder.fine("create top.qcow2 --backing base.raw --backing-format raw");
    if folder.path("/usr/bin/qemu-io").exists() || Command::new("qemu-io").arg("--version").output().is_ok() {
        let args = ["-c", "write -P 7 123k 300k", "-c", "write -z 1000k 200k", "top.qcow2"];
        assert!(Command::new("qemu-io").args(args).current_dir(folder.path("")).output().unwrap().status.success());
        bytes[123 << 10..423 << 10].fill(7);
        bytes[1000 << 10..1200 << 10].fill(0);
    }
    let (code, _, err) = folder.emu("convert top.qcow2 flat.qcow2");
    assert!(code == 2 && err.contains("backing=allow") && !folder.path("flat.qcow2").exists(), "{err}");
    folder.fine("convert top.qcow2,backing=allow flat.qcow2");
    folder.fine("commit top.qcow2");
    assert!(std::fs::read(folder.path("base.raw")).unwrap() == bytes);
    folder.qemu("compare -q -F raw flat.qcow2 base.raw");
    folder.qemu("check -q top.qcow2");
    folder.qemu("compare -q -F raw top.qcow2 base.raw");
    let (code, _, err) = folder.emu("commit flat.qcow2");
    assert!(code == 2 && err.contains("no backing file"), "{err}");
}

#[test]
fn damage_has_qemus_exit_codes() {
    let folder = Folder::new();
    folder.raw("a.raw", 400_384);
    folder.fine("convert a.raw,format=raw a.qcow2");
    let good = std::fs::read(folder.path("a.qcow2")).unwrap();
    let both = |bytes: &[u8], code: i32| {
        std::fs::write(folder.path("a.qcow2"), bytes).unwrap();
        let (found, out, _) = folder.emu("check a.qcow2");
        assert_eq!(found, code, "{out}");
        if Command::new("qemu-img").arg("--version").output().is_ok() {
            assert_eq!(folder.run("qemu-img", "check a.qcow2").status.code(), Some(code), "{out}");
        }
        let json: serde_json::Value = serde_json::from_str(&folder.emu("check --json a.qcow2").1).unwrap();
        assert_eq!(json["corruptions"] != 0, code == 2, "{json}");
        assert!(code != 3 || json["leaks"] == 1, "{json}");
    };
    both(&good, 0);
    // The counters are in the third cluster: header, table, block, L1, L2, data.
    let counter = |cluster: usize| 2 * 65536 + 2 * cluster + 1;
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = good.clone();
        changes.iter().for_each(|(at, value)| bytes[*at] = *value);
        bytes
    };
    // Behind the end of the file nothing is lost.
    let mut leak = with(&[(counter(20), 1)]);
    both(&leak, 0);
    leak.resize(21 * 65536, 0);
    both(&leak, 3);
    both(&with(&[(counter(4), 0)]), 2);
    both(&with(&[(counter(5), 2)]), 2);
    // An L2 entry that does not name a cluster: the second, as the first is zero.
    assert_ne!(good[4 * 65536 + 8..4 * 65536 + 16], [0; 8]);
    both(&with(&[(4 * 65536 + 14, 0x42)]), 2);
    let (code, _, err) = folder.emu("check a.raw");
    assert!(code == 1 && err.contains("nothing to check"), "{err}");
    assert_eq!(folder.emu("check none").0, 1);
}

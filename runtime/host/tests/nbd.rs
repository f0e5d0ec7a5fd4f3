//! NBD disks: against `qemu-nbd` and `nbdkit`, and against servers that are none.

use emu_host::disk::nbd;
use emu_machine::backend::Disk;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SIZE: usize = (4 << 20) + 512;

fn pattern() -> Vec<u8> {
    (0..SIZE as u32).map(|i| (i / 512 * 7 + i) as u8).collect()
}

fn installed(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok();
    if !there {
        eprintln!("skipped: {tool} is not installed");
    }
    there
}

/// A server that ends with the test.
struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    fn start(folder: tempfile::TempDir, tool: &str, args: &[&str]) -> Server {
        let child = Command::new(tool).args(args).current_dir(folder.path()).stdin(Stdio::null()).spawn().unwrap();
        Server { child, folder }
    }

    fn kill(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket().display())
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("disk"), pattern()).unwrap();
    folder
}

const QEMU: [&str; 9] = ["-f", "raw", "-k", "socket", "-x", "one", "--persistent", "--discard=unmap", "--shared=0"];

fn socket_of(path: &Path) -> String {
    // `-k` wants a whole path.
    path.join("socket").to_str().unwrap().to_string()
}

fn qemu(folder: tempfile::TempDir, more: &[&str]) -> Server {
    let socket = socket_of(folder.path());
    let mut args: Vec<&str> = QEMU.iter().map(|a| if *a == "socket" { socket.as_str() } else { a }).collect();
    args.extend(more);
    args.push("disk");
    Server::start(folder, "qemu-nbd", &args)
}

/// Connects as soon as the server listens.
fn connect(uri: &str, read_only: bool) -> Result<Box<dyn Disk>, String> {
    let target: nbd::Target = uri.parse().unwrap();
    let start = Instant::now();
    loop {
        match nbd::open(&target, read_only) {
            Ok(disk) => return Ok(disk),
            Err(e) if e.to_string().contains("cannot connect") && start.elapsed() < Duration::from_secs(20) => {
                thread::sleep(Duration::from_millis(20))
            }
            Err(e) => return Err(e.to_string()),
        }
    }
}

fn read(disk: &mut dyn Disk, at: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xcc; len];
    disk.read(at as u64, &mut bytes).unwrap();
    bytes
}

/// Reads, writes, trims, at odd places, and what the server's file has then.
fn exercise(disk: &mut dyn Disk, file: &Path) {
    let mut wanted = pattern();
    assert_eq!((disk.size(), disk.read_only()), (SIZE as u64, false));
    assert!(read(disk, 0, SIZE) == wanted);
    for (at, len) in [(0, 1), (1, 511), (5000, 3), (511, 4098), (1 << 20, 1 << 20), (SIZE - 700, 700), (SIZE - 1, 1)] {
        let bytes: Vec<u8> = (0..len).map(|i| (i * 31 + at) as u8).collect();
        disk.write(at as u64, &bytes).unwrap();
        wanted[at..at + len].copy_from_slice(&bytes);
        assert!(read(disk, at.saturating_sub(10), len) == wanted[at.saturating_sub(10)..][..len], "{at}, {len}");
    }
    disk.discard(2 << 20, 1 << 20).unwrap();
    wanted[2 << 20..3 << 20].fill(0);
    disk.flush().unwrap();
    assert!(read(disk, 0, SIZE) == wanted);
    assert!(std::fs::read(file).unwrap() == wanted);
    assert!(disk.read(SIZE as u64 - 1, &mut [0; 2]).is_err());
    assert!(disk.write(u64::MAX, &[0]).is_err());
    assert!(disk.discard(SIZE as u64, 1).is_err());
    assert_eq!(disk.own_ranges().unwrap(), std::iter::once(0..SIZE as u64).collect::<Vec<_>>());
    disk.revert().unwrap();
    assert!(read(disk, 0, SIZE) == vec![0; SIZE]);
}

#[test]
fn qemu_nbd_serves_a_disk_over_a_unix_socket() {
    if !installed("qemu-nbd") {
        return;
    }
    let server = qemu(folder(), &[]);
    exercise(&mut *connect(&server.uri("one"), false).unwrap(), &server.file());
    let error = connect(&server.uri("two"), false).err().unwrap();
    assert!(error.contains("the server has no export `two`"), "{error}");
    // Read-only is the client's wish.
    let mut disk = connect(&server.uri("one"), true).unwrap();
    assert!(disk.read_only() && disk.own_ranges().unwrap().is_empty());
    assert_eq!(disk.write(0, &[1]).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    assert_eq!(disk.discard(0, 1).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn qemu_nbd_serves_a_disk_over_tcp() {
    if !installed("qemu-nbd") {
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let args = ["-f", "raw", "-b", "127.0.0.1", "-p", &port, "-x", "a b", "--persistent", "disk"];
    let server = Server::start(folder(), "qemu-nbd", &args);
    exercise(&mut *connect(&format!("nbd://127.0.0.1:{port}/a%20b"), false).unwrap(), &server.file());
}

#[test]
fn a_read_only_export_is_read_only() {
    if !installed("qemu-nbd") {
        return;
    }
    let server = qemu(folder(), &["--read-only"]);
    let mut disk = connect(&server.uri("one"), false).unwrap();
    assert!(disk.read_only());
    assert!(read(&mut *disk, 1000, 100_000) == pattern()[1000..101_000]);
    assert_eq!(disk.write(0, &[1]).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
    disk.flush().unwrap();
}

#[test]
fn a_killed_server_is_an_error_until_it_is_back() {
    if !installed("qemu-nbd") {
        return;
    }
    let mut server = qemu(folder(), &[]);
    let mut disk = connect(&server.uri("one"), false).unwrap();
    disk.write(0, b"first").unwrap();
    disk.flush().unwrap();
    server.kill();
    let error = disk.read(0, &mut [0; 5]).unwrap_err().to_string();
    assert!(error.contains("cannot connect"), "{error}");
    _ = std::fs::remove_file(server.socket());
    let socket = socket_of(server.folder.path());
    let args: Vec<&str> = QEMU.iter().map(|a| if *a == "socket" { socket.as_str() } else { a }).chain(["disk"]).collect();
    let start = |server: &mut Server| {
        server.child = Command::new("qemu-nbd").args(&args).current_dir(server.folder.path()).spawn().unwrap();
        drop(connect(&server.uri("one"), false).unwrap());
    };
    start(&mut server);
    assert_eq!(read(&mut *disk, 0, 5), b"first", "over a new connection");
    disk.flush().unwrap();
    // The connection breaks in between, and nobody sees it but the next flush: the write before was not flushed.
    disk.write(5, b"second").unwrap();
    server.kill();
    _ = std::fs::remove_file(server.socket());
    start(&mut server);
    assert_eq!(read(&mut *disk, 0, 11), b"firstsecond");
    let error = disk.flush().unwrap_err().to_string();
    assert!(error.contains("some of it may be lost"), "{error}");
    disk.flush().unwrap();
    // Another disk under the same name is not taken for this one.
    server.kill();
    _ = std::fs::remove_file(server.socket());
    std::fs::write(server.file(), [0; 8192]).unwrap();
    start(&mut server);
    let error = disk.read(0, &mut [0; 5]).unwrap_err().to_string();
    assert!(error.contains("another one"), "{error}");
}

#[test]
fn nbdkit_serves_a_disk_with_each_handshake() {
    if !installed("nbdkit") {
        return;
    }
    // The last two: no structured replies, and the old way to choose an export.
    for args in [&[][..], &["--no-sr"], &["--mask-handshake=0"], &["--mask-handshake=1"]] {
        let args = [&["-f", "-U", "socket"], args, &["file", "disk"]].concat();
        let server = Server::start(folder(), "nbdkit", &args);
        exercise(&mut *connect(&server.uri(""), false).unwrap(), &server.file());
    }
}

#[test]
fn block_sizes_of_a_server_are_kept() {
    if !installed("nbdkit") {
        return;
    }
    let policy = [
        "--filter=blocksize-policy",
        "blocksize-minimum=512",
        "blocksize-preferred=4096",
        "blocksize-maximum=65536",
        "blocksize-error-policy=error",
    ];
    let args = [&["-f", "-U", "socket"], &policy[..1], &["file", "disk"], &policy[1..]].concat();
    let server = Server::start(folder(), "nbdkit", &args);
    exercise(&mut *connect(&server.uri(""), false).unwrap(), &server.file());
    let args = ["-f", "-U", "socket", "--filter=error", "file", "disk", "error-pread=ENOSPC", "error-pread-rate=100%"];
    let server = Server::start(folder(), "nbdkit", &args);
    let error = connect(&server.uri(""), false).unwrap().read(0, &mut [0; 512]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("the server reports an error: no space left (28)"), "{error}");
}

/// A server that sends these bytes to each client and then goes.
fn hostile(bytes: Vec<u8>) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            _ = client.write_all(&bytes);
            _ = client.shutdown(std::net::Shutdown::Write);
            thread::spawn(move || _ = client.read_to_end(&mut vec![]));
        }
    });
    let uri = format!("nbd+unix:///x?socket={}", socket.display());
    (folder, uri)
}

fn ask(uri: &str) -> Result<Vec<u8>, String> {
    let mut disk = nbd::open(&uri.parse().unwrap(), false).map_err(|e| e.to_string())?;
    let mut bytes = vec![0; 4096];
    disk.read(0, &mut bytes).map(|()| bytes).map_err(|e| e.to_string())
}

/// A good handshake up to the export's data, from after the greeting: structured replies or not.
fn greeting(structured: bool, size: u64) -> Vec<u8> {
    let mut bytes = b"NBDMAGICIHAVEOPT\0\x03".to_vec();
    let reply = |bytes: &mut Vec<u8>, option: u32, kind: u32, data: &[u8]| {
        bytes.extend(0x0003_e889_0455_65a9u64.to_be_bytes());
        for field in [option, kind, data.len() as u32] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend(data);
    };
    reply(&mut bytes, 8, if structured { 1 } else { 0x8000_0001 }, b"");
    reply(&mut bytes, 7, 3, &[&[0, 0][..], &size.to_be_bytes(), &[0, 0x65]].concat());
    reply(&mut bytes, 7, 1, b"");
    bytes
}

/// A part of a structured reply to the first request.
fn chunk(flags: u16, kind: u16, data: &[u8]) -> Vec<u8> {
    let head = [
        &0x668e_33efu32.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &kind.to_be_bytes(),
        &1u64.to_be_bytes(),
        &(data.len() as u32).to_be_bytes(),
    ];
    [&head.concat(), data].concat()
}

#[test]
fn a_server_that_keeps_to_the_protocol_is_understood() {
    let data = |at: u64, len: usize| [&at.to_be_bytes()[..], &vec![7; len]].concat();
    let parts = [
        chunk(0, 1, &data(1024, 1000)),
        chunk(0, 2, &[&0u64.to_be_bytes()[..], &1024u32.to_be_bytes()].concat()),
        chunk(0, 1, &data(2024, 2072)),
        chunk(1, 0, b""),
    ];
    let (_folder, uri) = hostile([greeting(true, 1 << 20), parts.concat()].concat());
    assert_eq!(ask(&uri).unwrap(), [vec![0; 1024], vec![7; 3072]].concat());
    let simple = [&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &[9; 4096]].concat();
    let (_folder, uri) = hostile([greeting(false, 1 << 20), simple].concat());
    assert_eq!(ask(&uri).unwrap(), vec![9; 4096]);
}

#[test]
fn a_server_that_does_not_is_an_error() {
    let data = |at: u64, len: usize| [&at.to_be_bytes()[..], &vec![7; len]].concat();
    let good = |more: Vec<u8>| [greeting(true, 1 << 20), more].concat();
    let block = |least: u32, most: u32| {
        let mut bytes = greeting(true, 1 << 20);
        let info = [&[0, 3][..], &least.to_be_bytes(), &[0, 0, 16, 0], &most.to_be_bytes()].concat();
        let mut reply = 0x0003_e889_0455_65a9u64.to_be_bytes().to_vec();
        [7u32, 3, 14].iter().for_each(|f| reply.extend(f.to_be_bytes()));
        let end = bytes.split_off(bytes.len() - 20);
        [bytes, reply, info, end].concat()
    };
    let error = |code: u32, len: u16, text: &[u8]| chunk(1, 0x8001, &[&code.to_be_bytes()[..], &len.to_be_bytes(), text].concat());
    for (bytes, wanted) in [
        (vec![], "the connection broke"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n".to_vec(), "does not begin as an NBD server does"),
        (vec![0x4e; 1 << 20], "does not begin as an NBD server does"),
        (b"NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53".to_vec(), "only the oldstyle handshake"),
        ([&b"NBDMAGICIHAVEOPT\0\x03"[..], &[0xff; 4096]].concat(), "an answer to an option is malformed"),
        (greeting(true, 1 << 20)[..60].to_vec(), "the connection broke"),
        (block(3, 4096), "requests cannot have 3 to 4096 bytes"),
        (block(0, 0), "requests cannot have 0 to 0 bytes"),
        (block(1 << 20, 1 << 21), "requests cannot have 1048576 to 2097152 bytes"),
        (block(4096, 512), "requests cannot have 4096 to 512 bytes"),
        (good(vec![0; 64]), "no reply begins with 0x0"),
        (good(chunk(1, 1, &data(0, 5000))), "bytes that were not asked for"),
        (good(chunk(1, 1, &data(4095, 2))), "bytes that were not asked for"),
        (good(chunk(1, 1, &data(u64::MAX, 1))), "bytes that were not asked for"),
        (good(chunk(1, 1, &data(0, 100))), "3996 bytes of a reply are missing"),
        (good(chunk(0, 0, b"")), "a part of kind 0 and 0 bytes"),
        (good([chunk(1, 0, b"")].concat()), "4096 bytes of a reply are missing"),
        (good(chunk(1, 2, &[0; 12])), "bytes that were not asked for"),
        (good(chunk(1, 77, b"")), "a part of kind 77 and 0 bytes"),
        (good(error(5, 0, b"")), "input/output error (5)"),
        (good(error(28, 4, b"full")), "no space left (28): full"),
        (good(error(28, 400, b"full")), "an error's text is longer than the error"),
        (good([&[0x67, 0x44, 0x66, 0x98][..], &[0; 11], &[1], &[0; 4096]].concat()), "a read is answered with a simple reply"),
        (good([&[0x67, 0x44, 0x66, 0x98][..], &[0; 11], &[9], &[0; 4096]].concat()), "a reply is to no request"),
        ([greeting(false, 1 << 20), chunk(1, 0, b"")].concat(), "no reply begins with 0x668e33ef"),
        (good(chunk(0, 0x8001, &[0; 6]).repeat(40)), "a part of kind 32769"),
        (greeting(true, u64::MAX), "an export cannot have 18446744073709551615 bytes"),
        (greeting(true, 100), "the range does not lie on the disk"),
    ] {
        let (_folder, uri) = hostile(bytes);
        let start = Instant::now();
        let error = ask(&uri).expect_err(wanted);
        assert!(error.contains(wanted), "{error}\n  instead of\n{wanted}");
        assert!(start.elapsed() < Duration::from_secs(10), "{wanted}");
    }
    // Without an end of replies to an option.
    let endless = [
        b"NBDMAGICIHAVEOPT\0\x03".to_vec(),
        [&0x0003_e889_0455_65a9u64.to_be_bytes()[..], &[0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 2, 0, 9]].concat().repeat(9000),
    ];
    let (_folder, uri) = hostile(endless.concat());
    assert!(ask(&uri).unwrap_err().contains("no end of answers"));
}

#[test]
fn garbage_does_no_harm() {
    let mut state = 0x1234_5678_9abc_def0u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = [greeting(true, 1 << 20), chunk(1, 1, &[&[0; 8][..], &[7; 4096]].concat())].concat();
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..random() % 4 + 1 {
            let at = random() as usize % 170;
            bytes[at] ^= 1 << (random() % 8);
        }
        let (_folder, uri) = hostile(bytes);
        let start = Instant::now();
        _ = ask(&uri);
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}

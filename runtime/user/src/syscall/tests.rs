use super::*;
use crate::abi::{ARM, Abi, MICROBLAZE};
use crate::paths::Paths;
use crate::space::{READ, Space, WRITE};
use proptest::strategy::Strategy;
use std::path::{Path, PathBuf};

/// Where the tests' memory is: four pages that may be written, one that may only be read.
const BASE: u64 = 0x1_0000;
const READ_ONLY: u64 = BASE + 0x4000;

struct Guest {
    space: Space,
    paths: Paths,
    program: PathBuf,
    abi: &'static Abi,
    big: bool,
}

impl Own for Guest {
    fn program(&self) -> &Path {
        &self.program
    }
    fn special_open(&self, name: &str) -> Option<Vec<u8>> {
        (name == "cmdline").then(|| b"guest\0".to_vec())
    }
}

impl Guest {
    fn new(abi: &'static Abi, big: bool) -> Guest {
        let space = Space::new(1 << 24).unwrap();
        assert!(space.map_zeros(BASE, 0x4000, READ | WRITE) && space.map_zeros(READ_ONLY, 0x1000, READ));
        Guest { space, paths: Paths::new(None), program: "/bin/true".into(), abi, big }
    }

    /// ARM, and MicroBlaze in both orders.
    fn all() -> [Guest; 3] {
        [Guest::new(&ARM, false), Guest::new(&MICROBLAZE, false), Guest::new(&MICROBLAZE, true)]
    }

    fn cx(&self) -> Cx<'_> {
        Cx { space: &self.space, end: self.space.size(), abi: self.abi, big: self.big, paths: &self.paths, own: self }
    }

    fn call(&self, name: &str, args: &[u64]) -> Result<i64, Errno> {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        let number = self.abi.numbers.iter().find(|n| n.name == name).unwrap_or_else(|| panic!("no {name}"));
        match perform(number.call, all, &self.cx()) {
            Outcome::Result(result) => result,
            Outcome::Special(s) => panic!("{s:?}"),
        }
    }

    fn word(&self, at: u64) -> u32 {
        self.cx().number(at, 4).unwrap() as u32
    }

    fn set(&self, at: u64, words: &[u32]) {
        for (n, w) in (0..).zip(words) {
            self.cx().put(at + 4 * n, 4, (*w).into()).unwrap();
        }
    }

    fn text(&self, at: u64, text: &[u8]) {
        self.space.write(at, text).unwrap();
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.space.read(at, &mut out).unwrap();
        out
    }

    /// A 64-bit argument behind `before` registers.
    fn wide(&self, before: usize, value: u64) -> Vec<u64> {
        let mut out = vec![0; if self.abi.even_pairs { before % 2 } else { 0 }];
        let (low, high) = (value & 0xffff_ffff, value >> 32);
        out.extend(if self.big { [high, low] } else { [low, high] });
        out
    }
}

#[test]
fn pipes_carry_bytes_in_and_out() {
    for g in Guest::all() {
        assert_eq!(g.call("pipe2", &[BASE, 0o2_000_000]), Ok(0));
        let (from, to) = (g.word(BASE).into(), g.word(BASE + 4).into());
        g.text(BASE + 64, b"hello, pipe");
        assert_eq!(g.call("write", &[to, BASE + 64, 11]), Ok(11));
        assert_eq!(g.call("ioctl", &[from, 0x541b, BASE + 32]), Ok(0));
        assert_eq!(g.word(BASE + 32), 11);
        g.set(BASE, &[from as u32, 1 << if g.big { 16 } else { 0 }]);
        assert_eq!(g.call("poll", &[BASE, 1, 0]), Ok(1));
        assert_eq!(g.cx().number(BASE + 6, 2), Ok(1));
        g.set(BASE, &[BASE as u32 + 256, 5, BASE as u32 + 512, 100]);
        assert_eq!(g.call("readv", &[from, BASE, 2]), Ok(11));
        assert_eq!((g.bytes(BASE + 256, 5), g.bytes(BASE + 512, 6)), (b"hello".to_vec(), b", pipe".to_vec()));
        assert_eq!(g.call("close", &[from]), Ok(0));
        assert_eq!(g.call("close", &[to]), Ok(0));
    }
}

#[test]
fn files_have_positions_of_64_bits() {
    for g in Guest::all() {
        g.text(BASE, b"test\0");
        let fd = g.call("memfd_create", &[BASE, 1]).unwrap() as u64;
        assert_eq!(g.call("ftruncate64", &[vec![fd], g.wide(1, 0x1_0000_1000)].concat()), Ok(0));
        g.text(BASE, b"far");
        assert_eq!(g.call("pwrite64", &[vec![fd, BASE, 3], g.wide(3, 0x1_0000_0002)].concat()), Ok(3));
        assert_eq!(g.call("_llseek", &[fd, 1, 2, BASE + 8, 0]), Ok(0));
        assert_eq!(g.cx().number(BASE + 8, 8), Ok(0x1_0000_0002));
        assert_eq!(g.call("read", &[fd, BASE + 16, 3]), Ok(3));
        assert_eq!(g.bytes(BASE + 16, 3), b"far");
        g.set(BASE + 64, &[BASE as u32 + 32, 4]);
        assert_eq!(g.call("preadv", &[fd, BASE + 64, 1, 1, 1]), Ok(4));
        assert_eq!(g.bytes(BASE + 32, 4), b"\0far");
        // 64-bit positions are no `long`.
        assert_eq!(g.call("lseek", &[fd, 0, 2]), Err(libc::EOVERFLOW));
        assert_eq!(g.call("fstat64", &[fd, BASE]), Ok(0));
        let l = g.abi.layouts.stat64.field("st_size").unwrap();
        assert_eq!(g.cx().number(BASE + u64::from(l.guest), 8), Ok(0x1_0000_1000));
        // A lock from 16, 1 byte.
        let flock = &g.abi.layouts.flock64;
        let at = |name: &str| BASE + u64::from(flock.field(name).unwrap().guest);
        g.text(BASE, &[0; 64]);
        g.cx().put(at("l_type"), 2, 1).unwrap();
        g.cx().put(at("l_start"), 8, 16).unwrap();
        g.cx().put(at("l_len"), 8, 1).unwrap();
        assert_eq!(g.call("fcntl64", &[fd, 13, BASE]), Ok(0));
        assert_eq!(g.call("fcntl64", &[fd, 12, BASE]), Ok(0));
        assert_eq!(g.cx().number(at("l_type"), 2), Ok(2));
        g.call("close", &[fd]).unwrap();
    }
}

#[test]
fn paths_flags_and_directories() {
    let folder = std::env::temp_dir().join(format!("emu-call-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("one"), "1").unwrap();
    for g in Guest::all() {
        let mut path = folder.as_os_str().as_encoded_bytes().to_vec();
        path.push(0);
        g.text(BASE, &path);
        let set = &g.abi.flags.open;
        let flags = crate::convert::flags_to_guest(set, (libc::O_DIRECTORY | libc::O_CLOEXEC) as u64);
        let fd = g.call("openat", &[libc::AT_FDCWD as u32 as u64, BASE, flags, 0]).unwrap() as u64;
        assert_eq!(g.call("fcntl64", &[fd, 3, 0]).unwrap() as u64 & flags, flags & !(libc::O_CLOEXEC as u64));
        let n = g.call("getdents64", &[fd, BASE + 0x1000, 0x1000]).unwrap() as u64;
        let (mut at, mut names) = (0, vec![]);
        while at < n {
            names.push(g.space.string(BASE + 0x1000 + at + 19).unwrap());
            at += g.cx().number(BASE + 0x1000 + at + 16, 2).unwrap();
        }
        names.sort();
        assert_eq!(names, [b".".to_vec(), b"..".to_vec(), b"one".to_vec()]);
        g.text(BASE + 0x800, b"one\0");
        assert_eq!(g.call("fstatat64", &[fd, BASE + 0x800, BASE + 0x900, 0]), Ok(0));
        assert_eq!(g.call("statx", &[fd, BASE + 0x800, 0, 0x7ff, BASE + 0xa00]), Ok(0));
        assert_eq!(g.cx().number(BASE + 0xa00 + 40, 8), Ok(1));
        assert_eq!(g.call("unlinkat", &[fd, BASE + 0x804, 0]), Err(libc::ENOENT));
        assert_eq!(g.call("statfs64", &[BASE, 84, BASE + 0x900]), Ok(0));
        assert_eq!(g.call("statfs64", &[BASE, 80, BASE + 0x900]), Err(libc::EINVAL));
        g.call("close", &[fd]).unwrap();
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_process_sees_its_own_files() {
    for g in Guest::all() {
        g.text(BASE, b"/proc/self/exe\0");
        assert_eq!(g.call("readlink", &[BASE, BASE + 64, 100]), Ok(9));
        assert_eq!(g.bytes(BASE + 64, 9), b"/bin/true");
        g.text(BASE, b"/proc/self/cmdline\0");
        let fd = g.call("open", &[BASE, 0, 0]).unwrap() as u64;
        assert_eq!(g.call("read", &[fd, BASE + 64, 100]), Ok(6));
        assert_eq!(g.bytes(BASE + 64, 6), b"guest\0");
        g.call("close", &[fd]).unwrap();
        let n = g.call("getcwd", &[BASE, 0x1000]).unwrap();
        assert_eq!(g.space.string(BASE).unwrap().len() as i64 + 1, n);
        assert_eq!(g.call("getcwd", &[BASE, 1]), Err(libc::ERANGE));
    }
}

#[test]
fn sockets_carry_messages_and_descriptors() {
    for g in Guest::all() {
        assert_eq!(g.call("socketpair", &[1, 2, 0, BASE]), Ok(0));
        let (one, other) = (g.word(BASE).into(), g.word(BASE + 4).into());
        // msghdr: no name, one vector, a control message with one descriptor.
        let (header, vector, control, text) = (BASE + 0x100, BASE + 0x140, BASE + 0x180, BASE + 0x200);
        g.set(header, &[0, 0, vector as u32, 1, control as u32, 16, 0]);
        g.set(vector, &[text as u32, 5]);
        g.set(control, &[16, 1, 1, one as u32]);
        g.text(text, b"hello");
        assert_eq!(g.call("sendmsg", &[one, header, 0]), Ok(5));
        g.text(text, &[0; 5]);
        g.set(control, &[0; 8]);
        assert_eq!(g.call("recvmsg", &[other, header, 0]), Ok(5));
        assert_eq!(g.bytes(text, 5), b"hello");
        assert_eq!((g.word(header + 20), g.word(header + 24), g.word(control), g.word(control + 8)), (16, 0, 16, 1));
        let got = u64::from(g.word(control + 12));
        assert!(got != one && g.call("close", &[got]) == Ok(0));
        // Without room for it, the descriptor is gone and the message says so.
        g.set(header, &[0, 0, vector as u32, 1, control as u32, 16, 0]);
        g.set(control, &[16, 1, 1, one as u32]);
        assert_eq!(g.call("sendmsg", &[one, header, 0]), Ok(5));
        g.set(header + 20, &[0]);
        assert_eq!(g.call("recvmsg", &[other, header, 0]), Ok(5));
        assert_eq!(g.word(header + 24) & libc::MSG_CTRUNC as u32, libc::MSG_CTRUNC as u32);
        // Options: a time, an int, and who is at the other end.
        g.set(BASE, &[3, 500_000]);
        assert_eq!(g.call("setsockopt", &[one, 1, 20, BASE, 8]), Ok(0));
        g.set(BASE, &[0, 0, 8]);
        assert_eq!(g.call("getsockopt", &[one, 1, 20, BASE, BASE + 8]), Ok(0));
        assert_eq!((g.word(BASE), g.word(BASE + 4), g.word(BASE + 8)), (3, 500_000, 8));
        g.set(BASE, &[0, 4]);
        assert_eq!(g.call("getsockopt", &[one, 1, 3, BASE, BASE + 4]), Ok(0));
        assert_eq!(g.word(BASE), libc::SOCK_DGRAM as u32);
        g.set(BASE, &[0, 0, 0, 12]);
        assert_eq!(g.call("getsockopt", &[one, 1, 17, BASE, BASE + 12]), Ok(0));
        assert_eq!(g.word(BASE), std::process::id());
        g.call("close", &[one]).unwrap();
        g.call("close", &[other]).unwrap();
    }
}

#[test]
fn addresses_have_the_guests_byte_order() {
    for g in Guest::all() {
        let fd = g.call("socket", &[libc::AF_INET as u64, 1, 0]).unwrap() as u64;
        g.text(BASE, &[0; 16]);
        g.cx().put(BASE, 2, 2).unwrap();
        g.text(BASE + 4, &[127, 0, 0, 1]);
        assert_eq!(g.call("bind", &[fd, BASE, 16]), Ok(0));
        g.set(BASE + 32, &[16]);
        assert_eq!(g.call("getsockname", &[fd, BASE + 64, BASE + 32]), Ok(0));
        assert_eq!((g.cx().number(BASE + 64, 2), g.bytes(BASE + 68, 4), g.word(BASE + 32)), (Ok(2), vec![127, 0, 0, 1], 16));
        g.call("close", &[fd]).unwrap();
    }
    // All calls in one.
    let g = Guest::new(&MICROBLAZE, true);
    g.set(BASE, &[1, 1, 0]);
    let fd = g.call("socketcall", &[1, BASE]).unwrap() as u64;
    g.call("close", &[fd]).unwrap();
    assert_eq!(g.call("socketcall", &[0, BASE]), Err(libc::EINVAL));
}

#[test]
fn descriptors_are_selected_and_waited_for() {
    for g in Guest::all() {
        g.call("pipe", &[BASE]).unwrap();
        let (from, to) = (u64::from(g.word(BASE)), u64::from(g.word(BASE + 4)));
        g.call("write", &[to, BASE, 1]).unwrap();
        let words = [0, 1, 2, 3].map(|n| if from / 32 == n { 1 << (from % 32) } else { 0 });
        g.set(BASE, &words);
        g.set(BASE + 64, &[0, 0]);
        assert_eq!(g.call("_newselect", &[from + 1, BASE, 0, 0, BASE + 64]), Ok(1));
        assert_eq!(g.word(BASE + from / 32 * 4), words[(from / 32) as usize]);
        g.set(BASE + 96, &[0, 8]);
        assert_eq!(g.call("pselect6", &[from + 1, BASE, 0, 0, BASE + 64, BASE + 96]), Ok(1));
        let epoll = g.call("epoll_create1", &[0]).unwrap() as u64;
        let event = &g.abi.layouts.epoll_event;
        let data = u64::from(event.field("data").unwrap().guest);
        g.set(BASE, &[1]);
        g.cx().put(BASE + data, 8, 0x1122_3344_5566_7788).unwrap();
        assert_eq!(g.call("epoll_ctl", &[epoll, 1, from, BASE]), Ok(0));
        g.text(BASE, &[0; 64]);
        assert_eq!(g.call("epoll_wait", &[epoll, BASE, 4, 0]), Ok(1));
        assert_eq!((g.word(BASE), g.cx().number(BASE + data, 8)), (1, Ok(0x1122_3344_5566_7788)));
        for fd in [from, to, epoll] {
            g.call("close", &[fd]).unwrap();
        }
    }
}

#[test]
fn times_limits_and_names() {
    for g in Guest::all() {
        assert_eq!(g.call("clock_gettime", &[1, BASE]), Ok(0));
        assert_eq!(g.call("clock_gettime64", &[1, BASE + 16]), Ok(0));
        assert!(u64::from(g.word(BASE)).abs_diff(g.cx().number(BASE + 16, 8).unwrap()) <= 1);
        assert_eq!(g.call("ugetrlimit", &[9, BASE]), Ok(0));
        assert_eq!(g.call("prlimit64", &[0, 9, 0, BASE + 16]), Ok(0));
        assert_eq!(g.word(BASE) == u32::MAX, g.cx().number(BASE + 16, 8).unwrap() >= u32::MAX.into());
        assert_eq!(g.call("uname", &[BASE]), Ok(0));
        assert_eq!(g.space.string(BASE + 4 * 65).unwrap(), g.abi.uname.as_bytes());
        assert_eq!(g.call("sysinfo", &[BASE]), Ok(0));
        assert!(g.word(BASE + 16) > 0 && g.abi.layouts.sysinfo.size == 64);
        let n = g.call("sched_getaffinity", &[0, 128, BASE]).unwrap();
        assert!(n > 0 && g.bytes(BASE, n as usize).iter().any(|b| *b != 0));
        assert_eq!(g.call("sched_setaffinity", &[0, n as u64, BASE]), Ok(0));
        g.text(BASE, b"a name\0");
        assert_eq!(g.call("prctl", &[15, BASE]), Ok(0));
        assert_eq!(g.call("prctl", &[16, BASE + 64]), Ok(0));
        assert_eq!(g.space.string(BASE + 64).unwrap(), b"a name");
        assert_eq!(g.call("times", &[BASE]).map(|t| t > 0), Ok(true));
        assert_eq!(g.call("getrusage", &[0, BASE]), Ok(0));
        assert_eq!(g.call("getuid32", &[]), host::getuid());
    }
    // Users of 16 bits are ARM's.
    let g = Guest::new(&ARM, false);
    assert_eq!(g.call("getuid", &[]).map(|u| u <= 65535), Ok(true));
    assert_eq!(g.abi.call("chown16").map(|c| c.args.len()), Some(3));
}

#[test]
fn semaphores_and_messages() {
    for g in Guest::all() {
        let set = g.call("semget", &[0, 2, 0o600]).unwrap() as u64;
        g.cx().put(BASE, 2, 3).unwrap();
        g.cx().put(BASE + 2, 2, 4).unwrap();
        assert_eq!(g.call("semctl", &[set, 0, 0x100 | 17, BASE]), Ok(0));
        assert_eq!(g.call("semctl", &[set, 1, 0x100 | 12, 0]), Ok(4));
        g.set(BASE, &[0]);
        assert_eq!(g.call("semctl", &[set, 0, 0x100 | 13, BASE]), Ok(0));
        assert_eq!((g.cx().number(BASE, 2), g.cx().number(BASE + 2, 2)), (Ok(3), Ok(4)));
        assert_eq!(g.call("semctl", &[set, 0, 0x100 | 2, BASE]), Ok(0));
        let at = |name: &str| BASE + u64::from(g.abi.layouts.semid_ds.field(name).unwrap().guest);
        assert_eq!((g.word(at("sem_nsems")), g.word(at("sem_perm.mode"))), (2, 0o600));
        for (n, value) in (0..).zip([1, 0xffff, 0]) {
            g.cx().put(BASE + 2 * n, 2, value).unwrap();
        }
        assert_eq!(g.call("semop", &[set, BASE, 1]), Ok(0));
        assert_eq!(g.call("semctl", &[set, 1, 12, 0]), Ok(3));
        assert_eq!(g.call("semctl", &[set, 0, 0, 0]), Ok(0));
        let queue = g.call("msgget", &[0, 0o600]).unwrap() as u64;
        g.set(BASE, &[7]);
        g.text(BASE + 4, b"hello");
        assert_eq!(g.call("msgsnd", &[queue, BASE, 5, 0]), Ok(0));
        assert_eq!(g.call("msgctl", &[queue, 0x100 | 2, BASE + 256]), Ok(0));
        let l = g.abi.layouts.msqid_ds.field("msg_qnum").unwrap();
        assert_eq!(g.word(BASE + 256 + u64::from(l.guest)), 1);
        g.text(BASE, &[0; 16]);
        assert_eq!(g.call("msgrcv", &[queue, BASE, 8, 0, 0]), Ok(5));
        assert_eq!((g.word(BASE), g.bytes(BASE + 4, 5)), (7, b"hello".to_vec()));
        assert_eq!(g.call("msgctl", &[queue, 0, 0]), Ok(0));
        let memory = g.call("shmget", &[0, 5000, 0o600]).unwrap() as u64;
        assert_eq!(g.call("shmctl", &[memory, 0x100 | 2, BASE]), Ok(0));
        assert_eq!(g.word(BASE + u64::from(g.abi.layouts.shmid_ds.field("shm_segsz").unwrap().guest)), 5000);
        for command in [3, 14] {
            assert!(g.call("shmctl", &[memory, 0x100 | command, BASE]).is_ok());
            assert!(g.call("semctl", &[0, 0, 0x100 | 3, BASE]).is_ok() && g.call("msgctl", &[0, 0x100 | 3, BASE]).is_ok());
        }
        assert_eq!(g.call("shmctl", &[memory, 0, 0]), Ok(0));
    }
}

#[test]
fn bad_pointers_are_errors() {
    for g in Guest::all() {
        let fd = g.call("eventfd2", &[0, 0]).unwrap() as u64;
        for at in [0x10, 0xffff_fff0, READ_ONLY + 0x1000, BASE + 0x4fff] {
            assert_eq!(g.call("write", &[fd, at, 8]), Err(libc::EFAULT), "{at:#x}");
            assert_eq!(g.call("uname", &[at]), Err(libc::EFAULT));
        }
        assert_eq!(g.call("clock_gettime", &[0, READ_ONLY]), Err(libc::EFAULT));
        assert_eq!(g.call("openat", &[0, 0x10, 0, 0]), Err(libc::EFAULT));
        assert_eq!(g.call("readv", &[fd, BASE, 0xffff_ffff]), Err(libc::EINVAL));
        assert_eq!(g.call("poll", &[BASE, 0xffff_ffff, 0]), Err(libc::EINVAL));
        assert_eq!(g.call("setgroups32", &[0xffff_ffff, BASE]), Err(libc::EINVAL));
        g.call("close", &[fd]).unwrap();
        assert_eq!(g.call("bpf", &[]), Err(libc::ENOSYS));
    }
}

#[test]
fn descriptors_of_the_emulator_cannot_be_named() {
    let fd = host::reserve(host::open_directory(c"/").unwrap()).unwrap();
    for g in Guest::all() {
        assert_eq!(g.call("close", &[fd as u64]), Err(libc::EBADF));
        assert_eq!(g.call("dup2", &[0, fd as u64]), Err(libc::EBADF));
        assert_eq!(g.call("close_range", &[fd as u64, fd as u64, 0]), Ok(0));
    }
    assert!(host::is_reserved(fd));
    host::release(fd);
}

#[test]
fn calls_are_told_with_names() {
    let g = Guest::new(&ARM, false);
    let line =
        |name: &str, args: [u64; 6], result: Result<i64, Errno>| trace::line(7, g.abi.call(name).unwrap(), args, &g.cx(), Some(&result));
    g.text(BASE, b"/etc/passwd\0");
    let here = libc::AT_FDCWD as u32 as u64;
    assert_eq!(
        line("openat", [here, BASE, 0o2_040_000, 0, 0, 0], Ok(3)),
        "7 openat(AT_FDCWD, \"/etc/passwd\", O_RDONLY|O_DIRECTORY|O_CLOEXEC, 0o0) = 3\n"
    );
    assert_eq!(line("write", [1, BASE, 4, 0, 0, 0], Ok(4)), "7 write(1, \"/etc\", 4) = 4\n");
    assert_eq!(
        line("openat", [here, 5, 1, 0, 0, 0], Err(libc::EFAULT)),
        "7 openat(AT_FDCWD, 0x5, O_WRONLY, 0o0) = -1 EFAULT (Bad address)\n"
    );
    g.set(BASE, &[1, 2]);
    assert_eq!(line("clock_gettime", [1, BASE, 0, 0, 0, 0], Ok(0)), "7 clock_gettime(CLOCK_MONOTONIC, {tv_sec=1, tv_nsec=2}) = 0\n");
    assert_eq!(line("ioctl", [0, 0x541b, BASE, 0, 0, 0], Ok(0)), "7 ioctl(0, FIONREAD, [1]) = 0\n");
    assert_eq!(line("ioctl", [0, 0x5422, 0, 0, 0, 0], Ok(0)), "7 ioctl(0, TIOCNOTTY) = 0\n");
    assert_eq!(line("kill", [5, 9, 0, 0, 0, 0], Ok(0)), "7 kill(5, SIGKILL) = 0\n");
}

proptest::proptest! {
    /// Whatever a guest gives to a call that changes nothing outside: an answer, no panic.
    #[test]
    fn hostile_arguments_do_not_panic(
        which: proptest::sample::Index,
        kind in 0usize..3,
        args in proptest::collection::vec(proptest::prop_oneof![
            0u64..64, proptest::strategy::Just(BASE), BASE..BASE + 0x6000, proptest::prelude::any::<u32>().prop_map(u64::from),
        ], 6),
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 256),
    ) {
        const CALLS: [&str; 24] = [
            "readv", "writev", "recvmsg", "sendmsg", "sendmmsg", "recvmmsg", "getdents64", "getdents", "fcntl64", "getsockopt", "setsockopt",
            "getsockname", "sendto", "recvfrom", "statfs64", "readlinkat", "getcwd", "preadv", "epoll_ctl", "uname", "sysinfo", "sched_getattr",
            "sched_getaffinity", "getxattr",
        ];
        let g = &Guest::all()[kind];
        g.text(BASE, &bytes);
        let mut args = args;
        // No descriptor of the tests' own.
        args[0] |= 0x4000_0000;
        _ = g.call(which.get::<&str>(&CALLS), &args);
    }
}

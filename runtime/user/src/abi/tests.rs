//! The tables against what others say of the same structures: the crate libc for the host, a C compiler for ARM.

use super::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::process::Command;

/// Checks the host's side of a structure.
fn host(layout: &Layout, size: usize, members: &[(&str, usize)]) {
    assert_eq!(layout.host_size as usize, size, "size of {}", layout.name);
    for (name, offset) in members {
        let field = layout.field(name).unwrap_or_else(|| panic!("{} has no {name}", layout.name));
        assert_eq!(field.host as usize, *offset, "{}.{name}", layout.name);
    }
}

macro_rules! host {
    ($layout:expr, $type:ty, $($member:ident)*) => {
        host(&$layout, size_of::<$type>(), &[$((stringify!($member), offset_of!($type, $member))),*])
    };
}

#[test]
fn structures_of_the_host_are_as_libc_has_them() {
    for abi in [&ARM, &MICROBLAZE] {
        let l = abi.layouts;
        host!(l.stat64, libc::stat, st_dev st_ino st_mode st_nlink st_uid st_gid st_rdev st_size st_blksize st_blocks st_atime st_mtime_nsec st_ctime);
        host!(l.stat, libc::stat, st_dev st_ino st_mode st_nlink st_uid st_gid st_rdev st_size st_blksize st_blocks st_atime st_ctime_nsec);
        host!(l.statfs64, libc::statfs, f_type f_bsize f_blocks f_bfree f_bavail f_files f_ffree f_fsid f_namelen f_frsize);
        host!(l.statfs, libc::statfs, f_type f_bsize f_namelen f_frsize);
        host!(l.timespec, libc::timespec, tv_sec tv_nsec);
        host!(l.timespec64, libc::timespec, tv_sec tv_nsec);
        host!(l.timeval, libc::timeval, tv_sec tv_usec);
        host!(l.rusage, libc::rusage, ru_maxrss ru_minflt ru_nivcsw);
        host!(l.tms, libc::tms, tms_utime tms_cstime);
        host!(l.utsname, libc::utsname, sysname machine domainname);
        host!(l.rlimit, libc::rlimit, rlim_cur rlim_max);
        host!(l.pollfd, libc::pollfd, fd events revents);
        host(&l.epoll_event, size_of::<libc::epoll_event>(), &[("events", 0), ("data", offset_of!(libc::epoll_event, u64))]);
        host!(l.sysinfo, libc::sysinfo, uptime loads totalram freeswap procs totalhigh freehigh mem_unit);
        host!(l.flock, libc::flock, l_type l_whence l_start l_len l_pid);
        host!(l.flock64, libc::flock64, l_type l_whence l_start l_len l_pid);
        host!(l.msghdr, libc::msghdr, msg_name msg_namelen msg_iov msg_iovlen msg_control msg_controllen msg_flags);
        host!(l.mmsghdr, libc::mmsghdr, msg_len);
        host!(l.cmsghdr, libc::cmsghdr, cmsg_len cmsg_level cmsg_type);
        host!(l.iovec, libc::iovec, iov_base iov_len);
        host!(l.ucred, libc::ucred, pid uid gid);
        host!(l.linger, libc::linger, l_onoff l_linger);
        host!(l.winsize, libc::winsize, ws_row ws_col ws_xpixel ws_ypixel);
        host!(l.termios2, libc::termios2, c_iflag c_lflag c_line c_cc c_ispeed c_ospeed);
        host!(l.timex, libc::timex, modes offset status constant tolerance tick ppsfreq shift stabil stbcnt tai);
        host!(l.timex64, libc::timex, modes offset status constant tolerance tick ppsfreq shift stabil stbcnt tai);
        host!(l.statx, libc::statx, stx_mask stx_nlink stx_mode stx_ino stx_size stx_attributes_mask stx_rdev_major stx_dev_minor stx_mnt_id);
        host!(l.mq_attr, libc::mq_attr, mq_flags mq_curmsgs);
        host!(l.sembuf, libc::sembuf, sem_num sem_op sem_flg);
        host!(l.semid_ds, libc::semid_ds, sem_otime sem_ctime sem_nsems);
        host!(l.msqid_ds, libc::msqid_ds, msg_stime msg_ctime msg_qnum msg_qbytes msg_lspid);
        host!(l.shmid_ds, libc::shmid_ds, shm_segsz shm_atime shm_ctime shm_cpid shm_nattch);
        host!(l.utimbuf, libc::utimbuf, actime modtime);
        host!(l.itimerspec, libc::itimerspec,);
        host!(l.itimerval, libc::itimerval,);
        host!(l.sigset, u64,);
        host(&l.ifreq_address, size_of::<libc::ifreq>(), &[("name", 0), ("family", 16)]);
        host(&l.siginfo_child, size_of::<libc::siginfo_t>(), &[("si_code", offset_of!(libc::siginfo_t, si_code)), ("si_pid", 16)]);
    }
}

#[test]
fn flags_of_the_host_are_as_libc_has_them() {
    let value = |set: &FlagSet, name: &str| set.flags.iter().find(|f| f.name == name).map(|f| f.host);
    for (name, number) in [
        ("O_CREAT", libc::O_CREAT),
        ("O_DIRECTORY", libc::O_DIRECTORY),
        ("O_NOFOLLOW", libc::O_NOFOLLOW),
        ("O_DIRECT", libc::O_DIRECT),
        ("O_CLOEXEC", libc::O_CLOEXEC),
        ("O_PATH", libc::O_PATH),
        ("O_NONBLOCK", libc::O_NONBLOCK),
    ] {
        assert_eq!(value(&ARM.flags.open, name), Some(number as u64), "{name}");
    }
    assert_eq!(value(&ARM.flags.at, "AT_EMPTY_PATH"), Some(libc::AT_EMPTY_PATH as u64));
    assert_eq!(value(&ARM.flags.errno, "ENOTRECOVERABLE"), Some(libc::ENOTRECOVERABLE as u64));
    assert_eq!(value(&ARM.flags.signal, "SIGSYS"), Some(libc::SIGSYS as u64));
}

#[test]
fn numbers_are_found() {
    assert_eq!(ARM.number(3).map(|n| n.name), Some("read"));
    assert_eq!(ARM.number(0xf_0005).map(|n| n.call.does), Some(Does::Process(Special::SetTls)));
    assert_eq!(ARM.number(222).map(|n| n.name), None);
    assert_eq!(MICROBLAZE.number(220).map(|n| n.name), Some("getdents64"));
    assert_eq!(of_machine(189).map(|a| a.name), Some("microblaze"));
    assert!(ARM.numbers.len() > 400 && MICROBLAZE.numbers.len() > 400);
}

/// Structures of the kernel's headers: header, C type, ours.
fn kernel(l: &'static Layouts) -> Vec<(&'static str, &'static str, &'static Layout)> {
    vec![
        ("linux/time_types.h", "struct __kernel_old_timespec", &l.timespec),
        ("linux/time_types.h", "struct __kernel_timespec", &l.timespec64),
        ("linux/time_types.h", "struct __kernel_old_timeval", &l.timeval),
        ("linux/time_types.h", "struct __kernel_old_itimerval", &l.itimerval),
        ("linux/time_types.h", "struct __kernel_itimerspec", &l.itimerspec64),
        ("linux/timex.h", "struct timex", &l.timex),
        ("linux/timex.h", "struct __kernel_timex", &l.timex64),
        ("linux/times.h", "struct tms", &l.tms),
        ("linux/utime.h", "struct utimbuf", &l.utimbuf),
        ("asm/stat.h", "struct stat", &l.stat),
        ("asm/stat.h", "struct stat64", &l.stat64),
        ("linux/stat.h", "struct statx", &l.statx),
        ("asm/statfs.h", "struct statfs", &l.statfs),
        ("asm/statfs.h", "struct statfs64", &l.statfs64),
        ("linux/openat2.h", "struct open_how", &l.open_how),
        ("linux/fcntl.h", "struct flock", &l.flock),
        ("linux/fcntl.h", "struct flock64", &l.flock64),
        ("linux/fcntl.h", "struct f_owner_ex", &l.f_owner_ex),
        ("linux/uio.h", "struct iovec", &l.iovec),
        ("linux/poll.h", "struct pollfd", &l.pollfd),
        ("linux/eventpoll.h", "struct epoll_event", &l.epoll_event),
        ("linux/resource.h", "struct rusage", &l.rusage),
        ("linux/resource.h", "struct rlimit", &l.rlimit),
        ("linux/resource.h", "struct rlimit64", &l.rlimit64),
        ("linux/sysinfo.h", "struct sysinfo", &l.sysinfo),
        ("linux/utsname.h", "struct new_utsname", &l.utsname),
        ("linux/sched/types.h", "struct sched_attr", &l.sched_attr),
        ("linux/mqueue.h", "struct mq_attr", &l.mq_attr),
        ("linux/sem.h", "struct sembuf", &l.sembuf),
        ("linux/sem.h", "struct semid64_ds", &l.semid_ds),
        ("linux/msg.h", "struct msqid64_ds", &l.msqid_ds),
        ("linux/shm.h", "struct shmid64_ds", &l.shmid_ds),
        ("linux/shm.h", "struct shminfo64", &l.shminfo),
        ("linux/shm.h", "struct shm_info", &l.shm_info),
        ("asm/termbits.h", "struct termios", &l.termios),
        ("asm/termbits.h", "struct termios2", &l.termios2),
        ("linux/termios.h", "struct winsize", &l.winsize),
        ("linux/termios.h", "struct termio", &l.termio),
        ("linux/fs.h", "struct fsxattr", &l.fsxattr),
        ("linux/fs.h", "struct file_clone_range", &l.file_clone_range),
        ("linux/capability.h", "struct __user_cap_header_struct", &l.cap_header),
    ]
}

/// Compiles a program that prints the sizes and offsets of the kernel's structures, runs it, and compares.
#[test]
fn structures_of_arm_are_as_a_compiler_has_them() {
    const COMPILER: &str = "arm-linux-gnueabihf-gcc";
    const RUNNER: &str = "qemu-arm";
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !there(COMPILER) || !there(RUNNER) {
        eprintln!("skipped: needs {COMPILER} and {RUNNER}");
        return;
    }
    let all = kernel(ARM.layouts);
    let (mut headers, mut body, mut wanted) = (BTreeMap::new(), String::new(), String::new());
    for (header, kind, layout) in &all {
        headers.insert(*header, ());
        _ = writeln!(body, "printf(\"{kind} %u\\n\", (unsigned)sizeof({kind}));");
        _ = writeln!(wanted, "{kind} {}", layout.size);
        // Of two with the same source the last is that of the name.
        let members: BTreeMap<&str, &Field> = layout.fields.iter().map(|f| (f.name, f)).collect();
        for (name, f) in members {
            _ = writeln!(
                body,
                "printf(\"{kind}.{name} %u %u\\n\", (unsigned)__builtin_offsetof({kind}, {name}), (unsigned)sizeof((({kind} *)0)->{name}));"
            );
            _ = writeln!(wanted, "{kind}.{name} {} {}", f.guest, u32::from(f.size) * f.count);
        }
    }
    // The kernel's headers do not go together with the library's.
    let mut source: String = headers.keys().map(|h| format!("#include <{h}>\n")).collect();
    _ = write!(source, "int printf(const char *, ...);\nint main(void) {{\n{body}return 0;\n}}\n");
    let folder = std::env::temp_dir().join(format!("emu-layouts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (file, program) = (folder.join("layouts.c"), folder.join("layouts"));
    std::fs::write(&file, source).unwrap();
    let built = Command::new(COMPILER).args(["-w", "-static", "-o"]).arg(&program).arg(&file).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let ran = Command::new(RUNNER).arg(&program).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    let differences: Vec<_> = said.lines().zip(wanted.lines()).filter(|(said, ours)| said != ours).collect();
    assert!(differences.is_empty() && said.lines().count() == wanted.lines().count(), "compiler, ours: {differences:#?}");
}

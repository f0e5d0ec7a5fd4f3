//! Which code does the calls that are no plain conversion.

use super::{Cx, fcntl, file, ioctl, ipc, message, socket, system, vectors, wait};
use crate::abi::{Call, Hand};
use crate::host::{self, Errno};

/// `AT_FDCWD`, as an argument.
const HERE: u64 = libc::AT_FDCWD as u64;

/// Performs a call with decoded arguments.
pub(crate) fn perform(call: &Call, hand: Hand, a: &[u64; 6], cx: &Cx<'_>) -> Result<i64, Errno> {
    let l = cx.abi.layouts;
    match hand {
        // ---- files
        Hand::Open => file::open(cx, call, HERE, a[0], a[1], a[2]),
        Hand::Openat => file::open(cx, call, a[0], a[1], a[2], a[3]),
        Hand::Openat2 => file::openat2(cx, call, a),
        Hand::Readlink => file::readlink(cx, HERE, a[0], a[1], a[2]),
        Hand::Readlinkat => file::readlink(cx, a[0], a[1], a[2], a[3]),
        Hand::Getcwd => file::getcwd(cx, a[0], a[1]),
        Hand::Statfs64 => {
            let path = cx.path(a[0], true)?;
            file::statfs64(cx, libc::SYS_statfs, path.as_ptr() as u64, a)
        }
        Hand::Fstatfs64 => file::statfs64(cx, libc::SYS_fstatfs, a[0], a),
        Hand::CloseRange => file::close_range(a[0], a[1], a[2]),
        Hand::Llseek => file::llseek(cx, a),
        Hand::Getdents => file::entries(cx, a[0], a[1], a[2], true),
        Hand::Getdents64 => file::entries(cx, a[0], a[1], a[2], false),
        Hand::ArmFadvise6464 => host::syscall(libc::SYS_fadvise64, [a[0], a[2], a[3], a[1], 0, 0]),
        Hand::ArmSyncFileRange => host::syscall(libc::SYS_sync_file_range, [a[0], a[2], a[3], a[1], 0, 0]),
        Hand::Fcntl | Hand::Fcntl64 => fcntl::fcntl(cx, a),
        Hand::Ioctl => ioctl::ioctl(cx, a),
        // ---- scattered
        Hand::Readv => vectors::transfer(cx, libc::SYS_readv, a),
        Hand::Writev => vectors::transfer(cx, libc::SYS_writev, a),
        Hand::Preadv => vectors::transfer(cx, libc::SYS_preadv, a),
        Hand::Pwritev => vectors::transfer(cx, libc::SYS_pwritev, a),
        Hand::Preadv2 => vectors::transfer(cx, libc::SYS_preadv2, a),
        Hand::Pwritev2 => vectors::transfer(cx, libc::SYS_pwritev2, a),
        Hand::Vmsplice => vectors::vmsplice(cx, a),
        // ---- waiting
        Hand::Ppoll => wait::ppoll(cx, a, &l.timespec),
        Hand::PpollTime64 => wait::ppoll(cx, a, &l.timespec64),
        Hand::Newselect => wait::select(cx, a, &l.timeval, false),
        Hand::Pselect6 => wait::select(cx, a, &l.timespec, true),
        Hand::Pselect6Time64 => wait::select(cx, a, &l.timespec64, true),
        // ---- sockets
        Hand::Bind => socket::with_address(cx, libc::SYS_bind, a),
        Hand::Connect => socket::with_address(cx, libc::SYS_connect, a),
        Hand::Accept => socket::gives_address(cx, libc::SYS_accept4, a[0], a[1], a[2], 0),
        Hand::Accept4 => socket::gives_address(cx, libc::SYS_accept4, a[0], a[1], a[2], a[3]),
        Hand::Getsockname => socket::gives_address(cx, libc::SYS_getsockname, a[0], a[1], a[2], 0),
        Hand::Getpeername => socket::gives_address(cx, libc::SYS_getpeername, a[0], a[1], a[2], 0),
        Hand::Sendto => socket::sendto(cx, a),
        Hand::Recvfrom => socket::recvfrom(cx, a),
        Hand::Setsockopt => socket::setsockopt(cx, a),
        Hand::Getsockopt => socket::getsockopt(cx, a),
        Hand::Socketcall => socket::socketcall(cx, a),
        Hand::Sendmsg => message::send(cx, a[0], a[1], a[2]),
        Hand::Recvmsg => message::receive(cx, a[0], a[1], a[2]),
        Hand::Sendmmsg => message::several(cx, a, message::send),
        Hand::Recvmmsg | Hand::RecvmmsgTime64 => message::several(cx, a, message::receive),
        // ---- the process and the machine
        Hand::Uname => system::uname(cx, a[0]),
        Hand::Sysinfo => system::sysinfo(cx, a[0]),
        Hand::Setrlimit => system::limit(cx, 0, a[0], a[1], 0, &l.rlimit),
        Hand::Ugetrlimit => system::limit(cx, 0, a[0], 0, a[1], &l.rlimit),
        Hand::Prlimit64 => system::limit(cx, a[0], a[1], a[2], a[3], &l.rlimit64),
        Hand::Waitpid => system::wait4(cx, a[0], a[1], a[2], 0),
        Hand::Wait4 => system::wait4(cx, a[0], a[1], a[2], a[3]),
        Hand::Waitid => system::waitid(cx, a),
        Hand::SchedGetaffinity => system::get_affinity(cx, a),
        Hand::SchedSetaffinity => system::set_affinity(cx, a),
        Hand::SchedGetattr => system::get_scheduling(cx, a),
        Hand::Prctl => system::prctl(cx, a),
        Hand::Nice => system::nice(a[0]),
        Hand::Stime => system::stime(cx, a[0]),
        // ---- System V
        Hand::Semctl => ipc::semctl(cx, a),
        Hand::Msgsnd => ipc::send(cx, a),
        Hand::Msgrcv => ipc::receive(cx, a),
        Hand::Msgctl => ipc::msgctl(cx, a),
        Hand::Shmctl => ipc::shmctl(cx, a),
    }
}

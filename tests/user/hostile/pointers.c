/* Every kind of bad pointer to calls that take one. Tells of what was not refused; the emulator must still be there at the end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef uintptr_t word;
/* Where the pointer is among the arguments; whether it is written to; others as given. */
static const struct { const char *name; int number, at, out; word a[6]; } calls[] = {
	{ "read", SYS_read, 1, 1, { 3, 0, 100 } }, { "write", SYS_write, 1, 0, { 5, 0, 100 } }, { "pread64", SYS_pread64, 1, 1, { 3, 0, 100 } }, { "pwrite64", SYS_pwrite64, 1, 0, { 5, 0, 100 } },
	{ "readv", SYS_readv, 1, 0, { 3, 0, 2 } }, { "writev", SYS_writev, 1, 0, { 5, 0, 2 } }, { "preadv", SYS_preadv, 1, 0, { 3, 0, 2 } }, { "open", SYS_open, 0, 0, { 0, 0 } }, { "openat", SYS_openat, 1, 0, { -100, 0, 0 } },
	{ "stat64", SYS_stat64, 0, 0, { 0, 0 } }, { "stat64 out", SYS_stat64, 1, 1, { 1, 0 } }, { "fstat64", SYS_fstat64, 1, 1, { 3, 0 } }, { "fstatat64", SYS_fstatat64, 2, 1, { -100, 1, 0, 0 } }, { "statx", SYS_statx, 4, 1, { -100, 1, 0, 0x7ff, 0 } },
	{ "statfs64", SYS_statfs64, 2, 1, { 1, 88, 0 } }, { "getcwd", SYS_getcwd, 0, 1, { 0, 4000 } }, { "getdents64", SYS_getdents64, 1, 1, { 4, 0, 1000 } }, { "readlink", SYS_readlink, 1, 1, { 2, 0, 100 } }, { "access", SYS_access, 0, 0, { 0, 0 } },
	{ "pipe", SYS_pipe, 0, 1, { 0 } }, { "pipe2", SYS_pipe2, 0, 1, { 0, 0 } }, { "poll", SYS_poll, 0, 1, { 0, 2, 0 } }, { "_newselect", SYS__newselect, 1, 1, { 10, 0, 0, 0, 1 } }, { "epoll_wait", SYS_epoll_wait, 1, 1, { 6, 0, 4, 0 } },
	{ "epoll_ctl", SYS_epoll_ctl, 3, 0, { 6, 1, 7, 0 } }, { "clock_gettime", SYS_clock_gettime, 1, 1, { 1, 0 } }, { "clock_gettime64", 403, 1, 1, { 1, 0 } }, { "gettimeofday", SYS_gettimeofday, 0, 1, { 0, 0 } }, { "nanosleep", SYS_nanosleep, 0, 0, { 0, 0 } },
	{ "clock_nanosleep", SYS_clock_nanosleep, 2, 0, { 1, 0, 0, 0 } }, { "getitimer", SYS_getitimer, 1, 1, { 0, 0 } }, { "setitimer", SYS_setitimer, 1, 0, { 1, 0, 0 } }, { "rt_sigaction in", SYS_rt_sigaction, 1, 0, { 10, 0, 0, 8 } }, { "rt_sigaction out", SYS_rt_sigaction, 2, 1, { 10, 0, 0, 8 } },
	{ "rt_sigprocmask in", SYS_rt_sigprocmask, 1, 0, { 0, 0, 0, 8 } }, { "rt_sigprocmask out", SYS_rt_sigprocmask, 2, 1, { 0, 0, 0, 8 } }, { "rt_sigpending", SYS_rt_sigpending, 0, 1, { 0, 8 } }, { "sigaltstack in", SYS_sigaltstack, 0, 0, { 0, 0 } }, { "sigaltstack out", SYS_sigaltstack, 1, 1, { 0, 0 } },
	{ "rt_sigqueueinfo", SYS_rt_sigqueueinfo, 2, 0, { 0, 10, 0 } }, { "uname", SYS_uname, 0, 1, { 0 } }, { "sysinfo", SYS_sysinfo, 0, 1, { 0 } }, { "getrlimit", SYS_ugetrlimit, 1, 1, { 7, 0 } }, { "setrlimit", SYS_setrlimit, 1, 0, { 4, 0 } },
	{ "prlimit64", SYS_prlimit64, 3, 1, { 0, 7, 0, 0 } }, { "getrusage", SYS_getrusage, 1, 1, { 0, 0 } }, { "times", SYS_times, 0, 1, { 0 } }, { "getgroups", SYS_getgroups32, 1, 1, { 64, 0 } }, { "getresuid", SYS_getresuid32, 0, 1, { 0, 1, 1 } },
	{ "futex wait", SYS_futex, 0, 0, { 0, 0, 12345, 1, 0, 0 } }, { "futex time", SYS_futex, 3, 0, { 1, 0, 0, 0 } }, { "set_robust_list", SYS_set_robust_list, 0, 0, { 0, 12 } }, { "getrandom", SYS_getrandom, 0, 1, { 0, 64, 0 } }, { "sched_getaffinity", SYS_sched_getaffinity, 2, 1, { 0, 128, 0 } },
	{ "socketpair", SYS_socketpair, 3, 1, { 1, 1, 0, 0 } }, { "bind", SYS_bind, 1, 0, { 8, 0, 16 } }, { "sendto", SYS_sendto, 1, 0, { 8, 0, 16, 0x4040, 0, 0 } }, { "recvfrom", SYS_recvfrom, 1, 1, { 8, 0, 16, 0x40, 0, 0 } }, { "sendmsg", SYS_sendmsg, 1, 0, { 8, 0, 0x4040 } }, { "recvmsg", SYS_recvmsg, 1, 1, { 8, 0, 0x40 } },
	{ "setsockopt", SYS_setsockopt, 3, 0, { 8, 1, 7, 0, 4 } }, { "getsockopt", SYS_getsockopt, 3, 1, { 8, 1, 3, 0, 1 } }, { "getsockname", SYS_getsockname, 1, 1, { 8, 0, 1 } }, { "execve path", SYS_execve, 0, 0, { 0, 0, 0 } }, { "execve arguments", SYS_execve, 1, 0, { 1, 0, 0 } }, { "wait4", SYS_wait4, 1, 1, { -1, 0, 1, 0 } },
	{ "sendfile", SYS_sendfile, 2, 1, { 5, 3, 0, 10 } }, { "_llseek", SYS__llseek, 3, 1, { 3, 0, 0, 0, 0 } }, { "ioctl", SYS_ioctl, 2, 1, { 7, 0x541b, 0 } }, { "fcntl64", SYS_fcntl64, 2, 1, { 3, 12, 0 } }, { "mincore", SYS_mincore, 2, 1, { 1, 1, 0 } }, { "timer_create", SYS_timer_create, 1, 0, { 1, 0, 1 } },
	{ "timerfd_settime", SYS_timerfd_settime, 2, 0, { 9, 0, 0, 0 } }, { "signalfd4", SYS_signalfd4, 1, 0, { -1, 0, 8, 0 } }, { "prctl", SYS_prctl, 1, 1, { 16, 0 } }, { "utimensat", SYS_utimensat, 2, 0, { -100, 1, 0, 0 } }, { "memfd_create", SYS_memfd_create, 0, 0, { 0, 0 } }, { "getxattr", SYS_getxattr, 0, 0, { 0, 1, 0, 0 } },
	{ "clone parent", SYS_clone, 2, 0, { 0, 0, 0 } }, { "process_vm_readv", SYS_process_vm_readv, 1, 0, { 0, 0, 1, 0, 1, 0 } },
};
enum { NULL_, KERNEL, TOP, LAST, UNMAPPED, NONE, WRAPS, READONLY, ODD, KINDS };
static const char *kinds[] = { "NULL", "kernel's half", "top", "last byte", "unmapped", "PROT_NONE", "ends beyond", "read-only", "one page only" };

int main(void)
{
	char *page = mmap(NULL, 0x4000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *none = mmap(NULL, 0x1000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *readonly = mmap(NULL, 0x2000, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	strcpy(page, "data");
	munmap(page + 0x1000, 0x3000);
	/* Strings without an end up to the page's end. */
	memset(page + 0xf00, 'a', 0x100);
	/* 3: a file, 4: a folder, 5: what is written to, 6: epoll, 7: a pipe, 8: a socket, 9: a timer. */
	int fd = open("data", O_RDWR | O_CREAT, 0600);
	dup2(fd, 30), dup2(fd, 31);
	if (write(30, "some data to be read again and again, long enough for a hundred bytes and more than that, so it goes on and on", 109) != 109)
		return 1;
	int folder = open(".", O_RDONLY), epoll = syscall(SYS_epoll_create1, 0), ends[2], pair[2], timer = syscall(SYS_timerfd_create, 1, 0), null = open("/dev/null", O_RDWR);
	if (pipe(ends) || socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) || symlink("data", "link"))
		return 1;
	int from[] = { 30, folder, null, epoll, ends[0], pair[0], timer };
	int kept[7];
	for (int i = 0; i < 7; i++)
		kept[i] = fcntl(from[i], F_DUPFD, 40 + i);
	for (int i = 0; i < 7; i++)
		dup2(kept[i], 3 + i);
	int refused = 0, others = 0;
	for (unsigned c = 0; c < sizeof calls / sizeof calls[0]; c++)
		for (int k = 0; k < KINDS; k++) {
			static const word fixed[] = { 0, 0xc0000000, 0xfffff000, 0xffffffff, 0x50000 };
			word bad = k <= UNMAPPED ? fixed[k] : k == NONE ? (word)none : k == WRAPS ? 0xfffffff0 : k == READONLY ? (word)readonly + 8 : (word)page + 0xffd;
			if (k == READONLY && !calls[c].out)
				continue;
			word a[6];
			memcpy(a, calls[c].a, sizeof a);
			/* 1 and 2 for names that are good, where a pointer is wanted. */
			for (int i = 0; i < 6; i++)
				if (i != calls[c].at && (a[i] == 1 || a[i] == 2) && (calls[c].number == SYS_stat64 || calls[c].number == SYS_fstatat64 || calls[c].number == SYS_statx || calls[c].number == SYS_statfs64 || calls[c].number == SYS_readlink ||
					calls[c].number == SYS_getresuid32 || calls[c].number == SYS_execve || calls[c].number == SYS_utimensat || (calls[c].number == SYS_futex && i == 0) || (calls[c].number == SYS_mincore && i == 0)))
					a[i] = (word)(a[i] == 2 ? "link" : calls[c].number == SYS_getresuid32 || calls[c].number == SYS_futex || calls[c].number == SYS_mincore ? page : "data");
			a[calls[c].at] = bad;
			if (calls[c].number == SYS_clone)
				a[0] = 0x01100000 | 17, a[3] = bad;
			lseek(3, 0, SEEK_SET), lseek(4, 0, SEEK_SET);
			long r = syscall(calls[c].number, a[0], a[1], a[2], a[3], a[4], a[5]);
			if (calls[c].number == SYS_clone && r == 0)
				_exit(0);
			if (r == -1 && errno == EFAULT)
				refused++;
			else if (k != NULL_) {
				others++;
				printf("%s, %s: %s\n", calls[c].name, kinds[k], r == -1 ? strerrorname_np(errno) : "done");
			}
		}
	/* Good pointers, and lengths that are not. */
	static const word lengths[] = { 0x7fffffff, 0x80000000, 0xffffffff, 0xfffff000, 0x10001, 0x40000000 };
	static const int numbers[] = { SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_getdents64, SYS_poll, SYS_getcwd, SYS_getrandom, SYS_sendto, SYS_recvfrom, SYS_getgroups32, SYS_epoll_wait, SYS_mprotect, SYS_munmap, SYS_madvise, SYS_msync, SYS_mremap, SYS_mlock,
		SYS_sched_getaffinity, SYS_readlink, SYS_bind, SYS_setsockopt, SYS__newselect, SYS_ftruncate, SYS_sendmmsg, SYS_recvmmsg, SYS_brk, SYS_preadv, SYS_pwritev, SYS_splice, SYS_getxattr, SYS_mincore };
	long sum = 0;
	for (unsigned n = 0; n < sizeof numbers / sizeof numbers[0]; n++)
		for (unsigned l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
			char *m = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			word first = numbers[n] == SYS_mprotect || numbers[n] == SYS_munmap || numbers[n] == SYS_madvise || numbers[n] == SYS_msync || numbers[n] == SYS_mremap || numbers[n] == SYS_mlock || numbers[n] == SYS_mincore ? (word)m : numbers[n] == SYS_poll || numbers[n] == SYS_getcwd || numbers[n] == SYS_getrandom ? (word)m : 5;
			/* Nothing that would take this program itself away. */
			if ((numbers[n] == SYS_munmap || numbers[n] == SYS_mprotect || numbers[n] == SYS_madvise) && first + lengths[l] > first)
				continue;
			sum += syscall(numbers[n], first, first == 5 ? (word)m : lengths[l], first == 5 ? lengths[l] : 0, 0, 0, 0) != -1;
			munmap(m, 0x1000);
		}
	fprintf(stderr, "%d refused, %d others, %ld with lengths done\n", refused, others, sum);
	puts("done");
	return 0;
}

/* System calls by random numbers with random arguments, always the same for a seed. What could harm others, or end or stop the program itself, is left out. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static const short left_out[] = { SYS_exit, SYS_exit_group, SYS_fork, SYS_vfork, SYS_clone, 435, SYS_execve, SYS_execveat, SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, 424, SYS_reboot, SYS_unlink, SYS_unlinkat, SYS_rmdir, SYS_rename, SYS_renameat,
	SYS_renameat2, SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, SYS_swapon, SYS_swapoff, SYS_init_module, SYS_delete_module, SYS_finit_module, SYS_kexec_load, SYS_sethostname, SYS_setdomainname, SYS_settimeofday, SYS_clock_settime, 404, SYS_adjtimex, SYS_clock_adjtime, 405, SYS_ptrace,
	SYS_process_vm_readv, SYS_process_vm_writev, SYS_pause, SYS_rt_sigsuspend, SYS_sigsuspend, SYS_rt_sigprocmask, SYS_sigprocmask, SYS_rt_sigaction, SYS_sigaction, SYS_setitimer, SYS_rt_sigreturn, SYS_sigreturn, SYS_syslog, SYS_acct, SYS_vhangup, SYS_personality, SYS_prctl, SYS_seccomp, SYS_bpf,
	SYS_perf_event_open, SYS_unshare, SYS_setns, SYS_mlockall, SYS_sync, SYS_syncfs, SYS_quotactl, SYS_setpriority, SYS_nice, SYS_sched_setscheduler, SYS_sched_setparam, SYS_sched_setattr, SYS_ioprio_set, SYS_setrlimit, SYS_prlimit64, SYS_munmap, SYS_mmap2, SYS_mprotect, SYS_mremap, SYS_brk,
	SYS_shmat, SYS_madvise, SYS_remap_file_pages, SYS_close, SYS_dup2, SYS_dup3, 436, SYS_msgget, SYS_semget, SYS_shmget, SYS_msgctl, SYS_semctl, SYS_shmctl, SYS_add_key, SYS_keyctl, SYS_request_key, SYS_userfaultfd, SYS_fanotify_init, SYS_setsid, SYS_setpgid, SYS_set_tid_address, SYS_set_robust_list,
	SYS_sigaltstack, SYS_setuid, SYS_setgid, SYS_setuid32, SYS_setgid32, SYS_setresuid, SYS_setresuid32, SYS_setresgid, SYS_setresgid32, SYS_setreuid, SYS_setreuid32, SYS_setregid, SYS_setregid32, SYS_setgroups, SYS_setgroups32, SYS_setfsuid, SYS_setfsuid32, SYS_chmod, SYS_fchmod, SYS_fchmodat,
	SYS_chown, SYS_chown32, SYS_lchown, SYS_lchown32, SYS_fchown, SYS_fchown32, SYS_fchownat, SYS_fallocate, SYS_ioctl, 425, 426, 427, 434, 438, 440, 448, 422, SYS_futex };
static uint64_t state;
static uint32_t below(uint32_t n) { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return (uint32_t)(state >> 20) % n; }
static char *page;
static uint32_t argument(void)
{
	static const uint32_t plain[] = { 0, 1, 2, 3, 4, 5, 8, 16, 100, 0xff, 0x1000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0, 0xfffff000, 0xc0000000, 0xffff0fe0, 0x8000 };
	switch (below(6)) {
	case 0: return plain[below(sizeof plain / sizeof plain[0])];
	case 1: return below(12);
	case 2: return (uint32_t)page + below(0x1000);
	case 3: return (uint32_t)page + 0x1000 - below(20);
	case 4: return (uint32_t)state;
	default: return 0xffffffff - below(100);
	}
}
static void handler(int n) { (void)n; }

int main(int argc, char **argv)
{
	int count = argc > 2 ? atoi(argv[2]) : 1000;
	state = (argc > 1 ? strtoull(argv[1], NULL, 0) : 1) * 0x9e3779b97f4a7c15u + 1;
	page = mmap(NULL, 0x2000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(page + 0x1000, 0x1000);
	struct rlimit file = { 1 << 16, 1 << 16 }, files = { 64, 64 };
	setrlimit(RLIMIT_FSIZE, &file);
	setrlimit(RLIMIT_NOFILE, &files);
	/* Out of calls that wait: it interrupts them. */
	for (int n = 1; n < 32; n++)
		if (n != SIGSEGV && n != SIGILL && n != SIGBUS && n != SIGABRT)
			signal(n, SIG_IGN);
	struct sigaction a = { .sa_handler = handler };
	sigaction(SIGALRM, &a, NULL);
	struct itimerval t = { { 0, 3000 }, { 0, 3000 } };
	setitimer(ITIMER_REAL, &t, NULL);
	unsigned done = 0;
	for (int i = 0; i < count; i++) {
		for (int k = 0; k < 0x1000; k += 4)
			*(uint32_t *)(page + k) = argument();
		strcpy(page, "name");
		int number = below(450), skip = 0;
		for (unsigned k = 0; k < sizeof left_out / sizeof left_out[0]; k++)
			skip |= left_out[k] == number;
		uint32_t v[6];
		for (int k = 0; k < 6; k++)
			v[k] = argument();
		if (skip)
			continue;
		if (argc > 3)
			fprintf(stderr, "%d: %d(%x, %x, %x, %x, %x, %x)\n", i, number, v[0], v[1], v[2], v[3], v[4], v[5]);
		done += syscall(number, v[0], v[1], v[2], v[3], v[4], v[5]) != -1;
	}
	if (write(1, "done\n", 5) != 5 && 0)
		return 1;
	return 0;
}

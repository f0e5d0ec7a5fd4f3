/* What the programs of this set share. Each prints what must be the same on every machine: no addresses, numbers of processes, or times. */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096
#define NOINLINE __attribute__((noinline, noclone))

/* One line, unbuffered: also in handlers, and not twice after a fork. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...)
{
	char line[1024];
	va_list all;
	int saved = errno;
	va_start(all, format);
	int n = vsnprintf(line, sizeof line - 1, format, all);
	va_end(all);
	line[n++] = '\n';
	if (write(1, line, n) != n)
		_exit(99);
	errno = saved;
}

/* The name of what a call failed with; "ok" if it did not. */
static inline const char *name_of(long result)
{
	return result == -1 ? strerrorname_np(errno) : "ok";
}
static inline const char *name_of_error(int error)
{
	return error ? strerrorname_np(error) : "ok";
}

#define CHECK(x) do { if (!(x)) say("FAILED: %s (%s:%d, errno %s)", #x, __FILE__, __LINE__, errno ? strerrorname_np(errno) : "0"); } while (0)

static inline void handle(int number, void (*handler)(int, siginfo_t *, void *), int flags)
{
	struct sigaction a = { .sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO };
	sigemptyset(&a.sa_mask);
	CHECK(sigaction(number, &a, NULL) == 0);
}

static inline sigset_t set_of(int first, ...)
{
	sigset_t set;
	va_list all;
	sigemptyset(&set);
	va_start(all, first);
	for (int number = first; number > 0; number = va_arg(all, int))
		sigaddset(&set, number);
	va_end(all);
	return set;
}
#define SET(...) ({ static sigset_t set_; set_ = set_of(__VA_ARGS__, 0); &set_; })

static inline void nap(int milliseconds)
{
	struct timespec t = { milliseconds / 1000, milliseconds % 1000 * 1000000L };
	while (nanosleep(&t, &t) == -1 && errno == EINTR)
		;
}

/* A timer that goes on until it is stopped: what waits for a signal cannot miss it. */
static inline void every(int milliseconds)
{
	struct itimerval t = { { milliseconds / 1000, milliseconds % 1000 * 1000 }, { milliseconds / 1000, milliseconds % 1000 * 1000 } };
	CHECK(setitimer(ITIMER_REAL, &t, NULL) == 0);
}

/* How a child ended. */
static inline void say_end(const char *what, pid_t pid)
{
	int status = -1;
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status))
		say("%s: exit %d", what, WEXITSTATUS(status));
	else if (WIFSIGNALED(status))
		say("%s: signal %s", what, sigabbrev_np(WTERMSIG(status)));
	else
		say("%s: status %x", what, status);
}

/* Runs a statement in a child and tells how that ended. */
#define CHILD(what, ...) do { pid_t child_ = fork(); if (child_ == 0) { struct rlimit none_ = { 0, 0 }; setrlimit(RLIMIT_CORE, &none_); __VA_ARGS__; _exit(0); } say_end(what, child_); } while (0)

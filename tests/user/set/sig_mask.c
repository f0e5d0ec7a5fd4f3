/* Blocking signals and fetching them without a handler. */
#include "test.h"
#include <sys/select.h>
#include <sys/signalfd.h>

static volatile sig_atomic_t seen;
static void count(int n, siginfo_t *i, void *c) { (void)n, (void)i, (void)c; seen++; }

static void *later(void *target) { nap(50); pthread_kill(*(pthread_t *)target, SIGUSR1); return NULL; }

int main(void)
{
	handle(SIGUSR1, count, 0);
	sigset_t old, now;
	CHECK(sigprocmask(SIG_BLOCK, SET(SIGUSR1, SIGUSR2), NULL) == 0);
	CHECK(sigprocmask(SIG_UNBLOCK, SET(SIGUSR2), &old) == 0);
	sigprocmask(0, NULL, &now);
	say("old %d %d, now %d %d", sigismember(&old, SIGUSR1), sigismember(&old, SIGUSR2), sigismember(&now, SIGUSR1), sigismember(&now, SIGUSR2));
	say("bad how: %s", name_of(sigprocmask(99, SET(SIGUSR1), NULL)));
	say("without a set: %s", name_of(sigprocmask(99, NULL, NULL)));
	sigset_t full;
	sigfillset(&full);
	sigprocmask(SIG_SETMASK, &full, NULL);
	sigprocmask(0, NULL, &now);
	say("KILL and STOP cannot be blocked: %d %d", sigismember(&now, SIGKILL), sigismember(&now, SIGSTOP));
	sigprocmask(SIG_SETMASK, SET(SIGUSR1), NULL);

	raise(SIGUSR1);
	say("blocked: seen %d", seen);
	sigset_t none;
	sigemptyset(&none);
	say("sigsuspend: %s", name_of(sigsuspend(&none)));
	say("seen %d", seen);
	sigprocmask(0, NULL, &now);
	say("blocked again: %d", sigismember(&now, SIGUSR1));

	raise(SIGUSR1);
	int number = 0;
	CHECK(sigwait(SET(SIGUSR1, SIGUSR2), &number) == 0);
	say("sigwait: %s, seen %d", sigabbrev_np(number), seen);
	struct timespec brief = { 0, 1000000 }, zero = { 0, 0 };
	siginfo_t info;
	say("sigtimedwait: %s", name_of(sigtimedwait(SET(SIGUSR1), &info, &brief)));
	say("sigtimedwait: %s", name_of(sigtimedwait(SET(SIGUSR1), &info, &zero)));
	sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 31 });
	CHECK(sigtimedwait(SET(SIGUSR1), &info, &zero) == SIGUSR1);
	say("sigtimedwait: value %d", info.si_value.sival_int);
	pthread_t me = pthread_self(), other;
	pthread_create(&other, NULL, later, &me);
	say("sigwaitinfo of another thread's: %d", sigwaitinfo(SET(SIGUSR1), &info) == SIGUSR1);
	pthread_join(other, NULL);

	/* By descriptor. */
	sigprocmask(SIG_BLOCK, SET(SIGUSR2, SIGRTMIN), NULL);
	int fd = signalfd(-1, SET(SIGUSR1, SIGUSR2, SIGRTMIN), SFD_NONBLOCK | SFD_CLOEXEC);
	struct signalfd_siginfo got[4];
	say("signalfd: %s", name_of(read(fd, got, sizeof got)));
	raise(SIGUSR2);
	raise(SIGUSR1);
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 8 });
	sigqueue(getpid(), SIGRTMIN, (union sigval){ .sival_int = 9 });
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int ready = poll(&p, 1, 0);
	say("ready: %d %d", ready, p.revents == POLLIN);
	ssize_t n = read(fd, got, sizeof got);
	say("read %d of %d", (int)(n / sizeof got[0]), (int)sizeof got[0]);
	for (int i = 0; i < n / (int)sizeof got[0]; i++)
		say("  %d %s %d", got[i].ssi_signo == (unsigned)SIGRTMIN ? 0 : (int)got[i].ssi_signo, got[i].ssi_pid == (unsigned)getpid() ? "me" : "another", got[i].ssi_int);
	say("then: %s, seen %d", name_of(read(fd, got, sizeof got)), seen);
	say("too small: %s", name_of(read(fd, got, 10)));
	close(fd);

	/* Masks for the time of a wait. */
	raise(SIGUSR1);
	struct timespec long_ = { 100, 0 };
	say("ppoll: %s", name_of(ppoll(NULL, 0, &long_, &none)));
	say("seen %d", seen);
	raise(SIGUSR1);
	say("pselect: %s", name_of(pselect(0, NULL, NULL, NULL, &long_, &none)));
	say("seen %d", seen);
	raise(SIGUSR1);
	sigprocmask(SIG_UNBLOCK, SET(SIGUSR1), NULL);
	say("unblocked, seen %d", seen);
	handle(SIGALRM, count, SA_RESTART);
	every(30);
	say("pause: %s", name_of(pause()));
	say("sigsuspend, though SA_RESTART: %s", name_of(sigsuspend(&none)));
	every(0);

	/* The kernel's own sizes. */
	say("size of set: %s", name_of(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &none, NULL, 4)));
	return 0;
}

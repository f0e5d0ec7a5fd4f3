/* What siginfo tells of each source of a signal. */
#include "test.h"

static siginfo_t last;
static volatile sig_atomic_t seen;
static void note(int number, siginfo_t *info, void *context) { (void)number, (void)context; last = *info; seen++; }

static const char *code(void)
{
	switch (last.si_code) {
	case SI_USER: return "SI_USER";
	case SI_TKILL: return "SI_TKILL";
	case SI_QUEUE: return "SI_QUEUE";
	case SI_TIMER: return "SI_TIMER";
	case SI_KERNEL: return "SI_KERNEL";
	case SI_MESGQ: return "SI_MESGQ";
	default: return "another";
	}
}
static void tell(const char *what)
{
	say("%s: %s %s, from %s, value %d", what, sigabbrev_np(last.si_signo), code(), last.si_pid == getpid() && last.si_uid == getuid() ? "me" : "elsewhere",
		last.si_code == SI_QUEUE || last.si_code == SI_TIMER ? last.si_value.sival_int : 0);
}

int main(void)
{
	handle(SIGUSR1, note, 0);
	kill(getpid(), SIGUSR1);
	tell("kill");
	raise(SIGUSR1);
	tell("raise");
	kill(0, 0);
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
	tell("tgkill");
	union sigval value = { .sival_int = -12345 };
	CHECK(sigqueue(getpid(), SIGUSR1, value) == 0);
	tell("sigqueue");
	handle(SIGRTMIN + 3, note, 0);
	value.sival_int = 77;
	CHECK(sigqueue(getpid(), SIGRTMIN + 3, value) == 0);
	say("real time: %s value %d", code(), last.si_value.sival_int);
	CHECK(pthread_sigqueue(pthread_self(), SIGUSR1, value) == 0);
	tell("pthread_sigqueue");

	/* A siginfo of one's own making. */
	siginfo_t own;
	memset(&own, 0, sizeof own);
	own.si_code = SI_MESGQ;
	own.si_pid = getpid();
	own.si_uid = getuid();
	own.si_value.sival_int = 5;
	say("rt_sigqueueinfo: %s", name_of(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &own)));
	say("arrived as %s, value %d", code(), last.si_value.sival_int);
	own.si_code = SI_USER;
	CHECK(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGUSR1, &own) == 0);

	/* Timers. */
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value.sival_int = 4711 };
	handle(SIGUSR2, note, 0);
	timer_t timer;
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	struct itimerspec in = { .it_value = { 0, 20000000 } };
	seen = 0;
	CHECK(timer_settime(timer, 0, &in, NULL) == 0);
	while (!seen)
		;
	say("timer: %s value %d", code(), last.si_value.sival_int);
	CHECK(timer_delete(timer) == 0);
	say("deleted timer: %s", name_of(timer_settime(timer, 0, &in, NULL)));
	handle(SIGALRM, note, 0);
	seen = 0;
	every(20);
	while (!seen)
		;
	say("itimer: %s", code());
	every(0);

	/* Broken pipes. */
	handle(SIGPIPE, note, 0);
	int ends[2];
	CHECK(pipe(ends) == 0);
	close(ends[0]);
	say("write to nobody: %s", name_of(write(ends[1], "x", 1)));
	tell("SIGPIPE");

	/* Children. */
	handle(SIGCHLD, note, 0);
	sigprocmask(SIG_BLOCK, SET(SIGCHLD), NULL);
	siginfo_t info;
	pid_t pid = fork();
	if (pid == 0)
		_exit(33);
	CHECK(sigwaitinfo(SET(SIGCHLD), &info) == SIGCHLD);
	say("child: %s status %d %s uid %d", info.si_code == CLD_EXITED ? "CLD_EXITED" : "another", info.si_status, info.si_pid == pid ? "its pid" : "another pid", info.si_uid == getuid());
	CHECK(waitpid(pid, NULL, 0) == pid);
	pid = fork();
	if (pid == 0) {
		kill(getpid(), SIGKILL);
		pause();
	}
	CHECK(sigwaitinfo(SET(SIGCHLD), &info) == SIGCHLD);
	say("child: %s status %s %s", info.si_code == CLD_KILLED ? "CLD_KILLED" : "another", sigabbrev_np(info.si_status), info.si_pid == pid ? "its pid" : "another pid");
	CHECK(waitpid(pid, NULL, 0) == pid);
	pid = fork();
	if (pid == 0) {
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	while (sigwaitinfo(SET(SIGCHLD), &info) == -1 && errno == EINTR)
		;
	say("from a child: %s %s", code(), last.si_pid == pid ? "its pid" : "another pid");
	say("errors: %s", name_of(kill(getpid(), 65)));
	say("errors: %s", name_of(kill(getpid(), -1)));
	say("errors: %s", name_of(kill(0x7ffffff0, 0)));
	say("errors: %s", name_of(syscall(SYS_tgkill, getpid(), 0x7ffffff0, 0)));
	struct sigaction a = { .sa_handler = SIG_IGN };
	say("sigaction: %s", name_of(sigaction(SIGKILL, &a, NULL)));
	say("sigaction: %s", name_of(sigaction(SIGSTOP, &a, NULL)));
	say("sigaction: %s", name_of(sigaction(0, &a, NULL)));
	return 0;
}

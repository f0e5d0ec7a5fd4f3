/* How children end, stop and go on, and how that is told. */
#include "test.h"

static void tell(const char *what, siginfo_t *i, pid_t pid)
{
	static const char *names[] = { "?", "EXITED", "KILLED", "DUMPED", "TRAPPED", "STOPPED", "CONTINUED" };
	say("%s: %s %s %d, %s", what, i->si_signo == SIGCHLD ? "CHLD" : "none", i->si_code >= 0 && i->si_code <= 6 ? names[i->si_code] : "?", i->si_status, i->si_pid == pid ? "its pid" : i->si_pid ? "another" : "no pid");
}
static volatile sig_atomic_t children;
static void child(int n, siginfo_t *i, void *c) { (void)n, (void)i, (void)c; children++; }

int main(void)
{
	int status;
	siginfo_t info;
	for (int code = 0; code < 3; code++)
		CHILD("exit", _exit((int[]){ 0, 255, 256 + 7 }[code]));
	for (int *n = (int[]){ SIGHUP, SIGINT, SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGKILL, SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGXCPU, SIGSYS, SIGPWR, 0 }; *n; n++)
		CHILD("killed", signal(*n, SIG_DFL); raise(*n); pause());
	for (int *n = (int[]){ SIGCHLD, SIGURG, SIGWINCH, SIGCONT, 0 }; *n; n++)
		CHILD(sigabbrev_np(*n), raise(*n); _exit(*n == SIGCONT ? 1 : 2));
	pid_t pid = fork();
	if (pid == 0)
		for (;;) pause();
	say("still there: %d", waitpid(pid, &status, WNOHANG));
	say("not mine: %s", name_of(waitpid(getpid(), &status, 0)));
	memset(&info, 0x55, sizeof info);
	CHECK(waitid(P_PID, pid, &info, WEXITED | WNOHANG) == 0);
	tell("WNOHANG", &info, pid);
	say("bad options: %s", name_of(waitid(P_PID, pid, &info, 0)));

	/* Stop and go on. */
	kill(pid, SIGSTOP);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid);
	say("stopped: %d by %s", WIFSTOPPED(status), sigabbrev_np(WSTOPSIG(status)));
	kill(pid, SIGCONT);
	CHECK(waitpid(pid, &status, WCONTINUED) == pid);
	say("continued: %d", WIFCONTINUED(status));
	kill(pid, SIGTSTP);
	CHECK(waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT) == 0);
	tell("waitid", &info, pid);
	CHECK(waitid(P_ALL, 0, &info, WSTOPPED) == 0);
	tell("again", &info, pid);
	kill(pid, SIGTERM);
	kill(pid, SIGCONT);
	CHECK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT) == 0);
	tell("killed when it went on", &info, pid);
	struct rusage usage;
	CHECK(wait4(pid, &status, 0, &usage) == pid);
	say("wait4: %d %d, %d", WIFSIGNALED(status), WTERMSIG(status), usage.ru_utime.tv_sec < 10 && usage.ru_minflt >= 0);
	say("no more: %s", name_of(wait(&status)));
	say("no more: %s", name_of(waitid(P_ALL, 0, &info, WEXITED)));

	/* A child that stops in the midst of computing, and one with a handler for SIGCONT. */
	int ends[2];
	char c;
	CHECK(pipe(ends) == 0);
	pid = fork();
	if (pid == 0) {
		handle(SIGCONT, child, 0);
		CHECK(write(ends[1], "x", 1) == 1);
		while (!children)
			;
		_exit(5);
	}
	CHECK(read(ends[0], &c, 1) == 1);
	kill(pid, SIGSTOP);
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	kill(pid, SIGCONT);
	say_end("with a handler for CONT", pid);

	/* Groups. */
	pid_t group = 0, members[3];
	for (int i = 0; i < 3; i++) {
		members[i] = fork();
		if (members[i] == 0) {
			setpgid(0, group);
			for (;;) pause();
		}
		setpgid(members[i], group ? group : members[0]);
		group = members[0];
	}
	say("groups: %d %d", getpgid(members[2]) == group, getpgid(0) == getpgrp());
	CHECK(kill(-group, SIGUSR1) == 0);
	int found = 0;
	while ((pid = waitpid(-group, &status, 0)) > 0)
		found += WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1;
	say("killed by group: %d, then %s", found, name_of(-1));
	say("kill %s", name_of(kill(-group, 0)));

	/* A session of its own. */
	CHILD("setsid", pid_t s = setsid(); say("setsid: %d %d %d", s == getpid(), getsid(0) == s, getpgrp() == s); say("again %s", name_of(setsid())));

	/* Ignored children leave nothing behind. */
	signal(SIGCHLD, SIG_IGN);
	pid = fork();
	if (pid == 0)
		_exit(3);
	say("ignored: %s", name_of(waitpid(pid, &status, 0)));
	struct sigaction a = { .sa_sigaction = child, .sa_flags = SA_SIGINFO | SA_NOCLDWAIT | SA_RESTART };
	sigaction(SIGCHLD, &a, NULL);
	pid = fork();
	if (pid == 0)
		_exit(3);
	say("SA_NOCLDWAIT: %s", name_of(waitpid(pid, &status, 0)));
	handle(SIGCHLD, child, SA_NOCLDSTOP | SA_RESTART);
	children = 0;
	pid = fork();
	if (pid == 0) {
		raise(SIGSTOP);
		_exit(4);
	}
	CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
	say("SA_NOCLDSTOP: %d", children);
	kill(pid, SIGCONT);
	say_end("then", pid);
	say("told of its end: %d", children);

	/* A handler of the parent's that reaps many. */
	signal(SIGCHLD, SIG_DFL);
	int sum = 0;
	for (int i = 0; i < 50; i++)
		if ((pid = fork()) == 0)
			_exit(i);
	while (wait(&status) > 0)
		sum += WEXITSTATUS(status);
	say("fifty: %d", sum);

	/* Broken pipes kill, unless ignored. */
	CHILD("SIGPIPE", int p[2]; CHECK(pipe(p) == 0); close(p[0]); (void)!write(p[1], "x", 1));
	CHILD("SIGPIPE ignored", signal(SIGPIPE, SIG_IGN); int p[2]; CHECK(pipe(p) == 0); close(p[0]); say("%s", name_of(write(p[1], "x", 1))));
	return 0;
}

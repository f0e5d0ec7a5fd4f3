/* Handlers within handlers: masks while they run, order of delivery, queues, one-shot handlers. */
#include "test.h"

static char trail[4096];
static void mark(const char *text) { strcat(trail, text); }
static void done(const char *what) { say("%s:%s", what, trail); trail[0] = 0; }

static const char *mask(void)
{
	static char text[200];
	sigset_t now;
	text[0] = 0;
	sigprocmask(SIG_BLOCK, NULL, &now);
	for (int n = 1; n < NSIG; n++)
		if (sigismember(&now, n)) {
			char one[20];
			if (n < 32) sprintf(one, " %s", sigabbrev_np(n)); else sprintf(one, " RT%d", n - SIGRTMIN);
			strcat(text, one);
		}
	return text;
}

static void inner(int number, siginfo_t *i, void *c) { (void)i, (void)c; mark(number == SIGUSR2 ? " <USR2>" : " <other>"); }
static void outer(int number, siginfo_t *i, void *c)
{
	(void)number, (void)i, (void)c;
	mark(" (");
	mark(mask());
	mark(" |");
	raise(SIGUSR2);
	mark(" )");
}
static int depth;
static void again(int number, siginfo_t *i, void *c)
{
	(void)i, (void)c;
	mark(" [");
	if (++depth < 5)
		raise(number);
	mark(" ]");
}
static void queued(int number, siginfo_t *i, void *c)
{
	(void)c;
	char text[30];
	sprintf(text, " %d:%d", number - SIGRTMIN, i->si_value.sival_int);
	mark(text);
}
static void standard(int number, siginfo_t *i, void *c) { (void)i, (void)c; mark(" "); mark(sigabbrev_np(number)); }

int main(void)
{
	handle(SIGUSR2, inner, 0);
	handle(SIGUSR1, outer, 0);
	raise(SIGUSR1);
	done("nested");
	struct sigaction a = { .sa_sigaction = outer, .sa_flags = SA_SIGINFO, .sa_mask = set_of(SIGUSR2, SIGTERM, SIGRTMIN + 5, 0) };
	sigaction(SIGUSR1, &a, NULL);
	raise(SIGUSR1);
	done("masked");
	a.sa_flags |= SA_NODEFER;
	sigaction(SIGUSR1, &a, NULL);
	raise(SIGUSR1);
	done("masked, not deferred");
	say("mask afterwards:%s", mask());
	handle(SIGUSR1, again, SA_NODEFER);
	raise(SIGUSR1);
	done("SA_NODEFER");
	depth = 0;
	handle(SIGUSR1, again, 0);
	raise(SIGUSR1);
	done("deferred");
	depth = 0;

	/* What is pending arrives lowest first, real-time signals in the order of their sending; a standard signal is pending once. */
	sigset_t everything, before;
	sigfillset(&everything);
	for (int n = 0; n < 4; n++)
		handle(SIGRTMIN + n, queued, 0);
	for (int *n = (int[]){ SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGIO, 0 }; *n; n++) {
		struct sigaction s = { .sa_sigaction = standard, .sa_flags = SA_SIGINFO, .sa_mask = everything };
		sigaction(*n, &s, NULL);
	}
	for (int n = 0; n < 4; n++) {
		struct sigaction s = { .sa_sigaction = queued, .sa_flags = SA_SIGINFO, .sa_mask = everything };
		sigaction(SIGRTMIN + n, &s, NULL);
	}
	sigprocmask(SIG_SETMASK, &everything, &before);
	for (int round = 0; round < 3; round++)
		for (int n = 3; n >= 0; n--)
			sigqueue(getpid(), SIGRTMIN + n, (union sigval){ .sival_int = round * 10 + n });
	for (int *n = (int[]){ SIGUSR2, SIGHUP, SIGUSR2, SIGIO, SIGTERM, SIGUSR2, 0 }; *n; n++)
		kill(getpid(), *n);
	sigset_t pending;
	sigpending(&pending);
	say("pending: USR2 %d HUP %d USR1 %d RT0 %d RT4 %d", sigismember(&pending, SIGUSR2), sigismember(&pending, SIGHUP), sigismember(&pending, SIGUSR1), sigismember(&pending, SIGRTMIN), sigismember(&pending, SIGRTMIN + 4));
	sigprocmask(SIG_SETMASK, &before, NULL);
	done("order");

	/* Ignoring discards what is pending. */
	sigprocmask(SIG_BLOCK, SET(SIGUSR1), NULL);
	raise(SIGUSR1);
	signal(SIGUSR1, SIG_IGN);
	handle(SIGUSR1, standard, 0);
	sigprocmask(SIG_UNBLOCK, SET(SIGUSR1), NULL);
	done("discarded");

	handle(SIGUSR1, standard, SA_RESETHAND);
	raise(SIGUSR1);
	struct sigaction now;
	sigaction(SIGUSR1, NULL, &now);
	say("SA_RESETHAND: %s, flags %d", now.sa_handler == SIG_DFL ? "default again" : "still there", !!(now.sa_flags & SA_RESETHAND));
	done("one shot");
	CHILD("second", raise(SIGUSR1));
	handle(SIGUSR1, standard, SA_RESTART | SA_NODEFER);
	sigaction(SIGUSR1, NULL, &now);
	say("flags %d %d %d, mask %d", !!(now.sa_flags & SA_RESTART), !!(now.sa_flags & SA_NODEFER), !!(now.sa_flags & SA_SIGINFO), sigismember(&now.sa_mask, SIGUSR1));

	/* A child has the dispositions and the mask, but nothing pending. */
	sigprocmask(SIG_BLOCK, SET(SIGUSR2), NULL);
	raise(SIGUSR2);
	CHILD("child", sigpending(&pending); say("in the child: pending %d, blocked%s", sigismember(&pending, SIGUSR2), mask()); raise(SIGUSR1); done("its handler"));
	return 0;
}

/* System calls among signals: each call is made once, and its result comes back; a signal that a call brings is there when the call is. */
#include "test.h"

static volatile sig_atomic_t handled, wrong;
static pid_t parent;
static void count(int n, siginfo_t *i, void *c)
{
	(void)n, (void)i, (void)c;
	if (syscall(SYS_getppid) != parent)
		wrong++;
	handled++;
}

/* What is read is what was written, number by number; the file has each once. */
static void sequence(int flags)
{
	int ends[2], n = 0, number, others = 0;
	FILE *file = tmpfile();
	CHECK(pipe(ends) == 0);
	handled = wrong = 0;
	handle(SIGALRM, count, flags);
	struct itimerval t = { { 0, 150 }, { 0, 150 } };
	CHECK(setitimer(ITIMER_REAL, &t, NULL) == 0);
	while (handled < 400) {
		others += syscall(SYS_write, ends[1], &n, sizeof n) != sizeof n;
		others += syscall(SYS_write, fileno(file), &n, sizeof n) != sizeof n;
		others += syscall(SYS_getppid) != parent;
		others += syscall(SYS_read, ends[0], &number, sizeof number) != sizeof number || number != n;
		n++;
	}
	every(0);
	struct stat about;
	CHECK(fstat(fileno(file), &about) == 0 && about.st_size == (off_t)sizeof n * n);
	CHECK(others == 0 && wrong == 0);
	say("calls among signals%s: each was made once", flags ? ", SA_RESTART" : "");
	fclose(file);
	close(ends[0]);
	close(ends[1]);
}

/* A thread that waits in a call, and hears of signals there. */
static int ends[2], interrupted;
static atomic_int done;
static void *reader(void *last)
{
	int number, expected = 0;
	while (expected < (int)(intptr_t)last) {
		long n = syscall(SYS_read, ends[0], &number, sizeof number);
		if (n == -1 && errno == EINTR) {
			interrupted++;
			continue;
		}
		CHECK(n == sizeof number && number == expected);
		expected++;
	}
	done = 1;
	return NULL;
}
static void waits(int flags)
{
	pthread_t thread;
	enum { NUMBERS = 300 };
	CHECK(pipe(ends) == 0);
	handle(SIGUSR1, count, flags);
	handled = wrong = interrupted = done = 0;
	CHECK(pthread_create(&thread, NULL, reader, (void *)(intptr_t)NUMBERS) == 0);
	for (int n = 0; n < NUMBERS; n++) {
		for (int i = 0; i < 3; i++) {
			pthread_kill(thread, SIGUSR1);
			if (n % 16 == 0)
				usleep(300);
		}
		CHECK(syscall(SYS_write, ends[1], &n, sizeof n) == sizeof n);
	}
	pthread_join(thread, NULL);
	CHECK(wrong == 0 && handled > 0);
	say("a reader among signals%s: %s", flags ? ", SA_RESTART" : "", interrupted ? "interrupted" : "not interrupted");
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	int broken[2];
	parent = getppid();
	CHECK(pipe(broken) == 0);
	close(broken[0]);
	handle(SIGPIPE, count, SA_RESTART);
	for (int n = 1; n <= 500; n++) {
		errno = 0;
		long result = syscall(SYS_write, broken[1], "x", 1);
		if (result != -1 || errno != EPIPE || handled != n)
			say("FAILED: %ld, %s, %d of %d", result, name_of(result), (int)handled, n);
	}
	say("a write to nobody: EPIPE, and SIGPIPE at once");
	sequence(0);
	sequence(SA_RESTART);
	waits(0);
	waits(SA_RESTART);
	return 0;
}

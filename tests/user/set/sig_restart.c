/* Calls that a handler interrupts: which go on, which fail with EINTR. The timer goes on, so no call can miss it. */
#include "test.h"
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>

static volatile sig_atomic_t ticks;
static int ends[2];
static atomic_int word;
/* At the third tick comes what the call waits for. */
static void tick(int n, siginfo_t *i, void *c)
{
	(void)n, (void)i, (void)c;
	if (++ticks == 3) {
		if (write(ends[1], "x", 1) != 1)
			_exit(98);
		atomic_store(&word, 1);
		syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}

static char c;
static void begin(int flags)
{
	struct pollfd p = { .fd = ends[0], .events = POLLIN };
	every(0);
	while (poll(&p, 1, 0) == 1)
		CHECK(read(ends[0], &c, 1) == 1);
	word = 0;
	ticks = 0;
	handle(SIGALRM, tick, flags);
	every(15);
}
#define CALL(what, ...) do { begin(flags); errno = 0; long r_ = (__VA_ARGS__); int e_ = errno; int t_ = ticks; every(0); \
	say("%s%s: %s%s", what, flags ? ", SA_RESTART" : "", r_ == -1 ? strerrorname_np(e_) : "went on", t_ >= 3 || r_ == -1 ? "" : " too early"); } while (0)

int main(void)
{
	CHECK(pipe(ends) == 0);
	for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
		CALL("read of a pipe", read(ends[0], &c, 1));
		struct timespec t = { 100, 0 }, left = { 0, 0 };
		CALL("nanosleep", nanosleep(&t, &left));
		say("  left %s", left.tv_sec >= 90 && left.tv_sec < 100 ? "most of it" : "something else");
		every(0);
		begin(flags);
		say("clock_nanosleep: %s", name_of_error(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &left)));
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_sec += 100;
		begin(flags);
		say("clock_nanosleep, absolute: %s", name_of_error(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)));
		struct pollfd p = { .fd = ends[0], .events = POLLIN };
		CALL("poll", poll(&p, 1, 100000));
		fd_set set;
		FD_ZERO(&set);
		FD_SET(ends[0], &set);
		CALL("select", select(ends[0] + 1, &set, NULL, NULL, NULL));
		int epoll = epoll_create1(0);
		struct epoll_event event = { .events = EPOLLIN };
		epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event);
		CALL("epoll_wait", epoll_wait(epoll, &event, 1, 100000));
		close(epoll);
		CALL("futex", syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0));
		struct timespec hundred = { 100, 0 };
		CALL("futex with a time", syscall(SYS_futex, &word, FUTEX_WAIT, 0, &hundred, NULL, 0));
		sem_t sem;
		sem_init(&sem, 0, 0);
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += 100;
		if (!flags)
			CALL("sem_timedwait", sem_timedwait(&sem, &until));
		/* A child that waits for the third tick's byte. */
		pid_t pid = fork();
		if (pid == 0) {
			CHECK(read(ends[0], &c, 1) == 1);
			_exit(0);
		}
		CALL("waitpid", waitpid(pid, NULL, 0));
		if (!flags) {
			CHECK(write(ends[1], "x", 1) == 1);
			CHECK(waitpid(pid, NULL, 0) == pid);
		}
		int pair[2];
		CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
		struct timeval limit = { 100, 0 };
		/* With a time limit it fails all the same. */
		setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
		CALL("recv with a limit", recv(pair[0], &c, 1, 0));
		siginfo_t info;
		CALL("sigtimedwait", sigtimedwait(SET(SIGUSR1), &info, &hundred));

		/* A full pipe, written to. */
		int full[2];
		CHECK(pipe(full) == 0);
		fcntl(full[1], F_SETPIPE_SZ, PAGE);
		static char much[3 * PAGE];
		int child = fork();
		if (child == 0) {
			close(full[1]);
			CHECK(read(ends[0], &c, 1) == 1);
			int total = 0, n;
			while ((n = read(full[0], much, sizeof much)) > 0)
				total += n;
			_exit(total / PAGE);
		}
		begin(flags);
		int n = write(full[1], much, sizeof much);
		every(0);
		say("write to a full pipe%s: %d of 3 pages", flags ? ", SA_RESTART" : "", n / PAGE);
		/* What was written before the first tick counts. */
		if (ticks < 3)
			CHECK(write(ends[1], "x", 1) == 1);
		close(full[1]);
		close(full[0]);
		say_end("  its reader", child);

		/* A lock that another has, until the third tick. */
		FILE *file = tmpfile();
		char path[64];
		sprintf(path, "/proc/self/fd/%d", fileno(file));
		int locked = open(path, O_RDWR), has[2];
		CHECK(pipe(has) == 0);
		child = fork();
		if (child == 0) {
			int own = open(path, O_RDWR);
			CHECK(flock(own, LOCK_EX) == 0 && write(has[1], "x", 1) == 1);
			CHECK(read(ends[0], &c, 1) == 1);
			_exit(0);
		}
		CHECK(read(has[0], &c, 1) == 1);
		CALL("flock", flock(locked, LOCK_EX));
		if (!flags)
			CHECK(write(ends[1], "x", 1) == 1);
		waitpid(child, NULL, 0);
		close(locked);
		fclose(file);
	}
	return 0;
}

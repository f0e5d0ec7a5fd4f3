/* Signals that arrive while a program only computes: loops without a call must be interrupted, of whatever instructions they are. */
#include "test.h"

static volatile sig_atomic_t ticks;
static atomic_int flag;
static unsigned long counter;
static void tick(int n, siginfo_t *i, void *c) { (void)n, (void)i, (void)c; ticks++; atomic_store(&flag, 1); }
static sigjmp_buf back;
static void leave(int n, siginfo_t *i, void *c) { (void)n, (void)i, (void)c; siglongjmp(back, 1); }

static void wait_in_loop(void) { while (!ticks) ; }
static void wait_counting(void) { while (!ticks) counter++; }
static void wait_atomically(void) { while (!atomic_load(&flag)) ; }
static void wait_exchanging(void) { int one = 1; while (!atomic_compare_exchange_weak(&flag, &one, 2)) one = 1; }
static NOINLINE int helper(int x) { asm volatile(""); return x + 1; }
static void wait_calling(void) { int x = 0; while (!ticks) x = helper(x); }
static void wait_floating(void) { volatile double d = 1; while (!ticks) d = d * 1.0000001; }
static void wait_copying(void) { static char a[65536], b[65536]; while (!ticks) { memcpy(a, b, sizeof a); memset(b, ticks, sizeof b); } }
static void wait_yielding(void) { while (!ticks) sched_yield(); }
static void wait_asking(void) { struct timespec t; while (!ticks) { clock_gettime(CLOCK_MONOTONIC, &t); getppid(); } }

/* Never ends but by a jump out of the handler. */
static NOINLINE void for_ever(void) { for (;;) asm volatile(""); }
static NOINLINE void for_ever_here(void)
{
#ifdef __arm__
	asm volatile("1: b 1b");
#else
	asm volatile("1: jmp 1b");
#endif
}

int main(void)
{
	struct { const char *name; void (*wait)(void); } all[] = { { "loop", wait_in_loop }, { "counting", wait_counting }, { "atomic load", wait_atomically }, { "compare and exchange", wait_exchanging },
		{ "calls", wait_calling }, { "floating point", wait_floating }, { "copies", wait_copying }, { "sched_yield", wait_yielding }, { "clock_gettime", wait_asking } };
	handle(SIGALRM, tick, 0);
	for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
		struct itimerval once = { { 0, 0 }, { 0, 10000 } };
		flag = ticks = 0;
		setitimer(ITIMER_REAL, &once, NULL);
		all[i].wait();
		say("setitimer ended: %s, %d", all[i].name, ticks);
	}
	handle(SIGVTALRM, tick, 0);
	handle(SIGPROF, tick, 0);
	for (int which = ITIMER_VIRTUAL; which <= ITIMER_PROF; which++) {
		struct itimerval once = { { 0, 0 }, { 0, 20000 } };
		ticks = 0;
		CHECK(setitimer(which, &once, NULL) == 0);
		wait_counting();
		say("%s: %d", which == ITIMER_PROF ? "ITIMER_PROF" : "ITIMER_VIRTUAL", ticks);
	}
	handle(SIGALRM, leave, 0);
	for (int i = 0; i < 40; i++)
		if (sigsetjmp(back, 1) == 0) {
			struct itimerval once = { { 0, 0 }, { 0, 2000 + i * 37 } };
			setitimer(ITIMER_REAL, &once, NULL);
			if (i & 1) for_ever(); else for_ever_here();
		}
	say("left 40 endless loops");

	/* Thousands of signals, while a sum is computed that must come out right. */
	handle(SIGALRM, tick, 0);
	ticks = 0;
	struct itimerval fast = { { 0, 500 }, { 0, 500 } };
	setitimer(ITIMER_REAL, &fast, NULL);
	uint32_t sum = 1;
	double real = 1;
	unsigned rounds = 0;
	do {
		sum = 1, real = 1;
		for (int i = 0; i < 200000; i++) {
			sum = sum * 1664525 + 1013904223 + i;
			real = real * 1.000001 + (sum & 1) * 0.5;
		}
		static uint32_t first;
		static double first_real;
		if (!rounds++)
			first = sum, first_real = real;
		if (first != sum || first_real != real) {
			say("WRONG sum after a signal");
			break;
		}
	} while (ticks < 300);
	every(0);
	say("sum %08x %.3f after hundreds of signals", sum, real);

	/* What is left of a timer. */
	struct itimerval hour = { { 7200, 0 }, { 3600, 500000 } }, left;
	setitimer(ITIMER_REAL, &hour, NULL);
	getitimer(ITIMER_REAL, &left);
	say("getitimer: %d %d", left.it_interval.tv_sec == 7200, left.it_value.tv_sec == 3600 || left.it_value.tv_sec == 3599);
	unsigned rest = alarm(10);
	unsigned ten = alarm(0);
	say("alarm: %d %d %d", rest == 3600 || rest == 3601, ten, alarm(0));
	struct itimerval bad = { { 0, 0 }, { 1, 1000000 } };
	say("bad: %s", name_of(setitimer(ITIMER_REAL, &bad, NULL)));
	say("bad: %s", name_of(setitimer(77, &hour, NULL)));

	/* POSIX timers: overruns while blocked, to one thread, none at all. */
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	timer_t timer;
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
	sigprocmask(SIG_BLOCK, SET(SIGUSR1), NULL);
	struct itimerspec often = { { 0, 1000000 }, { 0, 1000000 } }, was;
	CHECK(timer_settime(timer, 0, &often, NULL) == 0);
	nap(50);
	siginfo_t info;
	CHECK(sigwaitinfo(SET(SIGUSR1), &info) == SIGUSR1);
	say("overruns: %s, the same by call: %d", info.si_overrun >= 20 ? "many" : "few", timer_getoverrun(timer) >= 20);
	CHECK(timer_gettime(timer, &was) == 0);
	say("interval %d", (int)was.it_interval.tv_nsec);
	timer_delete(timer);
	event = (struct sigevent){ .sigev_notify = SIGEV_NONE };
	CHECK(timer_create(CLOCK_REALTIME, &event, &timer) == 0);
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	struct itimerspec absolute = { { 0, 0 }, { now.tv_sec + 1000, 0 } };
	CHECK(timer_settime(timer, TIMER_ABSTIME, &absolute, NULL) == 0);
	timer_gettime(timer, &was);
	say("left of an absolute one: %d", was.it_value.tv_sec > 900 && was.it_value.tv_sec <= 1000);
	timer_delete(timer);
	return 0;
}

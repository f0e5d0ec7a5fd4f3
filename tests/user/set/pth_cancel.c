/* Cancellation: at calls, in the midst of computing, refused, with handlers that clean up. */
#include "test.h"

static atomic_int ready, cleaned, order;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int ends[2];
static sem_t sem;
static void clean(void *x) { cleaned += (intptr_t)x; order = order * 10 + (intptr_t)x; }
static void unlock(void *m) { pthread_mutex_unlock(m); cleaned += 100; }

static void *in_nanosleep(void *x) { pthread_cleanup_push(clean, (void *)1); ready = 1; for (;;) nap(100000); pthread_cleanup_pop(0); return x; }
static void *in_read(void *x) { char c; pthread_cleanup_push(clean, (void *)1); pthread_cleanup_push(clean, (void *)2); ready = 1; (void)!read(ends[0], &c, 1); pthread_cleanup_pop(0); pthread_cleanup_pop(0); return x; }
static void *in_cond(void *x) { pthread_mutex_lock(&mutex); pthread_cleanup_push(unlock, &mutex); ready = 1; for (;;) pthread_cond_wait(&cond, &mutex); pthread_cleanup_pop(1); return x; }
static void *in_sem(void *x) { ready = 1; sem_wait(&sem); return x; }
static void *in_join(void *x) { ready = 1; pthread_join(*(pthread_t *)x, NULL); return NULL; }
static void *in_poll(void *x) { struct pollfd p = { .fd = ends[0], .events = POLLIN }; ready = 1; poll(&p, 1, -1); return x; }
static void *in_sigwait(void *x) { int n; ready = 1; sigwait(SET(SIGUSR1), &n); return x; }
static void *in_testcancel(void *x) { ready = 1; for (;;) { pthread_testcancel(); sched_yield(); } return x; }
static void *in_loop(void *x)
{
	int old;
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
	pthread_cleanup_push(clean, (void *)7);
	ready = 1;
	for (;;)
		asm volatile("");
	pthread_cleanup_pop(0);
	return x;
}
static void *in_counting(void *x)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	volatile unsigned *n = x;
	ready = 1;
	for (;;)
		(*n)++;
	return x;
}
static void *refuses(void *x)
{
	int old;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	ready = 1;
	while (ready == 1)
		sched_yield();
	pthread_testcancel();
	nap(1);
	cleaned = 5;
	pthread_setcancelstate(old, NULL);
	pthread_testcancel();
	cleaned = 6;
	return x;
}
static void *cancels_itself(void *x) { pthread_cancel(pthread_self()); pthread_testcancel(); return x; }
static void *finishes(void *x) { ready = 1; return x; }
static void *exits(void *x) { pthread_cleanup_push(clean, (void *)3); pthread_exit(x); pthread_cleanup_pop(0); return x; }

int main(void)
{
	CHECK(pipe(ends) == 0);
	sem_init(&sem, 0, 0);
	volatile unsigned number = 0;
	pthread_t blocked;
	pthread_create(&blocked, NULL, in_sem, NULL);
	struct { const char *name; void *(*f)(void *); void *x; } all[] = { { "nanosleep", in_nanosleep, 0 }, { "read", in_read, 0 }, { "cond_wait", in_cond, 0 }, { "sem_wait", in_sem, 0 },
		{ "join", in_join, &blocked }, { "poll", in_poll, 0 }, { "sigwait", in_sigwait, 0 }, { "testcancel", in_testcancel, 0 }, { "a loop", in_loop, 0 }, { "counting", in_counting, (void *)&number },
		{ "itself", cancels_itself, 0 } };
	sigprocmask(SIG_BLOCK, SET(SIGUSR1), NULL);
	for (int round = 0; round < 2; round++)
		for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
			pthread_t t;
			void *value = NULL;
			ready = cleaned = order = 0;
			CHECK(pthread_create(&t, NULL, all[i].f, all[i].x) == 0);
			while (!ready && all[i].f != cancels_itself)
				sched_yield();
			/* Once while it waits, once at about the time it begins to. */
			if (round)
				nap(10);
			if (all[i].f != cancels_itself)
				CHECK(pthread_cancel(t) == 0);
			CHECK(pthread_join(t, &value) == 0);
			say("in %s: %s, cleaned %d, in order %d", all[i].name, value == PTHREAD_CANCELED ? "cancelled" : "NOT", cleaned, order);
		}
	say("mutex free: %s", name_of_error(pthread_mutex_trylock(&mutex)));
	pthread_t t;
	void *value = NULL;
	ready = 0;
	pthread_create(&t, NULL, refuses, NULL);
	while (!ready)
		sched_yield();
	pthread_cancel(t);
	ready = 2;
	pthread_join(t, &value);
	say("refused for a time: %s, %d", value == PTHREAD_CANCELED ? "cancelled" : "NOT", cleaned);
	cleaned = 0;
	pthread_create(&t, NULL, exits, (void *)4);
	pthread_join(t, &value);
	say("exit: value %d, cleaned %d", (int)(intptr_t)value, cleaned);
	ready = 0;
	pthread_create(&t, NULL, finishes, (void *)8);
	while (!ready)
		sched_yield();
	nap(20);
	pthread_cancel(t);
	pthread_join(t, &value);
	say("too late: %d", (int)(intptr_t)value);
	pthread_cancel(blocked);
	pthread_join(blocked, &value);
	say("the last: %s", value == PTHREAD_CANCELED ? "cancelled" : "NOT");
	return 0;
}

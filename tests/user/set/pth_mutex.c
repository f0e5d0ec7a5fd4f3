/* Mutexes of every kind. */
#include "test.h"

static pthread_mutex_t mutex;
static int shared;
static void *adder(void *n)
{
	for (int i = 0; i < (int)(intptr_t)n; i++) {
		pthread_mutex_lock(&mutex);
		int old = shared;
		if (i % 64 == 0)
			sched_yield();
		shared = old + 1;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}
static void *trier(void *result) { *(int *)result = pthread_mutex_trylock(&mutex); if (*(int *)result == 0) pthread_mutex_unlock(&mutex); return NULL; }
static void *unlocker(void *result) { *(int *)result = pthread_mutex_unlock(&mutex); return NULL; }
static void *dier(void *x) { pthread_mutex_lock(&mutex); return x; }
static void *waiter(void *result) { *(int *)result = pthread_mutex_lock(&mutex); if (*(int *)result == EOWNERDEAD) pthread_mutex_consistent(&mutex); pthread_mutex_unlock(&mutex); return NULL; }
static atomic_int holding;
static void *dies_later(void *x) { pthread_mutex_lock(&mutex); holding = 1; nap(50); return x; }

static int in_thread(void *(*f)(void *))
{
	pthread_t t;
	int result = -1;
	pthread_create(&t, NULL, f, &result);
	pthread_join(t, NULL);
	return result;
}
static void make(int type, int robust, int protocol)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	CHECK(pthread_mutexattr_settype(&a, type) == 0 && pthread_mutexattr_setrobust(&a, robust) == 0 && pthread_mutexattr_setprotocol(&a, protocol) == 0);
	int r = pthread_mutex_init(&mutex, &a);
	if (r)
		say("init: %s", name_of_error(r));
}

int main(void)
{
	static const struct { const char *name; int type; } types[] = { { "normal", PTHREAD_MUTEX_NORMAL }, { "recursive", PTHREAD_MUTEX_RECURSIVE }, { "errorcheck", PTHREAD_MUTEX_ERRORCHECK }, { "adaptive", PTHREAD_MUTEX_ADAPTIVE_NP } };
	for (int protocol = PTHREAD_PRIO_NONE; protocol <= PTHREAD_PRIO_INHERIT; protocol++)
		for (int i = 0; i < 4; i++) {
			const char *pi = protocol ? ", PI" : "";
			make(types[i].type, PTHREAD_MUTEX_STALLED, protocol);
			pthread_t t[6];
			shared = 0;
			for (int k = 0; k < 6; k++)
				pthread_create(&t[k], NULL, adder, (void *)3000);
			for (int k = 0; k < 6; k++)
				pthread_join(t[k], NULL);
			say("%s%s: %d", types[i].name, pi, shared);
			CHECK(pthread_mutex_lock(&mutex) == 0);
			if (types[i].type == PTHREAD_MUTEX_RECURSIVE) {
				CHECK(pthread_mutex_lock(&mutex) == 0 && pthread_mutex_trylock(&mutex) == 0);
				pthread_mutex_unlock(&mutex);
				pthread_mutex_unlock(&mutex);
			} else if (types[i].type == PTHREAD_MUTEX_ERRORCHECK) {
				say("  again: %s", name_of_error(pthread_mutex_lock(&mutex)));
				say("  another's unlock: %s", name_of_error(in_thread(unlocker)));
			}
			say("  another's trylock: %s", name_of_error(in_thread(trier)));
			struct timespec until;
			clock_gettime(CLOCK_REALTIME, &until);
			until.tv_nsec += 20000000;
			if (until.tv_nsec >= 1000000000)
				until.tv_sec++, until.tv_nsec -= 1000000000;
			if (types[i].type == PTHREAD_MUTEX_NORMAL)
				say("  own timedlock: %s", name_of_error(pthread_mutex_timedlock(&mutex, &until)));
			CHECK(pthread_mutex_unlock(&mutex) == 0);
			say("  then: %s", name_of_error(in_thread(trier)));
			pthread_mutex_destroy(&mutex);
		}
	for (int protocol = PTHREAD_PRIO_NONE; protocol <= PTHREAD_PRIO_INHERIT; protocol++) {
		make(PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_ROBUST, protocol);
		pthread_t t, w;
		pthread_create(&t, NULL, dier, NULL);
		pthread_join(t, NULL);
		say("robust%s: owner died: %s", protocol ? ", PI" : "", name_of_error(pthread_mutex_trylock(&mutex)));
		say("  made consistent: %s", name_of_error(pthread_mutex_consistent(&mutex)));
		pthread_mutex_unlock(&mutex);
		say("  free again: %s", name_of_error(in_thread(trier)));
		/* While another waits. */
		int result = -1;
		holding = 0;
		pthread_create(&t, NULL, dies_later, NULL);
		while (!holding)
			sched_yield();
		pthread_create(&w, NULL, waiter, &result);
		pthread_join(w, NULL);
		pthread_join(t, NULL);
		say("  who waited has: %s", name_of_error(result));
		pthread_create(&t, NULL, dier, NULL);
		pthread_join(t, NULL);
		say("  died again: %s", name_of_error(pthread_mutex_lock(&mutex)));
		pthread_mutex_unlock(&mutex);
		say("  not made consistent: %s", name_of_error(pthread_mutex_lock(&mutex)));
	}
	/* Shared with a child, which dies with it. */
	pthread_mutex_t *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(m, &a);
	/* By SIGKILL Linux would tell as well; an emulator on Linux that is killed so cannot. */
	CHILD("a child with the mutex", pthread_mutex_lock(m); _exit(4));
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 5;
	say("its mutex: %s", name_of_error(pthread_mutex_timedlock(m, &until)));
	return 0;
}

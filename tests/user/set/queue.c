/* Producers and consumers, with locks and without. */
#include "test.h"

enum { SLOTS = 16, ITEMS = 5000, PRODUCERS = 4, CONSUMERS = 4 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_full = PTHREAD_COND_INITIALIZER, not_empty = PTHREAD_COND_INITIALIZER;
static unsigned slots[SLOTS], in, out, finished;
static uint64_t sums[CONSUMERS];
static void *produce(void *n)
{
	for (unsigned i = 1; i <= ITEMS; i++) {
		pthread_mutex_lock(&mutex);
		while (in - out == SLOTS)
			pthread_cond_wait(&not_full, &mutex);
		slots[in++ % SLOTS] = i * 10 + (intptr_t)n;
		pthread_cond_signal(&not_empty);
		pthread_mutex_unlock(&mutex);
	}
	pthread_mutex_lock(&mutex);
	finished++;
	pthread_cond_broadcast(&not_empty);
	pthread_mutex_unlock(&mutex);
	return NULL;
}
static void *consume(void *n)
{
	unsigned last[PRODUCERS] = { 0 };
	for (;;) {
		pthread_mutex_lock(&mutex);
		while (in == out && finished < PRODUCERS)
			pthread_cond_wait(&not_empty, &mutex);
		if (in == out) {
			pthread_mutex_unlock(&mutex);
			return NULL;
		}
		unsigned item = slots[out++ % SLOTS];
		pthread_cond_signal(&not_full);
		pthread_mutex_unlock(&mutex);
		if (item / 10 <= last[item % 10])
			say("OUT OF ORDER");
		last[item % 10] = item / 10;
		sums[(intptr_t)n] += item;
	}
}
/* One producer, one consumer, no lock. */
static unsigned ring[64];
static _Atomic unsigned write_at, read_at;
static void *ring_producer(void *x)
{
	for (unsigned i = 1; i <= 100000; i++) {
		while (atomic_load_explicit(&write_at, memory_order_relaxed) - atomic_load_explicit(&read_at, memory_order_acquire) == 64)
			sched_yield();
		ring[write_at % 64] = i * i;
		atomic_store_explicit(&write_at, write_at + 1, memory_order_release);
	}
	return x;
}
/* A chain of pipes. */
static int pipes[6][2];
static void *relay(void *n)
{
	int me = (intptr_t)n, value;
	while (read(pipes[me][0], &value, sizeof value) == sizeof value) {
		value += me;
		CHECK(write(pipes[me + 1][1], &value, sizeof value) == sizeof value);
	}
	close(pipes[me + 1][1]);
	return NULL;
}
/* Futexes by hand: wake a few, requeue, bits. */
static _Atomic uint32_t word, second;
static atomic_int awake, asleep;
static void *waits(void *bits)
{
	asleep++;
	while (syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, 0, NULL, NULL, (intptr_t)bits) == -1 && errno == EINTR)
		;
	awake++;
	return NULL;
}

int main(void)
{
	pthread_t p[PRODUCERS], c[CONSUMERS], t[8];
	for (int i = 0; i < CONSUMERS; i++)
		pthread_create(&c[i], NULL, consume, (void *)(intptr_t)i);
	for (int i = 0; i < PRODUCERS; i++)
		pthread_create(&p[i], NULL, produce, (void *)(intptr_t)i);
	uint64_t sum = 0;
	for (int i = 0; i < PRODUCERS; i++)
		pthread_join(p[i], NULL);
	for (int i = 0; i < CONSUMERS; i++) {
		pthread_join(c[i], NULL);
		sum += sums[i];
	}
	say("queue: %u items, sum %llu", out, (unsigned long long)sum);
	pthread_create(&t[0], NULL, ring_producer, NULL);
	uint32_t hash = 0;
	for (unsigned i = 1; i <= 100000; i++) {
		while (atomic_load_explicit(&write_at, memory_order_acquire) == atomic_load_explicit(&read_at, memory_order_relaxed))
			sched_yield();
		hash = hash * 31 + ring[read_at % 64];
		atomic_store_explicit(&read_at, read_at + 1, memory_order_release);
	}
	pthread_join(t[0], NULL);
	say("ring: %08x", hash);
	for (int i = 0; i < 6; i++)
		CHECK(pipe(pipes[i]) == 0);
	for (int i = 0; i < 5; i++)
		pthread_create(&t[i], NULL, relay, (void *)(intptr_t)i);
	long total = 0;
	int value;
	for (int i = 0; i < 1000; i++) {
		CHECK(write(pipes[0][1], &i, sizeof i) == sizeof i);
		if (i % 10 == 9)
			for (int k = 0; k < 10; k++)
				total += read(pipes[5][0], &value, sizeof value) == sizeof value ? value : -1000000;
	}
	close(pipes[0][1]);
	say("pipes: %ld, then %d", total, (int)read(pipes[5][0], &value, sizeof value));
	for (int i = 0; i < 5; i++)
		pthread_join(t[i], NULL);

	errno = 0;
	say("futex: %s", name_of(syscall(SYS_futex, &word, FUTEX_WAIT, 1, NULL, NULL, 0)));
	struct timespec brief = { 0, 5000000 };
	say("futex: %s", name_of(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &brief, NULL, 0)));
	say("futex: %s", name_of(syscall(SYS_futex, &word, 99, 0, NULL, NULL, 0)));
	say("futex: %s", name_of(syscall(SYS_futex, (char *)&word + 1, FUTEX_WAIT, 0, NULL, NULL, 0)));
	say("futex: %s", name_of(syscall(SYS_futex, NULL, FUTEX_WAIT, 0, NULL, NULL, 0)));
	say("woken: %ld", syscall(SYS_futex, &word, FUTEX_WAKE, 10, NULL, NULL, 0));
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, waits, (void *)(intptr_t)(i < 4 ? 1 : 2));
	while (asleep < 8)
		sched_yield();
	/* All have to be asleep: those that are can be counted by moving them to the same word. */
	while (syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 0, (void *)100, &word, 0) < 8)
		nap(1);
	say("of one kind: %ld", syscall(SYS_futex, &word, FUTEX_WAKE_BITSET, 100, NULL, NULL, 2));
	say("one: %ld", syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0));
	say("requeue, value changed: %s", name_of(syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, (void *)100, &second, 5)));
	say("requeue: %ld", syscall(SYS_futex, &word, FUTEX_CMP_REQUEUE, 1, (void *)100, &second, 0));
	say("on the second: %ld", syscall(SYS_futex, &second, FUTEX_WAKE, 100, NULL, NULL, 0));
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	say("awake: %d", awake);
	return 0;
}

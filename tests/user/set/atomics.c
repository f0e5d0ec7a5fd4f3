/* Atomic operations of every size under contention: totals must be right. */
#include "test.h"

enum { THREADS = 4, ROUNDS = 20000 };
static _Atomic uint8_t a8;
static _Atomic uint16_t a16;
static _Atomic uint32_t a32, bits, spin, mx;
static _Atomic uint64_t a64, wide;
static uint32_t plain;
static void *add(void *n)
{
	int me = (intptr_t)n;
	for (int i = 0; i < ROUNDS; i++) {
		atomic_fetch_add(&a8, 1);
		atomic_fetch_add(&a16, 3);
		atomic_fetch_add_explicit(&a32, 7, memory_order_relaxed);
		atomic_fetch_add(&a64, 0x100000001);
		atomic_fetch_xor(&bits, 1u << (me * 8 + i % 8));
		/* A lock of one's own making. */
		while (atomic_exchange_explicit(&spin, 1, memory_order_acquire))
			sched_yield();
		plain++;
		atomic_store_explicit(&spin, 0, memory_order_release);
		uint32_t value = i * 2654435761u, old = mx;
		while (value > old && !atomic_compare_exchange_weak(&mx, &old, value))
			;
		/* Both halves always belong together. */
		uint64_t w = atomic_load(&wide);
		if ((uint32_t)w != ~(uint32_t)(w >> 32))
			say("TORN %llx", (unsigned long long)w);
		uint32_t half = me * 1000003 + i;
		atomic_store(&wide, (uint64_t)~half << 32 | half);
	}
	return NULL;
}

/* A stack without locks; indices with a tag against ABA, in 64 bits. */
enum { NODES = 64 };
static struct { _Atomic uint32_t next; uint32_t value; } nodes[NODES + 1];
static _Atomic uint64_t head, spare;
static void push(_Atomic uint64_t *list, uint32_t n)
{
	uint64_t old = atomic_load(list), new;
	do {
		atomic_store_explicit(&nodes[n].next, (uint32_t)old, memory_order_relaxed);
		new = ((old >> 32) + 1) << 32 | n;
	} while (!atomic_compare_exchange_weak(list, &old, new));
}
static uint32_t pop(_Atomic uint64_t *list)
{
	uint64_t old = atomic_load(list), new;
	do {
		if ((uint32_t)old == 0)
			return 0;
		new = ((old >> 32) + 1) << 32 | nodes[(uint32_t)old].next;
	} while (!atomic_compare_exchange_weak(list, &old, new));
	return old;
}
static _Atomic uint64_t pushed, popped;
static void *stack(void *n)
{
	uint64_t in = 0, out = 0;
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t node = pop(&spare);
		if (node) {
			nodes[node].value = (intptr_t)n * ROUNDS + i;
			in += nodes[node].value;
			push(&head, node);
		}
		if ((node = pop(&head))) {
			out += nodes[node].value;
			push(&spare, node);
		}
	}
	atomic_fetch_add(&pushed, in);
	atomic_fetch_add(&popped, out);
	return NULL;
}

/* Order: what is written before a release is seen after the acquire; stores and loads in one order for all. */
static _Atomic uint32_t data[16], flag, x, y, rx, ry;
static atomic_int go, done;
static void *sender(void *p) { (void)p; for (uint32_t i = 1; i <= 20000; i++) { while (atomic_load_explicit(&flag, memory_order_acquire)) sched_yield(); for (int k = 0; k < 16; k++) atomic_store_explicit(&data[k], i * 16 + k, memory_order_relaxed); atomic_store_explicit(&flag, 1, memory_order_release); } return NULL; }
static atomic_int wrong;
static void *receiver(void *p)
{
	(void)p;
	for (uint32_t i = 1; i <= 20000; i++) {
		while (!atomic_load_explicit(&flag, memory_order_acquire))
			sched_yield();
		for (int k = 15; k >= 0; k--)
			if (atomic_load_explicit(&data[k], memory_order_relaxed) != i * 16 + k)
				wrong++;
		atomic_store_explicit(&flag, 0, memory_order_release);
	}
	return NULL;
}
static void *dekker(void *n)
{
	for (int i = 1; i <= 3000; i++) {
		while (go < i)
			sched_yield();
		if (n) { atomic_store(&x, 1); rx = atomic_load(&y); } else { atomic_store(&y, 1); ry = atomic_load(&x); }
		done++;
	}
	return NULL;
}
/* Peterson's lock. */
static _Atomic int wants[2], turn;
static long guarded;
static void *peterson(void *n)
{
	int me = (intptr_t)n;
	for (int i = 0; i < 20000; i++) {
		atomic_store(&wants[me], 1);
		atomic_store(&turn, !me);
		while (atomic_load(&wants[!me]) && atomic_load(&turn) == !me)
			sched_yield();
		guarded++;
		atomic_store(&wants[me], 0);
	}
	return NULL;
}
static volatile sig_atomic_t ticks;
static void tick(int n, siginfo_t *i, void *c) { (void)n, (void)i, (void)c; ticks++; atomic_fetch_add(&a32, 1); atomic_fetch_add(&a64, 1); }

int main(void)
{
	pthread_t t[THREADS];
	atomic_store(&wide, 0xffffffff00000000);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, add, (void *)(intptr_t)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	say("%u %u %u %llx bits %x plain %u max %x", a8, a16, a32, (unsigned long long)a64, bits, plain, mx);
	for (int i = 1; i <= NODES; i++)
		push(&spare, i);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, stack, (void *)(intptr_t)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	uint32_t node, left = 0;
	while ((node = pop(&head)))
		popped += nodes[node].value, push(&spare, node);
	while (pop(&spare))
		left++;
	say("stack: %s, nodes %u", pushed == popped ? "all came out" : "LOST", left);
	pthread_create(&t[0], NULL, sender, NULL);
	pthread_create(&t[1], NULL, receiver, NULL);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	say("messages wrong: %d", wrong);
	pthread_create(&t[0], NULL, dekker, NULL);
	pthread_create(&t[1], NULL, dekker, &x);
	int both = 0;
	for (int i = 1; i <= 3000; i++) {
		x = y = done = 0;
		go = i;
		while (done < 2)
			sched_yield();
		both += !rx && !ry;
	}
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	say("neither saw the other: %d", both);
	pthread_create(&t[0], NULL, peterson, (void *)0);
	pthread_create(&t[1], NULL, peterson, (void *)1);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	say("Peterson: %ld", guarded);

	/* Interrupted between load and store: the store must fail, and be done again. */
	handle(SIGALRM, tick, 0);
	a32 = a64 = 0;
	struct itimerval fast = { { 0, 200 }, { 0, 200 } };
	setitimer(ITIMER_REAL, &fast, NULL);
	uint32_t own = 0;
	while (ticks < 200)
		for (int i = 0; i < 1000; i++, own++) {
			atomic_fetch_add(&a32, 1);
			atomic_fetch_add(&a64, 1);
		}
	every(0);
	say("with handlers: %d %d", a32 == own + ticks, a64 == (uint64_t)own + ticks);
	uint64_t expected = 1;
	atomic_store(&a64, 5);
	say("exchange: %d, found %d", atomic_compare_exchange_strong(&a64, &expected, 9), (int)expected == 5 || (int)expected == 1);
	say("lock-free: %d %d %d %d", atomic_is_lock_free(&a8), atomic_is_lock_free(&a16), atomic_is_lock_free(&a32), atomic_is_lock_free(&a64));
	/* Shared with another process. */
	_Atomic uint64_t *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 3; i++)
		if (fork() == 0) {
			for (int k = 0; k < ROUNDS; k++)
				atomic_fetch_add(shared, 0x100000001), atomic_fetch_add((_Atomic uint16_t *)shared + 100, 1);
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	say("by three processes: %llx %u", (unsigned long long)*shared, *((_Atomic uint16_t *)shared + 100));
	return 0;
}

/* Mappings that change while other threads use them. */
#include "test.h"

enum { PAGES = 16 };
static char *area;
static atomic_int stop, barriers, faults;
static __thread sigjmp_buf back;
static __thread int can_jump;
static _Atomic uint64_t reads;

/* As a garbage collector has it: a write to a protected page makes it writable, and goes on. */
static void fault(int n, siginfo_t *i, void *c)
{
	(void)n, (void)c;
	char *at = i->si_addr;
	if (at < area || at >= area + PAGES * PAGE)
		_exit(77);
	if (can_jump) {
		faults++;
		siglongjmp(back, 1);
	}
	barriers++;
	mprotect(area + (at - area) / PAGE * PAGE, PAGE, PROT_READ | PROT_WRITE);
}
static void *reader(void *x)
{
	unsigned n = 0;
	while (!stop) {
		for (int i = 0; i < PAGES; i++)
			if (((volatile char *)area)[i * PAGE + n % 100 + 8] != i)
				say("WRONG byte");
		n++;
	}
	reads += n;
	return x;
}
static void *writer(void *x)
{
	int me = (intptr_t)x;
	for (int round = 0; round < 300; round++)
		for (int i = 0; i < PAGES; i++)
			((volatile _Atomic uint8_t *)area)[i * PAGE + me]++;
	return NULL;
}
static void *tries(void *x)
{
	int got = 0;
	can_jump = 1;
	while (!stop)
		for (int i = 0; i < PAGES; i++)
			if (sigsetjmp(back, 1) == 0) {
				char v = ((volatile char *)area)[i * PAGE + 8];
				if (v != i && v != 0)
					say("WRONG byte");
				got++;
			}
	*(int *)x = got;
	return NULL;
}
static void *maps(void *x)
{
	for (int i = 0; i < 500; i++) {
		size_t size = (1 + i % 17) * PAGE;
		char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(m != MAP_FAILED);
		memset(m, (intptr_t)x, size);
		CHECK(mprotect(m, PAGE, PROT_READ) == 0);
		for (size_t k = 0; k < size; k += 511)
			if (m[k] != (char)(intptr_t)x)
				say("WRONG byte of own");
		if (i % 3 == 0) {
			/* One mapping again: mremap takes no more than one. */
			CHECK(mprotect(m, PAGE, PROT_READ | PROT_WRITE) == 0);
			m = mremap(m, size, 2 * size, MREMAP_MAYMOVE);
			CHECK(m != MAP_FAILED && m[0] == (char)(intptr_t)x);
			size *= 2;
		}
		CHECK(munmap(m, size) == 0);
	}
	return NULL;
}
static void *allocates(void *x)
{
	unsigned seed = (intptr_t)x;
	char *all[64] = { 0 };
	for (int i = 0; i < 20000; i++) {
		seed = seed * 1103515245 + 12345;
		int k = seed >> 16 & 63;
		free(all[k]);
		size_t size = 1 + (seed >> 8) % (k == 0 ? 300000 : 3000);
		all[k] = malloc(size);
		all[k][0] = all[k][size - 1] = k;
	}
	int right = 1;
	for (int k = 0; k < 64; k++) {
		right &= !all[k] || all[k][0] == k;
		free(all[k]);
	}
	return (void *)(intptr_t)right;
}

int main(void)
{
	area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < PAGES; i++)
		memset(area + i * PAGE, i, PAGE);
	handle(SIGSEGV, fault, 0);
	pthread_t t[8];
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, reader, NULL);
	for (int i = 0; i < 2000; i++)
		CHECK(mprotect(area, PAGES * PAGE, i & 1 ? PROT_READ | PROT_WRITE : PROT_READ) == 0);
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	say("readers were not disturbed, faults %d", barriers);

	for (int i = 0; i < PAGES; i++)
		memset(area + i * PAGE, 0, 8);
	mprotect(area, PAGES * PAGE, PROT_READ);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, writer, (void *)(intptr_t)i);
	for (int i = 0; i < 200; i++) {
		mprotect(area, PAGES * PAGE, PROT_READ);
		sched_yield();
	}
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	int right = 0;
	for (int i = 0; i < PAGES; i++)
		for (int k = 0; k < 4; k++)
			right += ((uint8_t *)area)[i * PAGE + k] == 300 % 256;
	say("write barriers: %d of %d right, some happened: %d", right, PAGES * 4, barriers > 0);

	/* Unmapped, protected and mapped anew, under threads that find out by their faults. */
	int got[3] = { 0 };
	stop = 0;
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, tries, &got[i]);
	char *again = NULL;
	for (int i = 0; i < 300; i++) {
		mprotect(area + i % PAGES * PAGE, PAGE, PROT_NONE);
		sched_yield();
		again = mmap(area + i % PAGES * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		CHECK(again == area + i % PAGES * PAGE);
		memset(again, i % PAGES, PAGE);
		if (i % 10 == 0)
			madvise(again, PAGE, MADV_DONTNEED);
	}
	mprotect(area, PAGES * PAGE, PROT_NONE);
	/* All of them have noticed at the latest now. */
	int before = faults;
	while (faults < before + 20)
		sched_yield();
	mprotect(area, PAGES * PAGE, PROT_READ);
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	say("faults while it changed: %d, reads: %d", faults > 0, got[0] + got[1] + got[2] > 0);

	for (int i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, maps, (void *)(intptr_t)(i + 1));
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	say("six that map and unmap");
	int sum = 0;
	for (int i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, allocates, (void *)(intptr_t)(i + 1));
	for (int i = 0; i < 6; i++) {
		void *value;
		pthread_join(t[i], &value);
		sum += (intptr_t)value;
	}
	say("six that allocate: %d right", sum);
	return 0;
}

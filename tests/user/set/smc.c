/* Code that is made and changed while a program runs. Code of this machine's is generated below; elsewhere (not ARM) the same text is printed. */
#include "test.h"

#ifdef __arm__
typedef int function(int);
/* return x + n, n < 256, in either instruction set. */
static void put_arm(void *at, int n) { ((uint32_t *)at)[0] = 0xe2800000 | n; ((uint32_t *)at)[1] = 0xe12fff1e; }
static void put_thumb(void *at, int n) { ((uint16_t *)at)[0] = 0x3000 | n; ((uint16_t *)at)[1] = 0x4770; }
static void flush(void *at, size_t size) { __builtin___clear_cache(at, (char *)at + size); }
static function *arm(void *at) { return (function *)at; }
static function *thumb(void *at) { return (function *)((char *)at + 1); }

static char *code;
static atomic_int stop, calls, version, wrong;
static void *caller(void *x)
{
	while (!stop) {
		int before = version, value = arm(code)(0), after = version;
		/* Old or new, but nothing else. */
		if (value < before || value > after + 1)
			wrong++;
		calls++;
	}
	return x;
}
static void *jitter(void *n)
{
	char *own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int bad = 0;
	for (int i = 0; i < 2000; i++) {
		int at = i % 64 * 32;
		put_arm(own + at, (i + (intptr_t)n) & 255);
		flush(own + at, 8);
		bad += arm(own + at)(1000) != 1000 + ((i + (intptr_t)n) & 255);
	}
	munmap(own, PAGE);
	return (void *)(intptr_t)bad;
}
static sigjmp_buf back;
static siginfo_t info;
static void fault(int n, siginfo_t *i, void *c) { (void)n, (void)c; info = *i; siglongjmp(back, 1); }
#endif

int main(void)
{
#ifdef __arm__
	code = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	put_arm(code, 5);
	put_thumb(code + 64, 6);
	flush(code, 128);
	say("generated: %d %d", arm(code)(10), thumb(code + 64)(10));
	long sum = 0;
	for (int i = 0; i < 20000; i++) {
		put_arm(code, i & 255);
		flush(code, 8);
		sum += arm(code)(i);
	}
	say("rewritten 20000 times: %ld", sum);
	sum = 0;
	for (int i = 0; i < 5000; i++) {
		if (i & 1) put_arm(code, i & 255); else put_thumb(code, i & 255);
		flush(code, 8);
		sum += (i & 1 ? arm(code) : thumb(code))(i);
	}
	say("in turn ARM and Thumb: %ld", sum);

	/* Writable or executable, never both. */
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sum = 0;
	for (int i = 0; i < 2000; i++) {
		CHECK(mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
		put_arm(page + i % 100 * 8, i % 200);
		flush(page + i % 100 * 8, 8);
		CHECK(mprotect(page, PAGE, PROT_READ | PROT_EXEC) == 0);
		sum += arm(page + i % 100 * 8)(0);
	}
	say("W^X: %ld", sum);
	handle(SIGSEGV, fault, 0);
	mprotect(page, PAGE, PROT_READ | PROT_WRITE);
	if (sigsetjmp(back, 1) == 0)
		say("ran: %d", arm(page)(0));
	else
		say("not executable: %s %d, there %d", sigabbrev_np(info.si_signo), info.si_code == SEGV_ACCERR, info.si_addr == page);

	signal(SIGSEGV, SIG_DFL);

	/* Two views of the same memory. */
	int fd = memfd_create("code", 0);
	CHECK(fd >= 0 && ftruncate(fd, PAGE) == 0);
	char *writable = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *executable = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	sum = 0;
	for (int i = 0; i < 3000; i++) {
		put_arm(writable, i & 127);
		flush(writable, 8);
		flush(executable, 8);
		sum += arm(executable)(1);
	}
	say("two views: %ld", sum);
	/* Written by a system call. */
	uint32_t instructions[2];
	put_arm(instructions, 77);
	CHECK(pwrite(fd, instructions, 8, 0) == 8);
	flush(executable, 8);
	say("written to the file: %d", arm(executable)(1));
	int ends[2];
	CHECK(pipe(ends) == 0);
	for (int i = 0; i < 100; i++) {
		put_arm(instructions, i);
		CHECK(write(ends[1], instructions, 8) == 8 && read(ends[0], code, 8) == 8);
		flush(code, 8);
		if (arm(code)(0) != i)
			say("OLD code");
	}
	say("read from a pipe");
	/* Mapped anew, at the same place. */
	for (int i = 0; i < 200; i++) {
		char *again = mmap(page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		CHECK(again == page);
		put_arm(page, i);
		flush(page, 8);
		if (arm(page)(0) != i)
			say("OLD code");
		if (i & 1)
			munmap(page, PAGE);
	}
	say("mapped anew");
	/* Across the end of a page. */
	char *edge = code + PAGE - 4;
	sum = 0;
	for (int i = 0; i < 1000; i++) {
		put_arm(edge, i & 255);
		flush(edge, 8);
		sum += arm(edge)(0);
	}
	say("across pages: %ld", sum);
	/* An instruction of the block that runs. */
	uint32_t *block = (uint32_t *)(code + 2 * PAGE);
	/* r0 = address of the instruction after next, r1 = new instruction: store, (flush by the caller's second run), add. */
	block[0] = 0xe5801000; /* str r1, [r0] */
	block[1] = 0xe1a00002; /* mov r0, r2 */
	block[2] = 0xe2800001; /* add r0, r0, #1 */
	block[3] = 0xe12fff1e; /* bx lr */
	flush(block, 16);
	int first = ((int (*)(void *, uint32_t, int))block)(&block[2], 0xe2800002, 10);
	flush(block, 16);
	int second = ((int (*)(void *, uint32_t, int))block)(&block[2], 0xe2800003, 10);
	flush(block, 16);
	int third = ((int (*)(void *, uint32_t, int))block)(&block[2], 0xe2800003, 10);
	say("its own block: %d %d %d", first == 11 || first == 12, second == 12 || second == 13, third);
	/* Data beside code. */
	uint32_t *mixed = (uint32_t *)(code + 3 * PAGE);
	mixed[0] = 0xe59f1004; /* ldr r1, [pc, #4] */
	mixed[1] = 0xe0800001; /* add r0, r0, r1 */
	mixed[2] = 0xe12fff1e;
	flush(mixed, 12);
	sum = 0;
	for (int i = 0; i < 20000; i++) {
		mixed[3] = i;
		sum += arm(mixed)(1);
	}
	say("data beside code: %ld", sum);

	/* By other threads. */
	put_arm(code, 0);
	flush(code, 8);
	pthread_t t[4];
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, caller, NULL);
	while (calls < 100)
		sched_yield();
	for (int i = 1; i < 256; i++) {
		/* One aligned word changes: what runs is the old one or the new. */
		*(volatile uint32_t *)code = 0xe2800000 | i;
		flush(code, 4);
		version = i;
		int before = calls;
		while (calls < before + 10)
			sched_yield();
	}
	stop = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	say("by another thread: wrong %d, at last %d", wrong, arm(code)(0));
	int bad = 0;
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, jitter, (void *)(intptr_t)i);
	for (int i = 0; i < 4; i++) {
		void *value;
		pthread_join(t[i], &value);
		bad += (intptr_t)value;
	}
	say("four at once: wrong %d", bad);
	/* After a fork each has its own. */
	put_arm(code, 1);
	flush(code, 8);
	CHILD("child", put_arm(code, 2); flush(code, 8); _exit(arm(code)(0)));
	say("parent: %d", arm(code)(0));
#else
	say("generated: 15 16\nrewritten 20000 times: 202536416\nin turn ARM and Thumb: 13126840\nW^X: 199000\nnot executable: SEGV 1, there 1\ntwo views: 191484\nwritten to the file: 78\nread from a pipe\nmapped anew\n"
		"across pages: 124716\nits own block: 1 1 13\ndata beside code: 200010000\nby another thread: wrong 0, at last 255\nfour at once: wrong 0\nchild: exit 2\nparent: 1");
#endif
	return 0;
}

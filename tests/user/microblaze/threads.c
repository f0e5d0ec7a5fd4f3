/* Processes and threads: fork, clone with a stack and thread pointer of its own, futexes, and counters by lwx and swx. */
#include "linux.h"

static volatile u32 counter, plain, done[4], word, tid_word[4];
static u8 stacks[4][16384] __attribute__((aligned(16)));
static u32 add(volatile u32 *at, u32 n)
{
	u32 old, failed;
	asm volatile("1: lwx %0, %2, r0\n\taddk %1, %0, %3\n\tswx %1, %2, r0\n\taddic %1, r0, 0\n\tbnei %1, 1b" : "=&r"(old), "=&r"(failed) : "r"(at), "r"(n) : "memory", "cc");
	return old;
}
/* Takes the carry that swx leaves: 1 if it did not store. */
static u32 exclusive(volatile u32 *at, u32 value, int disturb)
{
	u32 carry, old;
	asm volatile("lwx %0, %1, r0" : "=&r"(old) : "r"(at) : "memory");
	if (disturb)
		sys(GETPID);
	asm volatile("swx %2, %1, r0\n\taddic %0, r0, 0" : "=&r"(carry) : "r"(at), "r"(value) : "memory", "cc");
	return carry;
}
static void lock(volatile u32 *at)
{
	u32 old, t;
	for (;;) {
		asm volatile("1: lwx %0, %2, r0\n\tbnei %0, 2f\n\taddik %1, r0, 1\n\tswx %1, %2, r0\n\taddic %1, r0, 0\n\tbnei %1, 1b\n2:" : "=&r"(old), "=&r"(t) : "r"(at) : "memory", "cc");
		if (old == 0)
			return;
		sys(SCHED_YIELD);
	}
}
static volatile u32 mutex;
static int work(u32 me)
{
	u32 thread_pointer;
	asm volatile("addk %0, r21, r0" : "=r"(thread_pointer));
	if (thread_pointer != 0x1000 + me)
		say("WRONG thread pointer", thread_pointer);
	for (int i = 0; i < 5000; i++) {
		add(&counter, 3);
		lock(&mutex);
		plain++;
		asm volatile("" ::: "memory");
		mutex = 0;
	}
	while (word == 0)
		sys(FUTEX, &word, 0, 0, 0, 0, 0);
	done[me] = word;
	return 0;
}
/* clone, and in the child work(me) on the new stack; flags, stack, (size), parent's tid, child's tid, tls. */
static long thread(u32 me)
{
	u32 *top = (u32 *)(stacks[me] + sizeof stacks[me] - 64);
	top[0] = me;
	register long r12 asm("r12") = CLONE, r3 asm("r3"), r5 asm("r5") = 0x00000f00 | 0x10000 | 0x40000 | 0x80000 | 0x100000 | 0x200000, r6 asm("r6") = (long)top, r7 asm("r7") = 0, r8 asm("r8") = (long)&tid_word[me],
		r9 asm("r9") = (long)&tid_word[me], r10 asm("r10") = 0x1000 + me;
	asm volatile("brki r14, 8\n\tbnei r3, 1f\n\tlwi r5, r1, 0\n\taddik r1, r1, -32\n\tbrlid r15, %[work]\n\tnop\n\taddk r5, r3, r0\n\taddik r12, r0, 1\n\tbrki r14, 8\n1:"
		: "=r"(r3), "+r"(r12), "+r"(r5), "+r"(r6), "+r"(r7), "+r"(r8), "+r"(r9), "+r"(r10) : [work] "i"(work) : "memory", "r4", "r11", "r14", "r15", "r18", "cc");
	return r3;
}

int begin(long *stack)
{
	(void)stack;
	s32 status = 0, ends[2];
	say("pipe", sys(PIPE, ends));
	volatile int local = 5;
	long child = sys(FORK);
	if (child == 0) {
		local = 6;
		sys(WRITE, ends[1], "from the child", 14);
		sys(EXIT, local + 10);
	}
	char got[20];
	say("read", sys(READ, ends[0], got, 20));
	say("wait4", sys(WAIT4, child, &status, 0, 0) == child);
	say2("status and own", status >> 8, local);
	child = sys(CLONE, 17, 0, 0, 0, 0, 0);
	if (child == 0)
		sys(EXIT_GROUP, 9);
	sys(WAIT4, child, &status, 0, 0);
	say("clone as fork", status >> 8);
	long map = sys(MMAP2, 0, 0x1000, 3, 0x21, -1, 0);
	child = sys(FORK);
	if (child == 0) {
		add((u32 *)map, 40);
		sys(EXIT, 0);
	}
	add((u32 *)map, 2);
	sys(WAIT4, child, &status, 0, 0);
	say("shared", *(volatile u32 *)map);

	/* Exclusive accesses. */
	volatile u32 x = 1;
	u32 carry = exclusive(&x, 5, 0);
	say2("lwx, swx", carry, x);
	asm volatile("swx %2, %1, r0\n\taddic %0, r0, 0" : "=&r"(carry) : "r"(&x), "r"(9) : "memory", "cc");
	say2("swx alone", carry, x);

	for (u32 i = 0; i < 4; i++)
		check(thread(i) > 0, "clone");
	word = 0;
	while (plain < 20000)
		sys(SCHED_YIELD);
	say2("counted", counter, plain);
	word = 77;
	sys(FUTEX, &word, 1, 1000, 0, 0, 0);
	for (u32 i = 0; i < 4; i++) {
		u32 tid;
		/* Cleared, and woken, by the kernel at the thread's end. */
		while ((tid = tid_word[i]) != 0)
			sys(FUTEX, &tid_word[i], 0, tid, 0, 0, 0);
	}
	say2("ended with", done[0] + done[1] + done[2] + done[3], tid_word[0]);
	struct { u32 s, ns; } brief = { 0, 1000000 };
	say("futex", sys(FUTEX, &word, 0, 77, &brief, 0, 0));
	say("futex", sys(FUTEX, &word, 0, 5, &brief, 0, 0));
	return 3;
}

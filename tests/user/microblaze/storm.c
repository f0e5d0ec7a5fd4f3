/* Signals in the middle of computing: between an IMM and its instruction, between a branch and its slot, between the halves of an addition of 64 bits;
 * faults in delay slots; what the kernel does for unaligned accesses; exceptions; another program. */
#include "linux.h"

struct registers { u32 r[32], pc, msr, ear, esr, fsr, mode; };
struct frame_of_context { u32 flags, link, stack_base, stack_flags, stack_size; struct registers regs; u32 oldmask, mask[2]; };
/* Of the kernel's generic layout: handler, flags, mask. */
struct action { void *handler; u32 flags, mask[2], none; };
static volatile u32 hits, last, code, address, skipped;
static volatile u64 stir;

static void count(int n)
{
	(void)n;
	hits++;
	/* Carries of its own. */
	stir += 0xfffffffffull;
}
static void skip(int n, u32 *info, struct frame_of_context *c)
{
	hits++;
	last = n;
	code = info[2];
	address = info[3];
	c->regs.pc += skipped;
}
/* Makes the page readable: the instruction is done again. */
static long hole;
static volatile u32 from;
static void repair(int n, u32 *info, struct frame_of_context *c)
{
	(void)n, (void)info;
	hits++;
	from = c->regs.pc;
	check(sys(MPROTECT, hole, 0x1000, 3) == 0, "mprotect");
}
static void act(int n, void *handler, u32 flags)
{
	struct action a = { handler, flags, { 0, 0 }, 0 };
	check(sys(RT_SIGACTION, n, &a, 0, 8) == 0, "rt_sigaction");
}
static u64 __attribute__((noinline)) mix(u64 a, u32 b)
{
	if (b & 1)
		return a + 0x123456789abcdefull;
	return (a << 7 | a >> 57) - 0xfedcba9876543211ull * (b | 1);
}
static u64 __attribute__((noinline)) compute(u32 n)
{
	u64 sum = 1;
	for (u32 i = 0; i < n; i++)
		sum = mix(sum, i ^ (u32)sum);
	return sum;
}

int begin(long *stack)
{
	char **arguments = (char **)stack + 1;
	if (stack[0] > 1 && same(arguments[1], "again")) {
		text("again: "), text(arguments[2]), put();
		return 11;
	}
	/* What is not disturbed, then what is. */
	u64 expected = compute(100000);
	act(14, count, 0);
	struct { u32 s, us, vs, vus; } often = { 0, 100, 0, 100 };
	sys(SETITIMER, 0, &often, 0);
	int wrong = 0;
	for (int i = 0; i < 100 || hits < 200; i++)
		wrong += compute(100000) != expected;
	often.vus = often.us = 0;
	sys(SETITIMER, 0, &often, 0);
	say2("computed", wrong, hits >= 200);

	/* A fault in a delay slot, and behind a prefix: the branch or the prefix is done again. */
	act(11, repair, 4);
	hole = sys(MMAP2, 0, 0x1000, 0, 0x22, -1, 0);
	/* Linux loses r4 on the way back from a handler. */
	register u32 got asm("r22"), branch asm("r23"), where asm("r24");
	hits = 0;
	asm volatile("addk %0, r0, r0\n\tmfs %1, rpc\n\tbrid 1f\n\tswi r0, %3, 4\n\taddik %0, r0, 99\n1:\taddik %0, %0, 1" : "=&r"(got), "=&r"(branch) : "r"(0), "r"(hole) : "memory");
	say2("in a slot", hits, got);
	say("begun again at", from - branch);
	sys(MPROTECT, hole, 0x1000, 0);
	asm volatile("mfs %0, rpc\n\tlwi r0, %1, 0x12340" : "=&r"(branch) : "r"(hole - 0x12340) : "memory");
	say2("behind a prefix", hits, from - branch);

	/* Exceptions. */
	act(4, skip, 4), act(8, skip, 4);
	skipped = 4;
	hits = 0;
	asm volatile("mfs %0, rpc\n\t.word 0xfc000000" : "=r"(where));
	say2("undefined", last, code);
	say2("  at", hits, address - where);
	asm volatile("mfs %0, rpc\n\t.word 0x94110002" : "=r"(where));
	say2("privileged", last, code);
	say2("  at", hits, address - where);
	asm volatile("mfs %0, rpc\n\tidiv r0, r0, %1" : "=&r"(where) : "r"(5));
	say2("divided by 0", last, code);
	say2("  at", hits, address - where);

	/* Unaligned accesses: done as if they were aligned. */
	static u8 bytes[12] __attribute__((aligned(4)));
	asm volatile("swi %0, %1, 1" : : "r"(0x11223344), "r"(bytes) : "memory");
	asm volatile("shi %0, %1, 7" : : "r"(0x5566), "r"(bytes) : "memory");
	asm volatile("lwi %0, %1, 1" : "=r"(got) : "r"(bytes));
	say_hex("unaligned word", got);
	asm volatile("lhui %0, %1, 7" : "=r"(got) : "r"(bytes));
	say_hex("unaligned half", got);
	asm volatile("brid 1f\n\tlwi %0, %1, 1\n\taddik %0, r0, 0\n1:" : "=r"(got) : "r"(bytes));
	say_hex("in a slot", got);

	/* Another program. */
	long child = sys(VFORK);
	if (child == 0) {
		char *again[] = { arguments[0], "again", "from a child", 0 };
		sys(EXECVE, arguments[0], again, 0);
		sys(EXIT, 1);
	}
	s32 status;
	sys(WAIT4, child, &status, 0, 0);
	say("ended with", status >> 8);
	char *again[] = { arguments[0], "again", "in place", 0 };
	sys(EXECVE, arguments[0], again, arguments + stack[0] + 1);
	return 1;
}

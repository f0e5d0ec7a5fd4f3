/* Signals: the frame as Linux lays it out (arch/microblaze/kernel/signal.c), the way back through its trampoline, faults, masks. */
#include "linux.h"

struct registers { u32 r[32], pc, msr, ear, esr, fsr, mode; };
struct frame_of_context { u32 flags, link, stack_base, stack_flags, stack_size; struct registers regs; u32 oldmask, mask[2]; };
/* Of the kernel's generic layout: handler, flags, mask. */
struct action { void *handler; u32 flags, mask[2], none; };
static volatile int hits, last;
static volatile u32 code, address, from;

static volatile u32 meanwhile;
static void count(int n) { u32 mask[2]; sys(RT_SIGPROCMASK, 0, 0, mask, 8); meanwhile = mask[0]; hits++; last = n; }
static void look(int n, u32 *info, struct frame_of_context *c)
{
	hits++;
	last = info[0] == (u32)n ? n : -1;
	code = info[2];
	address = info[3];
	from = c->regs.r[20];
}
/* The fault's instruction is skipped, with a register changed. */
static void skip(int n, u32 *info, struct frame_of_context *c)
{
	hits++;
	last = n;
	code = info[2];
	address = info[3];
	c->regs.r[3] = 4711;
	c->regs.pc += 4;
}
static void trampoline(int n, u32 *info, struct frame_of_context *c)
{
	u32 link;
	asm volatile("addk %0, r15, r0" : "=r"(link));
	hits++;
	/* info is at the frame's begin, the context after its 128 bytes; the trampoline after that. */
	say("context after info", (u32)c - (u32)info);
	u32 *t = (u32 *)((u32)c + sizeof *c);
	say_hex("trampoline", t[0]);
	say_hex("trampoline", t[1]);
	say("mask of USR2 in the frame", c->mask[0] >> 11 & 1);
	/* Blocked from here on. */
	c->mask[0] |= 1 << 9;
	(void)link, (void)n;
}
static void act(int n, void *handler, u32 flags)
{
	/* USR2 is blocked meanwhile. There is no member for a restorer. */
	struct action a = { handler, flags, { 1 << 11, 0 }, 0 };
	check(sys(RT_SIGACTION, n, &a, 0, 8) == 0, "rt_sigaction");
}

int begin(long *stack)
{
	long me = sys(GETPID);
	(void)stack;
	act(10, count, 0);
	sys(KILL, me, 10);
	say2("handler", hits, last);
	say2("blocked in it", meanwhile >> 9 & 1, meanwhile >> 11 & 1);
	act(10, look, 4);
	register u32 kept asm("r20") = 0x12345678;
	asm volatile("" : "+r"(kept));
	sys(TGKILL, me, sys(GETTID), 10);
	asm volatile("" : "+r"(kept));
	say2("with siginfo", hits, last);
	say2("code", code, from == 0x12345678);
	say_hex("kept", kept);
	act(10, trampoline, 4);
	sys(KILL, me, 10);
	u32 mask[2] = { 0, 0 }, pending[2];
	sys(RT_SIGPROCMASK, 0, 0, mask, 8);
	say("blocked by the frame", mask[0] >> 9 & 1);
	sys(KILL, me, 10);
	sys(RT_SIGPENDING, pending, 8);
	say("pending", pending[0] >> 9 & 1);
	act(10, count, 0);
	hits = 0;
	mask[0] = 1 << 9;
	sys(RT_SIGPROCMASK, 1, mask, 0, 8);
	say("delivered when unblocked", hits);
	say("too small a set", sys(RT_SIGPROCMASK, 1, mask, 0, 4));

	/* Faults. */
	act(11, skip, 4);
	hits = 0;
	register u32 got asm("r3");
	asm volatile("lwi r3, r0, 16" : "=r"(got));
	u32 value = got;
	say2("load from 16", hits, value);
	say2("code and address", code, address);
	long m = sys(MMAP2, 0, 0x1000, 1, 0x22, -1, 0);
	asm volatile("swi r0, %0, 8" :: "r"(m) : "r3", "memory");
	say2("store to read-only", code, address - (u32)m);

	/* No alternate stack: number 186 is not there in Linux for MicroBlaze (ENOSYS), though QEMU has it. */

	/* While computing. */
	act(14, count, 0);
	hits = 0;
	struct { u32 s, us, vs, vus; } once = { 0, 0, 0, 10000 };
	sys(SETITIMER, 0, &once, 0);
	while (!hits)
		;
	say2("alarm", hits, last);
	/* In a call: interrupted, or not. */
	s32 ends[2];
	sys(PIPE, ends);
	once.us = 10000;
	sys(SETITIMER, 0, &once, 0);
	char c;
	say("read", sys(READ, ends[0], &c, 1));
	once.vus = once.us = 0;
	sys(SETITIMER, 0, &once, 0);

	/* Children that die. */
	for (int n = 0; n < 3; n++) {
		s32 status = 0;
		long child = sys(FORK);
		if (child == 0) {
			struct action d = { 0, 0, { 0, 0 }, 0 };
			sys(RT_SIGACTION, 11, &d, 0, 8);
			if (n == 0)
				*(volatile u32 *)16 = 1;
			if (n == 1)
				sys(KILL, sys(GETPID), 15);
			sys(EXIT, 7);
		}
		long waited = sys(WAIT4, child, &status, 0, 0);
		say2("child", waited == child, status & 0xff7f);
	}
	say("no more", sys(WAIT4, -1, 0, 0, 0));
	return 0;
}

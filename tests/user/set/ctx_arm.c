/* The frame of a handler on ARM: registers seen, and changed, in uc_mcontext. Prints the same on others, which do nothing. */
#include "test.h"

static sigjmp_buf back;
#ifdef __arm__
#define LINE(format, ...) say(format, __VA_ARGS__)
typedef mcontext_t Registers;

/* Bytes of the instruction at an address, by the state of the interrupted code. */
static int size(Registers *r)
{
	if (!(r->arm_cpsr & 0x20))
		return 4;
	uint16_t first = *(uint16_t *)(uintptr_t)r->arm_pc;
	return first >> 11 >= 0x1d ? 4 : 2;
}
static volatile int thumb, faults;
static uintptr_t address;
static void skip(int n, siginfo_t *i, void *c)
{
	(void)n;
	Registers *r = &((ucontext_t *)c)->uc_mcontext;
	thumb = !!(r->arm_cpsr & 0x20);
	address = (uintptr_t)i->si_addr;
	faults++;
	r->arm_pc += size(r);
	r->arm_r0 = 0x1234;
	/* Registers of the coprocessor are the handler's own to use. */
	asm volatile("vmov.f64 d0, #2.0\n vmov.f64 d7, d0\n vmov.f64 d8, d0\n vmov.f64 d15, d0\n" ::: "d0", "d7", "d8", "d15");
}
static unsigned seen[17];
static void look(int n, siginfo_t *i, void *c)
{
	(void)n, (void)i;
	Registers *r = &((ucontext_t *)c)->uc_mcontext;
	memcpy(seen, &r->arm_r0, 16 * sizeof seen[0]);
	seen[16] = r->arm_cpsr;
	unsigned long *all = &r->arm_r0;
	for (int k = 4; k <= 10; k++)
		if (k != 7 && k != 9)
			all[k] = 100 + k;
	all[0] = 55;
	r->arm_cpsr ^= 0xf0000000; /* flags */
	r->arm_pc += size(r);
}
static NOINLINE int elsewhere_arm(int a, int b);
asm(".syntax unified\n.pushsection .text\n.arm\n.type elsewhere_arm, %function\nelsewhere_arm: mul r0, r0, r1\n bx lr\n"
	".thumb\n.thumb_func\n.type elsewhere_thumb, %function\nelsewhere_thumb: adds r0, r0, r1\n bx lr\n.popsection");
static NOINLINE int elsewhere_thumb(int a, int b);
static volatile int which;
/* Calls another function in place of the faulting instruction, which was the last of a function. */
static void divert(int n, siginfo_t *i, void *c)
{
	(void)n, (void)i;
	Registers *r = &((ucontext_t *)c)->uc_mcontext;
	uintptr_t to = (uintptr_t)(which ? elsewhere_thumb : elsewhere_arm);
	r->arm_lr = r->arm_pc + size(r) + (r->arm_cpsr & 0x20 ? 1 : 0);
	r->arm_r0 = 6;
	r->arm_r1 = 7;
	r->arm_pc = to & ~1u;
	r->arm_cpsr = (r->arm_cpsr & ~0x20) | (to & 1 ? 0x20 : 0);
}
static void mask(int n, siginfo_t *i, void *c)
{
	(void)n, (void)i;
	ucontext_t *u = c;
	say("mask in the frame: USR1 %d USR2 %d", sigismember(&u->uc_sigmask, SIGUSR1), sigismember(&u->uc_sigmask, SIGUSR2));
	sigaddset(&u->uc_sigmask, SIGUSR2);
}
static void in_it(int n, siginfo_t *i, void *c)
{
	(void)n, (void)i;
	Registers *r = &((ucontext_t *)c)->uc_mcontext;
	seen[0] = (r->arm_cpsr >> 25 & 3) | (r->arm_cpsr >> 8 & 0xfc);
	r->arm_r2 = address;
}
static void count(int n, siginfo_t *i, void *c) { (void)n, (void)i, (void)c; faults++; }
#endif

int main(void)
{
#ifdef __arm__
	handle(SIGSEGV, skip, 0);
	register int result asm("r0");
	double kept[4] = { 1.5, -2.25, 1e100, 3 }, got[4];
	asm volatile("vldm %1, {d0}\n vldr d7, [%1, #8]\n vldr d8, [%1, #16]\n vldr d15, [%1, #24]\n mov r4, #16\n ldr r0, [r4]\n vstr d0, [%2]\n vstr d7, [%2, #8]\n vstr d8, [%2, #16]\n vstr d15, [%2, #24]\n"
		: "=r"(result) : "r"(kept), "r"(got) : "r4", "d0", "d7", "d8", "d15", "d20", "memory");
	int loaded = result;
	say("skipped a load: r0 %x, at %x, VFP registers %s", loaded, (unsigned)address, memcmp(kept, got, sizeof got) ? "CHANGED" : "kept");
	/* Store, multiple, double, byte, floating point, exclusive. */
	int before = faults;
	asm volatile("mov r4, #0\n str r0, [r4, #4]\n ldm r4, {r0, r1}\n ldrd r2, r3, [r4]\n strb r0, [r4, #1]\n ldrsh r0, [r4, #2]\n vldr s0, [r4]\n ldrex r0, [r4]\n push {r0-r3}\n pop {r0-r3}\n" ::: "r0", "r1", "r2", "r3", "r4", "d0", "memory");
	say("skipped %d, the code is %s", faults - before,
#ifdef __thumb__
		thumb == 1 ? "as compiled" : "NOT THUMB"
#else
		thumb == 0 ? "as compiled" : "NOT ARM"
#endif
	);
	handle(SIGILL, look, 0);
	unsigned out[8], flags, *to = out;
	asm volatile("mov r0, #1\n mov r1, #2\n mov r2, #3\n mov r3, #4\n mov r4, #5\n mov r5, #6\n mov r6, #7\n mov r8, #8\n mov r10, #10\n mov r12, #12\n cmp r0, r0\n udf #0\n"
		"mrs %1, cpsr\n stmia %0!, {r4, r5, r6, r8, r10}\n str r0, [%0]\n sub %0, %0, #20"
		: "+r"(to), "=&r"(flags) :: "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r10", "r12", "cc", "memory");
	say("seen: %u %u %u %u %u %u %u %u %u %u, flags %x", seen[0], seen[1], seen[2], seen[3], seen[4], seen[5], seen[6], seen[8], seen[10], seen[12], seen[16] >> 28);
	say("changed: %u %u %u %u %u, r0 %u, flags %x", out[0], out[1], out[2], out[3], out[4], out[5], flags >> 28);
	handle(SIGILL, divert, 0);
	for (which = 0; which < 2; which++) {
		asm volatile("udf #0\n" : "=r"(result) :: "r1", "r2", "r3", "r12", "lr", "cc", "memory");
		int r = result;
		say("diverted to %s: %d", which ? "Thumb" : "ARM", r);
	}
	handle(SIGUSR1, mask, 0);
	raise(SIGUSR1);
	sigset_t now;
	sigprocmask(0, NULL, &now);
	say("afterwards: USR1 %d USR2 %d", sigismember(&now, SIGUSR1), sigismember(&now, SIGUSR2));

	/* Interrupted within an IT block: its state has to be kept. */
	handle(SIGSEGV, in_it, 0);
	static unsigned there = 77;
	address = (uintptr_t)&there;
	unsigned a, b;
	asm volatile(".syntax unified\n mov r2, #0\n mov r3, #0\n mov r1, #0\n cmp r1, #0\n itee eq\n ldreq r3, [r2]\n movne r3, #99\n movne r1, #98\n mov %0, r3\n mov %1, r1\n" : "=&r"(a), "=&r"(b) :: "r1", "r2", "r3", "cc");
	say("in an IT block: %u %u", a, b);
#ifdef __thumb__
	asm volatile(".syntax unified\n mov r2, #0\n mov r3, #0\n mov r1, #5\n cmp r1, #0\n ittte ne\n addne r1, #1\n ldrne r3, [r2]\n addne r1, #1\n moveq r1, #98\n mov %0, r3\n mov %1, r1\n" : "=&r"(a), "=&r"(b) :: "r1", "r2", "r3", "cc");
#else
	asm volatile("mov r2, #0\n mov r1, #7\n ldr r3, [r2]\n mov %0, r3\n mov %1, r1\n" : "=&r"(a), "=&r"(b) :: "r1", "r2", "r3", "cc");
#endif
	say("again: %u %u", a, b);

	/* Writeback must not have happened when an access faults. */
	handle(SIGSEGV, skip, 0);
	unsigned base;
	asm volatile("mov r4, #64\n ldr r3, [r4], #4\n mov %0, r4\n" : "=r"(base) :: "r3", "r4");
	say("base after a fault: %u", base);
	asm volatile("mov r4, #64\n ldmia r4!, {r2, r3}\n mov %0, r4\n" : "=r"(base) :: "r0", "r2", "r3", "r4");
	say("base after a fault of many: %u", base);
	asm volatile("mov r4, #128\n str r5, [r4, #-8]!\n mov %0, r4\n" : "=r"(base) :: "r0", "r4");
	say("base after a store: %u", base);

	/* Flags and rounding of floating point over a handler, and the thread register. */
	uint32_t fpscr, mode = 0x00c00000;
	asm volatile("vmsr fpscr, %0" :: "r"(mode));
	handle(SIGUSR2, count, 0);
	sigprocmask(SIG_UNBLOCK, SET(SIGUSR2), NULL);
	raise(SIGUSR2);
	asm volatile("vmrs %0, fpscr" : "=r"(fpscr));
	say("rounding kept: %d", (fpscr & 0x00c00000) == mode);
	asm volatile("vmsr fpscr, %0" :: "r"(0));
#else
	say("skipped a load: r0 1234, at 10, VFP registers kept\nskipped 7, the code is as compiled\nseen: 1 2 3 4 5 6 7 8 10 12, flags 6\nchanged: 104 105 106 108 110, r0 55, flags 9\n"
		"diverted to ARM: 42\ndiverted to Thumb: 13\nmask in the frame: USR1 0 USR2 0\nafterwards: USR1 0 USR2 1\nin an IT block: 77 0\nagain: 77 7\nbase after a fault: 64\nbase after a fault of many: 64\nbase after a store: 128\nrounding kept: 1");
#endif
	(void)back;
	return 0;
}

/* Eight words at a time, moved to where memory ends: what is loaded and stored when an access of many faults. Others than ARM do it word by word. */
#include "test.h"

enum { WORDS = 24 };
static sigjmp_buf back;
static volatile uintptr_t fault;
static uint32_t *source, *target;
static volatile uint32_t *from, *to;

static void note(int n, siginfo_t *i, void *c)
{
	(void)n;
	fault = (uintptr_t)i->si_addr;
#ifdef __arm__
	mcontext_t *r = &((ucontext_t *)c)->uc_mcontext;
	/* What was loaded last: the eight words before the base, if any were; of the same instruction nothing. */
	uint32_t seen[] = { r->arm_r3, r->arm_r4, r->arm_r5, r->arm_r6, r->arm_r8, r->arm_r9, r->arm_ip, r->arm_lr };
	uint32_t *base = (uint32_t *)(uintptr_t)r->arm_r1;
	for (int k = 0; k < 8; k++)
		CHECK(seen[k] == (base == from ? 100u + k : base[k - 8]));
#else
	(void)c;
#endif
	siglongjmp(back, 1);
}

NOINLINE static void move(volatile uint32_t *t, const volatile uint32_t *f, int groups)
{
#ifdef __arm__
	register volatile uint32_t *r0 asm("r0") = t;
	register const volatile uint32_t *r1 asm("r1") = f;
	register int r2 asm("r2") = groups;
	asm volatile("mov r3, #100\n mov r4, #101\n mov r5, #102\n mov r6, #103\n mov r8, #104\n mov r9, #105\n mov r12, #106\n mov lr, #107\n"
		"1: ldmia r1!, {r3, r4, r5, r6, r8, r9, r12, lr}\n subs r2, r2, #1\n stmia r0!, {r3, r4, r5, r6, r8, r9, r12, lr}\n bne 1b\n"
		: "+r"(r0), "+r"(r1), "+r"(r2) :: "r3", "r4", "r5", "r6", "r8", "r9", "r12", "lr", "cc", "memory");
#else
	while (groups--) {
		uint32_t eight[8];
		for (int k = 0; k < 8; k++)
			eight[k] = *f++;
		for (int k = 0; k < 8; k++)
			*t++ = eight[k];
	}
#endif
}

/* The end of memory that begins at a page. */
static uint32_t *end(void)
{
	char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(mprotect(pages + 2 * PAGE, PAGE, PROT_NONE) == 0);
	return (uint32_t *)(pages + 2 * PAGE);
}

int main(void)
{
	uint32_t *ends[] = { end(), end() };
	handle(SIGSEGV, note, 0);
	for (int i = -PAGE / 2; i < 0; i++)
		ends[0][i] = i * 2654435761u;
	/* So many words of the source, and of the target, are not there. */
	for (int s = 0; s <= WORDS; s += 1) {
		char line[256] = "";
		for (int t = 0; t <= WORDS; t += s % 8 ? 8 : 1) {
			source = ends[0] - (WORDS - s), target = ends[1] - (WORDS - t);
			from = source, to = target;
			memset(target - 8, 0, (char *)ends[1] - (char *)(target - 8));
			fault = 0;
			/* The second time from where code is known. */
			for (int again = 0; again < 2; again++)
				if (!sigsetjmp(back, 1))
					move(to, from, WORDS / 8);
			int stored = 0;
			while (stored < WORDS - t && stored < WORDS - s && target[stored] == source[stored])
				stored++;
			for (int k = stored; k < WORDS - t; k++)
				CHECK(target[k] == 0);
			for (int k = 1; k <= 8; k++)
				CHECK(target[-k] == 0);
			const char *where = !fault ? "" : fault == (uintptr_t)ends[0] ? "r" : fault == (uintptr_t)ends[1] ? "w" : "?";
			sprintf(line + strlen(line), " %d%s", stored, where);
		}
		say("%d short:%s", s, line);
	}
	/* Inside of pages and over their borders. */
	for (int at = 1000; at < 1040; at++) {
		uint32_t *f = ends[0] - 2048 + at, *t = ends[1] - 2048 + 2000 - at;
		memset(ends[1] - 2048, 0, 2 * PAGE);
		move(t, f, WORDS / 8);
		CHECK(memcmp(t, f, 4 * WORDS) == 0 && t[-1] == 0 && t[WORDS] == 0);
	}
	say("moved");
	return 0;
}

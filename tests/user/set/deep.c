/* Deep recursion: as far as the stack goes, and beyond. */
#include "test.h"

static NOINLINE long depth(long n) { volatile char frame[64]; frame[0] = n; return n == 0 ? 0 : 1 + depth(n - 1) + frame[0] * 0; }
static NOINLINE int for_ever(int n) { volatile char frame[100]; frame[n % 100] = n; return for_ever(n + 1) + frame[1]; }
static NOINLINE int (*indirect(int n))(int) { volatile char frame[64]; frame[0] = n; return n ? indirect(n - 1) : (int (*)(int))for_ever; }
static NOINLINE int even(int n), odd(int n);
static int even(int n) { volatile int k = n; return k == 0 ? 1 : odd(k - 1) + 0 * k; }
static int odd(int n) { volatile int k = n; return k == 0 ? 0 : even(k - 1) + 0 * k; }
static sigjmp_buf back;
static volatile int reached;
static void overflow(int n, siginfo_t *i, void *c) { (void)n, (void)i, (void)c; siglongjmp(back, 1); }
static NOINLINE void count(int n) { volatile char frame[1024]; frame[n % 1024] = 1; reached = n; count(n + 1); frame[0]++; }
static jmp_buf out;
static NOINLINE void jump_out(int n) { volatile char frame[40]; frame[0] = n; if (n == 0) longjmp(out, 5); jump_out(n - 1); frame[1]++; }
static int order(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
static NOINLINE int with_alloca(int n) { char *p = __builtin_alloca(n % 7 * 1000 + 16); memset(p, n, 16); return n == 0 ? p[3] : with_alloca(n - 1) + (p[15] != (char)n); }

static NOINLINE void past(void) { volatile char big[9 << 20]; big[0] = 1; }
static NOINLINE int far(void) { volatile char big[7 << 20]; big[0] = 1; big[sizeof big - 1] = 2; return big[0] + big[sizeof big - 1]; }

int main(void)
{
	say("40000 deep: %ld", depth(40000));
	say("again: %ld", depth(50000));
	say("indirect: %d", indirect(20000) == (int (*)(int))for_ever);
	say("mutual: %d", even(60000));
	for (volatile int i = 0; i < 100; i++) {
		int value = setjmp(out);
		if (value == 0)
			jump_out(i * 100);
		else if (value != 5)
			say("WRONG value");
	}
	say("jumped out a hundred times");
	say("alloca: %d", with_alloca(1500));
	stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };
	sigaltstack(&stack, NULL);
	handle(SIGSEGV, overflow, SA_ONSTACK);
	if (sigsetjmp(back, 1) == 0)
		count(0);
	/* A frame of a KiB and a little: the stack has 8 MiB. */
	say("reached the limit of the stack: %d", reached > 6500 && reached < 8192);
	signal(SIGSEGV, SIG_DFL);
	CHILD("without end", for_ever(0));
	CHILD("a jump past the guard", past());
	/* A little less than the limit, touched from its far end. */
	CHILD("7 MiB at once", _exit(far()));
	int *v = malloc(200000 * sizeof *v);
	for (int i = 0; i < 200000; i++)
		v[i] = (i * 7919L) % 200003;
	qsort(v, 200000, sizeof *v, order);
	int sorted = 1;
	for (int i = 1; i < 200000; i++)
		sorted &= v[i - 1] <= v[i];
	say("sorted: %d", sorted);
	return 0;
}

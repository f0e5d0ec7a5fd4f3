/* Alternate stacks: what runs on them, overflows of the stack that are caught, and jumps away from them. */
#include "test.h"

static char *alternate;
#define SIZE (64 * 1024)
static sigjmp_buf back;
static volatile int on, overflows;
static int inside(void *p) { return (char *)p >= alternate && (char *)p < alternate + SIZE; }

static void where(int number, siginfo_t *info, void *context)
{
	char here;
	stack_t now;
	(void)info;
	sigaltstack(NULL, &now);
	ucontext_t *u = context;
	say("%s on %s stack, flags %s, context's %s", sigabbrev_np(number), inside(&here) ? "the alternate" : "the normal", now.ss_flags == SS_ONSTACK ? "SS_ONSTACK" : now.ss_flags ? "another" : "0",
		u->uc_stack.ss_sp == alternate && u->uc_stack.ss_size == SIZE ? "the same" : "another");
	if (number == SIGUSR1 && !on++) {
		stack_t other = { .ss_sp = alternate, .ss_size = SIZE };
		say("changing it now: %s", name_of(sigaltstack(&other, NULL)));
		raise(SIGUSR2);
	}
}
static void away(int number, siginfo_t *info, void *context)
{
	char here;
	(void)number, (void)context, (void)info;
	overflows++;
	siglongjmp(back, inside(&here) ? 1 : 2);
}
static NOINLINE int overflow(int n)
{
	volatile char frame[3000];
	frame[n % 3000] = n;
	return overflow(n + 1) + frame[(n + 1) % 3000];
}
static NOINLINE int deep(int n)
{
	volatile char frame[1000];
	memset((char *)frame, n, sizeof frame);
	return n == 0 ? 0 : 1 + deep(n - 1) + (frame[5] != (char)n);
}

int main(void)
{
	alternate = malloc(SIZE);
	stack_t stack = { .ss_sp = alternate, .ss_size = SIZE }, old;
	CHECK(sigaltstack(NULL, &old) == 0);
	say("at first: %s", old.ss_flags == SS_DISABLE ? "SS_DISABLE" : "another");
	handle(SIGUSR1, where, SA_ONSTACK);
	handle(SIGUSR2, where, 0);
	raise(SIGUSR1);
	on = 0;
	stack_t small = { .ss_sp = alternate, .ss_size = 100 }, odd = { .ss_sp = alternate, .ss_size = SIZE, .ss_flags = 0x40 };
	say("too small: %s", name_of(sigaltstack(&small, NULL)));
	say("bad flags: %s", name_of(sigaltstack(&odd, NULL)));
	CHECK(sigaltstack(&stack, NULL) == 0);
	raise(SIGUSR2);
	handle(SIGUSR2, where, SA_ONSTACK);
	raise(SIGUSR1);
	sigaltstack(NULL, &old);
	say("afterwards: flags %d, %s", old.ss_flags, old.ss_sp == alternate && old.ss_size == SIZE ? "the same" : "another");

	say("deep: %d", deep(4000));
	handle(SIGSEGV, away, SA_ONSTACK);
	for (volatile int i = 0; i < 5; i++) {
		int how = sigsetjmp(back, 1);
		if (how == 0)
			overflow(0);
		else
			say("overflow %d caught on %s stack", overflows, how == 1 ? "the alternate" : "the normal");
	}
	say("deep again: %d", deep(4000));
	sigset_t now;
	sigprocmask(0, NULL, &now);
	say("SEGV blocked: %d", sigismember(&now, SIGSEGV));
	/* Without a mask saved, the signal stays blocked; the next one kills. */
	CHILD("no mask saved", if (sigsetjmp(back, 0) == 0) overflow(0); sigprocmask(0, NULL, &now); say("SEGV blocked: %d", sigismember(&now, SIGSEGV)); overflow(0));
	stack.ss_flags = SS_DISABLE;
	CHECK(sigaltstack(&stack, NULL) == 0);
	CHILD("no stack for the handler", overflow(0));
	sigaltstack(NULL, &old);
	say("disabled: %d", old.ss_flags == SS_DISABLE);
	return 0;
}

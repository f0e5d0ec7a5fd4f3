/* Signals among threads: to a chosen one, to whichever will have it, faults of each, stacks of each. */
#include "test.h"

static __thread volatile int hits;
static __thread int number;
static __thread sigjmp_buf back;
static atomic_int ready, total, on_alternate, stop;
static pthread_t threads[8];
static void hit(int n, siginfo_t *i, void *c) { (void)n, (void)i, (void)c; hits++; atomic_fetch_add(&total, 1); }

static void *chosen(void *n)
{
	number = (intptr_t)n;
	atomic_fetch_add(&ready, 1);
	while (hits < 10 * (number + 1))
		if (number & 1)
			sched_yield();
	return (void *)(intptr_t)hits;
}
static void *unblocked(void *x)
{
	pthread_sigmask(SIG_UNBLOCK, SET(SIGUSR2), NULL);
	atomic_fetch_add(&ready, 1);
	while (hits < 5)
		sched_yield();
	return x;
}
static void *waits(void *x)
{
	int n, sum = 0;
	for (int i = 0; i < 20; i++) {
		sigwait(SET(SIGRTMIN), &n);
		sum++;
	}
	atomic_fetch_add(&total, sum);
	return x;
}
static void fault(int n, siginfo_t *i, void *c)
{
	(void)n, (void)c;
	if ((uintptr_t)i->si_addr != (uintptr_t)number * 16)
		say("WRONG address");
	siglongjmp(back, 1);
}
static void *faults(void *n)
{
	number = (intptr_t)n + 1;
	volatile int count = 0;
	for (volatile int i = 0; i < 1000; i++)
		if (sigsetjmp(back, 1) == 0)
			*(volatile int *)(uintptr_t)(number * 16) = 1;
		else
			count++;
	return (void *)(intptr_t)count;
}
static void overflowed(int n, siginfo_t *i, void *c)
{
	stack_t now;
	(void)n, (void)i, (void)c;
	sigaltstack(NULL, &now);
	if (now.ss_flags == SS_ONSTACK)
		atomic_fetch_add(&on_alternate, 1);
	siglongjmp(back, 1);
}
static NOINLINE int overflow(int n) { volatile char b[2000]; b[n % 2000] = n; return overflow(n + 1) + b[1]; }
static void *overflows(void *x)
{
	stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };
	CHECK(sigaltstack(&stack, NULL) == 0);
	for (volatile int i = 0; i < 3; i++)
		if (sigsetjmp(back, 1) == 0)
			overflow(0);
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	free(stack.ss_sp);
	return x;
}
static void *inherits(void *x)
{
	sigset_t now;
	stack_t stack;
	pthread_sigmask(0, NULL, &now);
	sigpending(&now);
	sigaltstack(NULL, &stack);
	say("inherited: pending %d, alternate stack %s", sigismember(&now, SIGTERM), stack.ss_flags == SS_DISABLE ? "none" : "some");
	return x;
}
static void *computes(void *x) { unsigned n = 1; while (!stop) n = n * 5 + 1; *(unsigned *)x = n | 1; return NULL; }

int main(void)
{
	handle(SIGUSR1, hit, 0);
	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, chosen, (void *)(intptr_t)i);
	while (ready < 8)
		sched_yield();
	for (int i = 0; i < 8; i++)
		for (int k = 0; k < 10 * (i + 1); k++) {
			int before = total;
			CHECK(pthread_kill(threads[i], SIGUSR1) == 0);
			while (total == before)
				sched_yield();
		}
	for (int i = 0; i < 8; i++) {
		void *value;
		pthread_join(threads[i], &value);
		say("thread %d hit %d times", i, (int)(intptr_t)value);
	}
	say("main thread hit %d times", hits);

	/* To the process: the one thread that has it unblocked. */
	handle(SIGUSR2, hit, 0);
	pthread_sigmask(SIG_BLOCK, SET(SIGUSR2, SIGRTMIN, SIGTERM), NULL);
	ready = total = 0;
	pthread_create(&threads[0], NULL, unblocked, NULL);
	while (!ready)
		sched_yield();
	for (int i = 0; i < 5; i++) {
		int before = total;
		kill(getpid(), SIGUSR2);
		while (total == before)
			sched_yield();
	}
	pthread_join(threads[0], NULL);
	say("process's signals: %d, of main %d", total, hits);
	total = 0;
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, waits, NULL);
	for (int i = 0; i < 80; i++)
		kill(getpid(), SIGRTMIN);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	say("fetched by four: %d", total);
	pthread_kill(pthread_self(), SIGTERM);
	pthread_create(&threads[0], NULL, inherits, NULL);
	pthread_join(threads[0], NULL);
	siginfo_t info;
	sigtimedwait(SET(SIGTERM), &info, &(struct timespec){ 0, 0 });
	say("of its own: %s", sigabbrev_np(info.si_signo));

	/* Faults in all at once. */
	handle(SIGSEGV, fault, 0);
	int sum = 0;
	for (int i = 0; i < 8; i++)
		pthread_create(&threads[i], NULL, faults, (void *)(intptr_t)i);
	for (int i = 0; i < 8; i++) {
		void *value;
		pthread_join(threads[i], &value);
		sum += (intptr_t)value;
	}
	say("faults: %d", sum);
	handle(SIGSEGV, overflowed, SA_ONSTACK);
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 128 * 1024);
	for (int i = 0; i < 6; i++)
		pthread_create(&threads[i], &a, overflows, NULL);
	for (int i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
	say("overflows caught: %d", on_alternate);

	/* A thread's death by signal is the process's; stopping stops all. */
	CHILD("a thread dies", signal(SIGSEGV, SIG_DFL); pthread_create(&threads[0], NULL, faults, NULL); for (;;) pause());
	CHILD("a thread is killed", signal(SIGUSR1, SIG_DFL); static unsigned x; pthread_create(&threads[0], NULL, computes, &x); pthread_kill(threads[0], SIGUSR1); for (;;) pause());
	pid_t pid = fork();
	if (pid == 0) {
		static unsigned x[4];
		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, computes, &x[i]);
		raise(SIGSTOP);
		stop = 1;
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
		_exit(x[0] && x[3] ? 21 : 0);
	}
	int status;
	CHECK(waitpid(pid, &status, WUNTRACED) == pid);
	say("stopped: %d", WIFSTOPPED(status));
	kill(pid, SIGCONT);
	say_end("continued", pid);
	say("to one that has ended: %s", name_of(syscall(SYS_tgkill, getpid(), 0x3fffff, SIGUSR1)));
	return 0;
}

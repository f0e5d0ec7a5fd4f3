/* Signals a program sends itself: handlers, masks, alternate stacks, faults, and registers that survive. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int seen[65];
static volatile void *address;
static sigjmp_buf back;
static char stack[65536];
static int failures;

#define CHECK(x) do { if (!(x)) { printf("failed: %s (line %d)\n", #x, __LINE__); failures++; } } while (0)

static void count(int number) { volatile double d = number; d *= 1.5; seen[number]++; }
static void where(int number, siginfo_t *info, void *context)
{
	char here;
	(void)context;
	seen[number] += &here >= stack && &here < stack + sizeof stack ? 100 : 1;
	address = info->si_addr;
	siglongjmp(back, 1);
}

int main(void)
{
	struct sigaction a;
	memset(&a, 0, sizeof a);
	a.sa_handler = count;
	CHECK(sigaction(SIGUSR1, &a, NULL) == 0);
	volatile double kept = 2.25;
	raise(SIGUSR1);
	CHECK(seen[SIGUSR1] == 1 && kept * 2 == 4.5);

	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	raise(SIGUSR1);
	CHECK(seen[SIGUSR1] == 1);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	CHECK(seen[SIGUSR1] == 2);

	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	CHECK(sigaltstack(&alternate, NULL) == 0);
	a.sa_sigaction = where;
	a.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigaction(SIGSEGV, &a, NULL);
	volatile char *volatile nowhere = (char *)16;
	char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!sigsetjmp(back, 1))
		*(volatile char *)(page + 5) = 1;
	CHECK(seen[SIGSEGV] == 100 && address == page + 5);
	if (!sigsetjmp(back, 1))
		*nowhere = 1;
	CHECK(seen[SIGSEGV] == 200 && address == (void *)16);

	sigaction(SIGILL, &a, NULL);
	if (!sigsetjmp(back, 1))
		__builtin_trap();
	CHECK(seen[SIGILL] == 100);

	int pid = fork(), status = 0;
	if (!pid) {
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	signal(SIGTERM, SIG_IGN);
	raise(SIGTERM);
	printf(failures ? "signals: failures\n" : "signals: all done\n");
	return failures != 0;
}

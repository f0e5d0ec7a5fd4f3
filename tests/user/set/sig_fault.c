/* Faults: which signal, which code, and which address. */
#include "test.h"

static sigjmp_buf back;
static siginfo_t info;
static void note(int number, siginfo_t *i, void *context) { (void)number, (void)context; info = *i; siglongjmp(back, 1); }

static const char *code(int number, int code)
{
	if (number == SIGSEGV)
		return code == SEGV_MAPERR ? "MAPERR" : code == SEGV_ACCERR ? "ACCERR" : code == SI_KERNEL ? "KERNEL" : "another";
	if (number == SIGBUS)
		return code == BUS_ADRERR ? "ADRERR" : code == BUS_ADRALN ? "ADRALN" : "another";
	return code > 0 ? "by the kernel" : "by a process";
}

/* Runs a statement that faults at an address. */
#define FAULT(what, at, ...) do { if (sigsetjmp(back, 1) == 0) { __VA_ARGS__; say("%s: no fault", what); } else \
	say("%s: %s %s%s", what, sigabbrev_np(info.si_signo), code(info.si_signo, info.si_code), (at) == NULL ? "" : info.si_addr == (void *)(at) ? ", there" : ", elsewhere"); } while (0)

static volatile char sink;
typedef int function(void);

int main(void)
{
	for (int *number = (int[]){ SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, 0 }; *number; number++)
		handle(*number, note, 0);
	char *all = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile char *page = all + 4 * PAGE;
	memset(all, 1, 16 * PAGE);

	mprotect(all + 4 * PAGE, PAGE, PROT_READ);
	FAULT("write to read-only", page + 5, page[5] = 1);
	FAULT("read of read-only", NULL, sink = page[5]);
	mprotect(all + 4 * PAGE, PAGE, PROT_NONE);
	FAULT("read of PROT_NONE", page + 4095, sink = page[4095]);
	FAULT("write to PROT_NONE", page, page[0] = 1);
	mprotect(all + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE);
	FAULT("write after mprotect", NULL, page[5] = 2);
	munmap(all + 4 * PAGE, PAGE);
	FAULT("read of unmapped", page + 17, sink = page[17]);
	FAULT("write to unmapped", page + 4000, page[4000] = 2);
	FAULT("read of NULL + 8", (char *)8, sink = *(volatile char *)8);
	FAULT("write to the top", (char *)0xfffff000u, *(volatile char *)(uintptr_t)0xfffff000u = 1);

	/* Running what cannot be run. */
	mprotect(all, PAGE, PROT_READ | PROT_WRITE);
#ifdef __arm__
	int thumb = (uintptr_t)main & 1;
#else
	int thumb = 0;
#endif
	FAULT("run data", all, ((function *)(all + thumb))());
	FAULT("run unmapped", page, ((function *)((char *)page + thumb))());
	FAULT("run NULL", (char *)0, ((function *)(uintptr_t)thumb)());

	/* A mapped file's end. */
	FILE *file = tmpfile();
	CHECK(ftruncate(fileno(file), PAGE + 100) == 0);
	volatile char *mapped = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
	FAULT("last byte of the file", NULL, mapped[PAGE + 99] = 1);
	FAULT("its last page", NULL, sink = mapped[PAGE + 4000]);
	FAULT("beyond that page", mapped + 2 * PAGE + 10, sink = mapped[2 * PAGE + 10]);
	CHECK(ftruncate(fileno(file), 0) == 0);
	FAULT("after truncation", mapped, mapped[0] = 1);
	CHECK(ftruncate(fileno(file), 4 * PAGE) == 0);
	FAULT("after growth", NULL, mapped[3 * PAGE] = 1);

	/* Instructions. */
#ifdef __arm__
	FAULT("undefined instruction", NULL, asm volatile("udf #7"));
	FAULT("breakpoint", NULL, asm volatile("bkpt #1"));
#else
	FAULT("undefined instruction", NULL, asm volatile("ud2"));
	FAULT("breakpoint", NULL, asm volatile("int3"));
#endif
	FAULT("raised", NULL, raise(SIGFPE));
	FAULT("abort", NULL, raise(SIGTRAP));

	/* An access across the end of a page: the byte that is not there is the address. */
	munmap(all + 9 * PAGE, PAGE);
	volatile uint32_t *across = (volatile uint32_t *)(all + 9 * PAGE - 2);
	FAULT("across the end", all + 9 * PAGE, sink = *across);
	*(volatile char *)(all + 9 * PAGE - 2) = 1;

	/* Many, in a row. */
	volatile int count = 0;
	for (volatile int i = 0; i < 5000; i++)
		if (sigsetjmp(back, 1) == 0)
			sink = *(volatile char *)(uintptr_t)(i % 16 * PAGE / 16);
		else
			count++;
	say("%d faults", count);

	/* Blocked or ignored, they kill. */
	CHILD("blocked SEGV", sigprocmask(SIG_BLOCK, SET(SIGSEGV), NULL); *(volatile int *)16 = 1);
	CHILD("ignored SEGV", signal(SIGSEGV, SIG_IGN); *(volatile int *)16 = 1);
	CHILD("default SEGV", signal(SIGSEGV, SIG_DFL); *(volatile int *)16 = 1);
	CHILD("ILL", signal(SIGILL, SIG_DFL); __builtin_trap());
	CHILD("BUS", signal(SIGBUS, SIG_DFL); CHECK(ftruncate(fileno(file), 0) == 0); mapped[0] = 1);
	CHILD("abort", abort());
	return 0;
}

/* Mappings over what the program and the emulator need, and jumps to where nothing is: each in a child, which may die of a signal, but of nothing else. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIXED (MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
static void *over(uintptr_t at, size_t size) { return mmap((void *)at, size, PROT_READ | PROT_WRITE | PROT_EXEC, FIXED, -1, 0); }
static void over_stack(void) { int x; over((uintptr_t)&x & ~0xfffffu, 0x200000); }
static void over_program(void) { over((uintptr_t)over_program & ~0xfffu, 0x1000); }
static void at_zero(void) { char *p = over(0, 0x1000); if (p == NULL) p[0] = 1; *(volatile char *)16 = 1; }
static void at_top(void) { over(0xfffff000, 0x1000); over(0xffff0000, 0x10000); over(0xffffe000, 0x2000); *(volatile char *)0xffffe000 = 1; }
static void beyond_top(void) { mmap((void *)0xfffff000, 0x100000, PROT_READ, FIXED, -1, 0); munmap((void *)0xfffff000, 0x10000); mprotect((void *)0xfffff000, 0x2000, PROT_READ); mremap((void *)0xfffff000, 0x1000, 0x10000, 3, (void *)0xfffff000); }
static void everywhere(void) { for (uintptr_t at = 0x10000000; at < 0xf0000000; at += 0x10000000) over(at, 0x1000); for (uintptr_t at = 0; at < 0xfff00000; at += 0x100000) mprotect((void *)at, 0x1000, PROT_READ); }
static void whole(void) { munmap(NULL, 0xfffff000); }
static void whole_slowly(void) { for (uintptr_t at = 0; at < 0xfff00000; at += 0x100000) munmap((void *)at, 0x100000); }
static void all_none(void) { mprotect(NULL, 0xfffff000, PROT_NONE); }
static void own_code(void) { mprotect((void *)((uintptr_t)own_code & ~0xfffu), 0x1000, PROT_NONE); }
static void all_of_it(void) { for (int i = 0; i < 100000; i++) if (mmap(NULL, 0x10000000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) == MAP_FAILED) break; for (int i = 0; i < 100000; i++) if (mmap(NULL, 0x1000, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) break; char *p = malloc(1 << 20); if (p) p[0] = 1; }
static void many(void) { for (int i = 0; i < 70000; i++) if (mmap(NULL, 0x1000, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) _exit(3); }
static void run_data(void) { static int data[4] = { -1, -1, -1, -1 }; ((void (*)(void))data)(); }
static void run_nothing(void) { ((void (*)(void))0x12345678)(); }
static void run_top(void) { ((void (*)(void))0xfffffff0)(); }
static void run_helpers(void) { ((void (*)(void))0xffff0000)(); }
static void run_odd(void) { ((void (*)(void))((uintptr_t)run_odd + 2))(); }
static void run_zeroes(void) { void *p = over(0x20000000, 0x100000); ((void (*)(void))p)(); }
static void run_end(void) { char *p = over(0x20000000, 0x1000); memset(p, 0, 0x1000); *(uint32_t *)(p + 0xffc) = 0xe1a00000; ((void (*)(void))(p + 0xffc))(); }
static void run_half(void) { char *p = over(0x20000000, 0x1000); *(uint16_t *)(p + 0xffe) = 0xf000; ((void (*)(void))(p + 0xfff))(); }
static void no_stack(void) { asm volatile("mov sp, #0\n push {r0}\n"); }
static void call_without_stack(void) { asm volatile("mov sp, #0x100\n mov r7, #20\n svc 0\n mov sp, #0\n"); raise(SIGUSR1); }
static void handler(int n) { (void)n; }
static void handler_without_stack(void) { signal(SIGUSR1, handler); asm volatile("mov r0, #0\n mov sp, r0\n mov r7, #20\n svc 0\n mov r1, #10\n mov r7, #37\n svc 0\n mov sp, #16\n udf #0"); }
static void fault_handler_at_nothing(void) { struct sigaction a = { .sa_handler = (void (*)(int))0x1234, .sa_flags = SA_NODEFER }; sigaction(SIGSEGV, &a, NULL); *(volatile int *)0 = 1; }
static void fault_in_handler(int n) { (void)n; *(volatile int *)0 = 1; }
static void faults_for_ever(void) { struct sigaction a = { .sa_handler = fault_in_handler, .sa_flags = SA_NODEFER }; sigaction(SIGSEGV, &a, NULL); *(volatile int *)0 = 1; }
static void alternate_nowhere(void) { stack_t s = { .ss_sp = (void *)0x1000, .ss_size = 0x10000 }; sigaltstack(&s, NULL); struct sigaction a = { .sa_handler = handler, .sa_flags = SA_ONSTACK }; sigaction(SIGUSR1, &a, NULL); raise(SIGUSR1); }
static void sigreturn_of_rubbish(void) { char rubbish[2000]; memset(rubbish, 0xff, sizeof rubbish); asm volatile("mov sp, %0\n mov r7, #173\n svc 0" :: "r"(rubbish)); }
static void sigreturn_of_nothing(void) { asm volatile("mov sp, #0x10\n mov r7, #173\n svc 0"); }
static void old_sigreturn(void) { asm volatile("mov sp, #0x10\n mov r7, #119\n svc 0"); }
static int deep(int n) { volatile char b[100]; b[0] = n; return deep(n + 1) + b[0]; }
static void recursion(void) { deep(0); }
static void clone_without_stack(void) { syscall(SYS_clone, 0x3d0f00, 0x1000, 0, 0, 0); }
static void clone_nonsense(void) { for (unsigned f = 1; f; f <<= 1) if (!(f & 0x4000) && syscall(SYS_clone, f | 0x100 << 1, 0, 8, 8, 8) == 0) _exit(0); }
static void robust_rubbish(void) { static void *list[3]; list[0] = (void *)0x12345679; list[1] = (void *)0x80000000; list[2] = (void *)0xfffffffd; syscall(SYS_set_robust_list, list, 12); syscall(SYS_set_tid_address, 0xfffffff0); }
static void robust_ring(void) { static void *list[3]; list[0] = &list[0] + 0; static void *a[2], *b[2]; a[0] = b; b[0] = a; list[0] = a; syscall(SYS_set_robust_list, list, 12); }
static void exec_rubbish(void) { char *const many_[] = { (char *)0x10, (char *)0xfffffff0, NULL }; syscall(SYS_execve, "/proc/self/exe", many_, many_); syscall(SYS_execve, "/proc/self/exe", 0xfffffffc, 0); }
static void shrunk_file(void) { FILE *f = tmpfile(); if (ftruncate(fileno(f), 0x10000)) _exit(9); char *p = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fileno(f), 0); if (ftruncate(fileno(f), 0)) _exit(9); syscall(SYS_write, 1, p, 100); ((void (*)(void))p)(); }
static void shrunk_read(void) { FILE *f = tmpfile(); if (ftruncate(fileno(f), 0x10000)) _exit(9); char *p = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(f), 0); if (ftruncate(fileno(f), 0)) _exit(9); int e[2]; if (pipe(e) || write(e[1], "x", 1) != 1) _exit(9);
	long r = read(e[0], p, 1); long w = write(e[1], p, 10); long s = syscall(SYS_uname, p); long o = syscall(SYS_open, p, 0); _exit(r == -1 && w == -1 && s == -1 && o == -1 ? 0 : 7); }
static void heap_away(void) { syscall(SYS_brk, 0xfffff000); syscall(SYS_brk, 0x1000); syscall(SYS_brk, 0xc0000000); char *p = malloc(100000); p[5] = 1; }

#define TEST(x) { #x, x }
static const struct { const char *name; void (*run)(void); } tests[] = { TEST(over_stack), TEST(over_program), TEST(at_zero), TEST(at_top), TEST(beyond_top), TEST(everywhere), TEST(whole), TEST(whole_slowly), TEST(all_none), TEST(own_code), TEST(all_of_it), TEST(many),
	TEST(run_data), TEST(run_nothing), TEST(run_top), TEST(run_helpers), TEST(run_odd), TEST(run_zeroes), TEST(run_end), TEST(run_half), TEST(no_stack), TEST(call_without_stack), TEST(handler_without_stack), TEST(fault_handler_at_nothing), TEST(faults_for_ever), TEST(alternate_nowhere),
	TEST(sigreturn_of_rubbish), TEST(sigreturn_of_nothing), TEST(old_sigreturn), TEST(recursion), TEST(clone_without_stack), TEST(clone_nonsense), TEST(robust_rubbish), TEST(robust_ring), TEST(exec_rubbish), TEST(shrunk_file), TEST(shrunk_read), TEST(heap_away) };

int main(int argc, char **argv)
{
	/* One by its name, or the list. */
	for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++)
		if (argc < 2)
			puts(tests[i].name);
		else if (strcmp(argv[1], tests[i].name) == 0) {
			tests[i].run();
			_exit(0);
		}
	return 0;
}

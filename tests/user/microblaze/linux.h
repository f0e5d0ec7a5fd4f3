/* Linux for programs of MicroBlaze without a library: the beginning, system calls, and a little printing. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long long u64;
typedef int s32;

static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long r12 asm("r12") = n, r3 asm("r3"), r5 asm("r5") = a, r6 asm("r6") = b, r7 asm("r7") = c, r8 asm("r8") = d, r9 asm("r9") = e, r10 asm("r10") = f;
	asm volatile("brki r14, 0x8" : "=r"(r3), "+r"(r12), "+r"(r5), "+r"(r6), "+r"(r7), "+r"(r8), "+r"(r9), "+r"(r10) : : "memory", "r4", "r11", "r14", "cc");
	return r3;
}
#define SYS(n, a, b, c, d, e, f, ...) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define sys(...) SYS(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
enum { EXIT = 1, FORK = 2, READ = 3, WRITE = 4, OPEN = 5, CLOSE = 6, UNLINK = 10, EXECVE = 11, LSEEK = 19, GETPID = 20, KILL = 37, MKDIR = 39, RMDIR = 40, DUP = 41, PIPE = 42, BRK = 45, GETPPID = 64, SETITIMER = 104,
	SYMLINK = 83, READLINK = 85, MUNMAP = 91, FTRUNCATE = 93, WAIT4 = 114, CLONE = 120, UNAME = 122, MPROTECT = 125, LLSEEK = 140, WRITEV = 146, SCHED_YIELD = 158, NANOSLEEP = 162, MREMAP = 163,
	RT_SIGRETURN = 173, RT_SIGACTION = 174, RT_SIGPROCMASK = 175, RT_SIGPENDING = 176, GETCWD = 183, SIGALTSTACK = 186, VFORK = 190, MMAP2 = 192, STAT64 = 195, LSTAT64 = 196, FSTAT64 = 197, GETDENTS64 = 220, GETTID = 224,
	FUTEX = 240, EXIT_GROUP = 252, SET_TID_ADDRESS = 258, CLOCK_GETTIME = 265, TGKILL = 270 };

void *memset(void *to, int value, unsigned long n) { for (volatile u8 *p = to; n--;) *p++ = value; return to; }
void *memcpy(void *to, const void *from, unsigned long n) { u8 *p = to; const u8 *q = from; while (n--) *p++ = *q++; return to; }
static inline int length(const char *s) { int n = 0; while (s[n]) n++; return n; }
static inline int same(const char *a, const char *b) { while (*a && *a == *b) a++, b++; return *a == *b; }

/* Text and numbers, one line: say("text", number, "text", number, END). */
#define END ((const char *)1)
static char line[2000];
static int at;
static inline void text(const char *s) { while (*s) line[at++] = *s++; }
static inline void number(long n)
{
	char digits[12];
	int k = 0;
	unsigned long u = n < 0 ? -n : n;
	if (n < 0)
		line[at++] = '-';
	do digits[k++] = '0' + u % 10; while (u /= 10);
	while (k)
		line[at++] = digits[--k];
}
static inline void hex(u32 n) { for (int k = 28; k >= 0; k -= 4) line[at++] = "0123456789abcdef"[n >> k & 15]; }
static inline void put(void) { line[at++] = '\n'; sys(WRITE, 1, line, at); at = 0; }
static inline void say(const char *what, long value) { text(what); text(": "); number(value); put(); }
static inline void say2(const char *what, long a, long b) { text(what); text(": "); number(a); text(" "); number(b); put(); }
static inline void say_hex(const char *what, u32 value) { text(what); text(": "); hex(value); put(); }
static inline void check(int good, const char *what) { if (!good) { text("FAILED: "); text(what); put(); } }

int begin(long *stack);
asm(".text\n.globl _start\n_start:\n\taddk r5, r1, r0\n\taddik r1, r1, -32\n\tbrlid r15, begin\n\tnop\n\taddk r5, r3, r0\n\taddik r12, r0, 252\n\tbrki r14, 8\n");

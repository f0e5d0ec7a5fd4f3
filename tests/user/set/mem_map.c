/* Mappings: made, removed, moved, protected, discarded; the heap. */
#include "test.h"
#include <sys/auxv.h>

static sigjmp_buf back;
static siginfo_t info;
static void note(int n, siginfo_t *i, void *c) { (void)n, (void)c; info = *i; siglongjmp(back, 1); }
static int readable(volatile char *p) { if (sigsetjmp(back, 1)) return 0; (void)*p; return 1; }
static int writable(volatile char *p) { if (sigsetjmp(back, 1)) return 0; *p = *p; return 1; }
static const char *rights(char *p)
{
	static char all[4][4];
	static int next;
	char *text = all[next++ % 4];
	text[0] = readable(p) ? 'r' : '-';
	text[1] = text[0] == 'r' && writable(p) ? 'w' : '-';
	text[2] = 0;
	return text;
}
static int is_mapped(char *p) { unsigned char v; return mincore(p, PAGE, &v) == 0; }
#define MAP(n, prot, flags) mmap(NULL, (n) * PAGE, prot, MAP_ANONYMOUS | (flags), -1, 0)
#define FAILED(call) ({ errno = 0; (call) == MAP_FAILED ? strerrorname_np(errno) : "ok"; })

int main(void)
{
	handle(SIGSEGV, note, 0);
	handle(SIGBUS, note, 0);
	char *m = MAP(10, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	int zero = 1;
	for (int i = 0; i < 10 * PAGE; i++)
		zero &= m[i] == 0;
	say("zeroed: %d, aligned: %d", zero, (uintptr_t)m % PAGE == 0);
	memset(m, 7, 10 * PAGE);
	CHECK(munmap(m + 3 * PAGE, 2 * PAGE) == 0);
	say("hole: %s %s %s %s", rights(m + 2 * PAGE), rights(m + 3 * PAGE), rights(m + 4 * PAGE), rights(m + 5 * PAGE));
	say("unmap nothing: %s", name_of(munmap(m + 3 * PAGE, PAGE)));
	say("mprotect over the hole: %s", name_of(mprotect(m, 10 * PAGE, PROT_READ)));
	say("  before it %s, after it %s", rights(m), rights(m + 6 * PAGE));
	CHECK(mprotect(m, 3 * PAGE, PROT_READ | PROT_WRITE) == 0);
	say("bad arguments: %s", name_of(munmap(m + 1, PAGE)));
	say("bad arguments: %s", name_of(munmap(m, 0)));
	say("bad arguments: %s", name_of(mprotect(m + 1, PAGE, PROT_READ)));
	say("bad arguments: %s", name_of(mprotect(m, 0, PROT_READ)));
	say("bad arguments: %s", FAILED(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
	say("bad arguments: %s", FAILED(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0)));
	say("bad arguments: %s", FAILED(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0)));
	say("bad arguments: %s", FAILED(mmap(m + 1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)));
	say("part of a page: %s", name_of(mprotect(m, 10, PROT_READ)));
	say("  %s", rights(m + PAGE - 1));
	mprotect(m, PAGE, PROT_READ | PROT_WRITE);

	/* At a place. */
	char *f = mmap(m + 3 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	say("MAP_FIXED: %d, %s, new %d", f == m + 3 * PAGE, rights(f), f[0]);
	f = mmap(m + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	say("over another: new %d, beside %d", f[0], m[PAGE]);
	say("MAP_FIXED_NOREPLACE: %s", FAILED(mmap(m, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0)));
	munmap(m, PAGE);
	say("MAP_FIXED_NOREPLACE: %d", mmap(m, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == m);
	munmap(m, PAGE);
	say("hint taken: %d", mmap(m, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == m);
	f = mmap(m + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	say("hint that is used: elsewhere %d", f != m + PAGE && f != MAP_FAILED);

	/* Discarded. */
	memset(m, 9, 3 * PAGE);
	CHECK(madvise(m + PAGE, PAGE, MADV_DONTNEED) == 0);
	say("MADV_DONTNEED: %d %d %d", m[0], m[PAGE], m[2 * PAGE]);
	say("madvise: %s", name_of(madvise(m + 1, PAGE, MADV_DONTNEED)));
	say("madvise: %s", name_of(madvise(m, PAGE, 12345)));
	say("madvise: %s", name_of(madvise(m, PAGE, MADV_WILLNEED)));

	/* Moved and resized. */
	char *r = MAP(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	for (int i = 0; i < 4; i++)
		r[i * PAGE] = i + 1;
	char *shrunk = mremap(r, 4 * PAGE, 2 * PAGE, 0);
	say("shrunk: %d, then %s %s", shrunk == r, rights(r + PAGE), is_mapped(r + 2 * PAGE) ? "there" : "gone");
	char *wall = mmap(r + 2 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK(wall == r + 2 * PAGE);
	say("cannot grow: %s", FAILED(mremap(r, 2 * PAGE, 4 * PAGE, 0)));
	char *moved = mremap(r, 2 * PAGE, 100 * PAGE, MREMAP_MAYMOVE);
	say("moved: %d, %d %d %d, old %s", moved != r, moved[0], moved[PAGE], moved[50 * PAGE], is_mapped(r) ? "there" : "gone");
	char *target = MAP(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	target[3 * PAGE] = 33;
	say("to a place: %d", mremap(moved, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
	say("  %d %d, old %s", target[0], target[3 * PAGE], is_mapped(moved) ? "there" : "gone");
	say("bad: %s", FAILED(mremap(moved, PAGE, PAGE, MREMAP_MAYMOVE)));
	say("bad: %s", FAILED(mremap(target + 1, PAGE, 2 * PAGE, MREMAP_MAYMOVE)));
	say("bad: %s", FAILED(mremap(target, PAGE, 0, MREMAP_MAYMOVE)));

	/* Files. */
	FILE *file = tmpfile();
	int fd = fileno(file);
	for (int i = 0; i < 5 * PAGE; i++)
		putc(i / PAGE + 'a', file);
	fflush(file);
	char *private = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE);
	char *shared = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
	say("from an offset: %c %c", private[0], shared[PAGE]);
	private[0] = 'P';
	shared[1] = 'S';
	char text[3] = "";
	CHECK(pread(fd, text, 2, PAGE) == 2);
	say("in the file: %s, private: %c%c, shared: %c%c", text, private[0], private[1] == 'S' || private[1] == 'b' ? '.' : '!', shared[0], shared[1]);
	CHECK(pwrite(fd, "W", 1, PAGE + 5) == 1);
	say("written: shared %c", shared[5]);
	say("msync: %s", name_of(msync(shared, 2 * PAGE, MS_SYNC)));
	say("msync: %s", name_of(msync(shared, 2 * PAGE, MS_ASYNC)));
	say("msync: %s", name_of(msync(shared + 1, PAGE, MS_SYNC)));
	madvise(private, PAGE, MADV_DONTNEED);
	say("private, discarded: %c%c", private[0], private[1]);
	char *beyond = mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE, fd, 4 * PAGE);
	say("file's end: %d %d", readable(beyond), readable(beyond + PAGE));
	say("  by %s", sigabbrev_np(info.si_signo));
	say("odd offset: %s", FAILED(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 100)));
	int only = open("/proc/self/exe", O_RDONLY);
	say("written through read-only: %s", FAILED(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, only, 0)));
	char *copy = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, only, 0);
	say("an ELF file: %d", memcmp(copy, "\177ELF", 4) == 0);
	copy[0] = 1;
	close(only);
	CHECK(ftruncate(fd, 6LL * PAGE) == 0);
	shared = mremap(shared, 2 * PAGE, 5 * PAGE, MREMAP_MAYMOVE);
	say("grown file: %c %d", shared[2 * PAGE], shared[4 * PAGE]);
	shared[4 * PAGE] = 'z';
	CHECK(pread(fd, text, 1, 5 * PAGE) == 1);
	say("  %c", text[0]);

	/* Rights. */
	char *none = MAP(3, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE);
	say("none: %s", rights(none));
	CHECK(mprotect(none + PAGE, PAGE, PROT_READ | PROT_WRITE) == 0);
	say("one of three: %s %s %s", rights(none), rights(none + PAGE), rights(none + 2 * PAGE));
	char *large = mmap(NULL, 512u << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	say("half a GiB reserved: %d", large != MAP_FAILED);
	CHECK(munmap(large, 512u << 20) == 0);
	say("too much: %s", FAILED(mmap(NULL, (size_t)-PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));

	/* The heap. */
	char *end = sbrk(0);
	char *got = sbrk(3 * PAGE);
	if (got == (char *)-1) {
		say("FAILED: the heap does not grow");
		return 1;
	}
	say("sbrk: %d, zero %d", got == end, got[2 * PAGE]);
	memset(got, 1, 3 * PAGE);
	sbrk(-2 * PAGE);
	say("shrunk: %d", (char *)sbrk(0) == end + PAGE);
	got = sbrk(2 * PAGE);
	say("grown again: zero %d", got[PAGE + 1]);
	say("refused: %d", brk(NULL) == 0 && (char *)sbrk(0) == NULL);
	/* mincore, mlock: something sensible. */
	unsigned char v[3] = { 0 };
	CHECK(mincore(none, 3 * PAGE, v) == 0);
	say("mincore of nothing: %s", name_of(mincore(large, PAGE, v)));
	say("mlock: %s", name_of(mlock(target, PAGE)));
	/* Many small ones, freed in another order. */
	char *all[500];
	for (int i = 0; i < 500; i++) {
		all[i] = MAP(1 + i % 5, PROT_READ | PROT_WRITE, MAP_PRIVATE);
		all[i][0] = i;
	}
	int right = 1;
	for (int i = 0; i < 500; i++) {
		int k = i * 7 % 500;
		right &= all[k][0] == (char)k;
		CHECK(munmap(all[k], (1 + k % 5) * PAGE) == 0);
	}
	say("five hundred: %d", right);
	say("page size: %ld %lu", sysconf(_SC_PAGESIZE), getauxval(AT_PAGESZ));
	return 0;
}

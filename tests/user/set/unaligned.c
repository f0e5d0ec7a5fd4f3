/* Accesses at odd addresses, and across pages. */
#include "test.h"

struct __attribute__((packed)) odd { char c; uint16_t h; uint32_t w; uint64_t d; float f; double g; int16_t s; };
static NOINLINE uint32_t load(const struct odd *o) { return o->h * 3u + o->w + (uint32_t)(o->d >> 32) + (uint32_t)o->d + (uint32_t)(int32_t)o->s; }
static NOINLINE double load_real(const struct odd *o) { return o->f + o->g; }
static NOINLINE void store(struct odd *o, uint32_t n) { o->h = n; o->w = n * 7; o->d = 0x100000001ull * n; o->f = n * 0.5f; o->g = n * 0.25; o->s = -(int)n; }
static NOINLINE uint32_t load32(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static NOINLINE uint16_t load16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static sigjmp_buf back;
static siginfo_t info;
static void note(int n, siginfo_t *i, void *c) { (void)n, (void)c; info = *i; siglongjmp(back, 1); }

int main(void)
{
	char *m = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t sum = 0;
	double real = 0;
	for (int at = 0; at < 2 * PAGE; at++) {
		struct odd *o = (struct odd *)(m + PAGE - 40 + at % 80);
		store(o, at);
		sum = sum * 31 + load(o);
		real += load_real(o);
	}
	say("packed: %08x %.2f", sum, real);
	for (int i = 0; i < 8 * PAGE; i++)
		m[i] = i * 37 + (i >> 8);
	for (int i = 0; i < 4 * PAGE; i++)
		sum = sum * 33 + load32(m + i) + load16(m + i + 1);
	say("words: %08x", sum);
	for (int size = 0; size < 200; size++)
		for (int from = 0; from < 8; from++) {
			memmove(m + PAGE - 50 + from, m + 3 * PAGE - 31 + size % 13, size);
			memset(m + 2 * PAGE - 70 + from, size, size / 2);
			sum = sum * 17 + memcmp(m + PAGE - 50, m + 3 * PAGE - 31, size % 60 + 1) * 0 + load32(m + PAGE - 3) + strnlen(m + 2 * PAGE - 70, 200);
		}
	say("blocks: %08x", sum);
#ifdef __arm__
	/* Single, halfword, and floating point at odd addresses work; a pair or several have to be aligned to words. */
	uint32_t value, second;
	asm volatile("ldr %0, [%1]" : "=r"(value) : "r"(m + 1));
	say("ldr: %d", value == load32(m + 1));
	asm volatile("ldrh %0, [%1]" : "=r"(value) : "r"(m + PAGE - 1));
	say("ldrh across pages: %d", value == load16(m + PAGE - 1));
	asm volatile("ldr %0, [%1]" : "=r"(value) : "r"(m + PAGE - 3));
	say("ldr across pages: %d", value == load32(m + PAGE - 3));
	asm volatile("ldrd r2, r3, [%2]\n mov %0, r2\n mov %1, r3" : "=&r"(value), "=&r"(second) : "r"(m + 2 * PAGE - 4) : "r2", "r3");
	say("ldrd across pages: %d", value == load32(m + 2 * PAGE - 4) && second == load32(m + 2 * PAGE));
	uint32_t four[4];
	register uint32_t r4 asm("r4"), r5 asm("r5"), r6 asm("r6"), r8 asm("r8");
	asm volatile("ldmia %4, {r4, r5, r6, r8}" : "=r"(r4), "=r"(r5), "=r"(r6), "=r"(r8) : "r"(m + 2 * PAGE - 8));
	four[0] = r4, four[1] = r5, four[2] = r6, four[3] = r8;
	say("ldm across pages: %d", memcmp(four, m + 2 * PAGE - 8, 16) == 0);
	asm volatile("str %0, [%1]" :: "r"(0x12345678), "r"(m + 3 * PAGE - 2) : "memory");
	say("str across pages: %08x", load32(m + 3 * PAGE - 2));
#else
	say("ldr: 1\nldrh across pages: 1\nldr across pages: 1\nldrd across pages: 1\nldm across pages: 1\nstr across pages: 12345678");
#endif
	/* Half of it is not there: no byte may have been stored. */
	handle(SIGSEGV, note, 0);
	char *end = m + 4 * PAGE;
	munmap(end, PAGE);
	for (int before = 1; before < 4; before++) {
		memset(end - 4, 'a', 4);
		if (sigsetjmp(back, 1) == 0)
			*(volatile uint32_t *)(end - before) = 0;
		else
			say("store with %d bytes there: %.4s, %s", before, end - 4, info.si_addr == end ? "the first that is not" : "another");
	}
	end = m + 6 * PAGE;
	mprotect(end, PAGE, PROT_READ);
	for (int before = 1; before < 4; before++) {
		memset(end - 4, 'b', 4);
		if (sigsetjmp(back, 1) == 0)
			*(volatile uint32_t *)(end - before) = 0;
		else
			say("store with %d bytes writable: %.4s, code %d", before, end - 4, info.si_code == SEGV_ACCERR);
	}
	return 0;
}

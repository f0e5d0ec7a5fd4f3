/* A start, an end and the little C library for GCC's torture tests on the PetaLogix boards, in QEMU and here: the last line on the console is "PASSED", or "FAILED n". */
#include "libc.h"

extern int main(int, char **);
extern char heap[];
static char *top = heap;
FILE *stdout, *stderr;

/* Vectors: what is raised ends the program. */
__asm__(".section .vectors,\"ax\"\n .org 0x20\n mfs r5,resr\n brai raised\n"
        ".text\n .globl _start\n_start: la r1,r0,stack\n la r13,r0,_SDA_BASE_\n la r2,r0,_SDA2_BASE_\n"
        " mfs r3,rmsr\n ori r3,r3,0x100\n mts rmsr,r3\n or r0,r0,r0\n"
        " or r5,r0,r0\n or r6,r0,r0\n brlid r15,main\n or r0,r0,r0\n brlid r15,exit\n or r5,r3,r0\n");

static void put(char c)
{
#ifdef __MICROBLAZEEL__
    while (!(*(volatile unsigned *)(0x83e01000 + 5 * 4) & 0x20)) {}
    *(volatile unsigned *)0x83e01000 = c;
#else
    while (*(volatile unsigned *)0x84000008 & 8) {}
    *(volatile unsigned *)0x84000004 = c;
#endif
}
static void say(const char *s) { while (*s) put(*s++); }
void exit(int n)
{
    char text[16];
    sprintf(text, n & 0xff ? "\nFAILED %d\n" : "\nPASSED\n", n & 0xff);
    say(text);
    for (;;) {}
}
void abort(void) { exit(134); }
void raised(int esr) { exit(200 + (esr & 31)); }

void *malloc(size_t n)
{
    size_t *p = (size_t *)top;
    *p = n;
    top += (n + 15 + 8) & ~15u;
    return p + 2;
}
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t m) { return memset(malloc(n * m), 0, n * m); }
void *realloc(void *p, size_t n)
{
    void *q = malloc(n);
    size_t old = p ? ((size_t *)p)[-2] : 0;
    return memcpy(q, p, old < n ? old : n);
}
int abs(int x) { return x < 0 ? -x : x; }
long labs(long x) { return x < 0 ? -x : x; }
double fabs(double x) { return x < 0 ? -x : x; }
int rand(void)
{
    static unsigned state = 1;
    return (state = state * 1103515245 + 12345) >> 1;
}
int atoi(const char *s)
{
    int n = 0;
    while (*s >= '0' && *s <= '9') n = 10 * n + *s++ - '0';
    return n;
}

void *memcpy(void *d, const void *s, size_t n)
{
    for (size_t i = 0; i < n; i++) ((volatile char *)d)[i] = ((const char *)s)[i];
    return d;
}
void *memmove(void *d, const void *s, size_t n)
{
    if ((char *)d <= (const char *)s) return memcpy(d, s, n);
    while (n--) ((volatile char *)d)[n] = ((const char *)s)[n];
    return d;
}
void *memset(void *d, int c, size_t n)
{
    for (size_t i = 0; i < n; i++) ((volatile char *)d)[i] = c;
    return d;
}
int memcmp(const void *a, const void *b, size_t n)
{
    const unsigned char *x = a, *y = b;
    for (; n; n--, x++, y++) if (*x != *y) return *x - *y;
    return 0;
}
void *memchr(const void *s, int c, size_t n)
{
    for (const unsigned char *p = s; n--; p++) if (*p == (unsigned char)c) return (void *)p;
    return 0;
}
size_t strlen(const char *s)
{
    size_t n = 0;
    while (((const volatile char *)s)[n]) n++;
    return n;
}
int strncmp(const char *a, const char *b, size_t n)
{
    for (; n && *a && *a == *b; n--) a++, b++;
    return n ? (unsigned char)*a - (unsigned char)*b : 0;
}
int strcmp(const char *a, const char *b) { return strncmp(a, b, (size_t)-1); }
char *strcpy(char *d, const char *s) { return memcpy(d, s, strlen(s) + 1); }
char *strncpy(char *d, const char *s, size_t n)
{
    size_t len = strlen(s);
    memcpy(d, s, len < n ? len : n);
    if (len < n) memset(d + len, 0, n - len);
    return d;
}
char *strcat(char *d, const char *s) { return strcpy(d + strlen(d), s), d; }
char *strncat(char *d, const char *s, size_t n)
{
    size_t len = strlen(s);
    char *end = d + strlen(d);
    if (len > n) len = n;
    memcpy(end, s, len);
    end[len] = 0;
    return d;
}
char *strchr(const char *s, int c)
{
    for (; *s != (char)c; s++) if (!*s) return 0;
    return (char *)s;
}
char *strrchr(const char *s, int c)
{
    for (size_t n = strlen(s) + 1; n--;) if (s[n] == (char)c) return (char *)s + n;
    return 0;
}
char *strstr(const char *s, const char *t)
{
    for (size_t n = strlen(t); strncmp(s, t, n); s++) if (!*s) return 0;
    return (char *)s;
}
size_t strcspn(const char *s, const char *set)
{
    size_t n = 0;
    while (s[n] && !strchr(set, s[n])) n++;
    return n;
}
size_t strspn(const char *s, const char *set)
{
    size_t n = 0;
    while (s[n] && strchr(set, s[n])) n++;
    return n;
}
char *strpbrk(const char *s, const char *set)
{
    s += strcspn(s, set);
    return *s ? (char *)s : 0;
}

/* Integers, characters and text, with widths and zeros in front. */
int vsnprintf(char *to, size_t size, const char *f, va_list args)
{
    size_t n = 0;
#define OUT(c) do { char c_ = (c); if (n + 1 < size) to[n] = c_; n++; } while (0)
    for (; *f; f++) {
        if (*f != '%') { OUT(*f); continue; }
        int width = 0, longs = 0, base = 10, sign = 0;
        char pad = ' ', digits[24];
        if (*++f == '0') pad = '0', f++;
        while (*f >= '0' && *f <= '9') width = 10 * width + *f++ - '0';
        while (*f == 'l' || *f == 'z' || *f == 'h') longs += *f++ == 'l';
        if (*f == 'c') { OUT(va_arg(args, int)); continue; }
        if (*f == 's') {
            const char *s = va_arg(args, const char *);
            for (int pads = width - (int)strlen(s); pads > 0; pads--) OUT(' ');
            while (*s) OUT(*s++);
            continue;
        }
        if (*f == '%') { OUT('%'); continue; }
        unsigned long long x = longs > 1 ? va_arg(args, unsigned long long) : *f == 'd' || *f == 'i' ? (unsigned long long)(long long)va_arg(args, int) : va_arg(args, unsigned);
        if ((*f == 'd' || *f == 'i') && (long long)x < 0) sign = 1, x = -x;
        if (*f == 'x' || *f == 'X' || *f == 'p') base = 16;
        if (*f == 'o') base = 8;
        int len = 0;
        do digits[len++] = "0123456789abcdef"[x % base]; while (x /= base);
        if (sign && pad == '0') OUT('-');
        for (int pads = width - len - sign; pads > 0; pads--) OUT(pad);
        if (sign && pad != '0') OUT('-');
        while (len) OUT(digits[--len]);
    }
    if (size) to[n < size ? n : size - 1] = 0;
    return n;
}
int vsprintf(char *to, const char *f, va_list args) { return vsnprintf(to, 0x7fffffff, f, args); }
int vfprintf(FILE *file, const char *f, va_list args)
{
    char text[1024];
    int n = vsnprintf(text, sizeof text, f, args);
    say(text);
    return n;
}
int vprintf(const char *f, va_list args) { return vfprintf(stdout, f, args); }
#define WITH_ARGUMENTS(call) va_list args; va_start(args, f); int n = call; va_end(args); return n
int printf(const char *f, ...) { WITH_ARGUMENTS(vprintf(f, args)); }
int fprintf(FILE *file, const char *f, ...) { WITH_ARGUMENTS(vfprintf(file, f, args)); }
int sprintf(char *to, const char *f, ...) { WITH_ARGUMENTS(vsprintf(to, f, args)); }
int snprintf(char *to, size_t size, const char *f, ...) { WITH_ARGUMENTS(vsnprintf(to, size, f, args)); }
int putchar(int c) { return put(c), (unsigned char)c; }
int puts(const char *s) { return say(s), put('\n'), 1; }
int fputs(const char *s, FILE *file) { return say(s), 1; }
int fputc(int c, FILE *file) { return putchar(c); }
int fflush(FILE *file) { return 0; }

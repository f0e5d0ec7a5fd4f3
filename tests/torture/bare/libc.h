/* What GCC's torture tests use of a C library; every header that they include is this one. */
#ifndef LIBC_H
#define LIBC_H
#include <stdarg.h>
#include <stddef.h>
typedef int ssize_t;
typedef struct { int n; } FILE;
extern FILE *stdout, *stderr;
#define EOF (-1)
#define EXIT_SUCCESS 0
#define EXIT_FAILURE 1
#define RAND_MAX 0x7fffffff
#define assert(e) ((e) ? (void)0 : abort())
void abort(void) __attribute__((noreturn));
void exit(int) __attribute__((noreturn));
void *malloc(size_t), *calloc(size_t, size_t), *realloc(void *, size_t);
void free(void *);
int abs(int), rand(void), atoi(const char *);
long labs(long);
void *memcpy(void *, const void *, size_t), *memmove(void *, const void *, size_t), *memset(void *, int, size_t), *memchr(const void *, int, size_t);
int memcmp(const void *, const void *, size_t), strcmp(const char *, const char *), strncmp(const char *, const char *, size_t);
size_t strlen(const char *), strspn(const char *, const char *), strcspn(const char *, const char *);
char *strcpy(char *, const char *), *strncpy(char *, const char *, size_t), *strcat(char *, const char *), *strncat(char *, const char *, size_t);
char *strchr(const char *, int), *strrchr(const char *, int), *strstr(const char *, const char *), *strpbrk(const char *, const char *);
int printf(const char *, ...), sprintf(char *, const char *, ...), snprintf(char *, size_t, const char *, ...), fprintf(FILE *, const char *, ...);
int vprintf(const char *, va_list), vsprintf(char *, const char *, va_list), vsnprintf(char *, size_t, const char *, va_list);
int vfprintf(FILE *, const char *, va_list), puts(const char *), putchar(int), fputs(const char *, FILE *), fputc(int, FILE *), fflush(FILE *);
double fabs(double);
#endif

#include <stdio.h>
#include <unistd.h>
extern int shared_variable;
int from_main(int);
int library_variable = 11;
static __thread int value = 100, big[1000];
static void tell(const char *text) { int n = 0; while (text[n]) n++; if (write(1, text, n) != n) _exit(1); }
__attribute__((constructor)) static void begin(void) { tell("library begins\n"); }
__attribute__((destructor)) static void end(void) { tell("library ends\n"); }
int calls_back(int x) { return from_main(x) + library_variable; }
int thread_local_value(int add) { value += add; big[5] = value; return big[5]; }
double real(double d, float f, int i) { return d * f + i; }

/* Dies in a function, in the way its first argument says, with another thread if there is a second. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

volatile int global = 41;

static void *other(void *x)
{
    pause();
    return x;
}

__attribute__((noinline)) void crash(int how)
{
    global++;
    if (how == 0)
        *(volatile int *)16 = 1;
    if (how == 1)
        abort();
    puts("ready");
    fflush(stdout);
    for (;;)
        global = 42;
}

int main(int count, char **arguments)
{
    pthread_t thread;
    if (count > 2)
        pthread_create(&thread, 0, other, 0);
    crash(atoi(arguments[1]));
    return 0;
}

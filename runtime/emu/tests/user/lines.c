/* Runs some lines often, some never, and some in a child. */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

volatile int sum;

__attribute__((noinline)) static void never(void)
{
    sum = 1; /* never */
}

__attribute__((noinline)) static void child(void)
{
    sum = 2; /* child */
}

int main(int count, char **arguments)
{
    (void)arguments;
    for (int i = 0; i < 7; i++)
        sum += i; /* seven */
    if (count > 5)
        never();
    if (fork() == 0) {
        child();
        return 0;
    }
    wait(0);
    return 0;
}

/* Four threads call the same function; then a signal comes, and a child is made. */
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

volatile int hits;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((noinline)) void hit(int number)
{
    pthread_mutex_lock(&mutex);
    hits += number >= 0;
    pthread_mutex_unlock(&mutex);
}

static void *run(void *x)
{
    for (int i = 0; i < 100; i++)
        hit(i);
    return x;
}

static void caught(int number)
{
    hits += 1000 + 0 * number;
}

int main(void)
{
    pthread_t threads[4];
    signal(SIGUSR1, caught);
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], 0, run, 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], 0);
    raise(SIGUSR1);
    if (fork() == 0) {
        hit(0);
        _exit(0);
    }
    wait(0);
    return hits == 1400 ? 7 : 1;
}

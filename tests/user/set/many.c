/* Many threads: two hundred that do something together; ten thousand that are made or refused. */
#include "test.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int here, sum;
static atomic_int started;
static void *together(void *n)
{
	pthread_mutex_lock(&mutex);
	if (++here == 200)
		pthread_cond_broadcast(&cond);
	while (here < 200)
		pthread_cond_wait(&cond, &mutex);
	sum += (intptr_t)n;
	pthread_mutex_unlock(&mutex);
	return n;
}
static void *waits(void *x)
{
	started++;
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	return x;
}

int main(void)
{
	static pthread_t t[10000];
	pthread_attr_t a;
	pthread_attr_init(&a);
	CHECK(pthread_attr_setstacksize(&a, 64 * 1024) == 0);
	for (int round = 0; round < 3; round++) {
		here = sum = 0;
		for (int i = 0; i < 200; i++)
			CHECK(pthread_create(&t[i], &a, together, (void *)(intptr_t)i) == 0);
		for (int i = 0; i < 200; i++)
			CHECK(pthread_join(t[i], NULL) == 0);
		say("two hundred: %d", sum);
	}
	pthread_mutex_lock(&mutex);
	pthread_attr_setstacksize(&a, PTHREAD_STACK_MIN);
	int n = 0, error = 0;
	for (; n < 10000 && !error; n += !error)
		error = pthread_create(&t[n], &a, waits, NULL);
	/* How many there can be is the machine's affair; the rest must be told so. */
	say("refused: %s", error == 0 || error == EAGAIN || error == ENOMEM ? "not at all, or cleanly" : name_of_error(error));
	pthread_mutex_unlock(&mutex);
	for (int i = 0; i < n; i++)
		CHECK(pthread_join(t[i], NULL) == 0);
	say("all that were made ran: %d", started == n && n > 500);
	CHECK(pthread_create(&t[0], NULL, together, NULL) == 0);
	pthread_mutex_lock(&mutex);
	pthread_mutex_unlock(&mutex);
	pthread_join(t[0], NULL);
	say("another works");
	return 0;
}

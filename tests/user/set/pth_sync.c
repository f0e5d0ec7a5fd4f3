/* Condition variables, rwlocks, barriers, semaphores, spinlocks. */
#include "test.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER, other = PTHREAD_COND_INITIALIZER;
static int waiting, released, turn;
static void *wait_for_release(void *x)
{
	pthread_mutex_lock(&mutex);
	waiting++;
	pthread_cond_signal(&other);
	while (!released)
		pthread_cond_wait(&cond, &mutex);
	waiting--;
	pthread_mutex_unlock(&mutex);
	return x;
}
static void *ping(void *n)
{
	int me = (intptr_t)n;
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&mutex);
		while (turn % 3 != me)
			pthread_cond_wait(&cond, &mutex);
		turn++;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static int pair[2];
static atomic_int readers, most, torn;
static void *reader(void *x)
{
	for (int i = 0; i < 2000; i++) {
		pthread_rwlock_rdlock(&rw);
		int now = atomic_fetch_add(&readers, 1) + 1, old = most;
		while (now > old && !atomic_compare_exchange_weak(&most, &old, now))
			;
		if (pair[0] != pair[1])
			atomic_fetch_add(&torn, 1);
		atomic_fetch_sub(&readers, 1);
		pthread_rwlock_unlock(&rw);
	}
	return x;
}
static void *writer(void *x)
{
	for (int i = 0; i < 500; i++) {
		pthread_rwlock_wrlock(&rw);
		pair[0]++;
		if (readers)
			atomic_fetch_add(&torn, 1);
		if (i % 50 == 0)
			sched_yield();
		pair[1]++;
		pthread_rwlock_unlock(&rw);
	}
	return x;
}
static void *try_locks(void *x) { int *r = x; r[0] = pthread_rwlock_tryrdlock(&rw); if (!r[0]) pthread_rwlock_unlock(&rw); r[1] = pthread_rwlock_trywrlock(&rw); if (!r[1]) pthread_rwlock_unlock(&rw); return NULL; }
static pthread_barrier_t barrier;
static atomic_int serial, phase[50], early;
static void *barriers(void *x)
{
	for (int i = 0; i < 50; i++) {
		atomic_fetch_add(&phase[i], 1);
		if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD)
			atomic_fetch_add(&serial, 1);
		if (phase[i] != 5)
			atomic_fetch_add(&early, 1);
	}
	return x;
}
static sem_t sem, full, empty;
static int slot;
static void *producer(void *x) { for (int i = 1; i <= 2000; i++) { sem_wait(&empty); slot = i; sem_post(&full); } return x; }
static pthread_spinlock_t spin;
static int spun;
static void *spinner(void *x) { for (int i = 0; i < 5000; i++) { pthread_spin_lock(&spin); spun++; pthread_spin_unlock(&spin); } return x; }

static struct timespec in(clockid_t clock, int milliseconds)
{
	struct timespec t;
	clock_gettime(clock, &t);
	t.tv_nsec += milliseconds * 1000000L;
	while (t.tv_nsec >= 1000000000)
		t.tv_sec++, t.tv_nsec -= 1000000000;
	return t;
}

int main(void)
{
	pthread_t t[10];
	for (int i = 0; i < 10; i++)
		pthread_create(&t[i], NULL, wait_for_release, NULL);
	pthread_mutex_lock(&mutex);
	while (waiting < 10)
		pthread_cond_wait(&other, &mutex);
	released = 1;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&mutex);
	for (int i = 0; i < 10; i++)
		pthread_join(t[i], NULL);
	say("broadcast: %d left", waiting);
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, ping, (void *)(intptr_t)i);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	say("turns: %d", turn);
	struct timespec until = in(CLOCK_REALTIME, 20);
	pthread_mutex_lock(&mutex);
	say("timedwait: %s", name_of_error(pthread_cond_timedwait(&cond, &mutex, &until)));
	say("it is past that: %d, mutex held: %s", ({ struct timespec now = in(CLOCK_REALTIME, 0); now.tv_sec > until.tv_sec || (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec); }), name_of_error(pthread_mutex_trylock(&mutex)));
	until.tv_nsec = 1000000000;
	say("bad time: %s", name_of_error(pthread_cond_timedwait(&cond, &mutex, &until)));
	until = in(CLOCK_MONOTONIC, 20);
	say("clockwait: %s", name_of_error(pthread_cond_clockwait(&cond, &mutex, CLOCK_MONOTONIC, &until)));
	pthread_mutex_unlock(&mutex);

	for (int i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, i < 4 ? reader : writer, NULL);
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	say("rwlock: %d %d torn %d", pair[0], pair[1], torn);
	int r[2];
	pthread_rwlock_rdlock(&rw);
	pthread_create(&t[0], NULL, try_locks, r);
	pthread_join(t[0], NULL);
	say("read-locked: read %s, write %s", name_of_error(r[0]), name_of_error(r[1]));
	pthread_rwlock_unlock(&rw);
	pthread_rwlock_wrlock(&rw);
	pthread_create(&t[0], NULL, try_locks, r);
	pthread_join(t[0], NULL);
	say("write-locked: read %s, write %s", name_of_error(r[0]), name_of_error(r[1]));
	say("deadlock: %s", name_of_error(pthread_rwlock_rdlock(&rw)));
	until = in(CLOCK_REALTIME, 10);
	say("timed: %s", name_of_error(pthread_rwlock_timedwrlock(&rw, &until)));
	pthread_rwlock_unlock(&rw);

	pthread_barrier_init(&barrier, NULL, 5);
	for (int i = 0; i < 5; i++)
		pthread_create(&t[i], NULL, barriers, NULL);
	for (int i = 0; i < 5; i++)
		pthread_join(t[i], NULL);
	say("barrier: serial %d, early %d", serial, early);

	sem_init(&sem, 0, 2);
	int value;
	CHECK(sem_wait(&sem) == 0 && sem_trywait(&sem) == 0);
	say("semaphore: %s", name_of(sem_trywait(&sem)));
	until = in(CLOCK_REALTIME, 10);
	say("timed: %s", name_of(sem_timedwait(&sem, &until)));
	sem_post(&sem);
	sem_getvalue(&sem, &value);
	say("value %d", value);
	sem_init(&full, 0, 0);
	sem_init(&empty, 0, 1);
	pthread_create(&t[0], NULL, producer, NULL);
	long sum = 0;
	for (int i = 0; i < 2000; i++) {
		sem_wait(&full);
		sum += slot;
		sem_post(&empty);
	}
	pthread_join(t[0], NULL);
	say("sum %ld", sum);
	char name[40];
	sprintf(name, "/emu-set-%d", getpid());
	sem_t *named = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
	say("named: %s", named == SEM_FAILED ? name_of(-1) : "ok");
	if (named != SEM_FAILED) {
		CHILD("a child with it", sem_wait(named); _exit(3));
		say("taken: %s, unlink %s", name_of(sem_trywait(named)), name_of(sem_unlink(name)));
	}

	pthread_spin_init(&spin, 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, spinner, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	pthread_spin_lock(&spin);
	say("spun %d, %s", spun, name_of_error(pthread_spin_trylock(&spin)));
	return 0;
}

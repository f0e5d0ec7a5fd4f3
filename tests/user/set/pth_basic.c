/* Threads that begin and end: values, attributes, thread-local data, destructors, once. */
#include "test.h"

static void *doubled(void *x) { return (void *)((intptr_t)x * 2); }
static __thread int local = 5;
static __thread char buffer[300] = "initial";
static pthread_key_t keys[3];
static atomic_int destroyed, order, detached;
static void destroy(void *v) { atomic_fetch_add(&destroyed, (intptr_t)v); }
static void destroy_again(void *v)
{
	/* Set once more, it is called once more. */
	if ((intptr_t)v > 1)
		pthread_setspecific(keys[1], (void *)((intptr_t)v - 1));
	atomic_fetch_add(&order, 1);
}
static void *with_keys(void *n)
{
	pthread_setspecific(keys[0], n);
	pthread_setspecific(keys[1], (void *)3);
	CHECK(local == 5 && strcmp(buffer, "initial") == 0);
	local = (intptr_t)n;
	snprintf(buffer, sizeof buffer, "thread %d", local);
	sched_yield();
	CHECK(local == (intptr_t)n && pthread_getspecific(keys[0]) == n);
	pthread_exit((void *)(intptr_t)local);
}
static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_int initialised;
static void initialise(void) { nap(5); atomic_fetch_add(&initialised, 1); }
static void *onceler(void *x) { pthread_once(&once, initialise); return (void *)(intptr_t)(initialised == 1 && x == NULL); }
static void *detach(void *x) { pthread_detach(pthread_self()); atomic_fetch_add(&detached, 1); return x; }
static void *stacked(void *x)
{
	pthread_attr_t a;
	void *base;
	size_t size, guard;
	char here;
	CHECK(pthread_getattr_np(pthread_self(), &a) == 0);
	pthread_attr_getstack(&a, &base, &size);
	pthread_attr_getguardsize(&a, &guard);
	say("stack of %zu KiB, guard %zu, %s it", size / 1024, guard, &here >= (char *)base && &here < (char *)base + size ? "on" : "NOT ON");
	return x;
}
static void *sleeper(void *x) { nap(100); return x; }
static void *quick(void *x) { atomic_store((atomic_int *)x, 1); return NULL; }
static NOINLINE int recurse(int n) { volatile char b[200]; b[0] = n; return n ? 1 + recurse(n - 1) : b[0]; }
static void *deep(void *x) { return (void *)(intptr_t)recurse((intptr_t)x); }

int main(void)
{
	pthread_t t[20];
	void *value;
	for (int i = 0; i < 20; i++)
		CHECK(pthread_create(&t[i], NULL, doubled, (void *)(intptr_t)i) == 0);
	int sum = 0;
	for (int i = 0; i < 20; i++) {
		CHECK(pthread_join(t[i], &value) == 0);
		sum += (intptr_t)value;
	}
	say("sum of values %d", sum);
	for (int i = 0; i < 1000; i++) {
		CHECK(pthread_create(&t[0], NULL, doubled, (void *)(intptr_t)i) == 0 && pthread_join(t[0], &value) == 0 && (intptr_t)value == 2 * i);
	}
	say("a thousand, one after another");

	pthread_key_create(&keys[0], destroy);
	pthread_key_create(&keys[1], destroy_again);
	pthread_key_create(&keys[2], NULL);
	local = -1;
	for (int i = 0; i < 10; i++)
		pthread_create(&t[i], NULL, with_keys, (void *)(intptr_t)(i + 1));
	sum = 0;
	for (int i = 0; i < 10; i++) {
		pthread_join(t[i], &value);
		sum += (intptr_t)value;
	}
	say("keys: sum %d, destroyed %d, rounds %d, own %d", sum, destroyed, order, local);
	say("deleted: %s", name_of_error(pthread_key_delete(keys[2])));
	say("used: %s", name_of_error(pthread_setspecific(keys[2], &sum)));

	sum = 0;
	for (int i = 0; i < 10; i++)
		pthread_create(&t[i], NULL, onceler, NULL);
	for (int i = 0; i < 10; i++) {
		pthread_join(t[i], &value);
		sum += (intptr_t)value;
	}
	say("once: %d saw it done", sum);

	pthread_attr_t attributes;
	pthread_attr_init(&attributes);
	CHECK(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0);
	atomic_int flag = 0;
	pthread_create(&t[0], &attributes, quick, &flag);
	while (!flag)
		sched_yield();
	pthread_create(&t[0], NULL, detach, NULL);
	while (!detached)
		sched_yield();
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_JOINABLE);
	say("small stack: %s", name_of_error(pthread_attr_setstacksize(&attributes, 100)));
	pthread_attr_setstacksize(&attributes, 256 * 1024);
	pthread_create(&t[0], &attributes, stacked, NULL);
	pthread_join(t[0], NULL);
	void *own = mmap(NULL, 512 * 1024, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_attr_setstack(&attributes, own, 512 * 1024);
	pthread_create(&t[0], &attributes, stacked, NULL);
	pthread_join(t[0], NULL);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 4 << 20);
	pthread_create(&t[0], &attributes, deep, (void *)10000);
	pthread_join(t[0], &value);
	say("depth %d", (int)(intptr_t)value);

	pthread_create(&t[0], NULL, sleeper, (void *)9);
	say("tryjoin: %s", name_of_error(pthread_tryjoin_np(t[0], &value)));
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	say("timedjoin: %s", name_of_error(pthread_timedjoin_np(t[0], &value, &until)));
	until.tv_sec += 100;
	say("timedjoin: %s", name_of_error(pthread_timedjoin_np(t[0], &value, &until)));
	say("value %d, self: %s, of another %s", (int)(intptr_t)value, name_of_error(pthread_join(pthread_self(), NULL)), pthread_equal(pthread_self(), t[1]) ? "equal" : "not equal");
	char name[16];
	CHECK(pthread_setname_np(pthread_self(), "short name") == 0 && pthread_getname_np(pthread_self(), name, sizeof name) == 0);
	say("name %s, too long: %s", name, name_of_error(pthread_setname_np(pthread_self(), "a name that is too long")));
	cpu_set_t cpus;
	CHECK(pthread_getaffinity_np(pthread_self(), sizeof cpus, &cpus) == 0);
	say("affinity: %d", CPU_COUNT(&cpus) > 0);
	struct sched_param parameters;
	int policy;
	pthread_getschedparam(pthread_self(), &policy, &parameters);
	say("policy %d priority %d", policy, parameters.sched_priority);
	clockid_t clock;
	struct timespec used;
	CHECK(pthread_getcpuclockid(pthread_self(), &clock) == 0);
	say("its clock: %s", name_of(clock_gettime(clock, &used)));
	say("id of the main thread is the process's: %d", syscall(SYS_gettid) == getpid());
	return 0;
}

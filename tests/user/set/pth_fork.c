/* Processes with many threads that fork, end, or lose their main thread. */
#include "test.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char trail[100];
static atomic_int quiet;
static void mark(const char *text) { if (!quiet) strcat(trail, text); }
static void before(void) { mark(" prepare"); pthread_mutex_lock(&mutex); }
static void in_parent(void) { mark(" parent"); pthread_mutex_unlock(&mutex); }
static void in_child(void) { mark(" child"); pthread_mutex_unlock(&mutex); }
static void second(void) { mark(" second"); }
static atomic_int stop, running;
static volatile unsigned counters[4];
static void *computes(void *n) { running++; while (!stop) { counters[(intptr_t)n]++; if (counters[(intptr_t)n] % 1000 == 0) { pthread_mutex_lock(&mutex); free(malloc(100)); pthread_mutex_unlock(&mutex); } } return NULL; }
static void *sleeps(void *x) { running++; for (;;) pause(); return x; }
static void *forks(void *x)
{
	pid_t pid = fork();
	if (pid == 0) {
		/* The others are not here. */
		unsigned was[4], moved = 0;
		memcpy(was, (void *)counters, sizeof was);
		nap(5);
		for (int i = 0; i < 4; i++)
			moved += was[i] != counters[i];
		say("in the child: its own thread is the process: %d, others run: %d,%s", syscall(SYS_gettid) == getpid(), moved, trail);
		free(malloc(1000));
		pthread_t t;
		stop = 1;
		CHECK(pthread_create(&t, NULL, computes, NULL) == 0 && pthread_join(t, NULL) == 0);
		_exit(7);
	}
	say_end("forked by a thread", pid);
	return x;
}
static void *exits(void *x) { nap(10); exit((intptr_t)x); }
static void *exits_thread(void *x) { nap(20); say("the last thread"); return x; }
static void at_exit(void) { say("at exit"); }
static void *grandchild(void *x) { pid_t pid = fork(); if (pid == 0) _exit(9); say_end("grandchild", pid); return x; }
static void *forks_often(void *x)
{
	for (int i = 0; i < 25; i++) {
		pid_t pid = fork();
		int status = -1;
		if (pid == 0)
			_exit(i);
		CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == i);
	}
	return x;
}

int main(void)
{
	pthread_t t[4], f;
	pthread_atfork(before, in_parent, in_child);
	pthread_atfork(second, second, second);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, computes, (void *)(intptr_t)i);
	while (running < 4)
		sched_yield();
	pthread_create(&f, NULL, forks, NULL);
	pthread_join(f, NULL);
	say("in the parent:%s", trail);
	stop = 1;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	stop = 0;
	quiet = 1;
	/* Several threads fork at once. */
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, forks_often, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	say("a hundred forks by four threads");
	running = 0;
	CHILD("exit while others compute", for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, computes, (void *)(intptr_t)i); while (running < 4) sched_yield(); _exit(11));
	CHILD("exit while others sleep", for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, sleeps, NULL); while (running < 4) sched_yield(); _exit(12));
	CHILD("exit by a thread, others computing", for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, computes, (void *)(intptr_t)i); pthread_create(&t[3], NULL, exits, (void *)13); for (;;) ;);
	CHILD("exit by a thread, main in a call", pthread_create(&t[3], NULL, exits, (void *)14); char c; int p[2]; CHECK(pipe(p) == 0); (void)!read(p[0], &c, 1));
	CHILD("exit by a thread, main joining", atexit(at_exit); pthread_create(&t[3], NULL, exits, (void *)15); pthread_join(t[3], NULL));
	CHILD("main thread leaves", atexit(at_exit); pthread_create(&t[0], NULL, exits_thread, NULL); pthread_exit(NULL));
	CHILD("a thread's child", pthread_create(&t[0], NULL, grandchild, NULL); pthread_join(t[0], NULL));
	CHILD("killed while others compute", for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, computes, (void *)(intptr_t)i); raise(SIGKILL));
	CHILD("main thread leaves, then fork", pthread_create(&t[0], NULL, grandchild, NULL); pthread_exit(NULL));
	return 0;
}

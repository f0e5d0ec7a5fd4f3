/* Memory shared between processes, and memory that is not: copies on write. */
#include "test.h"

struct shared { pthread_mutex_t mutex; pthread_cond_t cond; sem_t sem; pthread_barrier_t barrier; _Atomic uint32_t word; int count, turn; };
static int global = 5;
static char table[20 * PAGE];
static NOINLINE int stack_deep(int n) { volatile char b[500]; memset((char *)b, n, 500); return n ? stack_deep(n - 1) + b[3] - (char)n : global; }

int main(void)
{
	struct shared *s = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *private = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(private, 1, 4 * PAGE);
	memset(table, 2, sizeof table);
	int local = 3;
	int *heap = malloc(100000);
	heap[20000] = 4;
	CHILD("copies", for (int i = 0; i < 20; i++) { CHECK(table[i * PAGE] == 2); table[i * PAGE] = 9; } private[PAGE] = 8; local = 7; heap[20000] = 6; global = 1; s->count = 55; CHECK(stack_deep(100) == 1); exit(private[PAGE] + local));
	int kept = 1;
	for (int i = 0; i < 20; i++)
		kept &= table[i * PAGE] == 2;
	say("the parent's: %d %d %d %d %d, shared %d", kept, private[PAGE], local, heap[20000], global, s->count);
	/* The parent's writes after the fork are not the child's. */
	int ends[2];
	char c;
	CHECK(pipe(ends) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		CHECK(read(ends[0], &c, 1) == 1);
		_exit(private[0] + global + heap[20000]);
	}
	private[0] = 100;
	global = 50;
	heap[20000] = 60;
	CHECK(write(ends[1], "x", 1) == 1);
	say_end("the child's", pid);
	global = 5;
	/* Generations. */
	pid = fork();
	if (pid == 0) {
		global++;
		pid_t next = fork();
		if (next == 0) {
			global++;
			_exit(global);
		}
		say_end("grandchild", next);
		_exit(global);
	}
	say_end("child", pid);

	/* Synchronisation between processes. */
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	pthread_barrierattr_t ba;
	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&s->mutex, &ma);
	pthread_condattr_init(&ca);
	pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&s->cond, &ca);
	pthread_barrierattr_init(&ba);
	pthread_barrierattr_setpshared(&ba, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&s->barrier, &ba, 4);
	sem_init(&s->sem, 1, 0);
	s->count = 0;
	for (int i = 0; i < 3; i++)
		if (fork() == 0) {
			pthread_barrier_wait(&s->barrier);
			for (int k = 0; k < 3000; k++) {
				pthread_mutex_lock(&s->mutex);
				s->count++;
				pthread_mutex_unlock(&s->mutex);
			}
			for (int k = 0; k < 100; k++) {
				pthread_mutex_lock(&s->mutex);
				while (s->turn % 3 != i)
					pthread_cond_wait(&s->cond, &s->mutex);
				s->turn++;
				pthread_cond_broadcast(&s->cond);
				pthread_mutex_unlock(&s->mutex);
			}
			sem_post(&s->sem);
			/* Until the word changes. */
			while (s->word == 0)
				syscall(SYS_futex, &s->word, FUTEX_WAIT, 0, NULL, NULL, 0);
			_exit(s->word);
		}
	pthread_barrier_wait(&s->barrier);
	for (int i = 0; i < 3; i++)
		CHECK(sem_wait(&s->sem) == 0);
	say("count %d, turns %d", s->count, s->turn);
	s->word = 17;
	syscall(SYS_futex, &s->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	int status, sum = 0;
	while (wait(&status) > 0)
		sum += WEXITSTATUS(status);
	say("woken: %d", sum);

	/* One file, mapped twice; by another process a third time. */
	FILE *file = tmpfile();
	int fd = fileno(file);
	CHECK(ftruncate(fd, 2 * PAGE) == 0);
	volatile int *a = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE), *b = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
	a[10] = 42;
	say("twice: %d", b[10]);
	CHILD("thrice", volatile int *d = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); CHECK(d[PAGE / 4 + 10] == 42); d[PAGE / 4 + 11] = 43; _exit(a[11]));
	say("seen: %d", b[11]);
	int memory = memfd_create("test", MFD_CLOEXEC);
	CHECK(memory >= 0 && ftruncate(memory, PAGE) == 0);
	char *m1 = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0), *m2 = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, memory, 0);
	strcpy(m1, "by memfd");
	say("%s", m2);
	/* A word of a mapped file as a futex. */
	pid = fork();
	if (pid == 0) {
		while (a[0] == 0)
			syscall(SYS_futex, a, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(a[0]);
	}
	nap(10);
	b[0] = 23;
	syscall(SYS_futex, b, FUTEX_WAKE, 1, NULL, NULL, 0);
	say_end("futex in a file", pid);
	/* Fork in a process with much memory, again and again. */
	char *much = mmap(NULL, 32 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(much, 3, 32 << 20);
	int right = 0;
	for (int i = 0; i < 50; i++) {
		pid = fork();
		if (pid == 0) {
			much[i * PAGE * 100] = 4;
			_exit(much[i * PAGE * 100] + much[(i + 1) * PAGE * 100]);
		}
		CHECK(waitpid(pid, &status, 0) == pid);
		right += WEXITSTATUS(status) == 7 && much[i * PAGE * 100] == 3;
	}
	say("forks: %d", right);
	/* Not copied, or emptied. */
	char *kept_here = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	kept_here[0] = 9;
	CHECK(madvise(kept_here, PAGE, MADV_DONTFORK) == 0);
	CHILD("MADV_DONTFORK", kept_here[0] = 1);
	say("still here: %d", kept_here[0]);
	return 0;
}

/* Shared libraries loaded while the program runs: dl_library.c, made for it by run.sh and named as its argument. */
#include "test.h"
#include <dlfcn.h>
#include <link.h>

int shared_variable = 3;
int from_main(int x) { return x * 10 + shared_variable; }
static atomic_int wrong;
static const char *library;
static int objects(struct dl_phdr_info *info, size_t size, void *count) { (void)size; *(int *)count += strstr(info->dlpi_name, "dl_library") != NULL; return 0; }
static void *loads(void *x)
{
	for (int i = 0; i < 30; i++) {
		void *h = dlopen(library, RTLD_NOW);
		int (*tls)(int) = h ? (int (*)(int))dlsym(h, "thread_local_value") : NULL;
		if (!tls || tls(i) != 100 + i || tls(0) != 100 + i)
			wrong++;
		if (h)
			dlclose(h);
		else
			break;
		if (x == NULL)
			break;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	library = argc > 1 ? argv[1] : "./dl_library.so";
	void *h = dlopen(library, RTLD_LAZY);
	if (!h) {
		say("FAILED: %s", dlerror());
		return 1;
	}
	int (*calls_back)(int) = (int (*)(int))dlsym(h, "calls_back");
	say("calls back: %d", calls_back(4));
	int *variable = dlsym(h, "library_variable");
	say("its variable: %d", *variable);
	shared_variable = 7;
	say("ours: %d", calls_back(4));
	void *nothing = dlsym(h, "nothing");
	say("not there: %d %d", nothing == NULL, dlerror() != NULL);
	Dl_info info;
	CHECK(dladdr((void *)calls_back, &info) != 0);
	say("dladdr: %s", info.dli_sname);
	double (*real)(double, float, int) = (double (*)(double, float, int))dlsym(h, "real");
	say("floating point: %.3f", real(1.5, 2.25f, 3));
	int count = 0;
	dl_iterate_phdr(objects, &count);
	say("objects: %d", count);
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, loads, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	say("thread-local: wrong %d", wrong);
	void *again = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
	say("the same: %d", again == h);
	dlclose(again);
	dlclose(h);
	count = 0;
	dl_iterate_phdr(objects, &count);
	say("closed: %d", count);
	say("missing: %d", dlopen("./nowhere.so", RTLD_NOW) == NULL);
	say("no library: %d", dlopen("/etc/passwd", RTLD_NOW) == NULL);
	return 0;
}

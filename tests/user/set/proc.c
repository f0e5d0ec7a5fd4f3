/* What a process knows of itself and of time: /proc, the auxiliary vector, limits, clocks. */
#include "test.h"
#include <grp.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/utsname.h>

extern char **environ;

int main(int argc, char **argv)
{
	char text[5000], path[5000], line[5000];
	int n;
	say("arguments: %d", argc);
	n = readlink("/proc/self/exe", path, sizeof path - 1);
	path[n > 0 ? n : 0] = 0;
	char *own = realpath(argv[0], NULL);
	say("/proc/self/exe: %d", own && strcmp(path, own) == 0);
	FILE *f = fopen("/proc/self/cmdline", "r");
	n = fread(text, 1, sizeof text, f);
	fclose(f);
	say("/proc/self/cmdline: %d", n == (int)strlen(argv[0]) + 1 && strcmp(text, argv[0]) == 0);
	int ours = 0, stack = 0, heap = 0, count = 0, code = 0;
	char *block = malloc(10);
	f = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof line, f)) {
		unsigned long from, to;
		char rights[8], name[4096] = "";
		CHECK(sscanf(line, "%lx-%lx %7s %*x %*s %*u %4095s", &from, &to, rights, name) >= 3);
		count++;
		if (from <= (unsigned long)main && (unsigned long)main < to)
			code = rights[0] == 'r' && rights[2] == 'x', ours = own && strcmp(name, own) == 0;
		if (from <= (unsigned long)&n && (unsigned long)&n < to)
			stack = rights[0] == 'r' && rights[1] == 'w' && strcmp(name, "[stack]") == 0;
		if (from <= (unsigned long)block && (unsigned long)block < to)
			heap = rights[1] == 'w';
	}
	fclose(f);
	say("/proc/self/maps: program %d, executable %d, stack %d, heap %d, several %d", ours, code, stack, heap, count > 4);
	f = fopen("/proc/self/stat", "r");
	int pid = 0, ppid = 0;
	char state;
	CHECK(fscanf(f, "%d (%*[^)]) %c %d", &pid, &state, &ppid) == 3);
	fclose(f);
	say("/proc/self/stat: %d %d", pid == getpid(), ppid == getppid());
	sprintf(text, "/proc/%d/exe", getpid());
	n = readlink(text, line, sizeof line - 1);
	line[n > 0 ? n : 0] = 0;
	say("by number: %d", strcmp(line, path) == 0);
	n = open("/proc/self/auxv", O_RDONLY);
	unsigned long pair[2], entry = 0;
	while (read(n, pair, sizeof pair) == (int)sizeof pair && pair[0])
		if (pair[0] == AT_ENTRY)
			entry = pair[1];
	say("/proc/self/auxv: %d", entry == getauxval(AT_ENTRY));

	say("auxv: page size %lu, uid %d, secure %lu, random %d, entry %d, headers %d %lu, name %d, clock ticks %lu", getauxval(AT_PAGESZ), getauxval(AT_UID) == getuid(), getauxval(AT_SECURE), getauxval(AT_RANDOM) != 0,
		getauxval(AT_ENTRY) != 0, getauxval(AT_PHDR) != 0, getauxval(AT_PHENT) == 32 || getauxval(AT_PHENT) == 56 ? 1ul : 0ul, strcmp((char *)getauxval(AT_EXECFN), argv[0]) == 0, getauxval(AT_CLKTCK));
#ifdef __arm__
	const char *platform = (char *)getauxval(AT_PLATFORM);
	say("platform %s, hwcap: %s%s%s%s", strcmp(platform, "v8l") ? platform : "v7l", getauxval(AT_HWCAP) & 1 << 12 ? "neon " : "", getauxval(AT_HWCAP) & 1 << 16 ? "vfpv4 " : "", getauxval(AT_HWCAP) & 1 << 17 ? "idiva " : "", getauxval(AT_HWCAP) & 1 << 15 ? "tls" : "");
#else
	say("platform v7l, hwcap: neon vfpv4 idiva tls");
#endif
	struct utsname u;
	uname(&u);
	say("uname: %s, release of numbers %d", u.sysname, u.release[0] >= '2' && u.release[0] <= '9');
	struct rlimit r;
	CHECK(getrlimit(RLIMIT_STACK, &r) == 0);
	say("stack limit: 8 MiB %d", r.rlim_cur == 8 << 20);
	getrlimit(RLIMIT_NOFILE, &r);
	rlim_t hard = r.rlim_max;
	r.rlim_cur = 100;
	CHECK(setrlimit(RLIMIT_NOFILE, &r) == 0 && prlimit(0, RLIMIT_NOFILE, NULL, &r) == 0);
	say("limits: %d %d", (int)r.rlim_cur, r.rlim_max == hard);
	r = (struct rlimit){ RLIM_INFINITY, RLIM_INFINITY };
	CHECK(prlimit(0, RLIMIT_CORE, NULL, &r) == 0);
	r.rlim_cur = r.rlim_max + (r.rlim_max != RLIM_INFINITY);
	say("limits: %s", name_of(getrlimit(99, &r)));
	struct rusage usage;
	CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
	say("usage: %d %d", usage.ru_utime.tv_usec < 1000000, usage.ru_maxrss > 100);
	struct tms t;
	CHECK(times(&t) != -1);
	struct sysinfo info;
	CHECK(sysinfo(&info) == 0);
	say("sysinfo: %d %d", info.totalram > info.freeram && info.totalram > 0, info.procs > 0);
	say("processors: %d", sysconf(_SC_NPROCESSORS_ONLN) > 0);
	char name[17] = "";
	CHECK(prctl(PR_SET_NAME, "a name") == 0 && prctl(PR_GET_NAME, name) == 0);
	say("prctl: %s", name);
	say("prctl: %s", name_of(prctl(9999, 0, 0, 0, 0)));
	CHECK(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && prctl(PR_GET_PDEATHSIG, &n) == 0);
	say("PR_GET_PDEATHSIG: %d", n);
	prctl(PR_SET_PDEATHSIG, 0);
	gid_t groups[100];
	say("groups: %d", getgroups(100, groups) == getgroups(0, NULL));
	uid_t a, b, c;
	CHECK(getresuid(&a, &b, &c) == 0);
	say("uids: %d", a == getuid() && b == geteuid() && c == b);
	say("priority: %d", getpriority(PRIO_PROCESS, 0));
	unsigned cpu, node;
	say("getcpu: %d", getcpu(&cpu, &node) == 0 && cpu < 4096);
	say("random: %d", getentropy(text, 100) == 0);
	say("nothing: %s", name_of(syscall(9999)));

	/* Clocks. */
	static const struct { const char *name; clockid_t id; } clocks[] = { { "REALTIME", CLOCK_REALTIME }, { "MONOTONIC", CLOCK_MONOTONIC }, { "PROCESS_CPUTIME", CLOCK_PROCESS_CPUTIME_ID }, { "THREAD_CPUTIME", CLOCK_THREAD_CPUTIME_ID },
		{ "MONOTONIC_RAW", CLOCK_MONOTONIC_RAW }, { "REALTIME_COARSE", CLOCK_REALTIME_COARSE }, { "MONOTONIC_COARSE", CLOCK_MONOTONIC_COARSE }, { "BOOTTIME", CLOCK_BOOTTIME }, { "TAI", CLOCK_TAI } };
	for (unsigned i = 0; i < sizeof clocks / sizeof clocks[0]; i++) {
		struct timespec before, now, resolution;
		int back = 0;
		CHECK(clock_gettime(clocks[i].id, &before) == 0 && clock_getres(clocks[i].id, &resolution) == 0);
		for (int k = 0; k < 2000; k++) {
			clock_gettime(clocks[i].id, &now);
			back += now.tv_sec < before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec < before.tv_nsec) || now.tv_nsec >= 1000000000;
			before = now;
		}
		say("CLOCK_%s: backwards %d, resolution %d", clocks[i].name, back, resolution.tv_sec == 0 && resolution.tv_nsec > 0);
	}
	struct timespec bad;
	say("bad clock: %s", name_of(clock_gettime(1234, &bad)));
	struct timeval tv;
	time_t now = time(NULL);
	gettimeofday(&tv, NULL);
	struct timespec real;
	clock_gettime(CLOCK_REALTIME, &real);
	say("the same time: %d %d", tv.tv_sec - now <= 2, real.tv_sec - now <= 2);
	struct timespec from, to, half = { 0, 30000000 };
	clock_gettime(CLOCK_MONOTONIC, &from);
	nanosleep(&half, NULL);
	clock_gettime(CLOCK_MONOTONIC, &to);
	say("slept long enough: %d", (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec >= 30000000);
	half.tv_nsec = 1000000000;
	say("nanosleep: %s", name_of(nanosleep(&half, NULL)));
	half.tv_nsec = -1;
	say("nanosleep: %s", name_of(nanosleep(&half, NULL)));
	struct tm broken = { .tm_year = 124, .tm_mon = 1, .tm_mday = 29, .tm_hour = 12 };
	setenv("TZ", "UTC", 1);
	tzset();
	say("mktime: %ld", (long)mktime(&broken));
	return 0;
}

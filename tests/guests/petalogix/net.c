/* The first process of a PetaLogix guest whose kernel has an address (`ip=dhcp`): bytes both ways by TCP, datagrams there and back, with the
   peer of net.py, whose port is on the kernel's command line as `net=PORT`. A line for each: NET WHAT BYTES MICROSECONDS CHECKSUM. */
#include "../../user/microblaze/linux.h"

enum { MOUNT = 21, SOCKET = 345, CONNECT = 350, SENDTO = 353, RECVFROM = 355, SETSOCKOPT = 357 };
enum { BUFFER = 32768, DATAGRAM = 1400 };
static u32 buffer[BUFFER / 4];
static char words[1024];

static u32 microseconds(void)
{
	u32 t[2];
	sys(CLOCK_GETTIME, 1, t);
	return t[0] * 1000000u + t[1] / 1000u;
}
/* The number behind these letters on the command line. */
static u32 told(const char *name)
{
	u32 n = 0;
	for (char *p = words; *p; p++)
		if ((p == words || p[-1] == ' ') && !__builtin_strncmp(p, name, length(name)))
			for (p += length(name); *p >= '0' && *p <= '9'; p++)
				n = n * 10 + *p - '0';
	return n;
}
static long socket_to(int kind, u16 port)
{
	u8 to[16] = { 0, 0, port >> 8, (u8)port, 10, 0, 2, 2 };
	long s = sys(SOCKET, 2, kind, 0);
	*(u16 *)to = 2;
	check(sys(CONNECT, s, to, sizeof to) == 0, "connect");
	return s;
}
static u32 sum(u32 all, int n)
{
	for (int i = 0; i < n / 4; i++)
		all = (all << 1 | all >> 31) + buffer[i];
	return all;
}
static void report(const char *what, u32 bytes, u32 since, u32 check)
{
	u32 now = microseconds();
	text("NET "), text(what), text(" "), number(bytes), text(" "), number(now - since), text(" "), hex(check), put();
}
int strncmp(const char *a, const char *b, unsigned long n) { while (n && *a && *a == *b) a++, b++, n--; return n ? *a - *b : 0; }

int begin(long *stack)
{
	static u32 second[2] = { 1, 0 };
	(void)stack;
	sys(MKDIR, "/proc", 0755);
	sys(MOUNT, "proc", "/proc", "proc", 0, 0);
	long file = sys(OPEN, "/proc/cmdline", 0);
	sys(READ, file, words, sizeof words - 1);
	u32 total = told("megabytes=") << 20, done = 0, all = 0, start;
	long s = socket_to(1, told("net="));
	start = microseconds();
	while (done < total) {
		int have = 0;
		while (have < BUFFER) {
			long n = sys(READ, s, (char *)buffer + have, BUFFER - have);
			if (n <= 0) {
				say("FAILED: read", n);
				goto end;
			}
			have += n;
		}
		all = sum(all, BUFFER);
		done += BUFFER;
	}
	report("tcp-in", done, start, all);
	start = microseconds();
	for (done = 0; done < total; ) {
		buffer[0] = done;
		long n = sys(WRITE, s, buffer, BUFFER);
		if (n != BUFFER) {
			say("FAILED: write", n);
			goto end;
		}
		done += n;
	}
	/* The peer says that it has them all. */
	sys(READ, s, &all, 4);
	report("tcp-out", done, start, all);
	s = socket_to(2, told("net="));
	sys(SETSOCKOPT, s, 1, 20, second, 8);
	start = microseconds();
	done = all = 0;
	for (u32 i = 0; i < 500; i++) {
		buffer[0] = i;
		sys(WRITE, s, buffer, DATAGRAM);
		long n = sys(READ, s, buffer, BUFFER);
		if (n == DATAGRAM) {
			done += n;
			all = sum(all, n);
		}
	}
	report("udp-echo", done, start, all);
end:
	text("NET done"), put();
	for (;;)
		sys(NANOSLEEP, second, 0);
}

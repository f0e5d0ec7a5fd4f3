/* What is on the stack at the beginning, files and folders, memory, time. */
#include "linux.h"

struct stat64 { u64 dev, ino; u32 mode, nlink, uid, gid; u64 rdev, pad1; u64 size; s32 blksize, pad2; u64 blocks; u32 atime, atime_nsec, mtime, mtime_nsec, ctime, ctime_nsec, unused[2]; };
static u8 buffer[5000];

int begin(long *stack)
{
	long count = stack[0];
	char **arguments = (char **)stack + 1, **environment = arguments + count + 1;
	say("arguments", count);
	for (int i = 1; i < count; i++) {
		text("  "), text(arguments[i]), put();
	}
	check(arguments[count] == 0, "no end of the arguments");
	int variables = 0, found = 0;
	for (char **e = environment; *e; e++, variables++)
		if (same(*e, "EMU_TEST=a value"))
			found++;
	say("the variable", found);
	struct { u32 key, value; } *aux = (void *)(environment + variables + 1);
	u32 known[64] = { 0 };
	for (; aux->key; aux++)
		if (aux->key < 64)
			known[aux->key] = aux->value;
	say("AT_PAGESZ", known[6]);
	say("AT_PHENT", known[4]);
	say("AT_PHNUM", known[5]);
	extern char _start[];
	say("AT_ENTRY", known[9] == (u32)_start);
	say("AT_PHDR", known[3] >> 12 == (u32)_start >> 12);
	say("AT_RANDOM", known[25] != 0);
	say("stack aligned to 4", (u32)stack & 3);

	/* Files. */
	sys(UNLINK, "mb-file"), sys(UNLINK, "mb-link");
	long fd = sys(OPEN, "mb-file", 02 | 0100 | 01000, 0600);
	check(fd >= 0, "open");
	say("write", sys(WRITE, fd, "hello world", 11));
	say("lseek", sys(LSEEK, fd, 6, 0));
	say("read", sys(READ, fd, buffer, 100));
	text("  "), buffer[5] = 0, text((char *)buffer), put();
	struct stat64 s;
	memset(&s, 0x55, sizeof s);
	say("fstat64", sys(FSTAT64, fd, &s));
	say_hex("  mode", s.mode);
	say2("  links and size", s.nlink, s.size);
	say("  size of block", s.blksize);
	u64 place = 0;
	/* The upper half comes first, whatever the order of bytes. */
	say("_llseek", sys(LLSEEK, fd, 1, 4, &place, 0));
	say2("  place", place >> 32, (u32)place);
	say("truncate", sys(FTRUNCATE, fd, 20));
	say("stat64", sys(STAT64, "mb-file", &s));
	say("  size", s.size);
	say("symlink", sys(SYMLINK, "mb-file", "mb-link"));
	say("lstat64", sys(LSTAT64, "mb-link", &s));
	say_hex("  mode", s.mode & 0170000);
	say("readlink", sys(READLINK, "mb-link", buffer, 100));
	say("readlink", sys(READLINK, "mb-file", buffer, 100));
	say("open", sys(OPEN, "mb-none", 0, 0));
	say("open", sys(OPEN, 0, 0, 0));
	say("read", sys(READ, 99, buffer, 1));
	say("read", sys(READ, fd, 0xfffff000, 10));
	struct { char *base; u32 n; } v[2] = { { "  by ", 5 }, { "writev\n", 7 } };
	say("writev", sys(WRITEV, 1, v, 2));
	long dir = sys(OPEN, ".", 0, 0);
	int entries = 0, dots = 0, ours = 0, n;
	while ((n = sys(GETDENTS64, dir, buffer, sizeof buffer)) > 0)
		for (int i = 0; i < n; i += *(u16 *)(buffer + i + 16)) {
			char *name = (char *)buffer + i + 19;
			entries++;
			dots += same(name, ".") || same(name, "..");
			ours += (same(name, "mb-file") && buffer[i + 18] == 8) || (same(name, "mb-link") && buffer[i + 18] == 10);
		}
	say2("getdents64: dots and ours", dots, ours);
	sys(UNLINK, "mb-file"), sys(UNLINK, "mb-link");

	/* Memory. */
	long m = sys(MMAP2, 0, 0x4000, 3, 0x22, -1, 0);
	check(m > 0 || m < -4096, "mmap2");
	*(volatile u32 *)m = 5;
	*(volatile u32 *)(m + 0x3ffc) = 7;
	say2("mmap2", *(volatile u32 *)m + *(volatile u32 *)(m + 0x3ffc), m & 4095);
	say("mprotect", sys(MPROTECT, m, 0x1000, 1));
	say("mprotect", sys(MPROTECT, m + 1, 0x1000, 1));
	say("write from it", sys(WRITE, 1, m, 0));
	say("munmap", sys(MUNMAP, m + 0x1000, 0x1000));
	say("read to read-only", sys(READ, fd, m, 10));
	say("munmap", sys(MUNMAP, m + 1, 0x1000));
	say("mmap2 of length 0", sys(MMAP2, 0, 0, 3, 0x22, -1, 0));
	say("MAP_FIXED", sys(MMAP2, m + 0x1000, 0x1000, 3, 0x32, -1, 0) == m + 0x1000);
	long in_file = sys(MMAP2, 0, 0x1000, 1, 2, fd, 0);
	say("of a file", *(volatile u8 *)in_file);
	long heap = sys(BRK, 0);
	say("brk", sys(BRK, heap + 0x5000) == heap + 0x5000);
	*(volatile u32 *)(heap + 0x4000) = 1;
	sys(BRK, heap);

	/* Time. */
	struct { u32 s, ns; } t[3];
	say("clock_gettime", sys(CLOCK_GETTIME, 1, &t[0]));
	struct { u32 s, ns; } nap = { 0, 5000000 };
	say("nanosleep", sys(NANOSLEEP, &nap, 0));
	sys(CLOCK_GETTIME, 1, &t[1]);
	say("later", (t[1].s - t[0].s) * 1000000000u + t[1].ns - t[0].ns >= 5000000);
	say("clock_gettime", sys(CLOCK_GETTIME, 77, &t[2]));
	say("clock_gettime", sys(CLOCK_GETTIME, 1, 8));
	static char names[6][65];
	say("uname", sys(UNAME, names));
	text("  "), text(names[0]), text(" "), text(names[4]), put();
	say("not there", sys(4000, 0, 0, 0));
	return 42;
}

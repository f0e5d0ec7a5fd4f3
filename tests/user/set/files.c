/* Files and folders: what structures of the kernel hold. */
#include "test.h"
#include <dirent.h>
#include <ftw.h>
#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/xattr.h>
#include <utime.h>

static int entries, folders;
static int walk(const char *path, const struct stat *s, int type, struct FTW *f) { (void)path, (void)s, (void)f; entries++; folders += type == FTW_D; return 0; }
static int by_name(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }

int main(void)
{
	char folder[] = "/tmp/emu-set-XXXXXX", text[300], here[300];
	CHECK(mkdtemp(folder) && chdir(folder) == 0 && getcwd(here, sizeof here));
	say("getcwd: %d", strcmp(here, folder) == 0);
	say("getcwd: %s", getcwd(here, 3) ? "ok" : name_of(-1));
	umask(027);
	int fd = open("file", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
	CHECK(fd >= 0);
	say("again: %s", name_of(open("file", O_CREAT | O_EXCL | O_RDWR, 0666)));
	struct stat s, s2;
	CHECK(fstat(fd, &s) == 0);
	say("mode %o, links %d, size %d, kind %d, mine %d", s.st_mode, (int)s.st_nlink, (int)s.st_size, S_ISREG(s.st_mode), s.st_uid == getuid());
	CHECK(write(fd, "hello world", 11) == 11 && lseek(fd, -5, SEEK_END) == 6 && read(fd, text, 100) == 5);
	say("seek: %lld", (long long)lseek(fd, 0, SEEK_CUR));
	say("seek: %lld", (long long)lseek(fd, 6000000000LL, SEEK_SET));
	say("seek: %s", name_of(lseek(fd, -1, SEEK_SET)));
	say("seek: %s", name_of(lseek(fd, 0, 99)));
	CHECK(ftruncate(fd, 5000000000LL) == 0 && stat("file", &s) == 0);
	say("5 GB: %lld, blocks few %d", (long long)s.st_size, s.st_blocks < 1000);
	CHECK(pwrite(fd, "far", 3, 4999999000LL) == 3 && pread(fd, text, 3, 4999999000LL) == 3);
	say("far: %.3s", text);
	CHECK(truncate("file", 11) == 0);
	say("hole and data: %lld %lld", (long long)lseek(fd, 0, SEEK_DATA), (long long)lseek(fd, 0, SEEK_HOLE));
	int append = open("file", O_WRONLY | O_APPEND);
	CHECK(write(append, "!", 1) == 1 && fstat(append, &s) == 0);
	say("appended: %d, flags %d", (int)s.st_size, (fcntl(append, F_GETFL) & (O_APPEND | O_ACCMODE)) == (O_APPEND | O_WRONLY));
	struct timespec times[2] = { { 1000000000, 123456789 }, { 2000000000, 987654321 } };
	CHECK(futimens(fd, times) == 0 && fstat(fd, &s) == 0);
	say("times: %lld.%09ld %lld.%09ld", (long long)s.st_atim.tv_sec, s.st_atim.tv_nsec, (long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
	times[0].tv_nsec = UTIME_OMIT;
	times[1] = (struct timespec){ 5, 0 };
	CHECK(utimensat(AT_FDCWD, "file", times, 0) == 0 && stat("file", &s) == 0);
	say("times: %lld %lld", (long long)s.st_atim.tv_sec, (long long)s.st_mtim.tv_sec);
	struct timeval tv[2] = { { 7, 500000 }, { 8, 250000 } };
	CHECK(utimes("file", tv) == 0 && stat("file", &s) == 0);
	say("times: %lld.%ld", (long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
	struct statx x;
	CHECK(statx(AT_FDCWD, "file", 0, STATX_BASIC_STATS, &x) == 0);
	say("statx: %o %d %lld %d", x.stx_mode, (int)x.stx_size, (long long)x.stx_mtime.tv_sec, x.stx_ino == s.st_ino);
	CHECK(link("file", "second") == 0 && symlink("file", "symbolic") == 0 && symlink("nowhere", "dangling") == 0 && lstat("symbolic", &s) == 0 && stat("symbolic", &s2) == 0);
	say("links: %d, %d, the same %d", S_ISLNK(s.st_mode), (int)s2.st_nlink, s2.st_ino == x.stx_ino);
	memset(text, 'x', sizeof text);
	int n = readlink("symbolic", text, sizeof text);
	say("readlink: %d %.4s%c", n, text, text[4]);
	say("readlink: %d %.2s", (int)readlink("symbolic", text, 2), text);
	say("readlink: %s", name_of(readlink("file", text, 10)));
	say("dangling: %s", name_of(open("dangling", O_RDONLY)));
	say("O_NOFOLLOW: %s", name_of(open("symbolic", O_RDONLY | O_NOFOLLOW)));
	say("not a folder: %s", name_of(open("file/x", O_RDONLY)));
	say("not a folder: %s", name_of(open("file", O_RDONLY | O_DIRECTORY)));
	say("a folder: %s", name_of(open(".", O_WRONLY)));
	say("no name: %s", name_of(open("", O_RDONLY)));
	char longest[5000];
	memset(longest, 'a', 4999);
	longest[4999] = 0;
	say("long: %s", name_of(open(longest, O_RDONLY)));
	longest[300] = 0;
	say("long: %s", name_of(open(longest, O_RDONLY)));
	CHECK(chmod("file", 0640) == 0 && fchmod(fd, 0604) == 0 && fstat(fd, &s) == 0);
	say("chmod: %o", s.st_mode & 07777);
	say("access: %s", name_of(access("file", R_OK | W_OK)));
	say("access: %s", name_of(access("none", F_OK)));
	CHECK(mkdir("folder", 0777) == 0 && stat("folder", &s) == 0);
	say("folder: %o", s.st_mode);
	say("mkdir: %s", name_of(mkdir("folder", 0777)));
	int dir = open("folder", O_RDONLY | O_DIRECTORY);
	for (int i = 0; i < 200; i++) {
		sprintf(text, "entry %03d of a name that is longer", i);
		int e = openat(dir, text, O_CREAT | O_WRONLY, 0600);
		CHECK(e >= 0 && close(e) == 0);
	}
	say("rmdir: %s", name_of(rmdir("folder")));
	CHECK(mkdirat(dir, "sub", 0700) == 0 && renameat(dir, "entry 000 of a name that is longer", dir, "renamed") == 0 && unlinkat(dir, "entry 001 of a name that is longer", 0) == 0);
	DIR *d = opendir("folder");
	struct dirent *e;
	char *names[300];
	n = 0;
	int kinds = 0;
	while ((e = readdir(d))) {
		kinds += e->d_type == DT_DIR;
		names[n++] = strdup(e->d_name);
	}
	qsort(names, n, sizeof names[0], by_name);
	say("entries: %d, folders %d, <%s> <%s> <%s> <%s>", n, kinds, names[0], names[1], names[2], names[n - 1]);
	rewinddir(d);
	n = 0;
	while (readdir(d))
		n++;
	say("again: %d", n);
	closedir(d);
	CHECK(nftw(".", walk, 10, FTW_PHYS) == 0);
	say("walked: %d, folders %d", entries, folders);
	say("rename: %s", name_of(rename("file", "folder")));
	say("rename: %s", name_of(renameat2(AT_FDCWD, "file", AT_FDCWD, "second", RENAME_NOREPLACE)));
	CHECK(rename("second", "third") == 0);
	say("rename: %s", name_of(stat("second", &s)));
	say("fallocate: %s", name_of(fallocate(fd, 0, 0, 10000)));
	fstat(fd, &s);
	say("  %d", (int)s.st_size);
	say("posix_fadvise: %s", name_of_error(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL)));
	say("fsync: %s", name_of(fsync(fd)));
	say("fdatasync: %s", name_of(fdatasync(fd)));
	int out = open("copy", O_CREAT | O_RDWR, 0600);
	loff_t from = 6;
	n = copy_file_range(fd, &from, out, NULL, 5, 0);
	say("copy_file_range: %d %d", n, (int)from);
	CHECK(pread(out, text, 5, 0) == 5);
	say("  %.5s", text);
	struct statfs fs;
	struct statvfs vfs;
	CHECK(statfs(".", &fs) == 0 && fstatvfs(fd, &vfs) == 0);
	say("statfs: %d %d %d", fs.f_bsize == (long)vfs.f_bsize, fs.f_blocks >= fs.f_bfree, fs.f_namelen == (long)vfs.f_namemax && fs.f_namelen == 255);
	say("statfs of /proc: %d", statfs("/proc", &fs) == 0 && fs.f_type == 0x9fa0);
	say("mkfifo: %s", name_of(mkfifo("fifo", 0600)));
	int fifo = open("fifo", O_RDWR | O_NONBLOCK);
	CHECK(write(fifo, "x", 1) == 1 && read(fifo, text, 10) == 1 && fstat(fifo, &s) == 0);
	say("fifo: %d", S_ISFIFO(s.st_mode));
	CHECK(stat("/dev/null", &s) == 0);
	say("/dev/null: %d, device %d:%d", S_ISCHR(s.st_mode), (int)(s.st_rdev >> 8), (int)(s.st_rdev & 255));
	say("chdir: %s", name_of(fchdir(dir)));
	CHECK(getcwd(here, sizeof here));
	say("  %s", here + strlen(folder));
	say("chdir: %s", name_of(chdir("none")));
	/* Descriptors: the lowest that is free; limits. */
	int low = open("/dev/null", O_RDONLY);
	close(low);
	int lowest = dup(fd);
	say("lowest: %d", low == lowest);
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = lowest + 1;
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	say("too many: %s", name_of(dup(fd)));
	limit.rlim_cur = 256;
	setrlimit(RLIMIT_NOFILE, &limit);
	signal(SIGXFSZ, SIG_IGN);
	CHILD("RLIMIT_FSIZE", struct rlimit l = { 100, 100 }; setrlimit(RLIMIT_FSIZE, &l); long r = pwrite(fd, "x", 1, 200); _exit(r == -1 && errno == EFBIG ? 3 : 4));
	CHILD("RLIMIT_FSIZE", struct rlimit l = { 100, 100 }; setrlimit(RLIMIT_FSIZE, &l); signal(SIGXFSZ, SIG_DFL); (void)!pwrite(fd, "x", 1, 200));
	say("close: %s", name_of(close(199)));
	CHECK(chdir("/") == 0);
	sprintf(text, "rm -r %s", folder);
	/* Removal without another program. */
	for (int pass = 0; pass < 2; pass++) {
		sprintf(here, pass ? "%s" : "%s/folder", folder);
		d = opendir(here);
		while ((e = readdir(d)))
			if (e->d_name[0] != '.')
				unlinkat(dirfd(d), e->d_name, e->d_type == DT_DIR ? AT_REMOVEDIR : 0);
		closedir(d);
	}
	say("removed: %s", name_of(rmdir(folder)));
	return 0;
}

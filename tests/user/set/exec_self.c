/* Programs that execute a program: this one, with other arguments. Under qemu-arm this needs binfmt_misc. */
#include "test.h"
#include <spawn.h>

extern char **environ;
static char self[PATH_MAX];
static void *execs(void *x) { execl(self, "from a thread", "child", "6", NULL); return x; }
static void *computes(void *x) { for (;;) asm volatile(""); return x; }
static void nothing(int n, siginfo_t *i, void *c) { (void)n, (void)i, (void)c; }

static int child(int argc, char **argv)
{
	int code = atoi(argv[2]);
	char line[300];
	sigset_t mask, pending;
	struct sigaction usr1, usr2;
	sigprocmask(0, NULL, &mask);
	sigpending(&pending);
	sigaction(SIGUSR1, NULL, &usr1);
	sigaction(SIGUSR2, NULL, &usr2);
	stack_t stack;
	sigaltstack(NULL, &stack);
	int n = readlink("/proc/self/exe", line, sizeof line - 1);
	line[n] = 0;
	say("<%s> %d arguments, VAR %s, TERM blocked %d pending %d, USR1 %s, USR2 %s, alternate stack %s, exe %s", strcmp(argv[0], self) == 0 ? "itself" : argv[0], argc, getenv("VAR") ? getenv("VAR") : "unset", sigismember(&mask, SIGTERM), sigismember(&pending, SIGTERM),
		usr1.sa_handler == SIG_IGN ? "ignored" : "default", usr2.sa_handler == SIG_DFL ? "default" : "NOT", stack.ss_flags == SS_DISABLE ? "none" : "SOME", strcmp(line, self) == 0 ? "the same" : "another");
	for (int i = 3; i < argc; i++)
		say("  %s", argv[i]);
	if (code == 77) {
		n = read(0, line, sizeof line - 1);
		line[n > 0 ? n : 0] = 0;
		say("  read <%s>", line);
	}
	if (code == 50)
		say("  descriptors: %s %s", name_of(fcntl(50, F_GETFD)), fcntl(51, F_GETFD) == 0 ? "kept" : "closed");
	if (code == 88)
		raise(SIGKILL);
	return code;
}

int main(int argc, char **argv)
{
	CHECK(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
	if (argc > 2 && strcmp(argv[1], "child") == 0)
		return child(argc, argv);
	/* Not for ever, whatever goes wrong. */
	if (getenv("VAR")) {
		say("WRONG: not the child that was wanted");
		return 98;
	}
	setenv("VAR", "value", 1);
	CHILD("execl", execl(self, "name", "child", "1", "", "two words", "\xc3\xbc", NULL));
	char *const args[] = { "e", "child", "2", NULL }, *const none[] = { NULL }, *const other[] = { "VAR=other", NULL };
	CHILD("execve without environment", execve(self, args, none));
	CHILD("execve with another", execve(self, args, other));
	CHILD("vfork", pid_t v = vfork(); if (v == 0) { execv(self, args); _exit(99); } say_end("vforked", v));
	CHILD("vfork, exec fails", volatile int e = 0; pid_t v = vfork(); if (v == 0) { execv("/nowhere", args); e = errno; _exit(3); } say_end("vforked", v); say("%s", strerrorname_np(e)));
	CHILD("/proc/self/exe", execl("/proc/self/exe", "by link", "child", "3", NULL));
	CHILD("fexecve", int fd = open(self, O_RDONLY | O_CLOEXEC); fexecve(fd, (char *const[]){ "by descriptor", "child", "4", NULL }, environ));
	CHILD("signals", sigprocmask(SIG_BLOCK, SET(SIGTERM), NULL); raise(SIGTERM); signal(SIGUSR1, SIG_IGN); handle(SIGUSR2, nothing, 0); stack_t s = { .ss_sp = malloc(65536), .ss_size = 65536 }; sigaltstack(&s, NULL); execl(self, "signals", "child", "5", NULL));
	CHILD("by a thread", pthread_t t; for (int i = 0; i < 3; i++) pthread_create(&t, NULL, computes, NULL); pthread_create(&t, NULL, execs, NULL); for (;;) pause());
	CHILD("main while others compute", pthread_t t; for (int i = 0; i < 3; i++) pthread_create(&t, NULL, computes, NULL); execl(self, "main", "child", "7", NULL));
	CHILD("descriptors", dup2(1, 51); dup3(1, 50, O_CLOEXEC); execl(self, "fds", "child", "50", NULL));
	CHILD("killed", execl(self, "k", "child", "88", NULL));
	/* The errors. */
	CHILD("not there", execl("/nowhere/at/all", "x", NULL); say("%s", name_of(-1)));
	CHILD("a folder", execl("/tmp", "x", NULL); say("%s", name_of(-1)));
	CHILD("not executable", execl("/etc/passwd", "x", NULL); say("%s", name_of(-1)));
	CHILD("through a file", execl("/etc/passwd/x", "x", NULL); say("%s", name_of(-1)));
	char script[] = "/tmp/emu-set-XXXXXX", text[PATH_MAX + 30];
	int fd = mkstemp(script);
	int n = sprintf(text, "#!%s child\n", self);
	CHECK(write(fd, text, n) == n && fchmod(fd, 0755) == 0 && close(fd) == 0);
	CHILD("a script", int r = execl(script, "ignored", "argument", NULL); say("%d %s", r, name_of(-1)));
	fd = open(script, O_WRONLY | O_TRUNC);
	CHECK(write(fd, "\177ELFnonsense", 12) == 12 && close(fd) == 0);
	CHILD("nonsense", execl(script, "x", NULL); say("%s", name_of(-1)));
	fd = open(script, O_WRONLY | O_TRUNC);
	close(fd);
	CHILD("empty", execl(script, "x", NULL); say("%s", name_of(-1)));
	unlink(script);
	char *big = malloc(200000);
	memset(big, 'x', 199999);
	big[199999] = 0;
	CHILD("an argument too long", execl(self, "x", big, NULL); say("%s", name_of(-1)));
	big[100000] = 0;
	CHILD("a long one", execl(self, "x", "child", "10", NULL, big, NULL));
	/* posix_spawn, with actions. */
	int p[2];
	CHECK(pipe(p) == 0 && write(p[1], "through a pipe", 14) == 14);
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, p[0], 0);
	posix_spawn_file_actions_addclose(&actions, p[1]);
	posix_spawnattr_t attributes;
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&attributes, SET(SIGTERM));
	pid_t pid;
	int error = posix_spawn(&pid, self, &actions, &attributes, (char *const[]){ "spawned", "child", "77", NULL }, environ);
	/* The child speaks first. */
	say_end("spawned", pid);
	say("posix_spawn: %s", name_of_error(error));
	say("posix_spawn: %s", name_of_error(posix_spawn(&pid, "/nowhere", NULL, NULL, args, environ)));
	for (int i = 0; i < 10; i++) {
		CHECK(posix_spawnp(&pid, self, NULL, NULL, (char *const[]){ "again", "child", "0", NULL }, environ) == 0);
		CHECK(waitpid(pid, NULL, 0) == pid);
	}
	/* No system(), no popen(): there may be no shell of the guest's; tests/user/run.sh has those. */
	return 0;
}

#!/usr/bin/env bash
# A real registration with the kernel (binfmt_misc), in a user namespace of its own: ARM programs run by their names, and execute others. Needs Linux 6.7,
# a kernel that lets us make such a namespace, and arm-linux-gnueabihf-gcc; says so and ends with 0 without them.
set -euo pipefail
cd "$(dirname "$0")/../.."
emu=$(realpath "${EMU:-${CARGO_TARGET_DIR:-target}/release/emu}")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
skip() {
    echo "skipped: binfmt_misc needs $1"
    exit 0
}
command -v arm-linux-gnueabihf-gcc > /dev/null || skip arm-linux-gnueabihf-gcc
unshare -rm sh -c 'mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && test -w /proc/sys/fs/binfmt_misc/register' 2> /dev/null ||
    skip "a kernel that lets a user namespace have its own"
cat > "$out/program.c" << 'END'
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char **arguments)
{
	printf("%s, %d arguments, last %s\n", arguments[0], count - 1, arguments[count - 1]);
	fflush(stdout);
	if (count > 2)
		return 7;
	if (fork() == 0) {
		execl(arguments[1], "renamed", "x", "two words", NULL);
		_exit(1);
	}
	int status;
	wait(&status);
	printf("child %d\n", WEXITSTATUS(status));
	return 3;
}
END
arm-linux-gnueabihf-gcc -O2 -static "$out/program.c" -o "$out/program"
unshare -rm bash -c '
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    "$1" run --register > /dev/null
    cd "$2"
    PATH=$2:$PATH
    program ./program || echo "status $?"
    ./program ./program | cat
    echo -1 > /proc/sys/fs/binfmt_misc/emu-arm
    ./program x 2> /dev/null || echo "status $?"
' _ "$emu" "$out" > "$out/text"
diff - "$out/text" << 'END' || exit 1
program, 1 arguments, last ./program
renamed, 2 arguments, last two words
child 7
status 3
./program, 1 arguments, last ./program
renamed, 2 arguments, last two words
child 7
status 126
END
echo "binfmt_misc: passed"

/* The first process of a real kernel, for the expected text: runs each program, as run.sh does. */
#include "linux.h"

static char *environment[] = { "EMU_TEST=a value", 0 };
int begin(long *stack)
{
	static u32 day[2] = { 86400, 0 };
	static char *programs[] = { "/start", "/signals", "/threads" };
	(void)stack;
	for (int i = 0; i < 3; i++) {
		s32 status = 0;
		text("== "), text(programs[i]), put();
		long child = sys(FORK);
		if (child == 0) {
			char *arguments[] = { programs[i], "one", "two words", "", 0 };
			sys(EXECVE, programs[i], arguments, environment);
			sys(EXIT, 99);
		}
		while (sys(WAIT4, child, &status, 0, 0) != child)
			;
		say("status", status & 127 ? 128 + (status & 127) : status >> 8);
	}
	text("== end"), put();
	for (;;)
		sys(NANOSLEEP, day, 0);
}

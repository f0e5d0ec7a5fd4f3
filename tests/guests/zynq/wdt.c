/* Watchdog: sets its timeout, feeds it for a while, then stops it properly (`stop`) or keeps it open unfed until it bites (`starve`). */
#include "hw.h"
#include <linux/watchdog.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char help[] = "wdt DEVICE [timeout=SECONDS] [feed=SECONDS] stop|starve   (DEVICE: /dev/watchdog0)\n";

int wdt_main(int argc, char **argv)
{
    struct watchdog_info info = {0};
    int timeout = 0, feed = 0, status = 0;
    if (argc < 3)
        usage(help);
    int fd = open_device(argv[1]);
    for (int i = 2; i < argc - 1; i++)
        if (sscanf(argv[i], "timeout=%d", &timeout) != 1 && sscanf(argv[i], "feed=%d", &feed) != 1)
            usage(help);
    if (timeout && ioctl(fd, WDIOC_SETTIMEOUT, &timeout))
        fail("WDIOC_SETTIMEOUT");
    ioctl(fd, WDIOC_GETSUPPORT, &info);
    ioctl(fd, WDIOC_GETTIMEOUT, &timeout);
    ioctl(fd, WDIOC_GETBOOTSTATUS, &status);
    printf("%s timeout %d bootstatus %#x\n", info.identity, timeout, status);
    for (long long end = now_ms() + feed * 1000LL; now_ms() < end; usleep(100000))
        if (ioctl(fd, WDIOC_KEEPALIVE, 0))
            fail("WDIOC_KEEPALIVE");
    if (!strcmp(argv[argc - 1], "stop")) {
        if (write(fd, "V", 1) != 1)
            fail("stop");
        close(fd);
        puts("stopped");
        return 0;
    }
    puts("starving");
    fflush(stdout);
    pause();
    return 0;
}

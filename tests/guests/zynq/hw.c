/* One program for all the hardware checks in a guest, started under the name of one of them (can, mtd, ...) or as `hw NAME ARGUMENTS`. */
#include "hw.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <time.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} programs[] = {
    {"can", can_main}, {"events", events_main}, {"gpio", gpio_main}, {"i2c", i2c_main},
    {"mtd", mtd_main}, {"spi", spi_main},       {"ubi", ubi_main},   {"wdt", wdt_main},
};

void fail(const char *what)
{
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

void usage(const char *text)
{
    fputs(text, stderr);
    exit(2);
}

long long number(const char *text)
{
    char *end;
    long long value = strtoll(text, &end, 0);
    if (*end == 'K')
        value <<= 10, end++;
    else if (*end == 'M')
        value <<= 20, end++;
    if (end == text || *end) {
        fprintf(stderr, "not a number: %s\n", text);
        exit(2);
    }
    return value;
}

int open_device(const char *path)
{
    int fd = open(path, O_RDWR);
    if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM))
        fd = open(path, O_RDONLY);
    if (fd < 0)
        fail(path);
    return fd;
}

void print_bytes(const uint8_t *bytes, int count)
{
    for (int i = 0; i < count; i++)
        printf("%s%02x", i ? " " : "", bytes[i]);
    putchar('\n');
}

long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

int wait_readable(int fd, long long deadline)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    long long left = deadline - now_ms();
    fflush(stdout);
    return poll(&poll_fd, 1, left > 0 ? left : 0) > 0;
}

int main(int argc, char **argv)
{
    for (int shift = 0; shift < 2 && shift < argc; shift++)
        for (unsigned i = 0; i < sizeof programs / sizeof *programs; i++)
            if (!strcmp(basename(argv[shift]), programs[i].name))
                return programs[i].run(argc - shift, argv + shift);
    usage("hw can|events|gpio|i2c|mtd|spi|ubi|wdt ARGUMENTS\n");
}

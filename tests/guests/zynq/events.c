/* Input events (keyboards, mice, tablets, GPIO keys) of /dev/input/eventN, one a line: DEVICE TYPE CODE VALUE. */
#include "hw.h"
#include <glob.h>
#include <linux/input.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char help[] = "events info\n"
                           "events COUNT SECONDS [DEVICE...]   (all devices, if none is named; exits with 1 if fewer came)\n"
                           "events led DEVICE LED 0|1          (0 Num Lock, 1 Caps Lock, 2 Scroll Lock)\n";

static const char *type_name(int type)
{
    switch (type) {
    case EV_KEY: return "EV_KEY";
    case EV_REL: return "EV_REL";
    case EV_ABS: return "EV_ABS";
    case EV_LED: return "EV_LED";
    default: return "EV_OTHER";
    }
}

static int print_info(void)
{
    glob_t found;
    if (glob("/dev/input/event*", 0, NULL, &found))
        return puts("no devices"), 1;
    for (unsigned i = 0; i < found.gl_pathc; i++) {
        char name[128] = "?";
        int fd = open_device(found.gl_pathv[i]);
        ioctl(fd, EVIOCGNAME(sizeof name), name);
        printf("%s %s\n", found.gl_pathv[i], name);
        close(fd);
    }
    return 0;
}

static int led(int argc, char **argv)
{
    if (argc < 5)
        usage(help);
    struct input_event event = {.type = EV_LED, .code = number(argv[3]), .value = number(argv[4])};
    if (write(open_device(argv[2]), &event, sizeof event) != sizeof event)
        fail("write");
    return 0;
}

int events_main(int argc, char **argv)
{
    struct pollfd devices[16];
    glob_t all = {0};
    if (argc > 1 && !strcmp(argv[1], "info"))
        return print_info();
    if (argc > 1 && !strcmp(argv[1], "led"))
        return led(argc, argv);
    if (argc < 3)
        usage(help);
    int wanted = number(argv[1]), count = 0, opened = 0;
    long long deadline = now_ms() + number(argv[2]) * 1000;
    char **paths = argv + 3;
    if (!*paths && !glob("/dev/input/event*", 0, NULL, &all))
        paths = all.gl_pathv;
    for (; *paths && opened < 16; paths++)
        devices[opened++] = (struct pollfd){.fd = open_device(*paths), .events = POLLIN};
    puts("waiting");
    while (count < wanted) {
        long long left = deadline - now_ms();
        fflush(stdout);
        if (left <= 0 || poll(devices, opened, left) <= 0)
            break;
        for (int i = 0; i < opened && count < wanted; i++) {
            struct input_event event;
            if (!(devices[i].revents & POLLIN) || read(devices[i].fd, &event, sizeof event) != sizeof event)
                continue;
            if (event.type == EV_SYN || event.type == EV_MSC)
                continue;
            printf("%d %s %d %d\n", i, type_name(event.type), event.code, event.value);
            count++;
        }
    }
    printf("events %d\n", count);
    return count < wanted;
}

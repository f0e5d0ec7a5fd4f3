/* GPIO lines by the character device's second interface: read, drive, wait for edges. */
#include "hw.h"
#include <linux/gpio.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char help[] = "gpio CHIP info                            (CHIP: /dev/gpiochip0, or 0)\n"
                           "gpio CHIP get LINE...                     (an output stays one)\n"
                           "gpio CHIP set LINE=0|1... [hold=SECONDS]\n"
                           "gpio CHIP wait LINE rising|falling|both COUNT SECONDS   (exits with 1 if fewer came)\n";

static int request(int chip, const int *lines, int count, uint64_t flags, uint64_t values)
{
    struct gpio_v2_line_request request = {.num_lines = count, .consumer = "gpio", .config.flags = flags};
    for (int i = 0; i < count; i++)
        request.offsets[i] = lines[i];
    if (flags & GPIO_V2_LINE_FLAG_OUTPUT) {
        request.config.num_attrs = 1;
        request.config.attrs[0].mask = (1ull << count) - 1;
        request.config.attrs[0].attr.id = GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES;
        request.config.attrs[0].attr.values = values;
    }
    if (ioctl(chip, GPIO_V2_GET_LINE_IOCTL, &request))
        fail("GPIO_V2_GET_LINE_IOCTL");
    return request.fd;
}

static int print_info(int chip)
{
    struct gpiochip_info info;
    if (ioctl(chip, GPIO_GET_CHIPINFO_IOCTL, &info))
        fail("GPIO_GET_CHIPINFO_IOCTL");
    printf("%s \"%s\" %u lines\n", info.name, info.label, info.lines);
    for (unsigned i = 0; i < info.lines; i++) {
        struct gpio_v2_line_info line = {.offset = i};
        if (ioctl(chip, GPIO_V2_GET_LINEINFO_IOCTL, &line))
            fail("GPIO_V2_GET_LINEINFO_IOCTL");
        if (line.flags & GPIO_V2_LINE_FLAG_USED)
            printf("%u used by %s, %s\n", i, line.consumer, line.flags & GPIO_V2_LINE_FLAG_OUTPUT ? "output" : "input");
    }
    return 0;
}

static int get(int chip, int argc, char **argv)
{
    for (int i = 3; i < argc; i++) {
        int line = number(argv[i]), fd = request(chip, &line, 1, 0, 0);
        struct gpio_v2_line_values values = {.mask = 1};
        if (ioctl(fd, GPIO_V2_LINE_GET_VALUES_IOCTL, &values))
            fail("GPIO_V2_LINE_GET_VALUES_IOCTL");
        printf("%d=%d\n", line, (int)(values.bits & 1));
        close(fd);
    }
    return 0;
}

static int set(int chip, int argc, char **argv)
{
    int lines[GPIO_V2_LINES_MAX], count = 0, hold = 0;
    uint64_t values = 0;
    for (int i = 3; i < argc; i++) {
        int line, value;
        if (sscanf(argv[i], "hold=%d", &hold) == 1)
            continue;
        if (count == GPIO_V2_LINES_MAX - 1 || sscanf(argv[i], "%d=%d", &line, &value) != 2)
            usage(help);
        values |= (uint64_t)(value & 1) << count;
        lines[count++] = line;
    }
    request(chip, lines, count, GPIO_V2_LINE_FLAG_OUTPUT, values);
    puts("set");
    fflush(stdout);
    sleep(hold);
    return 0;
}

static int wait_edges(int chip, int argc, char **argv)
{
    if (argc < 7)
        usage(help);
    int line = number(argv[3]), wanted = number(argv[5]), count = 0;
    uint64_t flags = GPIO_V2_LINE_FLAG_INPUT;
    if (strcmp(argv[4], "falling"))
        flags |= GPIO_V2_LINE_FLAG_EDGE_RISING;
    if (strcmp(argv[4], "rising"))
        flags |= GPIO_V2_LINE_FLAG_EDGE_FALLING;
    int fd = request(chip, &line, 1, flags, 0);
    puts("waiting");
    for (long long deadline = now_ms() + number(argv[6]) * 1000; count < wanted && wait_readable(fd, deadline); count++) {
        struct gpio_v2_line_event event;
        if (read(fd, &event, sizeof event) != sizeof event)
            fail("read");
        printf("%s %u\n", event.id == GPIO_V2_LINE_EVENT_RISING_EDGE ? "rising" : "falling", event.offset);
    }
    printf("edges %d\n", count);
    return count < wanted;
}

int gpio_main(int argc, char **argv)
{
    char path[64];
    if (argc < 3)
        usage(help);
    snprintf(path, sizeof path, argv[1][0] == '/' ? "%s" : "/dev/gpiochip%s", argv[1]);
    int chip = open_device(path);
    if (!strcmp(argv[2], "info"))
        return print_info(chip);
    if (!strcmp(argv[2], "get") && argc > 3)
        return get(chip, argc, argv);
    if (!strcmp(argv[2], "set") && argc > 3)
        return set(chip, argc, argv);
    if (!strcmp(argv[2], "wait"))
        return wait_edges(chip, argc, argv);
    usage(help);
}

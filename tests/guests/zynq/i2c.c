/* I2C transfers as they go over the bus: every `w` and `r` is a message, all in one transfer with repeated starts between. */
#include "hw.h"
#include <linux/i2c-dev.h>
#include <linux/i2c.h>
#include <sys/ioctl.h>

static const char help[] = "i2c BUS ADDRESS [w BYTE...] [r COUNT]...   e.g. i2c 0 0x50 w 0 0x10 r 16\n"
                           "i2c BUS scan\n";

static int scan(int fd)
{
    for (int address = 0x08; address < 0x78; address++) {
        uint8_t byte;
        struct i2c_msg message = {.addr = address, .flags = I2C_M_RD, .len = 1, .buf = &byte};
        struct i2c_rdwr_ioctl_data transfer = {.msgs = &message, .nmsgs = 1};
        if (ioctl(fd, I2C_RDWR, &transfer) == 1)
            printf("%#x\n", address);
    }
    return 0;
}

int i2c_main(int argc, char **argv)
{
    struct i2c_msg messages[I2C_RDWR_IOCTL_MAX_MSGS];
    struct i2c_rdwr_ioctl_data transfer = {.msgs = messages};
    char path[64];
    if (argc < 3)
        usage(help);
    snprintf(path, sizeof path, "/dev/i2c-%lld", number(argv[1]));
    int fd = open_device(path);
    if (!strcmp(argv[2], "scan"))
        return scan(fd);
    int address = number(argv[2]);
    for (int i = 3; i < argc && transfer.nmsgs < I2C_RDWR_IOCTL_MAX_MSGS; transfer.nmsgs++) {
        struct i2c_msg *message = &messages[transfer.nmsgs];
        *message = (struct i2c_msg){.addr = address, .buf = calloc(1, 65536)};
        if (!strcmp(argv[i], "r") && i + 1 < argc) {
            message->flags = I2C_M_RD;
            message->len = number(argv[i + 1]);
            i += 2;
        } else if (!strcmp(argv[i], "w")) {
            for (i++; i < argc && strcmp(argv[i], "r") && strcmp(argv[i], "w"); i++)
                message->buf[message->len++] = number(argv[i]);
        } else {
            usage(help);
        }
    }
    if (!transfer.nmsgs)
        usage(help);
    if (ioctl(fd, I2C_RDWR, &transfer) < 0)
        fail("I2C_RDWR");
    for (unsigned i = 0; i < transfer.nmsgs; i++)
        if (messages[i].flags & I2C_M_RD)
            print_bytes(messages[i].buf, messages[i].len);
    return 0;
}

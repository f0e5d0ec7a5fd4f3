/* SPI transfers through spidev: prints what came back. A comma starts another transfer of the same message: the select line stays active. */
#include "hw.h"
#include <linux/spi/spidev.h>
#include <sys/ioctl.h>

static const char help[] = "spi DEVICE [mode=0..3] [hz=N] [bits=N] [loop] [lsb-first] BYTE|, ...   e.g. spi /dev/spidev0.0 mode=3 0x9f , 0 0 0\n";

int spi_main(int argc, char **argv)
{
    struct spi_ioc_transfer transfers[16] = {0};
    static uint8_t sent[4096], received[4096];
    uint32_t hz = 1000000, mode = 0;
    uint8_t bits = 8;
    int i = 2, count = 0, total = 0;
    if (argc < 3)
        usage(help);
    int fd = open_device(argv[1]);
    for (; i < argc; i++) {
        if (!strncmp(argv[i], "mode=", 5))
            mode |= number(argv[i] + 5);
        else if (!strncmp(argv[i], "hz=", 3))
            hz = number(argv[i] + 3);
        else if (!strncmp(argv[i], "bits=", 5))
            bits = number(argv[i] + 5);
        else if (!strcmp(argv[i], "loop"))
            mode |= SPI_LOOP;
        else if (!strcmp(argv[i], "lsb-first"))
            mode |= SPI_LSB_FIRST;
        else
            break;
    }
    if (ioctl(fd, SPI_IOC_WR_MODE32, &mode) || ioctl(fd, SPI_IOC_WR_BITS_PER_WORD, &bits) || ioctl(fd, SPI_IOC_WR_MAX_SPEED_HZ, &hz))
        fail("mode, bits or hz");
    for (; i < argc && total < (int)sizeof sent; i++) {
        if (!strcmp(argv[i], ",")) {
            if (++count == 16)
                usage(help);
            continue;
        }
        if (!transfers[count].len) {
            transfers[count].tx_buf = (uintptr_t)(sent + total);
            transfers[count].rx_buf = (uintptr_t)(received + total);
        }
        sent[total++] = number(argv[i]);
        transfers[count].len++;
    }
    if (ioctl(fd, SPI_IOC_MESSAGE(count + 1), transfers) < 0)
        fail("SPI_IOC_MESSAGE");
    print_bytes(received, total);
    return 0;
}

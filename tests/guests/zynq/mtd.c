/* Flash of every kind (/dev/mtdN): what it is, erase, write, read, spare bytes, bad blocks, what error correction saw. */
#include "hw.h"
#include <errno.h>
#include <fcntl.h>
#include <mtd/mtd-user.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char help[] = "mtd DEVICE info | bad | ecc\n"
                           "mtd DEVICE erase OFFSET LENGTH          (lengths and offsets may end in K or M)\n"
                           "mtd DEVICE write OFFSET FILE | read OFFSET LENGTH   (read: to standard output)\n"
                           "mtd DEVICE fill OFFSET LENGTH SEED | verify OFFSET LENGTH SEED | blank OFFSET LENGTH\n"
                           "mtd DEVICE test OFFSET LENGTH           (erase, blank, fill, verify, erase)\n"
                           "mtd DEVICE oob OFFSET | oob-write OFFSET BYTE...    (spare bytes of the page at OFFSET)\n"
                           "mtd DEVICE flip OFFSET BIT              (clears or sets one stored bit, behind error correction's back)\n"
                           "mtd DEVICE mark-bad OFFSET | lock OFFSET LENGTH | unlock OFFSET LENGTH\n";

static int fd;
static struct mtd_info_user info;

static const char *type_name(int type)
{
    switch (type) {
    case MTD_RAM: return "ram";
    case MTD_ROM: return "rom";
    case MTD_NORFLASH: return "nor";
    case MTD_NANDFLASH: return "nand";
    case MTD_DATAFLASH: return "dataflash";
    case MTD_MLCNANDFLASH: return "mlc-nand";
    default: return "other";
    }
}

static int is_bad(long long offset)
{
    loff_t block = offset;
    int bad = ioctl(fd, MEMGETBADBLOCK, &block);
    if (bad < 0 && errno != EOPNOTSUPP)
        fail("MEMGETBADBLOCK");
    return bad > 0;
}

static void print_ecc(void)
{
    struct mtd_ecc_stats stats;
    if (ioctl(fd, ECCGETSTATS, &stats))
        fail("ECCGETSTATS");
    printf("corrected %u failed %u badblocks %u bbtblocks %u\n", stats.corrected, stats.failed, stats.badblocks, stats.bbtblocks);
}

static void print_info(void)
{
    printf("type %s size %u erasesize %u writesize %u oobsize %u flags %#x\n", type_name(info.type), info.size, info.erasesize, info.writesize,
           info.oobsize, info.flags);
}

static void print_bad(void)
{
    int count = 0;
    for (long long offset = 0; offset < info.size; offset += info.erasesize)
        if (is_bad(offset))
            printf("bad %#llx\n", offset), count++;
    printf("%d bad\n", count);
}

static void erase(long long offset, long long length)
{
    for (long long at = offset; at < offset + length; at += info.erasesize) {
        struct erase_info_user block = {.start = at, .length = info.erasesize};
        if (ioctl(fd, MEMERASE, &block))
            fail("MEMERASE");
    }
}

/* The byte of a pattern: differs from place to place and from seed to seed. */
static uint8_t pattern(long long offset, int seed)
{
    uint32_t x = (uint32_t)offset * 2654435761u + (uint32_t)seed * 40503u;
    return x >> 24 ^ x >> 11;
}

/* Pieces of a page or of 4 KiB, whichever is larger: flash wants whole pages. */
static int piece(long long left)
{
    int most = info.writesize > 4096 ? info.writesize : 4096;
    return left < most ? left : most;
}

static void fill(long long offset, long long length, int seed)
{
    uint8_t buffer[65536];
    for (int size; length > 0; offset += size, length -= size) {
        size = piece(length);
        for (int i = 0; i < size; i++)
            buffer[i] = pattern(offset + i, seed);
        if (pwrite(fd, buffer, size, offset) != size)
            fail("write");
    }
}

/* Compares with the pattern, or with erased flash where the seed is negative. */
static int verify(long long offset, long long length, int seed)
{
    uint8_t buffer[65536];
    for (int size; length > 0; offset += size, length -= size) {
        size = piece(length);
        if (pread(fd, buffer, size, offset) != size)
            fail("read");
        for (int i = 0; i < size; i++) {
            uint8_t wanted = seed < 0 ? 0xff : pattern(offset + i, seed);
            if (buffer[i] != wanted) {
                printf("differs at %#llx: %02x, not %02x\n", offset + i, buffer[i], wanted);
                return 1;
            }
        }
    }
    puts("same");
    return 0;
}

static int test(long long offset, long long length)
{
    erase(offset, length);
    if (verify(offset, length, -1))
        return 1;
    fill(offset, length, 1);
    if (verify(offset, length, 1))
        return 1;
    erase(offset, length);
    if (verify(offset, length, -1))
        return 1;
    puts("mtd test ok");
    return 0;
}

static void write_file(long long offset, const char *path)
{
    uint8_t buffer[65536];
    int file = open(path, O_RDONLY);
    if (file < 0)
        fail(path);
    for (int size, got; (got = read(file, buffer, size = piece(sizeof buffer))) > 0; offset += got) {
        /* The last page is filled up with what erased flash holds. */
        int whole = (got + info.writesize - 1) / info.writesize * info.writesize;
        memset(buffer + got, 0xff, whole - got);
        if (pwrite(fd, buffer, whole, offset) != whole)
            fail("write");
    }
}

static void read_out(long long offset, long long length)
{
    uint8_t buffer[65536];
    for (int size; length > 0; offset += size, length -= size) {
        size = piece(length);
        if (pread(fd, buffer, size, offset) != size)
            fail("read");
        fwrite(buffer, 1, size, stdout);
    }
}

static void oob(long long offset)
{
    uint8_t spare[1024];
    struct mtd_oob_buf buffer = {.start = offset, .length = info.oobsize, .ptr = spare};
    if (info.oobsize == 0 || info.oobsize > sizeof spare)
        errno = ENODEV, fail("no spare bytes");
    if (ioctl(fd, MEMREADOOB, &buffer))
        fail("MEMREADOOB");
    print_bytes(spare, info.oobsize);
}

static void oob_write(long long offset, int count, char **bytes)
{
    uint8_t spare[1024];
    struct mtd_oob_buf buffer = {.start = offset, .length = info.oobsize, .ptr = spare};
    if (count > (int)info.oobsize || info.oobsize > sizeof spare)
        errno = ENODEV, fail("no so many spare bytes");
    memset(spare, 0xff, sizeof spare);
    for (int i = 0; i < count; i++)
        spare[i] = number(bytes[i]);
    if (ioctl(fd, MEMWRITEOOB, &buffer))
        fail("MEMWRITEOOB");
}

/* Reads the whole block with its spare bytes as they are stored, erases it, writes it back with one bit changed. */
static void flip(long long offset, int bit)
{
    long long block = offset / info.erasesize * info.erasesize;
    int pages = info.erasesize / info.writesize;
    uint8_t *data = malloc(info.erasesize), *spare = malloc(pages * info.oobsize);
    for (int page = 0; page < pages; page++) {
        long long at = block + page * info.writesize;
        struct mtd_read_req request = {.start = at, .len = info.writesize, .ooblen = info.oobsize, .mode = MTD_OPS_RAW,
                                       .usr_data = (uintptr_t)(data + page * info.writesize), .usr_oob = (uintptr_t)(spare + page * info.oobsize)};
        if (ioctl(fd, MEMREAD, &request))
            fail("MEMREAD");
    }
    data[offset - block] ^= 1 << bit;
    erase(block, info.erasesize);
    for (int page = 0; page < pages; page++) {
        long long at = block + page * info.writesize;
        struct mtd_write_req request = {.start = at, .len = info.writesize, .ooblen = info.oobsize, .mode = MTD_OPS_RAW,
                                        .usr_data = (uintptr_t)(data + page * info.writesize), .usr_oob = (uintptr_t)(spare + page * info.oobsize)};
        if (ioctl(fd, MEMWRITE, &request))
            fail("MEMWRITE");
    }
}

static void lock(long long offset, long long length, unsigned long request)
{
    struct erase_info_user area = {.start = offset, .length = length};
    if (ioctl(fd, request, &area))
        fail("lock");
}

int mtd_main(int argc, char **argv)
{
    if (argc < 3)
        usage(help);
    const char *command = argv[2];
    long long offset = argc > 3 ? number(argv[3]) : 0;
    fd = open_device(argv[1]);
    if (ioctl(fd, MEMGETINFO, &info))
        fail("MEMGETINFO");
    if (!strcmp(command, "info"))
        return print_info(), 0;
    if (!strcmp(command, "bad"))
        return print_bad(), 0;
    if (!strcmp(command, "ecc"))
        return print_ecc(), 0;
    if (argc < 4)
        usage(help);
    if (!strcmp(command, "oob"))
        return oob(offset), 0;
    if (!strcmp(command, "oob-write"))
        return oob_write(offset, argc - 4, argv + 4), 0;
    if (!strcmp(command, "mark-bad"))
        return ioctl(fd, MEMSETBADBLOCK, &(loff_t){offset}) ? fail("MEMSETBADBLOCK"), 1 : 0;
    if (argc < 5)
        usage(help);
    if (!strcmp(command, "write"))
        return write_file(offset, argv[4]), 0;
    long long length = number(argv[4]);
    if (!strcmp(command, "erase"))
        return erase(offset, length), 0;
    if (!strcmp(command, "read"))
        return read_out(offset, length), 0;
    if (!strcmp(command, "blank"))
        return verify(offset, length, -1);
    if (!strcmp(command, "test"))
        return test(offset, length);
    if (!strcmp(command, "flip"))
        return flip(offset, length), 0;
    if (!strcmp(command, "lock"))
        return lock(offset, length, MEMLOCK), 0;
    if (!strcmp(command, "unlock"))
        return lock(offset, length, MEMUNLOCK), 0;
    if (argc < 6)
        usage(help);
    if (!strcmp(command, "fill"))
        return fill(offset, length, number(argv[5])), 0;
    if (!strcmp(command, "verify"))
        return verify(offset, length, number(argv[5]));
    usage(help);
}

/* UBI over a flash device: attaches it, makes a volume of all that is free (an empty one can be mounted as UBIFS at once), detaches it. */
#include "hw.h"
#include <fcntl.h>
#include <mtd/ubi-user.h>
#include <sys/ioctl.h>

static const char help[] = "ubi attach MTD-NUMBER | make UBI-NUMBER NAME | detach UBI-NUMBER\n";

static long long from_sys(int ubi, const char *what)
{
    char path[128];
    long long value = 0;
    snprintf(path, sizeof path, "/sys/class/ubi/ubi%d/%s", ubi, what);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%lld", &value) != 1)
        fail(path);
    fclose(file);
    return value;
}

int ubi_main(int argc, char **argv)
{
    if (argc < 3)
        usage(help);
    int number_given = number(argv[2]);
    if (!strcmp(argv[1], "attach")) {
        struct ubi_attach_req request = {.ubi_num = UBI_DEV_NUM_AUTO, .mtd_num = number_given};
        if (ioctl(open_device("/dev/ubi_ctrl"), UBI_IOCATT, &request))
            fail("UBI_IOCATT");
        printf("ubi%d\n", request.ubi_num);
    } else if (!strcmp(argv[1], "detach")) {
        if (ioctl(open_device("/dev/ubi_ctrl"), UBI_IOCDET, &number_given))
            fail("UBI_IOCDET");
    } else if (!strcmp(argv[1], "make") && argc > 3) {
        char path[64];
        struct ubi_mkvol_req request = {.vol_id = UBI_VOL_NUM_AUTO, .alignment = 1, .vol_type = UBI_DYNAMIC_VOLUME};
        request.bytes = from_sys(number_given, "avail_eraseblocks") * from_sys(number_given, "eraseblock_size");
        request.name_len = strlen(argv[3]);
        strncpy(request.name, argv[3], UBI_MAX_VOLUME_NAME);
        snprintf(path, sizeof path, "/dev/ubi%d", number_given);
        if (ioctl(open_device(path), UBI_IOCMKVOL, &request))
            fail("UBI_IOCMKVOL");
        printf("volume %d of %lld bytes\n", request.vol_id, (long long)request.bytes);
    } else {
        usage(help);
    }
    return 0;
}

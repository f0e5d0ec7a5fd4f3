// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/overlay, which Linux's main line has nothing for: `cat x.dtbo > /dev/overlay` applies a device-tree overlay, any other text (`echo remove`) takes
 * all of them back. kernel.sh builds it into the kernel. With it a guest adds devices, and programs the FPGA through its region (`firmware-name`).
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/libfdt.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define MOST (256 << 10)

static DEFINE_MUTEX(lock);
static char *blob;
static size_t have;

static int overlay_open(struct inode *inode, struct file *file)
{
	mutex_lock(&lock);
	have = 0;
	mutex_unlock(&lock);
	return 0;
}

/* An overlay may come in pieces; the write of its last byte applies it, and says how that went. */
static ssize_t overlay_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	ssize_t result = count;
	int error = 0, id;

	mutex_lock(&lock);
	if (count > MOST - have || copy_from_user(blob + have, from, count)) {
		result = -EFBIG;
		goto out;
	}
	have += count;
	if (have < sizeof(struct fdt_header) || fdt_magic(blob) != FDT_MAGIC) {
		error = of_overlay_remove_all();
		have = 0;
	} else if (have >= fdt_totalsize(blob)) {
		error = of_overlay_fdt_apply(blob, have, &id);
		have = 0;
	}
	if (error)
		result = error;
out:
	mutex_unlock(&lock);
	return result;
}

static const struct file_operations overlay_operations = {
	.owner = THIS_MODULE,
	.open = overlay_open,
	.write = overlay_write,
};

static struct miscdevice overlay_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "overlay",
	.fops = &overlay_operations,
};

static int __init overlay_init(void)
{
	blob = kmalloc(MOST, GFP_KERNEL);
	return blob ? misc_register(&overlay_device) : -ENOMEM;
}
device_initcall(overlay_init);

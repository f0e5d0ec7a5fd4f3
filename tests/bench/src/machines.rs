//! The guests that can be measured: how `emu` and QEMU start each.

/// A guest. `{guests}` stands for the folder of guests, `{append}` for the kernel's command line.
pub struct Machine {
    /// Its name.
    pub name: &'static str,
    /// The kernel's command line but for `bench=N`.
    pub append: &'static str,
    /// Arguments for `emu`.
    pub emu: &'static [&'static str],
    /// QEMU's program and arguments.
    pub qemu: &'static [&'static str],
}

/// All of them.
pub const MACHINES: &[Machine] = &[
    Machine {
        name: "zynq7000",
        append: "console=ttyPS0,115200 quiet maxcpus=1",
        emu: &[
            "--board",
            "zynq7000",
            "--kernel",
            "{guests}/zynq7000/zImage-zynq",
            "--initrd",
            "{guests}/zynq7000/initramfs-armhf.cpio.gz",
            "--dtb",
            "{guests}/zynq7000/zynq-zc702.dtb",
            "--append",
            "{append}",
        ],
        qemu: &[
            "qemu-system-arm",
            "-M",
            "xilinx-zynq-a9",
            "-m",
            "512",
            "-serial",
            "null",
            "-serial",
            "stdio",
            "-display",
            "none",
            "-monitor",
            "none",
            "-kernel",
            "{guests}/zynq7000/zImage-zynq",
            "-initrd",
            "{guests}/zynq7000/initramfs-armhf.cpio.gz",
            "-dtb",
            "{guests}/zynq7000/zynq-zc702.dtb",
            "-append",
            "{append}",
        ],
    },
    Machine {
        name: "petalogix-ml605",
        append: "console=ttyS0,115200 quiet",
        emu: &[
            "--board",
            "petalogix-ml605",
            "--kernel",
            "{guests}/petalogix/vmlinux-ml605",
            "--initrd",
            "{guests}/petalogix/initramfs-microblazeel.cpio.gz",
            "--append",
            "{append}",
        ],
        qemu: &[
            "qemu-system-microblazeel",
            "-M",
            "petalogix-ml605",
            "-m",
            "256",
            "-serial",
            "stdio",
            "-display",
            "none",
            "-monitor",
            "none",
            "-kernel",
            "{guests}/petalogix/vmlinux-ml605",
            "-initrd",
            "{guests}/petalogix/initramfs-microblazeel.cpio.gz",
            "-append",
            "{append}",
        ],
    },
];

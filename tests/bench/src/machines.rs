//! The guests that can be measured, and how `emu` and QEMU start each.

use std::path::Path;

/// What boots: paths below the folder of guests.
pub struct Files {
    kernel: &'static str,
    initrd: &'static str,
    dtb: Option<&'static str>,
    /// The kernel's command line but for `bench=N`.
    append: &'static str,
}

/// One of QEMU's machines to compare with.
pub struct Peer {
    /// What tables call it.
    pub name: &'static str,
    /// QEMU's program.
    pub program: &'static str,
    /// Its arguments but for what boots.
    arguments: &'static [&'static str],
    /// What boots there, if not the same as under `emu`.
    files: Option<Files>,
    /// It has another kernel, so that only what runs in the guest's user mode compares: the kernels before this one.
    pub until: Option<&'static str>,
}

/// A guest.
pub struct Machine {
    /// The board's name.
    pub name: &'static str,
    /// Its RAM, in MiB.
    pub ram: u64,
    files: Files,
    /// The first is the same machine.
    pub peers: &'static [Peer],
}

/// All of them.
pub const MACHINES: &[Machine] = &[
    Machine {
        name: "zynq7000",
        ram: 512,
        files: Files {
            kernel: "zynq7000/zImage-zynq",
            initrd: "zynq7000/initramfs-armhf.cpio.gz",
            dtb: Some("zynq7000/zynq-zc702.dtb"),
            append: "console=ttyPS0,115200 quiet",
        },
        peers: &[
            Peer {
                name: "zynq",
                program: "qemu-system-arm",
                arguments: &["-M", "xilinx-zynq-a9", "-m", "512", "-serial", "null", "-serial", "stdio"],
                files: None,
                until: None,
            },
            Peer {
                name: "virt",
                program: "qemu-system-arm",
                arguments: &["-M", "virt", "-cpu", "cortex-a15", "-m", "512", "-nic", "none", "-serial", "stdio"],
                files: Some(Files {
                    kernel: "vexpress/vmlinuz-armmp",
                    initrd: "vexpress/initramfs-armhf.cpio.gz",
                    dtb: None,
                    append: "console=ttyAMA0 quiet nomod",
                }),
                until: Some("syscall"),
            },
        ],
    },
    Machine {
        name: "petalogix-ml605",
        ram: 256,
        files: Files {
            kernel: "petalogix/vmlinux-ml605",
            initrd: "petalogix/initramfs-microblazeel.cpio.gz",
            dtb: None,
            append: "console=ttyS0,115200 quiet",
        },
        peers: &[Peer {
            name: "ml605",
            program: "qemu-system-microblazeel",
            arguments: &["-M", "petalogix-ml605", "-m", "256", "-serial", "stdio"],
            files: None,
            until: None,
        }],
    },
];

impl Machine {
    /// The machine of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<&'static Machine, String> {
        let names = || MACHINES.iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
        MACHINES.iter().find(|m| m.name == name).ok_or_else(|| format!("there is no guest `{name}`\n  help: {}", names()))
    }

    /// `emu`'s arguments; `words` are added to the kernel's command line.
    pub fn emu(&self, guests: &Path, words: &str) -> Vec<String> {
        let mut all = vec!["--board".to_string(), self.name.to_string()];
        self.files.arguments("--", guests, words, &mut all);
        all
    }

    /// QEMU's arguments for one of the peers.
    pub fn qemu(&self, peer: &Peer, guests: &Path, words: &str) -> Vec<String> {
        let mut all: Vec<String> = peer.arguments.iter().map(ToString::to_string).collect();
        all.extend(["-display", "none", "-monitor", "none"].map(String::from));
        peer.files.as_ref().unwrap_or(&self.files).arguments("-", guests, words, &mut all);
        all
    }
}

impl Files {
    /// What both programs call by the same names, but for the dashes.
    fn arguments(&self, dashes: &str, guests: &Path, words: &str, all: &mut Vec<String>) {
        let path = |name: &str| guests.join(name).to_string_lossy().into_owned();
        let mut add = |name: &str, value: String| all.extend([format!("{dashes}{name}"), value]);
        add("kernel", path(self.kernel));
        add("initrd", path(self.initrd));
        if let Some(dtb) = self.dtb {
            add("dtb", path(dtb));
        }
        add("append", format!("{} {words}", self.append));
    }
}

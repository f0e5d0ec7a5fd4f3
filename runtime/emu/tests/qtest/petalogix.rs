//! Devices of the PetaLogix boards: on a big-endian bus (Spartan-3A DSP 1800), and on a little-endian one (ML605).

use crate::client::Qtest;

const INTC: u64 = 0x8180_0000;
const TIMER: u64 = 0x83c0_0000;
const UARTLITE: u64 = 0x8400_0000;
/// The first of the ML605's 16550's registers, a word each.
const NS16550: u64 = 0x83e0_1000;

const S3A_HZ: u64 = 62_500_000;

#[test]
fn a_big_endian_cpu_sees_registers_as_numbers_and_memory_as_bytes() {
    let mut q = Qtest::start("petalogix-s3adsp1800");
    assert_eq!(q.ok("endianness"), "big");
    q.writel(TIMER + 4, 0x1122_3344);
    assert_eq!(q.readl(TIMER + 4), 0x1122_3344);
    // The most significant byte of a register is at its lowest address.
    assert_eq!(q.ok(&format!("read {:#x} 4", TIMER + 4)), "0x11223344");
    q.writel(0x9000_0000, 0x5566_7788);
    assert_eq!(q.ok("read 0x90000000 4"), "0x55667788");
    assert_eq!(q.ok("readq 0x90000000"), "0x5566778800000000");
    assert_eq!(q.ok("readw 0x90000002"), "0x0000000000007788");
    let mut q = Qtest::start("petalogix-ml605");
    assert_eq!(q.ok("endianness"), "little");
    q.writel(TIMER + 4, 0x1122_3344);
    assert_eq!(q.ok(&format!("read {:#x} 4", TIMER + 4)), "0x44332211");
}

#[test]
fn timer_interrupts_reach_the_cpu_by_the_controller() {
    let mut q = Qtest::start("petalogix-s3adsp1800");
    q.ok("irq_intercept_in cpu0");
    // Input 0 is the timer. Master enable and hardware interrupts.
    q.writel(INTC + 8, 1);
    q.writel(INTC + 0x1c, 3);
    // Load 1000, down, reload, interrupt; then on.
    q.writel(TIMER + 4, 1000);
    q.writel(TIMER, 0x20);
    assert_eq!(q.readl(TIMER + 8), 1000);
    q.writel(TIMER, 0xd2);
    // The tick after 0: 16 ns each.
    let end = 1001 * 1_000_000_000 / S3A_HZ;
    q.clock_step(end - 1);
    assert_eq!((q.irqs(), q.readl(TIMER + 8)), (vec![], 0));
    q.clock_step(1);
    assert_eq!(q.irqs(), [(0, true)]);
    assert_eq!([q.readl(INTC), q.readl(INTC + 4), q.readl(INTC + 0x18)], [1, 1, 0]);
    assert_eq!(q.readl(TIMER) & 0x100, 0x100);
    // The flag, then the controller's latch.
    q.writel(TIMER, 0x1d2);
    q.writel(INTC + 0xc, 1);
    assert_eq!((q.irqs(), q.readl(INTC + 0x18)), (vec![(0, false)], u32::MAX));
    // The period in generate mode is the load value and two (PG079).
    q.clock_step(1002 * 16 - 1);
    assert_eq!(q.irqs(), []);
    q.clock_step(1);
    assert_eq!(q.irqs(), [(0, true)]);
}

#[test]
fn interrupt_controller_tells_edges_from_levels() {
    let mut q = Qtest::start("petalogix-s3adsp1800");
    q.ok("irq_intercept_out intc");
    // Before hardware interrupts are on, software raises them.
    q.writel(INTC + 8, 0xf);
    q.writel(INTC, 4);
    q.writel(INTC + 0x1c, 1);
    assert_eq!((q.irqs(), q.readl(INTC + 0x18)), (vec![(0, true)], 2));
    q.writel(INTC + 0xc, 4);
    assert_eq!(q.irqs(), [(0, false)]);
    q.writel(INTC + 0x1c, 3);
    // Input 1 is an edge here: a pulse is kept.
    q.ok("set_irq_in intc unnamed-gpio-in 1 1");
    q.ok("set_irq_in intc unnamed-gpio-in 1 0");
    assert_eq!((q.irqs(), q.readl(INTC)), (vec![(0, true)], 2));
    q.writel(INTC + 0xc, 2);
    assert_eq!(q.irqs(), [(0, false)]);
    // Input 2 is a level: it cannot be acknowledged away.
    q.ok("set_irq_in intc unnamed-gpio-in 2 1");
    q.writel(INTC + 0xc, 4);
    assert_eq!((q.irqs(), q.readl(INTC)), (vec![(0, true)], 4));
    q.ok("set_irq_in intc unnamed-gpio-in 2 0");
    q.writel(INTC + 0xc, 4);
    assert_eq!(q.irqs(), [(0, false)]);
    // Set and clear of single enables.
    q.writel(INTC + 0x14, 6);
    q.writel(INTC + 0x10, 2);
    assert_eq!(q.readl(INTC + 8), 0xb);
}

#[test]
fn uart_lite_sends_receives_and_pulses() {
    let mut q = Qtest::with(&["--board", "petalogix-s3adsp1800", "--serial", "uart=unix:{}/serial,server"]);
    q.ok("irq_intercept_out uart");
    // Empty, interrupts off; then on.
    assert_eq!(q.readl(UARTLITE + 8), 4);
    q.writel(UARTLITE + 0xc, 0x10);
    assert_eq!(q.readl(UARTLITE + 8), 0x14);
    use std::io::{Read, Write};
    let mut serial = std::os::unix::net::UnixStream::connect(q.folder.path().join("serial")).unwrap();
    serial.write_all(b"a").unwrap();
    assert_eq!([q.irq(), q.irq()], ["IRQ raise 0", "IRQ lower 0"]);
    assert_eq!([q.readl(UARTLITE + 8), q.readl(UARTLITE), q.readl(UARTLITE + 8)], [0x15, u32::from(b'a'), 0x14]);
    q.writel(UARTLITE + 4, u32::from(b'b'));
    assert_eq!(q.irqs(), [(0, true), (0, false)]);
    let mut byte = [0];
    serial.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b");
}

#[test]
fn the_16550_loops_back_and_times_out() {
    let mut q = Qtest::start("petalogix-ml605");
    q.ok("irq_intercept_out uart");
    let [data, ier, iir, lcr, mcr, lsr, msr, scratch] = std::array::from_fn(|i| NS16550 + 4 * i as u64);
    assert_eq!([q.readl(lsr), q.readl(iir)], [0x60, 1]);
    q.writel(scratch, 0xa5);
    assert_eq!(q.readl(scratch), 0xa5);
    // Divisor latch: 100 MHz / 16 / 54 is 115200 baud.
    q.writel(lcr, 0x83);
    q.writel(data, 54);
    assert_eq!([q.readl(data), q.readl(ier)], [54, 0]);
    q.writel(lcr, 3);
    // Loop: the modem outputs come back, and bytes do.
    q.writel(mcr, 0x1f);
    assert_eq!(q.readl(msr) & 0xf0, 0xf0);
    q.writel(mcr, 0x10);
    q.readl(msr);
    // FIFOs on, trigger level 4.
    q.writel(iir, 0x41);
    q.writel(ier, 1);
    for byte in 1..=3 {
        q.writel(data, byte);
    }
    assert_eq!((q.irqs(), q.readl(iir), q.readl(lsr) & 1), (vec![], 0xc1, 1));
    // Four characters' time, of ten bits each.
    let character = 10 * 16 * 54 * 10;
    q.clock_step(3 * character);
    assert_eq!(q.irqs(), []);
    q.clock_step(2 * character);
    assert_eq!((q.irqs(), q.readl(iir)), (vec![(0, true)], 0xcc));
    assert_eq!(q.readl(data), 1);
    assert_eq!((q.irqs(), q.readl(iir)), (vec![(0, false)], 0xc1));
    q.writel(data, 4);
    q.writel(data, 5);
    assert_eq!((q.irqs(), q.readl(iir)), (vec![(0, true)], 0xc4));
    assert_eq!([q.readl(data), q.readl(data), q.readl(data), q.readl(data)], [2, 3, 4, 5]);
    assert_eq!((q.irqs(), q.readl(lsr) & 1), (vec![(0, false)], 0));
    // The transmitter is empty; reading IIR says so once.
    q.writel(ier, 2);
    assert_eq!([q.readl(iir), q.readl(iir)], [0xc2, 0xc1]);
    assert_eq!(q.irqs(), [(0, true), (0, false)]);
}

/// Parallel flash with an image, as bytes of 8 data lines (`b`) or words of 16 (`w`): what both machines say to the same commands.
fn flash(program: &str, machine: &str, base: u64, size: usize, width: char) {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str| {
        let mut bytes = vec![0xff; size];
        (0..0x400).for_each(|i| bytes[i] = (i * 7) as u8);
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_string()
    };
    let drive = format!("if=pflash,format=raw,file={}", image("theirs"));
    let Some(mut theirs) = Qtest::qemu_with(program, machine, &["-drive", &drive]) else {
        eprintln!("skipped: there is no {program}");
        return;
    };
    let drive = format!("flash={},format=raw", image("ours"));
    let mut ours = Qtest::with(&["--board", machine, "--drive", &drive]);
    let mut said = vec![];
    for (q, is_ours) in [(&mut ours, true), (&mut theirs, false)] {
        let mut answers = vec![];
        let put = |q: &mut Qtest, at: u64, value: u32| {
            q.ok(&format!("write{width} {:#x} {value:#x}", base + at));
            // QEMU's is never busy.
            if is_ours {
                q.clock_step(2_000_000_000);
            }
        };
        let get = |q: &mut Qtest, at: u64| q.ok(&format!("read{width} {:#x}", base + at));
        // As memory, of every size.
        answers.extend(["b", "w", "l", "q"].map(|size| q.ok(&format!("read{size} {:#x}", base + 0x18))));
        answers.push(q.ok(&format!("read {:#x} 16", base + 0x20)));
        // The status. (What is read as identification depends on how QEMU's chip is put together.)
        put(q, 0, 0x70);
        answers.push(get(q, 0x40));
        // A program where it is erased, as QEMU's sets bits, too; an erase.
        for (command, at) in [(0x40u32, 0x500u64), (0x10, 0x8000)] {
            put(q, at, command);
            put(q, at, 0x5a);
            answers.push(get(q, at));
        }
        put(q, 0, 0xff);
        answers.extend([0x100, 0x500, 0x502, 0x8000, 0x8002].map(|at| get(q, at)));
        put(q, 0, 0x20);
        put(q, 0, 0xd0);
        answers.push(get(q, 0));
        put(q, 0, 0xff);
        answers.extend([0, 0x500, 0x8000].map(|at| get(q, at)));
        said.push(answers);
    }
    assert_eq!(said[0], said[1]);
    // Behind the image's bytes it is erased.
    assert_eq!(ours.ok(&format!("readl {:#x}", base + 0x20_0000)), "0x00000000ffffffff");
}

#[test]
fn flash_is_as_qemus() {
    flash("qemu-system-microblaze", "petalogix-s3adsp1800", 0xa000_0000, 16 << 20, 'b');
    flash("qemu-system-microblazeel", "petalogix-ml605", 0x8600_0000, 32 << 20, 'w');
}

/// The ML605's four serial flashes, identified through FIFOs of 16.
#[test]
fn serial_flashes_are_as_qemus() {
    const SPI: u64 = 0x40a0_0000;
    let Some(theirs) = Qtest::qemu("qemu-system-microblazeel", "petalogix-ml605") else {
        eprintln!("skipped: there is no qemu-system-microblazeel");
        return;
    };
    let mut said = vec![];
    for (mut q, is_ours) in [(Qtest::start("petalogix-ml605"), true), (theirs, false)] {
        let mut answers = vec![];
        for cs in 0..4 {
            q.writel(SPI + 0x40, 0xa);
            // A master with its slave selects by hand, inhibited; then not.
            q.writel(SPI + 0x60, 0x1e6);
            q.writel(SPI + 0x70, !(1 << cs));
            [0x9f, 0, 0, 0, 0].iter().for_each(|byte| q.writel(SPI + 0x68, *byte));
            answers.push(q.readl(SPI + 0x64) & 0xf);
            q.writel(SPI + 0x60, 0x86);
            if is_ours {
                q.clock_step(1_000_000);
            }
            answers.extend([q.readl(SPI + 0x64) & 0xf, q.readl(SPI + 0x20) & 4]);
            let first = q.readl(SPI + 0x6c);
            assert!(first == 0 || first == 0xff, "nobody drives the line: {first:#x}");
            answers.extend((0..3).map(|_| q.readl(SPI + 0x6c)));
            q.writel(SPI + 0x70, u32::MAX);
        }
        said.push(answers);
    }
    assert_eq!(said[0], said[1]);
}

/// The Spartan's lights, and a button of a board that has some: the interrupt is a change of an input.
#[test]
fn gpio_drives_lights_and_hears_buttons() {
    const GPIO: u64 = 0x8140_0000;
    let mut q = Qtest::start("petalogix-s3adsp1800");
    q.ok("irq_intercept_out gpio");
    q.writel(GPIO + 4, 0xf0);
    q.writel(GPIO, 0xa5);
    // The interrupt line is the first, the pins follow.
    assert_eq!(q.irqs(), [(1, true), (3, true)]);
    assert_eq!(q.readl(GPIO), 0);
    let mut q = Qtest::start("microblaze-soc");
    q.ok("irq_intercept_in cpu0");
    q.writel(0x8180_0008, 4);
    q.writel(0x8180_001c, 3);
    q.writel(GPIO + 0x128, 3);
    q.writel(GPIO + 0x11c, 0x8000_0000);
    q.ok("set_irq_in gpio in2 3 1");
    assert_eq!((q.readl(GPIO + 8), q.readl(GPIO + 0x120), q.irqs()), (8, 2, vec![(0, true)]));
    q.writel(GPIO + 0x120, 2);
    q.writel(0x8180_000c, 4);
    assert_eq!(q.irqs(), [(0, false)]);
}

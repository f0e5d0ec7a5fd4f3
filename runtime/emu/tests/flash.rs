//! Flash that is written while code in it is executed: memory that CPUs can only read, and a controller that writes it, as parallel flash behaves but for
//! its status cycles. ARM code in both tiers, on one CPU and on two. (No device can yet take memory's place for a while, as flash in status mode does.)

use emu_isa_arm::{Arm, System, TABLES};
use emu_machine::device::{Cx, Device};
use emu_machine::machine::Unmapped;
use emu_machine::schema::{Count, DeviceType, Props, RegionSpec};
use emu_machine::vcpu::Vcpu;
use emu_machine::{Access, Builder, BusError, Exit, Start, TimeMode};
use emu_memory::RamBlock;
use std::sync::Arc;

const KIND: DeviceType = DeviceType {
    regions: &[RegionSpec { name: "regs", size: Count::Fixed(0x100) }],
    ..DeviceType::new("test,flash", "", |_| Err("made by hand".into()))
};

/// Registers: 0, an offset in the flash; 4, a word to write there; 8, the end of the test.
struct Controller {
    flash: Arc<RamBlock>,
    offset: u64,
}

impl Device for Controller {
    fn reset(&mut self, _: &mut Cx<'_>) {}
    fn read(&mut self, _: usize, _: u64, _: u8, _: Access, _: &mut Cx<'_>) -> Result<u64, BusError> {
        Ok(0)
    }
    fn write(&mut self, _: usize, offset: u64, _: u8, value: u64, _: Access, cx: &mut Cx<'_>) -> Result<(), BusError> {
        match offset {
            0 => self.offset = value,
            4 => return if self.flash.write(self.offset, 4, value) { Ok(()) } else { Err(BusError::Device) },
            _ => cx.power_off(0),
        }
        Ok(())
    }
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    fn load(&mut self, _: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}

/// At 0: writes r0 over an instruction a little further on and goes on there. At 0x40: counts at r6 until an instruction is a branch that was a `nop`; both
/// may be replaced while they are executed (ARM ARM A3.5.4). r4: the controller, r5: the flash.
const IN_FLASH: &str = "
start:  movw    r3, #(changed - start)
        str     r3, [r4]
        str     r0, [r4, #4]
        add     r3, r3, r5
        mcr     p15, 0, r3, c7, c5, 1
        dsb     sy
        isb     sy
        b       changed
changed:
        movw    r0, #0
        bx      lr
        .balign 64
        mov     r1, #0
spin:   add     r1, r1, #1
        str     r1, [r6]
        nop
        isb     sy
        b       spin
        .balign 32
        bx      lr
";

/// The first CPU. In each round it puts the round's number into an instruction of the flash and counts the right answers; then it lets the second CPU
/// count in the flash, and ends that by a branch.
const FIRST: &str = "
        movw    r8, #0x8000
        mov     r7, #1
round:  movw    r0, #0
        movt    r0, #0xe300
        orr     r0, r0, r7
        blx     r5
        cmp     r0, r7
        ldreq   r1, [r8]
        addeq   r1, r1, #1
        streq   r1, [r8]

        movw    r2, #0x4c       // the spinning code's `nop`
        movw    r0, #0xf000
        movt    r0, #0xe320
        bl      program
        mov     r0, #0
        str     r0, [r6]
        dmb     sy
        str     r7, [r8, #4]
        dsb     sy
        sev
1:      ldr     r0, [r6]
        cmp     r0, #50
        blo     1b
        movw    r0, #3          // a branch to the `bx lr`
        movt    r0, #0xea00
        bl      program
2:      ldr     r0, [r8, #8]
        cmp     r0, r7
        beq     3f
        wfe
        b       2b
3:      add     r7, r7, #1
        cmp     r7, #100
        bls     round
        str     r0, [r4, #8]
4:      wfi
        b       4b

program:
        str     r2, [r4]
        str     r0, [r4, #4]
        add     r3, r2, r5
        mcr     p15, 0, r3, c7, c5, 1
        dsb     sy
        isb     sy
        bx      lr
";

/// The second CPU: in each round it counts in the flash, and says that it has left.
const SECOND: &str = "
        movw    r8, #0x8000
        add     r9, r5, #0x40
        mov     r7, #1
1:      ldr     r0, [r8, #4]
        cmp     r0, r7
        beq     2f
        wfe
        b       1b
2:      isb     sy
        blx     r9
        str     r7, [r8, #8]
        dsb     sy
        sev
        add     r7, r7, #1
        b       1b
";

const FLASH: u64 = 0x4000_0000;
const CONTROLLER: u64 = 0x5000_0000;
/// Words: right answers, the round the second CPU is to begin, the last that it ended.
const WORDS: u64 = 0x8000;
const COUNTER: u64 = 0x9000;

fn run(quick: bool) {
    let isa = emu_asm::Isa::from_json(TABLES).unwrap();
    let code = |text: &str, at| emu_asm::source::assemble(&isa, &isa.setting(""), "test", text, at, &[]).unwrap().bytes;
    let mut build = Builder::default();
    build.bus(32, Unmapped::Abort, Unmapped::Abort);
    let ram = RamBlock::new("ram", 1 << 20).unwrap();
    let flash = RamBlock::new("flash", 1 << 16).unwrap();
    build.memory(0, 0, ram.size(), 0, &ram, true).unwrap();
    build.memory(0, FLASH, flash.size(), 0, &flash, false).unwrap();
    assert!(flash.copy_in(0, &code(IN_FLASH, FLASH)));
    let controller = Controller { flash: flash.clone(), offset: 0 };
    let controller = build.device("controller", &KIND, &Props::default(), Box::new(controller), None);
    build.region(controller, 0, 0, CONTROLLER, 0x100, 0).unwrap();
    let mut starts = Vec::new();
    for (n, text) in [FIRST, SECOND].into_iter().enumerate() {
        let at = 0x1000 * (1 + n as u64);
        assert!(ram.copy_in(at, &code(text, at)));
        let arm = Arm::model("cortex-a9", System::new("cortex-a9")).unwrap();
        let cpu = build.cpu("cpu", Box::new(Vcpu::new(Arc::new(arm), n as u8)), 0, true);
        let registers = [("r4", CONTROLLER), ("r5", FLASH), ("r6", COUNTER)];
        starts.push(Start { cpu, pc: Some(at), registers: registers.map(|(name, value)| (name.to_string(), value)).to_vec() });
    }
    let mut machine = build.build(TimeMode::Realtime);
    machine.starts = starts;
    if quick {
        machine.use_tiers(&emu_ir::interp::Tiers::Quick);
    }
    machine.reset().unwrap();
    let handle = machine.handle();
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(120));
        handle.stop(124);
    });
    let exit = machine.run();
    let words = [0, 4, 8].map(|offset| ram.read_u32(WORDS + offset).unwrap());
    assert_eq!((exit, words), (Ok(Exit::Stopped(0)), [100; 3]));
}

#[test]
fn code_in_flash_changes_in_the_interpreter() {
    run(false);
}

#[test]
fn code_in_flash_changes_in_the_quick_tier() {
    run(true);
}

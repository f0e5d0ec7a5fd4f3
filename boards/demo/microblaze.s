// The built-in demo firmware of MicroBlaze boards, for the assembler generated from isa/microblaze, in both byte orders.
//
// It runs wherever it is loaded, and finds the hardware through a table of words that the board file's `boot` node fills in; r5 holds the table's address at
// entry. The vectors at 0 are in local memory. Sources: UG984 (processor), PG099 (interrupt controller), PG079 (timer), PG142 and PG143 (serial ports),
// PG144 (GPIO), JESD68 (flash query).
//
// Registers kept throughout: r19 parameter table, r20 image base, r21 variables, r1 stack. A branch is relative: `label - .`.

// ---- parameter table
p_uart      = 0x00
p_stride    = 0x04          // bytes between registers of a 16550; 0: a UART Lite
p_intc      = 0x08
p_timer     = 0x0c
p_timer_irq = 0x10
p_load      = 0x14          // timer ticks of 10 ms, less two
p_ram       = 0x18
p_ram_size  = 0x1c
p_flash     = 0x20          // 0: there is none; so for the next
p_gpio      = 0x24

// ---- variables, behind the code
vars        = 0x2000
v_ticks     = 0x00
v_mask      = 0x04
v_save      = 0x10
stack       = 0x4000

start:
        mfs     r20, rpc
        or      r19, r5, r0
        addik   r21, r20, vars
        addik   r1, r20, stack
        swi     r0, r21, v_ticks
        brlid   r15, set_vector - .
        or      r0, r0, r0
        brlid   r15, puts - .
        addik   r5, r0, s_banner - start
        brlid   r15, show_cpu - .
        or      r0, r0, r0
        brlid   r15, test_memory - .
        or      r0, r0, r0
        brlid   r15, test_timer - .
        or      r0, r0, r0
        brlid   r15, test_flash - .
        or      r0, r0, r0
        brlid   r15, test_gpio - .
        or      r0, r0, r0
        brlid   r15, puts - .
        addik   r5, r0, s_ready - start
        // What is typed comes back.
1:      brlid   r15, getc - .
        or      r0, r0, r0
        brlid   r15, putc - .
        or      r5, r3, r0
        addik   r6, r5, -13
        bnei    r6, 1b - .
        brlid   r15, putc - .
        addik   r5, r0, 10
        bri     1b - .

// `imm` and `brai` to on_irq at the interrupt vector.
set_vector:
        addik   r5, r20, on_irq - start
        bsrli   r6, r5, 16
        imm     0xb000 - 0x10000
        ori     r6, r6, 0
        swi     r6, r0, 0x10
        imm     0
        andi    r5, r5, -1
        imm     0xb808 - 0x10000
        ori     r5, r5, 0
        swi     r5, r0, 0x14
        rtsd    r15, 8
        or      r0, r0, r0

// A tick: the timer's flag, then the controller's, then the lights.
on_irq:
        swi     r5, r21, v_save
        swi     r6, r21, v_save + 4
        swi     r7, r21, v_save + 8
        lwi     r6, r19, p_timer
        lwi     r5, r6, 0
        swi     r5, r6, 0                       // TCSR0: TINT is cleared by a one
        lwi     r7, r21, v_ticks
        addik   r7, r7, 1
        swi     r7, r21, v_ticks
        lwi     r6, r19, p_intc
        lwi     r5, r21, v_mask
        swi     r5, r6, 0x0c                    // IAR
        lwi     r6, r19, p_gpio
        beqi    r6, 1f - .
        bsrli   r7, r7, 4
        swi     r7, r6, 0
1:      lwi     r5, r21, v_save
        lwi     r6, r21, v_save + 4
        lwi     r7, r21, v_save + 8
        rtid    r14, 0
        or      r0, r0, r0

// ---- serial port
// r5: a byte
putc:
        lwi     r6, r19, p_uart
        lwi     r7, r19, p_stride
        beqi    r7, 2f - .
        muli    r7, r7, 5
        addk    r7, r7, r6
1:      lwi     r8, r7, 0                       // LSR
        andi    r8, r8, 0x20
        beqi    r8, 1b - .
        rtsd    r15, 8
        swi     r5, r6, 0
2:      lwi     r8, r6, 8                       // STAT
        andi    r8, r8, 8
        bnei    r8, 2b - .
        rtsd    r15, 8
        swi     r5, r6, 4

// Waits for a byte, in r3.
getc:
        lwi     r6, r19, p_uart
        lwi     r7, r19, p_stride
        beqi    r7, 2f - .
        muli    r7, r7, 5
        addk    r7, r7, r6
1:      lwi     r8, r7, 0
        andi    r8, r8, 1
        beqi    r8, 1b - .
        rtsd    r15, 8
        lwi     r3, r6, 0
2:      lwi     r8, r6, 8
        andi    r8, r8, 1
        beqi    r8, 2b - .
        rtsd    r15, 8
        lwi     r3, r6, 0

// r5: offset of a zero-terminated text in the image
puts:
        addik   r1, r1, -8
        swi     r15, r1, 0
        swi     r22, r1, 4
        addk    r22, r5, r20
1:      lbui    r5, r22, 0
        beqi    r5, 3f - .
        addik   r6, r5, -10
        bnei    r6, 2f - .
        brlid   r15, putc - .
        addik   r5, r0, 13
        addik   r5, r0, 10
2:      brlid   r15, putc - .
        addik   r22, r22, 1
        bri     1b - .
3:      lwi     r15, r1, 0
        lwi     r22, r1, 4
        rtsd    r15, 8
        addik   r1, r1, 8

// r5: a number, printed as 8 hexadecimal digits
puthex:
        addik   r1, r1, -12
        swi     r15, r1, 0
        swi     r22, r1, 4
        swi     r23, r1, 8
        or      r22, r5, r0
        addik   r23, r0, 28
1:      bsrl    r5, r22, r23
        andi    r5, r5, 15
        addik   r6, r5, -10
        blti    r6, 2f - .
        addik   r5, r5, 39
2:      brlid   r15, putc - .
        addik   r5, r5, 48
        addik   r23, r23, -4
        bgei    r23, 1b - .
        lwi     r15, r1, 0
        lwi     r22, r1, 4
        lwi     r23, r1, 8
        rtsd    r15, 8
        addik   r1, r1, 12

// r5: a number, printed in decimal
putdec:
        addik   r1, r1, -24
        swi     r15, r1, 0
        swi     r22, r1, 4
        addik   r22, r1, 23
        sbi     r0, r22, 0
        addik   r7, r0, 10
1:      idivu   r6, r7, r5
        muli    r8, r6, 10
        rsubk   r8, r8, r5
        addik   r8, r8, 48
        addik   r22, r22, -1
        sbi     r8, r22, 0
        or      r5, r6, r0
        bnei    r5, 1b - .
        brlid   r15, puts - .
        rsubk   r5, r20, r22
        lwi     r15, r1, 0
        lwi     r22, r1, 4
        rtsd    r15, 8
        addik   r1, r1, 24

// ---- self tests
show_cpu:
        addik   r1, r1, -4
        swi     r15, r1, 0
        brlid   r15, puts - .
        addik   r5, r0, s_cpu - start
        mfs     r5, rpvr0
        brlid   r15, puthex - .
        or      r0, r0, r0
        lwi     r15, r1, 0
        addik   r1, r1, 4
        brid    puts - .
        addik   r5, r0, s_newline - start

// Writes each word's address scrambled over the test range, then checks it.
test_memory:
        addik   r1, r1, -4
        swi     r15, r1, 0
        brlid   r15, puts - .
        addik   r5, r0, s_memory - start
        lwi     r5, r19, p_ram
        lwi     r6, r19, p_ram_size
        addk    r6, r6, r5
        imm     0x9e37 - 0x10000
        addik   r7, r0, 0x79b9
1:      mul     r8, r5, r7
        swi     r8, r5, 0
        addik   r5, r5, 4
        cmpu    r8, r6, r5
        blti    r8, 1b - .
        lwi     r5, r19, p_ram
2:      mul     r8, r5, r7
        lwi     r9, r5, 0
        cmp     r8, r8, r9
        bnei    r8, bad - .
        addik   r5, r5, 4
        cmpu    r8, r6, r5
        blti    r8, 2b - .
        lwi     r5, r19, p_ram_size
        bsrli   r5, r5, 10
        brlid   r15, putdec - .
        or      r0, r0, r0
        lwi     r15, r1, 0
        addik   r1, r1, 4
        brid    puts - .
        addik   r5, r0, s_kib_ok - start
bad:
        lwi     r15, r1, 0
        addik   r1, r1, 4
        brid    puts - .
        addik   r5, r0, s_bad - start

// The timer at 100 interrupts a second.
test_timer:
        addik   r1, r1, -4
        swi     r15, r1, 0
        brlid   r15, puts - .
        addik   r5, r0, s_timer - start
        lwi     r5, r19, p_timer_irq
        addik   r6, r0, 1
        bsll    r5, r6, r5
        swi     r5, r21, v_mask
        lwi     r6, r19, p_intc
        swi     r5, r6, 0x08                    // IER
        addik   r5, r0, 3
        swi     r5, r6, 0x1c                    // MER
        lwi     r6, r19, p_timer
        lwi     r5, r19, p_load
        swi     r5, r6, 0x04                    // TLR0
        addik   r5, r0, 0x20
        swi     r5, r6, 0x00                    // TCSR0: load
        addik   r5, r0, 0xd2
        swi     r5, r6, 0x00                    // enable, interrupt, reload, down
        msrset  r0, 2
1:      lwi     r5, r21, v_ticks
        addik   r6, r5, -5
        blti    r6, 1b - .
        brlid   r15, putdec - .
        or      r0, r0, r0
        lwi     r15, r1, 0
        addik   r1, r1, 4
        brid    puts - .
        addik   r5, r0, s_timer_ok - start

// The flash says QRY when it is asked, and its size.
test_flash:
        lwi     r9, r19, p_flash
        bnei    r9, 1f - .
        rtsd    r15, 8
        or      r0, r0, r0
1:      addik   r1, r1, -8
        swi     r15, r1, 0
        addik   r5, r0, 0x98
        sbi     r5, r9, 0xaa                    // query
        lbui    r5, r9, 0x20
        lbui    r6, r9, 0x22
        lbui    r7, r9, 0x24
        lbui    r8, r9, 0x4e                    // log2 of the size
        swi     r8, r1, 4
        addik   r8, r0, 0xff
        sbi     r8, r9, 0                       // the array
        bslli   r5, r5, 16
        bslli   r6, r6, 8
        or      r5, r5, r6
        or      r5, r5, r7
        imm     0x0051
        addik   r6, r0, 0x5259
        cmp     r5, r5, r6
        bnei    r5, 2f - .
        brlid   r15, puts - .
        addik   r5, r0, s_flash - start
        lwi     r6, r1, 4
        addik   r5, r0, 1
        addik   r6, r6, -20
        brlid   r15, putdec - .
        bsll    r5, r5, r6
        lwi     r15, r1, 0
        addik   r1, r1, 8
        brid    puts - .
        addik   r5, r0, s_mib_ok - start
2:      lwi     r15, r1, 0
        addik   r1, r1, 8
        brid    puts - .
        addik   r5, r0, s_no_flash - start

// The lights show ticks from now on.
test_gpio:
        lwi     r6, r19, p_gpio
        bnei    r6, 1f - .
        rtsd    r15, 8
        or      r0, r0, r0
1:      swi     r0, r6, 4                       // TRI: outputs
        brid    puts - .
        addik   r5, r0, s_gpio - start

s_banner:   .asciz "\nemu demo firmware for MicroBlaze\n"
s_cpu:      .asciz "cpu     PVR0 "
s_newline:  .asciz "\n"
s_memory:   .asciz "memory  "
s_kib_ok:   .asciz " KiB ok\n"
s_bad:      .asciz "bad\n"
s_timer:    .asciz "timer   "
s_timer_ok: .asciz " interrupts ok\n"
s_flash:    .asciz "flash   "
s_mib_ok:   .asciz " MiB ok\n"
s_no_flash: .asciz "flash   does not answer\n"
s_gpio:     .asciz "gpio    lights count\n"
s_ready:    .asciz "emu demo: microblaze ready\n"

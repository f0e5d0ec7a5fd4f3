// The built-in demo firmware of Zynq-7000 boards, in ARM assembly for the assembler generated from isa/arm.
//
// It runs wherever it is loaded, and finds the hardware through a table of words that the board file's `boot` node fills in;
// r0 holds the table's address at entry. Sources: UG585 (UART ch. 19, SLCR app. B.28), Cortex-A9 MPCore TRM (private timer,
// interrupt controller), ARM ARM B1 (exceptions).
//
// Registers kept throughout: r9 image base, r10 parameter table, r11 variables.

// ---- parameter table
p_uart      = 0x00
p_gic_cpu   = 0x04
p_gic_dist  = 0x08
p_timer     = 0x0c
p_slcr      = 0x10
p_spin      = 0x14
p_ram       = 0x18
p_ram_size  = 0x1c
p_timer_id  = 0x20

// ---- variables, behind the code
vars        = 0x4000
v_ticks     = 0x00
v_fault     = 0x04
v_cpu1      = 0x08
v_spurious  = 0x0c
v_line      = 0x40
v_regs      = 0x100
line_max    = 78

stack_cpu1  = 0xb000
stack_abort = 0xc000
stack_irq   = 0xd000
stack_svc   = 0xf000

start:
        sub     r9, pc, #8
        mov     r10, r0
        movw    r11, #vars
        add     r11, r9, r11
        // A stack for each mode that is used.
        cpsid   if, #0x12
        movw    r0, #stack_irq
        add     sp, r9, r0
        cps     #0x17
        movw    r0, #stack_abort
        add     sp, r9, r0
        cps     #0x1b
        movw    r0, #stack_abort
        add     sp, r9, r0
        cps     #0x13
        movw    r0, #stack_svc
        add     sp, r9, r0
        // Variables to zero.
        mov     r0, #0
        mov     r1, #0
1:      str     r0, [r11, r1]
        add     r1, r1, #4
        cmp     r1, #0x200
        bne     1b
        movw    r0, #(vectors - start)
        add     r0, r9, r0
        mcr     p15, 0, r0, c12, c0, 0          // VBAR
        bl      uart_init
        movw    r0, #(s_banner - start)
        bl      puts
        bl      show_cpu
        bl      test_memory
        bl      timer_start
        bl      test_timer
        bl      test_cpu1
        movw    r0, #(s_ready - start)
        bl      puts
        b       monitor

        .balign 32
vectors:
        b       start                           // reset
        b       on_undefined
        b       on_svc
        b       on_prefetch_abort
        b       on_data_abort
        b       start
        b       on_irq
        b       on_irq

// A failed access of `peek`, `poke` or `md`: noted, and the access skipped.
on_data_abort:
        push    {r0}
        mov     r0, #1
        str     r0, [r11, #v_fault]
        pop     {r0}
        subs    pc, lr, #4

on_undefined:
        movw    r0, #(s_undefined - start)
        b       fatal
on_svc:
        movs    pc, lr
on_prefetch_abort:
        movw    r0, #(s_prefetch - start)
fatal:
        bl      puts
2:      wfi
        b       2b

on_irq:
        push    {r0, r1, r2, r3}
        ldr     r0, [r10, #p_gic_cpu]
        ldr     r1, [r0, #0x0c]                 // ICCIAR
        movw    r3, #0x3ff
        and     r2, r1, r3
        ldr     r3, [r10, #p_timer_id]
        cmp     r2, r3
        bne     3f
        ldr     r3, [r11, #v_ticks]
        add     r3, r3, #1
        str     r3, [r11, #v_ticks]
        ldr     r2, [r10, #p_timer]
        mov     r3, #1
        str     r3, [r2, #0x0c]                 // interrupt status: write 1 to clear
        b       4f
3:      ldr     r3, [r11, #v_spurious]
        add     r3, r3, #1
        str     r3, [r11, #v_spurious]
4:      str     r1, [r0, #0x10]                 // ICCEOIR
        pop     {r0, r1, r2, r3}
        subs    pc, lr, #4

// ---- serial port
uart_init:
        ldr     r1, [r10, #p_uart]
        mov     r0, #0x03
        str     r0, [r1]                        // CR: reset both paths
        mov     r0, #0x20
        str     r0, [r1, #0x04]                 // MR: 8 bits, no parity, 1 stop
        mov     r0, #0x14
        str     r0, [r1]                        // CR: enable both
        bx      lr

// r0: a byte
putc:
        ldr     r1, [r10, #p_uart]
1:      ldr     r2, [r1, #0x2c]                 // SR
        tst     r2, #0x10                       // TXFULL
        bne     1b
        str     r0, [r1, #0x30]
        bx      lr

// r0: offset of a zero-terminated text in the image; \n prints as \r\n
puts:
        push    {r4, lr}
        add     r4, r9, r0
1:      ldrb    r0, [r4], #1
        cmp     r0, #0
        popeq   {r4, pc}
        cmp     r0, #10
        bne     2f
        mov     r0, #13
        bl      putc
        mov     r0, #10
2:      bl      putc
        b       1b

newline:
        push    {lr}
        mov     r0, #13
        bl      putc
        mov     r0, #10
        bl      putc
        pop     {pc}

// Waits for a byte, asleep between timer ticks.
getc:
        ldr     r1, [r10, #p_uart]
1:      ldr     r2, [r1, #0x2c]
        tst     r2, #0x02                       // RXEMPTY
        ldreq   r0, [r1, #0x30]
        bxeq    lr
        wfi
        b       1b

// r0: a number, printed as 8 hexadecimal digits
puthex:
        push    {r4, r5, lr}
        mov     r4, r0
        mov     r5, #28
1:      lsr     r0, r4, r5
        and     r0, r0, #15
        cmp     r0, #10
        addlt   r0, r0, #48
        addge   r0, r0, #87
        bl      putc
        subs    r5, r5, #4
        bpl     1b
        pop     {r4, r5, pc}

// r0: a number, printed in decimal
putdec:
        push    {r4, r5, r6, lr}
        movw    r4, #0xcccd
        movt    r4, #0xcccc
        mov     r5, #0
1:      umull   r1, r2, r0, r4
        lsr     r2, r2, #3                      // r0 / 10
        add     r3, r2, r2, lsl #2
        sub     r3, r0, r3, lsl #1              // r0 % 10
        add     r3, r3, #48
        push    {r3}
        add     r5, r5, #1
        movs    r0, r2
        bne     1b
2:      pop     {r0}
        bl      putc
        subs    r5, r5, #1
        bne     2b
        pop     {r4, r5, r6, pc}

// r0: offset of a text, r1: a number, printed after it in hexadecimal
put_named:
        push    {r4, lr}
        mov     r4, r1
        bl      puts
        mov     r0, r4
        bl      puthex
        pop     {r4, pc}

// ---- self tests
show_cpu:
        push    {lr}
        movw    r0, #(s_cpu - start)
        mrc     p15, 0, r1, c0, c0, 0           // MIDR
        bl      put_named
        movw    r0, #(s_cbar - start)
        mrc     p15, 4, r1, c15, c0, 0          // configuration base address
        bl      put_named
        bl      newline
        pop     {pc}

// Writes each word's address scrambled over the test range, then checks it, then its complement.
test_memory:
        push    {r4, r5, r6, r7, r8, lr}
        movw    r0, #(s_memory - start)
        bl      puts
        mov     r8, #0                          // pattern mask
1:      ldr     r4, [r10, #p_ram]
        ldr     r5, [r10, #p_ram_size]
        add     r5, r4, r5
        movw    r7, #0x79b9
        movt    r7, #0x9e37
2:      mul     r6, r4, r7
        eor     r6, r6, r8
        str     r6, [r4], #4
        cmp     r4, r5
        blo     2b
        ldr     r4, [r10, #p_ram]
3:      mul     r6, r4, r7
        eor     r6, r6, r8
        ldr     r0, [r4], #4
        cmp     r0, r6
        bne     4f
        cmp     r4, r5
        blo     3b
        mvns    r8, r8
        bne     1b
        ldr     r0, [r10, #p_ram_size]
        lsr     r0, r0, #10
        bl      putdec
        movw    r0, #(s_kib_ok - start)
        bl      puts
        pop     {r4, r5, r6, r7, r8, pc}
4:      sub     r1, r4, #4
        movw    r0, #(s_bad_at - start)
        bl      put_named
        bl      newline
        pop     {r4, r5, r6, r7, r8, pc}

// The private timer at 100 interrupts a second of its 333 MHz clock.
timer_start:
        ldr     r0, [r10, #p_gic_dist]
        ldr     r1, [r10, #p_timer_id]
        mov     r2, #1
        and     r3, r1, #31
        lsl     r2, r2, r3
        lsr     r3, r1, #5
        add     r3, r0, r3, lsl #2
        str     r2, [r3, #0x100]                // ICDISER
        add     r3, r0, r1
        mov     r2, #0xa0
        strb    r2, [r3, #0x400]                // ICDIPR
        mov     r2, #1
        str     r2, [r0]                        // ICDDCR
        ldr     r0, [r10, #p_gic_cpu]
        mov     r2, #0xff
        str     r2, [r0, #0x04]                 // ICCPMR
        mov     r2, #1
        str     r2, [r0]                        // ICCICR
        ldr     r0, [r10, #p_timer]
        movw    r1, #0xdcd4
        movt    r1, #0x0032                     // 3333332
        str     r1, [r0]                        // load
        mov     r1, #7
        str     r1, [r0, #0x08]                 // enable, auto-reload, interrupt
        cpsie   i
        bx      lr

test_timer:
        push    {lr}
        movw    r0, #(s_timer - start)
        bl      puts
1:      wfi
        ldr     r0, [r11, #v_ticks]
        cmp     r0, #5
        blo     1b
        bl      putdec
        movw    r0, #(s_timer_ok - start)
        bl      puts
        pop     {pc}

// Sends the second CPU to `cpu1` through the boot ROM's mailbox, and waits up to half a second for its sign.
test_cpu1:
        push    {r4, lr}
        movw    r0, #(s_cpu1 - start)
        bl      puts
        ldr     r1, [r10, #p_spin]
        movw    r0, #(cpu1 - start)
        add     r0, r9, r0
        str     r0, [r1]
        dsb     sy
        sev
        ldr     r4, [r11, #v_ticks]
        add     r4, r4, #50
1:      ldr     r0, [r11, #v_cpu1]
        cmp     r0, #0
        bne     2f
        wfi
        ldr     r0, [r11, #v_ticks]
        cmp     r0, r4
        blo     1b
        movw    r0, #(s_none - start)
        bl      puts
        pop     {r4, pc}
2:      mov     r1, r0
        movw    r0, #(s_cpu1_ok - start)
        bl      put_named
        bl      newline
        pop     {r4, pc}

cpu1:
        sub     r9, pc, #8
        movw    r0, #(cpu1 - start)
        sub     r9, r9, r0
        movw    r11, #vars
        add     r11, r9, r11
        mrc     p15, 0, r0, c0, c0, 5           // MPIDR
        str     r0, [r11, #v_cpu1]
        dsb     sy
1:      wfe
        b       1b

// ---- monitor
monitor:
        movw    r0, #(s_prompt - start)
        bl      puts
        bl      read_line
        add     r4, r11, #v_line
        bl      skip_spaces
        ldrb    r0, [r4]
        cmp     r0, #0
        beq     monitor
        movw    r5, #(commands - start)
        add     r5, r9, r5
1:      ldr     r6, [r5]                        // handler, 0 ends the table
        cmp     r6, #0
        beq     3f
        add     r7, r5, #4                      // name, padded to 12 bytes
        mov     r8, r4
2:      ldrb    r0, [r7], #1
        ldrb    r1, [r8]
        cmp     r0, #0
        beq     4f
        cmp     r0, r1
        addeq   r8, r8, #1
        beq     2b
        add     r5, r5, #16
        b       1b
4:      cmp     r1, #32                         // the name must end here
        cmpne   r1, #0
        addne   r5, r5, #16
        bne     1b
        mov     r4, r8
        add     r6, r9, r6
        blx     r6
        b       monitor
3:      movw    r0, #(s_what - start)
        bl      puts
        b       monitor

// Reads a line into v_line, with echo and backspace.
read_line:
        push    {r4, r5, lr}
        add     r4, r11, #v_line
        mov     r5, #0
1:      bl      getc
        cmp     r0, #13
        cmpne   r0, #10
        beq     3f
        cmp     r0, #8
        cmpne   r0, #127
        beq     2f
        cmp     r0, #32
        blo     1b
        cmp     r5, #line_max
        bhs     1b
        strb    r0, [r4, r5]
        add     r5, r5, #1
        bl      putc
        b       1b
2:      cmp     r5, #0
        beq     1b
        sub     r5, r5, #1
        movw    r0, #(s_erase - start)
        bl      puts
        b       1b
3:      mov     r0, #0
        strb    r0, [r4, r5]
        bl      newline
        pop     {r4, r5, pc}

// r4: text; moves it past spaces
skip_spaces:
        ldrb    r0, [r4]
        cmp     r0, #32
        addeq   r4, r4, #1
        beq     skip_spaces
        bx      lr

// r4: text. Gives r0 = a number (0x... hexadecimal, else decimal; in `hex` always hexadecimal), carry clear if there was none.
number:
        push    {r5, r6, lr}
        bl      skip_spaces
        mov     r5, #10
        ldrb    r0, [r4]
        ldrb    r1, [r4, #1]
        orr     r1, r1, #0x20
        cmp     r0, #48
        cmpeq   r1, #120
        addeq   r4, r4, #2
        moveq   r5, #16
        b       1f
hex:
        push    {r5, r6, lr}
        bl      skip_spaces
        mov     r5, #16
        ldrb    r0, [r4]
        ldrb    r1, [r4, #1]
        orr     r1, r1, #0x20
        cmp     r0, #48
        cmpeq   r1, #120
        addeq   r4, r4, #2
1:      mov     r6, #0
        mov     r2, #0
2:      ldrb    r0, [r4]
        sub     r1, r0, #48
        cmp     r1, #10
        blo     3f
        orr     r0, r0, #0x20
        sub     r1, r0, #97
        cmp     r1, #6
        bhs     4f
        add     r1, r1, #10
3:      cmp     r1, r5
        bhs     4f
        mla     r6, r6, r5, r1
        add     r4, r4, #1
        mov     r2, #1
        b       2b
4:      mov     r0, r6
        cmp     r2, #1                          // carry set if a digit was read
        pop     {r5, r6, pc}

cmd_help:
        push    {lr}
        movw    r0, #(s_help - start)
        bl      puts
        pop     {pc}

need_number:
        movw    r0, #(s_number - start)
        bl      puts
        pop     {r4, r5, r6, pc}

// Prints "fault" if the last access failed.
check_fault:
        push    {lr}
        ldr     r0, [r11, #v_fault]
        cmp     r0, #0
        popeq   {pc}
        mov     r0, #0
        str     r0, [r11, #v_fault]
        movw    r0, #(s_fault - start)
        bl      puts
        pop     {pc}

cmd_peek:
        push    {r4, r5, r6, lr}
        bl      hex
        bcc     need_number
        bic     r5, r0, #3
        ldr     r6, [r5]
        ldr     r0, [r11, #v_fault]
        cmp     r0, #0
        bne     1f
        mov     r0, r5
        bl      puthex
        movw    r0, #(s_colon - start)
        mov     r1, r6
        bl      put_named
        bl      newline
1:      bl      check_fault
        pop     {r4, r5, r6, pc}

cmd_poke:
        push    {r4, r5, r6, lr}
        bl      hex
        bcc     need_number
        bic     r5, r0, #3
        bl      hex
        bcc     need_number
        str     r0, [r5]
        dsb     sy
        bl      check_fault
        pop     {r4, r5, r6, pc}

cmd_md:
        push    {r4, r5, r6, lr}
        bl      hex
        bcc     need_number
        bic     r5, r0, #3
        bl      number
        movcc   r0, #64
        cmp     r0, #4096
        movhi   r0, #4096
        add     r6, r5, r0
1:      mov     r0, r5
        bl      puthex
        mov     r0, #58
        bl      putc
2:      mov     r0, #32
        bl      putc
        ldr     r0, [r5], #4
        ldr     r1, [r11, #v_fault]
        cmp     r1, #0
        bne     3f
        bl      puthex
        cmp     r5, r6
        bhs     3f
        tst     r5, #15
        bne     2b
        bl      newline
        b       1b
3:      bl      newline
        bl      check_fault
        pop     {r4, r5, r6, pc}

cmd_regs:
        push    {r4, r5, r6, lr}
        movw    r12, #v_regs
        add     r12, r11, r12
        stm     r12, {r0-r11}
        str     sp, [r12, #52]
        str     lr, [r12, #56]
        mov     r4, r12
        mov     r5, #0
1:      mov     r0, #114                        // r
        bl      putc
        mov     r0, r5
        bl      putdec
        movw    r0, #(s_equals - start)
        ldr     r1, [r4, r5, lsl #2]
        bl      put_named
        add     r5, r5, #1
        tst     r5, #3
        moveq   r0, #10
        movne   r0, #32
        cmp     r0, #10
        bne     2f
        mov     r0, #13
        bl      putc
        mov     r0, #10
2:      bl      putc
        cmp     r5, #15
        blo     1b
        movw    r0, #(s_cpsr - start)
        mrs     r1, cpsr
        bl      put_named
        movw    r0, #(s_sctlr - start)
        mrc     p15, 0, r1, c1, c0, 0
        bl      put_named
        movw    r0, #(s_vbar - start)
        mrc     p15, 0, r1, c12, c0, 0
        bl      put_named
        bl      newline
        pop     {r4, r5, r6, pc}

// Counts the primes up to N with a sieve of bytes in the test RAM.
cmd_primes:
        push    {r4, r5, r6, lr}
        bl      number
        bcc     need_number
        ldr     r6, [r10, #p_ram_size]
        cmp     r0, r6
        subhs   r0, r6, #1
        mov     r5, r0                          // N
        ldr     r4, [r10, #p_ram]
        mov     r1, #0
        mov     r2, #0
1:      strb    r1, [r4, r2]
        add     r2, r2, #1
        cmp     r2, r5
        bls     1b
        mov     r6, #0                          // count
        mov     r0, #2
2:      cmp     r0, r5
        bhi     5f
        ldrb    r1, [r4, r0]
        cmp     r1, #0
        bne     4f
        add     r6, r6, #1
        mov     r2, r0
        mov     r1, #1
3:      add     r2, r2, r0
        cmp     r2, r5
        strbls  r1, [r4, r2]
        bls     3b
4:      add     r0, r0, #1
        b       2b
5:      mov     r0, r6
        bl      putdec
        movw    r0, #(s_primes - start)
        bl      puts
        mov     r0, r5
        bl      putdec
        bl      newline
        pop     {r4, r5, r6, pc}

cmd_irq:
        push    {lr}
        movw    r0, #(s_ticks - start)
        bl      puts
        ldr     r0, [r11, #v_ticks]
        bl      putdec
        movw    r0, #(s_other - start)
        bl      puts
        ldr     r0, [r11, #v_spurious]
        bl      putdec
        bl      newline
        pop     {pc}

cmd_reboot:
        movw    r0, #(s_reboot - start)
        bl      puts
        ldr     r1, [r10, #p_slcr]
        movw    r0, #0xdf0d
        str     r0, [r1, #0x08]                 // SLCR_UNLOCK
        mov     r0, #1
        str     r0, [r1, #0x200]                // PSS_RST_CTRL
1:      wfi
        b       1b

        .balign 4
commands:
        .word   cmd_help - start
        .ascii  "help\0\0\0\0\0\0\0\0"
        .word   cmd_help - start
        .ascii  "?\0\0\0\0\0\0\0\0\0\0\0"
        .word   cmd_peek - start
        .ascii  "peek\0\0\0\0\0\0\0\0"
        .word   cmd_poke - start
        .ascii  "poke\0\0\0\0\0\0\0\0"
        .word   cmd_md - start
        .ascii  "md\0\0\0\0\0\0\0\0\0\0"
        .word   cmd_regs - start
        .ascii  "regs\0\0\0\0\0\0\0\0"
        .word   cmd_primes - start
        .ascii  "primes\0\0\0\0\0\0"
        .word   cmd_irq - start
        .ascii  "irq\0\0\0\0\0\0\0\0\0"
        .word   cmd_reboot - start
        .ascii  "reboot\0\0\0\0\0\0"
        .word   0

s_banner:   .asciz "\nemu demo firmware for Zynq-7000\n"
s_cpu:      .asciz "cpu     MIDR "
s_cbar:     .asciz "  private region "
s_memory:   .asciz "memory  "
s_kib_ok:   .asciz " KiB ok\n"
s_bad_at:   .asciz "bad at "
s_timer:    .asciz "timer   "
s_timer_ok: .asciz " interrupts ok\n"
s_cpu1:     .asciz "cpu1    "
s_cpu1_ok:  .asciz "ok, MPIDR "
s_none:     .asciz "does not answer\n"
s_ready:    .asciz "emu demo: zynq7000 ready\ntype `help` for the commands\n"
s_prompt:   .asciz "> "
s_erase:    .byte 8, 32, 8, 0
s_what:     .asciz "unknown command, try `help`\n"
s_number:   .asciz "a number is missing\n"
s_fault:    .asciz "fault: nothing answers there\n"
s_colon:    .asciz ": "
s_equals:   .asciz "="
s_cpsr:     .asciz "\ncpsr="
s_sctlr:    .asciz " sctlr="
s_vbar:     .asciz " vbar="
s_primes:   .asciz " primes up to "
s_ticks:    .asciz "timer interrupts "
s_other:    .asciz ", others "
s_reboot:   .asciz "rebooting\n"
s_undefined: .asciz "undefined instruction\n"
s_prefetch: .asciz "prefetch abort\n"
s_help:
        .ascii  "peek A          read the word at A (hexadecimal)\n"
        .ascii  "poke A V        write V to the word at A\n"
        .ascii  "md A [N]        show N bytes of memory (default 64)\n"
        .ascii  "regs            show registers\n"
        .ascii  "primes N        count the primes up to N\n"
        .ascii  "irq             show interrupt counts\n"
        .asciz  "reboot          reset the machine\n"

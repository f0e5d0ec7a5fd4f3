// Start of a bare-metal C program on the Zynq-7000: vectors, stacks, floating point, zeroed data.
        .syntax unified
        .arm
        .section .start, "ax"
        .global _start
_start: ldr     r0, =vectors
        mcr     p15, 0, r0, c12, c0, 0
        cps     #0x12
        ldr     sp, =irq_stack_top
        cps     #0x13
        ldr     sp, =stack_top
        mrc     p15, 0, r0, c1, c0, 2
        orr     r0, r0, #0xf00000
        mcr     p15, 0, r0, c1, c0, 2
        isb
        mov     r0, #0x40000000
        vmsr    fpexc, r0
        ldr     r0, =__bss_start
        ldr     r1, =__bss_end
        mov     r2, #0
1:      cmp     r0, r1
        strlo   r2, [r0], #4
        blo     1b
        bl      main
2:      wfi
        b       2b

        .balign 32
vectors:
        b       _start
        b       .
        b       .
        b       .
        b       .
        b       .
        b       irq
        b       .
irq:    sub     lr, lr, #4
        push    {r0-r3, r12, lr}
        vpush   {d0-d7}
        bl      on_interrupt
        vpop    {d0-d7}
        ldm     sp!, {r0-r3, r12, pc}^

// A bare-metal program for both CPUs of the Zynq-7000: code that changes, by whatever way, while it is executed. After each change the program does
// what the ARM ARM asks for (A3.8 and B2.2.9, maintenance of instruction caches; A3.5.4, concurrent modification of instructions; B3.10, TLB
// maintenance), and from then on nobody may execute what was there before. Data caches are off, instruction caches and MMU on. Prints a line
// `code: NAME ok` for each test and `code: all done`, or says what was found instead; or waits for ever.
#include <stdint.h>

#define REG(a) (*(volatile uint32_t *)(a))
#define UART 0xe0001000u
#define GIC_CPU 0xf8f00100u
#define GIC_DIST 0xf8f01000u
#define DEVCFG 0xf8007000u
#define CPU1_START 0xfffffff0u

#define DMB() __asm__ volatile("dmb" : : : "memory")
#define DSB() __asm__ volatile("dsb" : : : "memory")
#define ISB() __asm__ volatile("isb" : : : "memory")
#define SEV() __asm__ volatile("dsb\n\tsev" : : : "memory")
#define WFE() __asm__ volatile("wfe" : : : "memory")
#define WFI() __asm__ volatile("dsb\n\twfi" : : : "memory")
#define WRITE_CP15(crn, crm, opc2, x) __asm__ volatile("mcr p15, 0, %0, " #crn ", " #crm ", " #opc2 : : "r"(x) : "memory")
#define READ_CP15(crn, crm, opc2, x) __asm__ volatile("mrc p15, 0, %0, " #crn ", " #crm ", " #opc2 : "=r"(x))
#define LINE __attribute__((aligned(64)))

// Instructions.
#define MOVW(rd, n) (0xe3000000u | ((n) & 0xf000u) << 4 | (rd) << 12 | ((n) & 0xfffu))
#define BX_LR 0xe12fff1eu
#define NOP 0xe320f000u
#define B(from, to) (0xea000000u | (((((uint32_t)(to) - (uint32_t)(from)) >> 2) - 2) & 0xffffffu))

// Memory attributes: Normal, not cacheable, shareable; Device.
#define RAM_SECTION 0x11c02u
#define DEVICE_SECTION 0xc16u
#define PAGE 0x472u
#define NOT_GLOBAL 0x800u
#define READ_ONLY 0x200u

// Pages that the tests map, and what they map there. Frames are written, and executed too, at their own addresses.
#define VIRTUAL(n) (0x40000000u + ((n) << 12))
static uint32_t table[2][4096] __attribute__((aligned(16384)));
static volatile uint32_t pages[2][256] __attribute__((aligned(1024)));
static volatile uint32_t frames[8][1024] __attribute__((aligned(4096)));

typedef uint32_t function(uint32_t, uint32_t, uint32_t, uint32_t);
static uint32_t call(volatile void *code, uint32_t a, uint32_t b, uint32_t c) { return ((function *)(uint32_t)code)(a, b, c, 0); }

void second_start(void);
uint8_t second_stack[0x1000] LINE, second_interrupt_stack[0x100] LINE;
extern char code_vectors[];

__asm__("       .arm\n"
        "second_start:\n"
        "       ldr r0, =code_vectors\n"
        "       mcr p15, 0, r0, c12, c0, 0\n"
        "       cps #0x12\n"
        "       ldr sp, =second_interrupt_stack + 0x100\n"
        "       cps #0x13\n"
        "       ldr sp, =second_stack + 0x1000\n"
        "       bl second\n"
        "       b .\n"
        "       .ltorg\n"
        "       .balign 32\n"
        "code_vectors:\n"
        "       b .\n b .\n b .\n"
        "       b on_prefetch_abort\n"
        "       b on_data_abort\n"
        "       b .\n"
        "on_irq:\n" // takes the interrupt and ends it
        "       sub lr, #4\n"
        "       push {r0, r1, lr}\n"
        "       ldr r0, =0xf8f00100\n"
        "       ldr r1, [r0, #0x0c]\n"
        "       str r1, [r0, #0x10]\n"
        "       ldm sp!, {r0, r1, pc}^\n"
        "on_prefetch_abort:\n" // the instruction is executed again
        "       ldr sp, =abort_stack + 0x200\n"
        "       sub lr, #4\n"
        "       push {r0-r3, r12, lr}\n"
        "       mrc p15, 0, r0, c6, c0, 2\n"
        "       bl on_abort\n"
        "       ldm sp!, {r0-r3, r12, pc}^\n"
        "on_data_abort:\n"
        "       ldr sp, =abort_stack + 0x200\n"
        "       sub lr, #8\n"
        "       push {r0-r3, r12, lr}\n"
        "       mrc p15, 0, r0, c6, c0, 0\n"
        "       bl on_abort\n"
        "       ldm sp!, {r0-r3, r12, pc}^\n"
        "       .ltorg\n");
uint8_t abort_stack[0x200] LINE;

static volatile uint32_t job LINE, done LINE, running LINE, turn LINE, seen LINE, stop LINE;

void on_interrupt(void) {}

// ---- saying how it went

static void put(const char *s) {
    for (; *s; s++) {
        while (REG(UART + 0x2c) & 0x10) {}
        REG(UART + 0x30) = (uint8_t)*s;
    }
}

static void put_number(uint32_t n) {
    char text[11] = {0}, *at = text + 10;
    do *--at = '0' + n % 10;
    while (n /= 10);
    put(at);
}

static void expect(const char *name, uint32_t found, uint32_t wanted) {
    put("code: ");
    put(name);
    if (found == wanted) {
        put(" ok\n");
        return;
    }
    put(" FAILED, ");
    put_number(found);
    put(" instead of ");
    put_number(wanted);
    put("\ncode: failed\n");
    for (;;) WFI();
}

// A word by which the CPUs go on in turn.
static void wait_for(volatile uint32_t *word, uint32_t value) {
    while (*word != value) WFE();
    DMB();
}

static void say(volatile uint32_t *word, uint32_t value) {
    DMB();
    *word = value;
    SEV();
}

// ---- what the architecture asks for

// What was written there is what every CPU executes, from its next ISB on: here it has been.
static void code_written(volatile void *start, uint32_t bytes) {
    uint32_t end = (uint32_t)start + bytes;
    for (uint32_t at = (uint32_t)start & ~31u; at < end; at += 32) WRITE_CP15(c7, c11, 1, at); // DCCMVAU
    DSB();
    for (uint32_t at = (uint32_t)start & ~31u; at < end; at += 32) WRITE_CP15(c7, c5, 1, at); // ICIMVAU
    WRITE_CP15(c7, c1, 6, 0);                                                                 // BPIALLIS
    DSB();
    ISB();
}

static void write_code(volatile uint32_t *at, uint32_t word) {
    *at = word;
    code_written((void *)at, 4);
}

static void copy_code(volatile uint32_t *at, const uint32_t *start, const uint32_t *end) {
    for (int i = 0; start + i < end; i++) at[i] = start[i];
    code_written(at, (uint32_t)end - (uint32_t)start);
}

// Maps a page in one of the two tables for all CPUs.
static void map_in(int space, uint32_t n, uint32_t descriptor) {
    pages[space][n] = descriptor;
    DSB();
    WRITE_CP15(c8, c3, 1, VIRTUAL(n)); // TLBIMVAIS
    WRITE_CP15(c7, c1, 6, 0);
    DSB();
    ISB();
}

static void map(uint32_t n, volatile uint32_t *frame) { map_in(0, n, (uint32_t)frame | PAGE); }

static void mmu_on(void) {
    uint32_t control;
    READ_CP15(c1, c0, 1, control);
    WRITE_CP15(c1, c0, 1, control | 0x41); // ACTLR: SMP, and maintenance is broadcast
    WRITE_CP15(c7, c5, 0, 0);              // ICIALLU
    WRITE_CP15(c8, c7, 0, 0);              // TLBIALL
    WRITE_CP15(c2, c0, 0, (uint32_t)table[0]);
    WRITE_CP15(c3, c0, 0, 1);
    DSB();
    READ_CP15(c1, c0, 0, control);
    WRITE_CP15(c1, c0, 0, (control & ~6u) | 0x1801); // MMU, branch prediction, instruction cache
    ISB();
}

static void map_all(void) {
    for (int space = 0; space < 2; space++) {
        for (uint32_t i = 0; i < 4096; i++) table[space][i] = i << 20 | (i < 0x400 ? RAM_SECTION : DEVICE_SECTION);
        table[space][VIRTUAL(0) >> 20] = (uint32_t)pages[space] | 1;
    }
}

// ---- self-modifying code

// A round replaces the first instruction, which is of the same block as the store, and goes back to it. r0: how many rounds; the sum of 1 .. r0 - 1.
// Without maintenance an instruction just written may be executed or the one before it, but nothing else: `change_next` returns what it executed.
function change_self, change_next;
extern uint32_t changed_next[];
__asm__("       .balign 64\n"
        "change_self:\n"
        "       push {r4, lr}\n"
        "       mov r4, r0\n"
        "       mov r0, #0\n"
        "       mov r1, #0\n"
        "       movw r12, #0x2000\n"
        "       movt r12, #0xe300\n" // movw r2, #0
        "       adr r3, 1f\n"
        "       b 2f\n"
        "1:     movw r2, #0\n"
        "       add r0, r2\n"
        "       add r1, #1\n"
        "2:     orr lr, r12, r1\n"
        "       str lr, [r3]\n"
        "       mcr p15, 0, r3, c7, c11, 1\n"
        "       dsb\n"
        "       mcr p15, 0, r3, c7, c5, 1\n"
        "       mcr p15, 0, r3, c7, c5, 7\n"
        "       dsb\n"
        "       isb\n"
        "       cmp r1, r4\n"
        "       bne 1b\n"
        "       pop {r4, pc}\n"
        "       .balign 64\n"
        "change_next:\n"
        "       adr r1, changed_next\n"
        "       str r0, [r1]\n"
        "       mov r0, #0\n"
        "changed_next:\n"
        "       movw r0, #0\n"
        "       bx lr\n");

static uint32_t change_next_rounds(uint32_t rounds) {
    uint32_t wrong = 0;
    for (uint32_t i = 1; i <= rounds; i++) {
        uint32_t result = change_next(MOVW(0, i), 0, 0, 0);
        wrong += result != i && result != i - 1;
        code_written(changed_next, 4);
        wrong += call(changed_next, 0, 0, 0) != i;
    }
    return wrong;
}

// ---- code and data on one page

// Adds a constant, its second instruction, to the word at r0; the sum.
extern uint32_t bump[], bump_end[];
__asm__("bump:  ldr r1, [r0]\n"
        "       movw r2, #1\n"
        "       add r1, r2\n"
        "       str r1, [r0]\n"
        "       mov r0, r1\n"
        "       bx lr\n"
        "bump_end:\n");

// The word is so many words from the code, which changes now and then.
static uint32_t beside_code(uint32_t offset, uint32_t rounds) {
    volatile uint32_t *code = frames[0], *data = code + offset;
    copy_code(code, bump, bump_end);
    *data = 0;
    uint32_t wrong = 0, sum = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        uint32_t n = 1 + (i >> 6);
        if (i % 64 == 0) write_code(code + 1, MOVW(2, n));
        sum += n;
        wrong += call(code, (uint32_t)data, 0, 0) != sum;
        wrong += *data != sum;
    }
    return wrong;
}

// A store that begins on the page before the code, with the lower half of an instruction as its second half.
static uint32_t into_next_page(uint32_t rounds) {
    volatile uint32_t *code = frames[1];
    code[0] = MOVW(0, 0);
    code[1] = BX_LR;
    code_written(code, 8);
    uint32_t wrong = 0;
    for (uint32_t i = 1; i <= rounds; i++) {
        __asm__ volatile("str %0, [%1]" : : "r"(i << 16 | 0xabcd), "r"((uint32_t)code - 2) : "memory");
        code_written(code, 4);
        wrong += call(code, 0, 0, 0) != i;
    }
    return wrong;
}

// A Thumb instruction whose second half is on another page, which is written, and mapped anew: `movw r0, #n`, then `bx lr`.
static uint32_t across_pages(uint32_t rounds) {
    volatile uint16_t *first = (volatile uint16_t *)frames[0] + 2047;
    *first = 0xf240;
    code_written(first, 2);
    map(0, frames[0]);
    uint32_t wrong = 0;
    for (uint32_t i = 1; i <= rounds; i++) {
        volatile uint16_t *rest = (volatile uint16_t *)frames[1 + i % 2];
        rest[0] = i & 0xff;
        rest[1] = 0x4770;
        code_written(rest, 4);
        // With a cache indexed by virtual addresses all of it must go where code is written at another address than executed.
        WRITE_CP15(c7, c1, 0, 0);
        DSB();
        map(1, frames[1 + i % 2]);
        wrong += call((void *)(VIRTUAL(1) - 1), 0, 0, 0) != (i & 0xff);
        rest[0] = ~i & 0xff;
        code_written(rest, 4);
        WRITE_CP15(c7, c1, 0, 0);
        DSB();
        ISB();
        wrong += call((void *)(VIRTUAL(1) - 1), 0, 0, 0) != (~i & 0xff);
    }
    return wrong;
}

// ---- one CPU writes code for the other

static uint32_t cross_modify(int me, uint32_t rounds) {
    volatile uint32_t *mine = frames[2 + me], *other = frames[2 + !me];
    uint32_t wrong = 0;
    for (uint32_t i = 1; i <= rounds; i++) {
        if (me == (int)(i & 1)) {
            mine[0] = MOVW(0, i);
            mine[1] = BX_LR;
            code_written(mine, 8);
            say(&turn, i);
            wait_for(&seen, i); // before it writes again, the other has looked
        } else {
            wait_for(&turn, i);
            ISB();
            wrong += call(other, 0, 0, 0) != i;
            say(&seen, i);
        }
    }
    return wrong;
}

// ---- pages mapped anew under the code

// r0: descriptor, r1: where it is to be written, r2: this page: maps its own page anew, and goes on there. Returns which frame that is.
extern uint32_t remap_self[], remap_self_n[], remap_self_end[];
__asm__("remap_self:\n"
        "       str r0, [r1]\n"
        "       dsb\n"
        "       mcr p15, 0, r2, c8, c7, 1\n"
        "       mcr p15, 0, r2, c7, c5, 6\n"
        "       dsb\n"
        "       isb\n"
        "       b 1f\n"
        "       nop\n"
        "1:\n"
        "remap_self_n:\n"
        "       movw r0, #0\n"
        "       bx lr\n"
        "remap_self_end:\n");

static uint32_t remap_own_page(uint32_t rounds) {
    for (int n = 0; n < 2; n++) {
        copy_code(frames[n], remap_self, remap_self_end);
        write_code(frames[n] + (remap_self_n - remap_self), MOVW(0, n));
    }
    map(0, frames[0]);
    uint32_t wrong = 0;
    for (uint32_t i = 1; i <= rounds; i++)
        wrong += call((void *)VIRTUAL(0), (uint32_t)frames[i % 2] | PAGE, (uint32_t)&pages[0][0], VIRTUAL(0)) != i % 2;
    return wrong;
}

// Calls r0 and adds 16 to its result in a loop that runs `frame` + 1 times: blocks that lead to each other on one page and on another.
extern uint32_t caller[], caller_n[], caller_end[];
__asm__("caller:\n"
        "       push {r4-r6, lr}\n"
        "       mov r4, r0\n"
        "       mov r5, #0\n"
        "caller_n:\n"
        "       movw r6, #0\n"
        "1:     blx r4\n"
        "       add r5, r0\n"
        "       add r5, #16\n"
        "       subs r6, #1\n"
        "       bne 1b\n"
        "       mov r0, r5\n"
        "       pop {r4-r6, pc}\n"
        "caller_end:\n");

static uint32_t remap_chained(uint32_t rounds) {
    for (int n = 0; n < 2; n++) {
        copy_code(frames[n], caller, caller_end);
        write_code(frames[n] + (caller_n - caller), MOVW(6, 3 + n));
        frames[2 + n][0] = MOVW(0, 1 + n);
        frames[2 + n][1] = BX_LR;
        code_written(frames[2 + n], 8);
    }
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        uint32_t a = i & 1, b = i >> 1 & 1;
        map(0, frames[a]);
        map(1, frames[2 + b]);
        wrong += call((void *)VIRTUAL(0), VIRTUAL(1), 0, 0) != (3 + a) * (16 + 1 + b);
    }
    return wrong;
}

// ---- address spaces

static void use_space(uint32_t n) {
    WRITE_CP15(c13, c0, 1, 0); // no page of ASID 0 is used until the table is there (B3.10.4)
    ISB();
    WRITE_CP15(c2, c0, 0, (uint32_t)table[n]);
    ISB();
    WRITE_CP15(c13, c0, 1, n + 1);
    ISB();
    WRITE_CP15(c7, c5, 6, 0);
    DSB();
    ISB();
}

static uint32_t address_spaces(uint32_t rounds) {
    uint32_t wrong = 0, frame[2] = {0, 1};
    for (int n = 0; n < 4; n++) {
        frames[n][0] = MOVW(0, n);
        frames[n][1] = BX_LR;
        frames[n][512] = n;
        code_written(frames[n], 8);
    }
    for (int space = 0; space < 2; space++) pages[space][0] = (uint32_t)frames[space] | PAGE | NOT_GLOBAL;
    WRITE_CP15(c8, c3, 0, 0); // TLBIALLIS
    DSB();
    for (uint32_t i = 0; i < rounds; i++) {
        uint32_t space = i & 1;
        use_space(space);
        wrong += call((void *)VIRTUAL(0), 0, 0, 0) != frame[space];
        wrong += REG(VIRTUAL(0) + 2048) != frame[space];
        if (i % 7 == 0) {
            // Only this space is mapped anew.
            frame[space] ^= 2;
            pages[space][0] = (uint32_t)frames[frame[space]] | PAGE | NOT_GLOBAL;
            DSB();
            WRITE_CP15(c8, c7, 2, space + 1); // TLBIASID
            WRITE_CP15(c7, c5, 6, 0);
            DSB();
            ISB();
            wrong += call((void *)VIRTUAL(0), 0, 0, 0) != frame[space];
        }
    }
    use_space(0);
    return wrong;
}

// ---- code that changes while the other CPU is in it

// Counts at r0 until its fourth instruction is a branch to `spin_out`; with an ISB in each round, or without. Both are instructions that may be replaced
// while another CPU executes them.
extern uint32_t spin[], spin_nop[], spin_out[], spin_end[], tight[];
__asm__("spin:  mov r1, #0\n"
        "1:     add r1, #1\n"
        "       str r1, [r0]\n"
        "spin_nop:\n"
        "       nop\n"
        "       isb\n"
        "       b 1b\n"
        "spin_out:\n"
        "       movw r0, #1\n"
        "       bx lr\n"
        "spin_end:\n"
        "       .ltorg\n");

static void dma(volatile void *to, volatile void *from, uint32_t words);

enum { BY_STORE, BY_DMA, WITH_INTERRUPT };

static uint32_t spin_rounds(uint32_t rounds) {
    uint32_t left = 0;
    for (uint32_t i = 1; i <= rounds; i++) {
        wait_for(&turn, i);
        ISB();
        left += call(frames[4], (uint32_t)&seen, 0, 0);
        say(&turn, 0);
    }
    return left;
}

static void change_while_spinning(uint32_t rounds, int way) {
    volatile uint32_t *code = frames[4], *at = code + (spin_nop - spin), *out = code + (spin_out - spin);
    static volatile uint32_t branch LINE;
    branch = B(at, out);
    for (uint32_t i = 1; i <= rounds; i++) {
        copy_code(code, spin, spin_end);
        if (way == WITH_INTERRUPT) write_code(at + 1, NOP);
        seen = 0;
        say(&turn, i);
        while (seen < 100) {}
        if (way == BY_DMA) dma(at, &branch, 1);
        else *at = branch;
        code_written(at, 4);
        if (way == WITH_INTERRUPT) REG(GIC_DIST + 0xf00) = 2 << 16 | 1;
        wait_for(&turn, 0);
    }
}

// Which frame it is on, at r0, until r1 is not 0; all it ever was, as bits.
extern uint32_t where[], where_n[], where_end[];
__asm__("where: mov r2, #0\n"
        "1:\n"
        "where_n:\n"
        "       movw r3, #0\n"
        "       orr r2, r3\n"
        "       str r3, [r0]\n"
        "       isb\n"
        "       ldr r12, [r1]\n"
        "       cmp r12, #0\n"
        "       beq 1b\n"
        "       mov r0, r2\n"
        "       bx lr\n"
        "where_end:\n");

// Maps the page anew on which the other CPU is. Once that is complete, nobody is on the old one, and what is written there does not matter.
static void revoke_while_running(uint32_t rounds) {
    uint32_t at = where_n - where;
    for (int n = 0; n < 2; n++) copy_code(frames[n], where, where_end);
    write_code(frames[0] + at, MOVW(3, 1));
    map(0, frames[0]);
    say(&turn, 1);
    while (seen != 1) {}
    for (uint32_t i = 1; i <= rounds; i++) {
        uint32_t new = i % 2;
        write_code(frames[new] + at, MOVW(3, 1 << new));
        map(0, frames[new]);
        write_code(frames[!new] + at, MOVW(3, 4));
        while (seen != 1u << new) {}
    }
    stop = 1;
}

// Sleeps until r0 is r1, and returns on which frame it went on.
extern uint32_t sleeper[], sleeper_n[], sleeper_end[];
__asm__("sleeper:\n"
        "       wfe\n"
        "       isb\n"
        "       ldr r2, [r0]\n"
        "       cmp r2, r1\n"
        "       bne sleeper\n"
        "sleeper_n:\n"
        "       movw r0, #0\n"
        "       bx lr\n"
        "sleeper_end:\n");

static uint32_t sleep_on_page(uint32_t rounds) {
    uint32_t wrong = 0;
    for (uint32_t i = 1; i <= rounds; i++) {
        say(&seen, i);
        wrong += call((void *)VIRTUAL(0), (uint32_t)&turn, i, 0) != 1 + i % 2;
        DMB();
    }
    return wrong;
}

static void remap_while_asleep(uint32_t rounds) {
    uint32_t at = sleeper_n - sleeper;
    for (uint32_t i = 1; i <= rounds; i++) {
        wait_for(&seen, i);
        for (volatile int n = 0; n < 300; n++) {} // time to fall asleep
        uint32_t new = i % 2;
        copy_code(frames[new], sleeper, sleeper_end);
        write_code(frames[new] + at, MOVW(0, 1 + new));
        map(0, frames[new]);
        write_code(frames[!new] + at, MOVW(0, 7));
        say(&turn, i);
    }
}

// ---- DMA: the configuration interface's loopback (UG585 6.4)

static void dma(volatile void *to, volatile void *from, uint32_t words) {
    DSB();
    REG(DEVCFG + 0x0c) = ~0u;
    // Bits 1:0: the last of the transfers that belong together, which ends with D_P_DONE.
    REG(DEVCFG + 0x18) = (uint32_t)from | 1;
    REG(DEVCFG + 0x1c) = (uint32_t)to | 1;
    REG(DEVCFG + 0x20) = words;
    REG(DEVCFG + 0x24) = words;
    while (!(REG(DEVCFG + 0x0c) & 1 << 12)) {} // D_P_DONE
    DSB();
}

static void dma_on(void) {
    REG(DEVCFG + 0x34) = 0x757bdf0d;
    REG(DEVCFG) |= 3 << 26;
    REG(DEVCFG + 0x80) |= 1 << 4;
}

static uint32_t dma_over_code(uint32_t rounds) {
    static volatile uint32_t source[2] LINE;
    uint32_t wrong = 0;
    for (uint32_t i = 1; i <= rounds; i++) {
        source[0] = MOVW(0, i);
        source[1] = BX_LR;
        dma(frames[5], source, 2);
        code_written(frames[5], 8);
        wrong += call(frames[5], 0, 0, 0) != i;
    }
    return wrong;
}

// ---- accesses across two pages, the second of which is not there at first

static volatile uint32_t aborts, abort_at;
static uint32_t descriptor_then;

// Makes the second page what it is to be; the access is tried again.
void on_abort(uint32_t va) {
    aborts++;
    abort_at = va;
    if (aborts > 1000000) expect("aborts without end", aborts, 1);
    map_in(0, 3, descriptor_then);
}

// r0: address, r1: words to store, or where to put those that were loaded. Each returns what its base register is at the end.
#define ACCESS(name, text) extern function name; __asm__(".fpu neon\n" #name ": push {r4-r7, lr}\n" text "\n pop {r4-r7, pc}\n")
ACCESS(load_word, "ldr r2, [r0]\n str r2, [r1]");
ACCESS(load_half, "ldrh r2, [r0]\n strh r2, [r1]");
ACCESS(load_pair, "ldrd r2, r3, [r0], #8\n stm r1, {r2, r3}");
ACCESS(load_many, "ldm r0!, {r2-r5}\n stm r1, {r2-r5}");
ACCESS(load_base, "ldm r0, {r0, r2-r4}\n stm r1, {r0, r2-r4}");
ACCESS(load_down, "add r0, #16\n ldmdb r0!, {r2-r5}\n stm r1, {r2-r5}");
ACCESS(load_doubles, "vldm r0!, {d0-d1}\n vstm r1, {d0-d1}");
ACCESS(load_vector, "vld1.8 {d0-d1}, [r0]!\n vst1.8 {d0-d1}, [r1]");
ACCESS(store_word, "ldr r2, [r1]\n str r2, [r0]");
ACCESS(store_half, "ldrh r2, [r1]\n strh r2, [r0]");
ACCESS(store_pair, "ldm r1, {r2, r3}\n strd r2, r3, [r0], #8");
ACCESS(store_many, "ldm r1, {r2-r5}\n stm r0!, {r2-r5}");
ACCESS(store_down, "add r0, #16\n ldm r1, {r2-r5}\n stmdb r0!, {r2-r5}");
ACCESS(store_doubles, "vldm r1, {d0-d1}\n vstm r0!, {d0-d1}");
ACCESS(store_vector, "vld1.8 {d0-d1}, [r1]\n vst1.8 {d0-d1}, [r0]!");

// `before`: bytes on the first page; `moves`: what is added to the base register, or 1 if that is loaded.
static const struct access {
    function *act;
    uint8_t store, before, bytes, moves;
} accesses[] = {
    {load_word, 0, 1, 4, 0},   {load_word, 0, 2, 4, 0},    {load_word, 0, 3, 4, 0},     {load_half, 0, 1, 2, 0},      {load_pair, 0, 4, 8, 8},
    {load_many, 0, 4, 16, 16}, {load_many, 0, 12, 16, 16}, {load_base, 0, 8, 16, 1},    {load_down, 0, 8, 16, 0},     {load_doubles, 0, 8, 16, 16},
    {load_vector, 0, 3, 16, 16}, {store_word, 1, 1, 4, 0}, {store_word, 1, 2, 4, 0},    {store_word, 1, 3, 4, 0},     {store_half, 1, 1, 2, 0},
    {store_pair, 1, 4, 8, 8},  {store_many, 1, 4, 16, 16}, {store_many, 1, 12, 16, 16}, {store_down, 1, 8, 16, 0},    {store_doubles, 1, 8, 16, 16},
    {store_vector, 1, 3, 16, 16},
};

// How many went wrong. `at_first`: the second page's descriptor before the fault.
static uint32_t second_half_faults(uint32_t at_first, int stores_only) {
    uint32_t wrong = 0;
    map(2, frames[6]);
    descriptor_then = (uint32_t)frames[7] | PAGE;
    for (unsigned i = 0; i < sizeof accesses / sizeof accesses[0]; i++) {
        const struct access *a = &accesses[i];
        if (stores_only && !a->store) continue;
        uint32_t at = VIRTUAL(3) - a->before, outside = 0;
        volatile uint8_t *memory = (volatile uint8_t *)frames[7] - a->before;
        uint32_t buffer[4] = {0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c};
        uint8_t *bytes = (uint8_t *)buffer;
        for (int n = -32; n < 32; n++) memory[n] = 0x80 + n;
        if (!a->store)
            for (int n = 0; n < 16; n++) bytes[n] = 0;
        map_in(0, 3, at_first);
        aborts = 0;
        uint32_t base = a->act(at, (uint32_t)buffer, 0, 0);
        wrong += aborts != 1 || abort_at - at >= a->bytes;
        wrong += base != (a->moves == 1 ? buffer[0] : at + a->moves);
        for (int n = 0; n < a->bytes; n++) wrong += memory[n] != (a->store ? n : 0x80 + n) || bytes[n] != memory[n];
        for (int n = -32; n < 0; n++) outside += memory[n] != 0x80 + n;
        for (int n = a->bytes; n < 32; n++) outside += memory[n] != 0x80 + n;
        wrong += outside;
    }
    return wrong;
}

// The same for an instruction: `movw r0, #n` and `bx lr` in Thumb.
static uint32_t second_half_of_code(uint32_t rounds) {
    uint32_t wrong = 0;
    ((volatile uint16_t *)frames[6])[2047] = 0xf240;
    code_written((volatile uint16_t *)frames[6] + 2047, 2);
    map(2, frames[6]);
    for (uint32_t i = 0; i < rounds; i++) {
        volatile uint16_t *rest = (volatile uint16_t *)frames[i & 1 ? 5 : 7];
        rest[0] = i & 0xff;
        rest[1] = 0x4770;
        code_written(rest, 4);
        WRITE_CP15(c7, c1, 0, 0); // as above
        descriptor_then = (uint32_t)rest | PAGE;
        map_in(0, 3, i & 2 ? 0 : descriptor_then | 1); // not there, or never to be executed
        aborts = 0;
        wrong += call((void *)(VIRTUAL(3) - 1), 0, 0, 0) != (i & 0xff);
        wrong += aborts != 1;
    }
    return wrong;
}

// ---- both CPUs

enum { CROSS = 1, SPIN, WHERE, SLEEP };
enum { MANY = 20000, SOME = 2000, FEW = 200 };

void second(void) {
    REG(GIC_CPU + 4) = 0xff;
    REG(GIC_CPU) = 1;
    mmu_on();
    __asm__ volatile("cpsie i");
    say(&running, 1);
    for (uint32_t last = 0, result;;) {
        while (job == last) WFE();
        last = job;
        DMB();
        ISB();
        switch (last & 15) {
        case CROSS: result = cross_modify(1, SOME); break;
        case SPIN: result = spin_rounds(FEW); break;
        case WHERE:
            wait_for(&turn, 1);
            ISB();
            result = call((void *)VIRTUAL(0), (uint32_t)&seen, (uint32_t)&stop, 0);
            break;
        default: result = sleep_on_page(FEW);
        }
        say(&done, last << 16 | (result & 0xffff));
    }
}

static void start(uint32_t what) {
    turn = seen = stop = 0;
    say(&job, ((job + 16) & 0x3ff0) | what);
}

// What the second CPU says of its part.
static uint32_t finish(void) {
    while (done >> 16 != job) WFE();
    DMB();
    return done & 0xffff;
}

int main(void) {
    REG(UART) = 0x14;
    REG(GIC_DIST) = 1;
    WRITE_CP15(c12, c0, 0, (uint32_t)code_vectors);
    map_all();
    mmu_on();
    REG(CPU1_START) = (uint32_t)second_start;
    SEV();
    wait_for(&running, 1);
    dma_on();

    expect("a block that changes itself", change_self(SOME, 0, 0, 0), SOME * (SOME - 1) / 2);
    expect("a block that changes itself without a barrier", change_next_rounds(SOME), 0);
    expect("data on the page of code", beside_code(512, MANY), 0);
    expect("data beside code", beside_code(8, SOME), 0);
    expect("a store that ends in the code of the next page", into_next_page(SOME), 0);
    expect("an instruction on two pages", across_pages(FEW), 0);
    start(CROSS);
    uint32_t wrong = cross_modify(0, SOME);
    expect("code written for the other CPU", finish() + wrong, 0);
    expect("code that maps its own page anew", remap_own_page(SOME), 0);
    expect("pages mapped anew under chained blocks", remap_chained(SOME), 0);
    expect("address spaces with the same pages", address_spaces(MANY), 0);
    start(SPIN);
    change_while_spinning(FEW, BY_STORE);
    expect("code changed while the other CPU runs it", finish(), FEW);
    start(SPIN);
    change_while_spinning(FEW, WITH_INTERRUPT);
    expect("code changed while the other CPU runs it, then an interrupt", finish(), FEW);
    start(WHERE);
    revoke_while_running(FEW);
    expect("a page of code mapped anew while the other CPU runs it", finish(), 3);
    start(SLEEP);
    remap_while_asleep(FEW);
    expect("a page of code mapped anew while the other CPU sleeps on it", finish(), 0);
    expect("DMA over code", dma_over_code(SOME), 0);
    start(SPIN);
    change_while_spinning(FEW, BY_DMA);
    expect("DMA over code while the other CPU runs it", finish(), FEW);
    expect("accesses whose second page is missing", second_half_faults(0, 0), 0);
    expect("stores whose second page is read-only", second_half_faults((uint32_t)frames[7] | PAGE | READ_ONLY, 1), 0);
    expect("an instruction whose second page is missing", second_half_of_code(FEW), 0);
    put("code: all done\n");
    for (;;) WFI();
}

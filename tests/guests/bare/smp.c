// A bare-metal program for both CPUs of the Zynq-7000: what they may and may not see of each other. Litmus tests as in "Understanding POWER Multiprocessors"
// (Sarkar et al.) and the ARM ARM's A3.8 (memory order), A3.4 (exclusives), B1.8.13 (events), B3.10 (TLB maintenance, which is complete with the DSB after
// it). Prints `smp: all done` if everything held, else what did not.
//
// With -DFENCE=0 it is the store buffering test alone, without its barriers, and ends with `smp: reordered` once both CPUs have read the old values:
// so the test with barriers is known to be able to fail.
#include <stdint.h>

#ifndef FENCE
#define FENCE 1
#endif
#define REG(a) (*(volatile uint32_t *)(a))
#define UART 0xe0001000u
#define GIC_CPU 0xf8f00100u
#define GIC_DIST 0xf8f01000u
#define SLCR 0xf8000000u
#define CPU1_START 0xfffffff0u
#define TARGET ((volatile uint32_t *)0x40000000) // a small page that is mapped anew
#define POISON 0xdeadbeefu

#define DMB() __asm__ volatile("dmb" : : : "memory")
#define DSB() __asm__ volatile("dsb" : : : "memory")
#define SEV() __asm__ volatile("dsb\n\tsev" : : : "memory")
#define WFE() __asm__ volatile("wfe" : : : "memory")
#define WFI() __asm__ volatile("dsb\n\twfi" : : : "memory")
#define WRITE_CP15(crn, crm, opc2, x) __asm__ volatile("mcr p15, 0, %0, " #crn ", " #crm ", " #opc2 "\n\tisb" : : "r"(x) : "memory")
#define READ_CP15(crn, crm, opc2, x) __asm__ volatile("mrc p15, 0, %0, " #crn ", " #crm ", " #opc2 : "=r"(x))
#define LINE __attribute__((aligned(64)))

void second_start(void);
__asm__("       .arm\n"
        "second_start:\n"
        "       cps #0x13\n"
        "       ldr sp, =second_stack + 0x1000\n"
        "       bl second\n"
        "       b .\n"
        "       .ltorg\n");
uint8_t second_stack[0x1000] LINE;

static volatile uint32_t job LINE, done LINE, running LINE;
static volatile uint32_t x LINE, y LINE, seen[2] LINE, arrived[2] LINE;
static volatile uint32_t counter LINE, ticket LINE, serving LINE, plain LINE, turn LINE, stop LINE;
static volatile uint64_t wide LINE;
static uint32_t table[4096] __attribute__((aligned(16384)));
static uint32_t pages[2][256] __attribute__((aligned(1024))); // second levels: one for each CPU's own page
static volatile uint32_t frames[4][1024] __attribute__((aligned(4096)));

void on_interrupt(void) {}

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
    put(name);
    if (found == wanted) {
        put(": ok\n");
        return;
    }
    put(": FAILED, ");
    put_number(found);
    put(" instead of ");
    put_number(wanted);
    put("\nsmp: failed\n");
    for (;;) WFI();
}

// Both CPUs go on together, as near in time as can be.
static inline void meet(int me, uint32_t round) {
    DMB();
    arrived[me] = round;
    while ((int32_t)(arrived[!me] - round) < 0) {}
    DMB();
}

// ---- store buffering: each CPU writes its own word and reads the other's

// A store to a place that is in no cache, each time another of 64 MiB: later stores wait behind it, loads do not.
static inline void cold_store(int me, uint32_t round) {
    REG(0x08000000 + 0x04000000 * me + (0x10040 * round & 0x03ffffff)) = round;
}

static inline void store_buffering(int me, uint32_t round) {
    volatile uint32_t *mine = me ? &y : &x, *other = me ? &x : &y;
    meet(me, 3 * round + 1);
    cold_store(me, round);
    *mine = 1;
    if (FENCE) DMB();
    seen[me] = *other;
    meet(me, 3 * round + 2);
}

// Rounds in which both read the old value; ends at the first.
static uint32_t buffered(int me, uint32_t rounds) {
    for (uint32_t round = 0; round < rounds; round++) {
        store_buffering(me, round);
        uint32_t both = !seen[0] && !seen[1];
        meet(me, 3 * round + 3);
        if (both) return 1;
        x = y = 0;
    }
    return 0;
}

// ---- message passing: a value, then a flag

static uint32_t message(int me, uint32_t rounds) {
    uint32_t wrong = 0;
    for (uint32_t round = 1; round <= rounds; round++) {
        if (me == 0) {
            x = round * 3;
            DMB();
            y = round;
            while (turn != round) {}
            DMB();
        } else {
            while (y != round) {}
            DMB();
            wrong += x != round * 3;
            DMB();
            turn = round;
        }
    }
    return wrong;
}

// ---- exclusives

static uint32_t add(volatile uint32_t *at, uint32_t n) {
    uint32_t old, new, failed;
    do __asm__ volatile("ldrex %0, [%3]\n\tadd %1, %0, %4\n\tstrex %2, %1, [%3]" : "=&r"(old), "=&r"(new), "=&r"(failed) : "r"(at), "r"(n) : "memory");
    while (failed);
    return old;
}

static void add_wide(volatile uint64_t *at) {
    uint64_t value;
    uint32_t failed;
    do {
        __asm__ volatile("ldrexd %0, %H0, [%1]" : "=&r"(value) : "r"(at) : "memory");
        value += 0x100000001;
        __asm__ volatile("strexd %0, %1, %H1, [%2]" : "=&r"(failed) : "r"(value), "r"(at) : "memory");
    } while (failed);
}

static void exclusives(uint32_t rounds) {
    for (uint32_t i = 0; i < rounds; i++) {
        add(&counter, 1);
        add_wide(&wide);
    }
}

// A ticket lock as kernels have it: who waits sleeps for an event.
static void locked(uint32_t rounds) {
    for (uint32_t i = 0; i < rounds; i++) {
        uint32_t mine = add(&ticket, 1);
        while (serving != mine) WFE();
        DMB();
        plain = plain + 1;
        DMB();
        serving = mine + 1;
        SEV();
    }
}

// ---- events

static void ping_pong(uint32_t me, uint32_t rounds) {
    for (uint32_t i = 0; i < rounds; i++) {
        while (turn != me) WFE();
        turn = !me;
        SEV();
    }
}

// ---- translations

static void mmu_on(void) {
    WRITE_CP15(c8, c7, 0, 0);
    WRITE_CP15(c2, c0, 0, (uint32_t)table);
    WRITE_CP15(c3, c0, 0, 1);
    uint32_t control;
    READ_CP15(c1, c0, 0, control);
    WRITE_CP15(c1, c0, 0, control | 1);
}

static volatile uint32_t *page_of(int cpu) { return TARGET + cpu * (1 << 18); }

// Maps a CPU's page to a new frame, for all CPUs, and poisons the old one at the first moment that nobody may see it any more.
static void map(int cpu, volatile uint32_t *new, volatile uint32_t *old) {
    *(volatile uint32_t *)pages[cpu] = (uint32_t)new | 3 << 4 | 2;
    DSB();
    __asm__ volatile("mcr p15, 0, %0, c8, c3, 1\n\tdsb\n\tstr %1, [%2]\n\tisb" // TLBIMVAIS
                     : : "r"(page_of(cpu)), "r"(POISON), "r"(old + 5) : "memory");
}

static void map_all(void) {
    for (uint32_t i = 0; i < 4096; i++) table[i] = i << 20 | 3 << 10 | 2;
    for (int cpu = 0; cpu < 2; cpu++) {
        table[((uint32_t)page_of(cpu)) >> 20] = (uint32_t)pages[cpu] | 1;
        pages[cpu][0] = (uint32_t)frames[2 * cpu] | 3 << 4 | 2;
    }
    DSB();
}

// Maps the page to one frame and the other.
static void remap(int cpu, uint32_t rounds) {
    for (uint32_t i = 1; i <= rounds; i++) {
        volatile uint32_t *new = frames[2 * cpu + i % 2], *old = frames[2 * cpu + !(i % 2)];
        new[5] = i;
        map(cpu, new, old);
    }
}

// Long stretches without a branch, in which a CPU might be slow to hear of what the other does.
#define TWENTY(x) x x x x x x x x x x x x x x x x x x x x

static uint32_t poisoned(int cpu) {
    uint32_t wrong = 0, value;
    while (!stop)
        __asm__ volatile(TWENTY("ldr %1, [%2]\n\tcmp %1, %3\n\taddeq %0, %0, #1\n\t")
                         : "+r"(wrong), "=&r"(value) : "r"(page_of(cpu) + 5), "r"(POISON) : "cc", "memory");
    return wrong;
}

static void count(void) {
    uint32_t value;
    for (;;) __asm__ volatile(TWENTY("ldr %0, [%1]\n\tadd %0, #1\n\tstr %0, [%1]\n\t") : "=&r"(value) : "r"(&counter) : "memory");
}

// Both at once: each waits for the other, and reads the other's page in between.
static uint32_t both_remap(int me, uint32_t rounds) {
    uint32_t wrong = 0;
    for (uint32_t i = 1; i <= rounds; i++) {
        volatile uint32_t *new = frames[2 * me + i % 2], *old = frames[2 * me + !(i % 2)];
        new[5] = i;
        map(me, new, old);
        for (int j = 0; j < 8; j++) wrong += page_of(!me)[5] == POISON;
    }
    return wrong;
}

// Reads its page after each sleep; the other maps it anew meanwhile.
static uint32_t asleep(uint32_t rounds, int interrupt) {
    uint32_t wrong = page_of(0)[5] == POISON;
    for (uint32_t round = 1; round <= rounds; round++) {
        DMB();
        turn = 2 * round;
        if (interrupt) {
            uint32_t id;
            do {
                WFI();
                id = REG(GIC_CPU + 0x0c);
            } while ((id & 0x3ff) == 1023);
            REG(GIC_CPU + 0x10) = id;
        } else {
            while (turn != 2 * round + 1) WFE();
        }
        DMB();
        wrong += page_of(0)[5] != round;
    }
    return wrong;
}

static void wake(uint32_t rounds, int interrupt) {
    for (uint32_t round = 1; round <= rounds; round++) {
        while (turn != 2 * round) {}
        DMB();
        for (volatile int i = 0; i < 300; i++) {} // time to fall asleep
        volatile uint32_t *new = frames[round % 2], *old = frames[!(round % 2)];
        new[5] = round;
        map(0, new, old);
        if (interrupt) {
            DSB();
            REG(GIC_DIST + 0xf00) = 2 << 16 | 1;
        } else {
            turn = 2 * round + 1;
            SEV();
        }
    }
}

enum { BUFFERED = 1, MESSAGE, EXCLUSIVES, LOCKED, PING_PONG, REMAP, BOTH_REMAP, ASLEEP, ASLEEP_FOR_INTERRUPT, COUNT };

static const uint32_t rounds[] = {[BUFFERED] = 20000,  [MESSAGE] = 20000,   [EXCLUSIVES] = 200000, [LOCKED] = 20000, [PING_PONG] = 5000,
                                  [REMAP] = 5000,      [BOTH_REMAP] = 5000, [ASLEEP] = 1000,       [ASLEEP_FOR_INTERRUPT] = 1000};

// The second CPU waits for jobs, and does them together with the first.
void second(void) {
    REG(GIC_CPU + 4) = 0xff;
    REG(GIC_CPU) = 1;
    mmu_on();
    running = 1;
    SEV();
    for (uint32_t last = 0, result;;) {
        while (job == last) WFE();
        last = job;
        DMB();
        uint32_t n = rounds[last & 15];
        switch (last & 15) {
        case BUFFERED: result = buffered(1, n); break;
        case MESSAGE: result = message(1, n); break;
        case EXCLUSIVES: exclusives(n), result = 0; break;
        case LOCKED: locked(n), result = 0; break;
        case PING_PONG: ping_pong(1, n), result = 0; break;
        case REMAP: result = poisoned(0); break;
        case BOTH_REMAP: result = both_remap(1, n); break;
        case ASLEEP: result = asleep(n, 0); break;
        case ASLEEP_FOR_INTERRUPT: result = asleep(n, 1); break;
        default: count();
        }
        DMB();
        done = last << 16 | result;
        SEV();
    }
}

static void start(uint32_t what) {
    x = y = turn = stop = counter = 0;
    seen[0] = seen[1] = arrived[0] = arrived[1] = 0;
    DMB();
    job = (job + 16) & ~15u & 0x3fff;
    job = (job | what);
    SEV();
}

// What the second CPU says of its part.
static uint32_t finish(void) {
    while (done >> 16 != job) WFE();
    DMB();
    return done & 0xffff;
}

static void start_second(void) {
    running = 0;
    DSB();
    REG(CPU1_START) = (uint32_t)second_start;
    SEV();
    while (!running) WFE();
}

int main(void) {
    REG(UART) = 0x14;
    REG(GIC_DIST) = 1;
    map_all();
    mmu_on();
    start_second();
    uint32_t result;
    do {
        start(BUFFERED);
        result = buffered(0, rounds[BUFFERED]);
        finish();
    } while (!FENCE && !result);
    if (!FENCE) {
        put("smp: reordered\n");
        for (;;) WFI();
    }
    expect("store buffering", result, 0);
    start(MESSAGE);
    result = message(0, rounds[MESSAGE]);
    expect("message passing", finish() + result, 0);
    start(EXCLUSIVES);
    exclusives(rounds[EXCLUSIVES]);
    finish();
    expect("LDREX and STREX", counter, 2 * rounds[EXCLUSIVES]);
    expect("LDREXD and STREXD, low", (uint32_t)wide, 2 * rounds[EXCLUSIVES]);
    expect("LDREXD and STREXD, high", (uint32_t)(wide >> 32), 2 * rounds[EXCLUSIVES]);
    start(LOCKED);
    locked(rounds[LOCKED]);
    finish();
    expect("ticket lock", plain, 2 * rounds[LOCKED]);
    start(PING_PONG);
    ping_pong(0, rounds[PING_PONG]);
    finish();
    expect("events to and fro", turn, 0);
    frames[0][5] = frames[2][5] = 0;
    start(REMAP);
    remap(0, rounds[REMAP]);
    stop = 1;
    expect("a page mapped anew while the other CPU reads it", finish(), 0);
    start(BOTH_REMAP);
    result = both_remap(0, rounds[BOTH_REMAP]);
    expect("pages mapped anew by both", finish() + result, 0);
    start(ASLEEP);
    wake(rounds[ASLEEP], 0);
    expect("a page mapped anew while the other CPU waits for an event", finish(), 0);
    start(ASLEEP_FOR_INTERRUPT);
    wake(rounds[ASLEEP_FOR_INTERRUPT], 1);
    expect("a page mapped anew while the other CPU waits for an interrupt", finish(), 0);

    // The second CPU's clock stops with the write that stops it, and goes on from there.
    REG(SLCR + 8) = 0xdf0d;
    for (uint32_t i = 0; i < 100; i++) {
        if (i == 0) start(COUNT);
        uint32_t before = counter;
        while (counter == before) {}
        REG(SLCR + 0x244) = 1 << 5;
        DSB();
        before = counter;
        for (volatile int j = 0; j < 1000; j++) {}
        if (counter != before) expect("stopped CPU's counter", counter, before);
        REG(SLCR + 0x244) = 0;
    }
    expect("a stopped CPU stands still", 0, 0);
    // Reset, it starts at 0, where an instruction leads on.
    for (uint32_t i = 0; i < 50; i++) {
        REG(SLCR + 0x244) = 1 << 1;
        DSB();
        uint32_t before = counter;
        for (volatile int j = 0; j < 1000; j++) {}
        if (counter != before) expect("reset CPU's counter", counter, before);
        volatile uint32_t *zero = (volatile uint32_t *)0;
        __asm__("" : "+r"(zero));
        zero[0] = 0xe51ff004; // ldr pc, [pc, #-4]
        zero[1] = (uint32_t)second_start;
        running = 0;
        job = 0;
        DSB();
        REG(SLCR + 0x244) = 0;
        while (!running) WFE();
        start(COUNT);
        while (!counter) {}
    }
    expect("a reset CPU starts again", 0, 0);
    put("smp: all done\n");
    for (;;) WFI();
}

// A bare-metal program that provokes the MMU's faults on the Zynq-7000 and prints what the fault registers say: the translation by short
// descriptors (ARM ARM B3.5), domains, permissions, access flag, alignment, and the return address and status that are saved (B1.9).
// The output must be that of faults.txt. External aborts are left to isa/arm/tests/mmu.rs, as not every machine has a place that answers so.
//
// faults.txt was compared with QEMU's xilinx-zynq-a9, which differs where the architecture decides: it writes the domain to IFSR too, whose bits
// 7:4 are reserved; it looks at the domain before the second level and the access flag, where the manual checks it after the
// walk; and its machine has no Security Extensions, so that TTBCR.PD1 does nothing.
#include <stdint.h>

#define REG(a) (*(volatile uint32_t *)(a))
#define UART 0xe0001000u
#define TARGET 0x01000000u // RAM that the tests map: `bx lr` everywhere that a test fetches
#define VA 0x40000000u

#define WRITE_CP15(crn, crm, opc2, x) __asm__ volatile("mcr p15, 0, %0, " #crn ", " #crm ", " #opc2 "\n\tisb" : : "r"(x) : "memory")
#define READ_CP15(crn, crm, opc2, x) __asm__ volatile("mrc p15, 0, %0, " #crn ", " #crm ", " #opc2 : "=r"(x))

// What the handlers write: 0 nothing, 1 data abort, 2 prefetch abort; LR_abt, SPSR_abt, FSR, FAR.
volatile uint32_t record[8];

void do_load(uint32_t), do_store(uint32_t), do_load_user(uint32_t), do_store_user(uint32_t), do_fetch(uint32_t);
extern char fault_vectors[];

__asm__("       .arm\n"
        "       .balign 32\n"
        "fault_vectors:\n"
        "       b .\n b .\n b .\n"
        "       b on_prefetch_abort\n"
        "       b on_data_abort\n"
        "       b .\n b .\n b .\n"
        "on_data_abort:\n"
        "       ldr sp, =record\n"
        "       str r0, [sp, #28]\n"
        "       mrc p15, 0, r0, c5, c0, 0\n"
        "       str r0, [sp, #12]\n"
        "       mrc p15, 0, r0, c6, c0, 0\n"
        "       str r0, [sp, #16]\n"
        "       mov r0, #1\n"
        "       str r0, [sp]\n"
        "       str lr, [sp, #4]\n"
        "       mrs r0, spsr\n"
        "       str r0, [sp, #8]\n"
        "       ldr r0, [sp, #28]\n"
        "       subs pc, lr, #4\n" // past the load or store
        "on_prefetch_abort:\n"
        "       ldr sp, =record\n"
        "       str r0, [sp, #28]\n"
        "       mrc p15, 0, r0, c5, c0, 1\n"
        "       str r0, [sp, #12]\n"
        "       mrc p15, 0, r0, c6, c0, 2\n"
        "       str r0, [sp, #16]\n"
        "       mov r0, #2\n"
        "       str r0, [sp]\n"
        "       str lr, [sp, #4]\n"
        "       mrs r0, spsr\n"
        "       str r0, [sp, #8]\n"
        "       ldr r0, [sp, #28]\n"
        "       cps #0x13\n"
        "       bx lr\n" // to the caller of what could not be fetched
        "do_load: ldr r1, [r0]\n bx lr\n"
        "do_store: str r1, [r0]\n bx lr\n"
        "do_load_user: ldrt r1, [r0]\n bx lr\n"
        "do_store_user: strt r1, [r0]\n bx lr\n"
        "do_fetch: bx r0\n"
        "       .ltorg\n");

static uint32_t table0[4096] __attribute__((aligned(16384)));
static uint32_t table1[4096] __attribute__((aligned(16384)));
static uint32_t second[256] __attribute__((aligned(1024)));

void on_interrupt(void) {}

static void put(const char *s) {
    for (; *s; s++) {
        while (REG(UART + 0x2c) & 0x10) {}
        REG(UART + 0x30) = (uint8_t)*s;
    }
}

static void put_hex(const char *name, uint32_t x) {
    char text[9] = {0};
    for (int i = 7; i >= 0; i--, x >>= 4) text[i] = "0123456789abcdef"[x & 15];
    put(name);
    put(text);
}

#define SECTION(ap) (TARGET | ((ap) & 3) << 10 | ((ap) >> 2) << 15 | 5 << 5 | 2)
#define SUPERSECTION(ap) (TARGET | ((ap) & 3) << 10 | ((ap) >> 2) << 15 | 1 << 18 | 2)
#define TABLE (5 << 5 | 1) // the address of `second` is added
#define SMALL(ap) (TARGET | ((ap) & 3) << 4 | ((ap) >> 2) << 9 | 2)
#define LARGE(ap) (TARGET | ((ap) & 3) << 4 | ((ap) >> 2) << 9 | 1)
#define SECTION_XN (1 << 4)
#define SMALL_XN 1
#define LARGE_XN (1 << 15)

#define ALIGN (1 << 1)
#define TRE (1 << 28)
#define AFE (1 << 29)

#define CLIENT 1
#define MANAGER 3

// `operations`: l load, s store, u LDRT, v STRT, x fetch.
struct test {
    const char *name, *operations;
    uint32_t first, second, domain5, sctlr, ttbcr, va;
};

static const struct test tests[] = {
    {"section", "lsuvx", SECTION(3), 0, CLIENT, 0, 0, VA + 0x123454},
    {"section, AP 000", "lsuvx", SECTION(0), 0, CLIENT, 0, 0, VA + 4},
    {"section, AP 001", "lsuvx", SECTION(1), 0, CLIENT, 0, 0, VA + 4},
    {"section, AP 010", "lsuvx", SECTION(2), 0, CLIENT, 0, 0, VA + 4},
    {"section, AP 101", "lsuvx", SECTION(5), 0, CLIENT, 0, 0, VA + 4},
    {"section, AP 110", "lsuvx", SECTION(6), 0, CLIENT, 0, 0, VA + 4},
    {"section, AP 111", "lsuvx", SECTION(7), 0, CLIENT, 0, 0, VA + 4},
    {"section, never executed", "lsx", SECTION(3) | SECTION_XN, 0, CLIENT, 0, 0, VA + 4},
    {"section, manager", "lsuvx", SECTION(0) | SECTION_XN, 0, MANAGER, 0, 0, VA + 4},
    {"section, no access", "lsuvx", SECTION(3), 0, 0, 0, 0, VA + 4},
    {"supersection", "lsuvx", SUPERSECTION(3), 0, 0, 0, 0, VA + 0x523454},
    {"supersection, AP 001", "lsuv", SUPERSECTION(1), 0, 0, 0, 0, VA + 0x523454},
    {"no first descriptor", "lsuvx", 0, 0, CLIENT, 0, 0, VA + 4},
    {"no second descriptor", "lsuvx", TABLE, 0, CLIENT, 0, 0, VA + 4},
    {"no second descriptor, no access", "lsx", TABLE, 0, 0, 0, 0, VA + 4},
    {"small page", "lsuvx", TABLE, SMALL(3), CLIENT, 0, 0, VA + 0x454},
    {"small page, AP 000", "lsuvx", TABLE, SMALL(0), CLIENT, 0, 0, VA + 4},
    {"small page, AP 010", "lsuvx", TABLE, SMALL(2), CLIENT, 0, 0, VA + 4},
    {"small page, AP 110", "lsuvx", TABLE, SMALL(6), CLIENT, 0, 0, VA + 4},
    {"small page, never executed", "lx", TABLE, SMALL(3) | SMALL_XN, CLIENT, 0, 0, VA + 4},
    {"small page, no access", "lsuvx", TABLE, SMALL(3), 0, 0, 0, VA + 4},
    {"small page, manager", "lsuvx", TABLE, SMALL(0) | SMALL_XN, MANAGER, 0, 0, VA + 4},
    {"large page", "lsuvx", TABLE, LARGE(3), CLIENT, 0, 0, VA + 0x7454},
    {"large page, AP 001", "lsuv", TABLE, LARGE(1), CLIENT, 0, 0, VA + 0x7454},
    {"large page, never executed", "lx", TABLE, LARGE(3) | LARGE_XN, CLIENT, 0, 0, VA + 4},
    {"section, access flag clear", "lsuvx", SECTION(2), 0, CLIENT, AFE, 0, VA + 4},
    {"section, access flag clear, no access", "lsx", SECTION(2), 0, 0, AFE, 0, VA + 4},
    {"section, access flag, AP 00", "lsuv", SECTION(1), 0, CLIENT, AFE, 0, VA + 4},
    {"section, access flag, AP 11", "lsuv", SECTION(7), 0, CLIENT, AFE, 0, VA + 4},
    {"small page, access flag clear", "lsuvx", TABLE, SMALL(2), CLIENT, AFE, 0, VA + 4},
    {"small page, access flag, AP 10", "lsuv", TABLE, SMALL(5), CLIENT, AFE, 0, VA + 4},
    {"section, TEX remap", "lsuvx", SECTION(3) | 7 << 12 | 1 << 2, 0, CLIENT, TRE, 0, VA + 4},
    {"section, unaligned", "lsuv", SECTION(3), 0, CLIENT, ALIGN, 0, VA + 6},
    {"unaligned before permissions", "ls", SECTION(0), 0, CLIENT, ALIGN, 0, VA + 6},
    {"unaligned before translation", "ls", 0, 0, CLIENT, ALIGN, 0, VA + 6},
    {"unaligned across a page that is missing", "ls", TABLE, SMALL(3), CLIENT, 0, 0, VA + 0xfffe},
    {"TTBR0 of half the space", "lsx", SECTION(3), 0, CLIENT, 0, 1, VA + 4},
    {"TTBR1", "lsx", SECTION(3), 0, CLIENT, 0, 1, 0x80000004},
    {"TTBR1, no descriptor", "lsx", 0, 0, CLIENT, 0, 1, 0x80000004},
    {"TTBR1 disabled", "lsx", SECTION(3), 0, CLIENT, 0, 1 | 1 << 5, 0x80000004},
};

static void set_up(uint32_t sctlr, uint32_t ttbcr, uint32_t domain5) {
    WRITE_CP15(c2, c0, 2, ttbcr);
    WRITE_CP15(c3, c0, 0, domain5 << 10 | 1);
    WRITE_CP15(c1, c0, 0, sctlr);
    __asm__ volatile("dsb" : : : "memory");
    WRITE_CP15(c8, c7, 0, 0);
    __asm__ volatile("dsb\n\tisb" : : : "memory");
}

static void run(const struct test *t, char operation, uint32_t sctlr) {
    void (*const act)(uint32_t) = operation == 'l'   ? do_load
                                  : operation == 's' ? do_store
                                  : operation == 'u' ? do_load_user
                                  : operation == 'v' ? do_store_user
                                                     : do_fetch;
    uint32_t *table = t->va >> 31 ? table1 : table0;
    uint32_t first = t->first && (t->first & 3) == 1 ? t->first + (uint32_t)second : t->first;
    for (int i = 0; i < 16; i++) table[(t->va >> 24 << 4) + i] = first;
    for (int i = 0; i < 256; i++) second[i] = i < 16 ? t->second : 0;
    REG(TARGET | (t->va & (t->second ? (t->second & 2 ? 0xffc : 0xfffc) : t->first & 1 << 18 ? 0xfffffc : 0xffffc))) = 0xe12fff1e;
    for (int i = 0; i < 8; i++) record[i] = 0;
    set_up(sctlr | t->sctlr, t->ttbcr, t->domain5);
    act(t->va);
    set_up(sctlr, 0, CLIENT);
    for (int i = 0; i < 16; i++) table[(t->va >> 24 << 4) + i] = 0;

    char what[2] = {operation, 0};
    put(what);
    if (record[0] == 0) put(" done");
    else {
        put_hex(record[0] == 1 ? " data abort: DFSR " : " prefetch abort: IFSR ", record[3]);
        put_hex(record[0] == 1 ? " DFAR " : " IFAR ", record[4]);
        put_hex(" LR + ", record[1] - (record[0] == 1 ? (uint32_t)act : t->va));
        put_hex(" SPSR ", record[2] & 0x0fffffff);
    }
    put("\r\n");
}

int main(void) {
    REG(UART) = 0x14;
    uint32_t sctlr;
    READ_CP15(c1, c0, 0, sctlr);
    // RAM up to 256 MiB and the devices, as they are, in domain 0.
    for (uint32_t i = 0; i < 256; i++) table0[i] = i << 20 | 3 << 10 | 2;
    for (uint32_t i = 0xe00; i < 0x1000; i++) table0[i] = i << 20 | 3 << 10 | 2;
    WRITE_CP15(c12, c0, 0, (uint32_t)fault_vectors);
    WRITE_CP15(c2, c0, 0, (uint32_t)table0);
    WRITE_CP15(c2, c0, 1, (uint32_t)table1);
    // No caches, and neither alignment checks nor the rest of what the tests switch on.
    sctlr = (sctlr & ~(ALIGN | TRE | AFE | 1u << 2 | 1u << 12)) | 1;
    set_up(sctlr, 0, CLIENT);
    for (unsigned i = 0; i < sizeof tests / sizeof tests[0]; i++) {
        put(tests[i].name);
        put("\r\n");
        for (const char *o = tests[i].operations; *o; o++) run(&tests[i], *o, sctlr);
    }
    put("faults: all done\r\n");
    for (;;) __asm__ volatile("wfi");
}

// Answers floating-point questions with the CPU it runs on, for emu-float (src/main.rs): records of 64 bytes on standard input, of 32 on standard output.
//
// A question: operation, format, rounding (0 nearest, 1 zero, 2 up, 3 down), mode; operands of 16 bytes from byte 16, lowest first.
// An answer: result of 16 bytes, and at 16 the flags (bit 0 invalid, 1 division by zero, 2 overflow, 3 underflow, 4 inexact, 5 denormal operand).
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { ADD, SUB, MUL, DIV, SQRT, FMA, RINT, TO_S32, TO_U32, TO_S64, TO_U64, FROM_S32, FROM_U32, FROM_S64, FROM_U64, TO_F16, TO_F32, TO_F64, TO_F80, TO_F128,
       COMPARE, COMPARE_SIGNALLING };
enum { F16, F32, F64, F80, F128 };

struct question { uint8_t op, format, round, mode, pad[12]; uint8_t x[3][16]; };
struct answer { uint8_t result[16], flags, pad[15]; };

// Operands as type T in order, so that the first bytes of an operand are the value on a little-endian machine; a big-endian one turns them.
static void take(void *to, const uint8_t *from, int size) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int i = 0; i < size; i++) ((uint8_t *)to)[i] = from[size - 1 - i];
#else
    memcpy(to, from, size);
#endif
}
static void give(uint8_t *to, const void *from, int size) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (int i = 0; i < size; i++) to[i] = ((const uint8_t *)from)[size - 1 - i];
#else
    memcpy(to, from, size);
#endif
}
#define OPERANDS(T) T a, b, c; take(&a, q->x[0], sizeof a); take(&b, q->x[1], sizeof b); take(&c, q->x[2], sizeof c)
#define GIVE(v) give(r->result, (const void *)&(v), sizeof(v))
// 0 less, 1 equal, 2 greater, 3 unordered.
#define RELATION(less, equal, unordered) (r->result[0] = (unordered) ? 3 : (equal) ? 1 : (less) ? 0 : 2)

#if defined(__x86_64__)

static unsigned control, status;
static void begin_sse(const struct question *q) {
    // Mode: bit 0 denormals-are-zeros, bit 1 flush to zero. Rounding here: nearest, down, up, zero.
    control = 0x1f80 | (unsigned)"\0\3\2\1"[q->round] << 13 | (q->mode & 1 ? 0x40 : 0) | (q->mode & 2 ? 0x8000 : 0);
    __asm__ volatile("ldmxcsr %0" ::"m"(control));
}
static void end_sse(struct answer *r) {
    __asm__ volatile("stmxcsr %0" : "=m"(status));
    // IE DE ZE OE UE PE
    r->flags = (status & 1) | (status >> 1 & 0x1e) | (status & 2 ? 0x20 : 0);
    control = 0x1f80;
    __asm__ volatile("ldmxcsr %0" ::"m"(control));
}
#define SSE(T, S, OTHER, CONVERT) do { \
    OPERANDS(T); \
    int64_t wide; int32_t narrow; OTHER other; uint8_t less, equal, unordered; \
    switch (q->op) { \
    case ADD: __asm__ volatile("add" S " %1, %0" : "+x"(a) : "x"(b)); GIVE(a); break; \
    case SUB: __asm__ volatile("sub" S " %1, %0" : "+x"(a) : "x"(b)); GIVE(a); break; \
    case MUL: __asm__ volatile("mul" S " %1, %0" : "+x"(a) : "x"(b)); GIVE(a); break; \
    case DIV: __asm__ volatile("div" S " %1, %0" : "+x"(a) : "x"(b)); GIVE(a); break; \
    case SQRT: __asm__ volatile("sqrt" S " %1, %0" : "=x"(b) : "x"(a)); GIVE(b); break; \
    /* a = b * c + a */ \
    case FMA: __asm__ volatile("vfmadd231" S " %2, %1, %0" : "+x"(a) : "x"(b), "x"(c)); GIVE(a); break; \
    case RINT: __asm__ volatile("round" S " $4, %1, %0" : "=x"(b) : "x"(a)); GIVE(b); break; \
    case TO_S32: __asm__ volatile("cvt" S "2si %1, %0" : "=r"(narrow) : "x"(a)); wide = narrow; GIVE(wide); break; \
    case TO_S64: __asm__ volatile("cvt" S "2si %1, %0" : "=r"(wide) : "x"(a)); GIVE(wide); break; \
    case FROM_S32: take(&narrow, q->x[0], 4); __asm__ volatile("cvtsi2" S " %1, %0" : "=x"(a) : "r"(narrow)); GIVE(a); break; \
    case FROM_S64: take(&wide, q->x[0], 8); __asm__ volatile("cvtsi2" S " %1, %0" : "=x"(a) : "r"(wide)); GIVE(a); break; \
    case TO_F32: case TO_F64: __asm__ volatile(CONVERT " %1, %0" : "=x"(other) : "x"(a)); GIVE(other); break; \
    case COMPARE: __asm__ volatile("ucomi" S " %4, %3" : "=@ccb"(less), "=@ccz"(equal), "=@ccp"(unordered) : "x"(a), "x"(b)); RELATION(less, equal, unordered); break; \
    case COMPARE_SIGNALLING: __asm__ volatile("comi" S " %4, %3" : "=@ccb"(less), "=@ccz"(equal), "=@ccp"(unordered) : "x"(a), "x"(b)); RELATION(less, equal, unordered); break; \
    } } while (0)

typedef float v4 __attribute__((vector_size(16)));

static void ask_sse(const struct question *q, struct answer *r) {
    v4 in = {0}, out;
    begin_sse(q);
    if (q->format == F32 && q->op == TO_F16) {
        memcpy(&in, q->x[0], 4);
        __asm__ volatile("vcvtps2ph $4, %1, %0" : "=x"(out) : "x"(in));
        memcpy(r->result, &out, 2);
    } else if (q->format == F16) {
        memcpy(&in, q->x[0], 2);
        __asm__ volatile("vcvtph2ps %1, %0" : "=x"(out) : "x"(in));
        memcpy(r->result, &out, 4);
    } else if (q->format == F32) {
        SSE(float, "ss", double, "cvtss2sd");
    } else {
        SSE(double, "sd", float, "cvtsd2ss");
    }
    end_sse(r);
}

// Mode: x87's precision control (0: 24 bits, 2: 53, 3: 64).
static void ask_x87(const struct question *q, struct answer *r) {
    uint16_t word = 0x7f | q->mode << 8 | (unsigned)"\0\3\2\1"[q->round] << 10, sw = 0;
    uint8_t a[16], b[16], out[16] = {0};
    memcpy(a, q->x[0], 16);
    memcpy(b, q->x[1], 16);
    __asm__ volatile("fninit; fldcw %0" ::"m"(word));
#define X87(text) __asm__ volatile(text "; fnstsw %1" : "+m"(out), "+m"(sw) : "m"(a), "m"(b)); break
    if (q->format == F80) switch (q->op) {
        case ADD: X87("fldt %2; fldt %3; faddp; fstpt %0");
        case SUB: X87("fldt %2; fldt %3; fsubrp %%st, %%st(1); fstpt %0");
        case MUL: X87("fldt %2; fldt %3; fmulp; fstpt %0");
        case DIV: X87("fldt %2; fldt %3; fdivrp %%st, %%st(1); fstpt %0");
        case SQRT: X87("fldt %2; fsqrt; fstpt %0");
        case RINT: X87("fldt %2; frndint; fstpt %0");
        case TO_S32: X87("fldt %2; fistpl %0");
        case TO_S64: X87("fldt %2; fistpll %0");
        case FROM_S32: X87("fildl %2; fstpt %0");
        case FROM_S64: X87("fildll %2; fstpt %0");
        case TO_F32: X87("fldt %2; fstps %0");
        case TO_F64: X87("fldt %2; fstpl %0");
        case COMPARE: X87("fldt %3; fldt %2; fucompp");
        case COMPARE_SIGNALLING: X87("fldt %3; fldt %2; fcompp");
    } else switch (q->op) { // a single or double operand becomes an extended one
        case TO_F80: if (q->format == F32) { X87("flds %2; fstpt %0"); } else { X87("fldl %2; fstpt %0"); }
    }
    if (q->op == TO_S32) {
        int64_t wide = *(int32_t *)out;
        memcpy(out, &wide, 8);
    }
    if (q->op == COMPARE || q->op == COMPARE_SIGNALLING) RELATION(sw & 0x100, sw & 0x4000, (sw & 0x4500) == 0x4500);
    else memcpy(r->result, out, 16);
    // IE DE ZE OE UE PE
    r->flags = (sw & 1) | (sw >> 1 & 0x1e) | (sw & 2 ? 0x20 : 0);
}

// Quadruple precision by the compiler's library, which takes rounding and leaves flags where SSE does, some in x87's status.
static void ask_quad(const struct question *q, struct answer *r) {
    begin_sse(q);
    __asm__ volatile("fninit");
    uint16_t sw;
    if (q->format == F128) {
        volatile __float128 a, b, v = 0;
        memcpy((void *)&a, q->x[0], 16);
        memcpy((void *)&b, q->x[1], 16);
        volatile float single; volatile double wide; volatile long double extended; volatile int64_t integer;
        switch (q->op) {
        case ADD: v = a + b; GIVE(v); break;
        case SUB: v = a - b; GIVE(v); break;
        case MUL: v = a * b; GIVE(v); break;
        case DIV: v = a / b; GIVE(v); break;
        case TO_F32: single = a; GIVE(single); break;
        case TO_F64: wide = a; GIVE(wide); break;
        case TO_F80: extended = a; memcpy(r->result, (void *)&extended, 10); break;
        case TO_S64: integer = a; GIVE(integer); break;
        case FROM_S64: memcpy((void *)&integer, q->x[0], 8); v = integer; GIVE(v); break;
        case COMPARE: RELATION(__builtin_isless(a, b), a == b, __builtin_isunordered(a, b)); break;
        }
    } else {
        volatile __float128 v;
        float single; double wide; long double extended;
        if (q->format == F32) { memcpy(&single, q->x[0], 4); v = single; }
        else if (q->format == F64) { memcpy(&wide, q->x[0], 8); v = wide; }
        else { memcpy(&extended, q->x[0], 10); v = extended; }
        GIVE(v);
    }
    __asm__ volatile("fnstsw %0" : "=m"(sw));
    end_sse(r);
    r->flags |= (sw & 1) | (sw >> 1 & 0x1e) | (sw & 2 ? 0x20 : 0);
}

static void ask(const char *unit, const struct question *q, struct answer *r) {
    if (!strcmp(unit, "sse")) ask_sse(q, r);
    else if (!strcmp(unit, "x87")) ask_x87(q, r);
    else ask_quad(q, r);
}

#elif defined(__arm__)

// Mode: bit 0 flush to zero, bit 1 default NaN, bit 2 inexact is set before.
static void ask(const char *unit, const struct question *q, struct answer *r) {
    (void)unit;
    uint32_t fpscr = (uint32_t)"\0\3\1\2"[q->round] << 22 | (q->mode & 1) << 24 | (q->mode & 2) << 24 | (q->mode & 4) << 2;
    __asm__ volatile("vmsr fpscr, %0" ::"r"(fpscr));
    float single; double wide; int32_t integer; int64_t sign_extended;
#define VFP(T, S, P) do { \
    OPERANDS(T); \
    switch (q->op) { \
    case ADD: __asm__ volatile("vadd." S " %" P "0, %" P "1, %" P "2" : "=w"(c) : "w"(a), "w"(b)); GIVE(c); break; \
    case SUB: __asm__ volatile("vsub." S " %" P "0, %" P "1, %" P "2" : "=w"(c) : "w"(a), "w"(b)); GIVE(c); break; \
    case MUL: __asm__ volatile("vmul." S " %" P "0, %" P "1, %" P "2" : "=w"(c) : "w"(a), "w"(b)); GIVE(c); break; \
    case DIV: __asm__ volatile("vdiv." S " %" P "0, %" P "1, %" P "2" : "=w"(c) : "w"(a), "w"(b)); GIVE(c); break; \
    case SQRT: __asm__ volatile("vsqrt." S " %" P "0, %" P "1" : "=w"(c) : "w"(a)); GIVE(c); break; \
    case FMA: __asm__ volatile("vfma." S " %" P "0, %" P "1, %" P "2" : "+w"(a) : "w"(b), "w"(c)); GIVE(a); break; \
    case RINT: __asm__ volatile("vrintx." S " %" P "0, %" P "1" : "=w"(c) : "w"(a)); GIVE(c); break; \
    case TO_S32: __asm__ volatile("vcvtr.s32." S " %0, %" P "1" : "=t"(single) : "w"(a)); memcpy(&integer, &single, 4); sign_extended = integer; GIVE(sign_extended); break; \
    case TO_U32: __asm__ volatile("vcvtr.u32." S " %0, %" P "1" : "=t"(single) : "w"(a)); GIVE(single); break; \
    case FROM_S32: memcpy(&single, q->x[0], 4); __asm__ volatile("vcvt." S ".s32 %" P "0, %1" : "=w"(c) : "t"(single)); GIVE(c); break; \
    case FROM_U32: memcpy(&single, q->x[0], 4); __asm__ volatile("vcvt." S ".u32 %" P "0, %1" : "=w"(c) : "t"(single)); GIVE(c); break; \
    case TO_F16: __asm__ volatile("vmov.i32 d0, #0; vcvtb.f16." S " s0, %" P "1; vmov.f32 %0, s0" : "=t"(single) : "w"(a) : "d0"); GIVE(single); break; \
    case COMPARE: __asm__ volatile("vcmp." S " %" P "0, %" P "1" ::"w"(a), "w"(b)); break; \
    case COMPARE_SIGNALLING: __asm__ volatile("vcmpe." S " %" P "0, %" P "1" ::"w"(a), "w"(b)); break; \
    } } while (0)
    if (q->format == F16) {
        memcpy(&single, q->x[0], 4);
        if (q->op == TO_F32) { __asm__ volatile("vcvtb.f32.f16 %0, %1" : "=t"(single) : "t"(single)); GIVE(single); }
        if (q->op == TO_F64) { __asm__ volatile("vcvtb.f64.f16 %P0, %1" : "=w"(wide) : "t"(single)); GIVE(wide); }
    } else if (q->format == F32 && q->op == TO_F64) {
        memcpy(&single, q->x[0], 4);
        __asm__ volatile("vcvt.f64.f32 %P0, %1" : "=w"(wide) : "t"(single));
        GIVE(wide);
    } else if (q->format == F64 && q->op == TO_F32) {
        memcpy(&wide, q->x[0], 8);
        __asm__ volatile("vcvt.f32.f64 %0, %P1" : "=t"(single) : "w"(wide));
        GIVE(single);
    } else if (q->format == F32) {
        VFP(float, "f32", "");
    } else {
        VFP(double, "f64", "P");
    }
    __asm__ volatile("vmrs %0, fpscr" : "=r"(fpscr));
    if (q->op == COMPARE || q->op == COMPARE_SIGNALLING) RELATION(fpscr >> 31, fpscr >> 30 & 1, fpscr >> 28 & 1);
    r->flags = (fpscr & 0x1f) | (fpscr >> 2 & 0x20);
}

#elif defined(__s390x__)

static void ask(const char *unit, const struct question *q, struct answer *r) {
    (void)unit;
    uint32_t fpc = (uint32_t)"\0\1\2\3"[q->round];
    __asm__ volatile("sfpc %0" ::"r"(fpc));
    int64_t wide = 0; int cc = 0;
#define CC "\n ipm %0\n srl %0, 28"
#define ARITHMETIC(T, S, M) do { \
    OPERANDS(T); (void)c; \
    switch (q->op) { \
    case ADD: __asm__ volatile("a" S "br %0, %1" : "+f"(a) : "f"(b) : "cc"); GIVE(a); break; \
    case SUB: __asm__ volatile("s" S "br %0, %1" : "+f"(a) : "f"(b) : "cc"); GIVE(a); break; \
    case MUL: __asm__ volatile(M "br %0, %1" : "+f"(a) : "f"(b)); GIVE(a); break; \
    case DIV: __asm__ volatile("d" S "br %0, %1" : "+f"(a) : "f"(b)); GIVE(a); break; \
    case SQRT: __asm__ volatile("sq" S "br %0, %1" : "=f"(b) : "f"(a)); GIVE(b); break; \
    case RINT: __asm__ volatile("fi" S "br %0, 0, %1" : "=f"(b) : "f"(a)); GIVE(b); break; \
    case TO_S64: __asm__ volatile("cg" S "br %0, 0, %1" : "=d"(wide) : "f"(a) : "cc"); GIVE(wide); break; \
    case FROM_S64: take(&wide, q->x[0], 8); __asm__ volatile("c" S "gbr %0, %1" : "=f"(a) : "d"(wide)); GIVE(a); break; \
    case COMPARE: __asm__ volatile("c" S "br %1, %2" CC : "=&d"(cc) : "f"(a), "f"(b) : "cc"); break; \
    case COMPARE_SIGNALLING: __asm__ volatile("k" S "br %1, %2" CC : "=&d"(cc) : "f"(a), "f"(b) : "cc"); break; \
    } } while (0)
    float single; double number; long double quad;
    if (q->format == F128 && q->op == TO_F64) { take(&quad, q->x[0], 16); __asm__ volatile("ldxbr %0, %0" : "+f"(quad)); memcpy(&number, &quad, 8); GIVE(number); }
    else if (q->format == F128 && q->op == TO_F32) { take(&quad, q->x[0], 16); __asm__ volatile("lexbr %0, %0" : "+f"(quad)); memcpy(&single, &quad, 4); GIVE(single); }
    else if (q->format == F64 && q->op == TO_F128) { take(&number, q->x[0], 8); __asm__ volatile("lxdbr %0, %1" : "=f"(quad) : "f"(number)); GIVE(quad); }
    else if (q->format == F32 && q->op == TO_F128) { take(&single, q->x[0], 4); __asm__ volatile("lxebr %0, %1" : "=f"(quad) : "f"(single)); GIVE(quad); }
    else if (q->format == F128) ARITHMETIC(long double, "x", "mx");
    else if (q->format == F64) ARITHMETIC(double, "d", "md");
    else ARITHMETIC(float, "e", "mee");
    if (q->op == COMPARE || q->op == COMPARE_SIGNALLING) RELATION(cc == 1, cc == 0, cc == 3);
    __asm__ volatile("efpc %0" : "=d"(fpc));
    // In bits 23 to 19: invalid, division by zero, overflow, underflow, inexact.
    for (int i = 0; i < 5; i++) r->flags |= (fpc >> (23 - i) & 1) << i;
}

#elif defined(__powerpc__)

static void ask(const char *unit, const struct question *q, struct answer *r) {
    (void)unit;
    union { double number; uint64_t bits; } state = {.bits = "\0\1\2\3"[q->round]};
    __asm__ volatile("mtfsf 0xff, %0" ::"f"(state.number));
    OPERANDS(double);
    float single;
    if (q->format == F32) {
        // Operands are singles, which a load widens.
        float x[3];
        for (int i = 0; i < 3; i++) take(&x[i], q->x[i], 4);
        __asm__ volatile("lfs %0, 0(%3)\n lfs %1, 4(%3)\n lfs %2, 8(%3)" : "=&f"(a), "=&f"(b), "=&f"(c) : "b"(x), "m"(x));
    }
#define PPC_FP(S) \
    switch (q->op) { \
    case ADD: __asm__ volatile("fadd" S " %0, %1, %2" : "=f"(a) : "f"(a), "f"(b)); break; \
    case SUB: __asm__ volatile("fsub" S " %0, %1, %2" : "=f"(a) : "f"(a), "f"(b)); break; \
    case MUL: __asm__ volatile("fmul" S " %0, %1, %2" : "=f"(a) : "f"(a), "f"(b)); break; \
    case DIV: __asm__ volatile("fdiv" S " %0, %1, %2" : "=f"(a) : "f"(a), "f"(b)); break; \
    case SQRT: __asm__ volatile("fsqrt" S " %0, %1" : "=f"(a) : "f"(a)); break; \
    case FMA: __asm__ volatile("fmadd" S " %0, %1, %2, %3" : "=f"(a) : "f"(b), "f"(c), "f"(a)); break; \
    case TO_S32: __asm__ volatile("fctiw %0, %1" : "=f"(a) : "f"(a)); break; \
    case TO_F32: __asm__ volatile("frsp %0, %1" : "=f"(a) : "f"(a)); break; \
    }
    if (q->format == F32) { PPC_FP("s"); } else { PPC_FP(""); }
    if (q->op == TO_S32) {
        memcpy(&state.bits, &a, 8);
        int64_t wide = (int32_t)state.bits;
        GIVE(wide);
    } else if (q->format == F32 || q->op == TO_F32) {
        __asm__ volatile("stfs %1, %0" : "=m"(single) : "f"(a));
        GIVE(single);
    } else {
        GIVE(a);
    }
    __asm__ volatile("mffs %0" : "=f"(state.number));
    uint32_t s = state.bits;
    // VX 29, OX 28, UX 27, ZX 26, XX 25.
    r->flags = (s >> 29 & 1) | (s >> 26 & 1) << 1 | (s >> 28 & 1) << 2 | (s >> 27 & 1) << 3 | (s >> 25 & 1) << 4;
}

#endif

int main(int count, char **arguments) {
    const char *unit = count > 1 ? arguments[1] : "";
    struct question q;
    while (fread(&q, sizeof q, 1, stdin) == 1) {
        struct answer r = {0};
        ask(unit, &q, &r);
        fwrite(&r, sizeof r, 1, stdout);
    }
    return fflush(stdout) != 0;
}

//! A generated C program of many distinct small functions, of the kind compilers see: what a translator has to translate, each once.
//!
//! `PROGRAM FUNCTIONS ROUNDS`, each number as five digits, calls the first so many functions so often, with the same data each time. The exit
//! status is a checksum.

use std::fmt::Write as _;

/// What all programs begin with. The numbers have five digits, so that no run's stack is laid out unlike another's.
const HEAD: &str = "typedef unsigned u32;
typedef struct S { u32 w[64]; unsigned short h[64]; signed char b[64]; struct S *next; } S;
static u32 g[16];
static S one, two;
void *memset(void *at, int value, unsigned long n) { for (char *p = at; n--;) *p++ = value; return at; }
void *memcpy(void *to, const void *from, unsigned long n) { for (char *p = to; n--;) *p++ = *(const char *)from++; return to; }
#define F __attribute__((noinline, noclone)) static u32
";

/// What they end with: a table of functions has to come before.
const TAIL: &str = "__attribute__((used)) void begin(const char *count, const char *rounds) {
  u32 n = 0, times = 0, sum = 0;
  for (u32 i = 0; i < 5; i++) { n = n * 10 + count[i] - '0'; times = times * 10 + rounds[i] - '0'; }
  for (u32 t = 0; t < times; t++) {
    // Every round goes the same ways.
    one = two = (S){ 0 };
    for (u32 i = 0; i < 16; i++) g[i] = sum = 0;
    one.next = &two; two.next = &one;
    for (u32 i = 0; i < n; i++) sum = sum * 31 + table[i](&one, sum + i, i);
  }
  register u32 number asm(\"r7\") = 1, status asm(\"r0\") = (sum ^ sum >> 7 ^ sum >> 14) & 127;
  asm volatile(\"svc 0\" :: \"r\"(number), \"r\"(status));
}
asm(\".arm\\n.global _start\\n.type _start, %function\\n_start: ldr r0, [sp, #8]\\n ldr r1, [sp, #12]\\n bl begin\\n\");
";

/// Every so many functions one calls no other; others call the last of these.
const LEAF: usize = 4;

/// The program with so many functions, always the same.
pub fn source(functions: usize) -> String {
    let mut writer = Writer { text: HEAD.to_string(), state: 0x9e37_79b9_7f4a_7c15, number: 0 };
    for number in 0..functions {
        writer.number = number;
        writer.function();
    }
    let mut text = writer.text;
    text.push_str("static u32 (*const table[])(S *, u32, u32) = {");
    (0..functions).for_each(|n| _ = write!(text, "f{n},"));
    text.push_str("};\n");
    text.push_str(TAIL);
    text
}

struct Writer {
    text: String,
    state: u64,
    number: usize,
}

impl Writer {
    /// A number below `n` (xorshift).
    fn below(&mut self, n: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 20) % n
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }

    fn function(&mut self) {
        _ = writeln!(self.text, "F f{}(S *s, u32 a, u32 b) {{ u32 c = s->w[{}], d = a;", self.number, self.number % 64);
        for _ in 0..3 + self.below(6) {
            self.statement(2);
        }
        self.text.push_str("return a ^ b + c - d; }\n");
    }

    /// A variable, or two joined.
    fn value(&mut self) -> String {
        let (x, y) = (self.variable(), self.variable());
        match self.below(4) {
            0 => x.to_string(),
            1 => format!("({x} {} {})", self.pick(&["+", "-", "&", "^"]), 1 + self.below(250)),
            2 => format!("({x} {} {})", self.pick(&["<<", ">>"]), 1 + self.below(30)),
            _ => format!("({x} {} {y})", self.pick(&["+", "-", "&", "|", "^"])),
        }
    }

    fn variable(&mut self) -> &'static str {
        self.pick(&["a", "b", "c", "d"])
    }

    fn condition(&mut self) -> String {
        let (x, y) = (self.variable(), self.variable());
        let relation = self.pick(&["<", ">", "<=", "==", "!="]);
        match self.below(4) {
            0 => format!("{x} {relation} {y}"),
            1 => format!("(int){x} {relation} (int){y}"),
            2 => format!("(int){x} {relation} {}", self.below(200)),
            _ => format!("{x} & {}", 1 << self.below(12)),
        }
    }

    /// A place in memory, within what one instruction reaches.
    fn place(&mut self) -> String {
        let (index, other) = (self.below(64), self.variable());
        match self.below(7) {
            0 | 1 => format!("s->w[{index}]"),
            2 => format!("s->h[{index}]"),
            3 => format!("s->b[{index}]"),
            4 => format!("s->w[{other} & 63]"),
            5 => format!("s->next->w[{index}]"),
            _ => format!("g[{}]", index & 15),
        }
    }

    /// A statement with others inside it up to a depth.
    fn statement(&mut self, depth: u32) {
        let to = self.variable();
        let kind = self.below(if depth == 0 { 6 } else { 10 });
        let text = match kind {
            0 | 1 => format!("{to} {} {};", self.pick(&["=", "+=", "^="]), self.place()),
            2 | 3 => format!("{} = {};", self.place(), self.value()),
            4 => format!("{to} {} {};", self.pick(&["+=", "-=", "^=", "*="]), self.value()),
            5 => format!("{to} = {} ? {} : {};", self.condition(), self.value(), self.variable()),
            6 if self.number >= LEAF && !self.number.is_multiple_of(LEAF) => {
                format!("{to} += f{}(s, {}, {});", self.number / LEAF * LEAF, self.value(), self.variable())
            }
            9 => format!("for (u32 i = 0; i < {}; i++) {{ {to} += s->w[i + {}];", 2 + self.below(3), self.below(50)),
            _ => format!("if ({}) {{", self.condition()),
        };
        let nested = text.ends_with('{') || kind == 9;
        _ = writeln!(self.text, "{text}");
        if nested {
            (0..1 + self.below(3)).for_each(|_| self.statement(depth - 1));
            if text.starts_with("if") && self.below(2) == 0 {
                self.text.push_str("} else {\n");
                self.statement(depth - 1);
            }
            self.text.push_str("}\n");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_program_is_the_same_every_time_and_its_functions_differ() {
        let text = super::source(200);
        assert_eq!(text, super::source(200));
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        let bodies: std::collections::BTreeSet<&str> = text.split("F f").skip(1).map(|f| f.split_once('(').map_or("", |b| b.1)).collect();
        assert_eq!(bodies.len(), 200);
    }
}

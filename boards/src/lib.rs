//! Board files: KDL text -> a checked machine description -> the running machine.
//!
//! [`load`] elaborates (includes, parameters, templates, variants, `--set`) into a [`Board`], a pure data tree in which each
//! value knows the file and line that set it. [`check`] compares it with the device types a program knows and reports every
//! problem at once. The views print it; `realise` builds it. The order of nodes in a file never matters.
//!
//! # The language
//!
//! KDL v2. A file holds one `board "NAME" { }` (or a `soc` to be included) and `template`s.
//!
//! | node | what |
//! |---|---|
//! | `param "NAME" default= type=int\|size\|text\|bool min= max= values="a b"` | set by the including node, a variant, or `--set NAME=VALUE` |
//! | `include "FILE" PARAM=... prefix="x-"` | beside this file, else built in; its parameters are visible here |
//! | `template "T" { param ...; nodes }`, `use "T" PARAM=...` | nodes with parameters of their own |
//! | `repeat "i" count=N from=0 { }` | nodes N times |
//! | `variant "V" { set PARAM=...; nodes }` | taken with `--variant V` |
//! | `override "NAME" KEY=... { set ...; irq ... }`, `disable "NAME"` | after everything else; `*` in NAME stands for anything |
//! | `bus "B" width=32 endian=little\|big { unmapped read=abort\|zero\|ones write=... }` | an address space; the first is the default |
//! | `clock "C" hz=N`, `clock "C" from="C2" mul=1 div=2` | `from` may be a device's output: `slcr.uart-ref` |
//! | `cpu "N" isa= model= bus= clock= { set PROP=...; start held }` | numbered in order; has inputs `reset` and `stop` besides its own |
//! | `mem "N" at= size= kind=ram\|rom file= { alias at= }` | memory |
//! | `device "N" type= at= size= bus= clock= master= over= priority= chardev= { }` | inside: `set`, `map "REGION" at=`, `irq`, `wire`, `clock "INPUT" from=`, `dt`, `disable` |
//! | `irq "PORT 0..=2" to="gic.spi 10..=12" shared=#true`, `wire` alike | lines; PORT is `irq` or the only output if left out; at the top level `wire "DEVICE.PORT" to=...` |
//! | `stub "N" at= size= policy=raz-wi\|abort\|toggle\|poll-ready bit=\|ram\|value value= quiet=#true` | known, not modelled |
//! | `code "N" at= isa= { asm #"""..."""# }` | assembly put in memory at reset |
//! | `boot { protocol "P" { KEY VALUE }; firmware "F" at= { words ... }; secondary "CPU" at= spin-at= }` | how it starts |
//! | `aliases serial0="uart1"`, `chardev "uart1" default=stdio`, `compatible`, `model`, `doc`, `dt`, `expect` | the rest |
//!
//! `"{...}"` computes: numbers, sizes (`512M`), parameters, `'text'`, `+ - * / % << >> & | ^ ~ !`, comparisons, `&& ||`, `? :`.
//! Raw strings (`#"..."#`) are left alone. Ranges and sizes with a unit stand in quotes.

pub mod board;
pub mod builtin;
pub mod diagnostic;
mod elaborate;
mod expr;
mod lower;
pub mod plan;
pub mod realise;
pub mod source;
mod syntax;
pub mod tree;
pub mod view;

pub use board::Board;
pub use diagnostic::{Diagnostic, Severity};
pub use elaborate::Request;
pub use plan::{Plan, check, plan};

/// Loads a board: never fails, what is wrong is in [`Board::problems`].
pub fn load(request: &Request) -> Board {
    lower::lower(elaborate::elaborate(request, None))
}

/// Loads a board from `text` instead of a file; `request.board` is what messages call it.
pub fn load_text(request: &Request, text: &str) -> Board {
    lower::lower(elaborate::elaborate(request, Some(text)))
}

//! Board files: KDL text -> a checked machine description -> the running machine.
//!
//! [`load`] elaborates (includes, parameters, templates, variants, `--set`) into a [`Board`], a pure data tree in which each
//! value knows the file and line that set it. [`check`] compares it with the device types a program knows and reports every
//! problem at once. The views print it; `realise` builds it. The order of nodes in a file never matters.

pub mod board;
pub mod builtin;
pub mod diagnostic;
mod elaborate;
mod expr;
mod lower;
pub mod plan;
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

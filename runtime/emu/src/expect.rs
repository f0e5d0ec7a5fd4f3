//! `emu test`: runs the `expect` blocks of board files.
//!
//! ```kdl
//! expect "two CPUs" within=30 {
//!     kernel "zImage"                      // flags of the command line; files are beside the board file
//!     append "console=ttyPS0,115200"
//!     never "Kernel panic"                 // and steps, in order
//!     wait "login:"
//!     type "root\n"
//!     sh "nproc" is="2"
//! }
//! ```
//!
//! Each block is a machine of its own; its result goes to the standard output, and to a JUnit file.

use crate::guest::{Failure, Guest, Printed};
use crate::{BoardArgs, Cli, USAGE};
use clap::{Args, CommandFactory};
use emu_boards::source::Span;
use emu_boards::tree::{Item, Value};
use emu_boards::{Board, Diagnostic, diagnostic};
use emu_machine::control::Cause;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Which boards' tests to run.
#[derive(Args, Debug)]
pub struct Test {
    /// Board files, or names of built-in boards
    #[arg(required = true, value_name = "FILE")]
    boards: Vec<String>,
    #[command(flatten)]
    change: BoardArgs,
    /// Run only blocks whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<String>,
}

/// What became of a block.
enum Outcome {
    Passed,
    Skipped(String),
    Failed(String),
}

struct Case {
    board: String,
    name: String,
    outcome: Outcome,
    time: Duration,
}

/// Flags whose value is a file's name.
const FILES: &[&str] = &["kernel", "initrd", "dtb", "firmware"];

/// Does it: exit code 1 if something failed.
pub fn test(test: &Test) -> Result<i32, (i32, String)> {
    let mut cases = Vec::new();
    for name in &test.boards {
        let request = test.change.request(name);
        let (board, _) = crate::board(&request, &crate::registry()).map_err(|code| (code, String::new()))?;
        if board.expects.is_empty() {
            return Err((USAGE, format!("board `{name}` has no `expect` block")));
        }
        for block in board.expects.iter().filter(|b| test.only.as_ref().is_none_or(|only| b.name().contains(only.as_str()))) {
            let begun = Instant::now();
            let outcome = match run(&board, name, &test.change, block) {
                Ok(outcome) => outcome,
                Err(d) => Outcome::Failed(diagnostic::render(&[d], &board.sources)),
            };
            let case = Case { board: board.name.clone(), name: block.name().to_string(), outcome, time: begun.elapsed() };
            println!("{}", line(&case));
            cases.push(case);
        }
    }
    let count = |which: fn(&Outcome) -> bool| cases.iter().filter(|c| which(&c.outcome)).count();
    let failed = count(|o| matches!(o, Outcome::Failed(_)));
    println!(
        "tests: {} passed, {failed} failed, {} skipped",
        count(|o| matches!(o, Outcome::Passed)),
        count(|o| matches!(o, Outcome::Skipped(_)))
    );
    if let Some(file) = &test.junit {
        std::fs::write(file, junit(&cases)).map_err(|e| (USAGE, format!("cannot write {file}: {e}")))?;
    }
    Ok(i32::from(failed > 0))
}

fn line(case: &Case) -> String {
    let (word, why) = match &case.outcome {
        Outcome::Passed => ("ok", String::new()),
        Outcome::Skipped(why) => ("skipped", format!(": {why}")),
        Outcome::Failed(why) => ("FAILED", format!("\n{}", why.trim_end())),
    };
    format!("{}: {} ... {word} ({:.1} s){why}", case.board, case.name, case.time.as_secs_f64())
}

fn wrong(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("expect", message).at(span, "")
}

/// One block, from its flags to its last step.
fn run(board: &Board, file: &str, change: &BoardArgs, block: &Item) -> Result<Outcome, Diagnostic> {
    let known: Vec<String> = Cli::command().get_arguments().filter_map(|a| a.get_long().map(str::to_string)).collect();
    let is_flag = |item: &&Item| known.contains(&item.kind.text);
    let mut flags = change.flags();
    flags.push(format!("--board={file}"));
    for item in block.children.iter().filter(is_flag) {
        flags.push(flag(board, item));
    }
    let steps: Vec<&Item> = block.children.iter().filter(|i| !is_flag(i)).collect();
    for item in &steps {
        check(item)?;
    }
    for item in steps.iter().filter(|s| s.kind.text == "needs") {
        let path = beside(board, &item.args[0]);
        if !Path::new(&path).exists() {
            return Ok(Outcome::Skipped(format!("{path} is not there")));
        }
    }
    let mut guest = Guest::boot(flags).map_err(|e| wrong(block.span(), format!("it does not start: {e}")))?;
    for item in [block].into_iter().chain(steps) {
        if let Some(within) = item.prop("within") {
            let seconds = within
                .data
                .int()
                .and_then(|s| u64::try_from(s).ok())
                .ok_or_else(|| wrong(within.span, "`within` is a number of seconds"))?;
            guest.patience = Duration::from_secs(seconds);
        }
        if item != block {
            step(&mut guest, item)?;
        }
    }
    Ok(Outcome::Passed)
}

/// A step that can be done: one of those there are, with its text.
fn check(item: &Item) -> Result<(), Diagnostic> {
    const STEPS: &[(&str, usize, &[&str])] = &[
        ("needs", 1, &[]),
        ("never", 1, &[]),
        ("wait", 1, &["within"]),
        ("type", 1, &[]),
        ("sh", 1, &["within", "is", "has", "status"]),
        ("reset", 0, &[]),
        ("end", 0, &["within", "code"]),
    ];
    let Some((_, texts, props)) = STEPS.iter().find(|s| s.0 == item.kind.text) else {
        let names: Vec<&str> = STEPS.iter().map(|s| s.0).collect();
        let message = format!("`{}` is neither a step nor a flag of the command line", item.kind.text);
        return Err(wrong(item.kind.span, message).help(format!("steps are {}", names.join(", "))));
    };
    if item.args.len() != *texts || item.args.iter().any(|a| a.text().is_empty()) {
        return Err(wrong(item.span(), format!("`{}` takes {texts} text", item.kind.text)));
    }
    if let Some((name, _)) = item.props.iter().find(|(name, _)| !props.contains(&name.text.as_str())) {
        return Err(wrong(name.span, format!("`{}` has no property `{}`", item.kind.text, name.text)));
    }
    Ok(())
}

fn step(guest: &mut Guest, item: &Item) -> Result<(), Diagnostic> {
    let text = item.args.first().map_or("", Value::text);
    let failed = |e: Failure| wrong(item.span(), e.to_string());
    match item.kind.text.as_str() {
        "never" => guest.never(text),
        "wait" => _ = guest.wait_for(text).map_err(failed)?,
        "type" => guest.type_in(text),
        "reset" => {
            let reset = guest.handle().call(|machine| machine.reset_for(Cause::Host));
            reset.unwrap_or(Ok(())).map_err(|e| wrong(item.span(), e))?;
        }
        "sh" => {
            let printed = guest.sh(text).map_err(failed)?;
            compare(item, &printed)?;
        }
        "end" => {
            let code = guest.wait_end().map_err(failed)?;
            let wanted = item.prop("code").and_then(|c| c.data.int()).unwrap_or(0);
            if i128::from(code) != wanted {
                return Err(wrong(item.span(), format!("the machine ended with exit code {code}, not {wanted}")));
            }
        }
        _ => {}
    }
    Ok(())
}

fn compare(item: &Item, printed: &Printed) -> Result<(), Diagnostic> {
    let status = item.prop("status").and_then(|s| s.data.int()).unwrap_or(0);
    if i128::from(printed.status) != status {
        return Err(wrong(item.span(), format!("it ended with status {}, not {status}; it printed:\n{}", printed.status, printed.text)));
    }
    if let Some(wanted) = item.prop("is").filter(|wanted| wanted.to_text() != printed.text) {
        return Err(wrong(wanted.span, format!("it printed:\n{}", printed.text)));
    }
    if let Some(wanted) = item.prop("has").filter(|wanted| !printed.text.contains(&wanted.to_text())) {
        return Err(wrong(wanted.span, format!("it printed:\n{}", printed.text)));
    }
    Ok(())
}

/// `drive "sd0" "sd.img"` -> `--drive=sd0=sd.img`, with files where the board file means them.
fn flag(board: &Board, item: &Item) -> String {
    let name = &item.kind.text;
    let values: Vec<String> = match (name.as_str(), &item.args[..]) {
        (file, [value]) if FILES.contains(&file) => vec![beside(board, value)],
        ("drive", [slot, value]) => vec![slot.to_text(), beside(board, value)],
        (_, args) => args.iter().map(Value::to_text).collect(),
    };
    if values.is_empty() { format!("--{name}") } else { format!("--{name}={}", values.join("=")) }
}

/// A file's name as the text that names it means it: relative to where that is.
fn beside(board: &Board, value: &Value) -> String {
    let from = board.sources.name(value.span.file);
    let folder = Path::new(from).parent().filter(|_| !from.starts_with("--") && !from.starts_with("builtin:"));
    folder.unwrap_or(Path::new("")).join(value.text()).to_string_lossy().into_owned()
}

/// The results in the form of JUnit.
fn junit(cases: &[Case]) -> String {
    let failures = cases.iter().filter(|c| matches!(c.outcome, Outcome::Failed(_))).count();
    let mut xml =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"emu\" tests=\"{}\" failures=\"{failures}\">\n", cases.len());
    for case in cases {
        _ = write!(
            xml,
            "  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
            escape(&case.board),
            escape(&case.name),
            case.time.as_secs_f64()
        );
        _ = match &case.outcome {
            Outcome::Passed => writeln!(xml, "/>"),
            Outcome::Skipped(why) => writeln!(xml, "><skipped message=\"{}\"/></testcase>", escape(why)),
            Outcome::Failed(why) => writeln!(xml, "><failure>{}</failure></testcase>", escape(why)),
        };
    }
    xml + "</testsuite>\n"
}

/// Text for XML 1.0, without characters it cannot hold.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' | '\t' => out.push(c),
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

//! The subcommands that look at boards, devices and instruction sets.

use crate::{BoardArgs, cpus, devices, doc, import, registry};
use clap::Subcommand;
use emu_boards::view;
use std::io::{BufRead, Write};

/// A reader who has seen enough closes the pipe; that is no error.
macro_rules! println {
    ($($text:tt)*) => { _ = writeln!(std::io::stdout(), $($text)*) };
}
macro_rules! print {
    ($($text:tt)*) => { _ = write!(std::io::stdout(), $($text)*) };
}

type Outcome = Result<i32, (i32, String)>;

/// `emu board ...`
#[derive(Subcommand, Debug)]
pub enum Board {
    /// The built-in boards
    List,
    /// Report everything that is wrong with a board
    Check {
        /// Board
        file: String,
        #[command(flatten)]
        change: BoardArgs,
        /// As JSON, for editors
        #[arg(long)]
        json: bool,
    },
    /// What is on a board
    Show {
        /// Board
        file: String,
        #[command(flatten)]
        change: BoardArgs,
        /// As a picture
        #[arg(long)]
        svg: bool,
    },
    /// Memory map
    Map {
        /// Board
        file: String,
        #[command(flatten)]
        change: BoardArgs,
    },
    /// Lines
    Irqs {
        /// Board
        file: String,
        #[command(flatten)]
        change: BoardArgs,
    },
    /// A value and who set it
    Explain {
        /// Board
        file: String,
        /// Path such as `uart0.at`
        path: String,
        #[command(flatten)]
        change: BoardArgs,
    },
    /// A board file from a device tree of a Zynq-7000 or MicroBlaze system
    ImportDts {
        /// Blob, or source (which needs `dtc`)
        file: std::path::PathBuf,
    },
    /// Register maps of devices, to be completed, from a CMSIS-SVD file
    ImportSvd {
        /// File
        file: std::path::PathBuf,
    },
    /// The device tree made from a board
    Dts {
        /// Board
        file: String,
        #[command(flatten)]
        change: BoardArgs,
    },
}

/// `emu device ...`
#[derive(Subcommand, Debug)]
pub enum Device {
    /// Device types
    List {
        /// Only those whose name contains this
        part: Option<String>,
    },
    /// The book's page of all device types, as Markdown
    Doc,
    /// Ports, properties and registers of a type
    Help {
        /// Type
        name: String,
    },
}

/// `emu isa ...`
#[derive(Subcommand, Debug)]
pub enum Isa {
    /// Instruction sets
    List,
    /// Assemble one instruction
    Asm {
        /// Instruction set
        isa: String,
        /// Text; `-`: lines of standard input, each with a tab and modes after it if need be
        text: Vec<String>,
        /// Mode, decoder context or address (pc), such as thumb=1
        #[arg(long, value_name = "NAME=VALUE")]
        mode: Vec<String>,
    },
    /// Disassemble words (hexadecimal)
    Disasm {
        /// Instruction set
        isa: String,
        /// Instruction words; `-`: lines of standard input, each with a tab and modes after it if need be
        words: Vec<String>,
        /// Mode, decoder context or address (pc), such as thumb=1
        #[arg(long, value_name = "NAME=VALUE")]
        mode: Vec<String>,
    },
    /// What an instruction word is
    Explain {
        /// Instruction set
        isa: String,
        /// Instruction word (hexadecimal)
        word: String,
        /// Mode, decoder context or address (pc), such as thumb=1
        #[arg(long, value_name = "NAME=VALUE")]
        mode: Vec<String>,
    },
    /// Report what is wrong or doubtful in a folder of specification files
    Check {
        /// Folder with *.isa files
        folder: std::path::PathBuf,
    },
    /// The size of a specification, and how much of its meaning is in Rust
    Stats {
        /// Instruction sets; all if none is given
        isas: Vec<String>,
    },
    /// The instruction reference, as Markdown
    Doc {
        /// Instruction set
        isa: String,
    },
    /// Run single-instruction test vectors
    Vectors {
        /// Instruction set
        isa: String,
        /// JSON lines, plain or gzip
        files: Vec<String>,
        /// CPU model
        #[arg(long, default_value = "cortex-a15")]
        cpu: String,
        /// Tier
        #[arg(long, default_value = "interp", value_parser = ["interp"])]
        tier: String,
    },
}

fn usage(message: impl Into<String>) -> (i32, String) {
    (2, message.into())
}

/// Boards.
pub fn board(command: &Board) -> Outcome {
    let registry = registry();
    let load = |file: &str, change: &BoardArgs| crate::board(&change.request(file), &registry).map_err(|code| (code, String::new()));
    match command {
        Board::List => emu_boards::builtin::boards().for_each(|b| println!("{b}")),
        Board::Check { file, change, json } => {
            let board = emu_boards::load(&change.request(file));
            let problems = emu_boards::check(&board, &registry);
            if *json {
                println!("{}", emu_boards::diagnostic::to_json(&problems, &board.sources));
            } else {
                print!("{}", emu_boards::diagnostic::render(&problems, &board.sources));
                if problems.is_empty() {
                    println!("{}: no problems", board.name);
                }
            }
            return Ok(if emu_boards::diagnostic::has_errors(&problems) { 2 } else { 0 });
        }
        Board::Show { file, change, svg } => {
            let (board, plan) = load(file, change)?;
            print!("{}", if *svg { view::svg(&board, &plan) } else { view::show(&board, &plan) });
        }
        Board::Map { file, change } => {
            let (board, plan) = load(file, change)?;
            print!("{}", view::map(&board, &plan));
        }
        Board::Irqs { file, change } => {
            let (board, plan) = load(file, change)?;
            print!("{}", view::irqs(&board, &plan));
        }
        Board::Explain { file, path, change } => {
            let (board, plan) = load(file, change)?;
            let text = view::explain(&board, &plan, path).map_err(|d| usage(emu_boards::diagnostic::render(&[d], &board.sources)))?;
            print!("{text}");
        }
        Board::ImportDts { file } => imported(import::device_tree(file, &registry))?,
        Board::ImportSvd { file } => imported(import::svd(file))?,
        Board::Dts { file, change } => {
            let (board, plan) = load(file, change)?;
            let text = view::device_tree_source(&board, &plan).map_err(|p| usage(emu_boards::diagnostic::render(&p, &board.sources)))?;
            print!("{text}");
        }
    }
    Ok(0)
}

/// Shows a text, and beside it what is to be said of it.
fn imported(made: Result<import::Imported, String>) -> Result<(), (i32, String)> {
    let made = made.map_err(usage)?;
    made.notes.iter().for_each(|note| eprintln!("note: {note}"));
    print!("{}", made.text);
    Ok(())
}

/// Device types.
pub fn device(command: &Device) -> Outcome {
    let registry = registry();
    match command {
        Device::List { part } => {
            for d in registry.devices.iter().filter(|d| part.as_ref().is_none_or(|p| d.name.contains(p.as_str()))) {
                println!("{:24} {}", d.name, d.doc);
            }
        }
        Device::Doc => print!("{}", devices::page(&registry.devices)),
        Device::Help { name } => match registry.device(name) {
            Some(d) => print!("{}", devices::help(d)),
            None => return Err(usage(format!("there is no device type `{name}`\n  help: `emu device list` shows all"))),
        },
    }
    Ok(0)
}

fn tables(isa: &str) -> Result<emu_asm::Isa, (i32, String)> {
    cpus::assembler(isa).ok_or_else(|| usage(format!("there is no instruction set `{isa}`\n  help: {}", cpus::ISAS.join(", "))))
}

/// The setting of an instruction set by the name it was called: `thumb` is a mode of `arm`.
fn setting(name: &str, isa: &emu_asm::Isa, modes: &[String]) -> Result<emu_asm::Setting, (i32, String)> {
    let mut setting = isa.setting("");
    isa.set_mode(&mut setting, "thumb", (name == "thumb").into());
    for m in modes {
        set(isa, &mut setting, m)?;
    }
    Ok(setting)
}

/// Applies `NAME=VALUE`, or `NAME` for 1: a mode, a context, or the address `pc`.
fn set(isa: &emu_asm::Isa, setting: &mut emu_asm::Setting, change: &str) -> Result<(), (i32, String)> {
    let (name, text) = change.split_once('=').unwrap_or((change, "1"));
    let value = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let value = value.map_err(|_| usage(format!("--mode {change}: `{text}` is no number")))?;
    if name == "pc" {
        setting.pc = value;
    } else if !isa.set_mode(setting, name, value) && !isa.set_context(setting, name, value) {
        let t = &isa.tables;
        let known: Vec<&str> = t.modes.iter().map(|m| m.0.as_str()).chain(t.contexts.iter().map(|c| c.name.as_str())).collect();
        return Err(usage(format!("--mode {change}: there is no mode `{name}`\n  help: pc, {}", known.join(", "))));
    }
    Ok(())
}

/// Answers each line of standard input with one line; a tab and `NAME=VALUE` words after the text apply to that line only.
fn each_line(
    isa: &emu_asm::Isa,
    base: &emu_asm::Setting,
    answer: &mut dyn FnMut(&emu_asm::Setting, &str) -> Result<String, (i32, String)>,
) -> Outcome {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lines() {
        let line = line.map_err(|e| (2, format!("cannot read standard input: {e}")))?;
        let (text, changes) = line.split_once('\t').unwrap_or((&line, ""));
        let mut setting = base.clone();
        for change in changes.split_whitespace() {
            set(isa, &mut setting, change)?;
        }
        writeln!(out, "{}", answer(&setting, text)?).map_err(|e| (2, format!("cannot write: {e}")))?;
    }
    Ok(0)
}

fn word(text: &str) -> Result<(u8, u64), (i32, String)> {
    let digits = text.trim_start_matches("0x");
    let value = u64::from_str_radix(digits, 16).map_err(|_| usage(format!("`{text}` is no hexadecimal word")))?;
    Ok((if digits.len() <= 4 { 16 } else { 32 }, value))
}

/// Instruction sets.
pub fn isa(command: &Isa) -> Outcome {
    match command {
        Isa::List => cpus::ISAS.iter().for_each(|i| println!("{i}")),
        Isa::Asm { isa, text, mode } => {
            let (name, isa) = (isa, tables(isa)?);
            let setting = setting(name, &isa, mode)?;
            if text.as_slice() == ["-"] {
                return each_line(&isa, &setting, &mut |setting, text| {
                    Ok(match isa.encode(setting, text, &emu_asm::encode::NoSymbols, &Default::default()) {
                        Ok(made) => format!("{:0width$x}", made.code, width = usize::from(made.bits / 4)),
                        Err(message) => format!("error: {message}"),
                    })
                });
            }
            let made = isa.encode(&setting, &text.join(" "), &emu_asm::encode::NoSymbols, &Default::default()).map_err(usage)?;
            println!("{:0width$x}", made.code, width = usize::from(made.bits / 4));
        }
        Isa::Disasm { isa, words, mode } => {
            let (name, isa) = (isa, tables(isa)?);
            let setting = setting(name, &isa, mode)?;
            let answer = &mut |setting: &emu_asm::Setting, w: &str| {
                let (bits, code) = word(w)?;
                let guard = isa.decode(setting, bits, code).and_then(|d| d.guard);
                let note = if guard == Some(emu_asm::tables::Otherwise::Unpredictable) { "  ; UNPREDICTABLE" } else { "" };
                Ok(format!("{w}  {}{note}", isa.disassemble(setting, bits, code).unwrap_or_else(|| "undefined".into())))
            };
            if words.as_slice() == ["-"] {
                return each_line(&isa, &setting, answer);
            }
            for w in words {
                println!("{}", answer(&setting, w)?);
            }
        }
        Isa::Explain { isa, word: w, mode } => {
            let (name, isa) = (isa, tables(isa)?);
            let setting = setting(name, &isa, mode)?;
            let (bits, code) = word(w)?;
            let Some(d) = isa.decode(&setting, bits, code) else {
                println!("{w}: undefined: no encoding matches");
                return Ok(0);
            };
            let e = &isa.tables.encodings[d.encoding];
            let insn = &isa.tables.insns[e.insn as usize];
            println!("{w}: {}", isa.print(&setting, &d).unwrap_or_else(|| insn.name.clone()));
            println!("  {} {} ({}), encoding {}", insn.name, insn.title, insn.place, e.name);
            for (name, value) in e.locals.iter().zip(&d.locals) {
                if let Some(v) = value {
                    println!("  {name} = {:#x}", v.bits());
                }
            }
            if let Some(g) = d.guard {
                println!("  a guard fails: {g:?}");
            }
        }
        Isa::Check { folder } => {
            let files = emu_dsl::files_of(folder).map_err(|e| usage(format!("cannot read {}: {e}", folder.display())))?;
            if files.is_empty() {
                return Err(usage(format!("there are no *.isa files in {}", folder.display())));
            }
            let spec = match emu_dsl::load(&files) {
                Ok(spec) => spec,
                Err(errors) => {
                    print!("{errors}");
                    return Ok(2);
                }
            };
            let found = emu_codegen::lint::check(&spec);
            found.iter().for_each(|d| print!("{}", emu_dsl::diagnostic::render(d, &spec.files)));
            println!("{}: {} instructions, {} findings", spec.name, spec.insns.len(), found.len());
            return Ok(i32::from(!found.is_empty()));
        }
        Isa::Stats { isas } => {
            let all: Vec<String> = if isas.is_empty() { cpus::ISAS.iter().map(|i| (*i).to_string()).collect() } else { isas.clone() };
            println!("| ISA | instructions | encodings | tests | spec lines | helpers | Rust lines | instructions that call helpers |");
            println!("|---|---|---|---|---|---|---|---|");
            for name in all {
                let s = tables(&name)?.tables.stats;
                let share = 100.0 * f64::from(s.helped) / f64::from(s.insns.max(1));
                println!(
                    "| {name} | {} | {} | {} | {} | {} | {} | {} ({share:.1} %) |",
                    s.insns, s.encodings, s.tests, s.spec_lines, s.helpers, s.helper_lines, s.helped
                );
            }
        }
        Isa::Doc { isa } => print!("{}", doc::reference(&tables(isa)?.tables)),
        Isa::Vectors { isa, files, cpu, .. } => {
            tables(isa)?;
            if isa != "arm" && isa != "thumb" {
                return Err(usage(format!("there are no vectors for {isa} yet\n  help: arm or thumb")));
            }
            return vectors(files, cpu);
        }
    }
    Ok(0)
}

/// Mismatches printed in full.
const SHOWN: usize = 20;

fn vectors(files: &[String], cpu: &str) -> Outcome {
    let (mut passed, mut failed) = (0, 0);
    for name in files {
        let bytes = std::fs::read(name).map_err(|e| usage(format!("cannot read {name}: {e}")))?;
        let lines: Box<dyn BufRead> = if bytes.starts_with(&[0x1f, 0x8b]) {
            Box::new(std::io::BufReader::new(flate2::read::GzDecoder::new(std::io::Cursor::new(bytes))))
        } else {
            Box::new(std::io::Cursor::new(bytes))
        };
        let outcome = emu_isa_arm::vectors::run(lines, cpu).map_err(|e| usage(format!("{name}: {e}")))?;
        for (line, text, what) in outcome.failed.iter().take(SHOWN) {
            println!("{name}:{line}: {text}: {what}");
        }
        passed += outcome.passed;
        failed += outcome.failed.len();
    }
    println!("vectors: {passed} passed, {failed} failed");
    Ok(i32::from(failed > 0))
}

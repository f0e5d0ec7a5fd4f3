//! `emu jit`: what the engine makes of guest code, instruction by instruction.

use crate::{Run, USAGE, cpus};
use clap::{Args, Subcommand};
use emu_boards::Board;
use emu_ir::interp::{DebugPoints, Explained, ExplainedRegion, GuestInsn, HostCode};
use emu_machine::builder::Builder;
use emu_machine::machine::Unmapped;
use emu_machine::schema::Props;
use emu_machine::{Machine, TimeMode};
use emu_memory::RamBlock;
use iced_x86::{Code, Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, OpKind, Register, SymbolResolver, SymbolResult};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// `emu jit ...`
#[derive(Subcommand, Debug)]
pub enum Jit {
    /// Guest code, IR, bytecode and host code of a block
    Explain(Box<Explain>),
}

/// Of a board that has run, or of words without a board.
#[derive(Args, Debug)]
pub struct Explain {
    /// Virtual address of an instruction; without a board, where the words lie [default there: 0x1000]
    #[arg(long, value_name = "ADDRESS", value_parser = number, required_unless_present_any = ["isa", "hottest"])]
    at: Option<u64>,
    /// Show so many regions of each CPU, those that executed most instructions (`--jit full`)
    #[arg(long, value_name = "COUNT", requires = "board", conflicts_with = "at")]
    hottest: Option<usize>,
    /// Instruction set of the words: no board
    #[arg(long, value_name = "ISA", conflicts_with = "board", requires = "words")]
    isa: Option<String>,
    /// CPU model, without a board
    #[arg(long, value_name = "MODEL", requires = "isa")]
    cpu: Option<String>,
    /// A register's value where the block begins, without a board: `cpacr=0xf00000`
    #[arg(long, value_name = "NAME=VALUE", requires = "isa")]
    register: Vec<String>,
    /// Instruction words (hexadecimal), without a board
    #[arg(value_name = "WORDS", requires = "isa")]
    words: Vec<String>,
    /// How to run the board.
    #[command(flatten)]
    pub run: Run,
}

fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(&digits.replace('_', ""), 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("`{text}` is no number"))
}

/// Does it.
pub fn jit(command: &Jit) -> Result<i32, (i32, String)> {
    let Jit::Explain(explain) = command;
    match &explain.isa {
        Some(isa) => words(explain, isa).map(|text| print!("{text}")).map(|()| 0).map_err(|e| (USAGE, e)),
        None => crate::run(&explain.run, explain.hottest.is_some(), &mut |machine, board| on_board(machine, board, explain)),
    }
}

/// Every CPU's translations of an address, each once, and regions.
fn on_board(machine: &mut Machine, board: &Board, explain: &Explain) -> String {
    let mut text = String::from("\n");
    let mut seen = Vec::new();
    for (index, cpu) in board.cpus.iter().enumerate() {
        let Some(isa) = cpus::assembler(cpu.isa.text()) else { continue };
        let regions = machine.explain_regions(index, explain.at);
        for region in regions.iter().take(explain.hottest.unwrap_or(usize::MAX)) {
            _ = writeln!(text, "{}\n{}", cpu.name.text(), show_region(region, &isa, cpu.model.text()));
        }
        let Some(at) = explain.at else { continue };
        for explained in machine.explain(index, at) {
            let identity = (explained.pc, explained.key, explained.ir.clone());
            if !seen.contains(&identity) {
                _ = writeln!(text, "{}", cpu.name.text());
                text.push_str(&show(&explained, &isa, cpu.model.text()));
                seen.push(identity);
            }
        }
    }
    if let (Some(at), true) = (explain.at, seen.is_empty()) {
        _ = writeln!(text, "there is no code at {at:#x}");
    }
    text
}

/// What words become on a CPU in its reset state.
fn words(explain: &Explain, name: &str) -> Result<String, String> {
    let name = if name == "thumb" { "arm" } else { name };
    let unknown = || format!("there is no instruction set `{name}`\n  help: {}", cpus::ISAS.join(", "));
    let isa = cpus::assembler(name).ok_or_else(unknown)?;
    let kind = crate::registry().cpus.into_iter().find(|c| c.isa == name).ok_or_else(unknown)?;
    let model = explain.cpu.as_deref().unwrap_or(kind.models[0]);
    let at = explain.at.unwrap_or(0x1000);

    let mut builder = Builder::default();
    let bus = builder.bus(64, Unmapped::Abort, Unmapped::Abort);
    let ram = RamBlock::new("ram", 1 << 20).map_err(|e| e.to_string())?;
    builder.memory(bus, at & !0xfff, ram.size(), 0, &ram, true)?;
    let index = builder.cpu("cpu0", (kind.create)(model, &Props::default(), 0)?, bus, true);
    let mut machine = builder.build(TimeMode::Realtime);
    machine.use_tiers(&emu_ir::interp::Tiers::Quick);
    machine.reset()?;
    let cpu = machine.cpu(index).ok_or("the machine has no CPU")?;
    cpu.set_pc(at);
    let mut setting = isa.setting(model);
    if explain.isa.as_deref() == Some("thumb") {
        isa.set_mode(&mut setting, "thumb", 1);
        cpu.set_register("T", 1);
    }
    for change in &explain.register {
        let (register, value) = change.split_once('=').ok_or_else(|| format!("--register {change}: write NAME=VALUE"))?;
        if !cpu.set_register(register, number(value)?.into()) {
            return Err(format!("--register {change}: there is no register `{register}`"));
        }
    }
    let token = isa.token(&setting).ok_or("no instructions are decoded in this state")?;
    let mut bytes = Vec::new();
    for word in &explain.words {
        let code = u64::from_str_radix(word.trim_start_matches("0x"), 16).map_err(|_| format!("`{word}` is no hexadecimal word"))?;
        let unit = isa.tables.tokens[token].size;
        let digits = 4 * word.trim_start_matches("0x").len() as u8;
        bytes.extend(isa.to_bytes(&setting, token, digits.next_multiple_of(unit).max(unit), code));
    }
    // The block ends where the words do.
    cpu.set_debug_points(&DebugPoints { breakpoints: [at + bytes.len() as u64].into(), watches: vec![] });
    machine.load(bus, at, &bytes).map_err(|e| e.to_string())?;
    let all = machine.explain(index, at);
    Ok(all.iter().map(|explained| show(explained, &isa, model)).collect())
}

/// How instructions with a key are decoded, and the parts of the key that are not 0.
fn setting(isa: &emu_asm::Isa, model: &str, key: u64) -> (emu_asm::Setting, String) {
    let mut setting = isa.setting(model);
    isa.set_key(&mut setting, key);
    let names = isa.tables.modes.iter().map(|m| &m.0).zip(&setting.modes);
    let names = names.chain(isa.tables.contexts.iter().map(|c| &c.name).zip(&setting.contexts));
    let parts: Vec<String> = names.filter(|(_, value)| **value != 0).map(|(name, value)| format!("{name}={value:#x}")).collect();
    (setting, parts.join(" "))
}

/// The code and the text of a guest instruction.
fn guest_text(isa: &emu_asm::Isa, setting: &mut emu_asm::Setting, guest: &GuestInsn) -> (String, String) {
    isa.set_key(setting, guest.key.0);
    setting.pc = guest.pc;
    let fetched = isa.fetch(setting, &guest.bytes);
    let insn = fetched.and_then(|(bits, code)| isa.disassemble(setting, bits, code)).unwrap_or_else(|| "undefined".into());
    (fetched.map_or_else(String::new, |(bits, code)| format!("{code:0width$x}", width = usize::from(bits / 4))), insn)
}

/// The text of a region: its host code as it lies in memory, and behind each guest instruction what is for it there.
pub fn show_region(region: &ExplainedRegion, isa: &emu_asm::Isa, model: &str) -> String {
    let (mut setting, parts) = setting(isa, model, region.key.0);
    let mut text = format!("region at {:#x}, key {:#x}: {parts}\n", region.pc, region.key.0);
    _ = writeln!(text, "{} guest instructions, {} bytes; {} executed\n", region.guest.len(), region.bytes.len(), region.spent);
    let guest: BTreeMap<u64, (String, String)> = region.guest.iter().map(|g| (g.pc, guest_text(isa, &mut setting, g))).collect();
    let names = Names {
        stubs: BTreeMap::new(),
        cells: region.cells.iter().map(|(cell, name)| (8 * u64::from(*cell), (*name).to_string())).collect(),
        block: [region.base, region.base + region.bytes.len() as u64, region.base + region.bytes.len() as u64],
    };
    let mut formatter = formatter(names);
    let (mut places, mut of) = (region.places.iter().peekable(), None);
    for code in Decoder::with_ip(64, &region.bytes, region.base, DecoderOptions::NONE).iter() {
        let offset = code.ip() - region.base;
        let mut now = of;
        while let Some((_, pc)) = places.next_if(|(from, _)| u64::from(*from) <= offset) {
            now = Some(*pc);
        }
        if let (true, Some((word, insn))) = (now != of, now.and_then(|pc| guest.get(&pc))) {
            _ = writeln!(text, "{:#010x}  {word:<8}  {insn}", now.unwrap_or(0));
        }
        of = now;
        let mut line = format!("  host  +{offset:04x} ");
        formatter.format(&code, &mut line);
        _ = writeln!(text, "{line}");
    }
    text
}

/// The text of a translation: for each guest instruction what it became.
fn show(explained: &Explained, isa: &emu_asm::Isa, model: &str) -> String {
    let (mut setting, parts) = setting(isa, model, explained.key.0);
    let mut text = format!("block at {:#x}, key {:#x}: {}\n", explained.pc, explained.key.0, parts);

    let mut ir: Vec<Vec<&str>> = vec![vec![]];
    for line in explained.ir.lines() {
        if line.starts_with("mark") {
            ir.push(vec![]);
        } else if let Some(last) = ir.last_mut() {
            last.push(line.trim_end());
        }
    }
    let host = explained.host.as_ref().map(|host| host_lines(explained, host)).unwrap_or_default();
    let section = |text: &mut String, guest: Option<usize>, ir: &[&str]| {
        ir.iter().for_each(|line| _ = writeln!(text, "  ir    {}", line.strip_prefix("  ").unwrap_or(line)));
        let words = explained.words.iter().enumerate().filter(|(at, _)| explained.guest_of(*at as u32) == guest);
        words.for_each(|(at, word)| _ = writeln!(text, "  code  {at:<3} {word}"));
        for line in host.get(&(false, guest)).into_iter().flatten() {
            _ = writeln!(text, "  host  {line}");
        }
    };
    section(&mut text, None, &ir[0]);
    for (number, guest) in explained.guest.iter().enumerate() {
        let (code, insn) = guest_text(isa, &mut setting, guest);
        _ = writeln!(text, "\n{:#010x}  {code:<8}  {insn}", guest.pc);
        section(&mut text, Some(number), ir.get(number + 1).map_or(&[], |lines| lines));
    }
    if let Some(code) = &explained.host {
        _ = writeln!(text, "\nout of line");
        for ((_, guest), lines) in host.range((true, None)..) {
            let of = guest.map_or("the head".to_string(), |number| format!("{:#010x}", explained.guest[number].pc));
            _ = writeln!(text, "  for {of}");
            lines.iter().for_each(|line| _ = writeln!(text, "  host  {line}"));
        }
        let slots = (code.bytes.len() - code.slots as usize) / 8;
        _ = writeln!(text, "\n{} bytes in line, {} out of line, {slots} slots\n", code.cold, code.slots - code.cold);
    }
    text
}

/// Names of what host code refers to.
struct Names {
    stubs: BTreeMap<u64, String>,
    cells: BTreeMap<u64, String>,
    /// Where the block, its slots and its end are.
    block: [u64; 3],
}

impl SymbolResolver for Names {
    fn symbol(&mut self, code: &Instruction, _: u32, operand: Option<u32>, address: u64, _: u32) -> Option<SymbolResult<'_>> {
        let [base, slots, end] = self.block;
        let memory = operand.is_some_and(|n| code.op_kind(n) == OpKind::Memory);
        let name = match code.memory_base() {
            Register::RBX if memory && code.memory_index() == Register::None => self.cells.get(&address)?.clone(),
            Register::RIP if memory && (slots..end).contains(&address) => format!("slot{}", (address - slots) / 8),
            _ if memory => return None,
            _ if (base..slots).contains(&address) => format!("+{:04x}", address - base),
            _ => self.stubs.get(&address)?.clone(),
        };
        Some(SymbolResult::with_string(address, name))
    }
}

/// The text of host code.
fn formatter(names: Names) -> IntelFormatter {
    let mut formatter = IntelFormatter::with_options(Some(Box::new(names)), None);
    formatter.options_mut().set_space_after_operand_separator(true);
    formatter.options_mut().set_hex_prefix("0x");
    formatter.options_mut().set_hex_suffix("");
    formatter
}

/// The lines of host code, by out of line and guest instruction.
fn host_lines(explained: &Explained, host: &HostCode) -> BTreeMap<(bool, Option<usize>), Vec<String>> {
    let names = Names {
        stubs: host.stubs.iter().cloned().collect(),
        cells: explained.cells.iter().map(|(cell, name)| (8 * u64::from(*cell), (*name).to_string())).collect(),
        block: [host.base, host.base + u64::from(host.slots), host.base + host.bytes.len() as u64],
    };
    let mut formatter = formatter(names);
    let mut all: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let ends = host.words.iter().skip(1).map(|(_, offset)| *offset).chain([host.slots]);
    for ((word, from), to) in host.words.iter().zip(ends) {
        let lines = all.entry((*from >= host.cold, explained.guest_of(*word))).or_default();
        let piece = &host.bytes[*from as usize..to as usize];
        for code in
            Decoder::with_ip(64, piece, host.base + u64::from(*from), DecoderOptions::NONE).iter().filter(|c| c.code() != Code::Int3)
        {
            let mut line = format!("+{:04x} ", code.ip() - host.base);
            formatter.format(&code, &mut line);
            lines.push(line);
        }
    }
    all
}

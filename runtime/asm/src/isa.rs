//! An instruction set ready for use: decoding and disassembly.

use crate::eval::{Env, Val};
use crate::tables::*;

/// The static surroundings of an instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Values of the modes.
    pub modes: Vec<u64>,
    /// Values of the decoder contexts.
    pub contexts: Vec<u64>,
    /// Which features are there.
    pub features: Vec<bool>,
    /// Address of the instruction.
    pub pc: u64,
}

/// A decoded instruction.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Index of the encoding.
    pub encoding: usize,
    /// Values of its fields and where names.
    pub locals: Vec<Option<Val>>,
    /// The guard that failed, if one did.
    pub guard: Option<Otherwise>,
}

/// Tables with indices.
#[derive(Debug)]
pub struct Isa {
    /// The tables.
    pub tables: Tables,
}

impl Isa {
    /// Takes tables into use.
    pub fn new(tables: Tables) -> Isa {
        Isa { tables }
    }

    /// Tables as JSON, as the build writes them.
    ///
    /// # Errors
    /// What serde finds wrong.
    pub fn from_json(text: &str) -> Result<Isa, serde_json::Error> {
        serde_json::from_str(text).map(Isa::new)
    }

    /// Names of the models.
    pub fn models(&self) -> Vec<&str> {
        self.tables.models.iter().map(|m| m.name.as_str()).collect()
    }

    /// The setting of a model (all features if there is none of that name) with all modes and contexts 0.
    pub fn setting(&self, model: &str) -> Setting {
        let t = &self.tables;
        let chosen = t.models.iter().find(|m| m.name == model);
        Setting {
            modes: vec![0; t.modes.len()],
            contexts: t.contexts.iter().map(|c| c.at_reset).collect(),
            features: (0..t.features.len()).map(|i| chosen.is_none_or(|m| m.features.contains(&(i as u32)))).collect(),
            pc: 0,
        }
    }

    /// Sets mode `name`; false if there is none.
    pub fn set_mode(&self, setting: &mut Setting, name: &str, value: u64) -> bool {
        let found = self.tables.modes.iter().position(|m| m.0 == name);
        found.is_some_and(|i| {
            setting.modes[i] = value;
            true
        })
    }

    /// Sets modes and contexts to those of a block key, which holds them in order from bit 0 up.
    pub fn set_key(&self, setting: &mut Setting, key: u64) {
        let t = &self.tables;
        let widths = t.modes.iter().map(|m| m.1).chain(t.contexts.iter().map(|c| c.bits));
        let mut lo = 0;
        for (value, bits) in setting.modes.iter_mut().chain(&mut setting.contexts).zip(widths) {
            *value = key >> lo & ((1 << bits) - 1);
            lo += bits;
        }
    }

    /// Sets decoder context `name`; false if there is none.
    pub fn set_context(&self, setting: &mut Setting, name: &str, value: u64) -> bool {
        let found = self.tables.contexts.iter().position(|c| c.name == name);
        found.is_some_and(|i| {
            setting.contexts[i] = value;
            true
        })
    }

    /// The surroundings of one encoding, all locals unknown.
    pub fn env<'a>(&'a self, setting: &'a Setting, encoding: &EncodingTable) -> Env<'a> {
        Env {
            tables: &self.tables,
            locals: vec![None; encoding.locals.len()],
            modes: &setting.modes,
            contexts: &setting.contexts,
            features: &setting.features,
            pc: setting.pc,
            token_bits: encoding.bits,
            first: 0,
        }
    }

    fn bare_env<'a>(&'a self, setting: &'a Setting, first: u64) -> Env<'a> {
        Env {
            tables: &self.tables,
            locals: vec![],
            modes: &setting.modes,
            contexts: &setting.contexts,
            features: &setting.features,
            pc: setting.pc,
            token_bits: 0,
            first,
        }
    }

    /// If instructions are big-endian in a setting.
    pub fn big_endian(&self, setting: &Setting) -> bool {
        let other = self.tables.endian_unless.is_some_and(|f| setting.features.get(f as usize) == Some(&true));
        self.tables.big_endian != other
    }

    /// The token in force in a setting.
    pub fn token(&self, setting: &Setting) -> Option<usize> {
        let env = self.bare_env(setting, 0);
        self.tables.tokens.iter().position(|t| t.when.as_ref().is_none_or(|w| env.holds(w) == Some(true)))
    }

    /// The length in bits of the instruction whose bytes, in memory order, `bytes` begins with, and its value in token order
    /// (the first fetched unit most significant). `None`: not enough bytes.
    pub fn fetch(&self, setting: &Setting, bytes: &[u8]) -> Option<(u8, u64)> {
        let token = &self.tables.tokens[self.token(setting)?];
        let unit = |at: usize| -> Option<u64> {
            let size = usize::from(token.size / 8);
            let part = bytes.get(at..at + size)?;
            let fold = |all: u64, b: &u8| all << 8 | u64::from(*b);
            Some(if self.big_endian(setting) { part.iter().fold(0, fold) } else { part.iter().rev().fold(0, fold) })
        };
        let first = unit(0)?;
        if let Some(most) = token.variable {
            let mut code = 0;
            for i in 0..most / token.size {
                code = code << (token.size % 64) | unit(usize::from(i) * usize::from(token.size / 8))?;
                let bits = (i + 1) * token.size;
                if self.decode(setting, bits, code).is_some() {
                    return Some((bits, code));
                }
            }
            return Some((token.size, first));
        }
        match &token.long {
            Some((bits, when)) if self.bare_env(setting, first).holds(when) == Some(true) => {
                let mut code = first;
                for i in 1..bits / token.size {
                    code = code << token.size | unit(usize::from(i) * usize::from(token.size / 8))?;
                }
                Some((*bits, code))
            }
            _ => Some((token.size, first)),
        }
    }

    /// An instruction in memory order.
    pub fn to_bytes(&self, setting: &Setting, token: usize, bits: u8, code: u64) -> Vec<u8> {
        let size = self.tables.tokens[token].size;
        let mut bytes = Vec::new();
        for i in (0..bits / size).rev() {
            let unit = (code >> (u32::from(i) * u32::from(size))) & ((1u128 << size) - 1) as u64;
            let all = unit.to_le_bytes();
            let mut part = all[..usize::from(size / 8)].to_vec();
            if self.big_endian(setting) {
                part.reverse();
            }
            bytes.extend(part);
        }
        bytes
    }

    /// Fills in the fields of `code` and the where names.
    pub fn fill(&self, env: &mut Env<'_>, encoding: &EncodingTable, code: u64) {
        for f in &encoding.fields {
            let value = f.pieces.iter().fold(0u128, |all, (lo, w)| all << w | u128::from(code >> lo) & ((1 << w) - 1));
            env.locals[f.local as usize] = Some(Val::Bits(value));
        }
        for (local, e) in &encoding.wheres {
            let value = env.eval(e);
            env.locals[*local as usize] = value;
        }
    }

    /// The encoding of an instruction word, by the specification's order.
    pub fn decode(&self, setting: &Setting, bits: u8, code: u64) -> Option<Decoded> {
        let token = self.token(setting)? as u32;
        for (i, e) in self.tables.encodings.iter().enumerate() {
            if e.token != token || e.bits != bits || code & e.mask != e.value {
                continue;
            }
            let mut env = self.env(setting, e);
            self.fill(&mut env, e, code);
            if e.condition.as_ref().is_some_and(|c| env.holds(c) != Some(true)) {
                continue;
            }
            let guard = e.guards.iter().find(|(g, _)| env.holds(g) != Some(true)).map(|g| g.1);
            return Some(Decoded { encoding: i, locals: env.locals, guard });
        }
        None
    }

    /// The assembly text of a decoded instruction. `None`: it has no text (undefined, or a value without a name).
    pub fn print(&self, setting: &Setting, decoded: &Decoded) -> Option<String> {
        let e = &self.tables.encodings[decoded.encoding];
        let mut env = self.env(setting, e);
        env.locals.clone_from(&decoded.locals);
        let template = e.asm.iter().find(|(when, _)| when.as_ref().is_none_or(|w| env.holds(w) == Some(true)))?;
        let mut out = String::new();
        self.print_pieces(&env, &template.1, &mut out)?;
        Some(out.trim_end().to_string())
    }

    /// Decodes and prints.
    pub fn disassemble(&self, setting: &Setting, bits: u8, code: u64) -> Option<String> {
        let decoded = self.decode(setting, bits, code)?;
        if decoded.guard == Some(Otherwise::Undefined) {
            return None;
        }
        self.print(setting, &decoded)
    }

    fn print_pieces(&self, env: &Env<'_>, pieces: &[Piece], out: &mut String) -> Option<()> {
        for piece in pieces {
            match piece {
                Piece::Text(t) => out.push_str(t),
                Piece::Choice(c, a, b) => self.print_pieces(env, if env.holds(c)? { a } else { b }, out)?,
                Piece::Value(e, printer) => {
                    let value = env.bits(e)?;
                    out.push_str(&self.print_value(value, e.width, *printer)?);
                }
            }
        }
        Some(())
    }

    fn print_value(&self, value: u128, width: u8, printer: Printer) -> Option<String> {
        Some(match printer {
            Printer::Dec if width == 0 => format!("{}", value as i128),
            Printer::Dec => format!("{value}"),
            Printer::Hex | Printer::Addr => format!("{value:#x}"),
            Printer::Sdec => {
                let shift = 128 - u32::from(if width == 0 { 128 } else { width });
                format!("{}", ((value << shift) as i128) >> shift)
            }
            Printer::Enum(e) => self.tables.enums.get(e as usize)?.values.get(usize::try_from(value).ok()?)?.first()?.clone(),
            Printer::List(e) => {
                let names = &self.tables.enums.get(e as usize)?.values;
                let name = |i: usize| names.get(i).and_then(|n| n.first()).cloned();
                let mut parts = Vec::new();
                let mut i = 0;
                while i < 128 {
                    if value >> i & 1 == 0 {
                        i += 1;
                        continue;
                    }
                    let mut last = i;
                    // sp, lr and pc are listed one by one, as assemblers do: a range joins only numbered names.
                    let numbered = |i: usize| name(i).is_some_and(|n| n.ends_with(|c: char| c.is_ascii_digit()));
                    while last + 1 < 128 && value >> (last + 1) & 1 == 1 && numbered(last + 1) && numbered(i) {
                        last += 1;
                    }
                    parts.push(match last - i {
                        0 => name(i)?,
                        1 => format!("{}, {}", name(i)?, name(last)?),
                        _ => format!("{}-{}", name(i)?, name(last)?),
                    });
                    i = last + 1;
                }
                format!("{{{}}}", parts.join(", "))
            }
        })
    }
}

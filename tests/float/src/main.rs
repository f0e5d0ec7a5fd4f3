//! Compares softfloat with floating-point units: the host's SSE and x87, and those of other CPUs as QEMU has them, through `oracle.c`.
//!
//! For each operation, format, rounding and mode: every edge value with every other (with `--edges`), then random operands of many kinds. Results
//! and flags must be equal. `run.sh` builds the oracles and names those that cannot be built here.

mod operands;
mod peers;

use clap::Parser;
use emu_softfloat::{Env, Flags, Fmt, Round};
use operands::{Random, edges};
use peers::{PEERS, Peer};
use std::cmp::Ordering;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::process::{Command, ExitCode, Stdio};

/// What is asked; numbered as in `oracle.c`.
#[allow(missing_docs, reason = "named as what they are")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Sqrt,
    /// Operands: addend, factors.
    Fma,
    RoundToInt,
    ToS32,
    ToU32,
    ToS64,
    ToU64,
    FromS32,
    FromU32,
    FromS64,
    FromU64,
    ToF16,
    ToF32,
    ToF64,
    ToF80,
    ToF128,
    Compare,
    CompareSignalling,
}

impl Op {
    fn operands(self) -> usize {
        match self {
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Compare | Op::CompareSignalling => 2,
            Op::Fma => 3,
            _ => 1,
        }
    }
}

/// Roundings, numbered as in `oracle.c`.
const ROUNDS: [Round; 4] = [Round::NearestEven, Round::Zero, Round::Up, Round::Down];

/// A question.
#[derive(Clone, Copy, Debug)]
struct Question {
    op: Op,
    fmt: Fmt,
    round: u8,
    mode: u8,
    x: [u128; 3],
}

impl Question {
    fn bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        let fmt = [Fmt::F16, Fmt::F32, Fmt::F64, Fmt::F80, Fmt::F128].iter().position(|f| *f == self.fmt);
        bytes[..4].copy_from_slice(&[self.op as u8, fmt.unwrap_or(0) as u8, self.round, self.mode]);
        for (place, x) in bytes[16..].chunks_exact_mut(16).zip(self.x) {
            place.copy_from_slice(&x.to_le_bytes());
        }
        bytes
    }

    /// What softfloat answers.
    fn ours(&self, env: &Env, sticky: Flags) -> (u128, Flags) {
        let (fmt, [a, b, c], round) = (self.fmt, self.x, env.round);
        let mut raised = sticky;
        let flags = &mut raised;
        let relation = |found: Option<Ordering>| match found {
            Some(Ordering::Less) => 0,
            Some(Ordering::Equal) => 1,
            Some(Ordering::Greater) => 2,
            None => 3,
        };
        let value = match self.op {
            Op::Add => fmt.add(a, b, env, flags),
            Op::Sub => fmt.sub(a, b, env, flags),
            Op::Mul => fmt.mul(a, b, env, flags),
            Op::Div => fmt.div(a, b, env, flags),
            Op::Sqrt => fmt.sqrt(a, env, flags),
            Op::Fma => fmt.fma(a, b, c, env, flags),
            Op::RoundToInt => fmt.round_to_int(a, round, true, env, flags),
            Op::ToS32 => fmt.to_int(a, true, 32, 0, round, env, flags).into(),
            Op::ToU32 => fmt.to_int(a, false, 32, 0, round, env, flags).into(),
            Op::ToS64 => fmt.to_int(a, true, 64, 0, round, env, flags).into(),
            Op::ToU64 => fmt.to_int(a, false, 64, 0, round, env, flags).into(),
            Op::FromS32 => fmt.from_int(a as u64, true, 32, 0, round, env, flags),
            Op::FromU32 => fmt.from_int(a as u64, false, 32, 0, round, env, flags),
            Op::FromS64 => fmt.from_int(a as u64, true, 64, 0, round, env, flags),
            Op::FromU64 => fmt.from_int(a as u64, false, 64, 0, round, env, flags),
            Op::ToF16 => fmt.convert(Fmt::F16, a, env, flags),
            Op::ToF32 => fmt.convert(Fmt::F32, a, env, flags),
            Op::ToF64 => fmt.convert(Fmt::F64, a, env, flags),
            Op::ToF80 => fmt.convert(Fmt::F80, a, env, flags),
            Op::ToF128 => fmt.convert(Fmt::F128, a, env, flags),
            Op::Compare => relation(fmt.compare(a, b, env, flags)),
            Op::CompareSignalling => relation(fmt.compare_signalling(a, b, env, flags)),
        };
        (value, raised)
    }
}

/// Compares softfloat with floating-point units.
#[derive(Parser)]
struct Arguments {
    /// Which units; all if none is named
    peers: Vec<String>,
    /// Random operands for each operation, format, rounding and mode
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// Also every edge value with every other
    #[arg(long)]
    edges: bool,
    /// Start of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder of the built oracles
    #[arg(long, default_value = "target/float")]
    oracles: String,
    /// Our own binary, for the unit `emu`
    #[arg(long, default_value = "target/release/emu")]
    emu: String,
}

/// All questions of one operation and format for a peer, in an order that repeats itself.
fn questions(peer: &Peer, op: Op, fmt: Fmt, arguments: &Arguments, mut ask: impl FnMut(Question) -> io::Result<()>) -> io::Result<()> {
    let mut random = Random::new(arguments.seed ^ (op as u64) << 32 ^ u64::from(fmt.width()) << 40);
    let integers = matches!(op, Op::FromS32 | Op::FromU32 | Op::FromS64 | Op::FromU64);
    for &mode in peer.modes {
        for round in 0..4 {
            let question = |x| Question { op, fmt, round, mode, x };
            if arguments.edges && !integers {
                let edges = edges(fmt);
                for &a in &edges {
                    match op.operands() {
                        1 => ask(question([a, 0, 0]))?,
                        2 => edges.iter().try_for_each(|&b| ask(question([a, b, 0])))?,
                        _ => edges.iter().try_for_each(|&b| ask(question([a, b, edges[random.below(edges.len())]])))?,
                    }
                }
            }
            for _ in 0..arguments.count {
                let x = if integers { [random.integer().into(), 0, 0] } else { operands::some(fmt, op.operands(), &mut random) };
                ask(question(x))?;
            }
        }
    }
    Ok(())
}

/// Differences shown for each operation and format.
const SHOWN: usize = 4;

/// Compares one operation and format: how many questions, how many differences.
fn compare(peer: &Peer, op: Op, fmt: Fmt, arguments: &Arguments) -> io::Result<(usize, usize)> {
    let runner = |name: &&str| if *name == "emu" { arguments.emu.clone() } else { name.to_string() };
    let mut command = Command::new(peer.runner.first().map_or(format!("{}/{}", arguments.oracles, peer.oracle), runner));
    if !peer.runner.is_empty() {
        command.args(&peer.runner[1..]).arg(format!("{}/{}", arguments.oracles, peer.oracle));
    }
    let mut child = command.arg(peer.name).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let broken = || io::Error::other("the oracle has no pipes");
    let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else { return Err(broken()) };
    let (mut asked, mut wrong) = (0, 0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut to = BufWriter::new(to);
            questions(peer, op, fmt, arguments, |q| to.write_all(&q.bytes())).and_then(|()| to.flush())
        });
        let mut from = BufReader::new(from);
        let read = questions(peer, op, fmt, arguments, |q| {
            let mut answer = [0; 32];
            from.read_exact(&mut answer)?;
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&answer[..16]);
            let theirs = (u128::from_le_bytes(bytes), Flags(answer[16] & peer.flags));
            let env = (peer.env)(q.mode, ROUNDS[usize::from(q.round)]);
            let (value, raised) = q.ours(&env, (peer.sticky)(q.mode));
            let ours = (value, Flags(raised.0 & peer.flags));
            asked += 1;
            if ours != theirs && !(peer.excused)(&q.op, q.fmt, &q.x, ours, theirs) {
                wrong += 1;
                if wrong <= SHOWN {
                    println!(
                        "  {:?} {:?} {:?} mode {}: {:x?}\n    ours   {:#x} {:?}\n    theirs {:#x} {:?}",
                        q.op,
                        q.fmt,
                        env.round,
                        q.mode,
                        &q.x[..q.op.operands()],
                        ours.0,
                        ours.1,
                        theirs.0,
                        theirs.1
                    );
                }
            }
            Ok(())
        });
        let written = writer.join().unwrap_or_else(|_| Err(broken()));
        read.and(written)
    })?;
    child.wait()?;
    Ok((asked, wrong))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut failed = false;
    for name in &arguments.peers {
        if !PEERS.iter().any(|p| p.name == name) {
            eprintln!("there is no unit `{name}`: {}", PEERS.iter().map(|p| p.name).collect::<Vec<_>>().join(" "));
            failed = true;
        }
    }
    for peer in PEERS.iter().filter(|p| arguments.peers.is_empty() || arguments.peers.iter().any(|n| n == p.name)) {
        let (mut asked, mut wrong) = (0, 0);
        for (ops, fmt) in peer.asks {
            for &op in *ops {
                match compare(peer, op, *fmt, &arguments) {
                    Ok((n, bad)) => (asked, wrong) = (asked + n, wrong + bad),
                    Err(e) => {
                        println!("  {op:?} {fmt:?}: {e}");
                        wrong += 1;
                    }
                }
            }
        }
        println!("{}: {asked} questions to {}, {wrong} differences", if wrong == 0 { "ok" } else { "FAILED" }, peer.title);
        failed |= wrong > 0;
    }
    ExitCode::from(u8::from(failed))
}

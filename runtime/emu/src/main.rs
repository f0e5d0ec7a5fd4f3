//! `emu`: command line -> board -> machine -> run.

mod binfmt;
mod build;
mod code_cache;
mod commands;
mod console;
mod cpus;
mod debugger;
mod doc;
mod jit;
mod start;
mod tiers;
mod user;

use clap::{Args, Parser, Subcommand};
use emu_boards::tree::{number, size_text};
use emu_boards::{Board, Plan, Request};
use emu_host::chardev::{self, Backend};
use emu_host::terminal::{self, Command as Key};
use emu_ir::interp::{CODE_CACHE, PerfMap};
use emu_machine::schema::Registry;
use emu_machine::{Exit, Machine, TimeMode};
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Usage or board error.
const USAGE: i32 = 2;

/// A machine emulator whose machines and instruction sets are data.
#[derive(Parser, Debug)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

impl Cli {
    /// The filter of what to log.
    fn trace(&self) -> Option<String> {
        match &self.command {
            Some(Command::Jit { command: jit::Jit::Explain(explain) }) => explain.run.trace.clone(),
            // What comes behind `run` is the program's; its `--trace` is another.
            Some(Command::Run(_)) => std::env::var("EMU_TRACE").ok(),
            _ => self.run.trace.clone(),
        }
    }
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Look at boards without running them
    Board {
        #[command(subcommand)]
        command: commands::Board,
    },
    /// Look at device types
    Device {
        #[command(subcommand)]
        command: commands::Device,
    },
    /// Work with instruction sets
    Isa {
        #[command(subcommand)]
        command: commands::Isa,
    },
    /// Look at generated code
    Jit {
        #[command(subcommand)]
        command: jit::Jit,
    },
    /// Run one Linux program compiled for another CPU
    Run(user::Run),
}

/// How to find and change a board.
#[derive(Args, Debug, Clone, Default)]
pub struct BoardArgs {
    /// Choose a variant of the board
    #[arg(long, value_name = "NAME")]
    variant: Vec<String>,
    /// Change a property: `uart0.chardev=null`, `ram=1G`
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Add nodes to the board
    #[arg(long = "add", value_name = "KDL")]
    adds: Vec<String>,
    /// Number of CPUs
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Size of the main memory
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
}

impl BoardArgs {
    fn request(&self, board: &str) -> Request {
        let mut sets = self.sets.clone();
        sets.extend(self.cpus.map(|n| format!("ncpu={n}")));
        sets.extend(self.memory.as_ref().map(|m| format!("ram={m}")));
        Request { board: board.to_string(), variants: self.variant.clone(), sets, adds: self.adds.clone() }
    }
}

/// How to run a board.
#[derive(Args, Debug)]
pub struct Run {
    /// The board: a file, or the name of a built-in board
    #[arg(long, value_name = "FILE")]
    board: Option<String>,
    #[command(flatten)]
    change: BoardArgs,
    /// Kernel: zImage, uImage, ELF or raw; gzip and xz are undone
    #[arg(long, value_name = "FILE")]
    kernel: Option<String>,
    /// Initial RAM disk
    #[arg(long, value_name = "FILE")]
    initrd: Option<String>,
    /// Device tree blob; without it one is made from the board
    #[arg(long, value_name = "FILE")]
    dtb: Option<String>,
    /// Kernel command line
    #[arg(long, value_name = "TEXT")]
    append: Option<String>,
    /// Firmware instead of the board's own
    #[arg(long, value_name = "FILE")]
    firmware: Option<String>,
    /// Connect a serial port: stdio, null, file:PATH, pty, unix:PATH[,server], tcp:HOST:PORT[,server]
    #[arg(long, value_name = "NAME=BACKEND")]
    serial: Vec<String>,
    /// How guest time passes: realtime, virtual[=IPS], deterministic
    #[arg(long, value_name = "MODE", default_value = "realtime")]
    time: String,
    #[command(flatten)]
    tiers: tiers::TierArgs,
    /// Generated code each CPU keeps before all is forgotten, such as 1M
    #[arg(long, value_name = "SIZE", value_parser = code_cache)]
    code_cache_size: Option<usize>,
    /// Let GDB connect: [HOST:]PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    gdb: Option<String>,
    /// Do not run before a debugger has connected
    #[arg(long, requires = "gdb")]
    paused: bool,
    /// End with 0 when this text appears on the console
    #[arg(long, value_name = "TEXT")]
    exit_on: Option<String>,
    /// End with 1 when this text appears on the console
    #[arg(long, value_name = "TEXT")]
    fail_on: Option<String>,
    /// End with 124 after so many seconds of host time
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// End with 0 when the guest resets the machine
    #[arg(long)]
    no_reboot: bool,
    /// Print counters at the end (or write them as JSON)
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    stats: Option<String>,
    /// Name generated code for Linux perf, in /tmp/perf-PID.map
    #[arg(long)]
    perf_map: bool,
    /// What to log: a `tracing` filter such as `dev=trace`
    #[arg(long, value_name = "FILTER")]
    trace: Option<String>,
    /// Say more
    #[arg(short, long)]
    verbose: bool,
}

/// All types this program knows.
fn registry() -> Registry {
    Registry { devices: emu_devices::registry(), cpus: vec![cpus::ARM, cpus::MICROBLAZE] }
}

/// Loads and checks a board; prints what is wrong.
fn board(request: &Request, registry: &Registry) -> Result<(Board, Plan), i32> {
    let board = emu_boards::load(request);
    let problems = emu_boards::check(&board, registry);
    if !problems.is_empty() {
        eprint!("{}", emu_boards::diagnostic::render(&problems, &board.sources));
    }
    if emu_boards::diagnostic::has_errors(&problems) {
        return Err(USAGE);
    }
    let plan = emu_boards::plan(&board, registry).0;
    Ok((board, plan))
}

/// A size for the code cache.
fn code_cache(text: &str) -> Result<usize, String> {
    let size = number(text).ok_or("it is no size such as 64M")?;
    usize::try_from(size).ok().filter(|bytes| CODE_CACHE.contains(bytes)).ok_or_else(|| {
        let [least, most] = [CODE_CACHE.start(), CODE_CACHE.end()].map(|bytes| size_text(*bytes as i128));
        format!("it must be between {least} and {most}")
    })
}

fn time_mode(text: &str) -> Result<TimeMode, String> {
    let (name, rate) = text.split_once('=').map_or((text, None), |(n, r)| (n, Some(r)));
    let ips = match rate {
        None => emu_machine::time::DEFAULT_IPS,
        Some(r) => r
            .replace('_', "")
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| format!("--time {text}: `{r}` is no number of instructions per second"))?,
    };
    match (name, rate) {
        ("realtime", None) => Ok(TimeMode::Realtime),
        ("virtual", _) => Ok(TimeMode::Virtual(ips)),
        ("deterministic", None) => Ok(TimeMode::Deterministic(ips)),
        _ => Err(format!("--time {text}: unknown mode\n  help: realtime, virtual[=IPS] or deterministic")),
    }
}

/// Assembles a `code` node.
fn assemble(isa: &str, at: u64, text: &str) -> Result<Vec<u8>, Vec<(usize, String)>> {
    let Some(tables) = cpus::assembler(isa) else { return Err(vec![(1, format!("there is no instruction set `{isa}`"))]) };
    match emu_asm::source::assemble(&tables, &tables.setting(""), "code", text, at, &[]) {
        Ok(object) => Ok(object.bytes),
        Err(all) => Err(all.into_iter().map(|e| (e.line, e.message)).collect()),
    }
}

/// The machine of a board, with its start, not yet reset.
fn machine(board: &Board, plan: &Plan, wanted: &start::Wanted, time: TimeMode) -> Result<Machine, String> {
    let mut adapter = build::Adapter { builder: Default::default(), plan };
    let code = emu_boards::realise::realise(board, plan, &mut adapter, &assemble)
        .map_err(|p| emu_boards::diagnostic::render(&p, &board.sources))?;
    let mut machine = adapter.builder.build(time);
    let (images, starts) = start::start(wanted, board, plan, &code)?;
    machine.images = images;
    machine.starts = starts;
    Ok(machine)
}

/// Connects the serial ports; gives nothing back, as outputs live in the machine.
fn serials(run: &Run, board: &Board, plan: &Plan, machine: &mut Machine) -> Result<(), String> {
    let mut asked: Vec<(String, Backend)> = Vec::new();
    for s in &run.serial {
        let (name, backend) = s.split_once('=').unwrap_or(("serial0", s));
        asked.push((name.to_string(), backend.parse().map_err(|e: chardev::Error| e.to_string())?));
    }
    let ports: Vec<usize> = (0..board.devices.len()).filter(|i| plan.devices[*i].kind.is_some_and(|k| !k.chardevs.is_empty())).collect();
    let named = |name: &str| {
        let direct = ports.iter().copied().find(|i| board.devices[*i].name.text() == name);
        direct.or_else(|| {
            let target = board.aliases.iter().find(|a| a.0.text == name)?.1.text().to_string();
            ports.iter().copied().find(|i| board.devices[*i].name.text() == target)
        })
    };
    let mut backends: Vec<Option<Backend>> = vec![None; board.devices.len()];
    for (name, backend) in asked {
        let Some(i) = named(&name) else {
            let known: Vec<&str> = ports.iter().map(|i| board.devices[*i].name.text()).collect();
            return Err(format!("--serial {name}: there is no such serial port\n  help: this board has {}", known.join(", ")));
        };
        backends[i] = Some(backend);
    }
    let stdio_taken = backends.iter().flatten().any(|b| *b == Backend::Stdio);
    for i in ports {
        let default = board.devices[i].chardev.as_ref().map(|c| c.text().to_string());
        let backend = match (backends[i].take(), default) {
            (Some(b), _) => b,
            (None, Some(d)) => match d.parse::<Backend>() {
                Ok(Backend::Stdio) if stdio_taken => Backend::Null,
                Ok(b) => b,
                Err(e) => return Err(e.to_string()),
            },
            (None, None) => Backend::Null,
        };
        let (input, keys) = (machine.handle(), machine.handle());
        let mut output = chardev::open(
            &backend,
            Arc::new(move |bytes| input.input(i, 0, bytes)),
            Arc::new(move |key| match key {
                Key::Quit => keys.stop(0),
                Key::Help => eprint!("{}", terminal::HELP),
                Key::Monitor => eprint!("\r\nthere is no monitor yet\r\n"),
            }),
        )
        .map_err(|e| e.to_string())?;
        let mut watch = console::Watch::new(run.exit_on.as_deref(), run.fail_on.as_deref());
        let handle = machine.handle();
        machine.connect(
            i,
            0,
            Box::new(move |bytes| {
                output.send(bytes);
                if let Some(code) = watch.feed(bytes) {
                    handle.stop(code);
                }
            }),
        );
    }
    Ok(())
}

/// What is done with the machine when it has run; its text goes to standard output.
type Last<'a> = &'a mut dyn FnMut(&mut Machine, &Board) -> String;

/// Runs a board to its end, or until its CPUs have executed this many instructions.
fn run(run: &Run, after: Option<u64>, last: Last<'_>) -> Result<i32, (i32, String)> {
    let usage = |e: String| (USAGE, e);
    let Some(name) = &run.board else {
        return Err(usage("which board?\n  help: --board FILE, or the name of a built-in board (`emu board list`)".into()));
    };
    let registry = registry();
    let (board, plan) = board(&run.change.request(name), &registry).map_err(|code| (code, String::new()))?;
    let time = time_mode(&run.time).map_err(usage)?;
    let wanted = start::Wanted {
        kernel: run.kernel.clone(),
        initrd: run.initrd.clone(),
        dtb: run.dtb.clone(),
        append: run.append.clone(),
        firmware: run.firmware.clone(),
    };
    let mut machine = machine(&board, &plan, &wanted, time).map_err(usage)?;
    if let Some(bytes) = run.code_cache_size {
        machine.set_code_cache(bytes);
    }
    machine.use_tiers(&run.tiers.tiers());
    let store = run.tiers.store(Ok);
    if let Some(store) = &store {
        machine.use_store(store);
    }
    if let Some(map) = perf_map(run.perf_map).map_err(usage)? {
        machine.set_perf_map(&map);
    }
    machine.no_reboot = run.no_reboot;
    machine.reset().map_err(usage)?;
    serials(run, &board, &plan, &mut machine).map_err(usage)?;
    let handle = machine.handle();
    if let Ok(mut signals) = signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM]) {
        let handle = handle.clone();
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                handle.stop(130);
            }
        });
    }
    if let Some(seconds) = run.timeout {
        let handle = handle.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(seconds));
            handle.stop(124);
        });
    }
    if run.verbose {
        eprintln!("board {}, time {:?}", board.name, time);
    }
    let listener = run.gdb.as_deref().map(debugger::Listener::new).transpose().map_err(usage)?;
    let started = Instant::now();
    let exit = match &listener {
        Some(listener) => debugger::run(&mut machine, listener, run.paused),
        None => run_for(&mut machine, after),
    };
    let elapsed = started.elapsed();
    let report = report(run, &machine, elapsed);
    let text = last(&mut machine, &board);
    // Everything the guest wrote is out before we speak, and before the terminal is given back.
    drop(machine);
    terminal::restore();
    if let Some(store) = &store {
        store.save();
    }
    eprint!("{report}");
    print!("{text}");
    match exit {
        Ok(Exit::Stopped(code)) => Ok(code),
        Ok(Exit::Reset | Exit::Paused | Exit::Debug(..)) => Ok(0),
        Err(e) => Err((USAGE, e)),
    }
}

/// The map for `perf`, if it is wanted.
fn perf_map(wanted: bool) -> Result<Option<Arc<PerfMap>>, String> {
    let create = || PerfMap::create().map_err(|e| format!("--perf-map: cannot create {}: {e}", PerfMap::path().display()));
    wanted.then(create).transpose()
}

/// Runs to the end, or until so many instructions have been executed.
fn run_for(machine: &mut Machine, after: Option<u64>) -> Result<Exit, String> {
    let Some(after) = after else { return machine.run() };
    while machine.executed().iter().sum::<u64>() < after {
        if let Some(exit) = machine.round()? {
            return Ok(exit);
        }
    }
    Ok(Exit::Paused)
}

/// What `--stats` and `-v` say at the end; statistics for a file are written to it.
fn report(run: &Run, machine: &Machine, elapsed: Duration) -> String {
    let mut text = String::new();
    let total: u64 = machine.executed().iter().sum();
    let seconds = elapsed.as_secs_f64();
    let mips = total as f64 / seconds.max(1e-9) / 1e6;
    match run.stats.as_deref() {
        Some("-") => {
            let guest = machine.now().0 as f64 / 1e9;
            _ = writeln!(text, "\n{total} guest instructions in {seconds:.3} s: {mips:.1} MIPS; guest time {guest:.3} s");
            for (i, counters) in machine.counters().iter().enumerate() {
                let counters: Vec<String> = counters.iter().map(|(n, v)| format!("{n} {v}")).collect();
                _ = writeln!(text, "cpu{i}: {}", counters.join(", "));
            }
        }
        Some(file) => {
            let cpus: Vec<serde_json::Value> = machine
                .counters()
                .iter()
                .map(|c| c.iter().map(|(n, v)| ((*n).to_string(), serde_json::json!(v))).collect::<serde_json::Map<_, _>>().into())
                .collect();
            let all =
                serde_json::json!({ "instructions": total, "seconds": seconds, "mips": mips, "guest_ns": machine.now().0, "cpus": cpus });
            if let Err(e) = std::fs::write(file, format!("{all:#}\n")) {
                _ = writeln!(text, "cannot write {file}: {e}");
            }
        }
        None => {}
    }
    if run.verbose {
        for s in machine.stubs() {
            _ = writeln!(text, "stub {}: {} reads, {} writes", s.name, s.reads, s.writes);
        }
    }
    text
}

fn main() -> ExitCode {
    let cli = match binfmt::command(std::env::args_os()).filter(|_| binfmt::started()) {
        Some(command) => Cli::parse_from(command),
        None => Cli::parse(),
    };
    let filter = cli.trace().unwrap_or_else(|| "warn".into());
    match filter.parse::<tracing_subscriber::EnvFilter>() {
        Ok(f) => tracing_subscriber::fmt().with_env_filter(f).with_writer(std::io::stderr).without_time().with_target(false).init(),
        Err(e) => {
            eprintln!("error: --trace {filter}: {e}");
            return ExitCode::from(USAGE as u8);
        }
    }
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        terminal::restore();
        hook(info);
    }));
    let result = match cli.command {
        None => run(&cli.run, None, &mut |_, _| String::new()),
        Some(Command::Board { command }) => commands::board(&command),
        Some(Command::Device { command }) => commands::device(&command),
        Some(Command::Isa { command }) => commands::isa(&command),
        Some(Command::Jit { command }) => jit::jit(&command),
        Some(Command::Run(run)) => user::run(&run),
    };
    terminal::restore();
    match result {
        Ok(code) => ExitCode::from(code as u8),
        Err((code, message)) => {
            if !message.is_empty() {
                eprintln!("error: {}", message.trim_end());
            }
            ExitCode::from(code as u8)
        }
    }
}

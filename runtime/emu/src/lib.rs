//! `emu`: command line -> board -> machine -> run. [`guest::Guest`] boots a machine and talks to its console from Rust.

mod backends;
mod binfmt;
mod build;
mod code_cache;
mod commands;
mod console;
mod cpus;
mod debugger;
mod devices;
mod doc;
mod expect;
pub mod guest;
mod image;
mod import;
mod jit;
mod monitor;
mod qtest;
mod start;
mod tiers;
mod user;

use clap::{Args, Parser, Subcommand};
use emu_boards::board::Code;
use emu_boards::tree::{number, size_text};
use emu_boards::{Board, Plan, Request};
use emu_debug::qmp::Qmp;
use emu_host::terminal;
use emu_ir::interp::{CODE_CACHE, PerfMap};
use emu_machine::control::Cause;
use emu_machine::record::Replayed;
use emu_machine::schema::Registry;
use emu_machine::{Exit, Goal, Machine, TimeMode};
use std::fmt::Write as _;
use std::path::PathBuf;
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
    /// Make, copy and check disk images
    Image {
        #[command(subcommand)]
        command: image::Image,
    },
    /// Run the `expect` blocks of board files
    Test(expect::Test),
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
    /// Plug something into `usb0`; several hang on a hub
    #[arg(long, value_name = "PART", value_parser = ["kbd", "tablet", "mouse", "storage"])]
    usb: Vec<String>,
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
        let adds = [&self.adds[..], &self.plugged()].concat();
        Request { board: board.to_string(), variants: self.variant.clone(), sets, adds }
    }

    /// Nodes for what is plugged into USB, called as on the command line; the second of a kind has a number.
    fn plugged(&self) -> Vec<String> {
        let hub = (self.usb.len() > 1).then(|| r#"device "usb-hub" type="usb-hub-8" on="usb0" at=1"#.to_string());
        let on = if hub.is_some() { "usb-hub" } else { "usb0" };
        let part = |(i, part): (usize, &String)| {
            let before = self.usb[..i].iter().filter(|other| *other == part).count();
            let number = if before > 0 { (before + 1).to_string() } else { String::new() };
            format!(r#"device "{part}{number}" type="usb-{part}" on="{on}" at={}"#, i + 1)
        };
        hub.into_iter().chain(self.usb.iter().enumerate().map(part)).collect()
    }

    /// As flags of the command line.
    fn flags(&self) -> Vec<String> {
        let each = |flag: &'static str, values: &[String]| values.iter().map(move |v| format!("--{flag}={v}")).collect::<Vec<_>>();
        let mut flags = [each("variant", &self.variant), each("set", &self.sets), each("add", &self.adds), each("usb", &self.usb)].concat();
        flags.extend(self.cpus.map(|n| format!("--cpus={n}")));
        flags.extend(self.memory.as_ref().map(|m| format!("--memory={m}")));
        flags
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
    /// Connect a serial port: stdio, null, file:PATH[,append], pty, unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT; sockets with
    /// ,server ,wait ,reconnect=SECONDS
    #[arg(long, value_name = "NAME=BACKEND")]
    serial: Vec<String>,
    /// Put a disk image into a drive: a name of the board's, such as sd0
    #[arg(long, value_name = "SLOT=FILE[,OPTION]...")]
    drive: Vec<String>,
    /// Connect a network port: none, user[,OPTION]..., tap:IF, socket:..., cable:NIC; with ,dump=FILE.pcap
    #[arg(long, value_name = "NIC=BACKEND")]
    net: Vec<String>,
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
    /// Do not run before a debugger has connected, or the monitor lets it
    #[arg(long)]
    paused: bool,
    /// Let a client test the devices by QEMU's qtest protocol, while no CPU runs: stdio, unix:PATH[,server], tcp:HOST:PORT[,server]
    #[arg(long, value_name = "BACKEND", conflicts_with_all = ["gdb", "time"])]
    qtest: Option<String>,
    /// Where to log what the client says and hears, instead of the standard error stream; none: nowhere
    #[arg(long, value_name = "FILE", requires = "qtest")]
    qtest_log: Option<String>,
    /// Connect a monitor: stdio, pty, unix:PATH[,server], tcp:HOST:PORT[,server]; on a terminal Ctrl-A c is one
    #[arg(long, value_name = "BACKEND")]
    monitor: Vec<String>,
    /// Connect a control socket that speaks QMP: unix:PATH[,server], tcp:HOST:PORT[,server]
    #[arg(long, value_name = "BACKEND")]
    qmp: Vec<String>,
    /// End with 0 when this text appears on the console
    #[arg(long, value_name = "TEXT")]
    exit_on: Option<String>,
    /// End with 1 when this text appears on the console
    #[arg(long, value_name = "TEXT")]
    fail_on: Option<String>,
    /// End with 124 after so many seconds of host time
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Go on from a snapshot of the same board, instead of starting it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "initrd", "dtb", "append", "firmware"])]
    load_snapshot: Option<PathBuf>,
    /// Where the monitor's snapshots are that have only a name
    #[arg(long, value_name = "DIR", default_value = ".")]
    snapshot_dir: PathBuf,
    /// Save a snapshot when the run ends by --exit-on or --after
    #[arg(long, value_name = "FILE")]
    save_snapshot: Option<PathBuf>,
    /// Record what comes from outside, for --replay
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Have everything happen again that was recorded
    #[arg(long, value_name = "FILE", conflicts_with_all = ["load_snapshot", "kernel", "initrd", "dtb", "append", "firmware"])]
    replay: Option<PathBuf>,
    /// End with 0 when the CPUs have executed so many instructions together: exactly, where these are time
    #[arg(long, value_name = "N")]
    after: Option<u64>,
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
fn assemble(code: &Code) -> Result<Vec<u8>, Vec<(usize, String)>> {
    let isa = code.isa.text();
    let Some(tables) = cpus::assembler(isa) else { return Err(vec![(1, format!("there is no instruction set `{isa}`"))]) };
    let model = code.model.as_ref().map_or("", |m| m.text());
    if !model.is_empty() && !tables.models().contains(&model) {
        return Err(vec![(1, format!("instruction set `{isa}` has no model `{model}`: {}", tables.models().join(", ")))]);
    }
    match emu_asm::source::assemble(&tables, &tables.setting(model), "code", code.asm.text(), code.at.v, &[]) {
        Ok(object) => Ok(object.bytes),
        Err(all) => Err(all.into_iter().map(|e| (e.line, e.message)).collect()),
    }
}

/// The machine of a board, not yet reset, with what it is to start, if that is known.
fn machine(board: &Board, plan: &Plan, wanted: Option<&start::Wanted>, time: TimeMode) -> Result<Machine, String> {
    let mut adapter = build::Adapter { builder: Default::default(), plan };
    let code = emu_boards::realise::realise(board, plan, &mut adapter, &assemble)
        .map_err(|p| emu_boards::diagnostic::render(&p, &board.sources))?;
    let mut machine = adapter.builder.build(time);
    if let Some(wanted) = wanted {
        (machine.images, machine.starts) = start::start(wanted, board, plan, &code)?;
    }
    Ok(machine)
}

/// What is done with the machine when it has run; its text goes to standard output.
type Last<'a> = &'a mut dyn FnMut(&mut Machine, &Board) -> String;

/// A board, made and connected, before its first instruction.
struct Ready {
    board: Board,
    plan: Plan,
    machine: Machine,
    store: Option<Arc<emu_store::Store>>,
    /// Control sockets.
    sockets: Vec<Qmp>,
}

/// Makes the machine. `counted`: somebody asks how many instructions it executes; `console`: who takes the place of the standard streams.
fn set_up(run: &Run, counted: bool, console: Option<backends::Console>) -> Result<Ready, (i32, String)> {
    let usage = |e: String| (USAGE, e);
    let Some(name) = &run.board else {
        return Err(usage("which board?\n  help: --board FILE, or the name of a built-in board (`emu board list`)".into()));
    };
    if run.paused && run.gdb.is_none() && run.monitor.is_empty() && run.qmp.is_empty() && !rustix::termios::isatty(std::io::stdin()) {
        return Err(usage("--paused: nobody could let it go on\n  help: with --gdb, --monitor or --qmp".into()));
    }
    let registry = registry();
    let (board, plan) = board(&run.change.request(name), &registry).map_err(|code| (code, String::new()))?;
    let time = match run.qtest {
        // The client says when time passes.
        Some(_) => TimeMode::Deterministic(emu_machine::time::DEFAULT_IPS),
        None => time_mode(&run.time).map_err(usage)?,
    };
    let wanted = start::Wanted {
        kernel: run.kernel.clone(),
        initrd: run.initrd.clone(),
        dtb: run.dtb.clone(),
        append: run.append.clone(),
        firmware: run.firmware.clone(),
        nothing: run.qtest.is_some(),
    };
    let mut machine =
        machine(&board, &plan, (run.load_snapshot.is_none() && run.replay.is_none()).then_some(&wanted), time).map_err(usage)?;
    if let Some(bytes) = run.code_cache_size {
        machine.set_code_cache(bytes);
    }
    if run.stats.is_none() && run.after.is_none() && !counted {
        machine.count_nothing();
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
    let (keys, typed) = monitor::Keys::new();
    let terminal = backends::Terminal { keys: &keys, console };
    let connected = backends::connect(run, &board, &plan, &mut machine, terminal).map_err(usage)?;
    let sockets = monitor::start(run, &board, &plan, &machine, connected, typed).map_err(usage)?;
    if let Some(file) = &run.load_snapshot {
        machine.load_from_file(file).map_err(|e| usage(e.to_string()))?;
    }
    if let Some(file) = &run.replay {
        machine.replay_file(file).map_err(|e| usage(e.to_string()))?;
    }
    if let Some(file) = &run.record {
        machine.record_file(file).map_err(usage)?;
    }
    if run.paused {
        machine.hold();
    }
    if run.verbose {
        eprintln!("board {}, time {:?}", board.name, time);
    }
    Ok(Ready { board, plan, machine, store, sockets })
}

/// Runs a board to its end. `counted`: `last` asks how many instructions were executed.
fn run(run: &Run, counted: bool, last: Last<'_>) -> Result<i32, (i32, String)> {
    let usage = |e: String| (USAGE, e);
    let Ready { board, plan, mut machine, store, sockets } = set_up(run, counted, None)?;
    let handle = machine.handle();
    if let Ok(mut signals) = signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM]) {
        let handle = handle.clone();
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                handle.stop_for(130, Cause::Signal);
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
    let client = run.qtest.as_deref().map(|backend| qtest::Client::new(backend, run.qtest_log.as_deref())).transpose().map_err(usage)?;
    let listener = run.gdb.as_deref().map(debugger::Listener::new).transpose().map_err(usage)?;
    let started = Instant::now();
    let exit = match (client, &listener) {
        (Some(client), _) => client.run(&mut machine, &board, &plan),
        (None, Some(listener)) => debugger::run(&mut machine, listener, run.paused),
        (None, None) => run_for(&mut machine, run.after),
    };
    let elapsed = started.elapsed();
    let report = report(run, &machine, elapsed);
    let saved = match (&run.save_snapshot, &exit) {
        (Some(file), Ok(Exit::Reached | Exit::Paused | Exit::Stopped(0))) => machine.save_to_file(file),
        (None, _) => Ok(()),
        (Some(_), _) => Err("--save-snapshot: nothing is saved, as the run did not end by --exit-on or --after".into()),
    };
    let ended = saved.and(machine.end_recording()).and(replayed(&machine));
    let text = last(&mut machine, &board);
    // Everything the guest wrote is out before we speak, and before the terminal is given back.
    drop(machine);
    sockets.iter().for_each(Qmp::finish);
    terminal::restore();
    if let Some(store) = &store {
        store.save();
    }
    eprint!("{report}");
    print!("{text}");
    match exit {
        Ok(Exit::Stopped(code)) if code != 0 => Ok(code),
        Ok(_) => ended.map(|()| 0).map_err(usage),
        Err(e) => Err((USAGE, e)),
    }
}

/// An error if a replay was another run than the recorded one.
fn replayed(machine: &Machine) -> Result<(), String> {
    match machine.replayed() {
        Some(Replayed::Other(how)) => Err(format!("--replay: not the run that was recorded: {how}")),
        Some(Replayed::CutOff) => {
            eprintln!("the recording is cut off here");
            Ok(())
        }
        _ => Ok(()),
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
    loop {
        if let Some(exit) = machine.round_until(Goal::Total(after))? {
            return Ok(exit);
        }
    }
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

/// The program.
pub fn main() -> ExitCode {
    let cli = match binfmt::command(std::env::args_os()).filter(|_| binfmt::started()) {
        Some(command) => Cli::parse_from(command),
        None => Cli::parse(),
    };
    let filter = cli.trace().unwrap_or_else(|| "warn".into());
    match filter.parse::<tracing_subscriber::EnvFilter>() {
        Ok(f) => {
            let log = tracing_subscriber::fmt().with_env_filter(f).with_writer(std::io::stderr).without_time().with_target(false);
            let log = log.with_filter_reloading();
            let filter = log.reload_handle();
            log.init();
            _ = monitor::FILTER.set(Box::new(move |text| {
                let new: tracing_subscriber::EnvFilter = text.parse().map_err(|e| format!("{text}: {e}"))?;
                filter.reload(new).map_err(|e| e.to_string())
            }));
        }
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
        None => run(&cli.run, false, &mut |_, _| String::new()),
        Some(Command::Board { command }) => commands::board(&command),
        Some(Command::Device { command }) => commands::device(&command),
        Some(Command::Isa { command }) => commands::isa(&command),
        Some(Command::Jit { command }) => jit::jit(&command),
        Some(Command::Image { command }) => image::image(&command),
        Some(Command::Test(test)) => expect::test(&test),
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

//! `emu run`: user-mode emulation.

use clap::Args;
use emu_user::coverage::Report;
use emu_user::trace::Trace;
use emu_user::{Debugger, Error, Options, Regions, Start};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `emu run ...`
#[derive(Args, Debug)]
pub struct Run {
    /// CPU model
    #[arg(long, value_name = "MODEL")]
    cpu: Option<String>,
    /// Where the guest's libraries are: absolute paths are looked for below it first
    #[arg(short = 'L', value_name = "SYSROOT")]
    sysroot: Option<PathBuf>,
    /// Set an environment variable
    #[arg(short = 'E', value_name = "VAR=X")]
    environment: Vec<OsString>,
    /// The program's name as it sees it
    #[arg(short = '0', value_name = "ARGV0")]
    name: Option<OsString>,
    #[command(flatten)]
    tiers: crate::tiers::TierArgs,
    /// Generated code to keep before all is forgotten, such as 1M
    #[arg(long, value_name = "SIZE", value_parser = crate::code_cache)]
    code_cache_size: Option<usize>,
    /// Print system calls
    #[arg(long)]
    strace: bool,
    /// Name generated code for Linux perf, in /tmp/perf-PID.map
    #[arg(long)]
    perf_map: bool,
    /// Print counters at the end
    #[arg(long)]
    stats: bool,
    /// Dump core when the program dies of a signal, whatever `ulimit -c` says, as PROGRAM.core.PID in a directory [default: the working directory]
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    core: Option<Option<PathBuf>>,
    /// Write which source lines were executed, and how often, as an lcov tracefile
    #[arg(long, value_name = "FILE.lcov")]
    coverage: Option<PathBuf>,
    /// Write each executed instruction to the end of a file [default: standard error]
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    trace: Option<Option<PathBuf>>,
    /// Write the host code of hot loops to a file when the program ends; with --stats those that executed most come first
    #[arg(long, value_name = "FILE")]
    regions: Option<PathBuf>,
    /// Do not run before GDB has connected: [HOST:]PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS", conflicts_with = "trace")]
    gdb: Option<String>,
    /// Let the kernel run programs of other architectures by this executable (binfmt_misc): nothing is run
    #[arg(long, conflicts_with = "command")]
    register: bool,
    /// Only print what would be written to the kernel
    #[arg(long, requires = "register")]
    print: bool,
    /// The program and its arguments
    #[arg(required_unless_present = "register", trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM ARGS")]
    command: Vec<OsString>,
}

/// Runs the program; its exit status.
pub fn run(run: &Run) -> Result<i32, (i32, String)> {
    let usage = |e: String| (crate::USAGE, e);
    if run.register {
        return crate::binfmt::register(run.print).map(|()| 0).map_err(usage);
    }
    let program = PathBuf::from(&run.command[0]);
    let mut arguments: Vec<Vec<u8>> = run.command.iter().cloned().map(OsString::into_vec).collect();
    if let Some(name) = &run.name {
        arguments[0] = name.clone().into_vec();
    }
    let mut variables: BTreeMap<Vec<u8>, Vec<u8>> = std::env::vars_os().map(|(n, v)| (n.into_vec(), v.into_vec())).collect();
    for pair in &run.environment {
        let bytes = pair.clone().into_vec();
        let at = bytes.iter().position(|b| *b == b'=');
        let at = at.ok_or_else(|| usage(format!("-E {}: write -E NAME=VALUE", pair.display())))?;
        variables.insert(bytes[..at].into(), bytes[at + 1..].into());
    }
    let environment: Vec<Vec<u8>> = variables.into_iter().map(|(n, v)| [n, v].join(&b'=')).collect();
    let options = Options {
        cpu: run.cpu.clone().unwrap_or_default(),
        sysroot: run.sysroot.clone(),
        strace: run.strace,
        tiers: run.tiers.tiers(),
        tier_arguments: run.tiers.again(),
        code_cache: run.code_cache_size,
        store: run.tiers.store(emu_user::debug::reserve),
        perf_map: crate::perf_map(run.perf_map).map_err(usage)?,
        stats: run.stats,
        core: run.core.as_ref().map(|directory| directory.as_ref().map(|d| std::path::absolute(d).unwrap_or_else(|_| d.clone()))),
        debugger: run.gdb.as_deref().map(debugger).transpose().map_err(usage)?,
        coverage: run.coverage.as_deref().map(Report::new),
        trace: run.trace.as_ref().map(|file| trace(run, file.as_deref())).transpose().map_err(usage)?,
        regions: run.regions.as_deref().map(|file| regions(run, file)).transpose().map_err(usage)?,
    };
    let start = Start { program: &program, arguments: &arguments, environment: &environment };
    match emu_user::run(&start, options).map_err(|e: Error| usage(e.to_string()))? {}
}

/// Where instructions are written, with the texts of the program's instruction set.
fn trace(run: &Run, file: Option<&Path>) -> Result<Arc<Trace>, String> {
    let isa = assembler(run)?;
    let begin = isa.setting(run.cpu.as_deref().unwrap_or_default());
    let text = move |pc: u64, key: u64, bytes: &[u8]| {
        let mut setting = begin.clone();
        isa.set_key(&mut setting, key);
        setting.pc = pc;
        let insn = isa.fetch(&setting, bytes).and_then(|(bits, code)| isa.disassemble(&setting, bits, code));
        insn.unwrap_or_else(|| "undefined".into())
    };
    let failed = |e: std::io::Error| format!("--trace: cannot open {}: {e}", file.unwrap_or(Path::new("standard error")).display());
    Trace::new(file, Box::new(text)).map(Arc::new).map_err(failed)
}

/// Shows regions in a file, with the texts of the program's instruction set.
fn regions(run: &Run, file: &Path) -> Result<Regions, String> {
    let (isa, model, path) = (assembler(run)?, run.cpu.clone().unwrap_or_default(), file.to_owned());
    // Where it cannot be written is said before the program runs.
    std::fs::write(file, "").map_err(|e| format!("--regions: cannot write {}: {e}", file.display()))?;
    Ok(Regions(Arc::new(move |regions| {
        let text: String = regions.iter().map(|region| crate::jit::show_region(region, &isa, &model)).collect();
        if let Err(e) = std::fs::write(&path, text) {
            eprintln!("error: --regions: cannot write {}: {e}", path.display());
        }
    })))
}

/// The texts of the program's instruction set.
fn assembler(run: &Run) -> Result<emu_asm::Isa, String> {
    let mut head = [0; 64];
    let read = std::fs::File::open(&run.command[0]).and_then(|mut f| std::io::Read::read(&mut f, &mut head)).unwrap_or(0);
    // What is no program is refused later.
    let machine = emu_user::elf::kind(&head[..read]).map_or(0, |kind| kind.machine);
    crate::cpus::assembler(if machine == 189 { "microblaze" } else { "arm" }).ok_or("there is no disassembler for it".into())
}

/// A debugger that waits for GDB at an address.
fn debugger(address: &str) -> Result<Debugger, String> {
    let listener = Arc::new(crate::debugger::Listener::new(address)?.reserved().map_err(|e| format!("--gdb {address}: {e}"))?);
    let begin = move |program: Arc<dyn emu_user::debug::Debuggee>| {
        let listener = listener.clone();
        // Without a thread for it nobody could connect, and the program would wait for ever.
        let spawned = std::thread::Builder::new().name("gdb".into()).spawn(move || listener.serve_program(&program));
        if let Err(e) = spawned {
            eprintln!("error: --gdb: {e}");
            std::process::exit(crate::USAGE);
        }
    };
    Ok(Debugger(Arc::new(begin)))
}

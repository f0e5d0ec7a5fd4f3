//! `emu run`: user-mode emulation.

use clap::Args;
use emu_user::{Error, Options, Start};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

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
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM ARGS")]
    command: Vec<OsString>,
}

/// Runs the program; its exit status.
pub fn run(run: &Run) -> Result<i32, (i32, String)> {
    let usage = |e: String| (crate::USAGE, e);
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
        code_cache: run.code_cache_size,
        perf_map: crate::perf_map(run.perf_map).map_err(usage)?,
        stats: run.stats,
        core: run.core.clone(),
    };
    let start = Start { program: &program, arguments: &arguments, environment: &environment };
    match emu_user::run(&start, options).map_err(|e: Error| usage(e.to_string()))? {}
}

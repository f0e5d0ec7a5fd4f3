//! A process: its memory, its one thread, and how it begins and ends.

use crate::arm;
use crate::elf::{self, Loaded};
use crate::guest::{MISALIGNED, PAGE_FAULT, User};
use crate::signal::{self, Info, Signals};
use crate::space::{EXEC, READ, Space, WRITE};
use crate::{Error, host, syscall};
use emu_ir::guest::Exception;
use emu_ir::interp::{Engine, PerfMap, Stats, Stop};
use emu_isa_arm::{Arm, System};
use emu_memory::PAGE_SIZE;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const STACK: u64 = 8 << 20;
/// Arguments and environment together may have at most that many bytes.
const MAX_ARGUMENTS: usize = 2 << 20;

/// What is the same for a program and those it executes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// CPU model.
    pub cpu: String,
    /// Where interpreters and libraries of the guest are: absolute paths are looked for here first.
    pub sysroot: Option<PathBuf>,
    /// Print each system call.
    pub strace: bool,
    /// Bytes of generated code to keep, one of [`emu_ir::interp::CODE_CACHE`]; `None`: the engine's default.
    pub code_cache: Option<usize>,
    /// Where generated code is made known to profilers.
    pub perf_map: Option<Arc<PerfMap>>,
}

/// A running program.
pub struct Process {
    pub(crate) engine: Engine<User<Arm<System>>>,
    pub(crate) space: Arc<Space>,
    pub(crate) options: Options,
    /// Absolute path of the program.
    pub(crate) program: PathBuf,
    /// Where the heap begins and ends.
    pub(crate) heap: (u64, u64),
    pub(crate) signals: Signals,
}

/// What a system call comes to.
pub(crate) enum Done {
    /// The result, or an error number.
    Result(Result<i64, host::Errno>),
    /// The program ended.
    Exit(i32),
    /// The registers are new: another program took its place, or a signal handler returned.
    Replaced,
}

impl Process {
    /// Loads `program` with its arguments (the first is its name) and environment (`NAME=VALUE`).
    ///
    /// # Errors
    /// A file that cannot be read or is no program we can run.
    pub fn new(program: &Path, arguments: &[Vec<u8>], environment: &[Vec<u8>], options: Options) -> Result<Process, Error> {
        let name = || program.display().to_string();
        let bytes = std::fs::read(program).map_err(|e| Error::Read(name(), e))?;
        let refuse = |why: &str| Error::Program(name(), why.to_string());
        let kind = elf::kind(&bytes).ok_or_else(|| refuse("it is no ELF executable"))?;
        if kind.machine != arm::MACHINE || kind.wide || !kind.little {
            return Err(refuse(&format!("its machine (ELF machine {}) is not ARM, little-endian", kind.machine)));
        }
        let space = Arc::new(Space::new(1 << 32)?);
        let loaded = elf::load(&space, &bytes, arm::MAP_TOP).map_err(|e| refuse(&e))?;
        let mut begin = loaded.clone();
        if let Some(path) = &loaded.interpreter {
            let path = inside(options.sysroot.as_deref(), Path::new(std::ffi::OsStr::new(&*String::from_utf8_lossy(path))));
            let bytes =
                std::fs::read(&path).map_err(|e| Error::Read(format!("{}, its interpreter (give its root with -L)", path.display()), e))?;
            begin = elf::load(&space, &bytes, arm::MAP_TOP).map_err(|e| Error::Program(path.display().to_string(), e))?;
        }
        let memory = || refuse("its address space has no room for stack and helpers");
        if !space.map(arm::STACK_TOP - STACK, STACK, READ | WRITE | EXEC) || !arm::map_helpers(&space) {
            return Err(memory());
        }
        let stack = stack(&space, &loaded, begin.base, program, arguments, environment).ok_or_else(memory)?;
        let model = if options.cpu.is_empty() { "cortex-a15" } else { &options.cpu };
        let isa = Arm::model(model, System::new(model)).ok_or_else(|| refuse(&format!("there is no ARM CPU model `{model}`")))?;
        let mut engine = Engine::new(Arc::new(User { isa, space: space.clone() }), 0);
        engine.trap_exceptions();
        if let Some(bytes) = options.code_cache {
            engine.set_code_cache(bytes);
        }
        engine.use_quick_tier();
        if let Some(map) = &options.perf_map {
            engine.set_perf_map(map);
        }
        arm::start(engine.state_mut(), begin.entry, stack);
        let program = std::path::absolute(program).unwrap_or_else(|_| program.to_path_buf());
        let end = loaded.end.next_multiple_of(PAGE_SIZE);
        Ok(Process { engine, space, options, program, heap: (end, end), signals: Signals::default() })
    }

    /// Runs it to its end: its exit status. A program that dies of a signal takes this process with it.
    pub fn run(&mut self) -> i32 {
        loop {
            let stop = self.engine.run(&*self.space.clone());
            match stop {
                Stop::Budget | Stop::Exit | Stop::Breakpoint | Stop::Watchpoint(..) => {}
                Stop::Asleep(_) => self.engine.set_sleep(None, false),
                Stop::Exception(e) if self.is_call(e) => match syscall::run(self) {
                    Done::Result(result) => arm::finish(self.engine.registers_mut(), result.unwrap_or_else(|errno| -i64::from(errno))),
                    Done::Exit(status) => return status,
                    Done::Replaced => {}
                },
                Stop::Exception(e) => self.fault(e),
            }
            signal::deliver_pending(self);
        }
    }

    /// Counters of the engine.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    fn is_call(&self, e: Exception) -> bool {
        self.engine.isa().isa_name(e.id) == "svc"
    }

    fn fault(&mut self, e: Exception) {
        // si_code: SEGV_MAPERR or SEGV_ACCERR, BUS_ADRALN, TRAP_BRKPT, ILL_ILLOPC.
        let (number, code) = match (e.id, self.engine.isa().isa_name(e.id)) {
            (PAGE_FAULT, _) => (libc::SIGSEGV, 1 + e.args[1] as i32),
            (MISALIGNED, _) => (libc::SIGBUS, 1),
            (_, "prefetch_abort") => (libc::SIGTRAP, 1),
            _ => (libc::SIGILL, 1),
        };
        let address = if matches!(e.id, PAGE_FAULT | MISALIGNED) { e.args[0] } else { self.engine.pc() };
        signal::fault(self, Info { number: number as u32, code, address });
    }
}

impl<I: emu_ir::guest::Isa> User<I> {
    fn isa_name(&self, id: u16) -> &'static str {
        emu_ir::guest::Isa::exception_name(self, id)
    }
}

/// A path of the guest as the host has it: absolute ones below the root for libraries, if they are there.
pub(crate) fn inside(sysroot: Option<&Path>, path: &Path) -> PathBuf {
    let below = sysroot.zip(path.strip_prefix("/").ok()).map(|(root, rest)| root.join(rest));
    below.filter(|p| p.exists()).unwrap_or_else(|| path.to_path_buf())
}

/// Builds the first stack: strings, auxiliary vector, environment and argument pointers, their count. Its lowest address.
fn stack(space: &Space, program: &Loaded, interpreter: u64, path: &Path, arguments: &[Vec<u8>], environment: &[Vec<u8>]) -> Option<u64> {
    let total: usize = arguments.iter().chain(environment).map(|s| s.len() + 1).sum();
    if total > MAX_ARGUMENTS {
        return None;
    }
    let mut top = arm::STACK_TOP - 16;
    let mut push = |bytes: &[u8]| {
        top -= bytes.len() as u64 + 1;
        // The zero behind it is there: the stack is fresh.
        space.put(top, bytes).ok().map(|()| top)
    };
    let mut random = [0; 16];
    host::getrandom(&mut random, 0).ok()?;
    let (random, platform) = (push(&random)?, push(arm::PLATFORM.as_bytes())?);
    let name = push(path.as_os_str().as_encoded_bytes())?;
    let environment: Vec<u64> = environment.iter().map(|s| push(s)).collect::<Option<_>>()?;
    let arguments: Vec<u64> = arguments.iter().map(|s| push(s)).collect::<Option<_>>()?;
    let id = |get: fn() -> Result<i64, i32>| get().unwrap_or(0) as u64;
    let auxiliary = [
        (3, program.headers),
        (4, program.header_size),
        (5, program.header_count),
        (6, PAGE_SIZE),
        (7, if program.interpreter.is_some() { interpreter } else { 0 }),
        (8, 0),
        (9, program.entry),
        (11, id(host::getuid)),
        (12, id(host::geteuid)),
        (13, id(host::getgid)),
        (14, id(host::getegid)),
        (15, platform),
        (16, arm::HWCAP.into()),
        (17, 100),
        (23, 0),
        (25, random),
        (31, name),
        (0, 0),
    ];
    let mut words = vec![arguments.len() as u64];
    words.extend(arguments);
    words.push(0);
    words.extend(environment);
    words.push(0);
    words.extend(auxiliary.iter().flat_map(|(tag, value)| [*tag, *value]));
    let bytes: Vec<u8> = words.iter().flat_map(|w| (*w as u32).to_le_bytes()).collect();
    let bottom = (top - bytes.len() as u64) & !15;
    space.put(bottom, &bytes).ok()?;
    Some(bottom)
}

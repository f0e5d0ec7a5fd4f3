//! A process: its memory, what its threads share, and how it begins and ends.

use crate::coverage::Report;
use crate::debug::{Begin, Debug, Event};
use crate::elf::{self, Kind, Loaded};
use crate::gate::Gate;
use crate::machine::Machine;
use crate::paths::Paths;
use crate::signal::Actions;
use crate::space::{EXEC, READ, Space, WRITE};
use crate::syscall::Own;
use crate::thread::Thread;
use crate::trace::Trace;
use crate::{Error, family, host, host_signal};
use emu_ir::guest::Isa;
use emu_ir::interp::{ExplainedRegion, PerfMap, Stats, Tiers};
use emu_memory::{Attention, PAGE_SIZE};
use emu_store::Store;
use object::read::ReadCache;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const STACK: u64 = 8 << 20;
/// Where a program is put that may be anywhere: its heap has room above.
const PIE: u64 = 0x40_0000;
/// Arguments and environment together may have at most that many bytes.
const MAX_ARGUMENTS: usize = 2 << 20;

/// What is the same for a program and those it executes.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// CPU model; empty: the architecture's usual one.
    pub cpu: String,
    /// Where interpreters and libraries of the guest are: absolute paths are looked for here first.
    pub sysroot: Option<PathBuf>,
    /// Print each system call.
    pub strace: bool,
    /// Which tiers execute its code.
    pub tiers: Tiers,
    /// The arguments that say so to the emulator of a program that this one executes.
    pub tier_arguments: Vec<String>,
    /// Bytes of generated code to keep, one of [`emu_ir::interp::CODE_CACHE`]; `None`: the engine's default.
    pub code_cache: Option<usize>,
    /// Where translations are kept for other processes.
    pub store: Option<Arc<Store>>,
    /// Where generated code is made known to profilers.
    pub perf_map: Option<Arc<PerfMap>>,
    /// Print counters at the end.
    pub stats: bool,
    /// Dump core whatever `RLIMIT_CORE` says; the directory, if not the working directory.
    pub core: Option<Option<PathBuf>>,
    /// Count which lines are executed.
    pub coverage: Option<Arc<Report>>,
    /// Begins a debugger, which then lets the program run.
    pub debugger: Option<Debugger>,
    /// Print each instruction.
    pub trace: Option<Arc<Trace>>,
    /// Shows the regions that the thread has which ends the process.
    pub regions: Option<Regions>,
}

/// Shows regions.
#[derive(Clone)]
pub struct Regions(pub Arc<dyn Fn(&[ExplainedRegion]) + Send + Sync>);

impl std::fmt::Debug for Regions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Regions")
    }
}

/// How a debugger begins.
#[derive(Clone)]
pub struct Debugger(pub Arc<Begin>);

impl std::fmt::Debug for Debugger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Debugger")
    }
}

/// A thread as others of its process know it.
pub(crate) struct Peer {
    pub tid: i32,
    pub attention: Arc<AtomicU32>,
    /// The head of its list of robust futexes; 0: none.
    pub robust: Arc<AtomicU64>,
}

/// A running program.
pub struct Process<M: Machine> {
    pub(crate) space: Arc<Space>,
    pub(crate) isa: Arc<crate::guest::User<M::Isa>>,
    pub(crate) options: Options,
    /// Absolute path of the program, and its arguments.
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<Vec<u8>>,
    /// Where the heap begins and ends.
    heap: Mutex<(u64, u64)>,
    actions: Mutex<Actions>,
    threads: Mutex<Vec<Peer>>,
    /// Held from the look for a free place until something is there.
    placing: Mutex<()>,
    /// Attached segments of System V shared memory: address and bytes.
    segments: Mutex<BTreeMap<u64, u64>>,
    /// Where its files are.
    pub(crate) paths: Paths,
    /// The auxiliary vector, as it is on the stack.
    auxiliary: Vec<u8>,
    /// Of threads that ended.
    stats: Mutex<Stats>,
    /// The version of the mappings that all threads were told of.
    told: AtomicU64,
    /// Where threads wait while others look at them.
    pub(crate) gate: Gate,
    /// What it shares with a debugger.
    pub(crate) debug: Option<Debug>,
    /// The process ends: its status, and this bit.
    ending: AtomicU32,
    /// The thread whose host thread is the process's first.
    first: AtomicI32,
}

const ENDING: u32 = 1 << 31;

/// Locks, also after another thread's panic: the data are plain values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What begins a program, as `execve` has it.
pub struct Start<'a> {
    /// The program as it is opened.
    pub program: &'a Path,
    /// Its arguments; the first is its name.
    pub arguments: &'a [Vec<u8>],
    /// `NAME=VALUE`.
    pub environment: &'a [Vec<u8>],
}

impl<M: Machine> Process<M> {
    /// Loads a program; its first thread, which is this host thread.
    ///
    /// # Errors
    /// A file that cannot be read or is no program we can run.
    pub fn start(start: &Start<'_>, options: Options) -> Result<Thread<M>, Error> {
        let name = || start.program.display().to_string();
        let refuse = |why: &str| Error::Program(name(), why.to_string());
        host_signal::restore_pipe();
        let space = Arc::new(Space::new(1 << 32)?);
        let paths = Paths::new(options.sysroot.as_deref());
        let loaded = load::<M>(&space, start.program, Some(PIE))?;
        let mut begin = loaded.clone();
        if let Some(path) = &loaded.interpreter {
            let path = paths.host(path.clone(), true).map_err(|_| refuse("the name of its interpreter has a zero byte"))?;
            let path = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
            begin = load::<M>(&space, path, None).map_err(|e| match e {
                Error::Read(name, e) => Error::Read(format!("{name}, its interpreter (give its root with -L)"), e),
                other => other,
            })?;
        }
        let memory = || refuse("its address space has no room for stack and helpers");
        if !space.map_zeros(M::STACK_TOP - STACK, STACK, READ | WRITE | EXEC) || !M::map_helpers(&space) {
            return Err(memory());
        }
        let (stack, auxiliary) = stack::<M>(&space, &loaded, begin.base, start).ok_or_else(memory)?;
        let isa = M::isa(if options.cpu.is_empty() { M::MODEL } else { &options.cpu }).map_err(|e| refuse(&e))?;
        let program = std::path::absolute(start.program).unwrap_or_else(|_| start.program.to_path_buf());
        let end = loaded.end.next_multiple_of(PAGE_SIZE);
        let mut cells = vec![0; isa.layout().cells];
        isa.reset(&mut cells);
        M::start(&mut cells, begin.entry, stack);
        let mmu = isa.fetch_mmu(isa.block_key(&cells));
        let debug = options.debugger.is_some().then(Debug::new);
        let isa = Arc::new(crate::guest::User { isa, space: space.clone(), mmu });
        let process = Process {
            space,
            isa,
            options,
            program,
            arguments: start.arguments.to_vec(),
            heap: Mutex::new((end, end)),
            actions: Mutex::new(Actions::inherited()),
            threads: Mutex::default(),
            placing: Mutex::default(),
            segments: Mutex::default(),
            paths,
            auxiliary,
            stats: Mutex::default(),
            told: AtomicU64::new(0),
            gate: Gate::default(),
            debug,
            ending: AtomicU32::new(0),
            first: AtomicI32::new(host::gettid()),
        };
        if process.debug.is_some() {
            process.gate.close();
        }
        let mut thread = Thread::new(&Arc::new(process));
        thread.engine.state_mut().copy_from_slice(&cells);
        if let Some(debugger) = thread.process.options.debugger.clone() {
            debugger.0(thread.process.clone());
        }
        Ok(thread)
    }

    pub(crate) fn heap(&self) -> MutexGuard<'_, (u64, u64)> {
        lock(&self.heap)
    }

    pub(crate) fn actions(&self) -> MutexGuard<'_, Actions> {
        lock(&self.actions)
    }

    pub(crate) fn placing(&self) -> MutexGuard<'_, ()> {
        lock(&self.placing)
    }

    pub(crate) fn segments(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        lock(&self.segments)
    }

    pub(crate) fn threads(&self) -> MutexGuard<'_, Vec<Peer>> {
        lock(&self.threads)
    }

    /// Mappings changed: other threads' engines must not remember old ones of code.
    pub(crate) fn tell_mappings(&self, own: i32) {
        use emu_memory::PhysBus;
        let version = self.space.map_version();
        if self.told.swap(version, Ordering::SeqCst) != version {
            for peer in self.threads().iter().filter(|peer| peer.tid != own) {
                peer.attention.fetch_or(Attention::FLUSH_TLB, Ordering::Release);
            }
        }
    }

    /// Somebody wants to see what its threads do, step by step.
    pub(crate) fn is_watched(&self) -> bool {
        self.options.strace || self.options.trace.is_some() || self.debug.is_some()
    }

    /// The status to end with, if the process ends.
    pub(crate) fn ending(&self) -> Option<i32> {
        let ending = self.ending.load(Ordering::Acquire);
        (ending & ENDING != 0).then_some((ending & 0xff) as i32)
    }

    /// Ends the process. Other threads leave what they do, and what they counted is added up.
    pub(crate) fn end(&self, status: i32, last: &Stats) -> ! {
        let first = self.ending.fetch_or(ENDING | status as u32 & 0xff, Ordering::AcqRel) & ENDING == 0;
        self.release_robust();
        if first && self.options.stats {
            self.add_stats(last);
            let begun = Instant::now();
            while self.threads().len() > 1 && begun.elapsed() < Duration::from_millis(500) {
                self.threads().iter().for_each(|peer| host_signal::kick(peer.tid));
                std::thread::sleep(Duration::from_millis(1));
            }
            let counters: Vec<String> = lock(&self.stats).named().iter().map(|(n, v)| format!("{n} {v}")).collect();
            eprintln!("{}", counters.join(", "));
        } else if !first {
            // Another thread ends it.
            std::thread::sleep(Duration::from_secs(if self.options.coverage.is_some() || self.debug.is_some() { 60 } else { 1 }));
        }
        if first {
            self.save_store();
            self.report_coverage();
            self.debug_end(host::gettid(), Event::Exited(status));
        }
        host::exit(status)
    }

    /// True of the thread that is on the process's first host thread.
    pub(crate) fn is_first(&self, tid: i32) -> bool {
        self.first.load(Ordering::Relaxed) == tid
    }

    pub(crate) fn set_first(&self, tid: i32) {
        self.first.store(tid, Ordering::Relaxed);
    }

    /// The process ends: futexes that its threads hold are marked for other processes.
    pub(crate) fn release_robust(&self) {
        let held: Vec<(i32, u64)> = self.threads().iter().map(|peer| (peer.tid, peer.robust.load(Ordering::Relaxed))).collect();
        held.into_iter().filter(|(_, head)| *head != 0).for_each(|(tid, head)| _ = family::release_robust::<M>(&self.space, tid, head));
    }

    pub(crate) fn add_stats(&self, stats: &Stats) {
        lock(&self.stats).add(stats);
    }

    /// Writes down which lines were executed, if that is wanted.
    pub(crate) fn report_coverage(&self) {
        if let Some(report) = &self.options.coverage {
            report.write(&self.mappings());
        }
    }

    /// Writes down translations for other processes.
    pub(crate) fn save_store(&self) {
        if let Some(store) = &self.options.store {
            // A limit on the size of files is an error here, not a signal.
            crate::without_signals(&mut || store.save());
        }
    }

    /// The auxiliary vector.
    pub(crate) fn auxiliary(&self) -> &[u8] {
        &self.auxiliary
    }
}

impl<M: Machine> Own for Process<M> {
    fn program(&self) -> &Path {
        &self.program
    }

    fn special_open(&self, name: &str) -> Option<Vec<u8>> {
        match name {
            "maps" => Some(self.maps()),
            "auxv" => Some(self.auxiliary.clone()),
            "cmdline" => Some(self.arguments.iter().flat_map(|a| [a, &b"\0"[..]].concat()).collect()),
            _ => None,
        }
    }
}

impl<M: Machine> Process<M> {
    /// `/proc/self/maps`: what the host says of the space, at the program's addresses and with its permissions.
    fn maps(&self) -> Vec<u8> {
        let mut out = String::new();
        for m in self.mappings() {
            let bit = |flag, name| if m.permissions & flag != 0 { name } else { '-' };
            let permissions = [bit(READ, 'r'), bit(WRITE, 'w'), bit(EXEC, 'x')].iter().collect::<String>();
            let kind = if m.shared { 's' } else { 'p' };
            let line = format!("{:08x}-{:08x} {permissions}{kind} {:08x} {}", m.start, m.end, m.offset, m.device);
            out += line.trim_end();
            if !m.path.is_empty() {
                out += &" ".repeat(73usize.saturating_sub(line.len()).max(1));
                out += &m.path;
            }
            out.push('\n');
        }
        out.into_bytes()
    }

    /// What the program has mapped, by address.
    pub(crate) fn mappings(&self) -> Vec<Mapping> {
        let host = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let (base, mut all) = (self.space.base() as u64, Vec::new());
        for line in host.lines() {
            // Range, permissions, offset, device, inode; then spaces and the path.
            let mut rest = line;
            let mut next = || {
                let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
                rest = after;
                word
            };
            let [range, permissions, offset, device, inode] = [next(), next(), next(), next(), next()];
            let path = rest.trim_start();
            let bounds = range.split_once('-').map(|(a, b)| (u64::from_str_radix(a, 16), u64::from_str_radix(b, 16)));
            let Some((Ok(start), Ok(end))) = bounds else { continue };
            let (Some(start), Some(end)) = (start.checked_sub(base), end.checked_sub(base)) else { continue };
            let offset = u64::from_str_radix(offset, 16).unwrap_or(0);
            // Neighbours with other permissions may be one for the host.
            let mut at = start;
            while at < end.min(self.space.size()) {
                let here = self.space.page(at);
                let mut next = at + PAGE_SIZE;
                while next < end && self.space.page(next) == here {
                    next += PAGE_SIZE;
                }
                if here != 0 {
                    let of_file = inode != "0";
                    let path = if next == M::STACK_TOP && !of_file { "[stack]" } else { path };
                    all.push(Mapping {
                        start: at,
                        end: next,
                        permissions: here,
                        shared: permissions.ends_with('s'),
                        offset: if of_file { offset + (at - start) } else { 0 },
                        device: format!("{device} {inode}"),
                        path: path.to_string(),
                    });
                }
                at = next;
            }
        }
        all
    }
}

/// Pages of a program that are next to each other and of one kind.
pub(crate) struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// [`READ`], [`WRITE`], [`EXEC`].
    pub permissions: u8,
    pub shared: bool,
    /// Where in the file, bytes.
    pub offset: u64,
    /// Device and inode, as `/proc/self/maps` has them.
    pub device: String,
    /// The file's, or a name in brackets; empty: none.
    pub path: String,
}

/// Opens an executable: what it is for.
///
/// # Errors
/// It cannot be read, or is no ELF file.
pub(crate) fn open(path: &Path) -> Result<(File, Kind), Error> {
    let name = || path.display().to_string();
    let refuse = |why: &str| Error::Program(name(), why.to_string());
    let file = File::open(path).map_err(|e| Error::Read(name(), e))?;
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err(refuse("it is no file"));
    }
    let bytes = ReadCache::new(&file);
    let head = object::read::ReadRef::read_bytes_at(&bytes, 0, 20).unwrap_or_default();
    let kind = elf::kind(head).ok_or_else(|| refuse("it is no ELF executable"))?;
    Ok((file, kind))
}

/// Loads an executable or interpreter; one that may be anywhere, at `low` or at the highest place.
fn load<M: Machine>(space: &Space, path: &Path, low: Option<u64>) -> Result<Loaded, Error> {
    let refuse = |why: &str| Error::Program(path.display().to_string(), why.to_string());
    let (file, kind) = open(path)?;
    if kind != M::KIND {
        return Err(refuse(&format!("it is for {kind}, not for {}", M::KIND)));
    }
    let bytes = ReadCache::new(&file);
    elf::load(space, &bytes, Some(file.as_fd()), low, M::MAP_TOP).map_err(|e| refuse(&e))
}

/// Builds the first stack: strings, auxiliary vector, environment and argument pointers, their count. Its lowest address, and the vector.
fn stack<M: Machine>(space: &Space, program: &Loaded, interpreter: u64, start: &Start<'_>) -> Option<(u64, Vec<u8>)> {
    let total: usize = start.arguments.iter().chain(start.environment).map(|s| s.len() + 1).sum();
    if total > MAX_ARGUMENTS {
        return None;
    }
    let mut top = M::STACK_TOP - 16;
    let mut push = |bytes: &[u8]| {
        top -= bytes.len() as u64 + 1;
        // The zero behind it is there: the stack is fresh.
        space.put(top, bytes).ok().map(|()| top)
    };
    let mut random = [0; 16];
    host::getrandom(&mut random, 0).ok()?;
    let (random, platform) = (push(&random)?, push(M::PLATFORM.as_bytes())?);
    let name = push(start.program.as_os_str().as_encoded_bytes())?;
    let environment: Vec<u64> = start.environment.iter().map(|s| push(s)).collect::<Option<_>>()?;
    let arguments: Vec<u64> = start.arguments.iter().map(|s| push(s)).collect::<Option<_>>()?;
    let id = |get: fn() -> Result<i64, i32>| get().unwrap_or(0) as u64;
    let auxiliary: [[u64; 2]; 19] = [
        [3, program.headers],
        [4, program.header_size],
        [5, program.header_count],
        [6, PAGE_SIZE],
        [7, if program.interpreter.is_some() { interpreter } else { 0 }],
        [8, 0],
        [9, program.entry],
        [11, id(host::getuid)],
        [12, id(host::geteuid)],
        [13, id(host::getgid)],
        [14, id(host::getegid)],
        [15, platform],
        [16, M::HWCAP[0]],
        [17, 100],
        [23, 0],
        [25, random],
        [26, M::HWCAP[1]],
        [31, name],
        [0, 0],
    ];
    let mut words = vec![arguments.len() as u64];
    words.extend(arguments);
    words.push(0);
    words.extend(environment);
    words.push(0);
    let bytes = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|w| M::KIND.u32_bytes(*w as u32)).collect() };
    let auxiliary = bytes(auxiliary.as_flattened());
    let all = [bytes(&words), auxiliary.clone()].concat();
    let bottom = (top - all.len() as u64) & !15;
    space.put(bottom, &all).ok()?;
    Some((bottom, auxiliary))
}

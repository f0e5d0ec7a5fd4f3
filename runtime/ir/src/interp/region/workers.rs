//! Threads that compile regions, at low priority, for all vCPUs of a machine or process.

use super::Input;
use super::lower::{Compiled, Scratch, compile};
use super::stored;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use emu_memory::Attention;
use emu_store::Store;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A region that was asked for.
pub struct Made {
    pub input: Input,
    /// Its code, if it suited.
    pub compiled: Option<Compiled>,
    /// Somebody else had compiled it.
    pub stored: bool,
}

/// Regions that are compiled, of one vCPU.
#[derive(Default)]
pub struct Done(Mutex<Vec<Made>>);

impl Done {
    /// Takes them.
    pub fn take(&self) -> Vec<Made> {
        std::mem::take(&mut *lock(&self.0))
    }
}

struct Job {
    input: Input,
    store: Option<Arc<Store>>,
    done: Arc<Done>,
    /// The vCPU's attention word.
    attention: Arc<AtomicU32>,
}

/// The threads, which begin when there is something to do. They end when this is dropped.
#[derive(Debug)]
pub struct Workers {
    threads: usize,
    /// Calls a function that makes a thread, which inherits what this makes of the calling one.
    around: fn(&mut dyn FnMut()),
    queue: Mutex<Option<Sender<Job>>>,
}

/// The threads are held still: none begins, and nothing is added to what they have to do.
pub struct Held<'a>(MutexGuard<'a, Option<Sender<Job>>>);

impl Held<'_> {
    /// In a forked child, which has no such threads: they begin anew.
    pub fn restart(&mut self) {
        // Its other end may be locked for ever.
        std::mem::forget(self.0.take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// So many threads; with none, who asks for a region waits until it is compiled. Threads are made inside `around`.
    pub fn new(threads: usize, around: fn(&mut dyn FnMut())) -> Workers {
        Workers { threads, around, queue: Mutex::default() }
    }

    /// Keeps everything as it is over a fork.
    pub fn hold(&self) -> Held<'_> {
        Held(lock(&self.queue))
    }

    /// Has a region compiled, if there is none in the store; the vCPU's attention word tells when.
    pub fn ask(&self, input: Input, store: Option<&Arc<Store>>, done: &Arc<Done>, attention: &Arc<AtomicU32>) {
        let job = Job { input, store: store.cloned(), done: done.clone(), attention: attention.clone() };
        if self.threads == 0 {
            let Some(host) = host() else { return };
            return job.finish(&*host, &mut Scratch::default());
        }
        let mut queue = lock(&self.queue);
        let sender = queue.get_or_insert_with(|| {
            let (sender, receiver) = channel();
            let inbox = Arc::new(Mutex::new(Inbox { receiver, waiting: Vec::new() }));
            (self.around)(&mut || (0..self.threads).for_each(|number| begin(number, &inbox)));
            sender
        });
        // Without threads regions are not made, and all goes on as it was.
        _ = sender.send(job);
    }
}

impl Job {
    fn finish(self, host: &dyn isa::TargetIsa, scratch: &mut Scratch) {
        let canonical = self.input.canonical();
        let known = self.store.as_ref().and_then(|store| stored::find(store, &canonical));
        let stored = known.is_some();
        let made = known.or_else(|| compile(&canonical, host, scratch));
        if let (Some(store), Some(made), false) = (&self.store, &made, stored) {
            stored::keep(store, &canonical, made);
        }
        let compiled = made.and_then(|made| made.placed(&self.input));
        lock(&self.done.0).push(Made { input: self.input, compiled, stored });
        self.attention.fetch_or(Attention::REGION, Ordering::Release);
    }
}

/// What the threads have to do.
struct Inbox {
    receiver: Receiver<Job>,
    /// Received, and not begun.
    waiting: Vec<Job>,
}

impl Inbox {
    /// The job that was asked for last: what is hot now goes before what was.
    fn next(&mut self) -> Option<Job> {
        if self.waiting.is_empty() {
            self.waiting.push(self.receiver.recv().ok()?);
        }
        self.waiting.extend(self.receiver.try_iter());
        self.waiting.pop()
    }
}

fn begin(number: usize, inbox: &Arc<Mutex<Inbox>>) {
    let inbox = inbox.clone();
    let work = move || {
        // Linux sets the priority of the calling thread only: vCPUs go first.
        _ = rustix::process::setpriority_process(None, 10);
        let Some(host) = host() else { return };
        let mut scratch = Scratch::default();
        loop {
            let mut inbox = lock(&inbox);
            if inbox.waiting.is_empty() {
                // Large regions make it large: nothing of that is kept over a rest.
                scratch = Scratch::default();
            }
            let Some(job) = inbox.next() else { return };
            drop(inbox);
            job.finish(&*host, &mut scratch);
        }
    };
    if let Err(error) = std::thread::Builder::new().name(format!("region{number}")).spawn(work) {
        tracing::warn!("no thread for regions: {error}");
    }
}

/// What regions are compiled with.
fn settings() -> Option<settings::Flags> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
    ] {
        flags.set(name, value).ok()?;
    }
    Some(settings::Flags::new(flags))
}

/// This machine, with what its CPU has.
fn host() -> Option<OwnedTargetIsa> {
    let mut builder = isa::lookup_by_name("x86_64").ok()?;
    for (feature, there) in [
        ("has_sse3", std::is_x86_feature_detected!("sse3")),
        ("has_ssse3", std::is_x86_feature_detected!("ssse3")),
        ("has_sse41", std::is_x86_feature_detected!("sse4.1")),
        ("has_sse42", std::is_x86_feature_detected!("sse4.2")),
        ("has_avx", std::is_x86_feature_detected!("avx")),
        ("has_avx2", std::is_x86_feature_detected!("avx2")),
        ("has_popcnt", std::is_x86_feature_detected!("popcnt")),
        ("has_bmi1", std::is_x86_feature_detected!("bmi1")),
        ("has_bmi2", std::is_x86_feature_detected!("bmi2")),
        ("has_lzcnt", std::is_x86_feature_detected!("lzcnt")),
    ] {
        if there {
            builder.enable(feature).ok()?;
        }
    }
    builder.finish(settings()?).ok()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::guest::BlockKey;
    use crate::interp::code::{Bc, Code};
    use crate::interp::region::{Calls, Exit, Layout, Piece};

    pub fn code(op: Bc, a: u16, b: u16, c: u16, imm: u64) -> Code {
        Code { op, x: 0, a, b, c, imm }
    }

    /// Adds up words of memory until a counter is 0, with every kind of exit.
    pub fn input(direct: bool, counted: bool) -> Input {
        let words = vec![
            code(Bc::Enter, 4, 0, 0, 0),
            Code { x: 32, ..code(Bc::Load32, 40, 1, 3 << 8, 8) },
            code(Bc::Add32, 2, 2, 40, 0),
            Code { x: 32, ..code(Bc::Store32, 2, 1, 0, 12) },
            code(Bc::Add32I, 1, 1, 0, 4),
            code(Bc::SubFlags32I, 3, 3, 1, 20 | 21 << 16 | 22 << 32 | 23 << 48),
            code(Bc::BrEq, 0, 20, 23, 109),
            code(Bc::BrNz, 0, 2, 0, 110),
            Code { x: 1, ..code(Bc::Jump, 0, 0, 0, 0x1000) },
            Code { x: 1, ..code(Bc::Jump, 0, 0, 0, 0x1100) },
            code(Bc::JumpTo, 0, 2, 0, 0),
        ];
        let layout = Layout {
            state: 32,
            left: 4096,
            run: 4104,
            attention: 4112,
            levels: 4144,
            front: 4120,
            refused: 4128,
            zero: 5000,
            flags: 4136,
            slots: 4160,
            windows: 4152,
            window: None,
            apart: false,
            direct,
            counted,
        };
        let calls = Calls { load: [16; 4], store: [16; 4], probe: 16, refill: 16, word: 16 };
        let pieces =
            vec![Piece { code: 100, pc: 0x1000, last: 0x100c, words, marks: vec![1, 3, 4, 5], ways: Vec::new(), sides: Vec::new() }];
        Input { pieces, pages: vec![(0, 1)], key: BlockKey(0), rekeyed: None, heads: Vec::new(), controls: Vec::new(), layout, calls }
    }

    /// Code indices and addresses are in it only when it has its place.
    #[test]
    fn a_region_is_the_same_wherever_its_blocks_are() {
        const ADDRESS: usize = 0x1234_5678_9abc;
        let (here, host) = (input(false, true), host().unwrap());
        let mut there = here.clone();
        there.pieces[0].code += 1000;
        there.pieces[0].words.iter_mut().filter(|c| matches!(c.op, Bc::BrEq | Bc::BrNz)).for_each(|c| c.imm += 1000);
        there.calls = Calls { load: [ADDRESS; 4], store: [ADDRESS; 4], probe: ADDRESS, refill: ADDRESS, word: ADDRESS };
        there.pages = vec![(3, 7)];
        let [one, other] = [&here, &there].map(|input| postcard::to_allocvec(&input.canonical()).unwrap());
        assert_eq!(one, other);
        let made = compile(&here.canonical(), &*host, &mut Scratch::default()).unwrap();
        assert!(!made.symbols.is_empty());
        let [one, other] = [&here, &there].map(|input| made.placed(input).unwrap());
        let indices = |made: &Compiled| -> Vec<u32> {
            made.exits.iter().filter_map(|e| if let Exit::Refuse(at) | Exit::Resume(at) = e { Some(*at) } else { None }).collect()
        };
        assert!(indices(&one).iter().all(|at| (100..111).contains(at)), "{:?}", one.exits);
        assert_eq!(indices(&one).iter().map(|at| at + 1000).collect::<Vec<_>>(), indices(&other));
        let address = ADDRESS.to_le_bytes();
        assert!(other.code.windows(8).any(|bytes| bytes == address) && !one.code.windows(8).any(|bytes| bytes == address));
    }

    /// A host of another kind needs a quick tier, but nothing here.
    #[test]
    fn regions_are_compiled_for_two_kinds_of_hosts() {
        let arm = isa::lookup_by_name("aarch64").unwrap().finish(settings().unwrap()).unwrap();
        for host in [host().unwrap(), arm] {
            for (direct, window) in [(true, None), (false, None), (false, Some(0)), (false, Some(2))] {
                for counted in [true, false] {
                    let mut input = input(direct, counted);
                    input.layout.window = window;
                    let made = compile(&input, &*host, &mut Scratch::default()).unwrap();
                    assert!(made.exits.len() > 3, "{:?}", made.exits);
                    assert_eq!(made.accesses.is_empty(), !input.layout.is_mapped(), "what the host may refuse is known");
                }
            }
        }
    }
}

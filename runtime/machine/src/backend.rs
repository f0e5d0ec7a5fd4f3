//! What devices are connected to outside the machine: serial lines, disks and networks.
//!
//! Serial line: device -> [`crate::device::Cx::send`] -> the back end's [`Sink`], which never blocks; once it is full the device keeps its bytes
//! until [`crate::device::Device::output_ready`]. And back: [`SerialLine::receive`], which waits while [`UNREAD`] bytes do -> a queue ->
//! [`crate::device::Device::input_ready`].
//!
//! Disk: device -> [`crate::device::Cx::disk_submit`] -> the drive's thread, which performs requests in order -> the machine's thread ->
//! [`crate::device::Device::disk_done`]. No vCPU ever waits for the host. Where instructions are time, a request takes a fixed guest time
//! ([`latency`]), and the machine waits for the host when that is over: the same run every time.
//!
//! Network: device -> [`crate::device::Cx::transmit`] -> the back end's sink, which never blocks; and back: [`crate::Handle::frame`] -> a
//! queue of [`FRAMES`] frames -> [`crate::device::Device::frame_ready`].

use crate::device::Nanos;
use crate::input::InputEvent;
use crate::machine::{Handle, lock};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

/// A disk's contents. Offsets and lengths are bytes, at any alignment; a range that does not lie inside is an error. Methods may block: they
/// are called on a thread of the drive's own.
pub trait Disk: Send {
    /// Its size in bytes.
    fn size(&self) -> u64;
    /// Writes are refused.
    fn read_only(&self) -> bool;
    /// Fills the buffer.
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all bytes.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// The range is no longer needed: it reads as zeroes from now on, or as before where the format cannot do that.
    fn discard(&mut self, at: u64, len: u64) -> io::Result<()>;
    /// Returns when everything that was written is on the medium.
    fn flush(&mut self) -> io::Result<()>;
    /// For snapshots: the ranges whose contents are this image's own, not its backing file's and not zeroes without one.
    fn own_ranges(&mut self) -> io::Result<Vec<Range<u64>>>;
    /// For snapshots: forgets all contents of its own, so that the backing file's are seen, or zeroes.
    fn revert(&mut self) -> io::Result<()>;
}

/// A disk that both a drive and others (monitor, snapshots) reach.
pub type SharedDisk = Arc<Mutex<Box<dyn Disk>>>;

/// What a device asks of a disk. Offsets are bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DiskRequest {
    /// Read so many bytes.
    Read {
        /// First byte.
        at: u64,
        /// How many.
        len: u32,
    },
    /// Write these bytes.
    Write {
        /// First byte.
        at: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// The range is no longer needed.
    Discard {
        /// First byte.
        at: u64,
        /// How many.
        len: u64,
    },
    /// Put everything on the medium.
    Flush,
}

/// What became of a request: the bytes read (none for other requests), or why not.
pub type DiskResult = Result<Vec<u8>, DiskError>;

/// Why a request failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum DiskError {
    /// There is no medium.
    #[error("there is no medium")]
    NoMedium,
    /// A write to a disk that is read-only.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The range does not lie on the disk.
    #[error("the range does not lie on the disk")]
    Range,
    /// The host's error; it was logged.
    #[error("the host reports an error")]
    Host,
}

/// What a device may know of the medium in its drive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Medium {
    /// Bytes.
    pub size: u64,
    /// It is write-protected.
    pub read_only: bool,
}

/// Bytes that wait for a serial port before whoever has more is made to wait.
pub const UNREAD: usize = 64 << 10;

/// Where a serial port's bytes go: takes them all, never blocks. False: it is full; it says [`SerialLine::drained`] when it takes more.
pub type Sink = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// A device's serial port.
#[derive(Default)]
pub(crate) struct Port {
    sink: Mutex<Option<Sink>>,
    pub queue: Mutex<VecDeque<u8>>,
    shared: Arc<PortShared>,
}

#[derive(Default)]
struct PortShared {
    state: Mutex<PortState>,
    changed: Condvar,
}

#[derive(Default)]
struct PortState {
    /// Bytes posted or queued.
    unread: usize,
    /// The sink takes no more for now.
    full: bool,
    /// Whoever sends waits for it: the device need not hear.
    waits: bool,
    /// Nobody reads any more.
    ended: bool,
}

impl Port {
    pub fn connect(&self, sink: Option<Sink>) {
        *lock(&self.sink) = sink;
        lock(&self.shared.state).full = false;
    }

    pub fn can_send(&self) -> bool {
        !lock(&self.shared.state).full
    }

    /// Sends bytes. `wait`: until the sink is not full.
    pub fn send(&self, bytes: &[u8], wait: bool) {
        let mut sink = lock(&self.sink);
        let Some(sink) = sink.as_mut() else { return };
        // Before: it may drain at once.
        {
            let mut state = lock(&self.shared.state);
            (state.full, state.waits) = (true, wait);
        }
        if sink(bytes) {
            lock(&self.shared.state).full = false;
        } else if wait {
            drop(self.shared.changed.wait_while(lock(&self.shared.state), |s| s.full && !s.ended).unwrap_or_else(|e| e.into_inner()));
        }
    }

    /// The next byte for the device.
    pub fn take(&self) -> Option<u8> {
        let byte = lock(&self.queue).pop_front()?;
        let mut state = lock(&self.shared.state);
        state.unread = state.unread.saturating_sub(1);
        if state.unread == UNREAD / 2 {
            self.shared.changed.notify_all();
        }
        Some(byte)
    }

    pub fn line(&self, handle: Handle, device: usize, port: usize) -> SerialLine {
        SerialLine { handle, device, port, shared: self.shared.clone() }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        lock(&self.shared.state).ended = true;
        self.shared.changed.notify_all();
    }
}

/// The host's end of a serial line, for any thread.
#[derive(Clone)]
pub struct SerialLine {
    handle: Handle,
    device: usize,
    port: usize,
    shared: Arc<PortShared>,
}

impl SerialLine {
    /// Gives bytes to the device, and waits while it leaves [`UNREAD`] bytes unread; false: the machine is no more. Not for the machine's own threads.
    pub fn receive(&self, bytes: &[u8]) -> bool {
        let full = |s: &mut PortState| s.unread >= UNREAD && !s.ended;
        let mut state = self.shared.changed.wait_while(lock(&self.shared.state), full).unwrap_or_else(|e| e.into_inner());
        if state.ended {
            return false;
        }
        state.unread += bytes.len();
        drop(state);
        self.handle.post(Posted::Bytes { device: self.device, port: self.port, bytes: bytes.to_vec() });
        true
    }

    /// The sink that was full takes bytes again.
    pub fn drained(&self) {
        let mut state = lock(&self.shared.state);
        let (was_full, waits) = (std::mem::take(&mut state.full), state.waits);
        drop(state);
        self.shared.changed.notify_all();
        if was_full && !waits {
            self.handle.post(Posted::Room { device: self.device, port: self.port });
        }
    }
}

/// Frames that wait for a network device; more are lost, as on a wire.
pub const FRAMES: usize = 1024;

/// Where a network device's frames go: called with a whole frame, as [`crate::schema::Network`] says. Never blocks.
pub type FrameSink = Box<dyn FnMut(&[u8]) + Send>;

/// The most bytes one request may move.
pub const MOST_BYTES: u32 = 16 << 20;

/// The guest time a request takes where instructions are time: that of a fast card.
pub(crate) fn latency(request: &DiskRequest) -> u64 {
    let bytes = match request {
        DiskRequest::Read { len, .. } => u64::from(*len),
        DiskRequest::Write { bytes, .. } => bytes.len() as u64,
        DiskRequest::Discard { .. } | DiskRequest::Flush => 0,
    };
    50_000 + bytes * 20
}

/// A request that was made and not yet answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pending {
    number: u64,
    tag: u32,
    /// Where instructions are time: when it is done.
    pub due: Nanos,
    result: Option<DiskResult>,
}

#[derive(Default)]
struct DriveState {
    medium: Option<Medium>,
    disk: Option<SharedDisk>,
    requests: Option<Sender<(u64, DiskRequest)>>,
    thread: Option<JoinHandle<()>>,
    pending: VecDeque<Pending>,
    made: u64,
}

/// A device's drive: its medium, the thread that serves it, and what it was asked.
#[derive(Default)]
pub(crate) struct Drive {
    state: Arc<(Mutex<DriveState>, Condvar)>,
}

impl Drive {
    pub fn medium(&self) -> Option<Medium> {
        lock(&self.state.0).medium
    }

    pub fn disk(&self) -> Option<SharedDisk> {
        lock(&self.state.0).disk.clone()
    }

    /// Another medium, or none. What was asked of the last is done, and answered.
    pub fn insert(&self, disk: Option<SharedDisk>, done: impl Fn() + Send + 'static) -> io::Result<()> {
        let medium = disk.as_ref().map(|disk| {
            let disk = lock(disk);
            Medium { size: disk.size(), read_only: disk.read_only() }
        });
        self.end();
        let (sender, requests) = channel();
        if let Some(disk) = disk.clone() {
            let state = self.state.clone();
            let thread = thread::Builder::new().name("drive".into()).spawn(move || serve(&disk, &state, &requests, done))?;
            lock(&self.state.0).thread = Some(thread);
        }
        let mut state = lock(&self.state.0);
        (state.medium, state.requests) = (medium, disk.is_some().then_some(sender));
        state.disk = disk;
        Ok(())
    }

    /// A request, which will be done at `due` where instructions are time; true if it is answered already.
    pub fn submit(&self, tag: u32, request: DiskRequest, due: Nanos) -> bool {
        let mut state = lock(&self.state.0);
        state.made += 1;
        let number = state.made;
        // Answers come in the order of requests.
        let due = due.max(state.pending.back().map_or(Nanos(0), |last| last.due));
        let sent = state.requests.as_ref().is_some_and(|r| r.send((number, request)).is_ok());
        let result = (!sent).then_some(Err(DiskError::NoMedium));
        state.pending.push_back(Pending { number, tag, due, result });
        !sent
    }

    /// The next answer, if it is there.
    pub fn answered(&self) -> Option<(u32, DiskResult)> {
        let mut state = lock(&self.state.0);
        let result = state.pending.front_mut()?.result.take()?;
        state.pending.pop_front().map(|first| (first.tag, result))
    }

    /// Waits for the host until all requests are answered.
    pub fn wait(&self) {
        let unanswered = |state: &mut DriveState| state.pending.iter().any(|p| p.result.is_none());
        drop(self.state.1.wait_while(lock(&self.state.0), unanswered).unwrap_or_else(|e| e.into_inner()));
    }

    /// When the next request is done.
    pub fn due(&self) -> Option<Nanos> {
        lock(&self.state.0).pending.front().map(|p| p.due)
    }

    /// What was made and not yet answered, when the host has done it: tag, when it is done, result.
    pub fn pending(&self) -> Vec<(u32, Nanos, DiskResult)> {
        let state = lock(&self.state.0);
        state.pending.iter().filter_map(|p| Some((p.tag, p.due, p.result.clone()?))).collect()
    }

    /// Goes on with these answers instead of its own.
    pub fn restore(&self, pending: &[(u32, Nanos, DiskResult)]) {
        let mut state = lock(&self.state.0);
        state.pending.clear();
        for (tag, due, result) in pending {
            state.made += 1;
            let number = state.made;
            state.pending.push_back(Pending { number, tag: *tag, due: *due, result: Some(result.clone()) });
        }
    }

    /// Nobody waits for answers any more. What was asked is done.
    pub fn forget(&self) {
        lock(&self.state.0).pending.clear();
    }

    fn end(&self) {
        let thread = {
            let mut state = lock(&self.state.0);
            state.requests = None;
            state.thread.take()
        };
        if let Some(thread) = thread {
            _ = thread.join();
        }
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(disk: &SharedDisk, state: &(Mutex<DriveState>, Condvar), requests: &Receiver<(u64, DiskRequest)>, done: impl Fn()) {
    let mut said = false;
    for (number, request) in requests {
        let result = perform(Some(&mut **lock(disk)), request).map_err(|(error, host)| {
            if let Some(host) = host.filter(|_| !std::mem::replace(&mut said, true)) {
                tracing::warn!("disk: {host}");
            }
            error
        });
        if let Some(pending) = lock(&state.0).pending.iter_mut().find(|p| p.number == number) {
            pending.result = Some(result);
        }
        state.1.notify_all();
        done();
    }
    if let Err(e) = lock(disk).flush() {
        tracing::warn!("disk: {e}");
    }
}

pub(crate) fn perform(disk: Option<&mut (dyn Disk + 'static)>, request: DiskRequest) -> Result<Vec<u8>, (DiskError, Option<io::Error>)> {
    let disk = disk.ok_or((DiskError::NoMedium, None))?;
    let fits = |at: u64, len: u64| match at.checked_add(len) {
        Some(end) if end <= disk.size() => Ok(()),
        _ => Err((DiskError::Range, None)),
    };
    let writable = || if disk.read_only() { Err((DiskError::ReadOnly, None)) } else { Ok(()) };
    let host = |e: io::Error| (DiskError::Host, Some(e));
    match request {
        DiskRequest::Read { at, len } => {
            fits(at, len.into())?;
            if len > MOST_BYTES {
                return Err((DiskError::Range, None));
            }
            let mut bytes = vec![0; len as usize];
            disk.read(at, &mut bytes).map(|()| bytes).map_err(host)
        }
        DiskRequest::Write { at, bytes } => {
            writable()?;
            fits(at, bytes.len() as u64)?;
            disk.write(at, &bytes).map(|()| vec![]).map_err(host)
        }
        DiskRequest::Discard { at, len } => {
            writable()?;
            fits(at, len)?;
            disk.discard(at, len).map(|()| vec![]).map_err(host)
        }
        DiskRequest::Flush => disk.flush().map(|()| vec![]).map_err(host),
    }
}

/// Frames on their way to a network device.
#[derive(Default)]
pub(crate) struct Nic {
    pub sink: Mutex<Option<FrameSink>>,
    pub queue: Mutex<VecDeque<Vec<u8>>>,
    pub shared: Arc<NicShared>,
}

#[derive(Default)]
pub(crate) struct NicShared {
    /// Frames posted or queued.
    waiting: AtomicUsize,
    pub up: AtomicBool,
    room: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Nic {
    /// Other frames wait from now on.
    pub fn refill(&self, frames: &[Vec<u8>]) {
        let mut queue = lock(&self.queue);
        self.shared.waiting.fetch_add(frames.len(), Ordering::AcqRel);
        self.shared.waiting.fetch_sub(queue.len(), Ordering::AcqRel);
        *queue = frames.iter().cloned().collect();
    }

    /// The next frame for the device.
    pub fn take(&self) -> Option<Vec<u8>> {
        let frame = lock(&self.queue).pop_front()?;
        let left = self.shared.waiting.fetch_sub(1, Ordering::AcqRel) - 1;
        if (left == 0 || left == FRAMES / 2)
            && let Some(room) = lock(&self.shared.room).as_ref()
        {
            room();
        }
        Some(frame)
    }
}

/// The host's end of a network device's cable: what a back end sends frames to the guest by, from any thread.
#[derive(Clone)]
pub struct Cable {
    pub(crate) handle: Handle,
    pub(crate) device: usize,
    pub(crate) port: usize,
    pub(crate) shared: Arc<NicShared>,
}

impl Cable {
    /// Sends a frame, as [`crate::schema::Network`] says. False: the queue is full, the frame is lost.
    pub fn send(&self, frame: Vec<u8>) -> bool {
        let full = |waiting| (waiting < FRAMES).then_some(waiting + 1);
        if self.shared.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, full).is_err() {
            return false;
        }
        self.handle.post(Posted::Frame { device: self.device, port: self.port, frame });
        true
    }

    /// How many more frames the queue takes.
    pub fn room(&self) -> usize {
        FRAMES.saturating_sub(self.shared.waiting.load(Ordering::Acquire))
    }

    /// Calls `room` whenever the queue has become half or wholly empty; it must not block.
    pub fn on_room(&self, room: impl Fn() + Send + 'static) {
        *lock(&self.shared.room) = Some(Box::new(room));
    }

    /// The cable is plugged in, or not.
    pub fn set_link(&self, up: bool) {
        self.handle.post(Posted::Link { device: self.device, port: self.port, up });
    }
}

/// What other threads give to the machine; it takes effect between instructions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Posted {
    /// Bytes for a serial port.
    Bytes { device: usize, port: usize, bytes: Vec<u8> },
    /// A serial port's sink takes bytes again.
    Room { device: usize, port: usize },
    /// A frame.
    Frame { device: usize, port: usize, frame: Vec<u8> },
    /// The link went up or down.
    Link { device: usize, port: usize, up: bool },
    /// Somebody used a keyboard or a pointer.
    Input { event: InputEvent },
    /// A drive has answers.
    Answers { device: usize, port: usize },
}

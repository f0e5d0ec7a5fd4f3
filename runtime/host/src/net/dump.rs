//! Recording of frames: a capture file that tcpdump and Wireshark read.
//!
//! Source: the pcap file format, draft-ietf-opsawg-pcap (magic A1B23C4D: nanoseconds; link type 1: Ethernet, 227: SocketCAN,
//! whose identifier stands the other way round there). Data path: sink and wire -> a
//! bounded queue -> a thread, which writes whole records at once, so that the file of a killed run can be read. Time is the host's. What the
//! file system is too slow for is not recorded, and counted.

use super::{Refused, Wire, doing};
use emu_machine::backend::FrameSink;
use emu_machine::schema::Network;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Frames that may wait for the file.
const WAITING: usize = 8192;
/// Bytes of records written at once.
const BATCH: usize = 1 << 20;

type Record = (Duration, Vec<u8>);

#[derive(Clone, Debug)]
struct Pen {
    network: Network,
    records: SyncSender<Record>,
    lost: Arc<AtomicU64>,
}

impl Pen {
    fn record(&self, mut frame: Vec<u8>) {
        if let (Network::Can, Some(id)) = (self.network, frame.get_mut(..4)) {
            id.reverse();
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.records.try_send((now, frame)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A capture file that is being written.
#[derive(Debug)]
pub struct Recorder {
    pen: Pen,
    thread: JoinHandle<()>,
}

impl Recorder {
    /// Creates or empties the file.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn create(path: &Path, network: Network) -> Result<Recorder, Refused> {
        let name = path.display().to_string();
        let mut file = doing(&*name, File::create(path))?;
        let mut header = Vec::with_capacity(24);
        header.extend(0xa1b2_3c4du32.to_le_bytes());
        header.extend(2u16.to_le_bytes());
        header.extend(4u16.to_le_bytes());
        header.extend([0; 8]);
        header.extend(262_144u32.to_le_bytes());
        header.extend(if network == Network::Can { 227u32 } else { 1 }.to_le_bytes());
        doing(&*name, file.write_all(&header))?;
        let (records, waiting) = sync_channel(WAITING);
        let pen = Pen { network, records, lost: Arc::default() };
        let lost = pen.lost.clone();
        let thread = thread::Builder::new().name("net dump".into()).spawn(move || write(&name, &mut file, &waiting, &lost));
        Ok(Recorder { pen, thread: doing("thread", thread)? })
    }

    /// Records what goes to the guest.
    pub fn wire(&self, to: Box<dyn Wire>) -> impl Wire + use<> {
        Recorded { to, pen: self.pen.clone() }
    }

    /// Records what comes from the guest. When it is dropped the file is complete.
    pub fn sink(self, to: FrameSink) -> FrameSink {
        let mut end = End { to: Some(to), pen: Some(self.pen), thread: Some(self.thread) };
        Box::new(move |frame| end.frame(frame))
    }
}

fn write(name: &str, file: &mut File, waiting: &Receiver<Record>, lost: &AtomicU64) {
    let mut bytes = Vec::new();
    let mut good = true;
    while let Ok(first) = waiting.recv() {
        bytes.clear();
        let mut next = Some(first);
        while let Some((at, frame)) = next {
            // The format's seconds end in 2106.
            bytes.extend((at.as_secs() as u32).to_le_bytes());
            bytes.extend(at.subsec_nanos().to_le_bytes());
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend(frame);
            next = if bytes.len() < BATCH { waiting.try_recv().ok() } else { None };
        }
        if good && let Err(e) = file.write_all(&bytes) {
            tracing::warn!("{name}: {e}; frames are no longer recorded");
            good = false;
        }
    }
    let lost = lost.load(Ordering::Relaxed);
    if lost > 0 {
        tracing::warn!("{name}: {lost} frames were not recorded, the file is too slow");
    }
}

struct Recorded {
    to: Box<dyn Wire>,
    pen: Pen,
}

impl Wire for Recorded {
    fn send(&self, frame: Vec<u8>) -> bool {
        // Before it is sent: the guest may answer at once.
        if self.to.room() > 0 {
            self.pen.record(frame.clone());
        }
        self.to.send(frame)
    }

    fn room(&self) -> usize {
        self.to.room()
    }

    fn on_room(&self, room: Box<dyn Fn() + Send>) {
        self.to.on_room(room);
    }
}

struct End {
    to: Option<FrameSink>,
    pen: Option<Pen>,
    thread: Option<JoinHandle<()>>,
}

impl End {
    fn frame(&mut self, frame: &[u8]) {
        if let (Some(to), Some(pen)) = (&mut self.to, &self.pen) {
            pen.record(frame.to_vec());
            to(frame);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // The back end has a pen too, and the thread ends when the last is gone.
        self.to = None;
        self.pen = None;
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

//! Frames from the guest on their way to a back end's thread.
//!
//! Sink -> a bounded queue and, if the thread was not told yet, an eventfd -> the thread takes all there is. The sink never blocks; what
//! the queue has no room for is lost, as on a wire.

use super::{LONGEST_FRAME, Refused, doing};
use emu_machine::backend::FrameSink;
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Bytes that may wait for the thread: some windows of TCP.
const MOST_BYTES: usize = 16 << 20;

/// Wakes a thread that waits for its descriptor.
#[derive(Debug)]
pub struct Waker {
    fd: OwnedFd,
    told: AtomicBool,
}

impl Waker {
    fn new() -> rustix::io::Result<Waker> {
        Ok(Waker { fd: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?, told: AtomicBool::new(false) })
    }

    /// Wakes it, now or when it waits next.
    pub fn wake(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// The thread is awake: whatever is said from now on wakes it again.
    pub fn heard(&self) {
        _ = rustix::io::read(&self.fd, &mut [0; 8]);
        // Exchanged, not stored: what was done before a call that came too early to wake is seen from here on.
        self.told.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    closed: bool,
}

/// The queue between the guest and a back end's thread.
#[derive(Debug)]
pub struct Inbox {
    queue: Mutex<Queue>,
    waker: Waker,
}

impl Inbox {
    /// An empty queue.
    ///
    /// # Errors
    /// When the host has no more descriptors.
    pub fn new() -> Result<Arc<Inbox>, Refused> {
        Ok(Arc::new(Inbox { queue: Mutex::default(), waker: doing("eventfd", Waker::new())? }))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What wakes the thread.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Queues a frame.
    pub fn put(&self, frame: &[u8]) {
        if frame.len() > LONGEST_FRAME {
            return;
        }
        let mut queue = self.queue();
        if queue.bytes + frame.len() <= MOST_BYTES && queue.frames.len() < MOST_BYTES / 64 {
            queue.bytes += frame.len();
            queue.frames.push_back(frame.to_vec());
        }
        drop(queue);
        self.waker.wake();
    }

    /// Takes all frames; false when there will be no more.
    pub fn take(&self, frames: &mut VecDeque<Vec<u8>>) -> bool {
        self.waker.heard();
        let mut queue = self.queue();
        queue.bytes = 0;
        frames.append(&mut queue.frames);
        !queue.closed
    }

    /// The guest's end: its drop tells the thread to end, and waits for it.
    pub fn sink(self: &Arc<Inbox>, thread: JoinHandle<()>) -> FrameSink {
        let end = End { inbox: self.clone(), thread: Some(thread) };
        Box::new(move |frame| end.inbox.put(frame))
    }
}

struct End {
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.inbox.queue().closed = true;
        self.inbox.waker.wake();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

//! What a client is sent: a bounded queue, and a thread that writes.

use std::io::Write;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Messages that may wait.
const ROOM: usize = 256;

enum Message {
    Bytes(Vec<u8>),
    /// Somebody wants to know when all before is written.
    Flush(SyncSender<()>),
}

/// The sending side of a client.
pub struct Outbox(SyncSender<Message>);

impl Outbox {
    /// Begins to write.
    pub fn new(mut writer: impl Write + Send + 'static) -> Outbox {
        let (queue, messages) = sync_channel(ROOM);
        thread::spawn(move || {
            while let Ok(message) = messages.recv() {
                match message {
                    Message::Bytes(bytes) => {
                        if writer.write_all(&bytes).and_then(|()| writer.flush()).is_err() {
                            return;
                        }
                    }
                    Message::Flush(done) => _ = done.try_send(()),
                }
            }
        });
        Outbox(queue)
    }

    /// Sends, and waits while the queue is full. False: the client is gone.
    pub fn send(&self, bytes: Vec<u8>) -> bool {
        self.0.send(Message::Bytes(bytes)).is_ok()
    }

    /// Sends without ever waiting. False: the queue is full, or the client is gone.
    pub fn post(&self, bytes: Vec<u8>) -> bool {
        self.0.try_send(Message::Bytes(bytes)).is_ok()
    }

    /// Waits until all is written, but not longer than this.
    pub fn flush(&self, most: Duration) {
        let (done, written) = sync_channel(1);
        if self.0.try_send(Message::Flush(done)).is_ok() {
            _ = written.recv_timeout(most);
        }
    }
}

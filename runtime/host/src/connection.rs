//! One connection for a protocol of ours, in both directions: over the standard streams or a socket, see [`Backend`].
//!
//! Unlike a serial port's it ends when the peer leaves: its reader then reads nothing more.

use crate::chardev::{Address, Backend, Next, Stream, next};
use std::io::{self, Read, Write};

/// What is read from the peer, and written to it.
pub type Pair = (Box<dyn Read + Send>, Box<dyn Write + Send>);

/// A connection, or a socket that waits for one.
pub struct Connection(State);

enum State {
    Open(Pair),
    /// A Unix socket's path is removed when the peer is there.
    Listening(Next, Option<String>),
}

fn pair(stream: Stream) -> io::Result<Pair> {
    Ok((Box::new(stream.try_clone()?), Box::new(stream)))
}

impl Connection {
    /// Connects, or listens. `None`: this back end is no connection.
    ///
    /// # Errors
    /// The host's.
    pub fn new(backend: &Backend) -> io::Result<Option<Connection>> {
        Ok(Some(Connection(match backend {
            Backend::Stdio => State::Open((Box::new(io::stdin()), Box::new(io::stdout()))),
            Backend::Socket(address, way) => {
                let mut next = next(address, way.server)?;
                match address {
                    _ if !way.server => State::Open(pair(next()?)?),
                    Address::Unix(path) => State::Listening(next, Some(path.clone())),
                    _ => State::Listening(next, None),
                }
            }
            Backend::Null | Backend::File { .. } | Backend::Pty => return Ok(None),
        })))
    }

    /// Waits until the peer is there; nobody else can connect then.
    ///
    /// # Errors
    /// The host's.
    pub fn accept(self) -> io::Result<Pair> {
        match self.0 {
            State::Open(pair) => Ok(pair),
            State::Listening(mut next, path) => {
                let stream = next()?;
                _ = path.map(std::fs::remove_file);
                pair(stream)
            }
        }
    }
}

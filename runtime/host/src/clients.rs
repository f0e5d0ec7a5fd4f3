//! A back end for conversations: each client is spoken with from its beginning, one after the other.
//!
//! `unix:` and `tcp:` with `server` wait for the next client when one leaves; without it, and on a pty, there is only one.

use crate::chardev::{Backend, Error, Stream, next, open_pty};
use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

/// Speaks with one client: reads what it says, writes to it, returns when it has left.
pub type Talk = Box<dyn Fn(Box<dyn Read + Send>, Box<dyn Write + Send>) + Send>;

fn meet(stream: Stream, talk: &Talk) {
    if let Ok(writer) = stream.try_clone() {
        talk(Box::new(stream), Box::new(writer));
    }
}

/// Opens a back end, and speaks with its clients on a thread.
///
/// # Errors
/// [`Error::Open`] with the host's reason; [`Error::OneWay`] for back ends that nobody can speak through.
pub fn serve(backend: &Backend, talk: Talk) -> Result<(), Error> {
    let fail = |source| Error::Open { backend: backend.to_string(), source };
    match backend {
        Backend::Null | Backend::File { .. } => return Err(Error::OneWay(backend.to_string())),
        Backend::Stdio => _ = thread::spawn(move || talk(Box::new(io::stdin()), Box::new(io::stdout()))),
        Backend::Pty => {
            let (master, slave, name) = open_pty().map_err(fail)?;
            let writer = master.try_clone().map_err(fail)?;
            eprintln!("monitor on {name}");
            thread::spawn(move || {
                let _held = slave;
                talk(Box::new(master), Box::new(writer));
            });
        }
        Backend::Socket(address, way) => {
            let mut next = next(address, way.server).map_err(fail)?;
            if !way.server {
                let stream = next().map_err(fail)?;
                thread::spawn(move || meet(stream, &talk));
                return Ok(());
            }
            thread::spawn(move || {
                loop {
                    // An error of one client is not the end of all.
                    match next() {
                        Ok(stream) => meet(stream, &talk),
                        Err(_) => thread::sleep(Duration::from_millis(100)),
                    }
                }
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn clients_are_met_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket").to_string_lossy().into_owned();
        let backend: Backend = format!("unix:{path},server").parse().unwrap();
        let talk: Talk = Box::new(|mut reader, mut writer| {
            writer.write_all(b"hello ").unwrap();
            let mut byte = [0];
            while matches!(reader.read(&mut byte), Ok(1)) {
                writer.write_all(&byte).unwrap();
            }
        });
        serve(&backend, talk).unwrap();
        for text in ["one", "two"] {
            let mut client = UnixStream::connect(&path).unwrap();
            client.write_all(text.as_bytes()).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, format!("hello {text}"));
        }
        assert!(matches!(serve(&Backend::Null, Box::new(|_, _| {})), Err(Error::OneWay(_))));
    }
}

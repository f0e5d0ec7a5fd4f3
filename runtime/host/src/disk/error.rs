//! What can be wrong with an image or a network disk: which format, where, what.

use super::nbd;
use std::io;

/// An image or a network disk that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image breaks a rule of its format.
    #[error("{format} image is broken at byte {at:#x}: {what}")]
    Broken {
        /// The format's name.
        format: &'static str,
        /// Offset in the file, in bytes.
        at: u64,
        /// The rule.
        what: String,
    },
    /// The image is of a kind that is not read.
    #[error("{format} image at byte {at:#x}: {what}, which is not supported")]
    Unsupported {
        /// The format's name.
        format: &'static str,
        /// Offset in the file, in bytes.
        at: u64,
        /// What it has.
        what: String,
    },
    /// The image holds only the differences from another file. No file is opened because an image names it.
    #[error("{format} image needs its backing file `{name}`")]
    Backing {
        /// The format's name.
        format: &'static str,
        /// As the image names it.
        name: String,
    },
    /// The host cannot read the file.
    #[error("cannot read {format} image at byte {at:#x}: {source}")]
    Host {
        /// The format's name.
        format: &'static str,
        /// Offset in the file, in bytes.
        at: u64,
        /// The host's reason.
        source: io::Error,
    },
    /// A network disk.
    #[error(transparent)]
    Nbd(#[from] nbd::Error),
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Broken { .. } => io::ErrorKind::InvalidData,
            Error::Unsupported { .. } | Error::Backing { .. } => io::ErrorKind::Unsupported,
            Error::Host { source, .. } => source.kind(),
            Error::Nbd(error) => error.kind(),
        };
        io::Error::new(kind, error)
    }
}

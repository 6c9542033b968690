//! Where predictions go.

use std::io::{ErrorKind, IsTerminal, Write};

use bytes::Bytes;
use headstart::store::{Location, Writer};

use crate::cli::error::CliError;

/// Standard output, or a file that appears when it is complete.
pub(super) enum Sink {
    Output,
    File(Box<Writer>),
}

impl Sink {
    /// `None`: standard output.
    pub(super) fn open(url: Option<&str>) -> Result<Sink, CliError> {
        let Some(url) = url else { return Ok(Sink::Output) };
        let location = Location::parse(url)?;
        location.writable()?;
        Ok(Sink::File(Box::new(location.writer())))
    }

    /// Whether a person sees the lines as they come.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Sink::Output) && std::io::stdout().is_terminal()
    }

    /// Writes some bytes. `false`: nobody reads them any more.
    pub(super) async fn put(&mut self, piece: &[u8]) -> Result<bool, CliError> {
        match self {
            Sink::Output => {
                let mut out = std::io::stdout().lock();
                match out.write_all(piece).and_then(|()| out.flush()) {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
                    written => Ok(written.map(|()| true)?),
                }
            }
            Sink::File(writer) => {
                writer.put(Bytes::copy_from_slice(piece)).await?;
                Ok(true)
            }
        }
    }

    /// Makes the file appear.
    pub(super) async fn finish(self) -> Result<(), CliError> {
        match self {
            Sink::Output => Ok(()),
            Sink::File(writer) => Ok(writer.finish().await?),
        }
    }
}

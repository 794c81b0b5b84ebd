//! A decompressed body as something that a target can let visit it.

use super::body::Unpacked;
use super::media_type::WriteVersion;
use super::relabelled::relabelled;
use super::series::Admission;
use super::target::{SeriesSink, Tally, WriteRequest};
use super::v2::Symbols;
use super::wire::Malformed;
use super::{v1, v2};

/// A request of either version.
#[derive(Debug)]
pub struct DecodedLater<'a> {
    /// Let go of when it was visited: until the write is durable nobody needs it.
    body: Option<Unpacked<'a>>,
    /// How many symbols there are, where the version has any.
    symbols: Option<usize>,
    admission: &'a Admission,
    /// What was written and what was not.
    pub tally: Tally,
    /// Why the visit ended early, if it did.
    pub malformed: Option<Malformed>,
}

/// Why a body is not even begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is not the message that it should be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its symbols table would take more memory than a request may.
    #[error("the symbols table has more than {0} entries")]
    TooManySymbols(usize),
}

impl<'a> DecodedLater<'a> {
    /// A request in `body`, in which there may be `symbols_max` symbols.
    ///
    /// # Errors
    /// Where the outer structure of a request of version 2.0 is wrong, or its symbols table is too large.
    pub fn try_new(
        body: Unpacked<'a>,
        version: WriteVersion,
        symbols_max: usize,
        admission: &'a Admission,
    ) -> Result<Self, BodyError> {
        let symbols = match version {
            WriteVersion::V1 => None,
            WriteVersion::V2 => Some(Symbols::count(&body)?),
        };
        if symbols.is_some_and(|count| count > symbols_max) {
            return Err(BodyError::TooManySymbols(symbols_max));
        }
        Ok(Self { body: Some(body), symbols, admission, tally: Tally::default(), malformed: None })
    }
}

impl WriteRequest for DecodedLater<'_> {
    fn visit(&mut self, sink: &mut dyn SeriesSink) -> Result<(), Malformed> {
        let body = self.body.take().unwrap_or_else(|| Vec::new().into());
        let symbols = self.symbols;
        let visited = relabelled(self.admission, sink, &mut self.tally, |out| match symbols {
            None => v1::visit(&body, out),
            Some(count) => Symbols::collect(&body, count).and_then(|symbols| v2::visit(&body, &symbols, out)),
        });
        self.malformed = visited.err();
        visited
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

#[cfg(test)]
mod tests;

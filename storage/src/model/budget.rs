//! Memory accounting without knowing who accounts.
//!
//! Every growing buffer in storage holds a [`Reservation`]; the engine implements [`Budget`] on its memory pool.

use std::fmt::Debug;
use std::sync::Arc;

/// The memory that a query may use has run out.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct BudgetExceeded(pub String);

/// Something that bytes are reserved from. Shared by all buffers of one query.
pub trait Budget: Send + Sync + Debug {
    /// Takes `bytes` more, or says which limit stands in the way.
    ///
    /// # Errors
    /// [`BudgetExceeded`] with the name of the limit, what was asked and what is left.
    fn try_grow(&self, bytes: usize) -> Result<(), BudgetExceeded>;

    /// Gives `bytes` back.
    fn shrink(&self, bytes: usize);
}

/// A budget without a limit, for tools and tests.
#[derive(Debug, Default, Clone, Copy)]
pub struct UnlimitedBudget;

impl Budget for UnlimitedBudget {
    fn try_grow(&self, _bytes: usize) -> Result<(), BudgetExceeded> {
        Ok(())
    }

    fn shrink(&self, _bytes: usize) {}
}

/// Bytes taken from a budget, given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<dyn Budget>,
    bytes: usize,
}

impl Reservation {
    /// An empty reservation on `budget`.
    #[must_use]
    pub fn new(budget: Arc<dyn Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// As [`Budget::try_grow`]; nothing is taken then.
    pub fn try_grow(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        self.budget.try_grow(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Sets the size to `bytes`, up or down.
    ///
    /// # Errors
    /// As [`Budget::try_grow`] where it grows.
    pub fn try_resize(&mut self, bytes: usize) -> Result<(), BudgetExceeded> {
        if bytes > self.bytes {
            self.try_grow(bytes - self.bytes)
        } else {
            self.budget.shrink(self.bytes - bytes);
            self.bytes = bytes;
            Ok(())
        }
    }

    /// What is held now, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.shrink(self.bytes);
    }
}

//! Answers under way, so that nothing is dropped that one of them still reads.
//!
//! What is dropped is in a block by then, and whoever selects after the block can be seen gets it from there too. So a truncation
//! waits for the answers that were selected before ([`Readers::done`]); one that is slower than that wait ends with an error that
//! makes the query start anew, instead of with a hole.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::model::Timestamp;

/// The answers under way.
#[derive(Debug, Default)]
pub(super) struct Readers {
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// The first time that each of them reads, by number.
    active: BTreeMap<u64, Timestamp>,
    /// Of each truncation, the first reader after it, and before which time it dropped. Only those that matter to somebody.
    truncations: Vec<(u64, Timestamp)>,
}

/// One of them; it has left when this is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    readers: Arc<Readers>,
    number: u64,
    mint: Timestamp,
}

impl Readers {
    /// Somebody begins to read from `mint` on.
    pub fn enter(self: &Arc<Self>, mint: Timestamp) -> Reader {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.active.insert(number, mint);
        Reader { readers: Arc::clone(self), number, mint }
    }

    /// Waits until everybody has left who is here now and reads something before `before`.
    pub async fn done(&self, before: Timestamp) {
        let end = self.state.lock().next;
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if !self.state.lock().active.range(..end).any(|(_, mint)| *mint < before) {
                return;
            }
            left.await;
        }
    }

    /// Notes that what was before `before` is dropped.
    pub fn truncated(&self, before: Timestamp) {
        let mut state = self.state.lock();
        let next = state.next;
        let oldest = state.active.keys().next().copied().unwrap_or(next);
        state.truncations.retain(|(reader, _)| *reader > oldest);
        if oldest < next {
            state.truncations.push((next, before));
        }
    }
}

impl Reader {
    /// Whether something it reads was dropped since it came.
    pub fn lost(&self) -> bool {
        let state = self.readers.state.lock();
        state.truncations.iter().any(|(reader, before)| self.number < *reader && self.mint < *before)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.state.lock().active.remove(&self.number);
        self.readers.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn truncation_waits_for_those_who_read_it() {
        let readers = Arc::new(Readers::default());
        let (old, young) = (readers.enter(0), readers.enter(100));
        assert!(readers.done(100).now_or_never().is_none());
        let mut wait = Box::pin(readers.done(100));
        assert!((&mut wait).now_or_never().is_none());
        let later = readers.enter(0);
        drop(old);
        assert!(wait.now_or_never().is_some());
        readers.truncated(50);
        let after = readers.enter(0);
        assert!(later.lost() && !young.lost() && !after.lost());
        drop((young, later));
        readers.truncated(10);
        assert!(after.lost());
    }
}

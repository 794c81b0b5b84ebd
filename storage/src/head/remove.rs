//! Removing tenants of whom the head has nothing and has heard nothing for long.
//!
//! ```text
//! retire ──> a record in the log: what it has of the tenant until here is not needed ──> durable ──> blocks go ──> forget
//! ```
//!
//! 1. Nobody writes to the tenant when the record is made, and nobody can begin to until it is in the log's buffer. So every
//!    sample that was taken before is before it in the log, and every later one behind it.
//! 2. Whoever writes after that writes to the same tenant, which stays, and nothing in order is taken that is older than its
//!    blocks. It is forgotten only when the blocks are gone, and only if still nobody writes.
//! 3. Without the record a replay would bring back from old segments what no block here tells to be in blocks.

use super::Head;
use super::appender::Commit;
use super::journal::RoundLog;
use super::outcome::Outcome;
use super::tenants::Unused;
use crate::model::Timestamp;
use crate::wal::WalError;

impl Head {
    /// Notes in the log that a tenant without series is about to go, if nothing came of it after `since`. None where something
    /// did, or is being written. What is returned must be [`durable`](Head::durable) before anything of the tenant is deleted.
    ///
    /// # Errors
    /// [`WalError`] where the log takes nothing now.
    pub fn retire(&self, tenant: &str, since: Timestamp) -> Result<Option<Commit>, WalError> {
        let note = || {
            let mut log = RoundLog::default();
            log.add_removed(tenant);
            self.journal.append(&log)
        };
        match self.tenants.while_unused(tenant, since, |_| note()) {
            Unused::InUse => Ok(None),
            // the log names none that the head does not know
            Unused::Unknown => Ok(Some(Commit::default())),
            Unused::Done(noted) => Ok(Some(Commit { outcome: Outcome::default(), lsn: noted? })),
        }
    }

    /// Frees what the head has of a tenant that was [retired](Self::retire), if it still has no series and nothing came after
    /// `since`. Says whether it did.
    pub fn forget(&self, tenant: &str, since: Timestamp) -> bool {
        match self.tenants.forget(tenant, since) {
            Some(tenant) => {
                self.drop_leavings(tenant.number);
                true
            }
            None => false,
        }
    }

    /// Drops what a tenant who was forgotten has beside series. Nobody can add to it any more.
    pub(super) fn drop_leavings(&self, number: u32) {
        self.families.lock().remove_tenant(number);
        self.exemplars.lock().remove_tenant(number);
        for shard in self.shards.iter() {
            shard.write().families.remove_tenant(number);
        }
    }
}

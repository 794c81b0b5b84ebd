//! The program as a process that is written to: what it acknowledged is there, whatever it was sent and whatever became of it.

#![cfg(test)]

mod compacted;
mod crash;
mod flight;
mod full_disk;
mod golden;
mod hostile;
mod ledger;
mod memory;
mod receive;
mod requests;
mod server;
mod stop;
mod tenants;
mod tls;
mod web;
mod written;

use storage::{Clock, SystemClock};

/// Ten minutes ago, in seconds.
fn recently() -> i64 {
    SystemClock.now() / 1_000 - 600
}

//! The program as a process that is written to: what it acknowledged is there, whatever it was sent and whatever became of it.

#![cfg(test)]

mod compacted;
mod crash;
mod golden;
mod requests;
mod server;
mod written;

use storage::{Clock, SystemClock};

/// Ten minutes ago, in seconds: the server writes its own metrics of now, and takes nothing much older after that.
fn recently() -> i64 {
    SystemClock.now() / 1_000 - 600
}

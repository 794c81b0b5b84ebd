//! Queries over the golden blocks, asked as clients ask them: of the HTTP API's router, without a socket.
//!
//! One binary for all tests that link the engine, because linking it is what takes time.

#![cfg(test)]

mod compacted;
mod comparison;
mod determinism;
mod explain;
mod faults;
mod fuzz;
mod generated;
mod golden;
mod hostile;
mod promqltest;
mod served;
mod sql;
mod thanos;

//! Disks for tests: one in memory that loses power, and one that fails, hangs and fills up at the test's word.

mod faulty;
mod power_cut;

pub use faulty::FaultDisk;
pub use power_cut::PowerCutDisk;

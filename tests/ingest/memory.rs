//! The memory of a process, as the system counts it.

use std::path::PathBuf;
use std::process::Child;

/// A process that is looked at.
pub struct Memory {
    folder: PathBuf,
    /// What it had when the looking began, in bytes.
    idle: u64,
}

impl Memory {
    /// Of a process that has nothing to do now.
    pub fn of(process: &Child) -> Self {
        let mut memory = Self { folder: format!("/proc/{}", process.id()).into(), idle: 0 };
        memory.idle = memory.bytes("VmRSS:");
        memory.forget_peak();
        memory
    }

    /// Lets the peak begin at what it has now.
    pub fn forget_peak(&self) {
        std::fs::write(self.folder.join("clear_refs"), "5").unwrap();
    }

    /// By how much the peak is above what it had when it was idle, in bytes.
    pub fn growth(&self) -> u64 {
        self.bytes("VmHWM:").saturating_sub(self.idle)
    }

    fn bytes(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(self.folder.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }
}

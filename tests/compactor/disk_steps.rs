//! Kills the process before one of its changes to the files of a folder.
//!
//! `std` makes these through functions of the C library. This binary has its own of them, which count and then make the same call of the
//! system, so no code of the program knows of it.

#![expect(unsafe_code, reason = "these are the C library's functions, with its contracts")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_long, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// The folder, and how many changes are made in it before the end.
static ARMED: OnceLock<(PathBuf, AtomicU64)> = OnceLock::new();

/// Has SIGKILL come instead of the change `number` below `folder`, from now on.
pub fn kill_before(number: u64, folder: &Path) {
    let folder = folder.canonicalize().unwrap();
    ARMED.set((folder, AtomicU64::new(number))).expect("invariant: a process is killed once");
}

fn step(changed: impl FnOnce() -> Option<PathBuf>) {
    let Some((folder, left)) = ARMED.get() else { return };
    if changed().is_some_and(|path| path.starts_with(folder)) && left.fetch_sub(1, Ordering::SeqCst) == 0 {
        kill_process(getpid(), Signal::KILL).unwrap();
    }
}

fn opened(fd: c_int) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

fn named(path: *const c_char) -> Option<PathBuf> {
    // SAFETY: callers hand on what they were given, a path that ends with zero
    let path = unsafe { CStr::from_ptr(path) };
    Some(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, len: usize) -> isize {
    step(|| opened(fd));
    unsafe { libc::syscall(libc::SYS_write, fd, bytes, len) as isize }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    step(|| opened(fd));
    status(unsafe { libc::syscall(libc::SYS_fsync, fd) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    step(|| named(from));
    status(unsafe { libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: c_uint) -> c_int {
    step(|| named(path));
    status(unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    step(|| named(path));
    status(unsafe { libc::syscall(libc::SYS_unlinkat, libc::AT_FDCWD, path, 0) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    step(|| match folder {
        libc::AT_FDCWD => named(path),
        _ => Some(opened(folder)?.join(named(path)?)),
    });
    status(unsafe { libc::syscall(libc::SYS_unlinkat, folder, path, flags) })
}

/// The answer of a call that is 0 or -1.
fn status(answer: c_long) -> c_int {
    if answer == 0 { 0 } else { -1 }
}

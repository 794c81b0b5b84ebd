//! How much memory there is, and sizes as people write them.

/// Allocations from this size on, in bytes, are the system's own and go back to it when they are freed.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: i32 = 8 << 20;

/// Has large buffers go back to the system when they are freed.
///
/// The C library begins so, but learns from the first large buffer that is freed to keep its like, for each of its arenas. A server that has
/// to unpack a body of 32 MiB now and then would hold several for ever.
pub fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "mallopt sets a number of the allocator; where it cannot, nothing changes")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
    }
}

/// Has all threads allocate from as many arenas as there are cores; to be called before there are threads.
///
/// The C library makes up to eight times as many, and what is freed in one is of no use to the others: compaction, whose batches are made by
/// one thread and freed by another, took up to a quarter more memory for it, and no less time.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        #[expect(unsafe_code, reason = "as above")]
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, i32::try_from(cores).unwrap_or(i32::MAX));
        }
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub usize);

/// Units, longest names first.
const UNITS: [(&str, usize); 13] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    // Thanos counts these in powers of two as well
    ("KB", 1 << 10),
    ("MB", 1 << 20),
    ("GB", 1 << 30),
    ("TB", 1 << 40),
    ("PB", 1 << 50),
    ("EB", 1 << 60),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("B", 1),
];

/// Reads `512MiB`, `4GB`, `1000000`.
///
/// # Errors
/// Where it is no size.
pub fn parse_byte_size(text: &str) -> Result<ByteSize, String> {
    let (number, factor) =
        UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).unwrap_or((text, 1));
    let size = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(factor));
    size.filter(|&size| size > 0).map(ByteSize).ok_or_else(|| format!("{text:?} is not a size; write for example 4GiB"))
}

/// As [`parse_byte_size`], and `0`.
///
/// # Errors
/// Where it is neither.
pub fn parse_byte_size_or_zero(text: &str) -> Result<ByteSize, String> {
    if text == "0" { Ok(ByteSize(0)) } else { parse_byte_size(text) }
}

/// The bytes that this process may use: its container's limit, or the machine's memory; 4 GiB where neither is known.
pub fn available_bytes() -> usize {
    const UNKNOWN: usize = 4 << 30;
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let container = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse::<usize>().ok());
    let machine = read("/proc/meminfo").and_then(|text| total_of(&text));
    match (container, machine) {
        (Some(container), Some(machine)) => container.min(machine),
        (container, machine) => container.or(machine).unwrap_or(UNKNOWN),
    }
}

/// `MemTotal` of `/proc/meminfo`, which is in KiB.
fn total_of(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_ascii_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in
            [("1", 1), ("1000B", 1000), ("4KiB", 4096), ("2GB", 2 << 30), ("3G", 3 << 30), ("1 MiB", 1 << 20)]
        {
            assert_eq!(parse_byte_size(text), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "0", "x", "-1", "1.5GB", "99999999999TiB", "GB"] {
            assert!(parse_byte_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_is_a_size_where_it_means_no_limit() {
        assert_eq!(parse_byte_size_or_zero("0"), Ok(ByteSize(0)));
        assert_eq!(parse_byte_size_or_zero("2PB"), Ok(ByteSize(2 << 50)));
        assert!(parse_byte_size_or_zero("").is_err());
    }

    #[test]
    fn the_machines_memory_is_found() {
        assert_eq!(total_of("MemTotal:       16384 kB\nMemFree: 1 kB\n"), Some(16_777_216));
        assert_eq!(total_of(""), None);
    }
}

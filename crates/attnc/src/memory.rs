// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How much memory a run may ask for.
//!
//! In: nothing but what the system says. Out: the bytes that can be had, so that a sequence too long is refused before anything is allocated.

use std::fs;

/// Bytes that can be allocated now, as far as the system tells: Linux's `MemAvailable`, bounded by the control group's limit and by what the
/// process's limit of address space (`ulimit -v`) leaves. `None` where nothing is told.
pub fn available() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let free = mem_available(&info)?;
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let address_space = fs::read_to_string("/proc/self/limits")
        .ok()
        .zip(fs::read_to_string("/proc/self/status").ok())
        .and_then(|(limits, status)| address_space_left(&limits, &status));
    [limit, address_space]
        .into_iter()
        .flatten()
        .chain([free])
        .min()
}

/// What the limit of the address space leaves; `None` where there is no limit.
fn address_space_left(limits: &str, status: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmSize:"))?;
    let used: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(limit.saturating_sub(used.checked_mul(1024)?))
}

fn mem_available(info: &str) -> Option<u64> {
    let line = info.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Whether `bytes` can be allocated: they fit the address space and, where the system tells, what is available.
///
/// # Errors
/// What is available, in bytes.
pub fn check(bytes: u128) -> Result<(), u128> {
    let most = match available() {
        Some(b) => u128::from(b),
        None => isize::MAX as u128,
    };
    if bytes <= most { Ok(()) } else { Err(most) }
}

/// A byte count for people: `3.2 GiB`.
pub fn readable(bytes: u128) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_and_sizes_are_readable() {
        let text = "MemTotal:       10 kB\nMemAvailable:    3 kB\n";
        assert_eq!(mem_available(text), Some(3072));
        assert_eq!(mem_available("nothing"), None);
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax address space  4096000  unlimited  bytes\n";
        let status = "VmPeak:  9 kB\nVmSize:  1000 kB\n";
        assert_eq!(address_space_left(limits, status), Some(3_072_000));
        let unlimited = limits.replace("4096000", "unlimited");
        assert_eq!(address_space_left(&unlimited, status), None);
        assert_eq!(readable(512), "512 B");
        assert_eq!(readable(3 << 30), "3.0 GiB");
        assert_eq!(readable(u128::from(u64::MAX)), "16.0 EiB");
        assert_eq!(check(1), Ok(()));
        assert!(check(1 << 100).is_err());
    }
}

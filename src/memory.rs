//! How much memory the machine has.

/// What is assumed where the system does not say.
const ASSUMED_BYTES: u64 = 1 << 30;

/// Bytes of memory that this process may count on: the machine's, or its control group's if that is less.
pub(crate) fn total_bytes() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo_total(&text));
    let group =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    [machine, group].into_iter().flatten().min().unwrap_or(ASSUMED_BYTES)
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        assert_eq!(meminfo_total("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16 * 1024));
        assert_eq!(meminfo_total("nothing"), None);
        assert!(total_bytes() > 1 << 20);
    }
}

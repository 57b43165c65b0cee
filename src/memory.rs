//! How much memory this process may count on, and how much of it is in use.

use std::path::{Path, PathBuf};

/// What is assumed where the system does not say.
const ASSUMED_BYTES: u64 = 1 << 30;

/// Bytes of memory that this process may count on: the machine's, or its control group's if that is less.
pub(crate) fn total_bytes() -> u64 {
    let machine =
        std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| field_bytes(&text, "MemTotal"));
    let own_group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = group_limits(&own_group).into_iter().filter_map(|file| {
        // `max` is no limit; of version 1 that is a number beyond all memory
        std::fs::read_to_string(file).ok()?.trim().parse().ok()
    });
    machine.into_iter().chain(groups).min().unwrap_or(ASSUMED_BYTES)
}

/// Bytes of memory that this process has in use, also those that are swapped out; nothing where the system does not say.
pub(crate) fn used_bytes() -> Option<u64> {
    in_use(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Gives the system back what this thread has freed, or others have freed of it, and the allocator has kept.
#[allow(unsafe_code, reason = "mimalloc has no safe way to say it")]
pub(crate) fn give_back() {
    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // SAFETY: it is a function of this program's allocator, takes a plain value, and may be called on every thread at
    // any time.
    unsafe { mi_collect(true) }
}

/// Files of the system are not counted: it drops them when it needs the memory.
fn in_use(status: &str) -> Option<u64> {
    let resident = field_bytes(status, "RssAnon").or_else(|| field_bytes(status, "VmRSS"))?;
    Some(resident + field_bytes(status, "VmSwap").unwrap_or(0))
}

/// The files with limits of a process, of its control group and those around it.
fn group_limits(own_group: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in own_group.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

/// Reads a line such as `MemTotal: 16 kB`.
fn field_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read() {
        assert_eq!(field_bytes("MemTotal:       16 kB\nMemFree: 1 kB\n", "MemTotal"), Some(16 * 1024));
        assert_eq!(field_bytes("nothing", "MemTotal"), None);
        assert_eq!(in_use("VmRSS:\t 9 kB\nRssAnon:\t 4 kB\nVmSwap:\t 2 kB\n"), Some(6 * 1024));
        assert_eq!(in_use("VmRSS:\t 9 kB\n"), Some(9 * 1024));
        assert!(total_bytes() > 1 << 20);
        assert!(used_bytes().is_none_or(|used| used > 1 << 16));
        give_back();
    }

    #[test]
    fn the_groups_around_the_own_one_count() {
        let files = |text: &str| {
            let files = group_limits(text).into_iter();
            files.map(|file| file.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            files("0::/system.slice/sluice.service\n"),
            [
                "/sys/fs/cgroup/system.slice/sluice.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(files("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
        let old = files("5:cpu,cpuacct:/x\n4:memory:/x\n");
        assert_eq!(old[0], "/sys/fs/cgroup/memory/x/memory.limit_in_bytes");
        assert!(files("").is_empty());
    }
}

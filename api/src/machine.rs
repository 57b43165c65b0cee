//! What the operating system says of the machine and of this process.

/// Numbers of the machine; zero where the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Machine {
    pub(crate) memory_total_bytes: u64,
    pub(crate) memory_used_bytes: u64,
    /// Of the last minute, 5 and 15 minutes.
    pub(crate) load: [f64; 3],
    /// Files that the process may have open.
    pub(crate) open_files_max: u64,
    /// Threads of the process.
    pub(crate) threads: u64,
}

impl Machine {
    /// Looks at `/proc`: files that are made up in memory, so reading them does not wait.
    pub(crate) fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut machine = Self::default();
        machine.read_memory(&read("/proc/meminfo"));
        machine.read_load(&read("/proc/loadavg"));
        machine.open_files_max = open_files_max(&read("/proc/self/limits")).unwrap_or(0);
        machine.threads = field(&read("/proc/self/status"), "Threads:").unwrap_or(0);
        machine
    }

    fn read_memory(&mut self, text: &str) {
        let total = field(text, "MemTotal:").unwrap_or(0);
        let available = field(text, "MemAvailable:").unwrap_or(total);
        self.memory_total_bytes = total.saturating_mul(1024);
        self.memory_used_bytes = total.saturating_sub(available).saturating_mul(1024);
    }

    fn read_load(&mut self, text: &str) {
        for (slot, word) in self.load.iter_mut().zip(text.split_ascii_whitespace()) {
            *slot = word.parse().unwrap_or(0.0);
        }
    }
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

fn open_files_max(limits: &str) -> Option<u64> {
    field(limits, "Max open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_system_are_read() {
        let mut machine = Machine::default();
        machine.read_memory("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    400 kB\n");
        machine.read_load("0.50 1.25 2.00 1/100 42\n");
        assert_eq!((machine.memory_total_bytes, machine.memory_used_bytes), (1_024_000, 614_400));
        assert_eq!(machine.load, [0.5, 1.25, 2.0]);
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 1048576              files\n";
        assert_eq!(open_files_max(limits), Some(1024));
    }

    #[test]
    fn what_is_not_there_is_zero() {
        let mut machine = Machine::default();
        machine.read_memory("nonsense");
        machine.read_load("x");
        assert_eq!(machine, Machine::default());
        assert_eq!(open_files_max(""), None);
    }
}

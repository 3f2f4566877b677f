//! What the operating system tells of the process, under the names that Prometheus' own libraries
//! use. Read at each scrape; what a system does not offer is left out.

use std::fs;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
use nix::unistd::{SysconfVar, sysconf};

use super::page::{Name, Page};

/// Adds the process's own metrics. Reads small files and one directory: may block for a moment.
pub(super) fn add(page: &mut Page) {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let seconds = [usage.user_time(), usage.system_time()]
            .map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6);
        page.total(CPU, seconds.iter().sum());
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The one that reads them is among them.
        page.gauge(OPEN_FDS, open.count().saturating_sub(1) as f64);
    }
    if let Ok((soft, _hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        page.gauge(MAX_FDS, soft as f64);
    }
    if let Some((virtual_memory, resident)) = memory() {
        page.gauge(VIRTUAL, virtual_memory);
        page.gauge(RESIDENT, resident);
    }
    if let Some(start) = start() {
        page.gauge(START, start);
    }
}

/// In bytes: all, and what is in memory.
fn memory() -> Option<(f64, f64)> {
    let pages = fs::read_to_string("/proc/self/statm").ok()?;
    let size = sysconf(SysconfVar::PAGE_SIZE).ok()?? as f64;
    let mut fields = pages.split(' ').map(|n| n.parse::<f64>().map(|n| n * size));
    Some((fields.next()?.ok()?, fields.next()?.ok()?))
}

/// In seconds since 1970.
fn start() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name, in parentheses, may hold anything (proc_pid_stat(5)): field 22 is the
    // 20th behind it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: f64 = fields.split(' ').nth(19)?.parse().ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot = system.lines().find_map(|l| l.strip_prefix("btime "))?;
    let rate = sysconf(SysconfVar::CLK_TCK).ok()?? as f64;
    Some(boot.parse::<f64>().ok()? + ticks / rate)
}

const CPU: Name = Name(
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
);
const OPEN_FDS: Name = Name("process_open_fds", "Number of open file descriptors.");
const MAX_FDS: Name = Name(
    "process_max_fds",
    "Maximum number of open file descriptors.",
);
const VIRTUAL: Name = Name(
    "process_virtual_memory_bytes",
    "Virtual memory size in bytes.",
);
const RESIDENT: Name = Name(
    "process_resident_memory_bytes",
    "Resident memory size in bytes.",
);
const START: Name = Name(
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
);

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_process_is_told_of() {
        let mut page = Page::default();
        add(&mut page);
        let text = page.text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|l| l.strip_prefix(name));
            line.and_then(|l| l.trim().parse().ok())
                .unwrap_or_else(|| panic!("{name}: {text}"))
        };
        assert!(value("process_open_fds ") >= 3.0);
        assert!(value("process_max_fds ") >= value("process_open_fds "));
        assert!(value("process_virtual_memory_bytes ") > value("process_resident_memory_bytes "));
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_cpu_seconds_total ") >= 0.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - value("process_start_time_seconds ");
        assert!((-2.0..3_600.0).contains(&age), "started {age} s ago");
    }
}

//! What every Prometheus client says of its process.

use std::fmt::Write;
use std::fs;
use std::time::SystemTime;

use nix::unistd::{SysconfVar, sysconf};

use super::timestamp;

/// Writes what `/proc/self` says; what it does not say is left out.
pub(super) fn write(started: SystemTime, out: &mut String) {
    let mut say = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
        );
    };
    say(
        "process_start_time_seconds",
        "gauge",
        "When the process started, in seconds since the epoch.",
        timestamp(started),
    );
    if let Some((virtual_bytes, resident)) = memory() {
        say(
            "process_virtual_memory_bytes",
            "gauge",
            "Virtual memory.",
            virtual_bytes,
        );
        say(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory.",
            resident,
        );
    }
    if let Some(seconds) = cpu_seconds() {
        say(
            "process_cpu_seconds_total",
            "counter",
            "Processor time, user and system.",
            seconds,
        );
    }
    if let Ok(files) = fs::read_dir("/proc/self/fd") {
        say(
            "process_open_fds",
            "gauge",
            "Open files.",
            files.count() as f64,
        );
    }
}

/// Virtual and resident memory in bytes (proc_pid_statm(5)).
fn memory() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split_whitespace().map(str::parse::<f64>);
    let size = constant(SysconfVar::PAGE_SIZE)?;
    Some((pages.next()?.ok()? * size, pages.next()?.ok()? * size))
}

/// Fields 14 and 15 of proc_pid_stat(5); the second may hold spaces and is in
/// parentheses.
fn cpu_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / constant(SysconfVar::CLK_TCK)?)
}

fn constant(name: SysconfVar) -> Option<f64> {
    sysconf(name).ok().flatten().map(|value| value as f64)
}

//! Runs of the programs that the kernel left out.
//!
//! A program that is started while it runs on the same CPU, because something interrupts it, is not run
//! (`__bpf_trace_run`, kernel/trace/bpf_trace.c). The kernel counts that for each program, and says so in what
//! it tells of the program's descriptor (`bpf_prog_show_fdinfo`, kernel/bpf/syscall.c; since 5.12).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use aya::Ebpf;

/// More than the kernel tells of a program.
const ROOM: usize = 1024;

/// The programs' descriptors, as the kernel tells of them, in files that are kept open: they are read in each round.
pub(super) struct Skipped {
    told: Vec<File>,
}

impl Skipped {
    /// Of the programs with these names, as long as they are loaded.
    pub(super) fn of(ebpf: &Ebpf, names: &[&str]) -> Self {
        let told = names.iter().filter_map(|name| {
            let descriptor = ebpf.program(name)?.fd().ok()?.as_fd().as_raw_fd();
            File::open(format!("/proc/self/fdinfo/{descriptor}")).ok()
        });
        Self { told: told.collect() }
    }

    /// How many runs of all of them were left out since they were loaded.
    pub(super) fn runs(&self) -> u64 {
        self.told
            .iter()
            .filter_map(|file| {
                let mut buffer = [0; ROOM];
                let length = file.read_at(&mut buffer, 0).ok()?;
                missed(std::str::from_utf8(buffer.get(..length)?).ok()?)
            })
            .fold(0, u64::saturating_add)
    }
}

fn missed(fdinfo: &str) -> Option<u64> {
    let count = |line: &str| line.strip_prefix("recursion_misses:")?.trim().parse().ok();
    fdinfo.lines().find_map(count)
}

#[cfg(test)]
mod tests {
    use super::missed;

    #[test]
    fn the_count_is_found_among_what_the_kernel_tells() {
        let told = "pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t1056\nprog_type:\t26\nprog_jited:\t1\n\
                    prog_tag:\t8d9b1a3f2a1e7c55\nmemlock:\t4096\nprog_id:\t77\nrun_time_ns:\t0\nrun_cnt:\t0\n\
                    recursion_misses:\t12\nverified_insns:\t574\n";
        assert_eq!(missed(told), Some(12));
        assert_eq!(missed("prog_id:\t77\n"), None);
    }
}

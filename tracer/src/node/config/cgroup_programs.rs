//! BPF programs that are attached to cgroups without a link (`BPF_PROG_ATTACH`), as systemd does for `IPAddressDeny=`: nobody
//! tells of it, and a program does not say where it is. So each cgroup is asked, but only when such programs have come or gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use super::super::cgroup;
use super::bpf_link::{at_cgroup, attach_type};
use super::known::Change;
use crate::event::Thing;
use crate::event::value::{OF_DEVICE, PROGRAM};

/// Looks at all cgroups after such programs have come or gone: who has loaded one attaches it a moment later.
const LOOKS: u32 = 3;
/// Cgroups that are asked at most.
const MOST: usize = 8192;

/// The kinds of programs that are attached to cgroups and can touch packets, and where they are: `enum bpf_attach_type`
/// (include/uapi/linux/bpf.h).
const HOOKS: [(&str, &[u32]); 5] = [
    ("cgroup_skb", &[0, 1]),
    ("cgroup_sock", &[2, 12, 13, 34]),
    ("sock_ops", &[3]),
    ("cgroup_sock_addr", &[8, 9, 10, 11, 14, 15, 19, 20]),
    ("cgroup_sockopt", &[21, 22]),
];

/// Where: the path of a cgroup, and the type of attachment.
type Place = (String, u32);

/// What is attached to cgroups.
#[derive(Debug)]
pub(super) struct CgroupPrograms {
    /// Where cgroup v2 is mounted.
    root: Option<PathBuf>,
    /// Programs by their ids, in the order in which they run, and what is told of them.
    known: BTreeMap<Place, (Vec<u32>, String)>,
    /// Looks that are still to be made.
    looks: u32,
}

impl CgroupPrograms {
    pub(super) fn new() -> Self {
        Self {
            root: cgroup::v2(),
            known: BTreeMap::new(),
            looks: 0,
        }
    }

    /// One has come or gone.
    pub(super) fn stir(&mut self, program: &str) {
        if !hooks(program).is_empty() {
            self.looks = LOOKS;
        }
    }

    /// Asks all cgroups, where that is due, and tells what is not as it was the last time. `programs` are those that are there,
    /// and what is told of each, without the tracer's own and without those that are put somewhere by a link.
    pub(super) fn changes(&mut self, programs: &BTreeMap<u32, &str>) -> Vec<Change> {
        let Some(root) = self.root.as_ref().filter(|_| self.looks > 0) else {
            return Vec::new();
        };
        self.looks -= 1;
        let hooks: BTreeSet<u32> = programs.values().flat_map(|told| hooks(told)).copied().collect();
        let mut now = BTreeMap::new();
        for path in cgroup::paths(root).into_iter().take(MOST) {
            // Groups end at any time.
            let Ok(folder) = File::open(root.join(path.trim_start_matches('/'))) else {
                continue;
            };
            for hook in &hooks {
                // One kernel has not all of them.
                let programs: Vec<(u32, &str)> = at_cgroup(folder.as_fd(), *hook)
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|id| Some((id, *programs.get(&id)?)))
                    .collect();
                if !programs.is_empty() {
                    let ids = programs.iter().map(|(id, _)| *id).collect();
                    now.insert((path.clone(), *hook), (ids, value(&programs)));
                }
            }
        }
        let gone = self.known.keys().filter(|place| !now.contains_key(*place));
        let gone: Vec<Change> = gone.map(|place| (thing(place), None)).collect();
        let new = now
            .iter()
            .filter(|(place, value)| self.known.get(*place) != Some(value));
        let new = new.map(|(place, (_, value))| (thing(place), Some(value.clone())));
        let changes = gone.into_iter().chain(new).collect();
        self.known = now;
        changes
    }

    /// Whether a program is attached to a cgroup, by the last look.
    pub(super) fn has(&self, program: u32) -> bool {
        self.known.values().any(|(ids, _)| ids.contains(&program))
    }
}

fn thing((cgroup, hook): &Place) -> Thing {
    Thing::CgroupPrograms {
        cgroup: cgroup.clone(),
        hook: attach_type(*hook),
    }
}

/// `program 12 (guard tag 0011223344556677), program 13 (tag 8899aabbccddeeff), loaded by uid 0`: what is told of each, without
/// its kind, which the place says. Who loaded them is told once, and of each where that was not the same one.
fn value(programs: &[(u32, &str)]) -> String {
    let parts = |told: &'_ str| {
        let (_, told) = told.split_once(' ').unwrap_or_default();
        let (what, by) = told.split_once(OF_DEVICE).unwrap_or((told, ""));
        (what.to_owned(), by.to_owned())
    };
    let told: Vec<(u32, (String, String))> = programs.iter().map(|(id, told)| (*id, parts(told))).collect();
    let mut loaders: Vec<String> = told.iter().map(|(_, (_, by))| by.clone()).collect();
    loaders.dedup();
    let programs = told.into_iter().map(|(id, (what, by))| match loaders.as_slice() {
        [_] => format!("{PROGRAM}{id} ({what})"),
        _ => format!("{PROGRAM}{id} ({what} {by})"),
    });
    let mut all: Vec<String> = programs.collect();
    if let [by] = loaders.as_slice()
        && !by.is_empty()
    {
        all.push(by.clone());
    }
    all.join(OF_DEVICE)
}

/// Where a program is attached, by what is told of it.
fn hooks(program: &str) -> &'static [u32] {
    let kind = program.split(' ').next();
    let known = HOOKS
        .iter()
        .find_map(|(of, hooks)| (Some(*of) == kind).then_some(*hooks));
    known.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_without_what_all_have_in_common() {
        let guard = "cgroup_skb guard tag 0011223344556677, loaded by uid 0";
        let other = "cgroup_skb tag 8899aabbccddeeff, loaded by uid 1000";
        assert_eq!(
            value(&[(12, guard), (13, guard)]),
            "program 12 (guard tag 0011223344556677), program 13 (guard tag 0011223344556677), loaded by uid 0"
        );
        assert_eq!(
            value(&[(12, guard), (14, other)]),
            "program 12 (guard tag 0011223344556677 loaded by uid 0), program 14 (tag 8899aabbccddeeff loaded by uid 1000)"
        );
        assert_eq!(value(&[(12, "cgroup_skb tag 0011")]), "program 12 (tag 0011)");
    }
}

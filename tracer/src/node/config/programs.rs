//! BPF programs and links that come and go. Nobody tells of them: their ids are listed again and again.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use aya::programs::{loaded_links, loaded_programs};

use super::bpf_link::Names;
use super::known::Change;
use crate::event::Thing;

// enum bpf_cmd (include/uapi/linux/bpf.h)
const BPF_PROG_GET_NEXT_ID: libc::c_long = 11;
const BPF_LINK_GET_NEXT_ID: libc::c_long = 31;
/// Programs and links that are kept at most, of each.
const MOST: usize = 16_384;

/// The programs and links that are there, without the tracer's own.
#[derive(Debug)]
pub(super) struct Programs {
    programs: BTreeMap<u32, String>,
    links: BTreeMap<u32, String>,
    own: Own,
    names: Names,
}

/// The tracer's own: those that it has open.
#[derive(Debug, Default)]
struct Own {
    programs: Vec<u32>,
    links: Vec<u32>,
}

impl Programs {
    pub(super) fn new() -> Self {
        Self {
            programs: BTreeMap::new(),
            links: BTreeMap::new(),
            own: Own::default(),
            names: Names::new(),
        }
    }

    /// Lists them, and tells what is not as it was the last time.
    ///
    /// # Errors
    /// Where the kernel does not allow it. A kernel without links has none.
    pub(super) fn changes(&mut self) -> io::Result<Vec<Change>> {
        let ids = all(BPF_PROG_GET_NEXT_ID)?;
        let links = all(BPF_LINK_GET_NEXT_ID).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Ok(Vec::new()),
            _ => Err(error),
        })?;
        let is_new = |ids: &[u32], own: &[u32], known: &BTreeMap<u32, String>| {
            ids.iter().any(|id| !own.contains(id) && !known.contains_key(id))
        };
        let (mut programs_now, mut links_now) = (BTreeMap::new(), BTreeMap::new());
        if is_new(&ids, &self.own.programs, &self.programs) || is_new(&links, &self.own.links, &self.links) {
            self.own = Own::read();
            programs_now = programs();
            links_now = links_there(&mut self.names);
        }
        let mut changes = difference(
            &mut self.programs,
            &ids,
            &self.own.programs,
            &programs_now,
            |id| Thing::Program { id },
        );
        changes.extend(difference(
            &mut self.links,
            &links,
            &self.own.links,
            &links_now,
            |id| Thing::BpfLink { id },
        ));
        Ok(changes)
    }
}

/// Takes over which ids there are, and tells the difference. What has gone again before it could be asked for is left out.
fn difference(
    known: &mut BTreeMap<u32, String>,
    ids: &[u32],
    own: &[u32],
    values: &BTreeMap<u32, String>,
    thing: impl Fn(u32) -> Thing,
) -> Vec<Change> {
    let gone: Vec<u32> = known
        .keys()
        .filter(|id| ids.binary_search(id).is_err())
        .copied()
        .collect();
    let mut changes = Vec::new();
    for id in gone {
        if known.remove(&id).is_some_and(|value| !observes(&value)) {
            changes.push((thing(id), None));
        }
    }
    for id in ids.iter().filter(|id| !own.contains(id)) {
        if known.len() < MOST
            && !known.contains_key(id)
            && let Some(value) = values.get(id)
        {
            known.insert(*id, value.clone());
            if !observes(value) {
                changes.push((thing(*id), Some(value.clone())));
            }
        }
    }
    changes
}

/// Whether it can only observe: a tracer that runs has dozens of these, and they would hide what changes packets.
fn observes(value: &str) -> bool {
    const KINDS: [&str; 11] = [
        "iter",
        "kprobe",
        "kprobemulti",
        "perfevent",
        "rawtracepoint",
        "rawtracepointwritable",
        "socketfilter",
        "tracepoint",
        "tracing",
        "uprobemulti",
        "unspecified",
    ];
    // Types of programs have underscores, those of links have none.
    let kind = value
        .split([' ', ','])
        .next()
        .unwrap_or_default()
        .replace('_', "");
    KINDS.contains(&kind.as_str())
}

/// `xdp guard tag 0011223344556677, loaded by uid 0`, by id.
fn programs() -> BTreeMap<u32, String> {
    let programs = loaded_programs().flatten().map(|program| {
        let kind = format!("{:?}", program.program_type()).to_lowercase();
        let kind = kind.strip_prefix("bpf_prog_type_").unwrap_or(&kind).to_owned();
        let name = String::from_utf8_lossy(program.name()).into_owned();
        let name = if name.is_empty() { name } else { format!(" {name}") };
        let by = program
            .created_by_uid()
            .map(|uid| format!(", loaded by uid {uid}"));
        let text = format!(
            "{kind}{name} tag {:016x}{}",
            program.tag(),
            by.unwrap_or_default()
        );
        (program.id(), text)
    });
    programs.collect()
}

/// `tcx, program 12, tcx_ingress of device 2`, by id.
fn links_there(names: &mut Names) -> BTreeMap<u32, String> {
    names.refresh();
    let links = loaded_links().flatten().map(|link| {
        let kind = link.link_type().map_or_else(
            |_| "unknown".to_owned(),
            |kind| format!("{kind:?}").to_lowercase(),
        );
        let text = format!("{kind}, program {}", link.program_id());
        let attached = if observes(&text) {
            String::new()
        } else {
            names.attached(link.id())
        };
        let text = if attached.is_empty() {
            text
        } else {
            format!("{text}, {attached}")
        };
        (link.id(), text)
    });
    links.collect()
}

impl Own {
    /// `prog_id:` and `link_id:` in `/proc/self/fdinfo`.
    fn read() -> Self {
        let mut own = Self::default();
        for file in fs::read_dir("/proc/self/fdinfo").into_iter().flatten().flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            own.links.extend(number(&text, "link_id:"));
            own.programs.extend(number(&text, "prog_id:"));
        }
        own
    }
}

fn number(text: &str, name: &str) -> Option<u32> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// All ids, which rise.
fn all(command: libc::c_long) -> io::Result<Vec<u32>> {
    let mut ids: Vec<u32> = Vec::new();
    while ids.len() < MOST {
        match next(command, ids.last().copied().unwrap_or(0)) {
            Ok(id) => ids.push(id),
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
    }
    Ok(ids)
}

/// The id that follows this one.
fn next(command: libc::c_long, after: u32) -> io::Result<u32> {
    /// That part of `union bpf_attr`: start_id, next_id, open_flags.
    #[repr(C, align(8))]
    struct Attributes([u32; 3]);
    let mut attributes = Attributes([after, 0, 0]);
    // SAFETY: these commands read and write 12 bytes of attributes, and there are so many.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attributes, 12_usize) };
    if answer == 0 {
        Ok(attributes.0[1])
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_went_is_told() {
        let mut known = BTreeMap::from([(1, "a".to_owned()), (2, "b".to_owned())]);
        let values = BTreeMap::from([(3, "c".to_owned()), (4, "own".to_owned())]);
        let thing = |id| Thing::Program { id };
        let changes = difference(&mut known, &[2, 3, 4, 5], &[4], &values, thing);
        assert_eq!(changes, [(thing(1), None), (thing(3), Some("c".to_owned()))]);
        assert_eq!(known.keys().copied().collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn what_can_only_observe_is_known_by_its_kind() {
        for value in [
            "raw_tracepoint x tag 1",
            "rawtracepoint, program 1",
            "tracing tag 1",
            "perf_event, program 1",
        ] {
            assert!(observes(value), "{value}");
        }
        for value in [
            "sched_cls x tag 1",
            "tcx, program 1",
            "cgroup_skb tag 1",
            "xdp tag 1",
        ] {
            assert!(!observes(value), "{value}");
        }
    }

    #[test]
    fn ids_are_read_of_what_a_process_has_open() {
        let text = "pos:\t0\nflags:\t02000002\nprog_type:\t6\nprog_tag:\t00\nprog_id:\t12\n";
        assert_eq!(
            (number(text, "prog_id:"), number(text, "link_id:")),
            (Some(12), None)
        );
        assert_eq!(number("prog_id:\tx", "prog_id:"), None);
    }
}

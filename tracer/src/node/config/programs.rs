//! BPF programs and links that come and go. Nobody tells of them: their ids are listed again and again.
//!
//! Told are those that can touch packets of the watched namespaces. A program that is put at a device or in a namespace does
//! nothing before it is there: its link is told, or what the device and its filters are set to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use aya::programs::{loaded_links, loaded_programs};

use super::super::netlink::{array_at, string, u32_at};
use super::bpf_info;
use super::bpf_link::{Info, Names, Place};
use super::cgroup_programs::CgroupPrograms;
use super::known::Change;
use crate::event::Thing;
use crate::event::value::OF_DEVICE;

// enum bpf_cmd (include/uapi/linux/bpf.h)
const BPF_PROG_GET_NEXT_ID: libc::c_long = 11;
const BPF_LINK_GET_NEXT_ID: libc::c_long = 31;
/// Programs and links that are kept at most, of each.
const MOST: usize = 16_384;

/// The programs and links that are there, without the tracer's own.
#[derive(Debug)]
pub(super) struct Programs {
    programs: BTreeMap<u32, Standing>,
    links: BTreeMap<u32, Standing>,
    cgroups: CgroupPrograms,
    own: Own,
    names: Names,
    /// Indices of devices at which links of XDP have come or gone, until they are asked for.
    touched: BTreeSet<u32>,
}

/// Says whether a BPF link, which has this id and program and has put that there, is in a watched namespace, where it meets
/// packets of one only: then the name of the device that it is at, or nothing where it is at none.
pub(super) type Holder<'a> = dyn Fn(u32, u32, Place) -> Option<String> + 'a;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    value: String,
    says: Says,
    /// The program itself, or that of the link.
    program: u32,
    /// Where a link is one of XDP: the index of its device.
    xdp: Option<u32>,
}

/// `guard tag 0011223344556677 loaded by uid 0`: what is told of the program with this id, beside its kind. `None` where it is not
/// there, or may not be asked for.
pub(super) fn words(id: u32) -> Option<String> {
    words_of(&bpf_info::of_program(id).ok()?).map(|words| words.replace(OF_DEVICE, " "))
}

/// Of `struct bpf_prog_info` { u32 type, id; u8 tag[8]; u32 jited_len, xlated_len; u64 jited, xlated, load_time; u32 created_by_uid,
/// nr_map_ids; u64 map_ids; char name[16]; … }
fn words_of(info: &[u8]) -> Option<String> {
    const UID: usize = 48;
    let tag = array_at(info, 8).map(u64::from_be_bytes)?;
    let name = string(info.get(64..80).unwrap_or_default());
    Some(told(&name, tag, u32_at(info, UID)))
}

/// What is told of a program beside its kind.
fn told(name: &str, tag: u64, uid: Option<u32>) -> String {
    let name = if name.is_empty() {
        String::new()
    } else {
        format!("{name} ")
    };
    let by = uid.map(|uid| format!(", loaded by uid {uid}"));
    format!("{name}tag {tag:016x}{}", by.unwrap_or_default())
}

/// What one says of packets of the watched namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It can touch them: it is told.
    Something,
    /// It cannot.
    Nothing,
    /// It touches those of another namespace.
    Elsewhere,
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
            cgroups: CgroupPrograms::new(),
            own: Own::default(),
            names: Names::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Indices of devices at which links of XDP have come or gone since this was asked the last time: of these the kernel does
    /// not tell that their devices are set otherwise (`bpf_xdp_link_attach`).
    pub(super) fn touched(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.touched)
    }

    /// Other namespaces are watched than before: which links are in one of them is to be asked anew.
    pub(super) fn reconsider(&mut self) {
        self.links.retain(|_, link| link.says != Says::Elsewhere);
    }

    /// Lists them, and tells what is not as it was the last time.
    ///
    /// # Errors
    /// Where the kernel does not allow it. A kernel without links has none.
    pub(super) fn changes(&mut self, holder: &Holder<'_>) -> io::Result<Vec<Change>> {
        let ids = all(BPF_PROG_GET_NEXT_ID)?;
        let links = all(BPF_LINK_GET_NEXT_ID).or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => Ok(Vec::new()),
            _ => Err(error),
        })?;
        let is_new = |ids: &[u32], own: &[u32], known: &BTreeMap<u32, Standing>| {
            ids.iter().any(|id| !own.contains(id) && !known.contains_key(id))
        };
        let (mut programs_now, mut links_now) = (BTreeMap::new(), BTreeMap::new());
        if is_new(&ids, &self.own.programs, &self.programs) || is_new(&links, &self.own.links, &self.links) {
            self.own = Own::read();
            programs_now = programs();
            links_now = links_there(&mut self.names, &programs_now, holder);
        }
        let mut changes = difference(
            &mut self.programs,
            &ids,
            &self.own.programs,
            &programs_now,
            |id| Thing::Program { id },
            |one| self.cgroups.stir(&one.value),
        );
        let before = at_xdp(&self.links);
        let of_links = difference(
            &mut self.links,
            &links,
            &self.own.links,
            &links_now,
            |id| Thing::BpfLink { id },
            |_| {},
        );
        let now = at_xdp(&self.links);
        self.touched
            .extend(before.symmetric_difference(&now).map(|(_, device)| device));
        let at_cgroups = self.at_cgroups();
        changes.retain(|(thing, value)| value.is_none() || !self.is_told_where_it_is(thing));
        changes.extend(of_links);
        changes.extend(at_cgroups);
        Ok(changes)
    }

    /// What is attached to cgroups otherwise than before.
    fn at_cgroups(&mut self) -> Vec<Change> {
        let linked: BTreeSet<u32> = self.links.values().map(|link| link.program).collect();
        let programs = self.programs.iter().filter(|(id, _)| !linked.contains(id));
        let programs = programs.map(|(id, one)| (*id, one.value.as_str())).collect();
        self.cgroups.changes(&programs)
    }

    /// Whether it is a program that is attached to a cgroup, or has a link: that is told, and neither that it came nor that it goes.
    fn is_told_where_it_is(&mut self, thing: &Thing) -> bool {
        let Thing::Program { id } = thing else {
            return false;
        };
        let is_it = self.cgroups.has(*id) || self.links.values().any(|link| link.program == *id);
        if let Some(one) = self.programs.get_mut(id).filter(|_| is_it) {
            one.says = Says::Nothing;
        }
        is_it
    }
}

/// Links of XDP, each with the index of its device.
fn at_xdp(links: &BTreeMap<u32, Standing>) -> BTreeSet<(u32, u32)> {
    links
        .iter()
        .filter_map(|(id, link)| Some((*id, link.xdp?)))
        .collect()
}

/// Takes over which ids there are, and tells the difference. What has gone again before it could be asked for is left out.
fn difference(
    known: &mut BTreeMap<u32, Standing>,
    ids: &[u32],
    own: &[u32],
    values: &BTreeMap<u32, Standing>,
    thing: impl Fn(u32) -> Thing,
    mut touched: impl FnMut(&Standing),
) -> Vec<Change> {
    let gone: Vec<u32> = known
        .keys()
        .filter(|id| ids.binary_search(id).is_err())
        .copied()
        .collect();
    let mut changes = Vec::new();
    for id in gone {
        let Some(one) = known.remove(&id) else { continue };
        touched(&one);
        if one.says == Says::Something {
            changes.push((thing(id), None));
        }
    }
    for id in ids.iter().filter(|id| !own.contains(id)) {
        if known.len() < MOST
            && !known.contains_key(id)
            && let Some(one) = values.get(id)
        {
            touched(one);
            known.insert(*id, one.clone());
            if one.says == Says::Something {
                changes.push((thing(*id), Some(one.value.clone())));
            }
        }
    }
    changes
}

/// Whether it cannot touch packets: it only observes, or decides of something else. A tracer that runs has dozens of these,
/// and systemd one for each unit that may not use all devices: they would hide what changes packets.
fn touches_none(value: &str) -> bool {
    const KINDS: [&str; 15] = [
        "cgroupdevice",
        "cgroupsysctl",
        "iter",
        "kprobe",
        "kprobemulti",
        "lircmode2",
        "perfevent",
        "rawtracepoint",
        "rawtracepointwritable",
        "socketfilter",
        "syscall",
        "tracepoint",
        "tracing",
        "uprobemulti",
        "unspecified",
    ];
    KINDS.contains(&kind(value).as_str())
}

/// Whether a program of this kind does nothing before it is put at a device or in a namespace: that is told.
fn is_told_where_it_is_put(value: &str) -> bool {
    const KINDS: [&str; 8] = [
        "lwtin",
        "lwtout",
        "lwtseg6local",
        "lwtxmit",
        "schedact",
        "schedcls",
        "sklookup",
        "xdp",
    ];
    KINDS.contains(&kind(value).as_str())
}

/// What kind it is. Types of programs have underscores, those of links have none.
fn kind(value: &str) -> String {
    let first = value.split([' ', ',']).next().unwrap_or_default();
    first.replace('_', "")
}

/// `cgroup_skb guard tag 0011223344556677, loaded by uid 0`, by id.
fn programs() -> BTreeMap<u32, Standing> {
    let programs = loaded_programs().flatten().map(|program| {
        let kind = format!("{:?}", program.program_type()).to_lowercase();
        let kind = kind.strip_prefix("bpf_prog_type_").unwrap_or(&kind).to_owned();
        let name = String::from_utf8_lossy(program.name()).into_owned();
        let value = format!("{kind} {}", told(&name, program.tag(), program.created_by_uid()));
        let says = if touches_none(&value) || is_told_where_it_is_put(&value) {
            Says::Nothing
        } else {
            Says::Something
        };
        let (program, xdp) = (program.id(), None);
        (
            program,
            Standing {
                value,
                says,
                program,
                xdp,
            },
        )
    });
    programs.collect()
}

/// `tcx, program 12, tcx_ingress of device eth0; sched_cls guard tag 0011223344556677, loaded by uid 0`, by id.
fn links_there(
    names: &mut Names,
    programs: &BTreeMap<u32, Standing>,
    holder: &Holder<'_>,
) -> BTreeMap<u32, Standing> {
    let links = loaded_links().flatten().map(|link| {
        let kind = link.link_type().map_or_else(
            |_| "unknown".to_owned(),
            |kind| format!("{kind:?}").to_lowercase(),
        );
        let (id, program) = (link.id(), link.program_id());
        let mut value = format!("{kind}, program {program}");
        let standing = |value, says, xdp| Standing {
            value,
            says,
            program,
            xdp,
        };
        let its_program = programs.get(&program);
        if touches_none(&value) || its_program.is_some_and(|one| touches_none(&one.value)) {
            return (id, standing(value, Says::Nothing, None));
        }
        let info = Info::of(id);
        let place = info.place();
        let xdp = match place {
            Place::Xdp(index) => Some(index),
            _ => None,
        };
        let Some(device) = holder(id, program, place) else {
            return (id, standing(value, Says::Elsewhere, xdp));
        };
        let attached = names.attached(&info, Some(device.as_str()).filter(|name| !name.is_empty()));
        if !attached.is_empty() {
            value += &format!(", {attached}");
        }
        if let Some(one) = its_program {
            value += &format!("; {}", one.value);
        }
        (id, standing(value, Says::Something, xdp))
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
    fn a_program_is_told_by_its_name_and_tag_and_by_whom_it_was_loaded() {
        let mut info = vec![0; 80];
        info[8..16].copy_from_slice(&[0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]);
        info[48..52].copy_from_slice(&1000_u32.to_ne_bytes());
        let tag = "tag 0011223344556677, loaded by uid 1000";
        assert_eq!(words_of(&info).as_deref(), Some(tag));
        info[64..69].copy_from_slice(b"guard");
        assert_eq!(words_of(&info), Some(format!("guard {tag}")));
        assert_eq!(words_of(&info[..12]), None);
    }

    #[test]
    fn what_came_and_went_is_told() {
        let one = |value: &str, says| Standing {
            value: value.to_owned(),
            says,
            program: 0,
            xdp: None,
        };
        let mut known = BTreeMap::from([
            (1, one("a", Says::Something)),
            (2, one("b", Says::Something)),
            (7, one("d", Says::Elsewhere)),
        ]);
        let values = BTreeMap::from([
            (3, one("c", Says::Something)),
            (4, one("own", Says::Something)),
            (6, one("e", Says::Nothing)),
        ]);
        let thing = |id| Thing::Program { id };
        let mut touched = Vec::new();
        let changes = difference(&mut known, &[2, 3, 4, 5, 6], &[4], &values, thing, |one| {
            touched.push(one.value.clone());
        });
        assert_eq!(touched, ["a", "d", "c", "e"]);
        assert_eq!(changes, [(thing(1), None), (thing(3), Some("c".to_owned()))]);
        assert_eq!(known.keys().copied().collect::<Vec<_>>(), [2, 3, 6]);
    }

    #[test]
    fn what_touches_no_packets_is_known_by_its_kind() {
        for value in [
            "raw_tracepoint x tag 1",
            "rawtracepoint, program 1",
            "tracing tag 1",
            "perf_event, program 1",
            "cgroup_device tag 1",
        ] {
            assert!(touches_none(value), "{value}");
        }
        for value in [
            "sched_cls x tag 1",
            "tcx, program 1",
            "cgroup_skb tag 1",
            "xdp tag 1",
        ] {
            assert!(!touches_none(value), "{value}");
        }
        for value in [
            "sched_cls x tag 1",
            "xdp tag 1",
            "sk_lookup tag 1",
            "lwt_in tag 1",
        ] {
            assert!(is_told_where_it_is_put(value), "{value}");
        }
        assert!(!is_told_where_it_is_put("cgroup_skb tag 1"));
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

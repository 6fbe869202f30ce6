//! Who processes were that have ended.

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use tracer_ebpf::{Ended, EndedKey};

use super::Error;
use super::decode::string;
use super::poll::of;
use crate::event::{EndedProcess, Number, Parent};

/// What the programs remember of them.
#[derive(Debug)]
pub struct EndedProcesses(HashMap<MapData, EndedKey, Ended>);

impl EndedProcesses {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        const NAME: &str = "ENDED";
        let map = ebpf.take_map(NAME).ok_or(Error::Map(NAME))?;
        of(NAME, map).map(Self)
    }

    /// The last one in this network namespace that had this number. `None` where none has ended yet, or long ago.
    #[must_use]
    pub fn last(&self, number: Number, netns: u32) -> Option<EndedProcess> {
        match number {
            Number::Own(number) => self.get(EndedKey { number, netns }),
            Number::Machine(pid) => {
                let key = EndedKey {
                    number: pid,
                    netns: EndedKey::MACHINE,
                };
                self.get(EndedKey { netns, ..key })
                    .filter(|ended| ended.pid == pid)
                    .or_else(|| self.get(key).filter(|ended| ended.netns == netns))
            }
        }
    }

    fn get(&self, key: EndedKey) -> Option<EndedProcess> {
        let ended = self.0.get(&key, 0).ok()?;
        Some(EndedProcess {
            at: ended.at,
            other: (ended.other != 0).then_some(ended.other),
            pid: ended.pid,
            command: string(&ended.command),
            parent: Parent {
                pid: ended.parent,
                command: string(&ended.parent_command),
            },
            cgroup: ended.cgroup,
            cgroup_parent: ended.cgroup_parent,
            cgroup_name: string(&ended.cgroup_name),
            netns: ended.netns,
        })
    }
}

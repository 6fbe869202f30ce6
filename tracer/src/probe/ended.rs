//! Who processes were that have ended.

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use tracer_ebpf::Ended;

use super::Error;
use super::decode::string;
use super::poll::of;
use crate::event::{EndedProcess, Parent};

/// What the programs remember of them.
#[derive(Debug)]
pub struct EndedProcesses(HashMap<MapData, u32, Ended>);

impl EndedProcesses {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, Error> {
        const NAME: &str = "ENDED";
        let map = ebpf.take_map(NAME).ok_or(Error::Map(NAME))?;
        of(NAME, map).map(Self)
    }

    /// The last one that had this number, as the machine counts. `None` where none has ended yet, or long ago, or it belonged to
    /// another pid namespace than the machine's first.
    #[must_use]
    pub fn last(&self, pid: u32) -> Option<EndedProcess> {
        let ended = self.0.get(&pid, 0).ok()?;
        Some(EndedProcess {
            at: ended.at,
            command: string(&ended.command),
            parent: Parent {
                pid: ended.parent,
                command: string(&ended.parent_command),
            },
            cgroup: ended.cgroup,
            netns: ended.netns,
        })
    }
}

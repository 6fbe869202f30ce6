//! What waits in sockets, from one list of them to the next.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::event::{Body, Event, FlowKey, Held, Owner, Queue, Socket};
use crate::node::held;

/// Processes of which it is looked whether they run, at most, of each namespace at each list: four small files of each are read.
const MOST_LOOKS: usize = 1_024;

/// Sockets in which something waits, as they were last told.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// By tuple and inode.
    told: BTreeMap<(FlowKey, u64), Queue>,
}

impl Waiting {
    /// Tells what waits in sockets, where that has changed, and where nothing does any more. `found` is all that there
    /// is in the namespaces that were looked at; those in which `stays` were not.
    pub(super) fn tell(
        &mut self,
        now: u64,
        found: Vec<Queue>,
        stays: impl Fn(u32) -> bool,
        tell: &mut dyn FnMut(Event),
    ) {
        let mut say = |queue: Queue| {
            tell(Event {
                at: now,
                body: Body::Queue(Box::new(queue)),
            });
        };
        let mut before = std::mem::take(&mut self.told);
        for mut queue in found {
            queue.flow = queue.flow.canonical();
            let key = (queue.flow, queue.inode);
            if before.remove(&key).as_ref() != Some(&queue) {
                say(queue.clone());
            }
            self.told.insert(key, queue);
        }
        for (key, queue) in before {
            if stays(key.0.netns) {
                self.told.insert(key, queue);
            } else {
                say(Queue {
                    waiting: 0,
                    retries: 0,
                    ..queue
                });
            }
        }
    }
}

/// Gives queues the owners of their sockets, and says what keeps these from running.
pub(super) fn owned(mut queues: Vec<Queue>, sockets: &[Socket]) -> Vec<Queue> {
    let inodes: HashSet<u64> = queues.iter().map(|queue| queue.inode).collect();
    let owners: HashMap<u64, &Owner> = sockets
        .iter()
        .filter(|socket| socket.inode != 0 && inodes.contains(&socket.inode))
        .filter_map(|socket| Some((socket.inode, socket.owner.as_ref()?)))
        .collect();
    let mut looked: HashMap<u32, Option<Held>> = HashMap::new();
    for queue in &mut queues {
        queue.owner = owners.get(&queue.inode).map(|owner| (*owner).clone());
        let pid = queue.owner.as_ref().map_or(0, |owner| owner.pid);
        if pid != 0 && (looked.len() < MOST_LOOKS || looked.contains_key(&pid)) {
            queue.held = *looked.entry(pid).or_insert_with(|| held::held(pid));
        }
    }
    queues
}

//! Connections that are being opened.
//!
//! The kernel tells that a connection is opened (`inet_sock_set_state` to SYN-SENT, in `tcp_v4_connect` and
//! `tcp_v6_connect`) before it has chosen the local port, and it is then that the process is known. Where no
//! answer comes, as in the incident, nothing more is told of it. So the event is kept until its port is
//! known: from the next event of the same socket, or else from the kernel's list.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::event::{Body, Event, Socket, SocketState};

/// Nearly every handshake is done by then, and has told the port.
const HANDSHAKE: u64 = 250_000_000;
/// The kernel's list is asked for at most this often.
const PAUSE: u64 = 1_000_000_000;
/// An opening that is in no list by then is over.
const OVER: u64 = 3_000_000_000;
/// Openings that are kept, at most. More are told by the list of all sockets, without the time.
const MOST: usize = 4096;

/// Openings whose port is not known yet. Times are boot time in ns.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// By the inode of the socket.
    waiting: BTreeMap<u64, Opening>,
    /// Inodes and times, in the order of their coming; some may no longer wait.
    order: VecDeque<(u64, u64)>,
    /// When the list may be asked for again.
    next: u64,
}

#[derive(Debug)]
struct Opening {
    at: u64,
    socket: Socket,
}

impl Opening {
    /// The event, with the tuple that the socket has got.
    fn event(self, known: &Socket) -> Event {
        Event {
            at: self.at,
            body: Body::Socket(Socket {
                flow: known.flow,
                ..self.socket
            }),
        }
    }
}

impl Openings {
    /// Tells the event, unless it is an opening that has to wait; and one that has waited for it first.
    pub(super) fn pass(&mut self, event: Event, tell: &mut dyn FnMut(Event)) {
        let Body::Socket(socket) = &event.body else {
            return tell(event);
        };
        if socket.inode != 0 && socket.state == SocketState::SynSent && socket.flow.local_port == 0 {
            self.wait(event.at, socket.clone());
            return;
        }
        if let Some(opening) = self.waiting.remove(&socket.inode)
            && socket.flow.local_port != 0
        {
            tell(opening.event(socket));
        }
        tell(event);
    }

    /// Namespaces whose sockets in SYN-SENT should be listed now: those of openings that go on for longer
    /// than usual.
    pub(super) fn overdue(&mut self, now: u64) -> BTreeSet<u32> {
        self.forget(now);
        if now < self.next {
            return BTreeSet::new();
        }
        let due = |opening: &&Opening| now.saturating_sub(opening.at) >= HANDSHAKE;
        let namespaces: BTreeSet<u32> = self
            .waiting
            .values()
            .filter(due)
            .map(|opening| opening.socket.flow.netns)
            .collect();
        if !namespaces.is_empty() {
            self.next = now.saturating_add(PAUSE);
        }
        namespaces
    }

    /// Tells the opening of a socket in the kernel's list, where that has waited.
    pub(super) fn listed(&mut self, socket: &Socket, tell: &mut dyn FnMut(Event)) {
        if socket.flow.local_port != 0
            && let Some(opening) = self.waiting.remove(&socket.inode)
        {
            tell(opening.event(socket));
        }
    }

    fn wait(&mut self, at: u64, socket: Socket) {
        self.order.push_back((socket.inode, at));
        self.waiting.insert(socket.inode, Opening { at, socket });
        while self.order.len() > MOST {
            self.forget_first();
        }
    }

    fn forget(&mut self, now: u64) {
        while self
            .order
            .front()
            .is_some_and(|(_, at)| now.saturating_sub(*at) >= OVER)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((inode, at)) = self.order.pop_front() else {
            return;
        };
        // The socket may have been opened once more since.
        if self.waiting.get(&inode).is_some_and(|opening| opening.at == at) {
            self.waiting.remove(&inode);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::event::{FlowKey, Owner, Protocol};

    const MS: u64 = 1_000_000;

    fn socket(inode: u64, local_port: u16, from: Option<SocketState>, state: SocketState) -> Socket {
        let ip = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        Socket {
            flow: FlowKey {
                netns: 7,
                protocol: Protocol::Tcp,
                local: ip(1),
                local_port,
                remote: ip(2),
                remote_port: 80,
            },
            state,
            from,
            inode,
            owner: None,
        }
    }

    fn opening(inode: u64) -> Socket {
        Socket {
            owner: Some(Owner {
                pid: 42,
                command: "curl".to_owned(),
                cgroup: String::new(),
                unit: String::new(),
                parent: None,
            }),
            ..socket(inode, 0, Some(SocketState::Close), SocketState::SynSent)
        }
    }

    /// What is told when these sockets are passed, a millisecond apart from the first one.
    fn told(openings: &mut Openings, sockets: &[Socket]) -> Vec<(u64, Socket)> {
        let mut told = Vec::new();
        for (at, socket) in (1..).zip(sockets) {
            let event = Event {
                at: at * MS,
                body: Body::Socket(socket.clone()),
            };
            openings.pass(event, &mut |event| told.extend(unpack(event)));
        }
        told
    }

    fn unpack(event: Event) -> Option<(u64, Socket)> {
        match event.body {
            Body::Socket(socket) => Some((event.at, socket)),
            _ => None,
        }
    }

    #[test]
    fn the_port_comes_with_the_answer() {
        let answered = socket(5, 40_000, Some(SocketState::SynSent), SocketState::Established);
        let told = told(&mut Openings::default(), &[opening(5), answered.clone()]);
        let mut completed = opening(5);
        completed.flow.local_port = 40_000;
        assert_eq!(told, [(MS, completed), (2 * MS, answered)]);
    }

    #[test]
    fn the_port_comes_with_the_list_where_no_answer_does() {
        let mut openings = Openings::default();
        assert!(openings.overdue(u64::MAX).is_empty(), "nothing to look for");
        assert_eq!(told(&mut openings, &[opening(5), opening(6)]), []);
        assert!(openings.overdue(100 * MS).is_empty(), "too early");
        assert_eq!(openings.overdue(300 * MS), BTreeSet::from([7]));
        assert!(openings.overdue(900 * MS).is_empty(), "once a second");
        let mut told = Vec::new();
        for listed in [
            socket(5, 40_000, None, SocketState::SynSent),
            socket(9, 40_001, None, SocketState::SynSent),
            socket(5, 40_000, None, SocketState::SynSent),
        ] {
            openings.listed(&listed, &mut |event| told.extend(unpack(event)));
        }
        let mut completed = opening(5);
        completed.flow.local_port = 40_000;
        assert_eq!(told, [(MS, completed)]);
        assert_eq!(openings.overdue(1300 * MS), BTreeSet::from([7]), "one is left");
        assert!(openings.overdue(4000 * MS).is_empty(), "it is over");
        assert!(openings.waiting.is_empty() && openings.order.is_empty());
    }

    #[test]
    fn an_opening_with_its_port_and_other_sockets_do_not_wait() {
        let mut bound = opening(5);
        bound.flow.local_port = 1023;
        let others = [
            bound,
            socket(0, 0, Some(SocketState::FinWait2), SocketState::Close),
            socket(6, 8080, Some(SocketState::Close), SocketState::Listen),
        ];
        let told = told(&mut Openings::default(), &others);
        assert_eq!(
            told.into_iter().map(|(_, socket)| socket).collect::<Vec<_>>(),
            others
        );
    }

    #[test]
    fn an_end_without_the_port_ends_the_wait() {
        let mut openings = Openings::default();
        let end = socket(5, 0, Some(SocketState::SynSent), SocketState::Close);
        assert_eq!(told(&mut openings, &[opening(5), end.clone()]), [(2 * MS, end)]);
        assert!(openings.overdue(500 * MS).is_empty());
    }

    #[test]
    fn openings_are_bounded() {
        let mut openings = Openings::default();
        let many: Vec<Socket> = (1..=MOST as u64 + 1).map(opening).collect();
        assert_eq!(told(&mut openings, &many), []);
        assert_eq!((openings.waiting.len(), openings.order.len()), (MOST, MOST));
        assert!(!openings.waiting.contains_key(&1));
    }
}

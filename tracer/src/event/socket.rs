//! Sockets, and what waits in them.

use serde::{Deserialize, Serialize};

use super::{FlowKey, Owner, is_zero};

/// State of a TCP socket (include/net/tcp_states.h); other protocols use `Established` for connected
/// and `Close` for not connected, as the kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the TCP specification")]
pub enum SocketState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

impl SocketState {
    /// From the kernel's number, `None` for one that it does not have.
    #[must_use]
    pub fn from_kernel(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            12 => Self::NewSynRecv,
            _ => return None,
        })
    }
}

/// What happened to a socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Its tuple.
    pub flow: FlowKey,
    /// Its state now.
    pub state: SocketState,
    /// Its state before, where this is a change; `None` where it was found in the kernel's list.
    pub from: Option<SocketState>,
    /// Inode of the socket file, 0 where there is none.
    pub inode: u64,
    /// Who has it, where that could be found out.
    pub owner: Option<Owner>,
}

/// What waits in a socket, as the kernel's list of sockets has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The socket's tuple.
    pub flow: FlowKey,
    /// Its state; that of [`SocketState::Listen`] has connections waiting, the others bytes.
    pub state: SocketState,
    /// Inode of the socket file, 0 where there is none.
    pub inode: u64,
    /// TCP: bytes that were received and not read. Listening: connections that were not accepted. UDP, ICMP and raw:
    /// memory that unread packets take, in bytes. 0: nothing waits any more.
    pub waiting: u32,
    /// Listening: connections that may wait, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Packets that the socket has dropped since it was opened, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drops: Option<u32>,
    /// TCP: how often what the peer has not acknowledged was sent again, or was to be: 2 or more, 0 where it was once or never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u8,
    /// Who has the socket, where that could be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// What keeps that process from running at all, where something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// What keeps a process from running, so that it reads nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// It was stopped by a signal: state `T` of `ps`.
    Stopped,
    /// The same, and it is in the background of its terminal, as a job is that was stopped by `^Z`.
    Suspended,
    /// It was stopped by whoever traces it: state `t`.
    Traced,
    /// Its cgroup is frozen.
    Frozen,
}

//! How the source tells, and how well it sees.

use super::super::CAPABILITY;
use super::{Follower, MOST, Told};
use crate::event::{Body, Capability, CapabilityState, Notice, NoticeKind};
use crate::node::clock;
use crate::node::source::Gone;

/// Units that cannot be read are named up to this number, and then counted.
const NAMED: usize = 4;

impl Follower<'_> {
    /// All is read but what could not be.
    pub(super) async fn well(&mut self) -> Result<(), Gone> {
        let mut parts: Vec<String> = self
            .unread
            .iter()
            .take(NAMED)
            .map(|(name, why)| format!("{name} cannot be read: {why}"))
            .collect();
        if self.unread.len() > NAMED {
            parts.push(format!("nor can {} more units", self.unread.len() - NAMED));
        }
        parts.extend(self.refused.iter().map(|(kind, why)| {
            format!("systemd does not list units of the kind {kind}, one of which has a description that is no text ({why})")
        }));
        if let Some(root) = self.hierarchy.missing_root() {
            parts.push(format!(
                "there is no cgroup {root} (--cgroup-root): which processes units have left is not seen; /proc/PID/cgroup of \
                 the systemd that is asked names it"
            ));
        }
        if self.left_out > 0 {
            parts.push(format!(
                "there are more than {MOST} units, {} of them are not seen",
                self.left_out
            ));
        }
        let state = if parts.is_empty() {
            CapabilityState::Available
        } else {
            CapabilityState::Partial
        };
        self.capability(state, parts.join("; ")).await
    }

    pub(super) async fn capability(&mut self, state: CapabilityState, why: String) -> Result<(), Gone> {
        let capability = Capability {
            name: CAPABILITY.to_owned(),
            state,
            why,
        };
        let now = clock::boottime_ns();
        self.teller.send(now, Body::Capability(capability)).await
    }

    pub(super) async fn notice(&self, at: u64, text: String) -> Result<(), Gone> {
        let notice = Notice {
            kind: NoticeKind::Systemd,
            text,
            by: None,
        };
        self.teller.send(at, Body::Notice(notice)).await
    }

    pub(super) async fn tell(&self, told: impl IntoIterator<Item = Told>) -> Result<(), Gone> {
        for (at, body) in told {
            self.teller.send(at, body).await?;
        }
        Ok(())
    }
}

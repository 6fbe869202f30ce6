//! How the source tells, and how well it sees.

use std::collections::BTreeSet;

use super::super::{CAPABILITY, LOST};
use super::{Astray, Follower, MOST, Told};
use crate::event::{Body, Capability, CapabilityState, Notice, NoticeKind};
use crate::node::clock;
use crate::node::source::Gone;

/// Units that cannot be read are named up to this number, and then counted.
const NAMED: usize = 4;

impl Follower<'_> {
    /// No systemd can be reached.
    pub(in super::super) async fn lost(&mut self, why: &str) -> Result<(), Gone> {
        self.is_reloading = false;
        let now = clock::boottime_ns();
        if self.known.is_begun() && !self.is_lost {
            self.notice(now, format!("systemd cannot be reached any more: {why}"))
                .await?;
        }
        // One that hangs was silent for a while before that was noticed.
        let since = if self.known.is_begun() { self.heard } else { now };
        let mut why =
            format!("systemd cannot be reached: {why}; {LOST}; --systemd-bus ADDRESS names another bus");
        if let Some(rootless) = self.rootless() {
            why += &format!("; {rootless}");
        }
        self.gone(since, why).await
    }

    /// systemd tells nothing since then.
    pub(super) async fn gone(&mut self, since: u64, why: String) -> Result<(), Gone> {
        self.is_lost = true;
        self.wanted.set(self.known.started());
        self.capability_of(since, CapabilityState::Unavailable, why).await
    }

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
        if let Some(rootless) = self.rootless() {
            parts.push(rootless);
        } else if let Some(Astray {
            missing,
            named,
            example,
        }) = &self.astray
        {
            parts.push(format!(
                "of {named} cgroups that units run in as systemd says {missing} are not there, such as {example}: the main \
                 processes of units, and those that they have left, are not seen; --cgroup-root PATH names the cgroup that is \
                 the root to that systemd: what /proc/PID/cgroup has before that of its units"
            ));
        }
        parts.extend(self.freezing.problem());
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

    /// Why the cgroup that was said to be the root to systemd is none. That is told whether systemd can be reached or not.
    fn rootless(&self) -> Option<String> {
        let root = self.hierarchy.missing_root()?;
        Some(format!(
            "there is no cgroup {root} (--cgroup-root): which processes units have left is not seen; /proc/PID/cgroup of \
             the systemd that is asked names it (`ip netns exec` hides all cgroups: name the namespace by --netns instead)"
        ))
    }

    pub(super) async fn capability(&mut self, state: CapabilityState, why: String) -> Result<(), Gone> {
        self.capability_of(clock::boottime_ns(), state, why).await
    }

    async fn capability_of(&mut self, at: u64, state: CapabilityState, why: String) -> Result<(), Gone> {
        let capability = Capability {
            name: CAPABILITY.to_owned(),
            state,
            why,
        };
        self.teller.send(at, Body::Capability(capability)).await
    }

    pub(super) async fn notice(&self, at: u64, text: String) -> Result<(), Gone> {
        let notice = Notice {
            kind: NoticeKind::Systemd,
            text,
            by: None,
        };
        self.teller.send(at, Body::Notice(notice)).await
    }

    /// Something happened to the cgroups of these units.
    pub(super) async fn look_at_frozen(&mut self, units: BTreeSet<String>) -> Result<(), Gone> {
        for name in units {
            let frozen = self
                .known
                .cgroup(&name)
                .map(|path| self.hierarchy.is_frozen(path));
            let told = frozen.and_then(|frozen| self.known.frozen(&name, frozen, clock::boottime_ns()));
            self.tell(told).await?;
        }
        Ok(())
    }

    pub(super) async fn tell(&self, told: impl IntoIterator<Item = Told>) -> Result<(), Gone> {
        for (at, body) in told {
            self.teller.send(at, body).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::channel;

    use super::*;
    use crate::event::{Seen, UnitState};
    use crate::node::journal;
    use crate::node::source::{Source, Teller};

    /// One that hangs is known to only some time after its last word.
    #[test]
    fn systemd_is_lost_since_it_was_heard_last() {
        let lost = |begun: bool| {
            let (sender, mut events) = channel(8);
            let work = move |teller: &Teller| {
                let (wanted, _inbox) = journal::wanted();
                let mut follower = Follower::new(teller, "", &wanted);
                if begun {
                    follower.known.lists(5);
                    follower.heard = 7;
                }
                teller
                    .block_on(async { follower.lost("Ping: no answer in 5 s").await.unwrap_err() })
                    .ok();
            };
            let source = Source::start("systemd", sender, work).unwrap();
            let mut told = Vec::new();
            while let Some(event) = events.blocking_recv() {
                let is_last = matches!(event.body, Body::Capability(_));
                told.push((event.at, matches!(event.body, Body::Notice(_))));
                if is_last {
                    break;
                }
            }
            drop(events);
            drop(source);
            told
        };
        let told = lost(true);
        assert_eq!(
            told.iter().map(|(_, is_notice)| *is_notice).collect::<Vec<_>>(),
            [true, false]
        );
        assert!(told[0].0 > 7, "that it is noticed is told when it is");
        assert_eq!(told[1].0, 7);
        let told = lost(false);
        assert_eq!(told.len(), 1);
        assert!(told[0].0 > 7, "it was never heard");
    }

    #[test]
    fn a_cgroup_root_that_was_forgotten_is_said_with_the_remedy() {
        let (sender, mut events) = channel(8);
        let work = move |teller: &Teller| {
            let (wanted, _inbox) = journal::wanted();
            let mut follower = Follower::new(teller, "", &wanted);
            let state = UnitState {
                active: "active".to_owned(),
                cgroup: "/none-such.slice/a.service".to_owned(),
                ..UnitState::default()
            };
            follower.known.unit("a.service", state, Seen::Found, 1, 0);
            follower.astray = follower.hierarchy.astray(follower.known.cgroups());
            teller.block_on(async { follower.well().await.unwrap_err() }).ok();
        };
        let source = Source::start("systemd", sender, work).unwrap();
        let Body::Capability(told) = events.blocking_recv().unwrap().body else {
            panic!("something else is told first");
        };
        drop(events);
        drop(source);
        assert_eq!(told.state, CapabilityState::Partial);
        for part in ["of 1 cgroups", "/none-such.slice/a.service", "--cgroup-root PATH"] {
            assert!(told.why.contains(part), "{}", told.why);
        }
    }
    #[test]
    fn a_cgroup_root_that_is_none_is_said_where_there_is_no_systemd_either() {
        let (sender, mut events) = channel(8);
        let work = move |teller: &Teller| {
            let (wanted, _inbox) = journal::wanted();
            let mut follower = Follower::new(teller, "/none-such.slice", &wanted);
            teller
                .block_on(async { follower.lost("/run/bus: it is not there").await.unwrap_err() })
                .ok();
        };
        let source = Source::start("systemd", sender, work).unwrap();
        let Body::Capability(told) = events.blocking_recv().unwrap().body else {
            panic!("something else is told first");
        };
        drop(events);
        drop(source);
        assert_eq!(told.state, CapabilityState::Unavailable);
        for part in ["/run/bus", "no cgroup /none-such.slice (--cgroup-root)"] {
            assert!(told.why.contains(part), "{}", told.why);
        }
    }
}

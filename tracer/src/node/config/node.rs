//! What the whole node has: BPF programs, name servers, the kernel's log.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::super::source::{Gone, Teller};
use super::known::Change;
use super::log::Log;
use super::programs::{Holder, Programs};
use super::resolver::Resolver;
use crate::event::{Body, Seen, Setting, Unknown};

/// The file that names the name servers.
const RESOLVER: &str = "/etc/resolv.conf";

/// It.
#[derive(Debug)]
pub(super) struct Node {
    programs: Programs,
    resolver: Resolver,
    log: Option<Log>,
    /// What cannot be seen, in sentences.
    unseen: Vec<String>,
    /// Why BPF programs cannot be listed.
    no_programs: Option<String>,
    /// It is told which BPF programs were there at first.
    has_begun: bool,
}

impl Node {
    pub(super) fn new() -> Self {
        let mut unseen = Vec::new();
        let log = Log::open()
            .map_err(|error| {
                let remedy = match error.kind() {
                    io::ErrorKind::PermissionDenied => "; run tracer as root (CAP_SYSLOG)",
                    _ => "",
                };
                unseen.push(format!(
                    "/dev/kmsg cannot be read ({error}): what the kernel's log says of the network is not seen{remedy}."
                ));
            })
            .ok();
        Self {
            programs: Programs::new(),
            resolver: Resolver::new(RESOLVER),
            log,
            unseen,
            no_programs: None,
            has_begun: false,
        }
    }

    /// What becomes readable when something has happened.
    pub(super) fn ears(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.resolver
            .as_fd()
            .into_iter()
            .chain(self.log.as_ref().map(AsFd::as_fd))
    }

    /// Tells what stands.
    ///
    /// # Errors
    /// When the source is to end.
    pub(super) fn begin(&mut self, teller: &Teller) -> Result<(), Gone> {
        let change = self.resolver.change();
        tell(change, Seen::Found, teller)
    }

    /// Tells what has happened.
    ///
    /// # Errors
    /// When the source is to end.
    pub(super) fn hear(&mut self, teller: &Teller) -> Result<(), Gone> {
        if self.resolver.has_news() {
            tell(self.resolver.change(), Seen::Told, teller)?;
        }
        for notice in self.log.as_mut().map(Log::notices).unwrap_or_default() {
            teller.tell(Body::Notice(notice))?;
        }
        Ok(())
    }

    /// Looks at what cannot be watched, and what nobody tells.
    ///
    /// # Errors
    /// When the source is to end.
    pub(super) fn tick(&mut self, teller: &Teller) -> Result<(), Gone> {
        let is_another = self.resolver.is_another();
        // What came since it was heard the last time is told.
        if is_another && self.resolver.has_news() {
            return tell(self.resolver.change(), Seen::Told, teller);
        }
        if is_another || self.resolver.unwatched().is_some() {
            return tell(self.resolver.change(), Seen::Noticed, teller);
        }
        Ok(())
    }

    /// Other namespaces are watched than before.
    ///
    /// # Errors
    /// When the source is to end.
    pub(super) fn watch(&mut self, holder: &Holder<'_>, teller: &Teller) -> Result<(), Gone> {
        // What has come since the last look did not come with them.
        if std::mem::replace(&mut self.has_begun, true) {
            self.list_programs(Seen::Noticed, holder, teller)?;
        }
        self.programs.reconsider();
        self.list_programs(Seen::Found, holder, teller)
    }

    /// Tells which BPF programs and links have come and gone. See [`Programs::changes`].
    ///
    /// # Errors
    /// When the source is to end.
    pub(super) fn list_programs(
        &mut self,
        seen: Seen,
        holder: &Holder<'_>,
        teller: &Teller,
    ) -> Result<(), Gone> {
        match self.programs.changes(holder) {
            Ok(changes) => {
                self.no_programs = None;
                tell(changes, seen, teller)
            }
            Err(error) => {
                self.no_programs = Some(format!(
                    "BPF programs cannot be listed ({error}): which come and go is not seen; run tracer as root \
                     (CAP_SYS_ADMIN)."
                ));
                Ok(())
            }
        }
    }

    /// See [`Programs::touched`].
    pub(super) fn touched(&mut self) -> BTreeSet<u32> {
        self.programs.touched()
    }

    /// What cannot be seen, in sentences.
    pub(super) fn unseen(&self) -> impl Iterator<Item = String> {
        let all = self.unseen.iter().chain(&self.no_programs).cloned();
        all.chain(self.resolver.unwatched())
    }
}

fn tell(changes: impl IntoIterator<Item = Change>, seen: Seen, teller: &Teller) -> Result<(), Gone> {
    for (thing, value) in changes {
        teller.tell(Body::Setting(Box::new(Setting {
            netns: 0,
            thing,
            value,
            seen,
            by: None,
            by_unknown: match seen {
                Seen::Found => None,
                // inotify tells that a file was written, and not by whom.
                Seen::Told => Some(Unknown::NotTold),
                Seen::Noticed => Some(Unknown::Compared),
            },
        })))?;
    }
    Ok(())
}

//! What nobody tells of a namespace, and is looked at.

use std::collections::BTreeMap;

use super::super::super::netlink::{self, Asker, ROUTE};
use super::super::dump;
use super::super::known::Change;
use super::super::legacy::{Reader, Table};
use super::super::sysctl;
use super::super::told::{Told, found, noticed, unheard};
use super::{NF_TABLES, Space, netfilter, policies, ruleset_of};
use crate::event::ruleset::UNREAD;
use crate::event::{Seen, Thing, Unknown};

impl Space {
    /// Listens to nf_tables, if that has been loaded meanwhile.
    pub(in super::super) fn begin_rules(&mut self) -> Vec<Told> {
        if self.netfilter.is_some() {
            return Vec::new();
        }
        let Ok(firewall) = self.netns.enter(|| netfilter(true)) else {
            return Vec::new();
        };
        self.netfilter = firewall.listener;
        self.no_rules = firewall.unheard;
        self.rules = firewall.rules;
        unheard(self.rules_now())
    }

    /// Listens to policies of IPsec, if that has been loaded meanwhile.
    pub(in super::super) fn begin_ipsec(&mut self) -> Vec<Told> {
        if self.ipsec.listener().is_some() {
            return Vec::new();
        }
        let begun = self.netns.enter(|| {
            let ipsec = policies(true);
            let policies = ipsec.listener().map(|_| dump::policies()).transpose()?;
            Ok::<_, netlink::Error>((ipsec, policies.unwrap_or_default()))
        });
        let Ok(Ok((ipsec, policies))) = begun else {
            return Vec::new();
        };
        self.ipsec = ipsec;
        let new = policies.into_iter();
        unheard(
            new.filter_map(|(thing, value)| self.known.set(thing, value))
                .collect(),
        )
    }

    pub(super) fn rules_now(&self) -> Vec<Change> {
        let value = self.rules.value();
        value
            .into_iter()
            .map(|value| (ruleset_of(NF_TABLES), Some(value)))
            .collect()
    }

    /// Looks at the device with this index, if it has one, of which the kernel may not have told all.
    pub(in super::super) fn look_at_device(&mut self, index: u32) -> Vec<Told> {
        if !self.links.contains_key(&index) {
            return Vec::new();
        }
        let Ok(Ok(Some(body))) = self.netns.enter(|| dump::device(index)) else {
            return Vec::new();
        };
        // What was told and lost shows here as well.
        let told = if self.because_of.is_lost() {
            unheard
        } else {
            noticed
        };
        let changes = self.link(&body, &Err(Unknown::Compared)).into_iter();
        told(changes.map(|(change, _)| change).collect())
    }

    /// Looks at the tables of the older firewalls.
    pub(in super::super) fn look_at_legacy(&mut self, reader: &mut Reader, seen: Seen) -> Vec<Told> {
        let legacy = &mut self.legacy;
        if legacy.is_due() && self.netns.enter(|| legacy.open()).is_err() {
            return Vec::new();
        }
        let names = legacy.names();
        if !names.is_empty()
            && let Some(tables) = reader.open()
        {
            let wanted = legacy.wanted(&names);
            if !wanted.is_empty() {
                let find = |(firewall, names)| (firewall, names, tables.list(firewall, names));
                let found = self
                    .netns
                    .enter(|| wanted.into_iter().map(find).collect::<Vec<_>>());
                for (firewall, names, at) in found.into_iter().flatten() {
                    legacy.looked_for(firewall, names, at);
                }
            }
            legacy.read(tables);
        }
        let mut now = BTreeMap::new();
        for (firewall, names) in names {
            for name in names {
                let table = Table(firewall, name);
                let value = legacy.value(&table);
                now.insert(table, value);
            }
        }
        let gone = self.older.keys().filter(|table| !now.contains_key(table));
        let mut changes: Vec<Change> = gone.map(|table| (table.thing(), None)).collect();
        for (table, value) in &now {
            if self.older.get(table) != Some(value) {
                let value = value.as_deref().unwrap_or(UNREAD);
                changes.push((table.thing(), Some(value.to_owned())));
            }
        }
        self.older = now;
        match seen {
            Seen::Found => found(changes),
            Seen::Told | Seen::Noticed => noticed(changes),
        }
    }

    /// Listens to connection tracking, if that is possible by now.
    pub(in super::super) fn begin_tracking(&mut self, is_loaded: bool) {
        if self.tracking.is_deaf() {
            let tracking = &mut self.tracking;
            // Where the namespace has ended it is let go of.
            let _ = self.netns.enter(|| tracking.begin(is_loaded));
        }
    }

    /// Looks how many connections are tracked.
    pub(in super::super) fn look_at_tracking(&mut self) -> Vec<Told> {
        self.tracking.look()
    }

    /// Looks for whom the node answers.
    pub(in super::super) fn look_at_proxies(&mut self) -> Vec<Told> {
        let asker = match self.asker.take() {
            Some(asker) => Ok(Ok(asker)),
            None => self.netns.enter(|| Asker::open(ROUTE)),
        };
        // Where that cannot be read, whoever reads all says why.
        let Ok(Ok(asker)) = asker else {
            return Vec::new();
        };
        let Ok(Some(proxies)) = dump::proxies(&asker, &self.devices) else {
            return Vec::new();
        };
        self.asker = Some(asker);
        let is_gone = |thing: &Thing| matches!(thing, Thing::Proxy { .. }) && !proxies.contains(thing);
        let mut changes = self.known.remove_all(is_gone);
        let new = proxies.into_iter();
        changes.extend(new.filter_map(|proxy| self.known.set(proxy, String::new())));
        noticed(changes)
    }

    /// Looks at the kernel parameters that are not told.
    pub(in super::super) fn look_at_sysctls(&mut self) -> Vec<Told> {
        let thing = |name| Thing::Sysctl { name };
        let changes = self.sysctls.changes().into_iter();
        let (gone, changed): (Vec<_>, Vec<_>) = changes
            .map(|(name, value)| (thing(name), value))
            .partition(|(_, value)| value.is_none());
        let mut told = noticed(changed);
        // They went with their device or module: nobody has changed them.
        told.extend(found(gone));
        if self.sysctls.is_due() {
            let links = &self.links;
            let is_hardware = |index| links.get(&index).is_some_and(|link| link.hardware);
            let devices = sysctl::chosen(&self.devices, is_hardware);
            let sysctls = &mut self.sysctls;
            let new = self.netns.enter(|| sysctls.open(&devices)).unwrap_or_default();
            told.extend(found(
                new.into_iter()
                    .map(|(name, value)| (thing(name), Some(value)))
                    .collect(),
            ));
        }
        told
    }
}

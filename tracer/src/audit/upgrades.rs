//! What the configuration of unattended upgrades makes of what starts them. Pure.
//!
//! Sources: apt's `apt.systemd.daily`; unattended-upgrades; dnf-automatic(8).

use super::apt_conf::AptConf;
use super::does::Does;
use super::unit_file::UnitFile;
use super::{Effect, Idle, Trap};

/// The configuration of what upgrades by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Upgrades {
    pub(super) apt: AptConf,
    /// That of dnf-automatic.
    pub(super) dnf: UnitFile,
}

impl Upgrades {
    /// Adds what upgrades do besides, takes out what they do not; tells why they do nothing at all.
    pub(super) fn judge(&self, does: &mut Does, traps: &mut Vec<Trap>) -> Option<Idle> {
        if ["dnf-automatic", "dnf5 automatic"]
            .iter()
            .any(|program| does.runs(program))
        {
            self.of_dnf(does, traps);
        }
        const AT_SHUTDOWN: &str = "unattended-upgrade-shutdown";
        if does.runs(AT_SHUTDOWN) {
            let installs = self.apt.is_yes("Unattended-Upgrade::InstallOnShutdown");
            if !installs && !does.runs_besides(AT_SHUTDOWN) {
                return Some(Idle::NotAtShutdown);
            }
            if installs {
                self.of_apt(does, traps);
            }
        }
        let upgrades = does.runs("apt.systemd.daily install");
        let lists = does.runs("apt.systemd.daily update");
        let all = does.runs("apt.systemd.daily") && !upgrades && !lists;
        let is_only_apt = !does.runs_besides("apt.systemd.daily");
        if upgrades || lists || all {
            let is_on = self.is_periodic(upgrades || all, lists || all);
            if !is_on && is_only_apt {
                return Some(Idle::PeriodicOff);
            }
            if is_on && (upgrades || all) {
                self.of_apt(does, traps);
            }
        } else if does.runs("unattended-upgrade") {
            self.of_apt(does, traps);
        }
        None
    }

    fn of_apt(&self, does: &mut Does, traps: &mut Vec<Trap>) {
        if self.takes_point_releases() {
            traps.push(Trap::PointRelease);
        }
        if self.apt.is_yes("Unattended-Upgrade::Automatic-Reboot") {
            // "now" where nothing is set.
            let time = self.apt.last("Unattended-Upgrade::Automatic-Reboot-Time");
            let time = time.unwrap_or("now");
            reboots(
                does,
                traps,
                format!(
                    "shutdown -r {time} where an upgrade asks for it (Unattended-Upgrade::Automatic-Reboot)"
                ),
            );
        }
    }

    fn of_dnf(&self, does: &mut Does, traps: &mut Vec<Trap>) {
        let installs = does.runs("dnf-automatic --installupdates")
            || self.dnf.is_yes("commands", "apply_updates")
                && !does.runs("dnf-automatic --no-installupdates");
        if !installs {
            does.replace(Effect::Packages, Effect::Lists);
            return;
        }
        let when = match self.dnf.last("commands", "reboot") {
            Some("when-changed") => "after each upgrade",
            Some("when-needed") => "where an upgrade asks for it",
            _ => return,
        };
        let command = self
            .dnf
            .last("commands", "reboot_command")
            .unwrap_or("shutdown -r +5");
        reboots(
            does,
            traps,
            format!(
                "{} {when} (reboot of dnf-automatic)",
                command.trim_matches(['"', '\''])
            ),
        );
    }

    /// Whether apt does something by itself (`APT::Periodic::…`: all are 0 by default).
    fn is_periodic(&self, upgrades: bool, lists: bool) -> bool {
        let is_on = |key: &str| {
            let value = self.apt.last(&format!("APT::Periodic::{key}"));
            value.is_some_and(|value| !matches!(value, "" | "0"))
        };
        let enabled = self
            .apt
            .last("APT::Periodic::Enable")
            .is_none_or(|value| value != "0");
        // Its updates also fetch what its upgrades are to install.
        let fetches = || is_on("Update-Package-Lists") || is_on("Download-Upgradeable-Packages");
        enabled && (is_on("Unattended-Upgrade") || lists && fetches()) && (upgrades || lists)
    }

    /// unattended-upgrades also takes what comes with a point release (its default on Debian), not only security fixes.
    fn takes_point_releases(&self) -> bool {
        let mut origins = self.apt.all("Unattended-Upgrade::Origins-Pattern");
        origins.any(|origin| {
            let mut parts = origin.split(',').map(str::trim);
            parts.any(|part| part == "label=Debian" || part == "l=Debian")
        })
    }
}

/// The node is restarted too.
fn reboots(does: &mut Does, traps: &mut Vec<Trap>, how: String) {
    does.add(Effect::Reboot, how);
    traps.push(Trap::RebootsByItself);
}

//! What goes on every day on a node with systemd, and breaks nothing: units are restarted and deployed, managers run themselves
//! anew, packages are upgraded to the end, timers elapse.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::said::{changes, named, packages, text};
use super::variants::COMMON;
use super::{Heal, Node, UPGRADE, Variant, WEB, Watcher};
use crate::judge::array;
use crate::scenario::{Actor, Place, Step};
use crate::traffic::Role;

/// Something ordinary that happens to a node.
#[derive(Clone, Copy, Debug)]
pub struct Sound {
    /// Its name.
    pub name: &'static str,
    /// What happens, in plain words.
    pub happens: &'static str,
    /// The node.
    pub variant: Variant,
    /// What is done, as lines of shell in the node's own world; empty where the timer of the upgrade is set.
    pub lines: &'static str,
    /// Tells by a report that it has happened.
    pub has_happened: fn(&Value) -> bool,
}

/// So long an alarm may come late.
pub const AFTERWARDS: Duration = Duration::from_secs(5);

/// Asks the node's server.
const ASKING: Option<Actor> = Some(Actor {
    name: "peer-client",
    place: Place::Peer,
    role: Role::Client,
    addresses: &["10.10.0.2:8080"],
});

/// What a network plugin sets, as in the incident.
const PLUGIN: &[Step] = &[
    Step::Ip(Place::Node, "rule add pref 100 from all lookup local"),
    Step::Ip(Place::Node, "rule del pref 0"),
    Step::Ip(Place::Node, "rule add pref 9 fwmark 0x200/0xf00 lookup 2004"),
    Step::Ip(Place::Node, "route add 10.244.1.0/24 via 10.10.0.1 dev eth0"),
];

/// networkd leaves alone what others have set.
macro_rules! leaves_alone {
    () => {
        "mkdir -p /etc/systemd/networkd.conf.d\n\
         printf '[Network]\\nManageForeignRoutingPolicyRules=no\\nManageForeignRoutes=no\\n' \
         > /etc/systemd/networkd.conf.d/lab.conf\n"
    };
}

/// All of them.
pub const SOUND: &[Sound] = &[
    Sound {
        name: "sound-unit-restarted",
        happens: "The node's server, which is asked all the time, is restarted three times, and so is a service that asks.",
        variant: Variant {
            asks: ASKING,
            ..COMMON
        },
        lines: "for i in 1 2 3; do systemctl restart node-web.service kubelet.service; sleep 0.5; done",
        has_happened: |report| !changes(report, "unit", WEB, "active (running)").is_empty(),
    },
    Sound {
        name: "sound-service-deployed",
        happens: "The node's server is stopped, its program and its unit are replaced, and it is started again 2 s later.",
        variant: Variant {
            asks: ASKING,
            ..COMMON
        },
        lines: "systemctl stop node-web.service\n\
                cp /run/lab/program /run/lab/next && mv /run/lab/next /run/lab/program\n\
                mkdir -p /run/systemd/system/node-web.service.d\n\
                printf '[Service]\\nEnvironment=RELEASE=2\\n' > /run/systemd/system/node-web.service.d/release.conf\n\
                systemctl daemon-reload\n\
                sleep 2\n\
                systemctl start node-web.service",
        has_happened: |report| {
            let was_stopped = !changes(report, "unit", WEB, "inactive").is_empty();
            let unit = named(&report["units"], WEB);
            was_stopped && unit.is_none_or(|unit| unit["active"] == "active")
        },
    },
    Sound {
        name: "sound-managers-run-anew",
        happens: "systemd loads its units and runs itself anew, and networkd is restarted, which leaves alone what others have set.",
        variant: Variant {
            setup: PLUGIN,
            ..COMMON
        },
        lines: concat!(
            leaves_alone!(),
            "systemctl daemon-reload\n\
             systemctl daemon-reexec\n\
             systemctl restart systemd-networkd.service"
        ),
        has_happened: |report| {
            let unit = "systemd-networkd.service";
            !changes(report, "unit", unit, "active (running)").is_empty()
        },
    },
    Sound {
        name: "sound-packages-upgraded",
        happens: "A timer starts an upgrade, which restarts networkd as an upgrade of systemd does, and comes to its end; networkd \
                  leaves alone what others have set.",
        variant: Variant {
            setup: PLUGIN,
            ends: true,
            postinst: concat!(
                leaves_alone!(),
                "systemctl daemon-reexec\nsystemctl try-restart systemd-networkd.service\n"
            ),
            ..COMMON
        },
        lines: "",
        has_happened: |report| {
            let is_over = packages(report, "in_work").is_none() && packages(report, "interrupted").is_none();
            is_over && !changes(report, "unit", UPGRADE, "inactive").is_empty()
        },
    },
    Sound {
        name: "sound-timer-elapsed",
        happens: "A timer starts a service that does its work within a second and ends.",
        variant: COMMON,
        lines: "printf '[Unit]\\nDefaultDependencies=no\\n[Service]\\nType=oneshot\\nExecStart=/bin/sleep 1\\n' \
                > /run/systemd/system/chore.service\n\
                printf '[Unit]\\nDefaultDependencies=no\\n[Timer]\\nOnActiveSec=1s\\nAccuracySec=100ms\\n' \
                > /run/systemd/system/chore.timer\n\
                systemctl daemon-reload\n\
                systemctl start chore.timer",
        has_happened: |report| {
            let begun = changes(report, "unit", "chore.service", "activating");
            let ended = changes(report, "unit", "chore.service", "inactive");
            ended.iter().max() > begun.iter().min() && !begun.is_empty()
        },
    },
];

/// Lets it happen, watches for some time on, and looks for alarms: a verdict above weak at any time. Returns the report and what
/// is wrong with it.
pub fn watch(sound: &Sound, program: &Path, afterwards: Duration) -> Result<(Value, Vec<String>)> {
    let mut node = Node::build(&sound.variant, program)?;
    let mut tracer = Watcher::start(&node)?;
    tracer.headline("healthy", |text| text.starts_with("HEALTHY"))?;
    if sound.lines.is_empty() {
        node.set_timer()?;
    } else {
        node.heal(&[Heal::World(sound.lines)])?;
    }
    tracer.until(sound.happens, |report| (sound.has_happened)(report).then_some(()))?;
    node.goes_on()?;
    // It writes a block once a second.
    for _ in 0..afterwards.as_secs() {
        tracer.headline("what it says afterwards", |_| true)?;
    }
    let report = tracer.report()?;
    let alarms: Vec<&Value> = array(&report["verdicts"])
        .iter()
        .filter(|verdict| verdict["confidence"] != "weak")
        .collect();
    let is_calm = alarms.is_empty() && array(&report["episodes"]).is_empty() && report["where"] == "healthy";
    let mut failures = Vec::new();
    if !is_calm {
        failures.push(format!(
            "nothing is broken, and the tracer says where: {}, {alarms:#?}\n{:#}\n{}",
            text(&report["where"]),
            report["episodes"],
            tracer.page()?
        ));
    }
    tracer.end().context("the tracer that watched")?;
    Ok((report, failures))
}

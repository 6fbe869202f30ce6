//! The page of `tracer audit`.

use super::details::{Kind, Page};
use super::format::{day, plural, seconds, time_of_day};
use crate::audit::{Audit, Effect, Finding, Idle, Trap};

/// All findings: those that count first, each with what it rests on and the commands that would turn it off.
pub(super) fn page(page: &mut Page, audit: &Audit) {
    let (counts, others): (Vec<_>, Vec<_>) = audit.findings.iter().partition(|one| one.counts());
    let title = match counts.len() {
        0 if !audit.unread.is_empty() => {
            "It cannot be told whether something changes this node unattended".to_owned()
        }
        0 => "Nothing changes this node unattended, as far as its units and crontabs tell".to_owned(),
        some => format!(
            "{} can change this node while nobody looks",
            plural(some as u64, "thing")
        ),
    };
    page.line(Kind::Title, title);
    for one in counts {
        finding(page, one);
    }
    page.section(
        "Allowed, or idle as the node is configured",
        Kind::Text,
        others.iter().map(|one| short(one)),
    );
    page.section("Not read", Kind::Text, &audit.unread);
    page.section("Allowed, and not here", Kind::Text, &audit.unknown);
    page.section(
        "Not looked at",
        Kind::Text,
        ["what sockets, paths, udev and at(1) start, and what programs do by themselves"],
    );
}

fn finding(page: &mut Page, finding: &Finding) {
    page.gap();
    page.line(Kind::Heading, short(finding));
    if !finding.runs.is_empty() {
        let starts = if finding.starts == finding.unit {
            String::new()
        } else {
            format!("{} ", finding.starts)
        };
        page.line(Kind::Text, format!("  {starts}runs {}", finding.runs.join(", ")));
    }
    if finding.schedule.is_empty() && !finding.kill_mode.is_empty() {
        page.line(Kind::Text, "  whenever the node starts");
    }
    if !finding.schedule.is_empty() {
        let delay = match finding.random_delay.as_str() {
            "" => String::new(),
            delay => format!(", and up to {} at random", span(delay)),
        };
        let next = match &finding.next {
            None => String::new(),
            Some(next) => format!(
                "; next {} {} UTC",
                day(next).unwrap_or_default(),
                time_of_day(next)
            ),
        };
        page.line(
            Kind::Text,
            format!("  {}{delay}{next}", finding.schedule.join(", ")),
        );
    }
    if !finding.kill_mode.is_empty() {
        page.line(
            Kind::Text,
            format!(
                "  limits: start {}, stop {}; KillMode={}",
                span(&finding.start_limit),
                span(&finding.stop_limit),
                finding.kill_mode
            ),
        );
    }
    for trap in &finding.traps {
        page.line(Kind::Text, format!("  trap: {}", meaning(*trap)));
    }
    for command in &finding.remedy {
        match command.split_once("  # ") {
            Some((command, comment)) => {
                page.line(Kind::Verbatim, format!("    {command}"));
                page.line(Kind::Text, format!("        {comment}"));
            }
            None => page.line(Kind::Verbatim, format!("    {command}")),
        }
    }
}

/// A span as a unit file has it: a number alone is of seconds (systemd.time(7)).
fn span(text: &str) -> String {
    match text.parse::<u32>() {
        Ok(number) => seconds(number.into()),
        Err(_) => text.to_owned(),
    }
}

/// `apt-daily-upgrade.timer: packages`
fn short(finding: &Finding) -> String {
    let effects: Vec<_> = finding.effects.iter().map(|effect| changes(*effect)).collect();
    let note = match (finding.allowed, finding.idle) {
        (true, _) => " (allowed)",
        (_, Some(Idle::PeriodicOff)) => " (idle: APT::Periodic asks for nothing)",
        (_, Some(Idle::LeftToSystemd)) => " (idle: it leaves that to a timer of systemd)",
        (_, Some(Idle::NoCron)) => " (idle: no cron is enabled)",
        (false, None) => "",
    };
    format!("{}: {}{note}", finding.unit, effects.join(", "))
}

fn changes(effect: Effect) -> &'static str {
    match effect {
        Effect::Packages => "changes packages",
        Effect::Services => "restarts services",
        Effect::Network => "changes the network",
        Effect::Firmware => "changes firmware",
        Effect::Reboot => "restarts or stops the node",
    }
}

fn meaning(trap: Trap) -> &'static str {
    match trap {
        Trap::Persistent => {
            "Persistent=true: what was missed while the node was off is made up for at its start"
        }
        Trap::KillModeProcess => {
            "KillMode=process: a stop ends its main process only; what it has begun goes on, or ends half-way"
        }
        Trap::NoLimit => "nothing limits how long it takes",
        Trap::PointRelease => "it takes whole point releases, not only security fixes",
        Trap::ForeignRules => "when it starts it deletes rules and routes that others made",
        Trap::ContainerNetwork => {
            "the network of containers makes such rules and routes here (/etc/cni/net.d)"
        }
        Trap::RebootsByItself => "the node is restarted after an upgrade without asking",
        Trap::RestartsByItself => "services are restarted after an upgrade without asking",
    }
}

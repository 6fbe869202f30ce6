//! The page of `tracer audit`.

use super::details::{Kind, Page};
use super::format::{day, plural, seconds, time_of_day};
use crate::audit::{Audit, Effect, Finding, Idle, Trap};

/// All findings: those that count first, each with what it rests on and the commands that would turn it off.
pub(super) fn page(page: &mut Page, audit: &Audit) {
    let (mut counts, others): (Vec<_>, Vec<_>) = audit.findings.iter().partition(|one| one.counts());
    // What is only run when the node starts after what may come at any time; what is not sure last.
    counts.sort_by_key(|one| {
        (
            one.effects.is_empty(),
            one.schedule.is_empty() && one.traps.is_empty(),
        )
    });
    let title = match counts.len() {
        0 if !audit.unread.is_empty() => {
            "It cannot be told whether something changes this node unattended".to_owned()
        }
        0 => "Nothing changes this node unattended, as far as its files tell".to_owned(),
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
    let no_units =
        "There was no unit file of systemd: only cron and what else starts by itself was looked at";
    page.section("No units", Kind::Text, audit.no_units.then_some(no_units));
    page.section("Never run", Kind::Text, &audit.never);
    page.section("Allowed, and not here", Kind::Text, &audit.unknown);
    page.section(
        "Not looked at",
        Kind::Text,
        ["what programs do by themselves, and what starts with a desktop"],
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
    if !finding.mentions.is_empty() {
        let programs = finding.mentions.join(", ");
        page.line(
            Kind::Text,
            format!("  mentions {programs}; whether it runs that was not followed"),
        );
    }
    for path in &finding.missing {
        page.line(
            Kind::Text,
            format!("  {path} is not there: what it does cannot be told"),
        );
    }
    if finding.schedule.is_empty() && !finding.kill_mode.is_empty() {
        page.line(Kind::Text, "  started with the node");
    }
    if !finding.schedule.is_empty() {
        let delay = match finding.random_delay.as_str() {
            "" => String::new(),
            delay => format!(", and up to {} at random", span(delay)),
        };
        let accuracy = match finding.accuracy.as_str() {
            "" => String::new(),
            accuracy => format!(", and up to {} later (AccuracySec)", span(accuracy)),
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
            format!("  {}{delay}{accuracy}{next}", finding.schedule.join(", ")),
        );
    }
    if !finding.conditions.is_empty() {
        page.line(
            Kind::Text,
            format!("  only with {}", finding.conditions.join(", ")),
        );
    }
    if !finding.kill_mode.is_empty() {
        page.line(
            Kind::Text,
            format!(
                "  limits: run {}, stop {}; KillMode={}",
                span(&finding.run_limit),
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
    let mut effects: Vec<_> = finding
        .effects
        .iter()
        .map(|one| changes(*one).to_owned())
        .collect();
    let perhaps = finding.perhaps.iter();
    effects.extend(perhaps.map(|one| format!("perhaps {}", changes(*one))));
    let note = match finding.idle {
        _ if finding.allowed => " (allowed)".to_owned(),
        None => String::new(),
        Some(idle) => format!(" (idle: {})", reason(finding, idle)),
    };
    format!("{}: {}{note}", finding.name(), effects.join(", "))
}

/// Why something does nothing.
fn reason(finding: &Finding, idle: Idle) -> &str {
    match idle {
        Idle::PeriodicOff => "APT::Periodic asks for nothing that it does",
        Idle::NotAtShutdown => "Unattended-Upgrade::InstallOnShutdown is not set",
        Idle::LeftToSystemd => "it leaves that to a timer of systemd",
        Idle::NoCron => "no cron is enabled",
        Idle::NotStarted => "what would start it is not enabled",
        Idle::NotEnabled => "it is not enabled",
        Idle::NotLoggedIn => "it runs only while its user is logged in",
        Idle::NeverRuns => "its time never comes, or its file is refused",
        Idle::Condition => {
            let mut conditions = finding.conditions.iter();
            conditions
                .find(|condition| condition.ends_with("(does not hold)"))
                .map_or("a condition does not hold", String::as_str)
        }
    }
}

fn changes(effect: Effect) -> &'static str {
    match effect {
        Effect::Packages => "changes packages",
        Effect::Lists => "fetches packages or firmware, or what is known of them",
        Effect::Services => "restarts services",
        Effect::Network => "changes the network",
        Effect::Firmware => "changes firmware",
        Effect::Reboot => "restarts or stops the node",
        Effect::Code => "runs code from elsewhere",
        Effect::Unknown => "does what cannot be told",
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
        Trap::KillModeNone => "KillMode=none: a stop ends none of its processes; what it does goes on",
        Trap::NoLimit => "nothing limits how long it takes",
        Trap::PointRelease => "it takes whole point releases, not only security fixes",
        Trap::ForeignRules => "when it starts it deletes rules and routes that others made",
        Trap::ForeignPolicyRules => {
            "when it starts it deletes policy rules that others made (it leaves their routes)"
        }
        Trap::ForeignRoutes => "when it starts it deletes routes that others made (it leaves their rules)",
        Trap::ContainerNetwork => {
            "the network of containers makes such rules and routes here (/etc/cni/net.d)"
        }
        Trap::RebootsByItself => "the node is restarted after an upgrade without asking",
        Trap::RestartsByItself => "services are restarted after an upgrade without asking",
    }
}

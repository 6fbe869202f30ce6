//! What is broken in front of a person: a scenario of the list, or an incident with its real parts.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::incident::{self, Variant};
use crate::lab::{Lab, PATIENCE, UPLINK};
use crate::scenario::{Place, Scenario, Step};

use super::plan::{Deed, LOOK};

/// From when an upgrade has broken the node to when systemd is asked to stop it.
const BEFORE_STOP: Duration = Duration::from_secs(8);
/// From when systemd has killed an upgrade to when the rest of it is killed.
const BEFORE_KILL: Duration = Duration::from_secs(2);

/// A node that is about to break.
#[derive(Debug)]
pub(super) enum Stage {
    /// By steps.
    Scenario(&'static Scenario, Box<Lab>),
    /// By an upgrade of packages.
    Incident(&'static Variant, Box<incident::Node>),
}

/// What was done, in words, and what is to be done next.
#[derive(Debug)]
pub(super) struct Done {
    pub told: Option<String>,
    pub next: Option<(Deed, Duration)>,
    /// The node is broken now.
    pub broken: bool,
}

impl Done {
    fn told(word: &str, what: &str) -> Self {
        Self {
            told: Some(format!("{word}: {what}")),
            next: None,
            broken: false,
        }
    }

    fn then_if(self, so: bool, deed: Deed, delay: Duration) -> Self {
        if so { self.then(deed, delay) } else { self }
    }

    fn then(self, deed: Deed, delay: Duration) -> Self {
        Self {
            next: Some((deed, delay)),
            ..self
        }
    }
}

impl Stage {
    /// Its name and title.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Scenario(scenario, _) => format!("{}: {}", scenario.name, scenario.title),
            Self::Incident(variant, _) => format!("{}: {}", variant.name, variant.title),
        }
    }

    /// The namespace of the node.
    pub(super) fn netns(&self) -> &str {
        match self {
            Self::Scenario(_, lab) => lab.netns(Place::Node).name(),
            Self::Incident(_, node) => node.netns(),
        }
    }

    /// What tells the tracer with these arguments which node to watch, as far as they leave that open and it takes it.
    pub(super) fn where_to_look(&self, args: &[String]) -> Result<Vec<String>> {
        let system = match self {
            Self::Scenario(..) => Vec::new(),
            Self::Incident(_, node) => node.system()?,
        };
        Ok(where_to_look(args, self.netns(), system))
    }

    /// Does what is to be done.
    pub(super) fn act(&mut self, deed: Deed) -> Result<Done> {
        match self {
            Self::Scenario(scenario, lab) => {
                let (word, steps) = match deed {
                    Deed::Break => ("break", scenario.break_it),
                    _ => ("heal", scenario.heal),
                };
                let done = Done::told(word, &apply(lab, steps)?);
                Ok(Done {
                    broken: deed == Deed::Break,
                    ..done
                })
            }
            Self::Incident(variant, node) => act_in(variant, node, deed),
        }
    }

    /// Breaks the node, before a tracer is there.
    pub(super) fn break_at_once(&mut self) -> Result<Vec<String>> {
        let mut told = Vec::new();
        let end = std::time::Instant::now() + 2 * PATIENCE;
        let mut deed = Deed::Break;
        loop {
            let done = self.act(deed)?;
            told.extend(done.told);
            match done.next {
                Some((next, delay)) if !done.broken => {
                    deed = next;
                    std::thread::sleep(delay);
                }
                _ => return Ok(told),
            }
            if std::time::Instant::now() > end {
                bail!("the node is not broken after {:?}", 2 * PATIENCE);
            }
        }
    }
}

/// Does the steps, and tells them as commands.
fn apply(lab: &mut Lab, steps: &[Step]) -> Result<String> {
    lab.apply(steps)?;
    let told: Vec<String> = steps.iter().map(|step| lab.told(step)).collect();
    Ok(told.join("; "))
}

fn act_in(variant: &Variant, node: &mut incident::Node, deed: Deed) -> Result<Done> {
    Ok(match deed {
        Deed::Break => {
            let when = node.set_timer()?;
            Done::told("break", &when).then(Deed::LookAtUpgrade, LOOK)
        }
        Deed::LookAtUpgrade if node.is_upgraded()? => Done {
            broken: true,
            ..Done::told("break", "the upgrade has configured its first package")
        }
        .then_if(variant.killed, Deed::StopUpgrade, BEFORE_STOP),
        Deed::LookAtUpgrade => Done {
            told: None,
            next: Some((Deed::LookAtUpgrade, LOOK)),
            broken: false,
        },
        Deed::StopUpgrade => {
            let what = node.stop_upgrade()?;
            Done::told("stop", &what).then(Deed::KillUpgrade, incident::STOP + BEFORE_KILL)
        }
        Deed::KillUpgrade => Done::told("kill", &node.kill_upgrade()?),
        _ => Done::told("heal", &node.heal(variant.heal)?),
    })
}

/// See [`Stage::where_to_look`]. `system` says where the node's systemd and packages are, where they are not the machine's.
fn where_to_look(args: &[String], node: &str, system: Vec<String>) -> Vec<String> {
    let has = |one: &str| args.iter().any(|arg| arg == one);
    let takes_packets = !has("node");
    let reads_files = ["audit", "replay", "export", "explain", "--trace"]
        .into_iter()
        .any(has);
    let has_netns = args
        .iter()
        .any(|arg| arg == "--netns" || arg.starts_with("--netns="));
    if reads_files {
        return Vec::new();
    }
    let mut options = system;
    if !has_netns {
        options.extend(["--netns".to_owned(), node.to_owned()]);
    }
    if takes_packets {
        // Where several namespaces are watched, others have a device of that name too.
        options.extend(["--uplink".to_owned(), format!("{node}:{UPLINK}")]);
    }
    options
}

#[cfg(test)]
mod tests {
    use super::where_to_look;

    #[test]
    fn where_to_look_is_left_to_who_says_it() {
        let told = |line: &str| {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            where_to_look(&args, "n", Vec::new()).join(" ")
        };
        assert_eq!(told("--plain"), "--netns n --uplink n:eth0");
        assert_eq!(told("diagnose --netns all"), "--uplink n:eth0");
        assert_eq!(told("--netns=all"), "--uplink n:eth0");
        assert_eq!(told("node --wait 1s"), "--netns n");
        assert_eq!(told("audit --root /"), "");
        assert_eq!(told("diagnose --trace f"), "");
        assert_eq!(told("explain R01"), "");
    }
}

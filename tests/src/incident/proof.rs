//! The story of the incident, and what the tracer must say at each step of it.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{KUBELET, Node, POD, TIMER, UPGRADE, Variant, Watcher, upgrade};
use crate::judge::array;
use crate::tracer::{command, run};

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// What is done to the node.
    Lab,
    /// What the tracer that runs from before says.
    Tracer,
    /// What one says that was started only after the break.
    Late,
}

/// A line of the story.
#[derive(Clone, Debug)]
pub struct Line {
    /// Time since the story began.
    pub at: Duration,
    /// Who says it.
    pub who: Who,
    /// What.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.who {
            Who::Lab => "lab",
            Who::Tracer => "tracer",
            Who::Late => "tracer, started late",
        };
        write!(f, "{:5.1} s  {who}: {}", self.at.as_secs_f64(), self.text)
    }
}

/// The times of the story, as the tracer told them: UTC, RFC 3339.
#[derive(Clone, Debug, Default)]
pub struct Times {
    /// The beginning of the timer's window.
    pub window: String,
    /// The first change of the packages to being in work.
    pub in_work: String,
    /// The change that explains the verdict.
    pub cause: String,
    /// The first reply that was lost.
    pub lost: String,
    /// The kill of the upgrade.
    pub killed: String,
    /// The packages were found to be left half-way.
    pub interrupted: String,
    /// From the first lost reply to when the tracer wrote its verdict.
    pub delay: Duration,
}

impl Times {
    /// What happened, and the time of day.
    pub fn in_words(&self) -> Vec<(&'static str, &str)> {
        [
            ("the timer's window begins", &self.window),
            ("packages are in work", &self.in_work),
            ("the change that explains the verdict", &self.cause),
            ("the first reply is lost", &self.lost),
            ("systemd kills the upgrade", &self.killed),
            ("packages are left half-way", &self.interrupted),
        ]
        .map(|(what, at)| (what, at.as_str()))
        .to_vec()
    }
}

/// Plays the story, telling each line of it. An error says what the tracer did not say, or said otherwise.
pub fn play(variant: &Variant, program: &Path, tell: &mut dyn FnMut(Line) -> Result<()>) -> Result<Times> {
    Story {
        variant,
        begun: Instant::now(),
        tell,
    }
    .play(program)
}

struct Story<'a> {
    variant: &'a Variant,
    begun: Instant,
    tell: &'a mut dyn FnMut(Line) -> Result<()>,
}

impl Story<'_> {
    fn say(&mut self, who: Who, text: impl Into<String>) -> Result<()> {
        (self.tell)(Line {
            at: self.begun.elapsed(),
            who,
            text: text.into(),
        })
    }

    fn play(&mut self, program: &Path) -> Result<Times> {
        let mut node = Node::build(self.variant, program)?;
        self.say(
            Who::Lab,
            format!("a node with systemd, networkd, apt and dpkg; {KUBELET} and {POD} ask a peer, and are answered"),
        )?;
        let mut times = Times::default();
        let mut tracer = Watcher::start(&node)?;
        self.before(&node, &mut tracer, &mut times)?;
        self.break_down(&mut tracer, &mut times)?;
        self.kill(&node, &mut tracer, &mut times)?;
        self.late(&node)?;
        self.mend(&mut node, &mut tracer)?;
        let told: Vec<&str> = times.in_words().iter().map(|(_, at)| *at).collect();
        if !told.is_sorted() {
            bail!("not in this order: {times:#?}");
        }
        Ok(times)
    }

    /// All is well; a timer is set; it elapses.
    fn before(&mut self, node: &Node, tracer: &mut Watcher, times: &mut Times) -> Result<()> {
        let healthy = tracer.headline("healthy", |text| text.starts_with("HEALTHY"))?;
        self.say(Who::Tracer, healthy.text)?;
        let report = tracer.report()?;
        wanted(
            report["where"] == "healthy" && array(&report["verdicts"]).is_empty(),
            "healthy",
            &report["verdicts"],
        )?;
        self.say(Who::Lab, node.set_timer()?)?;
        let timer = tracer.until("the window of the timer", |report| {
            let timer = named(&report["timers"], TIMER)?;
            timer["window"]["from"].is_string().then(|| timer.clone())
        })?;
        times.window = text(&timer["window"]["from"])?;
        self.say(
            Who::Tracer,
            format!(
                "{TIMER} elapses between {} and {}, and starts {}",
                moment(&timer["window"]["from"]),
                moment(&timer["window"]["to"]),
                timer["unit"].as_str().unwrap_or_default()
            ),
        )?;
        let (manager, unit) = tracer.until("the upgrade at work", |report| {
            let manager = in_work(report)?;
            let unit = named(&report["units"], UPGRADE)?;
            (unit["active"] == "activating").then(|| (manager.clone(), unit.clone()))
        })?;
        wanted(
            manager["holder"]["unit"] == UPGRADE,
            "who works on packages",
            &manager,
        )?;
        wanted(
            unit["deadline"].is_object() && unit["deadline"]["seconds"].is_null(),
            "an upgrade without a limit",
            &unit,
        )?;
        self.say(
            Who::Tracer,
            format!(
                "packages in work by {}; {UPGRADE} is {} ({}), no limit",
                actor(&manager["holder"]),
                unit["active"].as_str().unwrap_or_default(),
                unit["sub"].as_str().unwrap_or_default()
            ),
        )?;
        Ok(())
    }

    /// The upgrade breaks the node.
    fn break_down(&mut self, tracer: &mut Watcher, times: &mut Times) -> Result<()> {
        let variant = self.variant;
        let said = tracer.headline(variant.verdict, |text| text.contains(variant.verdict))?;
        self.say(Who::Tracer, said.text)?;
        // They ask ten times a second. What systemd has done while it ran itself anew it tells a moment later.
        let steps = self.steps();
        let report = tracer.until(
            "the verdict, with its victims and all steps to its cause",
            |report| {
                let verdict = first(report, variant.verdict)?;
                let has = |unit: &str| array(&verdict["units"]).iter().any(|one| one == unit);
                let told: Vec<_> = array(&verdict["cause"]["chain"])
                    .iter()
                    .filter_map(|step| step["text"].as_str())
                    .collect();
                let complete = steps
                    .iter()
                    .all(|part| told.iter().any(|step| step.contains(part)));
                (has(KUBELET) && has(POD) && complete).then(|| report.clone())
            },
        )?;
        let verdict = &report["verdicts"][0];
        wanted(report["where"] == variant.place, variant.place, &report["where"])?;
        times.lost = text(&verdict["since"])?;
        times.cause = text(&verdict["cause"]["at"]).unwrap_or_default();
        times.delay = after(&times.lost, said.at)?;
        self.say(
            Who::Tracer,
            format!(
                "{} and {} suffer; said {:.1} s after the first lost reply",
                KUBELET,
                POD,
                times.delay.as_secs_f64()
            ),
        )?;
        self.cause(verdict)?;
        times.in_work = array(&report["changes"])
            .iter()
            .filter(|change| {
                change["kind"] == "packages"
                    && change["after"]
                        .as_str()
                        .is_some_and(|now| now.starts_with("in work"))
            })
            .filter_map(|change| change["at"].as_str())
            .min()
            .context("no change of the packages to being in work")?
            .to_owned();
        for invariant in array(&report["invariants"])
            .iter()
            .filter(|one| one["state"] == "broken")
        {
            self.say(
                Who::Tracer,
                format!("broken: {}", invariant["text"].as_str().unwrap_or_default()),
            )?;
        }
        Ok(())
    }

    /// What the verdict says of its cause.
    fn cause(&mut self, verdict: &Value) -> Result<()> {
        let cause = &verdict["cause"];
        let said = cause["text"].as_str().unwrap_or_default();
        wanted(cause["relation"] == "explains", "a cause that explains", cause)?;
        wanted(
            said.contains(self.variant.cause.what),
            self.variant.cause.what,
            cause,
        )?;
        let (command, unit) = self.variant.cause.by;
        wanted(
            cause["by"]["command"] == command && cause["by"]["unit"] == unit,
            &format!("done by {command} ({unit})"),
            cause,
        )?;
        self.say(Who::Tracer, format!("cause: {said}"))?;
        for step in array(&cause["chain"]) {
            self.say(
                Who::Tracer,
                format!("  {}", step["text"].as_str().unwrap_or_default()),
            )?;
        }
        Ok(())
    }

    /// Parts of the steps that led to the cause.
    fn steps(&self) -> [String; 3] {
        let (_, unit) = self.variant.cause.by;
        [
            format!("{unit} had been started anew"),
            format!("({UPGRADE}) had packages in work"),
            format!("{TIMER} had elapsed"),
        ]
    }

    /// systemd is asked to stop the upgrade, and kills it; then what is left of it is killed in part.
    fn kill(&mut self, node: &Node, tracer: &mut Watcher, times: &mut Times) -> Result<()> {
        self.say(Who::Lab, node.stop_upgrade()?)?;
        let unit = tracer.until("the limit of the stop", |report| {
            let unit = named(&report["units"], UPGRADE)?;
            unit["deadline"]["seconds"].is_number().then(|| unit.clone())
        })?;
        self.say(
            Who::Tracer,
            format!(
                "{UPGRADE} is {} ({}): in {:.1} s {}",
                unit["active"].as_str().unwrap_or_default(),
                unit["sub"].as_str().unwrap_or_default(),
                unit["deadline"]["seconds"].as_f64().unwrap_or_default(),
                unit["deadline"]["action"].as_str().unwrap_or_default()
            ),
        )?;
        let (unit, killed) = tracer.until("the kill", |report| {
            let unit = named(&report["units"], UPGRADE)?;
            let change = array(&report["changes"]).iter().find(|change| {
                change["object"] == UPGRADE
                    && change["kind"] == "unit"
                    && change["after"].as_str().is_some_and(|now| now.contains("failed"))
            })?;
            (unit["result"] == "timeout"
                && unit["active"] == "failed"
                && unit["processes"].as_u64() > Some(0))
            .then(|| (unit.clone(), change["at"].clone()))
        })?;
        times.killed = text(&killed)?;
        self.say(
            Who::Tracer,
            format!(
                "{UPGRADE} failed: timeout; {} of its processes go on",
                unit["processes"]
            ),
        )?;
        self.say(Who::Lab, node.kill_upgrade()?)?;
        let (manager, unit, at) = tracer.until("packages that are left half-way", |report| {
            let manager = array(&report["packages"])
                .iter()
                .find(|one| one["standing"] == "interrupted")?;
            let unit = named(&report["units"], UPGRADE)?;
            let change = array(&report["changes"])
                .iter()
                .find(|one| one["kind"] == "packages")?;
            Some((manager.clone(), unit.clone(), change["at"].clone()))
        })?;
        times.interrupted = text(&at)?;
        let said = manager["text"].as_str().unwrap_or_default();
        wanted(
            said.contains(upgrade::SLOW),
            "the package that is left half-way",
            &manager,
        )?;
        wanted(
            unit["processes"].as_u64() > Some(0),
            "processes that are left",
            &unit,
        )?;
        self.say(
            Who::Tracer,
            format!(
                "packages {said}; {} processes of {UPGRADE} are left",
                unit["processes"]
            ),
        )?;
        Ok(())
    }

    /// A tracer that is started only now.
    fn late(&mut self, node: &Node) -> Result<()> {
        let mut late = command(&["diagnose", "--for", "5s", "--format", "json"])?;
        late.args(node.where_to_look()?);
        let report = run(&mut late, |_| Ok(()))?.report()?;
        let verdict = &report["verdicts"][0];
        wanted(
            verdict["id"] == self.variant.verdict && report["where"] == self.variant.place,
            self.variant.verdict,
            &report["verdicts"],
        )?;
        wanted(
            verdict["cause"]["relation"] == "predates_start",
            "a cause that predates the start",
            &verdict["cause"],
        )?;
        self.say(
            Who::Late,
            format!(
                "{}  {}; {}",
                self.variant.verdict,
                verdict["title"].as_str().unwrap_or_default(),
                verdict["cause"]["text"].as_str().unwrap_or_default()
            ),
        )?;
        Ok(())
    }

    /// The node is mended.
    fn mend(&mut self, node: &mut Node, tracer: &mut Watcher) -> Result<()> {
        node.lab().apply(self.variant.heal)?;
        let told: Vec<String> = self
            .variant
            .heal
            .iter()
            .map(|step| node.lab().told(step))
            .collect();
        self.say(Who::Lab, told.join("; "))?;
        let healthy = tracer.headline("healthy again", |text| text.starts_with("HEALTHY"))?;
        self.say(Who::Tracer, healthy.text)?;
        let report = tracer.report()?;
        let of = |begins: bool| {
            let told = array(&report["changes"])
                .iter()
                .filter(|one| one["kind"] == "starvation");
            let mut told = told.filter(move |one| {
                one["after"]
                    .as_str()
                    .is_some_and(|now| now.contains("begin") == begins)
            });
            told.next().map(|one| one["at"].clone())
        };
        let (Some(begun), Some(over)) = (of(true), of(false)) else {
            bail!(
                "the tracer does not say that no flow starves any more: {:#}",
                report["changes"]
            );
        };
        self.say(
            Who::Tracer,
            format!("flows starved from {} to {}", moment(&begun), moment(&over)),
        )?;
        tracer.end()
    }
}

/// An error where something is not so.
fn wanted(so: bool, what: &str, found: &Value) -> Result<()> {
    if !so {
        bail!("the tracer does not say: {what}; it says {found:#}");
    }
    Ok(())
}

/// The manager whose packages are in work.
fn in_work(report: &Value) -> Option<&Value> {
    array(&report["packages"])
        .iter()
        .find(|one| one["standing"] == "in_work")
}

/// The member of a list that has this name.
fn named<'v>(list: &'v Value, name: &str) -> Option<&'v Value> {
    array(list).iter().find(|one| one["name"] == name)
}

/// The first verdict, where it is that one.
fn first<'v>(report: &'v Value, id: &str) -> Option<&'v Value> {
    report["verdicts"].get(0).filter(|verdict| verdict["id"] == id)
}

fn text(value: &Value) -> Result<String> {
    Ok(value
        .as_str()
        .with_context(|| format!("not a text: {value}"))?
        .to_owned())
}

/// `dpkg[812] (apt-daily-upgrade.service)`
fn actor(value: &Value) -> String {
    format!(
        "{}[{}] ({})",
        value["command"].as_str().unwrap_or_default(),
        value["pid"],
        value["unit"].as_str().unwrap_or_default()
    )
}

/// The time of day of a moment.
fn moment(value: &Value) -> &str {
    value
        .as_str()
        .and_then(|text| text.get(11..19))
        .unwrap_or_default()
}

/// From a moment as the tracer tells it (UTC, RFC 3339) to a later one, less than a day after it.
fn after(moment: &str, later: SystemTime) -> Result<Duration> {
    const DAY: f64 = 86_400.0;
    let of_day = || -> Option<f64> {
        let mut parts = moment
            .get(11..)?
            .strip_suffix('Z')?
            .split(':')
            .map(str::parse::<f64>);
        let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
        Some((hours * 60.0 + minutes) * 60.0 + seconds)
    };
    let earlier = of_day().with_context(|| format!("not a moment: {moment}"))?;
    let later = later.duration_since(UNIX_EPOCH)?.as_secs_f64();
    Ok(Duration::from_secs_f64((later - earlier).rem_euclid(DAY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_two_moments_is_known_also_over_midnight() {
        let later = UNIX_EPOCH + Duration::from_millis(86_400_000 + 500);
        let between = after("1970-01-01T23:59:58.250Z", later).unwrap();
        assert_eq!(between.as_millis(), 2250);
        assert!(after("yesterday", later).is_err());
    }
}

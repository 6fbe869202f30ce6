//! The story of an incident, and what the tracer must say at each step of it.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::said::{actor, after, change, named, packages, second_of_day, starved, text, time_of_day, wanted};
use super::{Late, Node, TIMER, UPGRADE, Variant, Watcher, upgrade};
use crate::judge::array;
use crate::tracer::{command, run};

/// What the kernel tells took effect before, by so many seconds at most: a packet may be lost before the tracer is told why.
const TOLD_LATE: f64 = 0.5;

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

/// What came of a story, as far as it went.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What happened, and when by the tracer's word (UTC, RFC 3339), in the order in which it must.
    pub moments: Vec<(&'static str, String)>,
    /// From the change that explains the verdict, before which nothing was lost, to when the tracer wrote its verdict.
    pub delay: Duration,
    /// From the first packet that was lost to when the tracer wrote its verdict.
    pub late: Option<Duration>,
    /// From then to when it told the same as a weak sign, where it does so on purpose.
    pub weak_after: Option<Duration>,
    /// The report with the verdict: the one that is right, or else the last one.
    pub report: Value,
}

/// Plays the story, telling each line of it, and what comes of it. An error says what the tracer did not say, or said otherwise;
/// or it is one of `tell`.
pub fn play(
    variant: &Variant,
    program: &Path,
    told: &mut Told,
    tell: &mut dyn FnMut(Line) -> Result<()>,
) -> Result<()> {
    let begun = Instant::now();
    Story {
        variant,
        begun,
        tell,
        told,
    }
    .play(program)
}

struct Story<'a> {
    variant: &'a Variant,
    begun: Instant,
    tell: &'a mut dyn FnMut(Line) -> Result<()>,
    told: &'a mut Told,
}

impl Story<'_> {
    fn say(&mut self, who: Who, text: impl Into<String>) -> Result<()> {
        (self.tell)(Line {
            at: self.begun.elapsed(),
            who,
            text: text.into(),
        })
    }

    /// Something happened then, as the tracer says; no earlier than what was before, but for [`TOLD_LATE`].
    fn moment(&mut self, what: &'static str, at: &str) -> Result<()> {
        let second = |moment: &str| second_of_day(moment).unwrap_or_default();
        if let Some((before, earlier)) = self.told.moments.last()
            && second(earlier) > second(at) + TOLD_LATE
        {
            bail!(
                "the tracer says that {before} at {earlier}, and that {what} at {at}: it was the other way round"
            );
        }
        self.told.moments.push((what, at.to_owned()));
        Ok(())
    }

    fn play(&mut self, program: &Path) -> Result<()> {
        let mut node = Node::build(self.variant, program)?;
        self.say(
            Who::Lab,
            "a node with systemd, networkd, apt and dpkg; its services ask, and are answered",
        )?;
        let mut tracer = Watcher::start(&node)?;
        self.before(&node, &mut tracer)?;
        let broken = self.break_down(&mut tracer);
        if broken.is_err() && self.told.report.is_null() {
            self.told.report = tracer.report().unwrap_or_default();
        }
        broken?;
        if self.variant.killed {
            self.kill(&node, &mut tracer)?;
        }
        if self.variant.expect.late == Late::Predates {
            self.late(&node)?;
        }
        self.mend(&mut node, &mut tracer)
    }

    /// All is well; a timer is set; it elapses.
    fn before(&mut self, node: &Node, tracer: &mut Watcher) -> Result<()> {
        let healthy = tracer.headline("healthy", |text| text.starts_with("HEALTHY"))?;
        self.say(Who::Tracer, healthy.text)?;
        let report = tracer.report()?;
        let is_well = report["where"] == "healthy" && array(&report["verdicts"]).is_empty();
        wanted(is_well, "healthy", &report["verdicts"])?;

        self.say(Who::Lab, node.set_timer()?)?;
        let timer = tracer.until("the window of the timer", |report| {
            let timer = named(&report["timers"], TIMER)?;
            timer["window"]["from"].is_string().then(|| timer.clone())
        })?;
        let (from, to) = (text(&timer["window"]["from"]), text(&timer["window"]["to"]));
        self.moment("the timer's window began", from)?;
        let (from, to, unit) = (time_of_day(from), time_of_day(to), text(&timer["unit"]));
        self.say(
            Who::Tracer,
            format!("{TIMER} elapses between {from} and {to}, and starts {unit}"),
        )?;

        let (manager, unit) = tracer.until("the upgrade at work", |report| {
            let manager = packages(report, "in_work")?;
            let unit = named(&report["units"], UPGRADE)?;
            (unit["active"] == "activating").then(|| (manager.clone(), unit.clone()))
        })?;
        wanted(
            manager["holder"]["unit"] == UPGRADE,
            "who works on packages",
            &manager,
        )?;
        let deadline = &unit["deadline"];
        wanted(
            deadline.is_object() && deadline["seconds"].is_null(),
            "an upgrade without a limit",
            &unit,
        )?;
        self.say(
            Who::Tracer,
            format!(
                "packages in work by {}; {}, no limit",
                actor(&manager["holder"]),
                state(&unit)
            ),
        )
    }

    /// The upgrade breaks the node.
    fn break_down(&mut self, tracer: &mut Watcher) -> Result<()> {
        let expect = &self.variant.expect;
        if !expect.waits.is_zero() {
            self.weak_sign(tracer)?;
        }
        let is_said = |text: &str| text.split(' ').any(|word| expect.is_right(word));
        let said = tracer.headline(&expect.right(), is_said)?;
        self.say(Who::Tracer, said.text)?;
        // They ask ten times a second. What systemd has done while it ran itself anew it tells a moment later.
        let steps = self.steps();
        let report = tracer.until(
            "the verdict, with its victims and all steps to its cause",
            |report| {
                let verdict = report["verdicts"].get(0)?;
                if !expect.is_right(text(&verdict["id"])) {
                    return None;
                }
                let has = |unit: &&str| array(&verdict["units"]).iter().any(|one| one == unit);
                let chain = array(&verdict["cause"]["chain"]);
                let tells = |part: &String| chain.iter().any(|step| text(&step["text"]).contains(part));
                let gives = |id: &&str| array(&report["verdicts"]).iter().any(|one| one["id"] == *id);
                let is_all = expect.units.iter().all(has) && steps.iter().all(tells);
                (is_all && expect.also.iter().all(gives)).then(|| report.clone())
            },
        )?;
        self.told.report = report.clone();
        wanted(report["where"] == expect.place, expect.place, &report["where"])?;
        let in_work = change(&report, "packages", "", "in work")
            .context("the tracer tells no change of the packages to being in work")?;
        self.moment("packages were in work", in_work)?;
        let verdict = &report["verdicts"][0];
        let lost = text(&verdict["since"]);
        self.told.delay =
            after(text(&verdict["cause"]["at"]), said.at).context("the verdict has no cause")?;
        let late = after(lost, said.at)?;
        self.told.late = Some(late);
        let victims = match expect.units {
            [] => "no unit of this node".to_owned(),
            units => units.join(" and "),
        };
        let (delay, late) = (self.told.delay.as_secs_f64(), late.as_secs_f64());
        self.say(
            Who::Tracer,
            format!(
                "victims: {victims}; said {late:.1} s after the first packet was lost, {delay:.1} s after the change that explains it"
            ),
        )?;
        for unit in expect.well {
            let starves = array(&report["starved"]).iter().any(|flow| flow["unit"] == *unit);
            wanted(!starves, &format!("{unit} is well"), &report["starved"])?;
            self.say(Who::Tracer, format!("{unit} is well"))?;
        }
        self.cause(verdict)?;
        self.moment("the first packet was lost", lost)?;

        self.broken(tracer)
    }

    /// What must hold and does not. That the kernel answers otherwise is known once it was asked, after the rule is told.
    fn broken(&mut self, tracer: &mut Watcher) -> Result<()> {
        let parts = self.variant.expect.broken;
        let broken = tracer.until(&format!("broken: {}", parts.join(", and ")), |report| {
            let broken: Vec<String> = array(&report["invariants"])
                .iter()
                .filter(|one| one["state"] == "broken")
                .map(|one| text(&one["text"]).to_owned())
                .collect();
            let is_told = |part: &&str| broken.iter().any(|told| told.contains(part));
            parts.iter().all(is_told).then_some(broken)
        })?;
        for told in broken {
            self.say(Who::Tracer, format!("broken: {told}"))?;
        }
        Ok(())
    }

    /// What will be the verdict is told as a weak sign.
    fn weak_sign(&mut self, tracer: &mut Watcher) -> Result<()> {
        let verdict = self.variant.expect.verdict;
        let since = tracer.until("the verdict as a weak sign", |report| {
            let sign = array(&report["verdicts"])
                .iter()
                .find(|one| one["id"] == verdict)?;
            (sign["confidence"] == "weak").then(|| text(&sign["since"]).to_owned())
        })?;
        let after = after(&since, SystemTime::now())?;
        self.told.weak_after = Some(after);
        self.say(
            Who::Tracer,
            format!(
                "{verdict} as a weak sign, {:.1} s after the first packet was lost",
                after.as_secs_f64()
            ),
        )
    }

    /// What the verdict says of its cause.
    fn cause(&mut self, verdict: &Value) -> Result<()> {
        let expect = &self.variant.expect;
        let cause = &verdict["cause"];
        let said = text(&cause["text"]);
        wanted(cause["relation"] == "explains", "a cause that explains", cause)?;
        wanted(said.contains(expect.cause), expect.cause, cause)?;
        let by = &cause["by"];
        match expect.by {
            Some((command, unit)) => wanted(
                by["command"] == command && by["unit"] == unit,
                &format!("done by {command} ({unit})"),
                cause,
            )?,
            None => wanted(by.is_null(), "done by nobody who is known", cause)?,
        }
        self.say(Who::Tracer, format!("cause: {said}"))?;
        for step in array(&cause["chain"]) {
            self.say(Who::Tracer, format!("  {}", text(&step["text"])))?;
        }
        self.moment("what explains it changed", text(&cause["at"]))
    }

    /// Parts of what it writes for a person who reads along, in their order, where this verdict was the root.
    fn story(&self, verdict: &str) -> Vec<String> {
        let mut parts = vec![
            "HEALTHY".to_owned(),
            format!("soon: {TIMER} elapses "),
            format!("{UPGRADE} has no limit of time"),
            format!("  {verdict}  "),
            "explained by: ".to_owned(),
        ];
        if self.variant.killed {
            parts.push(format!("soon: {UPGRADE} (stop-sigterm), in "));
            parts.push("R27 A package upgrade was cut off".to_owned());
        }
        parts
    }

    /// Parts of the steps that led to the cause.
    fn steps(&self) -> Vec<String> {
        let mut steps = vec![
            format!("({UPGRADE}) had packages in work"),
            format!("{TIMER} had elapsed"),
        ];
        match self.variant.expect.by {
            Some((_, UPGRADE)) => steps.push(format!("{UPGRADE} had been started at")),
            Some((_, unit)) => steps.push(format!("{unit} had been started anew")),
            None => {}
        }
        steps
    }

    /// systemd is asked to stop the upgrade, and kills it; then what is left of it is killed in part.
    fn kill(&mut self, node: &Node, tracer: &mut Watcher) -> Result<()> {
        self.say(Who::Lab, node.stop_upgrade()?)?;
        let unit = tracer.until("the limit of the stop", |report| {
            let unit = named(&report["units"], UPGRADE)?;
            unit["deadline"]["seconds"].is_number().then(|| unit.clone())
        })?;
        let deadline = &unit["deadline"];
        self.say(
            Who::Tracer,
            format!(
                "{}: in {:.1} s {}",
                state(&unit),
                deadline["seconds"].as_f64().unwrap_or_default(),
                text(&deadline["action"])
            ),
        )?;

        let (unit, at) = tracer.until("the kill", |report| {
            let unit = named(&report["units"], UPGRADE)?;
            let at = change(report, "unit", UPGRADE, "failed")?;
            (unit["result"] == "timeout" && unit["active"] == "failed" && has_left(unit))
                .then(|| (unit.clone(), at.to_owned()))
        })?;
        self.moment("systemd killed the upgrade", &at)?;
        self.say(
            Who::Tracer,
            format!(
                "{UPGRADE} failed: timeout; {} of its processes go on",
                unit["processes"]
            ),
        )?;

        self.say(Who::Lab, node.kill_upgrade()?)?;
        let (manager, unit, at) = tracer.until("packages that are left half-way", |report| {
            let manager = packages(report, "interrupted")?;
            let unit = named(&report["units"], UPGRADE)?;
            let at = change(report, "packages", "", "interrupted")?;
            Some((manager.clone(), unit.clone(), at.to_owned()))
        })?;
        self.moment("packages were left half-way", &at)?;
        let said = text(&manager["text"]);
        wanted(
            said.contains(upgrade::SLOW),
            "the package that is left half-way",
            &manager,
        )?;
        wanted(has_left(&unit), "processes that are left", &unit)?;
        self.say(
            Who::Tracer,
            format!(
                "packages {said}; {} processes of {UPGRADE} are left",
                unit["processes"]
            ),
        )
    }

    /// A tracer that is started only now.
    fn late(&mut self, node: &Node) -> Result<()> {
        let expect = &self.variant.expect;
        let mut late = command(&["diagnose", "--for", "5s", "--format", "json"])?;
        late.args(node.where_to_look()?);
        let report = run(&mut late, |_| Ok(()))?.report()?;
        let verdict = &report["verdicts"][0];
        let id = text(&verdict["id"]);
        wanted(
            expect.is_right(id) && report["where"] == expect.place,
            &expect.right(),
            &report["verdicts"],
        )?;
        let cause = &verdict["cause"];
        wanted(
            cause["relation"] == "predates_start",
            "a cause that predates the start",
            cause,
        )?;
        self.say(
            Who::Late,
            format!("{id}  {}; {}", text(&verdict["title"]), text(&cause["text"])),
        )
    }

    /// The node is mended.
    fn mend(&mut self, node: &mut Node, tracer: &mut Watcher) -> Result<()> {
        let told = node.heal(self.variant.heal)?;
        self.say(Who::Lab, told)?;
        let healthy = tracer.headline("healthy again", |text| text.starts_with("HEALTHY"))?;
        self.say(Who::Tracer, healthy.text)?;
        let report = tracer.report()?;
        let episode = &report["episodes"][0];
        let root = text(&episode["id"]);
        let expect = &self.variant.expect;
        wanted(expect.is_right(root), "an episode with that root", episode)?;
        tracer.has_written(&self.story(root))?;
        // That is told once, at the head of a block, and what became of the upgrade may come first further down in the same one.
        let mended = text(&episode["mended"]["text"]);
        let over = if mended.is_empty() {
            format!("recovered: {root} was last seen at")
        } else {
            format!("recovered: {root} was over at")
        };
        tracer.has_written(&[format!("  {root}  "), over.clone()])?;
        // What mended it stands behind the episode's length.
        let page = tracer.page()?;
        let line = page.lines().find(|line| line.contains(&over));
        let recovered = line.and_then(|line| line.trim().split("; ").next());
        let recovered = recovered.filter(|told| told.contains(", after "));
        let recovered =
            recovered.with_context(|| format!("the page does not say this with a length: {over}"))?;
        self.say(Who::Tracer, recovered.to_owned())?;
        if expect.mended {
            wanted(!mended.is_empty(), "what mended it", episode)?;
            self.say(Who::Tracer, format!("mended: {mended}"))?;
        }
        if let Some((begun, over)) = starved(&report) {
            let (begun, over) = (time_of_day(begun), time_of_day(over));
            self.say(Who::Tracer, format!("flows starved between {begun} and {over}"))?;
        }
        tracer.end()
    }
}

/// `apt-daily-upgrade.service is activating (start)`
fn state(unit: &Value) -> String {
    format!(
        "{} is {} ({})",
        text(&unit["name"]),
        text(&unit["active"]),
        text(&unit["sub"])
    )
}

/// Processes are left in a unit's cgroup.
fn has_left(unit: &Value) -> bool {
    unit["processes"].as_u64() > Some(0)
}

//! The verdicts: each rule's finding, held against what changed, and hung under the one that it follows from.

use std::cmp::Reverse;

use super::{flow, namespaces};
use crate::diagnosis::aftermath::{Gone, Stood};
use crate::diagnosis::beside;
use crate::diagnosis::episodes::{Fault, Leading};
use crate::diagnosis::mending::{self, Mended};
use crate::diagnosis::pairing::{self, Pairing};
use crate::diagnosis::path::ARRIVALS;
use crate::diagnosis::roots::{self, Found};
use crate::diagnosis::tolls::{self, Past};
use crate::diagnosis::{Finding, RULES, Rule, View};
use crate::event::CapabilityState;
use crate::model::Model;
use crate::report::{self, Confidence, Episode, Report, Verdict, Where};

/// Capabilities without which no rule that stays silent makes a node healthy.
const NEEDED: [&str; 3] = [ARRIVALS, "drops", "places"];

impl Report {
    /// A failure mode of the network was found: some verdict that says where the fault is is at least
    /// [`Confidence::Strong`].
    #[must_use]
    pub fn failure_found(&self) -> bool {
        self.verdicts.iter().any(Verdict::decides)
    }

    /// Why it cannot be told whether the node is healthy, in one line; `None` where it can be.
    #[must_use]
    pub fn undecided(&self) -> Option<String> {
        if self.place != Where::Unknown {
            return None;
        }
        let missing = self.capabilities.iter().find(|capability| {
            NEEDED.contains(&capability.name.as_str()) && capability.state == CapabilityState::Unavailable
        });
        let why = match missing {
            _ if self.namespaces_watched == 0 => {
                "the network namespace that was watched has ended; start tracer again for one that came since"
                    .to_owned()
            }
            Some(missing) => format!("{}: {}", missing.name, missing.why),
            None if self.ledger.arrived == 0 => format!(
                "nothing arrived in {:.1} s; watch for longer, or name the device by which packets come (--uplink)",
                self.window.seconds
            ),
            None if self.settling && self.episodes.first().is_some_and(|last| !last.is_mended()) => {
                "nothing of what was broken is seen any more, and what explains it still stands; watch for longer".to_owned()
            }
            None if self.settling && self.starved_total > 0 => {
                "what was broken was mended just now, and flows starve still; watch for longer".to_owned()
            }
            None if self.settling => "what was broken was mended just now, and what it took along may be missing still; \
                                      watch for longer"
                .to_owned(),
            None => "not enough was seen; watch for longer".to_owned(),
        };
        Some(format!("it cannot be told whether this node is healthy: {why}"))
    }
}

impl Episode {
    /// What ended some of it was seen.
    #[must_use]
    pub fn is_mended(&self) -> bool {
        self.mended.is_some() || self.beside.iter().any(|fault| fault.mended.is_some())
    }
}

impl Verdict {
    /// It makes the node unhealthy.
    #[must_use]
    pub fn decides(&self) -> bool {
        roots::counts(self.confidence) && self.place.is_some()
    }
}

/// The verdicts as they stand: what a recording must not lose when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    place: Where,
    is_settling: bool,
    verdicts: Vec<(&'static str, Confidence)>,
}

impl Standing {
    /// Where the fault is.
    #[must_use]
    pub fn place(&self) -> Where {
        self.place
    }

    /// Something was mended just now, and flows starve still, or a default route is not back; or what is not seen any more may
    /// come again: whether that was all is not known yet.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.is_settling
    }

    /// Nothing is the matter with the network, as far as can be seen.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.place == Where::Healthy && self.verdicts.is_empty()
    }
}

/// A finding that is over.
pub(in crate::diagnosis) struct Over {
    pub rule: &'static str,
    /// When it was mended.
    pub mended: u64,
    /// Nothing of it was seen after this time.
    pub until: u64,
}

/// What all rules say at a time.
pub(in crate::diagnosis) struct Outcome {
    /// How the verdicts stand.
    pub standing: Standing,
    /// The one that leads, with what its rule found.
    pub leading: Option<(Leading, Finding)>,
    /// What was mended, where none that decides stands.
    pub over: Vec<Over>,
    /// Those of the others that decide and hang under none, with what their rules found.
    pub others: Vec<Found>,
    /// What took away those that are found no more; that which led is the first.
    pub gone: Vec<Gone>,
    /// All of them.
    pub stands: Vec<Stood>,
    /// Those that decide.
    pub faults: Vec<Fault>,
    /// What is to be kept of what flows lose now.
    pub tolls: tolls::Found,
    /// See [`View::silent_since`].
    pub silent_since: Option<u64>,
}

/// Asks all rules.
pub(in crate::diagnosis) fn outcome(model: &Model, past: &Past) -> Outcome {
    let view = View::of(model, past);
    let Stand { found, over, gone } = judged(&view);
    let tolls = view.to_keep();
    let verdicts = found
        .iter()
        .filter(|one| one.rule.place.is_some())
        .map(|one| (one.rule.id, one.finding.confidence))
        .collect();
    let stands = found
        .iter()
        .map(|one| Stood {
            rule: one.rule,
            confidence: one.finding.confidence,
            since: one.finding.since,
            is_root: one.under.is_none(),
            mended: one.mended.as_ref().map(|mended| mended.at),
            last: one.finding.last,
        })
        .collect();
    let faults = found
        .iter()
        .filter(|one| decides(one.rule, &one.finding))
        .map(|one| Fault {
            rule: one.rule,
            since: one.finding.since,
            last: one.finding.last,
            mended: one.mended.clone(),
            is_root: one.under.is_none(),
        })
        .collect();
    let (leading, others) = lead(found);
    let first = leading.as_ref().and_then(|(leading, _)| leading.rule.place);
    let just = gone.iter().map(|gone| gone.until).max();
    let (place, is_settling) = place(model, past, first, just);
    Outcome {
        standing: Standing {
            place,
            is_settling,
            verdicts,
        },
        over: if leading.is_none() { over } else { Vec::new() },
        leading,
        others,
        gone,
        stands,
        faults,
        tolls,
        silent_since: view.silent_since(),
    }
}

/// When that was done first which explains the finding, in boot time.
pub(in crate::diagnosis) fn brought_about(model: &Model, rule: &Rule, finding: &Finding) -> Option<u64> {
    pairing::brought_about(model, rule, finding)
}

/// What is known of the cause of a finding.
pub(in crate::diagnosis) fn cause(model: &Model, rule: &Rule, finding: &Finding) -> report::Cause {
    pairing::cause_of(model, rule, finding)
}

/// The finding that is the first of [`all`], where it decides, and others that decide and hang under none.
fn lead(found: Vec<Judged>) -> (Option<(Leading, Finding)>, Vec<Found>) {
    let mut found: Vec<Judged> = found
        .into_iter()
        .filter(|one| decides(one.rule, &one.finding))
        .collect();
    // The sort is stable: of equal ones, the first.
    found.sort_by_key(|one| one.under.is_some());
    let mut found = found.into_iter();
    let leading = found.next().map(|one| {
        let Judged {
            rule,
            finding,
            mended,
            ..
        } = one;
        let leading = Leading {
            rule,
            confidence: finding.confidence,
            since: finding.since,
            last: finding.last,
            flows: finding.flows.len() as u64,
            units: finding.units.clone(),
            mended,
        };
        (leading, finding)
    });
    let others = found.filter(|one| one.under.is_none());
    (leading, others.map(|one| (one.rule, one.finding)).collect())
}

/// A finding, the one that it hangs under, and what took it away.
struct Judged {
    rule: &'static Rule,
    finding: Finding,
    under: Option<&'static str>,
    mended: Option<Mended>,
}

/// What rules have found, as it stands.
struct Stand {
    /// All findings that are not over.
    found: Vec<Judged>,
    /// Those that are.
    over: Vec<Over>,
    /// What took away those that are found no more; that which led is the first.
    gone: Vec<Gone>,
}

/// What was found, but for what is left of faults that were mended. With a root that is mended goes what hangs under it, unless
/// more of that is seen.
fn judged(view: &View<'_>) -> Stand {
    let model = view.model;
    let mut found = findings(view);
    let aftermath = &view.past.aftermath;
    let gone = aftermath.took_away(model, &found);
    let at = gone
        .first()
        .filter(|gone| gone.has_led)
        .map(|gone| gone.mended.at);
    found.retain(|(rule, finding)| !aftermath.is_late(model, rule, finding, at));
    let under = roots::under(model, &found);
    let own = beside::each(&found, |(rule, finding)| mended(model, rule, finding, false));
    let root = |id: &str| found.iter().position(|(rule, _)| rule.id == id);
    let mended: Vec<Option<Mended>> = (0..found.len())
        .map(|place| {
            let of_root = under[place].and_then(root).and_then(|root| own[root].clone());
            let of_root = of_root.filter(|mended| mended.ends(&found[place].1));
            own[place].clone().or(of_root)
        })
        .collect();
    let ended = |place: usize| {
        let (rule, finding) = &found[place];
        let mended = mended[place].as_ref()?;
        mended.is_over(finding, model.now()).then(|| Over {
            rule: rule.id,
            mended: mended.at,
            until: mended.at.max(finding.last),
        })
    };
    let ended: Vec<Option<Over>> = (0..found.len()).map(ended).collect();
    let over: Vec<bool> = ended.iter().map(Option::is_some).collect();
    let stands: Vec<Option<&'static str>> = under
        .iter()
        .map(|under| under.filter(|id| root(id).is_some_and(|root| !over[root])))
        .collect();
    let all = found.into_iter().zip(mended).zip(stands).zip(over);
    let stand = all
        .filter(|(_, over)| !over)
        .map(|((((rule, finding), mended), under), _)| Judged {
            rule,
            finding,
            under,
            mended,
        })
        .collect();
    let over_now = gone.iter().filter(|gone| gone.is_over).map(|gone| Over {
        rule: gone.rule.id,
        mended: gone.mended.at,
        until: gone.until,
    });
    Stand {
        found: stand,
        over: ended.into_iter().flatten().chain(over_now).collect(),
        gone,
    }
}

/// What took a finding away, which is not there any more where `is_gone`, if nothing was seen of it since.
pub(in crate::diagnosis) fn mended(
    model: &Model,
    rule: &Rule,
    finding: &Finding,
    is_gone: bool,
) -> Option<Mended> {
    mending::mended(model, rule, finding, is_gone).filter(|mended| mended.ends(finding))
}

/// What the rules find, in their order.
fn findings(view: &View<'_>) -> Vec<Found> {
    let found = beside::each(RULES, |rule| found_by(view, rule));
    found.into_iter().flatten().collect()
}

fn found_by(view: &View<'_>, rule: &'static Rule) -> Option<Found> {
    let model = view.model;
    let mut finding = (rule.examine)(view)?;
    if finding.confidence == Confidence::Weak && pairing::is_proved(model, rule, &finding) {
        finding.confidence = Confidence::Strong;
    }
    let began = view.past.aftermath.began(model, rule, &finding);
    finding.since = began.unwrap_or(finding.since);
    Some((rule, finding))
}

fn decides(rule: &Rule, finding: &Finding) -> bool {
    roots::counts(finding.confidence) && rule.place.is_some()
}

/// All verdicts: roots that make the node unhealthy first, then what hangs under others, then the rest, each in the order of
/// the rules.
pub(super) fn all(model: &Model, past: &Past, most: usize) -> Vec<Verdict> {
    let stand = judged(&View::of(model, past));
    let pair = |one: &Judged| {
        // Of what says nothing of packets by itself the cause is a step on the way to that of its root.
        let root = root(&stand.found, one).filter(|_| one.rule.place.is_some());
        let root = root.map(|root| (root.rule, &root.finding));
        pairing::pair(model, (one.rule, &one.finding), root)
    };
    let pairings = beside::each(&stand.found, pair);
    let all = stand.found.into_iter().zip(pairings);
    let mut verdicts: Vec<Verdict> = all
        .map(|(one, pairing)| verdict(model, one, pairing, most))
        .collect();
    // The sort is stable.
    verdicts.sort_by_key(|verdict| (Reverse(verdict.decides()), verdict.under.is_some()));
    verdicts
}

/// What it hangs under, and that under, up to what hangs under none; `None` where it does not itself.
fn root<'a>(found: &'a [Judged], one: &Judged) -> Option<&'a Judged> {
    let above = |one: &Judged| found.iter().find(|above| Some(above.rule.id) == one.under);
    let all = std::iter::successors(above(one), |one| above(one));
    all.take(found.len()).last()
}

fn verdict(model: &Model, judged: Judged, pairing: Pairing, most: usize) -> Verdict {
    let Judged {
        rule,
        finding,
        under,
        mended,
    } = judged;
    let Pairing {
        cause,
        coincides,
        coincides_total,
        also,
        also_total,
        undo,
    } = pairing;
    let mut remedy = Vec::new();
    // What is mended needs no more than to be kept from happening again.
    if mended.is_none() {
        remedy = undo.lines;
        remedy.extend(finding.remedy.into_iter().filter(|_| !undo.is_whole));
    }
    remedy.extend(finding.prevent);
    Verdict {
        id: rule.id.to_owned(),
        title: rule.title.to_owned(),
        place: rule.place,
        confidence: finding.confidence,
        explanation: finding.explanation + &namespaces::of_flows(model, &finding.flows),
        since: model.utc(finding.since),
        last: model.utc(finding.last),
        cause,
        mended: mended.map(|mended| told(model, &mended)),
        coincides,
        coincides_total,
        also,
        also_total,
        under: under.map(str::to_owned),
        evidence: finding.evidence,
        flows: finding
            .flows
            .iter()
            .take(most)
            .filter_map(|key| Some(flow(model, key, model.flows().get(key)?)))
            .collect(),
        flows_total: finding.flows.len() as u64,
        units: finding.units,
        check: finding.check,
        remedy,
    }
}

/// What took a fault away, for the reader.
pub(in crate::diagnosis) fn told(model: &Model, mended: &Mended) -> report::Later {
    report::Later {
        change: mended.change,
        at: model.utc(mended.at),
        text: mended.text.clone(),
    }
}

/// Where the fault is, by the first verdict that decides it, and whether that is open: what was mended just now may have hidden
/// something else, which takes a while to be known, as long as flows starve or a default route that went with it is not back; and what a firewall
/// drops a part of may come again. `just` is when that was mended which is found no more.
pub(super) fn place(model: &Model, past: &Past, first: Option<Where>, just: Option<u64>) -> (Where, bool) {
    let place = first.unwrap_or_else(|| without_fault(model));
    let is_settling = place == Where::Healthy && past.aftermath.is_settling(model, just);
    (if is_settling { Where::Unknown } else { place }, is_settling)
}

/// What is to be said where no verdict decides.
fn without_fault(model: &Model) -> Where {
    if !NEEDED.iter().all(|capability| model.can(capability)) || model.is_over() {
        return Where::Unknown;
    }
    // Where nothing arrives, nothing shows that the network works.
    if model.totals().ledger.arrived > 0 {
        Where::Healthy
    } else {
        Where::Unknown
    }
}

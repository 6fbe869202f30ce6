//! What takes back what explains a finding, and that it did.

use tracer::event::{Seen, Thing, Version};
use tracer::report::Where;

use crate::pairing::{before, by, local_rule, lose, networkd, set};
use crate::story::*;

/// What explains it is taken back exactly, and only where that is not known comes what mends it in general.
#[test]
fn what_mends_it_is_what_takes_the_cause_back() {
    let mut story = before();
    let rule = Thing::Rule {
        version: Version::V4,
        priority: 100,
        text: "from all lookup local".to_owned(),
        table: 255,
    };
    set(&mut story, rule.clone(), Some(""), Seen::Told, None);
    set(&mut story, local_rule(), None, Seen::Told, None);
    story.tick();
    set(&mut story, rule.clone(), None, Seen::Told, Some(networkd()));
    lose(&mut story);
    let remedy = story.verdict("R01").remedy;
    assert!(
        remedy[0].starts_with("ip rule add pref 100 from all lookup local  # Risk: low"),
        "{remedy:#?}"
    );
    assert!(
        remedy
            .iter()
            .all(|line| !line.contains("where `ip rule` shows no")),
        "{remedy:#?}"
    );
    assert!(
        remedy
            .last()
            .unwrap()
            .contains("ManageForeignRoutingPolicyRules=no")
    );
    // Where another hand put it back nothing is left to do but to keep it from happening again.
    set(&mut story, rule, Some(""), Seen::Told, None);
    lose(&mut story);
    let remedy = story.verdict("R01").remedy;
    assert!(!remedy[0].contains("pref 100"), "{remedy:#?}");
}

/// What took the cause back is told, and with it the fault is over soon, not only when nothing was seen of it for long.
#[test]
fn what_took_the_cause_back_has_mended_it() {
    let mut story = before();
    set(&mut story, local_rule(), None, Seen::Told, Some(networkd()));
    lose(&mut story);
    assert_eq!(story.verdict("R01").mended, None);
    set(
        &mut story,
        Thing::Rule {
            version: Version::V4,
            priority: 7,
            text: "from all lookup local".to_owned(),
            table: 255,
        },
        Some(""),
        Seen::Told,
        Some(by(900, "ip", "")),
    );
    story.tick();
    let verdict = story.verdict("R01");
    let mended = verdict.mended.unwrap();
    assert_eq!(mended.text, "IPv4 rule 7: from all lookup local came, by ip[900]");
    assert!(
        verdict.remedy.iter().all(|line| !line.starts_with("ip ")),
        "{:#?}",
        verdict.remedy
    );
    story.idle(4);
    let report = story.report();
    assert!(report.verdicts.iter().all(|one| one.id != "R01"));
    assert_eq!(report.episodes[0].mended.as_ref(), Some(&mended));
    assert!(report.episodes[0].end.is_some());
}

/// What is put back right after it began did not bring it about, nor hides what did.
#[test]
fn what_was_put_back_at_once_has_mended_it() {
    let mut story = before();
    set(&mut story, local_rule(), None, Seen::Told, Some(networkd()));
    story.rounds(1, |story| {
        for port in 40_000..40_010 {
            story.ask_and_lose(client(port), foreign());
        }
    });
    assert!(story.verdict("R01").cause.text.contains("went away"));
    let at = story.events.last().unwrap().at + 200_000_000;
    set(
        &mut story,
        local_rule(),
        Some(""),
        Seen::Told,
        Some(by(900, "ip", "")),
    );
    story.events.last_mut().unwrap().at = at;
    story.idle(30);
    let report = story.report();
    assert_eq!(report.place, Where::Healthy);
    let mended = report.episodes[0].mended.as_ref().unwrap();
    assert!(mended.text.contains("came"), "{mended:?}");
}

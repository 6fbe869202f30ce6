//! The pages of `tracer explain`, and docs/verdicts.md, which is made of the same rules.

use super::details::{self, Kind, Page};
use super::{text, words};
use crate::diagnosis::{RULES, Rule};

/// All rules, a line each, in the order of their precedence.
#[must_use]
pub fn list(room: usize) -> String {
    let mut page = Page::default();
    page.line(
        Kind::Text,
        "Verdicts, in the order of their precedence; `tracer explain ID` tells more of one.",
    );
    page.gap();
    for rule in RULES {
        page.line(Kind::Verbatim, format!("{}  {}", rule.id, rule.title));
    }
    text::broken(page.into_lines(), room)
}

/// What there is to know of a rule.
#[must_use]
pub fn page(rule: &Rule, room: usize) -> String {
    let mut page = Page::default();
    page.line(Kind::Title, format!("{}  {}", rule.id, rule.title));
    page.line(Kind::Text, format!("{}; where: {}", rule.slug, place(rule)));
    page.section("Seen by", Kind::Text, [rule.about.signature]);
    page.section("Means", Kind::Text, [rule.about.meaning]);
    details::commands(&mut page, "Check (changes nothing)", rule.about.check);
    details::commands(&mut page, "Mend", rule.about.mend);
    text::broken(page.into_lines(), room)
}

fn place(rule: &Rule) -> String {
    rule.place.map_or_else(
        || "says nothing of packets by itself".to_owned(),
        |place| words::place(place).to_lowercase(),
    )
}

/// docs/verdicts.md.
#[must_use]
pub fn document() -> String {
    let mut document = String::from(
        "# Verdicts\n\nMade from the rules (`tracer/src/diagnosis`); a test keeps it current. `tracer explain ID` prints the \
         same on the node.\n\nThe order is that of precedence: what the host lost explains what happens on the path and at a \
         port, not the other way round. Each verdict of a report says more: what was seen, with the names and numbers of the \
         node, what changed before, and the commands for just that.\n\n| id | verdict | where |\n|---|---|---|\n",
    );
    for rule in RULES {
        document += &format!(
            "| [{}](#{}) | {} | {} |\n",
            rule.id,
            anchor(rule),
            rule.title,
            place(rule)
        );
    }
    for rule in RULES {
        let about = &rule.about;
        document += &format!(
            "\n## {} {}\n\n*Seen by.* {}\n\n*Means.* {}\n",
            rule.id, rule.slug, about.signature, about.meaning
        );
        for (heading, lines) in [("Check", about.check), ("Mend", about.mend)] {
            document += &format!("\n*{heading}.*\n\n");
            for line in lines {
                document += &match line.split_once("  # ") {
                    Some((command, comment)) => format!("* `{}`: {comment}\n", command.trim_end()),
                    // A sentence begins with a capital letter, a command does not.
                    None if line.starts_with(char::is_uppercase) => format!("* {line}\n"),
                    None => format!("* `{line}`\n"),
                };
            }
        }
    }
    document
}

fn anchor(rule: &Rule) -> String {
    format!("{}-{}", rule.id.to_lowercase(), rule.slug)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_document_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/verdicts.md");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // Behind it is what the lab found.
        let (rules, proof) = text.split_at(text.find("\n## Proof: ").unwrap_or(text.len()));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, document() + proof).unwrap();
        }
        assert!(
            rules == document(),
            "docs/verdicts.md is not what the rules say; regenerate it:\n\
             UPDATE=1 cargo test -p tracer --lib ui::explain"
        );
    }

    #[test]
    fn every_rule_says_all_there_is_to_know() {
        for rule in RULES {
            let about = &rule.about;
            assert!(
                !about.signature.is_empty() && !about.meaning.is_empty(),
                "{}",
                rule.id
            );
            assert!(!about.check.is_empty() && !about.mend.is_empty(), "{}", rule.id);
            // Whoever mends something is to know the risk.
            assert!(
                about.mend.iter().all(|line| line.contains("Risk: ")),
                "{}: {:?}",
                rule.id,
                about.mend
            );
        }
    }

    /// What is no sentence is set as a command, to be copied.
    #[test]
    fn no_command_has_words_in_it() {
        for rule in RULES {
            let lines = rule.about.check.iter().chain(rule.about.mend);
            for line in lines.filter(|line| !line.starts_with(char::is_uppercase)) {
                let command = line.split_once("  # ").map_or(*line, |(command, _)| command);
                let has_words = ["Risk:", ", "].iter().any(|words| command.contains(words));
                assert!(!has_words, "{}: {command}", rule.id);
            }
        }
    }

    #[test]
    fn ids_and_names_are_each_of_one_rule() {
        let names: BTreeSet<&str> = RULES.iter().flat_map(|rule| [rule.id, rule.slug]).collect();
        assert_eq!(names.len(), 2 * RULES.len());
        let known: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
        for rule in RULES {
            assert!(rule.follows.iter().all(|id| known.contains(id)), "{}", rule.id);
        }
    }

    #[test]
    fn page_of_the_incident_s_rule() {
        insta::assert_snapshot!(page(&RULES[0], text::WIDTH));
    }
}

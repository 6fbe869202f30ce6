//! What rules of udev start: programs and units. Pure.
//!
//! Source: udev(7), systemd.device(5). Programs without a path are in /usr/lib/udev.

/// A rule that starts something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    /// The line that it begins at, from 1.
    pub(super) line: usize,
    /// What must be for it to do so: `ACTION=="add", SUBSYSTEM=="net"`.
    pub(super) when: String,
    /// The command lines that it runs.
    pub(super) commands: Vec<String>,
    /// The units that systemd starts with the device.
    pub(super) units: Vec<String>,
}

/// The rules of a file that start something.
pub(super) fn rules(text: &str) -> Vec<Rule> {
    let mut found = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((line, text)) = lines.next() {
        let mut whole = text.trim().to_owned();
        if whole.starts_with('#') {
            continue;
        }
        while whole.ends_with('\\') {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim());
        }
        let mut rule = Rule {
            line,
            ..Rule::default()
        };
        let mut when = Vec::new();
        for part in parts(&whole) {
            let Some((key, operator, value)) = assignment(part) else {
                continue;
            };
            match (key, operator) {
                // These are run to see what they answer.
                ("RUN" | "RUN{program}" | "PROGRAM" | "IMPORT{program}", _) => {
                    rule.commands.push(command(value))
                }
                (_, "==" | "!=") => when.push(part.trim()),
                ("ENV{SYSTEMD_WANTS}", _) => {
                    rule.units
                        .extend(value.split_ascii_whitespace().map(str::to_owned));
                }
                _ => {}
            }
        }
        if !rule.commands.is_empty() || !rule.units.is_empty() {
            rule.when = when.join(", ");
            found.push(rule);
        }
    }
    found
}

/// The parts of a rule: commas within quotes do not end one.
fn parts(rule: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    rule.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

/// Key, operator and value of a part.
fn assignment(part: &str) -> Option<(&str, &str, &str)> {
    let at = part.find(['=', '!', '+', '-', ':'])?;
    let (key, rest) = part.split_at(at);
    let length = rest.find('"')?;
    let (operator, value) = rest.split_at(length);
    // `i` before the quotes: upper and lower case are the same; `e`: with escapes.
    let operator = operator.trim().trim_end_matches(['i', 'e']);
    Some((key.trim(), operator, value.trim().trim_matches('"')))
}

fn command(value: &str) -> String {
    if value.starts_with('/') {
        value.to_owned()
    } else {
        format!("/usr/lib/udev/{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_start_something() {
        let text = "# RUN+=\"x\"\nSUBSYSTEM==\"net\", ACTION==\"add|remove\", \\\n  ATTR{a}!=\"1,2\", \\\n  \
                    RUN+=\"hook %k, x\", RUN{builtin}+=\"kmod\"\n\
                    SUBSYSTEM==\"net\", NAME=\"eth0\"\n\
                    KERNEL==i\"x\", TAG+=\"systemd\", ENV{SYSTEMD_WANTS}+=\"a@$name.service b.service\"\n\
                    ACTION==\"add\", PROGRAM==\"/bin/test\", PROGRAM=\"/opt/a.sh\"\n\"\n,,=\n\\";
        let rule = |line, when: &str, commands: &[&str], units: &[&str]| Rule {
            line,
            when: when.to_owned(),
            commands: commands.iter().map(|&one| one.to_owned()).collect(),
            units: units.iter().map(|&one| one.to_owned()).collect(),
        };
        assert_eq!(
            rules(text),
            [
                rule(
                    2,
                    "SUBSYSTEM==\"net\", ACTION==\"add|remove\", ATTR{a}!=\"1,2\"",
                    &["/usr/lib/udev/hook %k, x"],
                    &[]
                ),
                rule(6, "KERNEL==i\"x\"", &[], &["a@$name.service", "b.service"]),
                rule(7, "ACTION==\"add\"", &["/bin/test", "/opt/a.sh"], &[]),
            ]
        );
    }
}

//! What `%i` and its like stand for in the files of units. Pure.
//!
//! Source: systemd.unit(5), "Specifiers". Those that only the running node knows (`%m`, `%H`, `%v`) stay as they are.

use std::collections::BTreeSet;

/// The manager of systemd that runs a unit: that of the node, or of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manager {
    /// Whose it is and where that user is at home; nothing for a user who is not known.
    user: Option<(String, String)>,
    /// It is that of the node.
    is_of_node: bool,
}

impl Manager {
    /// That of the node.
    pub(super) fn of_node() -> Self {
        Self {
            user: Some(("root".to_owned(), "/root".to_owned())),
            is_of_node: true,
        }
    }

    /// That of a user with that home.
    pub(super) fn of_user(user: &str, home: &str) -> Self {
        Self {
            user: Some((user.to_owned(), format!("/{}", home.trim_matches('/')))),
            is_of_node: false,
        }
    }

    fn value(&self, specifier: char) -> Option<&str> {
        let (user, home) = self
            .user
            .as_ref()
            .map(|(user, home)| (user.as_str(), home.as_str()))
            .unzip();
        match specifier {
            'T' => Some("/tmp"),
            'V' => Some("/var/tmp"),
            'h' => home,
            'u' => user,
            'C' | 'E' | 'L' | 'S' | 'U' | 'G' | 'g' | 't' if self.is_of_node => Some(match specifier {
                'C' => "/var/cache",
                'E' => "/etc",
                'L' => "/var/log",
                'S' => "/var/lib",
                't' => "/run",
                'g' => "root",
                _ => "0",
            }),
            _ => None,
        }
    }
}

/// What specifiers stand for is put into a text of so many bytes at most: no command line is as long.
const MOST: usize = 1 << 16;

/// A text with what its specifiers stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// Those that are not known, as they stand in it still: `%m`.
    pub(super) unknown: BTreeSet<String>,
}

/// Puts into a text of that unit what specifiers stand for.
pub(super) fn expand(text: &str, unit: &str, manager: &Manager) -> Expanded {
    let mut expanded = Expanded::default();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('%') {
        expanded.text.push_str(before);
        let mut chars = behind.chars();
        let specifier = chars.next();
        rest = chars.as_str();
        match specifier {
            Some('%') => expanded.text.push('%'),
            Some(c) => match of_name(c, unit).or_else(|| manager.value(c).map(str::to_owned)) {
                Some(value) if expanded.text.len() + value.len() <= MOST => expanded.text.push_str(&value),
                _ => {
                    let own = format!("%{c}");
                    expanded.text.push_str(&own);
                    expanded.unknown.extend(c.is_ascii_alphabetic().then_some(own));
                }
            },
            None => expanded.text.push('%'),
        }
    }
    expanded.text.push_str(rest);
    expanded
}

/// What a specifier stands for that goes by the name of the unit.
fn of_name(specifier: char, unit: &str) -> Option<String> {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let last = prefix.rsplit('-').next().unwrap_or_default();
    Some(match specifier {
        'n' => unit.to_owned(),
        'N' => stem.to_owned(),
        'p' => prefix.to_owned(),
        'P' => unescaped(prefix),
        'i' => instance.to_owned(),
        'I' => unescaped(instance),
        'j' => last.to_owned(),
        'J' => unescaped(last),
        'f' => format!(
            "/{}",
            unescaped(if instance.is_empty() { prefix } else { instance })
        ),
        _ => return None,
    })
}

/// A name as it was before systemd-escape(1): `-` stands for `/`, `\x2d` for what has that number.
fn unescaped(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let [first, behind @ ..] = rest {
        let number = rest.strip_prefix(br"\x").and_then(|hex| hex.get(..2));
        let number = number.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        match (number, first) {
            (Some(number), _) => {
                bytes.push(number);
                rest = &rest[4..];
                continue;
            }
            (None, b'-') => bytes.push(b'/'),
            (None, other) => bytes.push(*other),
        }
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specifier_goes_by_the_unit_and_its_manager() {
        let unit = r"a-b@c-d\x2de.service";
        for (text, value) in [
            ("/opt/%p.sh", "/opt/a-b.sh"),
            ("%n %N", r"a-b@c-d\x2de.service a-b@c-d\x2de"),
            ("%i %I %j %f", r"c-d\x2de c/d-e b /c/d-e"),
            ("%h/x %t/x %E", "/root/x /run/x /etc"),
            ("+%%F 5%", "+%F 5%"),
        ] {
            let expanded = expand(text, unit, &Manager::of_node());
            assert_eq!(
                (expanded.text.as_str(), expanded.unknown.len()),
                (value, 0),
                "{text}"
            );
        }
        let ann = Manager::of_user("ann", "home/ann");
        assert_eq!(expand("%h/%p", "a.service", &ann).text, "/home/ann/a");
        let unknown = |text, manager: Manager| {
            expand(text, unit, &manager)
                .unknown
                .into_iter()
                .collect::<Vec<_>>()
        };
        assert_eq!(unknown("/opt/%m/%H %%m", Manager::of_node()), ["%H", "%m"]);
        assert_eq!(unknown("%h", Manager::default()), ["%h"]);
    }
}

//! What one change of the rules of nf_tables did, in the words in which the value of a [`Thing`](super::Thing) has it. Who
//! writes these words and who reads them has them from here.

use std::borrow::Cow;
use std::fmt;

use super::chains::{Family, Object, Part, in_table};

/// Between what one change did.
const BETWEEN: &str = "; ";
/// The same chains and rules were loaded once more.
const ANEW: &str = "loaded anew with the same chains and rules";
const MAY_DIFFER: &str = ", elements of sets may differ";
const NEW: &str = "new";
const GONE: &str = "gone";
/// Of what is told in the same way for both.
const SET: &str = "new or changed";
/// Around the number of what is not named.
const MORE: (&str, &str) = ("and ", " more changes");
/// Before the name that a chain had until now.
const RENAMED: &str = ": renamed, was ";
/// Before the device of a chain.
const DEVICE: &str = ": device ";
/// Of a table, that it is and that it is not any more.
const DORMANT: &str = ": dormant";
const AWAKE: &str = ": not dormant any more";

/// Of the entries of a table of iptables.
pub(crate) const DROP_NOTHING: &str = " that drop nothing";
/// What is told of a table of iptables whose rules could not be read.
pub(crate) const UNREAD: &str = "rules not read";

/// One thing that a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    /// A table came or went.
    Table(Table, Came),
    /// A chain came or went; with the policy of one that is new and has one.
    Chain(Table, String, Option<Policy>, Came),
    /// A chain has another name, and its rules with it.
    Renamed {
        table: Table,
        chain: String,
        was: String,
    },
    /// The policy of a chain is another than it was.
    Policy {
        table: Table,
        chain: String,
        now: Option<Policy>,
        was: Option<Policy>,
    },
    /// A chain that stays is asked for packets of this device from now on, or no longer.
    Device {
        table: Table,
        chain: String,
        device: String,
        came: Came,
    },
    /// Whether no packet comes to the chains of a table from now on.
    Dormant(Table, bool),
    /// A rule came or went: its number, and what it does in words.
    Rule {
        table: Table,
        chain: String,
        handle: u64,
        words: String,
        came: Came,
    },
    /// A set, or a map, came or went. No rule uses one that is gone.
    Set(Table, String, Came),
    /// A counter or the like came or went, or was set to something else. No rule uses one that is gone.
    Object(Table, Object, String, Came),
    /// A set got or lost so many elements.
    Elements(Table, String, u64, Came),
    /// So much more that is not named.
    More(u64),
    /// Tables went and came again with the same chains and rules. The elements of their sets may differ, where they have some.
    Anew { has_elements: bool },
}

/// A table, by its family and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Table {
    pub(crate) family: Family,
    pub(crate) name: String,
}

/// It is new, or it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Came {
    Gone,
    New,
}

/// What becomes of packets that no rule of a base chain decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Policy {
    Accept,
    Drop,
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => NEW,
            Self::Gone => GONE,
        })
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
        })
    }
}

impl Policy {
    fn named(word: &str) -> Option<Self> {
        [Self::Accept, Self::Drop]
            .into_iter()
            .find(|policy| policy.to_string() == word)
    }
}

impl Table {
    fn part<'a>(&'a self, part: Part<'a>) -> impl fmt::Display + 'a {
        in_table(self.family, &self.name, part)
    }
}

fn policy(policy: Option<Policy>) -> String {
    policy.map_or_else(|| "none".to_owned(), |policy| policy.to_string())
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table, came) => write!(f, "{} {came}", table.part(Part::Whole)),
            Self::Chain(table, chain, of, came) => {
                write!(f, "{}", table.part(Part::Chain(chain)))?;
                if let Some(of) = of {
                    write!(f, " with policy {of}")?;
                }
                write!(f, " {came}")
            }
            Self::Renamed { table, chain, was } => {
                write!(f, "{}{RENAMED}{was}", table.part(Part::Chain(chain)))
            }
            Self::Policy {
                table,
                chain,
                now,
                was,
            } => {
                let place = table.part(Part::Chain(chain));
                write!(f, "{place}: policy {}, was {}", policy(*now), policy(*was))
            }
            Self::Device {
                table,
                chain,
                device,
                came,
            } => {
                // It may have any letter but blanks.
                let device = device.replace(';', ",").replace('"', "'");
                let place = table.part(Part::Chain(chain));
                write!(f, "{place}{DEVICE}{device} {came}")
            }
            Self::Dormant(table, is_dormant) => {
                let word = if *is_dormant { DORMANT } else { AWAKE };
                write!(f, "{}{word}", table.part(Part::Whole))
            }
            Self::Rule {
                table,
                chain,
                handle,
                words,
                came,
            } => {
                // Names in it are chosen by others: they must not be taken for the end of it.
                let words = words.replace(';', ",").replace('"', "'");
                let place = table.part(Part::Chain(chain));
                write!(f, "{place}: rule handle {handle} ({words}) {came}")
            }
            Self::Set(table, set, came) => write!(f, "{} {came}", table.part(Part::Set(set))),
            Self::Object(table, object, name, came) => {
                write!(f, "{} ", table.part(Part::Object(*object, name)))?;
                match came {
                    Came::New if object.can_change() => f.write_str(SET),
                    came => came.fmt(f),
                }
            }
            Self::Elements(table, set, number, came) => {
                let elements = if *number == 1 { "element" } else { "elements" };
                write!(f, "{}: {number} {elements} {came}", table.part(Part::Set(set)))
            }
            Self::More(number) => write!(f, "{}{number}{}", MORE.0, MORE.1),
            Self::Anew { has_elements } => write!(f, "{ANEW}{}", if *has_elements { MAY_DIFFER } else { "" }),
        }
    }
}

impl Did {
    /// A rule or policy is there since then that was not before. What rules ask may be what was missing.
    pub(crate) fn is_new_rule(&self) -> bool {
        match self {
            Self::Rule { came, .. } | Self::Chain(.., came) => *came == Came::New,
            Self::Policy { now, .. } => now.is_some(),
            _ => false,
        }
    }
}

/// All of it in one value.
pub(crate) fn words(did: &[Did]) -> String {
    let parts: Vec<String> = did.iter().map(ToString::to_string).collect();
    parts.join(BETWEEN)
}

/// What a change did, of the value that it made; `None` for what cannot be told, as what is called by a name that `nft` would
/// not take.
pub(crate) fn read(value: &str) -> Vec<Option<Did>> {
    // Before it stands which tables there are.
    split(value).into_iter().skip(1).map(did).collect()
}

/// The value with only those parts of what the change did that are wanted; `None` where there were some and none is.
pub(crate) fn only(value: &str, is_wanted: impl Fn(Option<&Did>) -> bool) -> Option<String> {
    let parts = split(value);
    let all = parts.len();
    let wanted = |(place, text): &(usize, &str)| *place == 0 || is_wanted(did(text).as_ref());
    let parts = parts.into_iter().enumerate().filter(wanted);
    let parts: Vec<&str> = parts.map(|(_, text)| text).collect();
    (parts.len() > 1 || all == 1).then(|| parts.join(BETWEEN))
}

/// More may be dropped by a table of iptables since this change of its value: it has rules that may drop, and what it had before was
/// read.
pub(crate) fn may_drop_more(before: Option<&str>, after: Option<&str>) -> bool {
    before != Some(UNREAD) && after.is_some_and(|after| after != UNREAD && !after.contains(DROP_NOTHING))
}

/// The chains of a table of iptables whose policy is to drop since this change of its value, and was not before.
pub(crate) fn newly_shut<'a>(before: Option<&'a str>, after: Option<&'a str>) -> Vec<&'a str> {
    let was = shut(before);
    let mut now = shut(after);
    now.retain(|chain| before != Some(UNREAD) && !was.contains(chain));
    now
}

/// A change of the value of a table of iptables is taken back by this one: it is as it was, nothing is left that drops, or the
/// policies drop no more that did then, whatever else it has by now.
pub(crate) fn is_undone(before: Option<&str>, after: Option<&str>, now: Option<&str>) -> bool {
    if now == Some(UNREAD) {
        return false;
    }
    let (shut, still) = (shut(after), shut(now));
    let is_open = now.is_none_or(|now| now.contains(DROP_NOTHING));
    now == before || is_open || !shut.is_empty() && !shut.iter().any(|chain| still.contains(chain))
}

/// The chains of a table of iptables whose policy is to drop: `policy of INPUT and FORWARD drop, 5 entries, hash 33990b1b`.
fn shut(value: Option<&str>) -> Vec<&str> {
    let said = value.and_then(|value| value.strip_prefix("policy of ")?.split_once(" drop, "));
    said.map_or_else(Vec::new, |(chains, _)| chains.split(" and ").collect())
}

/// The value as people are shown it: of what a change did the first eight by name and the rest by their number, and of a rule the
/// beginning where it is long. What is judged goes by all of it.
pub(crate) fn shown(value: &str) -> Cow<'_, str> {
    const SHOWN: usize = 8;
    const LONG: usize = 300;
    /// Characters of a long rule.
    const OF_ONE: usize = 200;
    let mut parts = split(value).into_iter();
    let head = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    let is_long = |part: &&str| part.len() > LONG;
    if parts.len() <= SHOWN && !parts.iter().any(is_long) {
        return Cow::Borrowed(value);
    }
    let cut = |part: &&str| match did(part).filter(|_| is_long(part)) {
        Some(Did::Rule {
            table,
            chain,
            handle,
            words,
            came,
        }) => {
            let words = words.chars().take(OF_ONE).collect::<String>() + " ...";
            let rule = Did::Rule {
                table,
                chain,
                handle,
                words,
                came,
            };
            rule.to_string()
        }
        _ => (*part).to_owned(),
    };
    let number = |part: &&str| match did(part) {
        Some(Did::More(number)) => number,
        _ => 1,
    };
    let named = parts.len().min(SHOWN);
    let named = named - usize::from(matches!(parts.get(named - 1).map(number), Some(2..)));
    let mut shown = vec![head.to_owned()];
    shown.extend(parts[..named].iter().map(cut));
    let rest: u64 = parts[named..].iter().map(number).sum();
    shown.extend((rest > 0).then(|| Did::More(rest).to_string()));
    Cow::Owned(shown.join(BETWEEN))
}

/// Apart at [`BETWEEN`], where that is not in quotes.
fn split(value: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in value.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted && value[at..].starts_with(BETWEEN) => {
                parts.push(&value[from..at]);
                from = at + BETWEEN.len();
            }
            _ => {}
        }
    }
    parts.push(&value[from..]);
    parts
}

fn did(text: &str) -> Option<Did> {
    if let Some(rest) = text.strip_prefix(ANEW) {
        let has_elements = rest == MAY_DIFFER;
        return (has_elements || rest.is_empty()).then_some(Did::Anew { has_elements });
    }
    if let Some(number) = text
        .strip_prefix(MORE.0)
        .and_then(|rest| rest.strip_suffix(MORE.1))
    {
        return number.parse().ok().map(Did::More);
    }
    let (family, rest) = text.strip_prefix("table ")?.split_once(' ')?;
    let family = Family::named(family)?;
    let (name, rest) = plain(rest)?;
    let table = Table { family, name };
    if let Some(came) = came(rest.strip_prefix(' ')) {
        return Some(Did::Table(table, came));
    }
    if [DORMANT, AWAKE].contains(&rest) {
        return Some(Did::Dormant(table, rest == DORMANT));
    }
    if let Some(rest) = rest.strip_prefix(", set ") {
        let (set, rest) = plain(rest)?;
        if let Some(came) = came(rest.strip_prefix(' ')) {
            return Some(Did::Set(table, set, came));
        }
        let (number, rest) = rest.strip_prefix(": ")?.split_once(' ')?;
        let (_, word) = rest.split_once(' ')?;
        return Some(Did::Elements(table, set, number.parse().ok()?, came(Some(word))?));
    }
    if let Some((object, rest)) = object(rest) {
        let (name, rest) = plain(rest)?;
        let came = match rest.strip_prefix(' ') {
            Some(SET) if object.can_change() => Came::New,
            word => came(word)?,
        };
        return Some(Did::Object(table, object, name, came));
    }
    let (chain, rest) = plain(rest.strip_prefix(", chain ")?)?;
    if let Some(was) = rest.strip_prefix(RENAMED) {
        let (was, rest) = plain(was)?;
        return rest.is_empty().then_some(Did::Renamed { table, chain, was });
    }
    if let Some(came) = came(rest.strip_prefix(' ')) {
        return Some(Did::Chain(table, chain, None, came));
    }
    if let Some(rest) = rest.strip_prefix(DEVICE) {
        let (device, word) = rest.split_once(' ')?;
        return Some(Did::Device {
            table,
            chain,
            device: device.to_owned(),
            came: came(Some(word))?,
        });
    }
    if let Some(rest) = rest.strip_prefix(" with policy ") {
        let (of, word) = rest.split_once(' ')?;
        let of = Some(Policy::named(of)?);
        return Some(Did::Chain(table, chain, of, came(Some(word))?));
    }
    if let Some(rest) = rest.strip_prefix(": policy ") {
        let (now, was) = rest.split_once(", was ")?;
        return Some(Did::Policy {
            table,
            chain,
            now: Policy::named(now),
            was: Policy::named(was),
        });
    }
    let (handle, rest) = rest.strip_prefix(": rule handle ")?.split_once(" (")?;
    let (words, word) = rest.rsplit_once(") ")?;
    Some(Did::Rule {
        table,
        chain,
        handle: handle.parse().ok()?,
        words: words.to_owned(),
        came: came(Some(word))?,
    })
}

/// An object, and what follows its kind.
fn object(rest: &str) -> Option<(Object, &str)> {
    let rest = rest.strip_prefix(", ")?;
    let is_it = |object: Object| Some((object, rest.strip_prefix(object.word())?.strip_prefix(' ')?));
    Object::ALL.into_iter().find_map(is_it)
}

fn came(word: Option<&str>) -> Option<Came> {
    match word? {
        NEW => Some(Came::New),
        GONE => Some(Came::Gone),
        _ => None,
    }
}

/// A name that stands there as it is, and what follows it.
fn plain(text: &str) -> Option<(String, &str)> {
    let end = text.find([' ', ',', ':']).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty() && !name.contains('"')).then(|| (name.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Table {
        Table {
            family: Family::Inet,
            name: name.to_owned(),
        }
    }

    fn rule(words: &str, came: Came) -> Did {
        Did::Rule {
            table: table("guard"),
            chain: "in".to_owned(),
            handle: 7,
            words: words.to_owned(),
            came,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let all = [
            Did::Table(table("guard"), Came::New),
            Did::Chain(table("guard"), "in".to_owned(), Some(Policy::Drop), Came::New),
            Did::Chain(table("guard"), "in".to_owned(), None, Came::Gone),
            Did::Renamed {
                table: table("guard"),
                chain: "in".to_owned(),
                was: "inn".to_owned(),
            },
            Did::Object(table("guard"), Object::Counter, "hits".to_owned(), Came::New),
            Did::Object(table("guard"), Object::Quota, "most".to_owned(), Came::New),
            Did::Object(table("guard"), Object::Timeout, "long".to_owned(), Came::Gone),
            Did::Policy {
                table: table("guard"),
                chain: "in".to_owned(),
                now: Some(Policy::Drop),
                was: None,
            },
            Did::Device {
                table: table("guard"),
                chain: "in".to_owned(),
                device: "eth0.100".to_owned(),
                came: Came::Gone,
            },
            Did::Dormant(table("guard"), true),
            Did::Dormant(table("guard"), false),
            rule("tcp dport 22 (a) accept", Came::Gone),
            Did::Set(table("guard"), "bad".to_owned(), Came::New),
            Did::Elements(table("guard"), "bad".to_owned(), 3, Came::New),
            Did::Anew { has_elements: true },
            Did::Anew { has_elements: false },
        ];
        let value = format!("generation 4, tables: inet guard; {}", words(&all));
        let read: Option<Vec<Did>> = read(&value).into_iter().collect();
        assert_eq!(read.as_deref(), Some(&all[..]), "{value}");
    }

    #[test]
    fn names_that_others_chose_are_no_words_of_ours() {
        let value = |did: Did| format!("generation 4, tables: inet a; {}", words(&[did]));
        let forged = value(rule("x) new; table inet other new", Came::Gone));
        assert_eq!(
            read(&forged),
            [Some(rule("x) new, table inet other new", Came::Gone))],
            "{forged}"
        );
        let forged = value(Did::Table(table("a new; table inet other"), Came::New));
        assert_eq!(read(&forged), [None], "{forged}");
        assert_eq!(read(&value(Did::More(3))), [Some(Did::More(3))]);
        assert_eq!(read("generation 4, no tables"), []);
    }

    #[test]
    fn of_much_the_first_is_shown_and_the_rest_is_counted() {
        let many = |number: usize, more: &[Did]| {
            let all: Vec<Did> = (0..number).map(|_| rule("drop", Came::New)).collect();
            format!("generation 4; {}", words(&[&all, more].concat()))
        };
        let shown = |number, more: &[Did]| {
            let value = many(number, more);
            let shown = shown(&value);
            let (_, rest) = shown.rsplit_once("; ").unwrap();
            (shown.matches("(drop) new").count(), rest.to_owned())
        };
        assert_eq!(super::shown(&many(8, &[])), many(8, &[]));
        assert_eq!(shown(9, &[]), (8, "and 1 more changes".to_owned()));
        assert_eq!(shown(7, &[Did::More(20)]), (7, "and 20 more changes".to_owned()));
        assert_eq!(shown(20, &[Did::More(20)]), (8, "and 32 more changes".to_owned()));
        let long = rule(&"a".repeat(400), Came::Gone).to_string();
        let value = format!("generation 4; {long}");
        let cut = super::shown(&value);
        assert!(cut.ends_with("aaa ...) gone") && cut.len() < 300, "{cut}");
        assert_eq!(super::shown("no tables"), "no tables");
    }
}

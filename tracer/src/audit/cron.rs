//! What cron starts: crontabs and those of anacron. Pure.
//!
//! Sources: crontab(5), cron(8) of Debian's cron and of cronie, anacrontab(5), run-parts(8); `load_entry` of both.

use std::collections::BTreeSet;

use super::commands;

/// What a crontab is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Its lines have the user's name before the command: /etc/crontab, /etc/cron.d.
    System,
    /// It is that of a user.
    User,
    /// Period in days, delay in minutes, name, command.
    Anacron,
}

/// A line of a crontab that starts something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its number, from 1.
    pub(super) line: usize,
    /// When it is started.
    pub(super) schedule: String,
    /// So much is added to its time at random, at most; empty for nothing.
    pub(super) random_delay: String,
    /// Where its commands are looked for, as its file says before it; empty for what cron has for all.
    pub(super) search: String,
    /// What is run.
    pub(super) command: String,
    /// What that is given to read; empty for nothing.
    pub(super) input: String,
}

/// What a crontab says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Crontab {
    pub(super) entries: Vec<Entry>,
    /// Lines that cron refuses, and why.
    pub(super) refused: Vec<(usize, String)>,
    /// Lines whose time never comes, and why.
    pub(super) never: Vec<(usize, String)>,
}

/// Reads a crontab. `users` has all users of the node; `None` where they are not known.
pub(super) fn read(text: &str, form: Form, users: Option<&BTreeSet<String>>) -> Crontab {
    let mut crontab = Crontab::default();
    let (mut random_delay, mut search) = (String::new(), String::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, value)) = setting(line) {
            if name == "RANDOM_DELAY" && form == Form::Anacron {
                random_delay = format!("{value} min");
            } else if name == "PATH" {
                value.clone_into(&mut search);
            }
            continue;
        }
        match entry(line, form, users) {
            Ok((schedule, text)) => {
                let (command, input) = match form {
                    // anacron gives all of it to the shell.
                    Form::Anacron => (text.to_owned(), String::new()),
                    Form::System | Form::User => split(text),
                };
                crontab
                    .never
                    .extend(never_comes(&schedule).map(|why| (number, why)));
                crontab.entries.push(Entry {
                    line: number,
                    schedule: match form {
                        Form::Anacron if !schedule.starts_with('@') => {
                            format!("every {schedule} d, by anacron")
                        }
                        Form::Anacron => format!("{schedule}, by anacron"),
                        Form::System | Form::User => schedule,
                    },
                    random_delay: random_delay.clone(),
                    search: search.clone(),
                    command,
                    input,
                });
            }
            Err(why) => crontab.refused.push((number, why)),
        }
    }
    crontab
}

/// The time and the command of a line, or why cron refuses it.
fn entry<'a>(
    line: &'a str,
    form: Form,
    users: Option<&BTreeSet<String>>,
) -> Result<(String, &'a str), String> {
    let mut rest = line;
    let mut next = |what: &str| {
        let (field, after) = rest
            .split_once(|c: char| c.is_ascii_whitespace())
            .unwrap_or((rest, ""));
        rest = after.trim_start();
        if field.is_empty() {
            Err(format!("it has no {what}"))
        } else {
            Ok(field)
        }
    };
    let mut time = Vec::new();
    if form == Form::Anacron {
        time.push(next("period")?);
        if !time[0].starts_with('@') && time[0].parse::<u32>().is_err() {
            return Err(format!("`{}` is no number of days", time[0]));
        }
        next("delay")?;
        next("name")?;
    } else if line.starts_with('@') {
        time.push(next("time")?);
        if !NICKNAMES.contains(&time[0]) {
            return Err(format!("`{}` is no time", time[0]));
        }
    } else {
        for field in &FIELDS {
            let text = next(field.name)?;
            // cronie does not log what begins so.
            field.bits(if time.is_empty() {
                text.trim_start_matches('-')
            } else {
                text
            })?;
            time.push(text);
        }
    }
    if form == Form::System {
        let user = next("user")?;
        if users.is_some_and(|users| !users.contains(user)) {
            return Err(format!("there is no user `{user}`"));
        }
    }
    if rest.is_empty() {
        return Err("it has no command".to_owned());
    }
    Ok((time.join(" "), rest))
}

/// The command, which ends at the first `%` without a backslash before it, and what it is to read: each further one ends a line
/// of that (crontab(5)).
fn split(text: &str) -> (String, String) {
    let mut parts = vec![String::new()];
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match (sign, parts.last_mut()) {
            ('\\', Some(part)) if signs.next_if_eq(&'%').is_some() => part.push('%'),
            ('%', _) => parts.push(String::new()),
            (_, Some(part)) => part.push(sign),
            (_, None) => {}
        }
    }
    let input = parts.split_off(1).join("\n");
    (parts.concat(), input)
}

impl Entry {
    /// What is run with what it reads, as a shell would have it.
    pub(super) fn script(&self) -> String {
        match self.input.as_str() {
            "" => self.command.clone(),
            input => format!("{} <<'END OF INPUT'\n{input}\nEND OF INPUT\n", self.command),
        }
    }
}

const NICKNAMES: [&str; 8] = [
    "@annually",
    "@daily",
    "@hourly",
    "@midnight",
    "@monthly",
    "@reboot",
    "@weekly",
    "@yearly",
];

/// A field of a time.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

/// The fields of a time in their order (crontab(5)). Sunday is 0 and 7.
const FIELDS: [Field; 5] = [
    Field::of("minute", 0, 59, &[]),
    Field::of("hour", 0, 23, &[]),
    Field::of("day of the month", 1, 31, &[]),
    Field::of(
        "month",
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    Field::of(
        "day of the week",
        0,
        7,
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

impl Field {
    const fn of(name: &'static str, first: u32, last: u32, names: &'static [&'static str]) -> Self {
        Self {
            name,
            first,
            last,
            names,
        }
    }

    /// Which values a text stands for (`*/5`, `1-3,7`, `mon-fri`), or why it stands for none.
    fn bits(&self, text: &str) -> Result<u64, String> {
        let mut bits = 0;
        for part in text.split(',') {
            let found = self.part(part).filter(|found| *found != 0);
            bits |= found.ok_or_else(|| {
                format!(
                    "{} `{text}` is not from {} to {}",
                    self.name, self.first, self.last
                )
            })?;
        }
        Ok(bits)
    }

    fn part(&self, part: &str) -> Option<u64> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<usize>().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        // cronie chooses one of `0~30` at random.
        let (from, to) = match range.split_once(['-', '~']) {
            _ if range == "*" => (self.first, self.last),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None => (self.value(range)?, self.value(range)?),
        };
        Some((from..=to).step_by(step).fold(0, |bits, value| bits | 1 << value))
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = || {
            let name = self
                .names
                .iter()
                .position(|name| name.eq_ignore_ascii_case(text))?;
            Some(self.first + u32::try_from(name).ok()?)
        };
        let value = text.parse().ok().or_else(named)?;
        (self.first..=self.last).contains(&value).then_some(value)
    }
}

/// Days of each month, at most.
const DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Why a time never comes: no month of its own has such a day, and the day of the week does not count.
fn never_comes(time: &str) -> Option<String> {
    let fields: Vec<&str> = time.split(' ').collect();
    let [_, _, day, month, weekday] = fields[..] else {
        return None;
    };
    if !weekday.starts_with('*') {
        return None;
    }
    let (days, months) = (FIELDS[2].bits(day).ok()?, FIELDS[3].bits(month).ok()?);
    let mut lengths = (1..).zip(DAYS).filter(|(month, _)| months & 1 << month != 0);
    let comes = lengths.any(|(_, last)| days & ((1 << (last + 1)) - 1) != 0);
    (!comes).then(|| format!("there is no day {day} in month {month}"))
}

/// The name and value of `NAME = value`.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim().trim_matches(['"', '\'']);
    let is_name = !name.is_empty() && !name.contains(|c: char| c.is_ascii_whitespace());
    is_name.then_some((name, value.trim().trim_matches(['"', '\''])))
}

/// The users of a node by what /etc/passwd and /etc/nsswitch.conf say; `None` where there may be others.
pub(super) fn users(passwd: &str, nsswitch: &str) -> Option<BTreeSet<String>> {
    let sources = nsswitch
        .lines()
        .find_map(|line| line.trim().strip_prefix("passwd:"));
    let is_all = sources
        .unwrap_or_default()
        .split_ascii_whitespace()
        .all(|source| {
            // What stands in brackets is what to do then.
            ["compat", "files", "systemd"].contains(&source) || source.starts_with('[')
        });
    let names = passwd.lines().filter_map(|line| line.split(':').next());
    let names: BTreeSet<_> = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    (is_all && !names.is_empty() && !names.contains("+")).then_some(names)
}

/// Whether cron or run-parts takes a file of that name. Debian's take only names of letters, digits, `_` and `-`; others
/// leave out what editors and package managers put there.
pub(super) fn takes(name: &str, debian: bool) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let is_left_over = name.starts_with(['.', '#'])
        || name.ends_with(['~', ','])
        || [".rpmsave", ".rpmorig", ".rpmnew", ".swp", ".cfsaved"]
            .iter()
            .any(|end| name.ends_with(end));
    if debian {
        name.chars().all(is_plain)
    } else {
        !is_left_over
    }
}

/// Where a system has systemd, jobs of Debian's packages leave their work to a timer.
const GUARD: &str = "/run/systemd/system";

/// Whether all that it would change is behind a test that ends it where systemd runs: `[ -d /run/systemd/system ]` and
/// then `exit`, or in a line `! -d /run/systemd/system` and then `&&`.
pub(super) fn leaves_it_to_systemd(text: &str) -> bool {
    let code: String = commands::code(text).flat_map(|line| [line, "\n"]).collect();
    let Some((before, after)) = code.split_once(GUARD) else {
        return false;
    };
    let after = after.trim_start_matches([' ', ']', '"']);
    let line = before.rsplit('\n').next().unwrap_or_default();
    if line.contains('!') {
        let done = line.rsplit_once([';', '&', '|']).map_or("", |(done, _)| done);
        return after.starts_with("&&")
            && code.lines().count() == 1
            && commands::read(done).effects.is_empty();
    }
    let then = after
        .trim_start_matches([' ', ';', '&', '\n', '\t'])
        .trim_start_matches("then")
        .trim_start();
    then.starts_with("exit") && commands::read(before).effects.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, form: Form) -> Vec<(usize, String, String)> {
        let entries = read(text, form, None).entries.into_iter();
        entries
            .map(|entry| (entry.line, entry.schedule, entry.command))
            .collect()
    }

    fn one(line: usize, schedule: &str, text: &str) -> (usize, String, String) {
        (line, schedule.to_owned(), text.to_owned())
    }

    #[test]
    fn crontabs_of_all_forms() {
        let system = "# m h\nSHELL=/bin/sh\nPATH = /bin\n\n17 *\t* * *  root\tcd / && run-parts /etc/cron.hourly\n\
                      @daily root apt-get  update\n";
        assert_eq!(
            told(system, Form::System),
            [
                one(5, "17 * * * *", "cd / && run-parts /etc/cron.hourly"),
                one(6, "@daily", "apt-get  update"),
            ]
        );
        assert_eq!(
            told(
                "*/5 0-3 * * Mon,Fri x y\n@reboot z\n-0~9 1 1 jan-mar 7 w\n",
                Form::User
            ),
            [
                one(1, "*/5 0-3 * * Mon,Fri", "x y"),
                one(2, "@reboot", "z"),
                one(3, "-0~9 1 1 jan-mar 7", "w"),
            ]
        );
        let anacron = "RANDOM_DELAY=45\n1 5 cron.daily nice run-parts /etc/cron.daily\n@monthly 45 m x\n";
        assert_eq!(
            told(anacron, Form::Anacron),
            [
                one(2, "every 1 d, by anacron", "nice run-parts /etc/cron.daily"),
                one(3, "@monthly, by anacron", "x"),
            ]
        );
        assert_eq!(
            read(anacron, Form::Anacron, None).entries[0].random_delay,
            "45 min"
        );
    }

    #[test]
    fn what_cron_refuses_is_told_with_its_line_and_why() {
        let users = users("root:x:0:0::/:/bin/sh\n", "").unwrap();
        for (line, why) in [
            ("60 * * * * root x", "minute `60` is not from 0 to 59"),
            ("* 1-25 * * * root x", "hour `1-25` is not from 0 to 23"),
            ("* * 0 * * root x", "day of the month `0` is not from 1 to 31"),
            ("* * * 5-2 * root x", "month `5-2` is not from 1 to 12"),
            ("* * * * 8 root x", "day of the week `8` is not from 0 to 7"),
            ("*/0 * * * * root x", "minute `*/0` is not from 0 to 59"),
            ("a b c d e f g", "minute `a` is not from 0 to 59"),
            ("1 2 3", "it has no month"),
            ("* * * * *", "it has no user"),
            ("* * * * * root", "it has no command"),
            ("@daily", "it has no user"),
            ("@often root x", "`@often` is no time"),
            ("5 * * * * /opt/a.sh", "there is no user `/opt/a.sh`"),
            ("\u{fffd}\u{0} * *", "minute `\u{fffd}\u{0}` is not from 0 to 59"),
        ] {
            let crontab = read(&format!("\n{line}\n@daily root y\n"), Form::System, Some(&users));
            assert_eq!(crontab.refused, [(2, why.to_owned())], "{line}");
            assert_eq!(crontab.entries.len(), 1, "{line}");
        }
        assert_eq!(read("", Form::System, None), Crontab::default());
    }

    #[test]
    fn times_that_never_come() {
        let never = |line: &str| read(line, Form::User, None).never;
        assert_eq!(
            never("0 0 31 2,4 * x"),
            [(1, "there is no day 31 in month 2,4".to_owned())]
        );
        assert_eq!(never("0 0 30 feb * x").len(), 1);
        for line in [
            "0 0 29 2 * x",
            "0 0 31 2 mon x",
            "0 0 31 1-4 * x",
            "0 0 * 2 * x",
            "@daily x",
        ] {
            assert_eq!(never(line), [], "{line}");
        }
    }

    #[test]
    fn users_that_may_come_from_elsewhere_are_not_known() {
        let passwd = "root:x:0:0::/:/bin/sh\nbackup:x:34:34::/:/bin/sh\n";
        assert_eq!(users(passwd, "passwd: files systemd\n").unwrap().len(), 2);
        assert_eq!(
            users(passwd, "passwd: files [NOTFOUND=return] systemd\n")
                .unwrap()
                .len(),
            2
        );
        assert_eq!(users(passwd, "passwd: files sss\n"), None);
        assert_eq!(users("", ""), None);
    }

    #[test]
    fn names_that_are_taken() {
        assert!(takes("apt-compat", true) && takes("0hourly", true));
        assert!(!takes(".placeholder", true) && !takes("certbot.off", true));
        assert!(takes("raid.check", false) && !takes("x.rpmsave", false) && !takes("x~", false));
    }

    #[test]
    fn work_that_is_left_to_a_timer() {
        assert!(leaves_it_to_systemd(
            "#!/bin/sh\nset -e\n# Skip.\nif [ -d /run/systemd/system ]; then\n    # a timer\n    exit 0\nfi\nexec apt-get\n"
        ));
        assert!(leaves_it_to_systemd(
            "test -x /usr/bin/certbot -a \\! -d /run/systemd/system && perl -e 'sleep 3' && certbot -q renew"
        ));
        for not in [
            "apt-get update\nif [ -d /run/systemd/system ]; then exit 0; fi\n",
            "if [ -d /run/systemd/system ]; then systemctl restart networking; fi\n",
            "if [ ! -d /run/systemd/system ]; then echo; fi\napt-get update\n",
            "# -d /run/systemd/system && exit\napt-get update",
            "apt-get update",
        ] {
            assert!(!leaves_it_to_systemd(not), "{not}");
        }
    }
}

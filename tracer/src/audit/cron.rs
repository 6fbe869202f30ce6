//! What cron starts: crontabs and those of anacron. Pure.
//!
//! Sources: crontab(5), cron(8) of Debian's cron and of cronie, anacrontab(5), run-parts(8).

use super::commands;

/// A job of cron.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Job {
    /// The file that it is in, or is.
    pub(super) file: String,
    /// The line that has it, from 1; 0 where the whole file is a script.
    pub(super) line: usize,
    /// When it is started.
    pub(super) schedule: String,
    /// So much is added to its time at random, at most; empty for nothing.
    pub(super) random_delay: String,
    /// What was missed while the node was off is made up for.
    pub(super) persistent: bool,
    /// Its command line, or what the script says.
    pub(super) text: String,
}

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

/// The jobs of a crontab. What is no job is passed over, as cron does.
pub(super) fn jobs(file: &str, text: &str, form: Form) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut random_delay = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(minutes) = setting(line, "RANDOM_DELAY").filter(|_| form == Form::Anacron) {
            random_delay = format!("{minutes} min");
            continue;
        }
        let times = match (form, line.starts_with('@')) {
            (Form::System | Form::User, true) | (Form::Anacron, _) => 1,
            (Form::System | Form::User, false) => 5,
        };
        let before = match form {
            Form::System => 1,
            Form::User => 0,
            Form::Anacron => 2,
        };
        if !line.starts_with(|c: char| c.is_ascii_digit() || "*@~-".contains(c)) {
            continue;
        }
        let Some((fields, command)) = split(line, times + before) else {
            continue;
        };
        let time = fields[..times].join(" ");
        jobs.push(Job {
            file: file.to_owned(),
            line: number,
            schedule: match form {
                Form::Anacron if !time.starts_with('@') => format!("every {time} d, by anacron"),
                Form::Anacron => format!("{time}, by anacron"),
                _ => time,
            },
            random_delay: random_delay.clone(),
            persistent: form == Form::Anacron,
            text: command.to_owned(),
        });
    }
    jobs
}

/// The value of `NAME = value`.
fn setting<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = line.strip_prefix(name)?.trim_start().strip_prefix('=')?;
    Some(value.trim().trim_matches(['"', '\'']))
}

/// The first fields of a line, and what follows them; `None` where nothing does.
fn split(line: &str, fields: usize) -> Option<(Vec<&str>, &str)> {
    let mut rest = line;
    let mut found = Vec::with_capacity(fields);
    for _ in 0..fields {
        let (field, after) = rest.split_once(|c: char| c.is_ascii_whitespace())?;
        found.push(field);
        rest = after.trim_start();
    }
    (!rest.is_empty()).then_some((found, rest))
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
        return after.starts_with("&&") && code.lines().count() == 1 && commands::effects(done).is_empty();
    }
    let then = after
        .trim_start_matches([' ', ';', '&', '\n', '\t'])
        .trim_start_matches("then")
        .trim_start();
    then.starts_with("exit") && commands::effects(before).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, form: Form) -> Vec<(usize, String, String)> {
        let jobs = jobs("f", text, form).into_iter();
        jobs.map(|job| (job.line, job.schedule, job.text)).collect()
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
            told("*/5 0-3 * * Mon,Fri x y\n@reboot z\n", Form::User),
            [one(1, "*/5 0-3 * * Mon,Fri", "x y"), one(2, "@reboot", "z")]
        );
        let anacron = "RANDOM_DELAY=45\n1 5 cron.daily nice run-parts /etc/cron.daily\n@monthly 45 m x\n";
        assert_eq!(
            told(anacron, Form::Anacron),
            [
                one(2, "every 1 d, by anacron", "nice run-parts /etc/cron.daily"),
                one(3, "@monthly, by anacron", "x"),
            ]
        );
        assert_eq!(jobs("f", anacron, Form::Anacron)[0].random_delay, "45 min");
    }

    #[test]
    fn what_is_no_job_is_passed_over() {
        for text in [
            "",
            "1 2 3",
            "* * * * *",
            "* * * * * root",
            "@daily",
            "\u{fffd}\u{0} * *",
            "a b c d e f g",
        ] {
            assert_eq!(told(text, Form::System), [], "{text:?}");
        }
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

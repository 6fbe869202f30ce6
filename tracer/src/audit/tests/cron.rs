use super::*;

#[test]
fn what_cron_starts_is_found_with_its_time_and_where_it_is() {
    let image = with_cron("cron");
    image
        .file(
            "etc/crontab",
            "SHELL=/bin/sh\n17 * * * * root cd / && run-parts /etc/cron.hourly\n",
        )
        .file(
            "etc/cron.d/night",
            "# ours\n0 3 * * * root /opt/night.sh >/dev/null\n",
        )
        .file("opt/night.sh", "#!/bin/sh\nsystemctl restart systemd-networkd\n")
        .script("etc/cron.daily/clean", "#!/bin/sh\napt-get -y autoremove\n")
        .file(
            "etc/cron.daily/not-executable",
            "#!/bin/sh\napt-get -y autoremove\n",
        )
        .file(
            "var/spool/cron/crontabs/root",
            "MAILTO=x\n@weekly shutdown -r now\n",
        )
        .file("etc/anacrontab", "7 10 weekly.x dnf -y upgrade\n");
    let root = image.0.display();
    let told: Vec<_> = image
        .findings()
        .into_iter()
        .map(|one| {
            (
                one.unit,
                one.schedule.concat(),
                one.runs.concat(),
                one.remedy.concat(),
            )
        })
        .collect();
    let one = |unit: &str, schedule: &str, runs: &str, remedy: String| {
        (unit.to_owned(), schedule.to_owned(), runs.to_owned(), remedy)
    };
    assert_eq!(
        told,
        [
            one(
                "/etc/anacrontab",
                "every 7 d, by anacron",
                "dnf",
                format!("sed -i '1s/^/#/' {root}/etc/anacrontab")
            ),
            one(
                "/etc/cron.d/night",
                "0 3 * * *",
                "systemctl restart systemd-networkd (/opt/night.sh:2)",
                format!("sed -i '2s/^/#/' {root}/etc/cron.d/night")
            ),
            one(
                "/var/spool/cron/crontabs/root",
                "@weekly",
                "shutdown",
                format!("sed -i '2s/^/#/' {root}/var/spool/cron/crontabs/root")
            ),
            one(
                "/etc/cron.daily/clean",
                "daily",
                "apt-get (/etc/cron.daily/clean:2)",
                format!("chmod a-x {root}/etc/cron.daily/clean")
            ),
        ]
    );
    let findings = image.findings();
    assert_eq!(findings[0].traps, [Trap::Persistent, Trap::NoLimit]);
    assert_eq!(findings[2].effects, [Effect::Reboot]);
    assert_eq!(findings[3].traps, [Trap::NoLimit]);
    let allowed = Policy::allowing(&["/etc/cron.daily/clean".to_owned()]);
    assert!(image.audit(&allowed).findings[3].allowed);
}

#[test]
fn jobs_that_do_nothing_here_do_not_count() {
    let left = "#!/bin/sh\nif [ -d /run/systemd/system ]; then\n    exit 0\nfi\nexec apt-get upgrade\n";
    let image = with_cron("cron-left");
    image.script("etc/cron.daily/left", left);
    assert_eq!(image.findings()[0].idle, Some(Idle::LeftToSystemd));
    assert!(image.audit(&Policy::default()).is_clean());

    image.script("etc/cron.daily/left", "#!/bin/sh\napt-get upgrade\n");
    assert!(!image.audit(&Policy::default()).is_clean());
    image.link("etc/systemd/system/cron.service", "/dev/null");
    assert_eq!(image.findings()[0].idle, Some(Idle::NoCron));
    assert!(image.audit(&Policy::default()).is_clean());
}

#[test]
fn lines_that_cron_never_runs_are_told_with_their_numbers() {
    let image = with_cron("cron-never");
    image.file("etc/passwd", "root:x:0:0::/root:/bin/sh\n").file(
        "etc/cron.d/night",
        "# ours\n0 3 * * * root apt-get -y upgrade\n61 3 * * * root dnf upgrade\n0 3 31 4 * root rpm -U x\n\
             0 4 * * * nobody yum upgrade\n",
    );
    let told = |image: &Image| {
        let audit = image.audit(&Policy::default());
        let idle = audit
            .findings
            .iter()
            .map(|one| (one.line, one.idle))
            .collect::<Vec<_>>();
        (audit.never, idle)
    };
    let lines = |loss: &str| {
        [
            format!("/etc/cron.d/night:3: minute `61` is not from 0 to 59: {loss}"),
            "/etc/cron.d/night:4: there is no day 31 in month 4: that line is never run".to_owned(),
            format!("/etc/cron.d/night:5: there is no user `nobody`: {loss}"),
        ]
    };
    let (never, idle) = told(&image);
    assert_eq!(never, lines("that line is never run"));
    assert_eq!(idle, [(Some(2), None), (Some(4), Some(Idle::NeverRuns))]);

    // Debian's cron refuses all of it.
    image.file("etc/debian_version", "12.1\n");
    let (never, idle) = told(&image);
    assert_eq!(never, lines("cron leaves out the whole file"));
    assert_eq!(
        idle,
        [(Some(2), Some(Idle::NeverRuns)), (Some(4), Some(Idle::NeverRuns))]
    );
    image.file("etc/cron.d/night", "0 3 * * * root apt-get -y upgrade");
    let (never, idle) = told(&image);
    assert_eq!(
        never,
        ["/etc/cron.d/night:1: its end has no line break: cron leaves out the whole file"]
    );
    assert_eq!(idle, [(Some(1), Some(Idle::NeverRuns))]);
}

/// There the command ends, and what follows it reads.
#[test]
fn a_command_ends_at_a_percent_sign() {
    let image = with_cron("cron-percent");
    image
        .file(
            "etc/cron.d/a",
            "0 4 * * * root reboot%\n\
             0 4 * * * root /bin/sh /opt/b.sh%x\n\
             0 4 * * * root /bin/sh%cd /%apt-get -y upgrade\n\
             0 4 * * * root cat >/tmp/x%a shell%reboots\n\
             0 4 * * * root test 1 -lt $(date +\\%s) && dnf -y upgrade\n",
        )
        .file("opt/b.sh", "#!/bin/sh\nip rule del pref 0\n");
    let findings = image.findings().into_iter();
    let told: Vec<_> = findings
        .map(|one| (one.line.unwrap(), one.runs.concat()))
        .collect();
    let one = |line: usize, runs: &str| (line, runs.to_owned());
    assert_eq!(
        told,
        [
            one(1, "reboot"),
            one(2, "ip rule del (/opt/b.sh:2)"),
            one(3, "apt-get"),
            one(5, "dnf"),
        ]
    );
}

#[test]
fn one_line_of_a_file_can_be_allowed() {
    let image = with_cron("cron-line");
    image.file(
        "etc/cron.d/a",
        "@daily root apt-get upgrade\n@daily root dnf upgrade\n",
    );
    let audit = image.audit(&Policy::allowing(&["/etc/cron.d/a:2".to_owned()]));
    let allowed: Vec<_> = audit.findings.iter().map(|one| one.allowed).collect();
    assert_eq!((allowed, audit.unknown), (vec![false, true], Vec::new()));
}

#[test]
fn of_a_file_that_is_no_crontab_some_lines_are_told() {
    let image = with_cron("garbage");
    image.file("etc/cron.d/garbage", &"x y z\n".repeat(300));
    let never = image.audit(&Policy::default()).never;
    assert_eq!(never.len(), 11);
    assert!(never[9].starts_with("/etc/cron.d/garbage:10: "), "{never:?}");
    assert_eq!(
        never[10],
        "/etc/cron.d/garbage: 290 more lines of it are refused or their time never comes"
    );
}

#[test]
fn commands_of_a_crontab_are_looked_for_where_it_says() {
    let image = with_cron("path");
    image
        .file(
            "etc/cron.d/x",
            "1 1 * * * root tidy\nPATH=/opt/tools/:/usr/local/bin:/usr/bin\n2 2 * * * root tidy now\n\
             3 3 * * * root cd / && gone --all\n4 4 * * * root command -v gone && gone; known; own\n",
        )
        .script("opt/tools/tidy", "#!/bin/sh\nnetplan apply\n")
        .script("usr/local/bin/own", "#!/bin/sh\nreboot\n")
        .script("usr/bin/known", "");
    let findings = image.findings();
    let told: Vec<_> = findings
        .iter()
        .map(|one| (one.name(), one.runs.join(", "), one.missing.join(", ")))
        .collect();
    let one = |line, runs: &str, missing: &str| {
        (
            format!("/etc/cron.d/x:{line}"),
            runs.to_owned(),
            missing.to_owned(),
        )
    };
    assert_eq!(
        told,
        [
            one(3, "netplan apply (/opt/tools/tidy:2)", ""),
            one(4, "", "/opt/tools/gone"),
            one(5, "reboot (/usr/local/bin/own:2)", ""),
        ]
    );
}

use super::*;

#[test]
fn a_drop_in_of_etc_counts_and_one_of_the_same_name_elsewhere_does_not() {
    let image = Image::debian("drop-in");
    image
        .file(
            "etc/systemd/system/apt-daily-upgrade.timer.d/a.conf",
            "[Timer]\nPersistent=false\nOnCalendar=\n",
        )
        .file(
            "usr/lib/systemd/system/apt-daily-upgrade.timer.d/a.conf",
            "[Timer]\nPersistent=true\n",
        )
        .file(
            "run/systemd/system/apt-daily-upgrade.timer.d/b.conf",
            "[Timer]\nOnCalendar=weekly\n",
        );
    let findings = image.findings();
    assert_eq!(findings[0].schedule, ["OnCalendar=weekly"]);
    assert!(!findings[0].traps.contains(&Trap::Persistent));
}

#[test]
fn instances_are_known_by_their_template_and_transient_timers_need_no_link() {
    let image = Image::new("instances");
    image
        .file(
            "usr/lib/systemd/system/upgrade@.service",
            "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'apt-get -y upgrade %i'\n",
        )
        .link(
            "etc/systemd/system/multi-user.target.wants/upgrade@night.service",
            "/usr/lib/systemd/system/upgrade@.service",
        )
        .file("run/systemd/transient/run-r1.timer", "[Timer]\nOnActiveSec=1h\n")
        .file(
            "run/systemd/transient/run-r1.service",
            "[Service]\nExecStart=\"/usr/bin/systemctl\" \"reboot\"\n",
        );
    let told: Vec<_> = image
        .findings()
        .into_iter()
        .map(|one| (one.unit, one.effects))
        .collect();
    assert_eq!(
        told,
        [
            ("run-r1.timer".to_owned(), vec![Effect::Reboot]),
            ("upgrade@night.service".to_owned(), vec![Effect::Packages]),
        ]
    );
}

/// It is enabled, or somebody has started it: of that no file tells, and systemd is asked.
#[test]
fn a_timer_that_is_not_enabled_counts_while_it_runs() {
    let image = Image::new("started");
    image
        .file(
            "etc/systemd/system/up.timer",
            "[Timer]\nOnCalendar=6:00\nUnit=upx.service\n",
        )
        .file(
            "etc/systemd/system/upx.service",
            "[Service]\nType=oneshot\nExecStart=/usr/bin/apt-get -y upgrade\n",
        );
    let told = |running: &[&str]| {
        let running = running.iter().map(|name| (*name).to_owned()).collect();
        let audit = audit(&image.0, &Policy::default(), &running).unwrap();
        let is_clean = audit.is_clean();
        let all = audit.findings.into_iter().map(|one| (one.unit, one.idle));
        (all.collect::<Vec<_>>(), is_clean)
    };
    let up = || "up.timer".to_owned();
    assert_eq!(told(&[]), (vec![(up(), Some(Idle::NotEnabled))], true));
    assert_eq!(told(&["up.timer", "ssh.service"]), (vec![(up(), None)], false));
    image.link(
        "etc/systemd/system/timers.target.wants/up.timer",
        "/etc/systemd/system/up.timer",
    );
    assert_eq!(told(&[]), (vec![(up(), None)], false));
}

#[test]
fn drop_ins_for_a_template_a_prefix_and_a_kind_count_and_masked_ones_do_not() {
    let image = Image::new("drop-ins");
    image
        .file(
            "usr/lib/systemd/system/tidy-all@.service",
            "[Service]\nType=oneshot\nExecStart=/usr/bin/apt-get upgrade\n",
        )
        .link(
            "etc/systemd/system/multi-user.target.wants/tidy-all@x.service",
            "/usr/lib/systemd/system/tidy-all@.service",
        )
        .file(
            "etc/systemd/system/service.d/10.conf",
            "[Service]\nTimeoutStartSec=1\nTimeoutStopSec=1\nKillMode=mixed\n",
        )
        .file(
            "etc/systemd/system/tidy-.service.d/20.conf",
            "[Service]\nTimeoutStartSec=2\nTimeoutStopSec=2\n",
        )
        .file(
            "usr/lib/systemd/system/tidy-all@.service.d/30.conf",
            "[Service]\nTimeoutStartSec=3\n",
        )
        .file(
            "usr/lib/systemd/system/tidy-all@x.service.d/40.conf",
            "[Service]\nTimeoutStartSec=4\n",
        )
        .link("etc/systemd/system/tidy-all@x.service.d/40.conf", "/dev/null");
    let [finding] = &image.findings()[..] else {
        panic!("{:?}", image.findings())
    };
    assert_eq!(
        (
            finding.run_limit.as_str(),
            finding.stop_limit.as_str(),
            finding.kill_mode.as_str()
        ),
        ("3", "2", "mixed")
    );
    // Of two with one name that of the unit hides that for all of its kind.
    image.file(
        "usr/lib/systemd/system/tidy-all@x.service.d/10.conf",
        "[Service]\nTimeoutStopSec=9\n",
    );
    assert_eq!(image.findings()[0].kill_mode, "control-group");
}

#[test]
fn conditions_on_the_configuration_that_do_not_hold_keep_a_unit_from_counting() {
    let image = Image::debian("condition");
    let folder = "etc/systemd/system/apt-daily-upgrade.service.d";
    image.file(
        &format!("{folder}/a.conf"),
        "[Unit]\nConditionPathExists=!/etc/no-upgrades\nConditionPathExists=/run/go\n",
    );
    let finding = &image.findings()[0];
    // What is in /run now tells nothing of what will be.
    assert_eq!(finding.idle, None);
    assert_eq!(
        finding.conditions,
        [
            "ConditionPathExists=!/etc/no-upgrades",
            "ConditionPathExists=/run/go"
        ]
    );
    image.file("etc/no-upgrades", "");
    let finding = &image.findings()[0];
    assert_eq!(finding.idle, Some(Idle::Condition));
    assert_eq!(
        finding.conditions[0],
        "ConditionPathExists=!/etc/no-upgrades (does not hold)"
    );
    image.file(&format!("{folder}/b.conf"), "[Unit]\nConditionPathExists=\n");
    assert_eq!(
        (image.findings()[0].idle, &image.findings()[0].conditions[..]),
        (None, &[][..])
    );
}

#[test]
fn a_timer_with_nothing_to_go_by_does_not_count() {
    let image = Image::debian("no-schedule");
    image.file(
        "etc/systemd/system/apt-daily-upgrade.timer.d/a.conf",
        "[Timer]\nOnBootSec=\nAccuracySec=1h\n",
    );
    assert_eq!(image.findings()[0].idle, Some(Idle::NeverRuns));
    image.file(
        "etc/systemd/system/apt-daily-upgrade.timer.d/b.conf",
        "[Timer]\nOnBootSec=5\n",
    );
    let finding = &image.findings()[0];
    assert_eq!((finding.idle, finding.accuracy.as_str()), (None, "1h"));
    // What was missed is made up for by OnCalendar alone (systemd.timer(5)).
    assert!(!finding.traps.contains(&Trap::Persistent));
}

#[test]
fn what_starts_with_a_unit_and_what_systemd_does_for_it_counts() {
    let image = Image::new("together");
    image
        .file("etc/systemd/system/a.timer", "[Timer]\nOnBootSec=1\n")
        .file(
            "etc/systemd/system/a.service",
            "[Unit]\nWants=b.service c.service\nOnFailure=reboot.target\n",
        )
        .file(
            "etc/systemd/system/b.service",
            "[Service]\nExecStart=/usr/sbin/ufw reload\n",
        )
        .file(
            "etc/systemd/system/c.service",
            "[Service]\nExecStart=/usr/bin/dnf upgrade\n",
        )
        .file(
            "etc/systemd/system/d.timer",
            "[Timer]\nOnBootSec=1\nUnit=poweroff.target\n",
        )
        .file(
            "etc/systemd/system/e.service",
            "[Unit]\nFailureAction=reboot-force\n",
        )
        .file("etc/systemd/system/f.target", "[Unit]\nRequires=g.service\n")
        .file(
            "etc/systemd/system/g.service",
            "[Service]\nExecStart=/usr/sbin/rmmod x\n",
        )
        .file(
            "etc/systemd/system/h.service",
            "[Service]\nExecStart=/usr/sbin/rmmod x\n",
        );
    for name in ["a.timer", "c.service", "d.timer", "e.service", "f.target"] {
        image.link(
            &format!("etc/systemd/system/multi-user.target.wants/{name}"),
            &format!("../{name}"),
        );
    }
    image.link(
        "etc/systemd/system/shutdown.target.wants/h.service",
        "../h.service",
    );
    let told: Vec<_> = image
        .findings()
        .into_iter()
        .map(|one| (one.unit, one.runs.join(", "), one.schedule.join(", ")))
        .collect();
    let one =
        |unit: &str, runs: &str, schedule: &str| (unit.to_owned(), runs.to_owned(), schedule.to_owned());
    assert_eq!(
        told,
        [
            // c.service is enabled by itself.
            one("a.timer", "ufw reload, reboot.target", "OnBootSec=1"),
            one("c.service", "dnf", ""),
            one("d.timer", "poweroff.target", "OnBootSec=1"),
            one("e.service", "FailureAction=reboot-force of e.service", ""),
            one("g.service", "rmmod", ""),
            one("h.service", "rmmod", "with shutdown.target"),
        ]
    );
}

#[test]
fn units_of_users_count_where_the_user_lingers() {
    let image = Image::new("users");
    let service = "[Service]\nType=oneshot\nExecStart=sudo apt-get -y upgrade\n";
    image
        .file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nann:x:1:1:,,:/home/ann:/bin/sh\nbob:x:2:2::/home/bob:/bin/sh\nbroken\n",
        )
        .file("etc/systemd/system/x.service", "[Service]\n")
        .file("home/ann/.config/systemd/user/night.service", service)
        .file(
            "home/ann/.config/systemd/user/night.timer",
            "[Timer]\nOnCalendar=daily\n",
        )
        .link(
            "home/ann/.config/systemd/user/timers.target.wants/night.timer",
            "../night.timer",
        )
        .file("home/ann/.config/systemd/user/off.service", service)
        .file("home/bob/.config/systemd/user/b.service", service)
        .link(
            "home/bob/.config/systemd/user/default.target.wants/b.service",
            "../b.service",
        )
        .file("usr/lib/systemd/user/all.service", "[Service]\nExecStart=netplan apply\n")
        .link(
            "etc/systemd/user/default.target.wants/all.service",
            "/usr/lib/systemd/user/all.service",
        );
    let told = || -> Vec<_> {
        let findings = image.findings().into_iter();
        findings
            .map(|one| (one.name(), one.schedule.join(", "), one.idle))
            .collect()
    };
    let one = |name: &str, schedule: &str, idle| (name.to_owned(), schedule.to_owned(), idle);
    let night = "/home/ann/.config/systemd/user/night.service:3";
    let idle = Some(Idle::NotLoggedIn);
    assert_eq!(
        told(),
        [
            one(night, "OnCalendar=daily, in the manager of ann", idle),
            one(
                "/home/bob/.config/systemd/user/b.service:3",
                "in the manager of bob",
                idle
            ),
            one(
                "/usr/lib/systemd/user/all.service:2",
                "in the manager of each user",
                idle
            ),
        ]
    );
    image.file("var/lib/systemd/linger/ann", "");
    let told = told();
    assert_eq!(
        told[0],
        one(
            "/usr/lib/systemd/user/all.service:2",
            "in the manager of ann",
            None
        )
    );
    assert_eq!(
        told[1],
        one(night, "OnCalendar=daily, in the manager of ann", None)
    );
    assert_eq!(told.len(), 3);
    let remedies: Vec<String> = image.findings().into_iter().flat_map(|one| one.remedy).collect();
    let root = image.0.display();
    assert_eq!(
        remedies[..2],
        [
            format!("systemctl --root={root} --global mask all.service"),
            format!("rm {root}/home/ann/.config/systemd/user/timers.target.wants/night.timer"),
        ]
    );
    assert_eq!(
        remedies[2],
        format!("rm {root}/home/bob/.config/systemd/user/default.target.wants/b.service")
    );
}

/// A node with a service of that name and text that is started with it.
fn with_service(image: &Image, name: &str, text: &str) {
    image.file(&format!("etc/systemd/system/{name}"), text).link(
        &format!("etc/systemd/system/multi-user.target.wants/{name}"),
        &format!("/etc/systemd/system/{name}"),
    );
}

#[test]
fn a_specifier_stands_for_what_systemd_makes_of_it() {
    let image = Image::new("specifiers");
    let script = "#!/bin/sh\napt-get -y upgrade\n";
    image.script("opt/own-a.sh", script).script("root/b.sh", script);
    with_service(&image, "own-a.service", "[Service]\nExecStart=/opt/%p.sh\n");
    with_service(&image, "own-b.service", "[Service]\nExecStart=/bin/sh %h/b.sh\n");
    with_service(&image, "own-c.service", "[Service]\nExecStart=/opt/%p.sh\n");
    with_service(
        &image,
        "own-d.service",
        "[Service]\nExecStart=/opt/x --at=%m /opt/%m.sh\n",
    );
    image.script("opt/x", "#!/bin/sh\n");
    let audit = image.audit(&Policy::default());
    let told: Vec<_> = audit
        .findings
        .iter()
        .map(|one| [one.runs.concat(), one.missing.concat()])
        .collect();
    assert_eq!(
        told,
        [
            ["apt-get (/opt/own-a.sh:2)", ""],
            ["apt-get (/root/b.sh:2)", ""],
            ["", "/opt/own-c.sh"],
        ]
    );
    assert_eq!(
        audit.unread,
        ["own-d.service: /opt/%m.sh in its command was not read: what its % stands for is not known here"]
    );
    image.link("etc/systemd/system/own-e@.service", "/dev/null");
    std::fs::remove_file(
        image
            .0
            .join("etc/systemd/system/multi-user.target.wants/own-d.service"),
    )
    .unwrap();
    assert_eq!(image.audit(&Policy::default()).unread, [""; 0]);
}

#[test]
fn variables_of_a_unit_are_part_of_its_commands() {
    for (name, more) in [
        ("variable", "Environment=A=b \"CMD=apt-get -y upgrade\"\n"),
        ("variable-file", "EnvironmentFile=-/etc/default/x\n"),
    ] {
        let image = Image::new(name);
        image.file("etc/default/x", "# ours\nCMD=\"apt-get -y upgrade\"\n");
        with_service(
            &image,
            "a.service",
            &format!("[Service]\n{more}ExecStart=/bin/sh -c \"$CMD\"\n"),
        );
        assert_eq!(image.findings()[0].runs, ["apt-get"], "{name}");
        with_service(
            &image,
            "a.service.d/none.conf",
            "[Service]\nEnvironment=\nEnvironmentFile=\n",
        );
        assert_eq!(image.findings(), [], "{name}");
    }
}

#[test]
fn what_a_command_starts_by_name_counts() {
    let image = Image::new("starts");
    image
        .file(
            "etc/systemd/system/other.service",
            "[Service]\nExecStart=/usr/bin/apt-get -y upgrade\n",
        )
        .script("opt/night.sh", "#!/bin/sh\nsystemctl start other\n");
    with_service(
        &image,
        "a.service",
        "[Service]\nExecStart=/bin/systemctl --no-block start other.service\n",
    );
    with_service(&image, "b.service", "[Service]\nExecStart=/opt/night.sh\n");
    with_service(
        &image,
        "c.service",
        "[Service]\nExecStart=/bin/systemctl stop other.service\n",
    );
    let told: Vec<_> = image
        .findings()
        .into_iter()
        .map(|one| (one.unit, one.runs.concat()))
        .collect();
    let by = |unit: &str| (unit.to_owned(), "apt-get".to_owned());
    assert_eq!(told, [by("a.service"), by("b.service")]);
    // That is told by itself.
    with_service(
        &image,
        "other.service",
        "[Service]\nExecStart=/usr/bin/apt-get -y upgrade\n",
    );
    assert_eq!(image.findings().len(), 1);
}

/// As older ones had them there, systemd takes them there too.
#[test]
fn what_systemd_does_when_a_service_fails_counts_in_either_section() {
    for (key, counts) in [
        ("FailureAction=reboot", true),
        ("StartLimitAction=reboot-force", true),
        ("FailureAction=none", false),
        ("SuccessAction=reboot", false),
    ] {
        let image = Image::new(&format!("action-{key}"));
        let text = format!("[Service]\nExecStart=/bin/true\n{key}\n");
        with_service(&image, "a.service", &text);
        let runs = image.findings().into_iter().flat_map(|one| one.runs);
        let expected = counts.then(|| format!("{key} of a.service"));
        assert_eq!(runs.collect::<Vec<_>>(), Vec::from_iter(expected));
    }
}

/// What limits the start of a service limits its run only where that is its start.
#[test]
fn what_limits_a_run_goes_by_the_type_of_its_service() {
    for (name, text, limit, traps) in [
        ("default", "", "infinity", vec![Trap::NoLimit]),
        (
            "exec",
            "Type=exec\nTimeoutStartSec=9\n",
            "infinity",
            vec![Trap::NoLimit],
        ),
        ("limited", "Type=simple\nRuntimeMaxSec=1h\n", "1h", vec![]),
        (
            "oneshot",
            "Type=oneshot\nRuntimeMaxSec=1h\n",
            "infinity",
            vec![Trap::NoLimit],
        ),
        (
            "oneshot-limited",
            "Type=oneshot\nTimeoutStartSec=1h\n",
            "1h",
            vec![],
        ),
        ("forking", "Type=forking\n", "infinity", vec![Trap::NoLimit]),
        ("bus", "BusName=x.y\nRuntimeMaxSec=1h\n", "1h", vec![]),
        (
            "kill",
            "RuntimeMaxSec=1h\nKillMode=none\n",
            "1h",
            vec![Trap::KillModeNone],
        ),
    ] {
        let image = Image::new(&format!("limits-{name}"));
        let service = format!("[Service]\nExecStart=/usr/bin/apt-get -y upgrade\n{text}");
        image.file("etc/systemd/system/foo.service", &service);
        with_service(&image, "foo.timer", "[Timer]\nOnBootSec=1h\n");
        let [finding] = &image.findings()[..] else {
            panic!("{:?}", image.findings())
        };
        assert_eq!(
            (finding.run_limit.as_str(), &finding.traps),
            (limit, &traps),
            "{name}"
        );
    }
    // One that is started with the node may be there to stay.
    let image = Image::new("limits-daemon");
    with_service(
        &image,
        "d.service",
        "[Service]\nExecStart=/usr/bin/apt-get -y upgrade\n",
    );
    assert_eq!(image.findings()[0].traps, []);
}

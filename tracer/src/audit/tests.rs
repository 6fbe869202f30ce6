use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

/// The files of a node, in a folder that goes with this value.
struct Image(PathBuf);

impl Image {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("tracer-audit-{}-{name}", std::process::id()));
        fs::create_dir(&root).unwrap();
        Self(root)
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn script(&self, path: &str, text: &str) -> &Self {
        self.file(path, text);
        fs::set_permissions(self.0.join(path), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// A Debian node whose apt upgrades by itself, as the packages install it.
    fn debian(name: &str) -> Self {
        let image = Self::new(name);
        image
            .file(
                "usr/lib/systemd/system/apt-daily-upgrade.timer",
                "[Timer]\nOnCalendar=*-*-* 6:00\nRandomizedDelaySec=60m\nPersistent=true\n",
            )
            .file(
                "usr/lib/systemd/system/apt-daily-upgrade.service",
                "[Service]\nType=oneshot\nExecStartPre=-/usr/lib/apt/apt-helper wait-online\n\
                 ExecStart=/usr/lib/apt/apt.systemd.daily install\nKillMode=process\nTimeoutStopSec=900\n",
            )
            .link(
                "etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer",
                "/lib/systemd/system/apt-daily-upgrade.timer",
            )
            .file(
                "etc/apt/apt.conf.d/20auto-upgrades",
                "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n",
            )
            .file(
                "etc/apt/apt.conf.d/50unattended-upgrades",
                "Unattended-Upgrade::Origins-Pattern {\n\
                 //  \"origin=Debian,codename=${distro_codename}-updates\";\n\
                 \"origin=Debian,codename=${distro_codename},label=Debian\";\n};\n",
            );
        image
    }

    fn audit(&self, policy: &Policy) -> Audit {
        audit(&self.0, policy).unwrap()
    }

    fn findings(&self) -> Vec<Finding> {
        self.audit(&Policy::default()).findings
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_upgrade_by_timer_is_found_with_its_traps() {
    let image = Image::debian("timer");
    let [finding] = &image.findings()[..] else {
        panic!("{:?}", image.findings())
    };
    assert_eq!(finding.unit, "apt-daily-upgrade.timer");
    assert_eq!(finding.starts, "apt-daily-upgrade.service");
    assert_eq!(finding.effects, [Effect::Packages]);
    assert_eq!(finding.schedule, ["OnCalendar=*-*-* 6:00"]);
    assert_eq!(
        (finding.random_delay.as_str(), finding.kill_mode.as_str()),
        ("60m", "process")
    );
    assert_eq!(
        (finding.start_limit.as_str(), finding.stop_limit.as_str()),
        ("infinity", "900")
    );
    let traps = [
        Trap::Persistent,
        Trap::KillModeProcess,
        Trap::NoLimit,
        Trap::PointRelease,
    ];
    assert_eq!(finding.traps, traps);
    let root = image.0.display();
    assert_eq!(
        finding.remedy,
        [format!("systemctl --root={root} mask apt-daily-upgrade.timer")]
    );
    assert!(!image.audit(&Policy::default()).is_clean());
}

#[test]
fn what_is_off_masked_or_allowed_does_not_count() {
    let image = Image::debian("masked");
    image.link("etc/systemd/system/apt-daily-upgrade.timer", "/dev/null");
    assert!(image.audit(&Policy::default()).is_clean());

    let image = Image::debian("masked-service");
    image.link("etc/systemd/system/apt-daily-upgrade.service", "/dev/null");
    assert!(image.audit(&Policy::default()).is_clean());

    let image = Image::debian("idle");
    image.file("etc/apt/apt.conf.d/99-off", "APT::Periodic::Enable \"0\";\n");
    assert_eq!(image.findings()[0].idle, Some(Idle::PeriodicOff));
    assert!(image.audit(&Policy::default()).is_clean());

    let image = Image::debian("disabled");
    fs::remove_file(
        image
            .0
            .join("etc/systemd/system/timers.target.wants/apt-daily-upgrade.timer"),
    )
    .unwrap();
    assert_eq!(image.findings(), []);

    let image = Image::debian("allowed");
    let mut policy = Policy::default();
    policy
        .read("# ours\nallow apt-daily-upgrade.service  # at night\n\n")
        .unwrap();
    let audit = image.audit(&policy);
    assert!(audit.findings[0].allowed && audit.is_clean());
}

#[test]
fn a_unit_is_known_by_what_its_script_runs_whatever_its_name() {
    let image = Image::new("script");
    image
        .file("etc/systemd/system/housekeeping.timer", "[Timer]\nOnBootSec=1h\n")
        .file(
            "etc/systemd/system/housekeeping.service",
            "[Service]\nType=oneshot\nExecStart=-/opt/tidy.sh now\n",
        )
        .link(
            "etc/systemd/system/timers.target.wants/housekeeping.timer",
            "../housekeeping.timer",
        )
        .file(
            "opt/tidy.sh",
            "#!/bin/sh\n# calls rpm: not so\nif true; then DEBIAN_FRONTEND=x apt-get -y upgrade; fi\n",
        );
    let [finding] = &image.findings()[..] else {
        panic!("{:?}", image.findings())
    };
    assert_eq!(finding.runs, ["apt-get"]);
    image.file("opt/tidy.sh", "#!/bin/sh\necho the apt way\n");
    // A word in what is said is taken for a program: too much is found rather than too little.
    assert_eq!(image.findings().len(), 1);
    image.file(
        "opt/tidy.sh",
        "#!/bin/sh\necho adapted; cp -r /var/lib/dpkg /backup\n",
    );
    assert_eq!(image.findings(), []);
}

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
fn networkd_that_deletes_what_others_made_is_a_trap() {
    let image = Image::new("networkd");
    image
        .file(
            "usr/lib/systemd/system/systemd-networkd.service",
            "[Service]\nExecStart=!!/lib/systemd/systemd-networkd\n",
        )
        .link(
            "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
            "/lib/systemd/system/systemd-networkd.service",
        )
        .file("etc/cni/net.d/10-bridge.conf", "{}");
    let [finding] = &image.findings()[..] else {
        panic!("{:?}", image.findings())
    };
    assert_eq!(finding.traps, [Trap::ForeignRules, Trap::ContainerNetwork]);
    image.file(
        "etc/systemd/networkd.conf.d/keep.conf",
        "[Network]\nManageForeignRoutingPolicyRules=no\nManageForeignRoutes=no\n",
    );
    assert_eq!(image.findings(), []);
}

#[test]
fn needrestart_that_restarts_by_itself_is_a_trap() {
    let image = Image::new("needrestart");
    image.file("etc/systemd/system/a.service", "");
    image.file("etc/needrestart/needrestart.conf", "#$nrconf{restart} = 'i';\n");
    assert_eq!(image.findings(), []);
    image.file("etc/needrestart/conf.d/auto.conf", "$nrconf{restart} = 'a';\n");
    assert_eq!(image.findings()[0].traps, [Trap::RestartsByItself]);
}

#[test]
fn what_cannot_be_understood_is_no_reason_to_call_a_node_clean() {
    let image = Image::debian("broken");
    image.link("etc/systemd/system/loop.service", "loop.service");
    let audit = image.audit(&Policy::allowing(&["apt-daily-upgrade.timer".to_owned()]));
    assert_eq!(audit.unread.len(), 1, "{:?}", audit.unread);
    assert!(!audit.is_clean());
    let mut policy = Policy::default();
    assert_eq!(
        policy.read("allow a\nforbid b\n"),
        Err((2, "forbid b".to_owned()))
    );
}

/// A node with a cron that is enabled.
fn with_cron(name: &str) -> Image {
    let image = Image::new(name);
    image
        .file(
            "usr/lib/systemd/system/cron.service",
            "[Service]\nExecStart=/usr/sbin/cron -f\n",
        )
        .link(
            "etc/systemd/system/multi-user.target.wants/cron.service",
            "/usr/lib/systemd/system/cron.service",
        );
    image
}

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
                "systemctl restart systemd-networkd",
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
                "apt-get",
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
fn names_in_commands_to_copy_are_words_of_a_shell() {
    let image = with_cron("my image");
    let root = image.0.display().to_string();
    for unit in [r"scrub@a\x2db", "-Hroot@h"] {
        image
            .file(
                &format!("etc/systemd/system/{unit}.timer"),
                "[Timer]\nOnCalendar=daily\n",
            )
            .file(
                &format!("etc/systemd/system/{unit}.service"),
                "[Service]\nExecStart=apt-get update\n",
            )
            .link(
                &format!("etc/systemd/system/timers.target.wants/{unit}.timer"),
                &format!("../{unit}.timer"),
            );
    }
    image.file("var/spool/cron/crontabs/x;reboot", "@daily apt-get update\n");
    let remedies: Vec<String> = image.findings().into_iter().flat_map(|one| one.remedy).collect();
    for remedy in [
        format!(r"systemctl --root='{root}' mask 'scrub@a\x2db.timer'"),
        format!("systemctl --root='{root}' mask -- -Hroot@h.timer"),
        format!("sed -i '1s/^/#/' '{root}/var/spool/cron/crontabs/x;reboot'"),
    ] {
        assert!(remedies.contains(&remedy), "{remedy} in {remedies:?}");
    }
}

#[test]
fn jobs_that_do_nothing_here_do_not_count() {
    let left = "#!/bin/sh\nif [ -d /run/systemd/system ]; then\n    exit 0\nfi\nexec apt-get update\n";
    let image = with_cron("cron-left");
    image.script("etc/cron.daily/left", left);
    assert_eq!(image.findings()[0].idle, Some(Idle::LeftToSystemd));
    assert!(image.audit(&Policy::default()).is_clean());

    image.script("etc/cron.daily/left", "#!/bin/sh\napt-get update\n");
    assert!(!image.audit(&Policy::default()).is_clean());
    image.link("etc/systemd/system/cron.service", "/dev/null");
    assert_eq!(image.findings()[0].idle, Some(Idle::NoCron));
    assert!(image.audit(&Policy::default()).is_clean());
}

#[test]
fn what_is_allowed_and_not_here_is_told_and_does_not_count() {
    let image = Image::debian("unknown");
    let names = [
        "apt-daily-upgrade.timer",
        "gone.timer",
        "/etc/cron.d/gone",
        "gone.timer",
    ];
    let audit = image.audit(&Policy::allowing(&names.map(str::to_owned)));
    assert_eq!(audit.unknown, ["/etc/cron.d/gone", "gone.timer"]);
    assert!(audit.is_clean());
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

#[test]
fn links_of_an_image_stay_inside_of_it() {
    let image = Image::new("links");
    let outside = Image::new("links-outside");
    outside.file("a.service", "[Service]\nExecStart=/usr/bin/apt-get update\n");
    let target = outside.0.join("a.service");
    image
        .link("etc/systemd/system/a.service", target.to_str().unwrap())
        .link("etc/systemd/system/x.wants/a.service", "../a.service");
    assert_eq!(image.findings(), []);
    let inside = target.strip_prefix("/").unwrap();
    image.file(
        inside.to_str().unwrap(),
        "[Service]\nExecStart=/usr/bin/apt-get update\n",
    );
    assert_eq!(image.findings().len(), 1);
}

#[test]
fn what_is_too_long_is_told_and_what_is_no_file_is_not_waited_for() {
    let image = Image::debian("bounds");
    let long = format!("#!/bin/sh\n{}", "# nothing\n".repeat(110_000));
    image.file("opt/long.sh", &long).file(
        "etc/systemd/system/long.service",
        "[Service]\nExecStart=/opt/long.sh /opt/pipe\n",
    );
    let pipe = image.0.join("opt/pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let audit = image.audit(&Policy::default());
    assert_eq!(audit.unread.len(), 1, "{:?}", audit.unread);
    assert!(audit.unread[0].ends_with("opt/long.sh: only its first 1024 KiB were read"));
}

#[test]
fn commands_that_are_too_long_are_told() {
    let image = with_cron("long-command");
    let long = "ip ".repeat(600);
    image
        .file(
            "etc/systemd/system/a.service",
            &format!("[Service]\nExecStart={long}\nExecStop=/opt/a.sh /opt/a.sh\n"),
        )
        .file("opt/a.sh", &format!("#!/bin/sh\napt-get update\n{long}\n"))
        .file("etc/cron.d/b", &format!("@daily root {long}\n"))
        .link("etc/systemd/system/x.wants/a.service", "../a.service");
    let audit = image.audit(&Policy::default());
    let told = |name: &&str| {
        audit
            .unread
            .iter()
            .any(|why| why.starts_with(&format!("{name}: ")))
    };
    assert!(
        ["a.service", "/opt/a.sh", "/etc/cron.d/b"].iter().all(told),
        "{:?}",
        audit.unread
    );
    assert_eq!(audit.unread.len(), 3, "{:?}", audit.unread);
    assert_eq!(audit.findings[0].runs, ["apt-get"]);
}

#[test]
fn a_folder_without_units_is_no_node() {
    let image = Image::new("empty");
    assert_eq!(audit(&image.0, &Policy::default()), None);
}

#[test]
fn binary_files_do_no_harm() {
    let image = Image::debian("binary");
    let path = image.0.join("etc/systemd/system/odd.service");
    fs::write(path, [0xff, 0, b'[', b'\n', 0xfe, b'=', b'\\']).unwrap();
    assert_eq!(image.findings().len(), 1);
}

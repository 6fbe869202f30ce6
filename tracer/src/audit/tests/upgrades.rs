use super::*;

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
        (finding.run_limit.as_str(), finding.stop_limit.as_str()),
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
    assert_eq!(image.findings()[0].idle, Some(Idle::NotEnabled));
    assert!(image.audit(&Policy::default()).is_clean());

    let image = Image::debian("allowed");
    let mut policy = Policy::default();
    policy
        .read("# ours\nallow apt-daily-upgrade.service  # at night\n\n")
        .unwrap();
    let audit = image.audit(&policy);
    assert!(audit.findings[0].allowed && audit.is_clean());
}

#[test]
fn a_reboot_after_an_upgrade_is_what_its_timer_does() {
    let image = Image::debian("reboot");
    image.file(
        "etc/apt/apt.conf.d/52reboot",
        "Unattended-Upgrade {\n  Automatic-Reboot \"true\";\n  Automatic-Reboot-Time \"02:38\";\n};\n",
    );
    let finding = &image.findings()[0];
    assert_eq!(finding.effects, [Effect::Packages, Effect::Reboot]);
    assert!(finding.traps.contains(&Trap::RebootsByItself));
    assert_eq!(
        finding.runs[1],
        "shutdown -r 02:38 where an upgrade asks for it (Unattended-Upgrade::Automatic-Reboot)"
    );
    image.file(
        "etc/apt/apt.conf.d/53off",
        "Unattended-Upgrade::Automatic-Reboot \"false\";\n",
    );
    assert_eq!(image.findings()[0].effects, [Effect::Packages]);
    // apt does not read a file of such a name.
    image.file(
        "etc/apt/apt.conf.d/54on.bak",
        "Unattended-Upgrade::Automatic-Reboot \"true\";\n",
    );
    assert_eq!(image.findings()[0].effects, [Effect::Packages]);
}

#[test]
fn what_only_fetches_lists_is_told_so() {
    let image = Image::debian("lists");
    image.file(
        "usr/lib/systemd/system/apt-daily-upgrade.service",
        "[Service]\nExecStart=/usr/lib/apt/apt.systemd.daily update\n",
    );
    let finding = &image.findings()[0];
    assert_eq!(
        (&finding.effects[..], &finding.runs[..]),
        (&[Effect::Lists][..], &["apt.systemd.daily update".to_owned()][..])
    );
    assert!(!finding.traps.contains(&Trap::PointRelease));
    // Nothing is upgraded where only lists are asked for.
    let image = Image::debian("lists-only");
    image.file(
        "etc/apt/apt.conf.d/99",
        "APT::Periodic::Unattended-Upgrade \"0\";\n",
    );
    assert_eq!(image.findings()[0].idle, Some(Idle::PeriodicOff));
}

#[test]
fn dnf_automatic_does_what_its_configuration_says() {
    let image = Image::new("dnf");
    image
        .file(
            "usr/lib/systemd/system/dnf-automatic.timer",
            "[Timer]\nOnCalendar=*-*-* 6:00\n",
        )
        .file(
            "usr/lib/systemd/system/dnf-automatic.service",
            "[Service]\nExecStart=/usr/bin/dnf-automatic /etc/dnf/automatic.conf --timer\n",
        )
        .link(
            "etc/systemd/system/timers.target.wants/dnf-automatic.timer",
            "/usr/lib/systemd/system/dnf-automatic.timer",
        )
        .file(
            "etc/dnf/automatic.conf",
            "[commands]\napply_updates = no\nreboot = when-needed\n",
        );
    assert_eq!(image.findings()[0].effects, [Effect::Lists]);
    image.file(
        "etc/dnf/automatic.conf",
        "[commands]\napply_updates = yes\nreboot = when-needed\nreboot_command = \"shutdown -r +9\"\n",
    );
    let finding = &image.findings()[0];
    assert_eq!(finding.effects, [Effect::Packages, Effect::Reboot]);
    assert_eq!(
        finding.runs[1],
        "shutdown -r +9 where an upgrade asks for it (reboot of dnf-automatic)"
    );
    image
        .file("etc/dnf/automatic.conf", "[commands]\nreboot = never\n")
        .file(
            "usr/lib/systemd/system/dnf-automatic.service",
            "[Service]\nExecStart=/usr/bin/dnf-automatic /etc/dnf/automatic.conf --timer --installupdates\n",
        );
    assert_eq!(image.findings()[0].effects, [Effect::Packages]);
    image.file(
        "usr/lib/systemd/system/dnf-automatic.service",
        "[Service]\nExecStart=/usr/bin/dnf5 automatic --timer\n",
    );
    assert_eq!(image.findings()[0].effects, [Effect::Lists]);
}

#[test]
fn what_is_installed_at_the_node_s_end_goes_by_the_configuration() {
    let image = Image::new("at-shutdown");
    image
        .file(
            "usr/lib/systemd/system/unattended-upgrades.service",
            "[Service]\nExecStart=/usr/share/unattended-upgrades/unattended-upgrade-shutdown --wait-for-signal\n",
        )
        .link(
            "etc/systemd/system/multi-user.target.wants/unattended-upgrades.service",
            "/usr/lib/systemd/system/unattended-upgrades.service",
        )
        .script(
            "usr/lib/systemd/system-sleep/unattended-upgrades",
            "#!/bin/sh\n/usr/share/unattended-upgrades/unattended-upgrade-shutdown --stop-only\n",
        )
        .script(
            "usr/share/unattended-upgrades/unattended-upgrade-shutdown",
            "#!/usr/bin/python3\nimport subprocess\nif x:\n    subprocess.Popen([\"unattended-upgrade\"])\n",
        );
    let idle = || -> Vec<_> {
        let findings = image.findings().into_iter();
        findings.map(|one| (one.unit, one.effects, one.idle)).collect()
    };
    let one = |idle| {
        let unit = "unattended-upgrades.service".to_owned();
        [(unit, vec![Effect::Packages], idle)]
    };
    assert_eq!(idle(), one(Some(Idle::NotAtShutdown)));
    image.file(
        "etc/apt/apt.conf.d/50unattended-upgrades",
        "Unattended-Upgrade::InstallOnShutdown \"true\";\n",
    );
    assert_eq!(idle(), one(None));
}

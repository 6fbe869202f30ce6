use super::*;

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
    assert_eq!(finding.runs, ["apt-get (/opt/tidy.sh:3)"]);
    image.file("opt/tidy.sh", "#!/bin/sh\nfind the apt way\n");
    // A word is taken for a program: too much is found rather than too little.
    assert_eq!(image.findings().len(), 1);
    image.file(
        "opt/tidy.sh",
        "#!/bin/sh\necho adapted; cp -r /var/lib/dpkg /backup\n",
    );
    assert_eq!(image.findings(), []);
}

/// A node whose timer runs that command.
fn running(name: &str, command: &str) -> Image {
    let image = Image::new(name);
    image
        .file("etc/systemd/system/a.timer", "[Timer]\nOnBootSec=1h\n")
        .file(
            "etc/systemd/system/a.service",
            &format!("[Service]\nType=oneshot\nTimeoutStartSec=60\nExecStart={command}\n"),
        )
        .link("etc/systemd/system/timers.target.wants/a.timer", "../a.timer");
    image
}

#[test]
fn a_script_that_only_names_a_program_is_not_said_to_run_it() {
    let image = running("mention", "/opt/tidy.py");
    image.file(
        "opt/tidy.py",
        "#!/usr/bin/python3\nimport subprocess\nprint('apt-get upgrade is not run')\nsubprocess.run(['dnf', 'upgrade'])\n",
    );
    let [finding] = &image.findings()[..] else {
        panic!("{:?}", image.findings())
    };
    assert_eq!(finding.runs, ["dnf (/opt/tidy.py:4)"]);
    assert_eq!(finding.mentions, ["apt-get (/opt/tidy.py:3)"]);
    assert_eq!(
        (&finding.effects[..], &finding.perhaps[..]),
        (&[Effect::Packages][..], &[][..])
    );

    image.file(
        "opt/tidy.py",
        "#!/usr/bin/python3\nimport subprocess\nprint('apt-get upgrade is not run')\n",
    );
    let [finding] = &image.findings()[..] else {
        panic!("{:?}", image.findings())
    };
    assert_eq!(
        (&finding.effects[..], &finding.perhaps[..]),
        (&[][..], &[Effect::Packages][..])
    );
    assert!(finding.counts());

    // What calls nothing runs nothing.
    image.file(
        "opt/tidy.py",
        "#!/usr/bin/python3\nprint('apt-get upgrade is not run')\n",
    );
    assert_eq!(image.findings(), []);
    image.file(
        "opt/tidy.py",
        "#!/bin/sh\necho 'apt-get upgrade is not run' | logger\n",
    );
    assert_eq!(image.findings(), []);
}

#[test]
fn a_script_that_is_not_there_is_told() {
    let image = running("missing", "/opt/tidy.sh");
    let [finding] = &image.findings()[..] else {
        panic!("{:?}", image.findings())
    };
    assert_eq!(finding.missing, ["/opt/tidy.sh"]);
    assert_eq!(finding.effects, [Effect::Unknown]);
    assert!(finding.counts());
    image.file("opt/tidy.sh", "#!/bin/sh\n:\n");
    assert_eq!(image.findings(), []);

    for command in [
        "-/opt/tidy.sh",
        "/bin/sh -c 'test -x /opt/tidy.sh && /opt/tidy.sh'",
        "/usr/bin/cp /opt/tidy.sh /tmp",
        "/opt/%m/tidy.sh",
        "/bin/sh -c 'exec /opt/${V}/tidy.sh'",
        "/opt/tidy.sh\n[Unit]\nConditionFileIsExecutable=/opt/tidy.sh",
    ] {
        let image = running("may-be-missing", command);
        let findings = image.findings();
        assert!(
            findings.iter().all(|one| one.missing.is_empty()),
            "{command}: {findings:?}"
        );
    }
    for command in [
        "/bin/sh -e /opt/tidy.sh",
        "python3 /opt/tidy.sh",
        "/bin/sh -c 'cd /; /opt/tidy.sh'",
    ] {
        assert_eq!(
            running("missing-too", command).findings()[0].missing,
            ["/opt/tidy.sh"],
            "{command}"
        );
    }
}

#[test]
fn scripts_are_followed_to_those_that_they_run() {
    let image = running("follow", "/opt/a");
    image
        .file("opt/a", "#!/bin/sh\n. /opt/b\ncp /opt/d /tmp\n")
        // A shell needs no `#!`.
        .file("opt/b", "/opt/c; /opt/a\n")
        .file(
            "opt/c",
            "#!/bin/sh\n\ncurl -fsSL https://x.example/i \\\n  | sudo -E bash -\n",
        )
        .file("opt/d", "#!/bin/sh\nreboot\n");
    let [finding] = &image.findings()[..] else {
        panic!("{:?}", image.findings())
    };
    assert_eq!(finding.runs, ["curl | bash (/opt/c:3)"]);
    assert_eq!(finding.effects, [Effect::Code]);
}

#[test]
fn commands_of_the_node_itself_are_found_by_their_names() {
    let image = running("by-name", "/bin/sh -c 'exec tidy-up now'");
    image
        .file("usr/local/bin/tidy-up", "#!/bin/sh\ntidy-more\n")
        .file("usr/local/sbin/tidy-more", "#!/bin/sh\nnetplan apply\n");
    assert_eq!(
        image.findings()[0].runs,
        ["netplan apply (/usr/local/sbin/tidy-more:2)"]
    );
}

#[test]
fn a_script_does_what_it_can_where_it_is_run() {
    let script = "#!/bin/sh\nip link set eth0 down\napt-get upgrade\nreboot\nexec /opt/more.sh\n";
    let runs = |name: &str, command: &str| {
        let image = running(name, command);
        image
            .script("opt/run.sh", script)
            .script(
                "opt/more.sh",
                "#!/bin/sh\nnft flush ruleset\nsystemctl start other\n",
            )
            .file(
                "etc/systemd/system/other.service",
                "[Service]\nExecStart=/usr/sbin/netplan apply\n",
            );
        let findings = image.findings().into_iter();
        findings.flat_map(|one| one.runs).collect::<Vec<_>>()
    };
    let packages = "apt-get (/opt/run.sh:3)".to_owned();
    let network = ["ip link set (/opt/run.sh:2)", "nft (/opt/more.sh:2)"].map(str::to_owned);
    let reboot = "reboot (/opt/run.sh:4)".to_owned();
    for command in [
        "/sbin/ip netns exec x /opt/run.sh",
        "/usr/bin/nsenter -n -t 4711 -- /opt/run.sh",
        "/usr/bin/unshare -n sh /opt/run.sh",
    ] {
        let found = runs("in-namespace", command);
        assert!(
            found.contains(&packages) && found.contains(&reboot),
            "{command}: {found:?}"
        );
        // What it asks systemd to start runs here.
        assert!(
            found.contains(&"netplan apply".to_owned()),
            "{command}: {found:?}"
        );
        assert!(
            !network.iter().any(|one| found.contains(one)),
            "{command}: {found:?}"
        );
    }
    for command in [
        "/opt/run.sh",
        "/bin/sh -c 'ip netns exec x /opt/run.sh; /opt/run.sh'",
    ] {
        let found = runs("here-too", command);
        let all = [&network[..], &[packages.clone(), reboot.clone()]].concat();
        assert!(all.iter().all(|one| found.contains(one)), "{command}: {found:?}");
    }
    for command in [
        "/usr/sbin/chroot /x /opt/run.sh",
        "/usr/bin/ssh node /opt/run.sh",
        "/usr/bin/lxc exec c -- /opt/run.sh",
    ] {
        assert_eq!(runs("elsewhere", command), [""; 0], "{command}");
    }
}

/// The effects of a script that a timer starts: those of what it runs, and those of what it mentions.
fn effects(name: &str, script: &str) -> (Vec<Effect>, Vec<Effect>) {
    let image = running(name, "/opt/tidy");
    image.file("opt/tidy", script);
    let findings = image.findings();
    let all = |of: fn(&Finding) -> &Vec<Effect>| findings.iter().flat_map(of).copied().collect();
    (all(|one| &one.effects), all(|one| &one.perhaps))
}

#[test]
fn what_scripts_of_other_languages_run_is_found() {
    for script in [
        "#!/usr/bin/python3\nimport os\nos.system(\"reboot\")\n",
        "#!/usr/bin/env python3\nimport subprocess\nsubprocess.run(\n    [\"shutdown\",\n     \"-r\", \"now\"],\n    check=True)\n",
        "#!/usr/bin/python3\nimport os\nos.system('echo b > /proc/sysrq-trigger')\n",
        "#!/usr/bin/perl\nsystem(\"reboot\");\n",
        "#!/usr/bin/perl -w\nmy $out = `reboot`;\n",
        "#!/usr/bin/perl\nopen(my $pipe, '-|', 'shutdown -r now');\n",
        "#!/usr/bin/ruby\nsystem 'reboot'\n",
        "#!/usr/bin/env node\nrequire('child_process').execSync('reboot');\n",
        "#!/usr/bin/php\n<?php shell_exec('reboot');\n",
    ] {
        assert_eq!(
            effects("other-language", script),
            (vec![Effect::Reboot], vec![]),
            "{script}"
        );
    }
    let lines =
        "#!/usr/bin/python3\nimport subprocess\nsubprocess.run([\n    \"apt-get\",\n    \"upgrade\",\n])\n";
    assert_eq!(effects("other-lines", lines), (vec![Effect::Packages], vec![]));
}

#[test]
fn what_scripts_of_other_languages_only_say_is_not_run() {
    for script in [
        "#!/usr/bin/python3\nimport os\n# os.system('reboot')\n\"\"\"By os.system('reboot'), or\napt-get upgrade.\"\"\"\nos.system('ls')\n",
        "#!/usr/bin/python3\nimport os\nprint('os.system(\"reboot\")')\nos.system('ls')\n",
        "#!/usr/bin/perl\n=pod\n\nsystem('reboot'); apt-get upgrade\n\n=cut\nsystem('ls'); # `reboot`\n",
    ] {
        assert_eq!(effects("only-said", script), (vec![], vec![]), "{script}");
    }
    // A program is named on it, and none is run.
    let help = "#!/usr/bin/python3\nimport os\np.add_argument('--system', help='apt-get upgrade it')\nos.system('ls')\n";
    assert_eq!(effects("help", help), (vec![], vec![Effect::Packages]));
}

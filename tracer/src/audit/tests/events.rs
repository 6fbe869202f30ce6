use super::*;

/// What was found: unit and line, what starts it, what it runs.
fn told(image: &Image) -> Vec<(String, String, String)> {
    let findings = image.findings().into_iter();
    findings
        .map(|one| (one.name(), one.schedule.join(", "), one.runs.join(", ")))
        .collect()
}

fn one(name: &str, schedule: &str, runs: &str) -> (String, String, String) {
    (name.to_owned(), schedule.to_owned(), runs.to_owned())
}

/// A node with a unit, which makes it one.
fn node(name: &str) -> Image {
    let image = Image::new(name);
    image.file("etc/systemd/system/x.service", "[Service]\n");
    image
}

#[test]
fn sockets_and_paths_start_services() {
    let image = Image::new("sockets");
    let service = "[Service]\nExecStart=/usr/bin/netplan apply\n";
    image
        .file(
            "etc/systemd/system/a.socket",
            "[Socket]\nListenStream=99\nAccept=yes\n",
        )
        .file("etc/systemd/system/a@.service", service)
        .file(
            "etc/systemd/system/b.path",
            "[Path]\nPathChanged=/etc/b\nUnit=c.service\n",
        )
        .file("etc/systemd/system/c.service", service)
        .file("etc/systemd/system/d.path", "[Path]\nPathExists=/etc/d\n")
        .file("etc/systemd/system/d.service", service)
        .link("etc/systemd/system/sockets.target.wants/a.socket", "../a.socket")
        .link("etc/systemd/system/paths.target.wants/b.path", "../b.path");
    assert_eq!(
        told(&image),
        [
            one("a.socket", "ListenStream=99", "netplan apply"),
            one("b.path", "PathChanged=/etc/b", "netplan apply"),
        ]
    );
    assert_eq!(image.findings()[0].starts, "a@.service");
}

#[test]
fn rules_of_udev_start_programs_and_units() {
    let image = node("udev");
    image
        .file(
            "usr/lib/udev/rules.d/80-hotplug.rules",
            "# x\nSUBSYSTEM==\"net\", ACTION==\"add\", RUN+=\"hotplug\"\nSUBSYSTEM==\"net\", RUN+=\"/bin/gone\"\n",
        )
        .script("usr/lib/udev/hotplug", "#!/bin/sh\nexec ifup $INTERFACE\n")
        .file(
            "etc/udev/rules.d/90-up.rules",
            "SUBSYSTEM==\"net\", TAG+=\"systemd\", ENV{SYSTEMD_WANTS}+=\"up@$name.service\"\n",
        )
        .file(
            "usr/lib/systemd/system/up@.service",
            "[Service]\nType=oneshot\nExecStart=/sbin/ip link set %i up\n",
        )
        .file("usr/lib/udev/rules.d/70-off.rules", "RUN+=\"/sbin/reboot\"\n")
        .link("etc/udev/rules.d/70-off.rules", "/dev/null");
    assert_eq!(
        told(&image),
        [
            one(
                "/etc/udev/rules.d/90-up.rules:1",
                "udev: SUBSYSTEM==\"net\"",
                "ip link set"
            ),
            one(
                "/usr/lib/udev/rules.d/80-hotplug.rules:2",
                "udev: SUBSYSTEM==\"net\", ACTION==\"add\"",
                "ifup (/usr/lib/udev/hotplug:2)"
            ),
        ]
    );
    let findings = image.findings();
    assert_eq!(findings[0].starts, "up@$name.service");
    let root = image.0.display();
    let remedies: Vec<_> = findings.into_iter().flat_map(|one| one.remedy).collect();
    assert_eq!(
        remedies,
        [
            format!("sed -i '1s/^/#/' {root}/etc/udev/rules.d/90-up.rules"),
            format!("ln -s /dev/null {root}/etc/udev/rules.d/80-hotplug.rules"),
        ]
    );
}

#[test]
fn jobs_of_at_are_told_with_their_time() {
    let image = node("at");
    image
        .script(
            "var/spool/cron/atjobs/a0001f01c3d2e0",
            "#!/bin/sh\n# atrun uid=0 gid=0\nSUDO_COMMAND=/usr/bin/dnf; export SUDO_COMMAND\n\
             cd /root || {\n exit 1\n}\nshutdown -r now\n",
        )
        .file("var/spool/cron/atjobs/.SEQ", "1f");
    assert_eq!(
        told(&image),
        [one(
            "/var/spool/cron/atjobs/a0001f01c3d2e0",
            "at 2026-04-20T00:00:00.000Z",
            "shutdown (/var/spool/cron/atjobs/a0001f01c3d2e0:7)"
        )]
    );
    assert_eq!(image.findings()[0].idle, Some(Idle::NotStarted));
    image
        .file("usr/lib/systemd/system/atd.service", "[Service]\n")
        .link(
            "etc/systemd/system/multi-user.target.wants/atd.service",
            "/usr/lib/systemd/system/atd.service",
        );
    assert_eq!(image.findings()[0].idle, None);
}

#[test]
fn scripts_that_events_of_the_network_start_are_told() {
    let image = node("hooks");
    image
        .script(
            "etc/network/if-up.d/routes",
            "#!/bin/sh\nip route add 10.0.0.0/8 dev $IFACE\n",
        )
        .file(
            "etc/network/if-up.d/not-executable",
            "#!/bin/sh\nip route flush\n",
        )
        .file(
            "etc/dhcp/dhclient-exit-hooks.d/x",
            "systemctl restart systemd-resolved\n",
        )
        .script(
            "etc/networkd-dispatcher/routable.d/x",
            "#!/bin/sh\nnft -f /etc/x\n",
        )
        .script("etc/rc.local", "#!/bin/sh\nconntrack -F\n")
        .file(
            "etc/logrotate.d/x",
            "/var/log/x {\n postrotate\n  docker restart x\n endscript\n}\n",
        );
    assert_eq!(
        told(&image),
        [
            one(
                "/etc/network/if-up.d/routes",
                "whenever ifup has brought an interface up",
                "ip route add (/etc/network/if-up.d/routes:2)"
            ),
            one(
                "/etc/dhcp/dhclient-exit-hooks.d/x",
                "whenever an address is leased, or given up",
                "systemctl restart systemd-resolved (/etc/dhcp/dhclient-exit-hooks.d/x:1)"
            ),
            one(
                "/etc/networkd-dispatcher/routable.d/x",
                "whenever a link becomes routable",
                "nft (/etc/networkd-dispatcher/routable.d/x:2)"
            ),
            one(
                "/etc/rc.local",
                "whenever the node starts",
                "conntrack -F (/etc/rc.local:2)"
            ),
            one(
                "/etc/logrotate.d/x:2",
                "whenever logrotate rotates that log",
                "docker restart"
            ),
        ]
    );
    let idle: Vec<_> = image.findings().into_iter().map(|one| one.idle).collect();
    assert_eq!(idle, [None, None, Some(Idle::NotStarted), None, None]);
    let root = image.0.display();
    assert_eq!(
        image.findings()[4].remedy,
        [format!("sed -i '2,4s/^/#/' {root}/etc/logrotate.d/x")]
    );
}

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
                "/etc/rc.local",
                "whenever the node starts",
                "conntrack -F (/etc/rc.local:2)"
            ),
            one(
                "/etc/networkd-dispatcher/routable.d/x",
                "whenever a link becomes routable",
                "nft (/etc/networkd-dispatcher/routable.d/x:2)"
            ),
            one(
                "/etc/logrotate.d/x:2",
                "whenever logrotate rotates that log",
                "docker restart"
            ),
        ]
    );
    let idle: Vec<_> = image.findings().into_iter().map(|one| one.idle).collect();
    assert_eq!(idle, [None, None, None, Some(Idle::NotStarted), None]);
    let root = image.0.display();
    assert_eq!(
        image.findings()[4].remedy,
        [format!("sed -i '2,4s/^/#/' {root}/etc/logrotate.d/x")]
    );
}

#[test]
fn services_that_the_bus_starts_are_told_once() {
    let image = node("bus");
    let service = |name: &str, more: &str| format!("[D-BUS Service]\nName={name}\nUser=root\n{more}\n");
    image
        .file(
            "usr/share/dbus-1/system-services/org.a.service",
            &service("org.a", "Exec=/bin/false\nSystemdService=a.service"),
        )
        .file(
            "usr/lib/systemd/system/a.service",
            "[Service]\nExecStart=/usr/libexec/packagekitd\n",
        )
        .file(
            "usr/share/dbus-1/system-services/org.b.service",
            &service("org.b", "Exec=/usr/sbin/ip link set eth0 down"),
        )
        .file(
            "usr/share/dbus-1/system-services/org.gone.service",
            &service("org.gone", "Exec=/bin/reboot\nSystemdService=gone.service"),
        )
        .file("usr/share/dbus-1/system-services/broken.service", "Exec=reboot");
    assert_eq!(
        told(&image),
        [
            one(
                "/usr/share/dbus-1/system-services/org.a.service",
                "whenever somebody asks for org.a on the system bus",
                "packagekitd"
            ),
            one(
                "/usr/share/dbus-1/system-services/org.b.service:4",
                "whenever somebody asks for org.b on the system bus",
                "ip link set"
            ),
        ]
    );
    let root = image.0.display().to_string();
    let remedies: Vec<String> = image.findings().into_iter().flat_map(|one| one.remedy).collect();
    assert_eq!(remedies[0], format!("systemctl --root={root} mask a.service"));
    assert!(remedies[1].ends_with("/org.b.service~"), "{remedies:?}");
    // It starts with the node too: that is told.
    image.link(
        "etc/systemd/system/multi-user.target.wants/a.service",
        "/usr/lib/systemd/system/a.service",
    );
    assert_eq!(told(&image)[0].0, "a.service");
    assert_eq!(told(&image).len(), 2);
}

#[test]
fn scripts_of_sysv_init_are_told_where_no_unit_stands_for_them() {
    let image = node("sysv");
    let script = "#!/bin/sh\ncase \"$1\" in\nstart) iptables -P INPUT DROP ;;\nesac\n";
    for name in ["fence", "native", "stopped"] {
        image.script(&format!("etc/init.d/{name}"), script);
    }
    image
        .file("etc/init.d/not-executable", script)
        .file("etc/systemd/system/native.service", "[Service]\n")
        .link("etc/rc0.d/K01stopped", "../init.d/stopped");
    for name in ["fence", "native", "not-executable", "gone"] {
        image.link(&format!("etc/rc3.d/S01{name}"), &format!("../init.d/{name}"));
        image.link(&format!("etc/rc5.d/S02{name}"), &format!("../init.d/{name}"));
    }
    assert_eq!(
        told(&image),
        [one(
            "/etc/init.d/fence",
            "whenever the node starts",
            "iptables (/etc/init.d/fence:3)"
        )]
    );
}

#[test]
fn what_apt_and_dpkg_run_is_told() {
    let image = node("invokes");
    image
        .file(
            "etc/apt/apt.conf.d/99needrestart",
            "# DPkg::Post-Invoke {\"needrestart -r a\"; };\n\
             DPkg::Post-Invoke {\"test -x /usr/lib/x && needrestart -r a || true\"; };\n\
             DPkg::Post-Invoke { \"rm -f /var/cache/apt/*.bin || true\"; };\n",
        )
        .file("etc/apt/apt.conf", "APT::Update::Post-Invoke:: \"reboot\";\n")
        .file(
            "etc/apt/apt.conf.d/70debconf",
            "DPkg::Pre-Install-Pkgs {\"dpkg-preconfigure --apt || true\";};\n",
        )
        .file(
            "etc/dpkg/dpkg.cfg.d/x",
            "# post-invoke=\nforce-unsafe-io\npost-invoke=\"nft -f /etc/x\"\n",
        );
    assert_eq!(
        told(&image),
        [
            one(
                "/etc/apt/apt.conf.d/99needrestart:2",
                "whenever apt has run dpkg",
                "needrestart"
            ),
            one("/etc/apt/apt.conf:1", "whenever apt has fetched lists", "reboot"),
            one("/etc/dpkg/dpkg.cfg.d/x:3", "whenever dpkg has worked", "nft"),
        ]
    );
}

#[test]
fn of_a_hook_that_is_a_link_the_link_is_taken_away() {
    let image = Image::new("linked-hook");
    image
        .script("lib/x/hook.sh", "#!/bin/sh\nip link set eth0 down\n")
        .link("etc/network/if-up.d/x", "/lib/x/hook.sh")
        .script("etc/network/if-up.d/y", "#!/bin/sh\nip link set eth0 down\n");
    let remedies: Vec<_> = image.findings().into_iter().flat_map(|one| one.remedy).collect();
    let path = |name: &str| {
        image
            .0
            .join("etc/network/if-up.d")
            .join(name)
            .display()
            .to_string()
    };
    // A link of an image may lead to a file of this node.
    assert_eq!(
        remedies,
        [
            format!("rm {}  # a link to /lib/x/hook.sh", path("x")),
            format!("chmod a-x {}", path("y")),
        ]
    );
}

#[test]
fn a_hook_that_was_turned_off_is_none() {
    let image = Image::new("hook-off");
    image.file("etc/dhcp/dhclient-exit-hooks.d/x", "ip link set eth0 down\n");
    let [finding] = &image.findings()[..] else {
        panic!("{:?}", image.findings())
    };
    let [command] = &finding.remedy[..] else {
        panic!("{finding:?}")
    };
    let words: Vec<&str> = command.split(' ').collect();
    assert_eq!((words[0], words.len()), ("mv", 3));
    fs::rename(words[1], words[2]).unwrap();
    assert_eq!(image.findings(), []);
}

#[test]
fn what_links_name_servers_and_interfaces_start_is_told() {
    let image = node("more-hooks");
    let script = "#!/bin/sh\nip route add 10.0.0.0/8 dev x\n";
    let folders = [
        "etc/resolvconf/update.d",
        "etc/resolvconf/update-libc.d",
        "etc/network/if-pre-up.d",
        "etc/network/if-up.d",
        "etc/network/if-down.d",
        "etc/network/if-post-down.d",
        "etc/NetworkManager/dispatcher.d",
        "etc/NetworkManager/dispatcher.d/pre-up.d",
        "etc/NetworkManager/dispatcher.d/pre-down.d",
        "etc/NetworkManager/dispatcher.d/no-wait.d",
        "usr/lib/NetworkManager/dispatcher.d",
        "etc/networkd-dispatcher/routable.d",
        "etc/networkd-dispatcher/unmanaged.d",
        "usr/lib/networkd-dispatcher/degraded.d",
        "etc/dhcp/dhclient-enter-hooks.d",
        "etc/dhcp/dhclient-exit-hooks.d",
        "etc/ppp/ip-pre-up.d",
        "etc/ppp/ipv6-up.d",
        "etc/ifplugd/action.d",
    ];
    for folder in folders {
        image.script(&format!("{folder}/x"), script);
    }
    let found: Vec<String> = told(&image).into_iter().map(|(name, ..)| name).collect();
    for folder in folders {
        assert!(found.contains(&format!("/{folder}/x")), "{folder}: {found:?}");
    }
    assert_eq!(found.len(), folders.len());

    let image = node("interfaces");
    image
        .file(
            "etc/network/interfaces",
            "source /etc/network/interfaces.d/*\niface eth0 inet dhcp\n  up ip route add 10.0.0.0/8 \\\n    dev eth0\n# up reboot\n",
        )
        .file("etc/network/interfaces.d/eth1", "iface eth1 inet manual\n  post-down nft flush ruleset\n");
    let up = "whenever ifup has brought an interface up";
    let down = "whenever ifdown has taken an interface down";
    assert_eq!(
        told(&image),
        [
            one("/etc/network/interfaces:3", up, "ip route add"),
            one("/etc/network/interfaces.d/eth1:2", down, "nft"),
        ]
    );
    assert_eq!(
        image.findings()[0].remedy,
        [format!(
            "sed -i '3,4s/^/#/' {}/etc/network/interfaces",
            image.0.display()
        )]
    );
    image.file("etc/network/interfaces", "iface eth0 inet dhcp\n");
    assert_eq!(told(&image), []);
}

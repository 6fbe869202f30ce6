use super::*;

mod places;
mod real;

/// What a text runs that changes something.
fn found(text: &str) -> Vec<(Effect, String)> {
    let effects = read(text).effects.into_iter();
    effects
        .filter(|(_, place)| !place.mentioned)
        .map(|(key, _)| key)
        .collect()
}

fn is_looked_through(text: &str) -> bool {
    !read(text).too_long
}

fn names(text: &str) -> Vec<String> {
    found(text).into_iter().map(|(_, name)| name).collect()
}

#[test]
fn programs_are_known_by_name_and_path_wherever_they_stand() {
    for line in [
        "apt-get -y upgrade",
        "-/usr/bin/apt-get upgrade",
        "if true; then DEBIAN_FRONTEND=x apt-get -y upgrade; fi",
        "sh -c 'flock -n /run/lock/x apt-get upgrade'",
        "/usr/bin/run --with=/usr/bin/apt-get",
        "OUT=$(apt-get upgrade)",
        "a) apt-get upgrade;;",
        "(true; apt-get)",
        "subprocess.call([\"apt-get\", \"upgrade\"])",
    ] {
        assert_eq!(names(line), ["apt-get"], "{line}");
    }
    for line in [
        "# apt-get",
        "cp -r /var/lib/dpkg /backup",
        "echo adapted",
        "ifup|reboot) shift;;",
        "reboot() {",
        "apt-get check",
        "apt-get --version; apt --help; aptitude -h; dpkg --help; dnf --version; iptables --version",
        "[ -x /usr/bin/apt-get ] && command -v dpkg",
        "test -n \"$(dpkg --print-architecture)\"",
        "dpkg --verify; dpkg -V x; dpkg-query -W -f '${Conffiles}' x; dpkg --extract x.deb /tmp; dpkg -x x.deb /tmp",
        "dpkg --configure --dry-run -a; dpkg --no-act -i x; dpkg -b x; rpm -qf --queryformat '%{FILEMD5S}' x; rpm --checksig x",
        "if ! grep -q apt-get /etc/x; then",
        "ps aux | /bin/grep -v apt-get",
        "cat /usr/sbin/reboot; ls -l /usr/bin/apt-get",
        "ip link show up; ip -br a; ip -n x -6 ro l t main; ip netns exec x ip ro g 10.0.0.1",
        "rpm -qf /x; ip -4 route; ip addr show; nft list ruleset; sysctl -n a.b; snap wait system seed.loaded",
    ] {
        assert_eq!(names(line), [""; 0], "{line}");
    }
    for (line, name) in [
        ("xargs dpkg -P", "dpkg"),
        ("rpm -e x", "rpm"),
        ("ip -4 route del default", "ip -4 route del"),
        ("ip -6 ro fl t main", "ip -6 ro fl"),
        ("ip -n pod l s eth0 down", "ip -n pod l s"),
        ("ip ru d pref 0", "ip ru d"),
        ("ip x st flush", "ip x st flush"),
        ("ip $family rule del pref 0", "ip $family rule del"),
        ("ip -batch /etc/x", "ip -batch"),
        ("tc q r dev eth0 root fq", "tc q r"),
        ("systemctl daemon-reexec", "systemctl daemon-reexec"),
        ("grep -l x /etc/y | xargs apt-get remove", "apt-get"),
        ("sysctl net.ipv4.ip_forward=0", "sysctl net.ipv4.ip_forward=0"),
        ("networkctl reload", "networkctl reload"),
        ("iptables -F", "iptables"),
        ("iptables -t nat -A x -s 10.0.0.0/8", "iptables"),
    ] {
        assert_eq!(names(line), [name], "{line}");
    }
}

#[test]
fn a_restart_of_the_network_is_found_and_that_of_another_service_is_none() {
    for (line, name) in [
        (
            "systemctl try-restart systemd-networkd.service",
            "systemctl try-restart systemd-networkd.service",
        ),
        (
            "/bin/systemctl --no-block restart cron systemd-networkd",
            "systemctl restart systemd-networkd",
        ),
        ("x && systemctl stop ifup@eth0", "systemctl stop ifup@eth0"),
        ("service networking restart", "service networking restart"),
        ("/etc/init.d/networking restart", "service networking restart"),
        ("invoke-rc.d ufw stop", "service ufw stop"),
        (
            "call([\"systemctl\", \"restart\", \"NetworkManager\"])",
            "systemctl restart NetworkManager",
        ),
    ] {
        let found: Vec<_> = found(line);
        assert_eq!(found, [(Effect::Network, name.to_owned())], "{line}");
    }
    assert_eq!(
        found("for s in a b; do systemctl restart \"$s\"; done"),
        [(Effect::Services, "systemctl restart $s".to_owned())]
    );
    for line in [
        "systemctl restart cron; echo networking",
        "systemctl is-active systemd-networkd",
        "systemctl status NetworkManager",
        "systemctl restart",
        "systemctl",
        "service networking status",
        "service",
    ] {
        assert_eq!(names(line), [""; 0], "{line}");
    }
}

#[test]
fn a_reboot_is_a_command_and_no_word() {
    for (line, name) in [
        ("systemctl --force reboot", "systemctl reboot"),
        ("systemctl kexec", "systemctl kexec"),
        ("[ -f /run/reboot-required ] && reboot", "reboot"),
        ("if x; then exec reboot; fi", "reboot"),
        ("sleep 60; /sbin/shutdown -r +5", "shutdown"),
        ("timeout 60 reboot", "reboot"),
        ("sh -c 'shutdown -r now'", "shutdown"),
        ("systemd-run --on-active=60 reboot", "reboot"),
        ("/usr/bin/env reboot", "reboot"),
        ("/usr/bin/env X=1 shutdown -r now", "shutdown"),
        ("/usr/bin/nice -n 5 /usr/bin/ionice -c3 reboot", "reboot"),
        ("/bin/busybox reboot -f", "reboot"),
        ("/usr/bin/sudo -n -u root reboot", "reboot"),
        ("/usr/bin/systemd-run --unit x reboot", "reboot"),
        ("/usr/sbin/chroot /h reboot", "reboot"),
        ("/usr/bin/nsenter -t 1 -m reboot", "reboot"),
        ("/usr/bin/flock -n /l nohup reboot", "reboot"),
        ("timeout $LONG reboot", "reboot"),
        ("ssh -i /k root@localhost reboot", "reboot"),
        ("ssh 127.0.0.1 'sleep 5; reboot'", "reboot"),
        ("runuser -u root -- reboot", "reboot"),
        ("echo reboot | at now + 5 minutes", "reboot"),
        (
            "docker run --privileged --pid=host x nsenter -t 1 -m reboot",
            "reboot",
        ),
    ] {
        let found: Vec<_> = found(line);
        assert_eq!(found, [(Effect::Reboot, name.to_owned())], "{line}");
    }
    assert_eq!(names("#!/usr/bin/env -S bash -e\nreboot\n"), ["reboot"]);
    for line in [
        "#!/usr/bin/python3\nf('shutdown', 'x')\n",
        "echo please reboot now",
        "/usr/bin/vm --graceful shutdown",
        "/usr/bin/sudo vm shutdown",
        "/usr/bin/sudo -u root vm now shutdown",
        "flock /l vm shutdown",
        "sudo echo reboot",
        "systemd-inhibit --what=shutdown true",
        "/sbin/shutdown -c; sh -c 'shutdown -c'; shutdown --show",
        "reboot --wtmp-only",
        "ssh other reboot",
        "docker exec web reboot",
        "log \"shutdown\"",
    ] {
        assert_eq!(names(line), [""; 0], "{line}");
    }
}

#[test]
fn what_runs_elsewhere_changes_this_node_only_by_what_is_shared() {
    for line in [
        "ssh other apt-get -y upgrade",
        "ssh -p 22 -l root other 'apt-get update && apt-get upgrade; systemctl restart networking'",
        "ssh other 'curl x | sh'",
        "docker run --rm image apt-get -y upgrade",
        "docker run image sh -c 'apt-get update; ip link set eth0 down'",
        "podman exec -it web apt-get upgrade",
    ] {
        assert_eq!(names(line), [""; 0], "{line}");
    }
    for (line, name) in [
        ("ssh other true; apt-get upgrade", "apt-get"),
        ("/bin/sh -c \"ssh other true; apt-get -y upgrade\"", "apt-get"),
        ("bash -c 'podman exec box true && apt-get upgrade'", "apt-get"),
        ("sh -c 'if ssh other true; then apt-get upgrade; fi'", "apt-get"),
        ("sh -c 'ssh other uptime | mail x; apt-get upgrade'", "apt-get"),
        ("ssh $NODE apt-get upgrade", "apt-get"),
        ("docker exec cni ip link set eth0 down", "ip link set"),
        ("docker run --net=host image ip link set eth0 down", "ip link set"),
        (
            "docker run -v /:/host image chroot /host apt-get upgrade",
            "apt-get",
        ),
        ("docker exec web true && apt-get upgrade", "apt-get"),
    ] {
        assert_eq!(names(line), [name], "{line}");
    }
}

#[test]
fn units_that_a_command_starts() {
    let units = |line| read(line).units.into_iter().collect::<Vec<_>>();
    for line in [
        "/bin/systemctl --no-block start other.service",
        "systemctl restart other",
        "systemctl enable --now other",
        "service other start",
        "sh -c 'sleep 5; systemctl start other'",
    ] {
        assert_eq!(units(line), ["other.service"], "{line}");
    }
    for line in [
        "systemctl stop other",
        "systemctl try-restart other",
        "systemctl start $UNIT",
        "service other status",
        "echo systemctl start other",
        "ssh node systemctl start other",
    ] {
        assert_eq!(units(line), [""; 0], "{line}");
    }
}

#[test]
fn of_a_command_that_is_too_long_the_beginning_counts() {
    // All of them together: a look at all words behind each would take minutes.
    let many = 1 << 14;
    for word in ["ip ", "ip=", "/etc/init.d/x "] {
        let line = word.repeat(many);
        assert!(!is_looked_through(&line), "{word}");
        assert_eq!(names(&line), [""; 0], "{word}");
        assert_eq!(names(&format!("reboot; {line}")), ["reboot"], "{word}");
    }
    let words = |before| format!("nmcli {}add", "x ".repeat(before));
    assert!(is_looked_through(&words(MOST_WORDS - 2)));
    assert_eq!(names(&words(MOST_WORDS - 2)), ["nmcli ... add"]);
    assert!(!is_looked_through(&words(MOST_WORDS - 1)));
    assert_eq!(names(&words(MOST_WORDS - 1)), [""; 0]);
    // Many commands are not one that is too long.
    assert!(is_looked_through(&"ip;".repeat(many)));
}

#[test]
fn files_that_a_command_names() {
    let found = |line| read(line).paths.into_keys().collect::<Vec<_>>();
    assert_eq!(found("-/opt/tidy.sh now"), ["/opt/tidy.sh"]);
    assert_eq!(
        found("/bin/sh -c '/opt/a.sh && X=/opt/b.sh'"),
        ["/bin/sh", "/opt/a.sh", "/opt/b.sh"]
    );
    assert_eq!(
        found("rm -f /opt/partial/*.deb /opt/?.sh /opt/$NAME"),
        [""; 0],
        "patterns are no files"
    );
    assert_eq!(
        found("a b/c ./d\n# /opt/a.sh\nx </proc/kmsg >/dev/watchdog"),
        [""; 0]
    );
}

#[test]
fn what_a_variable_is_given_is_a_mention() {
    let told = |text: &str| -> Vec<(String, bool)> {
        let effects = read(text).effects.into_iter();
        effects
            .map(|((_, name), place)| (name, place.mentioned))
            .collect()
    };
    for line in [
        "RUN=\"apt-get -y upgrade\"",
        "export RUN=apt-get",
        "  RUN='apt-get'  ",
        "RUN=/usr/bin/apt-get",
    ] {
        assert_eq!(told(line), [("apt-get".to_owned(), true)], "{line}");
    }
    assert_eq!(
        told("cat <<-'END'\napt-get upgrade\nEND\ndnf upgrade\n"),
        [("apt-get".to_owned(), true), ("dnf".to_owned(), false)]
    );
    for line in [
        "bash -s <<END\napt-get upgrade\nEND",
        "cat <<< x\napt-get upgrade",
        "x=$((1 << 2))\napt-get upgrade",
        "RUN=x apt-get upgrade",
        "RUN=\"x y\" apt-get upgrade",
        "RUN=\"$(apt-get upgrade)\"",
        "${APT:-apt-get} upgrade",
        "RUN=\"apt-get upgrade\"\napt-get upgrade",
    ] {
        assert_eq!(told(line), [("apt-get".to_owned(), false)], "{line}");
    }
    for line in [
        "MARK=\"# apt-get begins\"",
        "apt_get=apt",
        "snap=\"${NAME}.x\"; echo \"/dev/${snap}\"",
    ] {
        let runs: Vec<_> = told(line)
            .into_iter()
            .filter(|(_, mentioned)| !mentioned)
            .collect();
        assert_eq!(runs, [], "{line}");
    }
}

#[test]
fn code_from_elsewhere_is_known_by_how_it_is_run() {
    for (line, name) in [
        ("curl -fsSL https://x.example | sh", "curl | sh"),
        ("wget -qO- x.example | sudo -E bash -s -- --now", "wget | bash"),
        ("curl x.example | gunzip | /bin/sh", "curl | sh"),
        ("curl x.example | python3 -", "curl | python3"),
        ("sh -c \"$(curl -fsSL x.example)\"", "sh $(curl)"),
        ("bash <(wget -O- x.example)", "bash $(wget)"),
        ("eval \"$(curl x.example)\"", "eval $(curl)"),
        ("echo 'curl x.example | sh' | at now", "curl | sh"),
        ("sh -c 'curl x.example | sh'", "curl | sh"),
    ] {
        assert_eq!(found(line), [(Effect::Code, name.to_owned())], "{line}");
    }
    for line in [
        "curl -o /tmp/x x.example",
        "curl x.example || sh /opt/mend",
        "X=$(curl x.example)",
        "curl x.example | python3 -m json.tool",
        "curl x.example | perl -ne 'print'",
        "curl x.example | jq .",
        "curl x.example; sh -c true",
    ] {
        assert_eq!(names(line), [""; 0], "{line}");
    }
}

#[test]
fn what_is_written_to_files_of_the_kernel_counts() {
    for (line, effect, name) in [
        (
            "echo b > /proc/sysrq-trigger",
            Effect::Reboot,
            "write to /proc/sysrq-trigger",
        ),
        (
            "echo 0 >/proc/sys/net/ipv4/ip_forward; true",
            Effect::Network,
            "write to /proc/sys/net/ipv4/ip_forward",
        ),
        (
            "echo 1 | tee /sys/class/net/eth0/device/reset",
            Effect::Network,
            "write to /sys/class/net/eth0/device/reset",
        ),
    ] {
        assert_eq!(found(line), [(effect, name.to_owned())], "{line}");
    }
    assert_eq!(
        names("cat /proc/sys/net/ipv4/ip_forward >/tmp/x; cat </proc/sysrq-trigger"),
        [""; 0]
    );
}

#[test]
fn some_reboot_when_they_are_done() {
    let reboots = |line: &str| {
        read(line)
            .effects
            .keys()
            .any(|(effect, _)| *effect == Effect::Reboot)
    };
    assert!(reboots("cloud-init clean --reboot") && reboots("bootc update --apply"));
    assert!(reboots("rpm-ostree upgrade --reboot") && reboots("rpm-ostree -r upgrade"));
    assert!(!reboots("rpm-ostree upgrade"));
    assert!(!reboots("cloud-init clean") && !reboots("bootc update"));
}

#[test]
fn programs_by_what_they_are_told_to_do() {
    for line in [
        "conntrack -F",
        "conntrack -D -s 10.0.0.1",
        "killall -9 dhclient",
        "pkill -f systemd-networkd",
        "killall systemd-network",
        "docker restart web",
        "docker compose -f x.yml up -d",
        "docker run --rm containrrr/watchtower --run-once",
        "podman auto-update",
        "birdc configure",
        "frr-reload.py --reload /etc/frr/frr.conf",
        "vtysh -b",
        "swanctl --load-all",
        "monit restart all",
        "supervisorctl restart all",
        "podman stop -a",
        "nerdctl rm -f x",
        "crictl stopp x",
        "modprobe -r nf_conntrack",
        "rmmod br_netfilter",
        "netplan apply",
        "ifreload -a",
        "nmcli con up x",
        "networkctl reconfigure eth0",
        "ethtool -K eth0 tso off",
        "ethtool -s eth0 speed 1000",
        "tc qdisc replace dev eth0 root fq",
        "bpftool net detach xdp dev eth0",
        "ip link set eth0 down",
        "ip xfrm state flush",
        "iptables-restore /etc/x",
        "nft -f /etc/x",
        "nft flush ruleset",
        "ipset destroy",
        "ufw --force enable",
        "firewall-cmd --reload",
        "firewall-cmd --permanent --add-service=http",
        "kexec -e",
        "init 6",
        "busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b 0",
        "needrestart -r a",
        "snap refresh",
        "flatpak update -y",
        "fwupdmgr update",
        "fwupdmgr refresh",
        "pip install -U x",
        "kubectl drain x",
        "systemctl --system daemon-reexec",
        "ansible-pull -U x",
        "wg-quick up wg0",
        "systemctl isolate rescue.target",
        "systemctl disable --now systemd-networkd",
        "systemctl start reboot.target",
        "sysctl -w net.ipv4.conf.${i}.rp_filter=0",
        "pacman -Syu",
    ] {
        assert_eq!(names(line).len(), 1, "{line}: {:?}", names(line));
    }
    for line in [
        "conntrack -L",
        "killall -HUP rsyslogd",
        "docker ps",
        "docker compose ps",
        "birdc show route",
        "vtysh -c x",
        "swanctl --list-sas",
        "monit status",
        "supervisorctl status",
        "docker inspect x",
        "crictl pods",
        "modprobe overlay",
        "netplan get",
        "nmcli device status",
        "networkctl status",
        "ethtool -k eth0",
        "ethtool -S eth0",
        "tc -s qdisc show",
        "bpftool net",
        "ip xfrm state",
        "nft list ruleset",
        "ipset list",
        "ufw status",
        "firewall-cmd --state",
        "init q",
        "needrestart -b",
        "snap list",
        "flatpak list",
        "fwupdmgr get-updates",
        "pip list",
        "kubectl get pods",
        "sysctl -w vm.swappiness=1",
        "systemctl enable systemd-networkd",
        "systemctl restart rsyslog",
        "iptables -nvL",
        "rpm -qa",
    ] {
        assert_eq!(names(line), [""; 0], "{line}");
    }
}

#[test]
fn what_another_node_is_given_to_run_is_not_run_here() {
    for text in [
        "ssh node <<EOF\nreboot\nEOF",
        "ssh -p 22 root@node bash -s <<'EOF'\napt-get upgrade\nEOF",
        "cat <<EOF | ssh node sh\nreboot\nEOF",
        "ssh node '\napt-get update\nreboot\n'",
        "ssh node \"true; apt-get update\nreboot\"",
    ] {
        let said = read(text);
        assert!(said.effects.is_empty(), "{text}: {said:?}");
        assert_eq!(names(&format!("{text}\nreboot")), ["reboot"], "{text}");
    }
    for text in [
        "ssh localhost <<EOF\nreboot\nEOF",
        "sh <<EOF\nreboot\nEOF",
        "ssh node true; sh <<EOF\nreboot\nEOF",
        "ssh node true; sh -c '\nreboot\n'",
    ] {
        assert_eq!(names(text), ["reboot"], "{text}");
    }
}

#[test]
fn what_runs_in_a_network_namespace_does_to_the_node_what_it_does() {
    for line in [
        "ip netns exec x reboot",
        "/sbin/ip -6 netns exec x shutdown -r now",
        "ip vrf exec mgmt reboot",
    ] {
        assert_eq!(names(line).len(), 1, "{line}");
    }
    for line in [
        "ip netns add reboot",
        "ip netns exec x grep reboot /x",
        "ip link show reboot",
    ] {
        assert!(!names(line).contains(&"reboot".to_owned()), "{line}");
    }
}

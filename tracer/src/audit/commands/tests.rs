use super::*;

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
        "subprocess.call([\"apt-get\", \"upgrade\"])",
    ] {
        assert_eq!(names(line), ["apt-get"], "{line}");
    }
    for line in [
        "# apt-get",
        "cp -r /var/lib/dpkg /backup",
        "echo adapted",
        "apt-get check",
        "[ -x /usr/bin/apt-get ] && command -v dpkg",
        "test -n \"$(dpkg --print-architecture)\"",
        "rpm -qf /x; ip -4 route; ip addr show; nft list ruleset; sysctl -n a.b; snap wait system seed.loaded",
    ] {
        assert_eq!(names(line), [""; 0], "{line}");
    }
    for (line, name) in [
        ("xargs dpkg -P", "dpkg"),
        ("rpm -e x", "rpm"),
        ("ip -4 route del default", "ip -4 route del"),
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
    ] {
        let found: Vec<_> = found(line);
        assert_eq!(found, [(Effect::Reboot, name.to_owned())], "{line}");
    }
    assert_eq!(names("#!/usr/bin/env -S bash -e\nreboot\n"), ["reboot"]);
    for line in [
        "#!/usr/bin/python3\nf('shutdown', 'x')\n",
        "echo please reboot now",
        "/usr/bin/vm --graceful shutdown",
        "log \"shutdown\"",
    ] {
        assert_eq!(names(line), [""; 0], "{line}");
    }
}

#[test]
fn of_a_command_that_is_too_long_the_beginning_counts() {
    // All of them together: a look at all words behind each would take minutes.
    let many = 1 << 16;
    for word in ["ip ", "ip=", "/etc/init.d/x "] {
        let line = word.repeat(many);
        assert!(!is_looked_through(&line), "{word}");
        assert_eq!(names(&line), [""; 0], "{word}");
        assert_eq!(names(&format!("reboot; {line}")), ["reboot"], "{word}");
    }
    let words = |before| format!("ip {}add", "x ".repeat(before));
    assert!(is_looked_through(&words(MOST_WORDS - 2)));
    assert_eq!(names(&words(MOST_WORDS - 2)), ["ip ... add"]);
    assert!(!is_looked_through(&words(MOST_WORDS - 1)));
    assert_eq!(names(&words(MOST_WORDS - 1)), [""; 0]);
    // Many commands are not one that is too long.
    assert!(is_looked_through(&"ip;".repeat(many)));
}

#[test]
fn files_that_a_command_names() {
    let found = |line| read(line).paths.into_iter().collect::<Vec<_>>();
    assert_eq!(found("-/opt/tidy.sh now"), ["/opt/tidy.sh"]);
    assert_eq!(
        found("/bin/sh -c '/opt/a.sh && X=/opt/b.sh'"),
        ["/bin/sh", "/opt/a.sh", "/opt/b.sh"]
    );
    assert_eq!(
        found("a b/c ./d\n# /opt/a.sh\nx </proc/kmsg >/dev/watchdog"),
        [""; 0]
    );
}

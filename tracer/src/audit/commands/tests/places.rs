//! Where what a command runs is run: on this node, in another namespace or root of it, elsewhere.

use super::*;

fn none(lines: &[&str]) {
    let wrong: Vec<_> = lines
        .iter()
        .map(|line| (line, read(line)))
        .filter(|(_, said)| !said.effects.is_empty())
        .map(|(line, said)| (line, said.effects))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn each(lines: &[(&str, Effect, &str)]) {
    let wrong: Vec<_> = lines
        .iter()
        .map(|(line, effect, name)| (line, found(line), vec![(*effect, (*name).to_owned())]))
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_a_program_is_asked_to_do_on_another_host_is_none_of_this_node() {
    none(&[
        "systemctl -H host reboot",
        "systemctl --host=root@host reboot",
        "systemctl --host host restart networking",
        "systemctl -M container restart docker",
        "systemctl --machine=container reboot",
        "hostnamectl -H host set-hostname x; timedatectl --host=n set-timezone x; loginctl -M c terminate-user x",
        "busctl -H host call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b 0",
        "systemd-run -H host apt-get upgrade",
        "systemd-run --machine=c --wait /usr/bin/apt-get upgrade",
        "docker -H ssh://root@host restart web",
        "docker --host tcp://10.0.0.1:2375 compose up -d",
    ]);
    each(&[
        ("systemctl -M .host reboot", Effect::Reboot, "systemctl reboot"),
        (
            "systemctl -H localhost reboot",
            Effect::Reboot,
            "systemctl reboot",
        ),
        (
            "docker -H unix:///run/docker.sock restart web",
            Effect::Services,
            "docker -H unix:///run/docker.sock restart",
        ),
    ]);
}

#[test]
fn what_a_guest_or_another_node_runs_is_none_of_this_node() {
    none(&[
        "kubectl exec pod -- apt-get upgrade",
        "kubectl -n kube-system exec -it pod -c x -- sh -c 'apt-get upgrade; reboot'",
        "k3s kubectl exec pod -- ip link set eth0 down",
        "oc exec pod -- apt-get upgrade",
        "lxc exec c -- apt-get upgrade",
        "incus exec c -- sh -c 'apt-get update && apt-get upgrade'",
        "lxc-attach -n c -- apt-get upgrade",
        "docker exec c apt-get upgrade",
        "docker compose -f /x.yml exec -T web apt-get upgrade",
        "docker-compose exec web apt-get upgrade",
        "nerdctl exec c apt-get upgrade",
        "crictl exec -it c apt-get upgrade",
        "podman exec c reboot",
        "machinectl shell c /bin/apt-get upgrade",
        "machinectl shell root@c /usr/bin/systemctl restart docker",
        "systemd-nspawn -D /srv/x apt-get upgrade",
        "sshpass -p x ssh host reboot",
        "sshpass -f /k ssh -o StrictHostKeyChecking=no root@host 'apt-get upgrade'",
        "autossh -M 0 host reboot",
        "echo reboot | ssh host",
        "echo 'apt-get upgrade' | ssh root@host bash -s",
        "sh -c \"ssh n 'true; reboot'\"",
        "bash -c 'ssh n \"true; reboot\" && true'",
        "ssh n \"sh -c 'reboot; apt-get upgrade'\"",
        "virsh reboot vm",
        "virsh shutdown vm; virsh destroy vm",
        "pct exec 101 -- apt-get upgrade",
        "pct reboot 101",
        "qm reboot 101; qm shutdown 101",
        "qm guest exec 101 -- apt-get upgrade",
        "vagrant ssh -c 'sudo reboot'",
        "multipass exec vm -- sudo apt-get upgrade",
        "gcloud compute ssh vm --command 'sudo reboot'",
        "pdsh -w n[1-9] reboot",
    ]);
    each(&[
        ("ssh n 'true'; sh -c \"reboot\"", Effect::Reboot, "reboot"),
        ("machinectl shell .host /sbin/reboot", Effect::Reboot, "reboot"),
        ("ssh n \"$(apt-get upgrade)\"", Effect::Packages, "apt-get"),
        (
            "ssh n cat /x > /etc/resolv.conf",
            Effect::Network,
            "write to /etc/resolv.conf",
        ),
    ]);
}

#[test]
fn another_root_has_other_packages_and_the_same_network() {
    none(&[
        "chroot /x apt-get upgrade",
        "chroot --userspec=root:root /x /usr/bin/env X=1 apt-get upgrade",
        "chroot /x sh -c 'apt-get update; apt-get upgrade'",
        "chroot /x /opt/run.sh",
        "arch-chroot /mnt pacman -Syu",
        "chroot /x systemctl restart docker",
        "dnf --installroot=/x install y",
        "dnf --installroot /x -y upgrade",
        "rpm --root /x -e y",
        "dpkg --root=/x -i y.deb",
    ]);
    assert!(read("chroot /x /opt/run.sh").runs.is_empty());
    each(&[
        (
            "chroot /x ip route flush table 7",
            Effect::Network,
            "ip route flush",
        ),
        ("chroot /x reboot", Effect::Reboot, "reboot"),
        ("chroot / apt-get upgrade", Effect::Packages, "apt-get"),
        (
            "nsenter -t 1 -m -u -n -- apt-get upgrade",
            Effect::Packages,
            "apt-get",
        ),
    ]);
}

#[test]
fn another_network_namespace_has_another_network_and_the_same_packages() {
    none(&[
        "ip netns exec x ip link set eth0 down",
        "ip netns exec x sh -c 'iptables -F; nft flush ruleset; sysctl -w net.ipv4.ip_forward=1'",
        "ip netns exec x sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'",
        "nsenter -n -t 4711 ip route flush cache",
        "nsenter --net=/run/netns/x ip link set eth0 down",
        "nsenter -t \"$PID\" -n iptables -F",
        "unshare -n ip link set lo up",
        "unshare --net sh -c 'ip link set lo up'",
    ]);
    each(&[
        ("ip netns exec x apt-get upgrade", Effect::Packages, "apt-get"),
        (
            "ip netns exec x systemctl reboot",
            Effect::Reboot,
            "systemctl reboot",
        ),
        // systemd is asked on its socket, wherever that is done.
        (
            "ip netns exec x systemctl restart systemd-networkd",
            Effect::Network,
            "systemctl restart systemd-networkd",
        ),
        ("nsenter -n -t 4711 reboot", Effect::Reboot, "reboot"),
        (
            "nsenter -t 1 -n ip route flush cache",
            Effect::Network,
            "ip route flush",
        ),
        (
            "ip vrf exec x ip route flush cache",
            Effect::Network,
            "ip route flush",
        ),
        ("unshare -m ip link set x up", Effect::Network, "ip link set"),
    ]);
}

#[test]
fn what_runs_here_is_found_behind_whatever_runs_it() {
    each(&[
        ("env \"A=b c\" reboot", Effect::Reboot, "reboot"),
        ("env -i -u X A='b c' apt-get upgrade", Effect::Packages, "apt-get"),
        ("trap 'reboot' EXIT", Effect::Reboot, "reboot"),
        (
            "trap \"systemctl restart networking\" 0 1",
            Effect::Network,
            "systemctl restart networking",
        ),
        ("\\apt-get upgrade", Effect::Packages, "apt-get"),
        ("'apt-get' upgrade", Effect::Packages, "apt-get"),
        ("a\"pt\"-get upgrade", Effect::Packages, "apt-get"),
        ("bash -lc 'apt-get upgrade'", Effect::Packages, "apt-get"),
        ("bash -lc apt-get\\ upgrade", Effect::Packages, "apt-get"),
        ("bash -l -c \"reboot\"", Effect::Reboot, "reboot"),
        ("sh -ec 'true && reboot'", Effect::Reboot, "reboot"),
        ("su - root -c 'apt-get upgrade'", Effect::Packages, "apt-get"),
        ("su -c reboot root", Effect::Reboot, "reboot"),
        ("flock /l -c 'reboot'", Effect::Reboot, "reboot"),
        ("flock -w 5 /l apt-get upgrade", Effect::Packages, "apt-get"),
        (
            "taskset 0x1 ip route flush cache",
            Effect::Network,
            "ip route flush",
        ),
        (
            "taskset -c 0-3 ip route flush cache",
            Effect::Network,
            "ip route flush",
        ),
        (
            "watch -n 5 'ip route flush cache'",
            Effect::Network,
            "ip route flush",
        ),
        (
            "find /x -name y -exec apt-get remove z \\;",
            Effect::Packages,
            "apt-get",
        ),
        ("find /x -exec sh -c 'reboot' \\;", Effect::Reboot, "reboot"),
        (
            "echo nginx | xargs -r -n 1 apt-get remove",
            Effect::Packages,
            "apt-get",
        ),
        (
            "xargs -a /x -I {} sh -c 'ip link set {} down'",
            Effect::Network,
            "ip link set",
        ),
        (
            "systemd-run --on-calendar='Mon 03:00' apt-get upgrade",
            Effect::Packages,
            "apt-get",
        ),
        (
            "systemd-run --on-calendar 'Mon 03:00' --unit x apt-get upgrade",
            Effect::Packages,
            "apt-get",
        ),
        (
            "systemd-run --no-block -p X=1 sh -c 'sleep 5; reboot'",
            Effect::Reboot,
            "reboot",
        ),
        (
            "at now + 1 hour <<< 'apt-get upgrade'",
            Effect::Packages,
            "apt-get",
        ),
        (
            "at 03:00 <<EOF\napt-get upgrade\nEOF",
            Effect::Packages,
            "apt-get",
        ),
        ("echo 'sleep 5; reboot' | batch", Effect::Reboot, "reboot"),
        ("printf '%s\\n' reboot | sudo at -M now", Effect::Reboot, "reboot"),
        ("sh <<< 'reboot'", Effect::Reboot, "reboot"),
        (
            "(crontab -l; echo '@daily apt-get upgrade') | crontab -",
            Effect::Packages,
            "apt-get",
        ),
        (
            "start-stop-daemon --start --exec /usr/sbin/netplan -- apply",
            Effect::Network,
            "netplan -- apply",
        ),
        ("cd / && { sleep 1; reboot; }", Effect::Reboot, "reboot"),
        ("(sleep 5; reboot) &", Effect::Reboot, "reboot"),
        ("[ \"$(uname -r)\" = x ] || reboot", Effect::Reboot, "reboot"),
        (
            "while ! ping -c1 x; do ip link set eth0 down; done",
            Effect::Network,
            "ip link set",
        ),
        ("case $1 in\n  up) reboot ;;\nesac", Effect::Reboot, "reboot"),
        ("case \"$1\" in (up|down) reboot;; esac", Effect::Reboot, "reboot"),
        ("f() { reboot; }; f", Effect::Reboot, "reboot"),
        ("function f { reboot; }", Effect::Reboot, "reboot"),
        ("eval 'apt-get' \"upgrade\"", Effect::Packages, "apt-get"),
        (
            "bash -c \"\\$(echo x); \\\"apt-get\\\" upgrade\"",
            Effect::Packages,
            "apt-get",
        ),
        ("echo \"it's\" && reboot", Effect::Reboot, "reboot"),
        ("if ip r s|grep -q x;then reboot;fi", Effect::Reboot, "reboot"),
        ("apt-get \\\n  -y \\\n  upgrade", Effect::Packages, "apt-get"),
        (
            "2>/dev/null apt-get upgrade >/x 2>&1",
            Effect::Packages,
            "apt-get",
        ),
        ("apt-get upgrade &>/x", Effect::Packages, "apt-get"),
    ]);
    assert_eq!(
        read("at -f /opt/x.sh now").runs.into_keys().collect::<Vec<_>>(),
        ["/opt/x.sh"]
    );
    none(&[
        "trap - EXIT",
        "trap '' INT",
        "echo reboot",
        "apt-get install --help nft",
    ]);
}

#[test]
fn the_node_is_stopped_in_more_ways_than_one() {
    each(&[
        ("rtcwake -m off -s 3600", Effect::Reboot, "rtcwake -m off"),
        ("rtcwake --mode=mem -t 5", Effect::Reboot, "rtcwake --mode=mem"),
        ("kexec -e", Effect::Reboot, "kexec"),
        ("shutdown -r +5", Effect::Reboot, "shutdown"),
        (
            "echo b > /proc/sysrq-trigger",
            Effect::Reboot,
            "write to /proc/sysrq-trigger",
        ),
        (
            "echo b | sudo tee /proc/sysrq-trigger",
            Effect::Reboot,
            "write to /proc/sysrq-trigger",
        ),
        (
            "sudo sh -c \"echo b > '/proc/sysrq-trigger'\"",
            Effect::Reboot,
            "write to /proc/sysrq-trigger",
        ),
        (
            "busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot b false",
            Effect::Reboot,
            "busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager Reboot",
        ),
        (
            "dbus-send --system --print-reply --dest=org.freedesktop.login1 /org/freedesktop/login1 \
             \"org.freedesktop.login1.Manager.Reboot\" boolean:true",
            Effect::Reboot,
            "dbus-send --system --print-reply --dest=org.freedesktop.login1 /org/freedesktop/login1 \
             org.freedesktop.login1.Manager.Reboot",
        ),
    ]);
    none(&["rtcwake -m no -s 60", "rtcwake -m show"]);
}

#[test]
fn who_writes_to_the_configuration_of_the_network_changes_it() {
    for (line, path) in [
        (
            "cp /opt/x /proc/sys/net/ipv4/ip_forward",
            "/proc/sys/net/ipv4/ip_forward",
        ),
        (
            "echo 1 | tee -a /proc/sys/net/ipv4/ip_forward",
            "/proc/sys/net/ipv4/ip_forward",
        ),
        (
            "dd if=/x of=/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/net/ipv4/ip_forward",
        ),
        (
            "sed -i s/a/b/ /etc/netplan/50-cloud-init.yaml",
            "/etc/netplan/50-cloud-init.yaml",
        ),
        (
            "sed -e s/a/b/ -i.bak /etc/network/interfaces",
            "/etc/network/interfaces",
        ),
        (
            "sed --in-place s/a/b/ /etc/sysctl.d/x.conf",
            "/etc/sysctl.d/x.conf",
        ),
        (
            "cp -a /opt/x.network /etc/systemd/network/",
            "/etc/systemd/network/",
        ),
        (
            "cp -t /etc/systemd/network /opt/x.network",
            "/etc/systemd/network",
        ),
        ("mv /tmp/r /etc/resolv.conf", "/etc/resolv.conf"),
        ("install -m 644 /opt/x /etc/netplan/x.yaml", "/etc/netplan/x.yaml"),
        ("ln -sf /run/x /etc/resolv.conf", "/etc/resolv.conf"),
        ("echo nameserver 1.1.1.1 >> /etc/resolv.conf", "/etc/resolv.conf"),
        (
            "echo x | sudo tee /etc/sysctl.d/90-x.conf >/dev/null",
            "/etc/sysctl.d/90-x.conf",
        ),
        (
            "cat <<EOF >/etc/netplan/x.yaml\nnetwork: {}\nEOF",
            "/etc/netplan/x.yaml",
        ),
        ("curl -o /etc/netplan/x.yaml x.example", "/etc/netplan/x.yaml"),
        (
            "rsync -a x:/y /etc/NetworkManager/system-connections/",
            "/etc/NetworkManager/system-connections/",
        ),
    ] {
        let expected = [(Effect::Network, format!("write to {path}"))];
        assert_eq!(found(line), expected, "{line}");
    }
    each(&[(
        "rm -f /etc/network/interfaces.d/eth0",
        Effect::Network,
        "remove /etc/network/interfaces.d/eth0",
    )]);
    none(&[
        "cp -a /etc/netplan /backup",
        "cat /etc/resolv.conf > /tmp/x",
        "sed -n 1p /etc/network/interfaces",
        "sed s/a/b/ /etc/netplan/x.yaml > /tmp/y",
        "grep x /etc/netplan/a.yaml",
        "tar cf /b.tar /etc/netplan /etc/systemd/network",
        "cp /x /etc/netplanner",
        "dd if=/proc/sys/net/ipv4/ip_forward of=/tmp/x",
        "chroot /x cp /a /etc/resolv.conf",
    ]);
}

#[test]
fn of_what_the_kernel_does_by_a_key_it_is_told_what_ends_the_node() {
    let effects = |text: &str| -> Vec<_> { found(text).into_iter().map(|(effect, _)| effect).collect() };
    for text in [
        "echo s > /proc/sysrq-trigger; echo u > /proc/sysrq-trigger",
        "/bin/echo -n w >/proc/sysrq-trigger",
        "printf '%s' t | tee /proc/sysrq-trigger",
        "echo 1 > /proc/sys/kernel/sysrq; echo sb > /proc/sysrq-trigger",
        "cat <<E >/proc/sysrq-trigger\nm\nE",
        "F=/proc/sysrq-trigger\necho s > $F",
    ] {
        assert_eq!(effects(text), [], "{text}");
    }
    for text in [
        "echo c > /proc/sysrq-trigger",
        "echo o >/proc/sysrq-trigger",
        "echo s | sudo tee /proc/sysrq-trigger; echo b | sudo tee /proc/sysrq-trigger",
        "echo _sub > /proc/sysrq-trigger",
        "cat <<E >/proc/sysrq-trigger\nb\nE",
        "F=/proc/sysrq-trigger\necho b > $F",
        // It is not known what is written.
        "for k in s u b; do echo $k > /proc/sysrq-trigger; done",
        "echo \"$(cat /opt/key)\" > /proc/sysrq-trigger",
        "cat /opt/key > /proc/sysrq-trigger",
        "tee /proc/sysrq-trigger </opt/key",
        "dd if=/opt/key of=/proc/sysrq-trigger",
    ] {
        assert_eq!(effects(text), [Effect::Reboot], "{text}");
    }
    for text in ["echo e > /proc/sysrq-trigger", "echo i | tee /proc/sysrq-trigger"] {
        assert_eq!(effects(text), [Effect::Services], "{text}");
    }
}

/// The scripts that a text runs.
fn runs(text: &str) -> Vec<String> {
    read(text).runs.into_keys().collect()
}

#[test]
fn what_runs_in_a_folder_is_found_there() {
    for (text, found) in [
        ("cd /opt/x && ./y", &["/opt/x/y"][..]),
        ("cd /opt/x; ./y", &["/opt/x/y"]),
        ("cd \"/opt/x\" || exit 1\nexec ./y now", &["/opt/x/y"]),
        ("if cd -P -- /opt/x/; then bin/y; fi", &["/opt/x/bin/y"]),
        ("cd /opt; cd x && ../z/./y", &["/opt/z/y"]),
        ("D=/opt/x\ncd $D && ./y", &["/opt/x/y"]),
        (
            "D=/opt/x; cd \"${D}/lib\"; sh y.sh; . ./env",
            &["/opt/x/lib/env", "/opt/x/lib/y.sh"],
        ),
        ("cd /opt/x && nice -n 5 ./y", &["/opt/x/y"]),
        (
            "cd /opt/x && ./y && (cd /opt/z; ./y); ./w",
            &["/opt/x/w", "/opt/x/y", "/opt/z/y"],
        ),
        ("sh -c 'cd /opt/x; ./y'; ./z", &["/opt/x/y"]),
        ("X=$(cd /opt/x; ./y); ./z", &["/opt/x/y"]),
        ("f() {\n cd /opt/x\n ./y\n}\nf\n./z", &["/opt/x/y"]),
        ("function f { cd /opt/x; ./y; }; ./z", &["/opt/x/y"]),
        ("cd /opt/x; [ -x ./y ] && ./y", &[]),
        ("test -d /opt/x && cd /opt/x && ./y; /opt/z", &["/opt/z"]),
        ("cd $X; ./y; cd /opt/x; cd; ./y; cd -; ./y", &[]),
        ("cd \"$(dirname \"$0\")\" && ./y; ./z", &[]),
    ] {
        assert_eq!(runs(text), found, "{text}");
    }
    for (text, found) in [
        ("cd /etc/netplan && cat >x.yaml", "write to /etc/netplan/x.yaml"),
        ("cd /etc; sed -i s/a/b/ sysctl.conf", "write to /etc/sysctl.conf"),
        ("cd /sbin && ./reboot", "reboot"),
    ] {
        assert_eq!(names(text), [found], "{text}");
    }
    assert_eq!(names("(cd /etc/netplan; ls); echo >x.yaml"), [""; 0]);
}

#[test]
fn words_of_a_function_that_runs_none_of_them_are_no_commands() {
    let says = "say() {\n T=`eval echo \"\\\\$TYPE_$2\"`; eval \"echo \\${$2}\"\n T=`echo \"$T\" | ${ICONV} -t \"$UTF\"`\n case \"$1\" in --to) TO=$2;; esac\n { test \"$TO\" && echo \"$@\"; }\n}\n";
    let calls = "say --to LOG 'rpm' \"${RPM_CMD}\"; say dpkg -i x";
    for text in [
        format!("{says}{calls}"),
        format!("{}{calls}", says.replace("say()", "function say")),
        format!("{}{calls}", says.replace("say()", "say ()")),
        format!("run() {{ \"$@\"; }}\n{says}{calls}"),
    ] {
        assert_eq!(names(&text), [""; 0], "{text}");
    }
    // What it does itself counts.
    assert_eq!(
        names(&format!("{}{calls}", says.replace("esac", "esac; reboot"))),
        ["reboot"]
    );
    for body in [
        "\"$@\"",
        "if ! $*; then exit; fi",
        "eval \"$1\"",
        "eval \"x; $1\"",
        "find / -exec \"$@\" +",
        "local x=$2; $x",
        "x=\"$(echo \"$1\")\"; y=${x}; z $y; sudo $y",
        "for x in \"$@\"; do $x; done",
        "$SUDO \"$@\"",
        "sh -c \"y $1; $2\"",
        "nice -n 5 \"$@\"",
        "x=$(\"$@\" 2>&1)",
        "echo \"$*\" | sh",
        "sudo -E \\\n \"$@\"",
    ] {
        let text = format!("say() {{ :\n {body}\n}}\nsay dpkg -i x");
        assert_eq!(names(&text), ["dpkg"], "{text}");
    }
    // Where it is not known what it does, each word may be a command.
    assert_eq!(names("say dpkg -i x"), ["dpkg"]);
}

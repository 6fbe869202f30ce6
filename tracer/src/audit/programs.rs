//! Programs that can change a node, and services of its network.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::Effect;
use super::scope::Scope;

/// By which arguments a program changes something. Arguments stand in one text, with spaces between; `*` in one stands
/// for anything.
enum Doing {
    /// By any.
    Always,
    /// By any, where none is one of these or of [`OF_ITSELF`]: it only reads then.
    Unless(&'static str),
    /// By these alone.
    With(&'static str),
    /// By one of these, behind options and the name of an object, each of which may be cut short (`ip -6 ro fl`).
    ByVerb(&'static str),
    /// By a service of the network, or one of its processes.
    OfNetwork,
}

use Doing::{Always, ByVerb, OfNetwork, Unless, With};
use Effect::{Code, Firmware, Lists, Network, Packages, Reboot, Services};

/// What every program is asked of itself.
const OF_ITSELF: &str = "--help --version";

const APT: Doing = Unless(
    "--download-only --dry-run --print-uris --simulate -d -h -s autoclean changelog check clean depends download help list \
     policy rdepends search show update",
);
const DNF: Doing = Unless("automatic check-update clean info list makecache repolist repoquery search");
const IPTABLES: Doing = Unless("--check --list --list-rules -C* -L* -S* -V -n* -vL* -vn*");
const SNAP: Doing = Unless(
    "changes connections debug find info interfaces known list logs run services tasks userd version wait warnings",
);
const FIRMWARE: Doing =
    With("activate downgrade install install-blob local-install reinstall update upgrade");
/// Programs that run containers.
pub(super) const CONTAINERS: &str = "crictl ctr docker docker-compose nerdctl podman";

/// Programs of these names, what they change, and by what. Of a program that is there more than once each row counts.
const PROGRAMS: &[(&str, Effect, Doing)] = &[
    ("apt apt-get aptitude", Packages, APT),
    ("apt apt-get aptitude", Lists, With("--download-only -d update")),
    ("apt.systemd.daily", Packages, With("install")),
    ("apt.systemd.daily", Lists, With("update")),
    ("apt.systemd.daily", Packages, Unless("install update")),
    ("apk", Packages, With("add del fix upgrade")),
    ("bootc rpm-ostree", Packages, Unless("status")),
    ("bootc", Reboot, With("--apply")),
    ("rpm-ostree", Reboot, With("--reboot -r")),
    ("dnf dnf-3 dnf5 microdnf tdnf yum", Packages, DNF),
    ("dnf dnf-3 dnf5 microdnf tdnf yum", Lists, With("makecache")),
    ("dnf5", Packages, With("automatic")),
    ("dnf dnf5", Reboot, With("reboot")),
    (
        "dnf-automatic",
        Packages,
        With("--installupdates --no-installupdates"),
    ),
    (
        "dnf-automatic",
        Packages,
        Unless("--installupdates --no-installupdates"),
    ),
    ("do-release-upgrade dpkg-reconfigure", Packages, Always),
    (
        "dpkg",
        Packages,
        Unless(
            "--assert-* --audit --build --compare-versions --contents --dry-run --extract --get-selections --info --list \
             --listfiles --no-act --print-architecture --print-avail --print-foreign-architecture* --raw-extract --search \
             --simulate --status --validate-* --verify --vextract --yet-to-unpack --control --ctrl-tarfile --field \
             --fsys-tarfile --show -C -I -L -S -V -W -X -b -c -e -f -l -p -s -x",
        ),
    ),
    (
        "flatpak",
        Packages,
        With("install remove repair uninstall update upgrade"),
    ),
    (
        "google_osconfig_agent landscape-client packagekitd pk-offline-update snapd yum-cron",
        Packages,
        Always,
    ),
    ("pacman", Packages, With("-R* -S* -U*")),
    ("pip pip3", Packages, With("install uninstall")),
    (
        "gem npm pipx",
        Packages,
        With("install uninstall update upgrade upgrade-all"),
    ),
    ("ubuntu-drivers", Packages, With("autoinstall install")),
    ("pkcon", Packages, Unless("get-* search")),
    (
        "rpm",
        Packages,
        Unless("--checksig --eval --query --querytags --showrc --test --verify -E -K -V* -q*"),
    ),
    ("snap", Packages, SNAP),
    ("swupd", Packages, With("bundle-add bundle-remove repair update")),
    ("transactional-update", Packages, Always),
    ("transactional-update", Reboot, With("reboot")),
    (
        "unattended-upgrade",
        Packages,
        Unless("--download-only --dry-run"),
    ),
    ("unattended-upgrades", Packages, Always),
    // It waits for the node's end, to install then what there is.
    ("unattended-upgrade-shutdown", Packages, Unless("--stop-only")),
    ("zypper", Packages, Unless("info list-updates lu search")),
    ("fwupdmgr fwupdtool", Firmware, FIRMWARE),
    // Which firmware there is; none is installed by that.
    ("fwupdmgr fwupdtool", Lists, With("download refresh")),
    ("fwupd fwupdoffline", Firmware, Always),
    ("fwupdoffline", Reboot, Always),
    ("needrestart", Services, Unless("-b -p -rl l")),
    ("certbot", Services, Unless("--dry-run certificates")),
    (
        CONTAINERS,
        Services,
        With("*watchtower* auto-update disconnect down kill prune restart rm rmp stop stopp up update"),
    ),
    (
        "kubectl",
        Services,
        With("apply create delete drain edit evict patch replace restart scale taint"),
    ),
    (
        "k3s-agent-uninstall.sh k3s-killall.sh k3s-uninstall.sh rke2-killall.sh rke2-uninstall.sh",
        Services,
        Always,
    ),
    (
        "k3s-agent-uninstall.sh k3s-killall.sh k3s-uninstall.sh rke2-killall.sh rke2-uninstall.sh",
        Network,
        Always,
    ),
    (
        "monit supervisorctl",
        Services,
        With("reload restart shutdown start stop update"),
    ),
    ("helm", Services, With("install rollback uninstall upgrade")),
    ("kubeadm", Services, With("init join reset upgrade")),
    (
        "ansible-playbook ansible-pull cf-agent chef-client qemu-ga salt-call salt-minion ssm-agent-worker \
         amazon-ssm-agent vmtoolsd waagent",
        Code,
        Always,
    ),
    ("puppet", Code, With("agent apply")),
    ("snap-repair", Code, With("run")),
    (
        "cloud-init",
        Network,
        Unless("analyze clean collect-logs features modules query schema single status"),
    ),
    // What whoever made the node gave it: packages to install, commands to run.
    ("cloud-init", Code, With("--all-stages modules single")),
    ("cloud-init", Reboot, With("--reboot -r")),
    (
        "birdc birdcl",
        Network,
        With("configure disable down enable reload restart undo"),
    ),
    ("frr-reload.py", Network, With("--reload")),
    ("vtysh", Network, With("-b --boot *configure*")),
    (
        "swanctl",
        Network,
        With(
            "--initiate --install --load-* --redirect --rekey --reload-* --terminate --uninstall -i -p -q -t",
        ),
    ),
    (
        "dhclient dhcpcd google_guest_agent ifdown ifenslave ifreload ifup iptables-apply udhcpc",
        Network,
        Always,
    ),
    (
        "ip",
        Network,
        ByVerb("add append change chg delete deleteall flush prepend replace restore set update"),
    ),
    (
        "bridge tc",
        Network,
        ByVerb("add append change delete flush link replace set"),
    ),
    (
        "arptables ebtables ip6tables ip6tables-legacy ip6tables-nft iptables iptables-legacy iptables-nft",
        Network,
        IPTABLES,
    ),
    (
        "arptables-restore ebtables-restore ip6tables-legacy-restore ip6tables-nft-restore ip6tables-restore \
         iptables-legacy-restore iptables-nft-restore iptables-restore",
        Network,
        Unless("--test -t"),
    ),
    ("arp", Network, With("--delete --file --set -d -f -s")),
    ("bpftool", Network, With("attach detach load loadall")),
    ("brctl", Network, With("addbr addif delbr delif set* stp")),
    (
        "conntrack",
        Network,
        With("--create --delete --flush --load-file --update -D* -F* -I* -R* -U*"),
    ),
    ("conntrackd", Network, With("-B -F -R -c -f -k")),
    (
        "ethtool",
        Network,
        With(
            "--change --coalesce --features --flash --offload --pause --reset --set-* -A -C -E -G -K -L -N -X \
             -f -p -r -s",
        ),
    ),
    (
        "fail2ban-client fail2ban-server",
        Network,
        With("ban reload restart set start stop unban"),
    ),
    ("firewalld", Network, Always),
    (
        "netfilter-persistent",
        Network,
        With("flush reload restart start"),
    ),
    (
        "ufw-init",
        Network,
        With("flush-all force-reload force-stop reload restart start stop"),
    ),
    ("ipsec", Network, With("down reload restart start stop up update")),
    (
        "firewall-cmd",
        Network,
        With(
            "--add-* --change-* --complete-reload --direct --panic-* --reload --remove-* --runtime-to-permanent \
             --set-*",
        ),
    ),
    (
        "ifconfig",
        Network,
        With("add del down hw mtu netmask promisc up"),
    ),
    (
        "ipset",
        Network,
        With("-! -A -D -F -N -R -W -X add create del destroy flush rename restore swap"),
    ),
    (
        "ipvsadm",
        Network,
        With("--add-* --clear --delete-* --edit-* --restore -A -C -D -E -R -a -d -e"),
    ),
    ("netplan", Network, With("apply set try")),
    (
        "networkctl",
        Network,
        With("delete down forcerenew reconfigure reload renew up"),
    ),
    ("nft", Network, Unless("--check -c -v describe list monitor")),
    (
        "nmcli",
        Network,
        With("add connect delete disconnect down edit import load modify off on reapply reload set up"),
    ),
    ("nmstatectl", Network, With("apply rollback set")),
    ("ovs-ofctl", Network, With("add-* del-* mod-* replace-*")),
    (
        "ovs-vsctl",
        Network,
        With("add-* clear del-* destroy emer-reset remove set set-*"),
    ),
    ("resolvconf", Network, With("--enable-updates -a -d -u")),
    (
        "resolvectl",
        Network,
        With("default-route dns domain flush-caches reset-* revert"),
    ),
    ("route", Network, With("add del delete flush")),
    ("tailscale", Network, With("down login logout set switch up")),
    ("tailscale", Packages, With("update")),
    ("zerotier-cli", Network, With("join leave set")),
    ("sysctl", Network, With("--load --load=* --system -p* net.*=*")),
    (
        "ufw",
        Network,
        With("allow default delete deny disable enable insert limit prepend reject reload reset route"),
    ),
    ("wg", Network, With("addconf set setconf syncconf")),
    ("wg-quick", Network, With("down up")),
    ("killall pkill skill", Network, OfNetwork),
    ("modprobe", Network, With("--remove -r*")),
    ("rmmod", Network, Always),
    ("kexec", Reboot, Always),
    (
        "rtcwake",
        Reboot,
        With(
            "off mem disk standby freeze -moff -mmem -mdisk --mode=off --mode=mem --mode=disk --mode=standby --mode=freeze",
        ),
    ),
    (
        "virsh",
        Network,
        With("iface-* net-destroy net-start net-update nwfilter-define nwfilter-undefine"),
    ),
    // They only note in wtmp that they were asked.
    ("halt poweroff reboot", Reboot, Unless("--wtmp-only -w")),
    // What was asked for is called off, told, or only said to all.
    ("shutdown", Reboot, Unless("--show -c -k")),
    ("init telinit", Reboot, With("0 6")),
    // It restarts a node that it takes for stuck.
    ("watchdog", Reboot, Always),
    (
        "busctl dbus-send gdbus",
        Reboot,
        With("*Halt* *Kexec* *PowerOff* *Reboot*"),
    ),
];

static ROWS: LazyLock<HashMap<&str, Vec<(Effect, &Doing)>>> = LazyLock::new(|| {
    let mut rows = HashMap::<_, Vec<_>>::new();
    for (names, effect, doing) in PROGRAMS {
        for name in names.split_ascii_whitespace() {
            rows.entry(name).or_default().push((*effect, doing));
        }
    }
    rows
});

/// What apt runs to ask something before it works: they change no package.
const ASKERS: [&str; 3] = ["apt-listbugs", "apt-listchanges", "dpkg-preconfigure"];

/// Programs that change the network of the namespace that they run in, and no other.
const OF_NAMESPACE: &str = "arp arptables arptables-restore bpftool brctl bridge conntrack conntrackd dhclient dhcpcd \
    ebtables ebtables-restore ethtool ifconfig ifdown ifenslave ifreload ifup ip ip6tables ip6tables-legacy \
    ip6tables-legacy-restore ip6tables-nft ip6tables-nft-restore ip6tables-restore ipset iptables iptables-apply \
    iptables-legacy iptables-legacy-restore iptables-nft iptables-nft-restore iptables-restore ipvsadm nft route sysctl \
    tc udhcpc ufw wg wg-quick";
/// What changes the kernel's part of the network by itself, in all of its namespaces.
const OF_KERNEL: &str = "killall modprobe pkill rmmod skill";

/// What of the node a program has to have where it runs, so that it has that effect on the node.
pub(super) fn needs(effect: Effect, name: &str) -> Scope {
    match effect {
        Packages | Lists => Scope::FILES,
        Network if is_among(OF_NAMESPACE, name) => Scope::NETWORK,
        Network if !is_among(OF_KERNEL, name) => Scope::SERVICES,
        Services => Scope::SERVICES,
        _ => Scope::SYSTEM,
    }
}

/// Whether it is known what a program of that name does.
pub(super) fn is_known(name: &str) -> bool {
    ROWS.contains_key(name)
        || ["invoke-rc.d", "rc-service", "service", "systemctl"].contains(&name)
        || ASKERS.contains(&name)
}

/// What a program of that name changes with these arguments: what, and the words by which that is known.
pub(super) fn changes(name: &str, arguments: &[&str]) -> impl Iterator<Item = (Effect, String)> {
    let rows = ROWS.get(name).into_iter().flatten();
    rows.filter_map(move |(effect, doing)| {
        let first = |fits: &dyn Fn(&str) -> bool| arguments.iter().position(|word| fits(word));
        let last = match doing {
            Always => 0,
            Unless(reading) => match first(&|word| is_among(reading, word) || is_among(OF_ITSELF, word)) {
                Some(_) => return None,
                None => 0,
            },
            With(changing) => first(&|word| is_among(changing, word))? + 1,
            ByVerb(changing) => verb(changing, arguments)? + 1,
            OfNetwork => first(&is_network)? + 1,
        };
        Some((*effect, words(name, &arguments[..last])))
    })
}

/// What iproute2 is asked to do where it only reads, or runs another program.
const READING: &str = "exec get help identify list lst monitor pids save show";

/// Where the verb stands by which a program of iproute2 changes something; its options may be cut short as well
/// (`main` of ip.c and tc.c).
fn verb(changing: &str, arguments: &[&str]) -> Option<usize> {
    let begins = |list: &str, word: &str| list.split_ascii_whitespace().any(|verb| verb.starts_with(word));
    let mut words = arguments.iter().copied().enumerate();
    let mut objects = Vec::new();
    while let Some((at, word)) = words.next() {
        if word.contains('$') {
            // It may stand for any of them.
            let mut rest = arguments.iter().enumerate().skip(at);
            let is_verb = |word: &str| word == "del" || is_among(changing, word);
            return rest.find(|(_, word)| is_verb(word)).map(|(at, _)| at);
        }
        if let Some(option) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) {
            match option {
                "" => {}
                _ if "batch".starts_with(option) => return Some(at),
                _ if begins("family loops netns", option) || option.starts_with("rc") => drop(words.next()),
                _ => {}
            }
            continue;
        }
        let Some(object) = objects.first() else {
            // `ip mon r`: what is seen, and nothing is changed.
            if word.len() > 1 && "monitor".starts_with(word) {
                return None;
            }
            objects.push(word);
            continue;
        };
        // Of a device `s` is to set something.
        let sets = word == "s" && "link".starts_with(object);
        if sets || begins(changing, word) && !begins(READING, word) {
            return Some(at);
        }
        // Some objects have others within them: `ip xfrm state flush`.
        if begins(READING, word) || objects.len() > 1 {
            return None;
        }
        objects.push(word);
    }
    None
}

/// Words of a command that are told, at most: what lies between its first and its last word is left out of more.
const MOST_TOLD: usize = 6;

/// A command as it is told: up to the word by which it is known what it does.
fn words(name: &str, arguments: &[&str]) -> String {
    let mut words = vec![name];
    if let [.., last] = arguments
        && arguments.len() >= MOST_TOLD
    {
        words.extend(["...", last]);
    } else {
        words.extend(arguments);
    }
    words.join(" ")
}

/// Whether a word is one of these, in which `*` stands for anything.
fn is_among(patterns: &str, word: &str) -> bool {
    patterns
        .split_ascii_whitespace()
        .any(|pattern| matches(pattern, word))
}

fn matches(pattern: &str, word: &str) -> bool {
    let Some((begin, pattern)) = pattern.split_once('*') else {
        return pattern == word;
    };
    let Some(rest) = word.strip_prefix(begin) else {
        return false;
    };
    pattern.is_empty() || (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| matches(pattern, rest)))
}

/// Programs whose names are said of much else: they are known by their path, or where a command of the shell begins.
pub(super) const WORDS: [&str; 9] = [
    "bridge",
    "firewalld",
    "fwupd",
    "halt",
    "init",
    "reboot",
    "route",
    "shutdown",
    "watchdog",
];

/// Programs that do nothing where they are told nothing.
pub(super) const TOLD: &str =
    "apk apt apt-get aptitude dnf dpkg flatpak iptables nft pacman rpm snap yum zypper";

/// Services whose restart takes the network along, or what is resolved by it, or all containers; and names of their
/// processes.
const NETWORK_UNITS: &str = "NetworkManager NetworkManager-dispatcher antrea-agent bird bird6 calico-node charon \
    cilium cilium-agent connman connmand conntrackd containerd crio cri-o dhclient \
    dhcpcd dnsmasq docker dockerd felix firewalld flanneld frr hostapd ifup ip6tables ipsec iptables k3s \
    k3s-agent keepalived kube-proxy kubelet named netfilter-persistent network networking nftables openvpn \
    openvswitch-switch ovs-vswitchd ovsdb-server podman quagga rke2-agent rke2-server shorewall strongswan \
    systemd-networkd systemd-resolved systemd-sysctl systemd-udevd tailscaled udhcpc ufw unbound wg-quick wicked \
    wickedd wpa_supplicant zebra";

/// Whether that is the name of a service of the network, or of a process of one: the kernel keeps 15 characters of it.
pub(super) fn is_network(unit: &str) -> bool {
    let name = [".service", ".socket", ".target"]
        .iter()
        .find_map(|end| unit.strip_suffix(end))
        .unwrap_or(unit);
    let name = name.split('@').next().unwrap_or(name);
    let is_cut = |known: &str| name.len() == 15 && known.starts_with(name);
    NETWORK_UNITS
        .split_ascii_whitespace()
        .any(|known| known == name || is_cut(known))
}

/// What systemctl can do to a service that takes it away, for a moment or for good, or begins its work.
pub(super) const RESTARTS: [&str; 10] = [
    "condrestart",
    "force-reload",
    "kill",
    "reload",
    "reload-or-restart",
    "restart",
    "start",
    "stop",
    "try-reload-or-restart",
    "try-restart",
];

/// What systemctl can do to the whole node.
pub(super) const REBOOTS: [&str; 10] = [
    "exit",
    "halt",
    "hibernate",
    "hybrid-sleep",
    "kexec",
    "poweroff",
    "reboot",
    "soft-reboot",
    "suspend",
    "suspend-then-hibernate",
];

/// Units by which systemd restarts or stops the node.
pub(super) const REBOOT_UNITS: [&str; 8] = [
    "halt.target",
    "hibernate.target",
    "kexec.target",
    "poweroff.target",
    "reboot.target",
    "shutdown.target",
    "soft-reboot.target",
    "suspend.target",
];

/// Programs that fetch something from elsewhere.
pub(super) const FETCHERS: [&str; 4] = ["aria2c", "curl", "fetch", "wget"];

/// Programs that run what they are given.
pub(super) const SHELLS: [&str; 7] = ["ash", "bash", "dash", "ksh", "sh", "source", "zsh"];
/// The same of other languages.
pub(super) const INTERPRETERS: [&str; 7] = ["node", "perl", "php", "python", "python2", "python3", "ruby"];

/// Programs that say what they are given, or look for it, and run nothing of it.
pub(super) const SAYS: &str = "apt-cache apt-config apt-mark basename cat cd chmod chown cut diff dirname dpkg-query du echo \
    egrep false fgrep fold grep hash head id jq let log logger ls mail mailx man md5sum mkdir ping pgrep pidof printf ps \
    read readlink return sendmail sha256sum shift sleep sort stat systemd-notify tail tar test touch tr true type uname \
    uniq wait wall wc which zgrep [ [[ ] ]] :";

/// What programs of other languages than the shell run others by.
pub(super) const CALLS: [&str; 16] = [
    "Popen",
    "backticks",
    "call(",
    "check_call",
    "check_output",
    "exec",
    "fork",
    "open3",
    "popen",
    "proc_open",
    "qx",
    "run(",
    "spawn",
    "subprocess",
    "system",
    "getoutput",
];

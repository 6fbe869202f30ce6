//! Commands as timers, cron jobs and cloud-init of Debian, Ubuntu and Fedora have them, and those who look after nodes.

use super::*;

#[test]
fn commands_of_real_nodes() {
    let wrong: Vec<_> = [
        ("test -x /usr/bin/certbot -a \\! -d /run/systemd/system && perl -e 'sleep int(rand(43200))' && certbot -q renew", &["certbot"][..]),
        ("if [ -x /usr/share/mdadm/checkarray ] && [ $(date +\\%d) -le 7 ]; then /usr/share/mdadm/checkarray --cron --all; fi", &[]),
        ("[ -x /usr/lib/php/sessionclean ] && if [ ! -d /run/systemd/system ]; then /usr/lib/php/sessionclean; fi", &[]),
        ("test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }", &[]),
        ("command -v debian-sa1 > /dev/null && debian-sa1 1 1", &[]),
        ("/usr/bin/dnf makecache --timer", &["dnf makecache"]),
        ("/usr/bin/fwupdmgr refresh --no-metadata-check", &["fwupdmgr refresh"]),
        ("/sbin/fstrim --listed-in /etc/fstab:/proc/self/mountinfo --verbose --quiet-unsupported", &[]),
        ("+/usr/bin/install -d -o man -g man -m 0755 /var/cache/man", &[]),
        ("/bin/sh -c 'find /var/cache/man -type f -name *.gz -atime +6 -print0 | xargs -r0 rm -f'", &[]),
        ("/usr/bin/fail2ban-server -xf start", &["fail2ban-server -xf start"]),
        ("/usr/sbin/netfilter-persistent start", &["netfilter-persistent start"]),
        ("/lib/ufw/ufw-init start quiet", &["ufw-init start"]),
        ("/usr/sbin/ipsec start --nofork", &["ipsec start"]),
        ("/usr/sbin/firewalld --nofork --nopid", &["firewalld"]),
        ("/sbin/resolvconf --enable-updates", &["resolvconf --enable-updates"]),
        ("/bin/sh -c '[ $run_watchdog != 1 ] || exec /usr/sbin/watchdog $watchdog_options'", &["watchdog"]),
        ("/usr/bin/cloud-init modules --mode=final", &["cloud-init modules"]),
        ("/usr/bin/cloud-init init --local", &["cloud-init"]),
        ("/usr/bin/cloud-init --all-stages", &["cloud-init", "cloud-init --all-stages"]),
        ("/usr/libexec/fwupd/fwupd", &["fwupd"]),
        ("/usr/libexec/fwupd/fwupdoffline", &["fwupdoffline", "fwupdoffline"]),
        ("/usr/lib/snapd/snap-repair run", &["snap-repair run"]),
        ("/usr/bin/vmtoolsd", &["vmtoolsd"]),
        ("if x; then systemctl reload firewalld; fi; pgrep -x fwupd; x --name watchdog", &["systemctl reload firewalld"]),
        ("systemctl stop \"$SERVICE\".timer &> /dev/null", &[]),
        ("systemctl stop \"$SERVICE\"", &["systemctl stop $SERVICE"]),
        ("RPM_CMD=`find_cmd rpm`; find_cmd dpkg; find_cmd apt-get", &[]),
        ("wrapped apt-get upgrade", &["apt-get"]),
        ("lsof -t -a -c /syslog/ /var/log/frr/*", &[]),
        ("snap=\"${NAME}.x\"; ${DBG} lvremove -f \"${VG}/${snap}\"", &[]),
        ("(timeout \"$LONG\" ip mon r & ip -4 r s; ip -6 r s) | grep -q x", &[]),
        ("apt-get -s upgrade | mail -s 'apt-get upgrade is due' root", &[]),
        ("apt list --upgradable 2>/dev/null | wc -l", &[]),
        ("su app -s /bin/sh -c 'php /srv/occ app:update --all'", &[]),
        ("sleep $((RANDOM % 3600)); test -e /run/x", &[]),
        ("tar czf - /etc | ssh backup@b 'cat > /srv/etc.tgz && systemctl restart networking'", &[]),
        ("rsync -a /etc/ root@b:/etc/netplan/", &[]),
        ("'sh' '-c' 'apt-get -y dist-upgrade'", &["apt-get"]),
        ("DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Options::=\"--force-confold\" dist-upgrade", &["apt-get"]),
        ("apt-get update -qq && apt-get -y install --only-upgrade openssl", &["apt-get", "apt-get update"]),
        ("apt-get autoremove --purge -y; apt-get clean; journalctl --vacuum-time=7d", &["apt-get"]),
        ("/usr/bin/flock -n /run/x.lock /usr/bin/timeout 3600 /usr/bin/unattended-upgrade -v", &["unattended-upgrade"]),
        ("test -e /var/run/reboot-required && shutdown -r now", &["shutdown"]),
        ("needs-restarting -r || shutdown -r +1", &["shutdown"]),
        ("systemctl reboot --when=03:00", &["systemctl reboot"]),
        ("dnf offline-upgrade reboot", &["dnf", "dnf offline-upgrade reboot"]),
        ("rpm-ostree upgrade --trigger-automatic-update-policy", &["rpm-ostree"]),
        ("ping -c1 -W2 10.0.0.1 >/dev/null 2>&1 || systemctl restart networking", &["systemctl restart networking"]),
        ("ifdown eth0; sleep 5; ifup eth0", &["ifdown", "ifup"]),
        ("timeout -k 5 60 bash -c \"until ping -c1 gw; do dhclient -r eth0; dhclient eth0; done\"", &["dhclient"]),
        ("bash -c 'source /etc/profile; puppet agent -t'", &["puppet agent"]),
        ("env -i PATH=/bin /bin/bash -c \"cd /srv && git pull && docker compose up -d\"", &["docker compose up"]),
        ("docker ps -q | xargs docker restart", &["docker restart"]),
        ("systemctl list-units --state=failed | awk '{print $1}' | xargs -r systemctl restart", &["systemctl restart $@"]),
        ("/usr/bin/docker system prune -af --volumes", &["docker system prune"]),
        ("curl -fsSL https://get.x.example -o get-x.sh && sh get-x.sh", &["curl, sh get-x.sh"]),
        ("wget https://x.example/install.sh; chmod +x install.sh; sudo bash ./install.sh", &["wget, bash ./install.sh"]),
        ("curl -s x.example > /tmp/i; chmod +x /tmp/i; /tmp/i", &["curl, /tmp/i"]),
        ("curl -o /tmp/data x.example; cat /tmp/data", &[]),
        ("exec -a x /usr/sbin/dhclient eth0", &["dhclient"]),
        ("perl -e 'exec \"apt-get\", \"upgrade\"'", &["apt-get"]),
        ("python3 -m pip install -U x", &["pip install"]),
        ("tailscale up --ssh", &["tailscale up"]),
        ("ubuntu-drivers autoinstall", &["ubuntu-drivers autoinstall"]),
        ("ls /sys/class/net | while read i; do ethtool -K $i gro off; done", &["ethtool -K"]),
        ("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done", &["write to /proc/sys/net/ipv4/conf/*/rp_filter"]),
        ("printf '[Match]\\nName=e*\\n' | sudo tee /etc/systemd/network/10-e.network", &["write to /etc/systemd/network/10-e.network"]),
        ("DIR=/etc/systemd/network; echo x > ${DIR}/x.network; cp /x $DIR/y.link", &["write to /etc/systemd/network/x.network", "write to /etc/systemd/network/y.link"]),
        ("F=/tmp/x; echo nameserver 10.0.0.1 > $F; mv \"$F\" /etc/resolv.conf", &["write to /etc/resolv.conf"]),
        ("dpkg --configure -a && apt-get -f install -y", &["apt-get", "dpkg"]),
    ]
    .into_iter()
    .map(|(line, expected)| (line, names(line), expected))
    .filter(|(_, found, expected)| found != expected)
    .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_program_that_is_told_nothing_behind_another_is_only_named() {
    let effects = read("RPM_CMD=`find_cmd rpm`").effects;
    let told: Vec<_> = effects
        .iter()
        .map(|((_, name), place)| (name.as_str(), place.mentioned))
        .collect();
    assert_eq!(told, [("rpm", true)]);
}

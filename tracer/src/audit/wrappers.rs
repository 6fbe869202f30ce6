//! Programs that run another one, which their own command line names: here, in another root or network, in a guest, on
//! another node. Pure.

use super::commands::program;
use super::options::{has_letter, is_among, is_option, operands, value};
use super::programs::{CONTAINERS, INTERPRETERS, SHELLS};
use super::scope::Scope;

/// How a command goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// With what.
    pub(super) with: With,
    /// What of the node is there.
    pub(super) scope: Scope,
    /// It is in a container that was given more of the node: another root may be the node's own.
    pub(super) reaches_out: bool,
}

/// With what a command goes on; numbers are places of its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    /// A command that begins there.
    Command(usize),
    /// The same; the words that it reads are its last ones (`xargs`).
    Appended(usize),
    /// A text that a shell reads.
    Text(usize),
    /// All from there on, as a text that a shell reads.
    Joined(usize),
    /// A script.
    Script(usize),
    /// What it is given to read, for a shell.
    Input,
    /// What it is given to read, for the interpreter of another language.
    Code,
    /// Nothing that is known.
    Nothing,
}

/// Programs that run the command behind their options and so many other words: which, how many, the options with a value.
const RUNNERS: &[(&str, usize, &str)] = &[
    (
        "builtin busybox chronic cronic command dbus-run-session dumb-init eatmydata fakeroot firejail linux32 \
         linux64 nocache nohup proxychains proxychains4 run-one setsid time toybox torsocks unbuffer",
        0,
        "-f -o",
    ),
    ("env", 0, "-C -u --chdir --unset"),
    ("exec", 0, "-a"),
    ("choom ionice nice", 0, "-c -n --adjustment --class --classdata"),
    ("doas pkexec", 0, "-C -u --user"),
    (
        "sudo",
        0,
        "-C -D -R -T -U -g -h -p -r -t -u --chdir --chroot --group --host --prompt --user",
    ),
    (
        "cgexec chpst cpulimit trickle",
        0,
        "-/ -d -e -g -l -m -n -o -u -U",
    ),
    (
        "numactl",
        0,
        "-C -N -i -m -p --cpunodebind --interleave --membind --physcpubind --preferred",
    ),
    ("prlimit tini", 0, "-p"),
    (
        "setpriv",
        0,
        "--bounding-set --groups --inh-caps --pdeathsig --regid --reuid --rgid --ruid",
    ),
    ("stdbuf", 0, "-e -i -o"),
    ("ltrace strace", 0, "-E -I -O -P -S -a -b -e -o -p -s -u"),
    ("sshpass", 0, "-P -d -f -p"),
    ("systemd-cat", 0, "-p -t --identifier --priority"),
    ("systemd-inhibit", 0, "--mode --what --who --why"),
    (
        "systemd-run",
        0,
        "-E -H -M -p -u --description --gid --host --machine --nice --on-active --on-boot --on-calendar --on-startup \
         --on-unit-active --on-unit-inactive --path-property --property --service-type --setenv --slice \
         --socket-property --timer-property --uid --unit --working-directory",
    ),
    ("parallel", 0, "-I -N -a -j -n --arg-file --jobs"),
    ("unshare", 0, "-G -R -S -w --root --setgid --setuid --wd"),
    ("nsenter", 0, "-G -S -t --setgid --setuid --target"),
    ("timeout", 1, "-k -s --kill-after --signal"),
    ("taskset", 1, ""),
    ("flock", 1, "-E -w --conflict-exit-code --timeout --wait"),
    ("chrt", 1, "-D -P -T"),
    ("arch-chroot chroot", 1, "-u"),
    ("faketime", 1, "-f"),
    (
        "envdir gosu su-exec lckdo logsave runcon setarch setuidgid with-lock-ex",
        1,
        "",
    ),
];

/// Programs that do something in a guest, or on other nodes, by one of these among their first words; `*` stands for any.
const GUESTS: &[(&str, &str)] = &[
    ("k3s kubectl microk8s oc", "attach debug exec rsh run"),
    ("incus lxc multipass", "console exec shell"),
    ("lxc-attach lxc-execute pct qm", "*"),
    (
        "aws az fly flyctl gcloud heroku tsh vagrant",
        "compute console exec run run-command send-command ssh",
    ),
    ("clush dsh mosh parallel-ssh pdsh plink pssh rsh", "*"),
    ("distrobox toolbox", "enter run"),
    ("cowbuilder mock pbuilder proot schroot", "*"),
];
/// Words that are looked at for that, and options that have a value before them.
const FIRST_WORDS: usize = 2;
const OF_GUESTS: &str = "-c -n --cluster --context --kubeconfig --namespace --project";

/// What asks something of systemd or its like, and can ask another host or a container for it.
const ASKS_HOSTS: &str = "busctl hostnamectl journalctl localectl loginctl machinectl systemctl systemd-analyze systemd-run timedatectl";
/// By which option it does.
const HOSTS: &str = "-H -M --host --machine";

/// By which options packages of another root are changed.
const ROOTS: &str = "--installroot --root --rootdir --basedir --sysroot --instdir";

/// Options of ssh that have a value (ssh(1)).
const OF_SSH: &str = "-B -D -E -F -I -J -L -M -O -P -Q -R -S -W -b -c -e -i -l -m -o -p -w";
/// What a container is asked for that runs something in it.
const IN_CONTAINERS: [&str; 3] = ["create", "exec", "run"];
/// Options of that which have a value.
const OF_CONTAINERS: &str = "-a -c -e -h -l -m -p -u -v -w --add-host --annotation --cap-add --cap-drop --cgroup-parent \
    --cgroupns --cidfile --cpus --cpuset-cpus --detach-keys --device --dns --entrypoint --env --env-file --expose --gpus \
    --group-add --health-cmd --hostname --ip --ipc --label --log-driver --log-opt --mac-address --memory --mount --name \
    --net --network --network-alias --pid --pids-limit --platform --publish --pull --restart --runtime --security-opt \
    --shm-size --stop-signal --stop-timeout --sysctl --tmpfs --ulimit --user --userns --uts --volume --volumes-from \
    --workdir";
/// By what a container reaches more of the node than its own files, as words of its command begin.
const OUT_OF_CONTAINERS: [&str; 7] = [
    "--cap-add",
    "--device",
    "--privileged",
    "/:",
    "/run/",
    "/var/run/",
    "nsenter",
];

impl Next {
    fn here(with: With) -> Self {
        Self {
            with,
            scope: Scope::NODE,
            reaches_out: false,
        }
    }

    fn within(scope: Scope, with: With) -> Self {
        Self {
            scope,
            ..Self::here(with)
        }
    }
}

/// How a command goes on whose first word is a program of that name; nothing for one that runs no other.
pub(super) fn next(name: &str, words: &[&str]) -> Option<Next> {
    let behind = words.get(1..).unwrap_or_default();
    if is_elsewhere(name, behind) {
        return Some(Next::within(Scope::ELSEWHERE, With::Nothing));
    }
    Some(match name {
        "ssh" | "autossh" => ssh(behind),
        "ip" => Next::within(netns(behind)?.0, With::Command(netns(behind)?.1 + 1)),
        "machinectl" => machine(behind)?,
        "systemd-nspawn" => Next::within(
            match behind
                .iter()
                .any(|word| *word == "-n" || word.starts_with("--network") || word.starts_with("--private-n"))
            {
                true => Scope::ELSEWHERE,
                false => Scope::NETWORK,
            },
            command(
                behind,
                0,
                "-D -M -i -p -u --bind --bind-ro --directory --image --machine --setenv --user",
            ),
        ),
        "su" | "runuser" | "script" | "sg" => Next::here(of_user(name, behind)),
        "watch" => Next::here(match operands(behind, "-n --interval").next() {
            Some(at) => With::Joined(at + 1),
            None => With::Nothing,
        }),
        "eval" => Next::here(With::Joined(1)),
        "trap" => Next::here(match operands(behind, "").next() {
            Some(at) if behind[at] != "-" => With::Text(at + 1),
            _ => With::Nothing,
        }),
        "xargs" => {
            let valued = "-E -I -L -P -a -d -n -s --arg-file --delimiter --max-args --max-lines --max-procs";
            Next::here(match operands(behind, valued).next() {
                Some(at) => With::Appended(at + 1),
                None => With::Nothing,
            })
        }
        "find" | "start-stop-daemon" => {
            let before = match name {
                "find" => "-exec -execdir -ok -okdir",
                _ => "--exec --startas -a -x",
            };
            let at = behind.iter().position(|word| is_among(before, word))?;
            // What stands between is of the program itself: `--exec X -- arguments`.
            Next::here(With::Command(at + 2))
        }
        "at" | "batch" => Next::here(match behind.iter().position(|word| *word == "-f") {
            Some(at) if at + 1 < behind.len() => With::Script(at + 2),
            _ => With::Input,
        }),
        "crontab" if behind.contains(&"-") => Next::here(With::Input),
        "." | "source" => Next::here(With::Script(1)),
        _ if is_among(CONTAINERS, name) => container(behind)?,
        _ if SHELLS.contains(&name) => Next::here(shell(behind)),
        _ if INTERPRETERS.contains(&name) => {
            // A program, or a module, on the command line itself: its words are looked through.
            let is_own = |word: &str| ["c", "e", "m", "r"].iter().any(|letter| word.ends_with(letter));
            match operands(behind, "-I -W -X").next() {
                first
                    if behind[..first.unwrap_or(behind.len())]
                        .iter()
                        .any(|word| is_option(word) && is_own(word)) =>
                {
                    return None;
                }
                Some(at) if behind[at] != "-" => Next::here(With::Script(at + 1)),
                _ => Next::here(With::Code),
            }
        }
        _ => runner(name, behind)?,
    })
}

/// Where a command begins behind options and so many other words; without one it is a shell.
fn command(behind: &[&str], others: usize, valued: &str) -> With {
    match operands(behind, valued).nth(others) {
        Some(at) => With::Command(at + 1),
        None => With::Input,
    }
}

fn runner(name: &str, behind: &[&str]) -> Option<Next> {
    let (_, others, valued) = RUNNERS.iter().find(|(names, ..)| is_among(names, name))?;
    if name == "command" && behind.first().is_some_and(|word| is_among("-V -v", word)) {
        return Some(Next::here(With::Nothing));
    }
    let is_split = |word: &str| word == "-S" || word == "--split-string";
    if name == "env"
        && let Some(at) = behind.iter().position(|word| is_split(word))
    {
        return Some(Next::here(With::Joined(at + 2)));
    }
    let is_text = |word: &str| word == "-c" || word == "--command";
    if name == "flock"
        && let Some(at) = behind.iter().position(|word| is_text(word))
    {
        return Some(Next::here(With::Text(at + 2)));
    }
    let with = command(behind, *others, valued);
    let options = &behind[..match with {
        With::Command(at) => at - 1,
        _ => behind.len(),
    }];
    let is_root = |at: usize| options[at] == "/" || options[at].starts_with("/proc/1/root");
    let scope = match name {
        "arch-chroot" | "chroot" if !operands(options, valued).next().is_some_and(is_root) => {
            Scope::OTHER_ROOT
        }
        "unshare" if has(options, 'n', "--net", valued) => Scope::OTHER_NETWORK,
        "nsenter" => entered(options, valued),
        _ => Scope::NODE,
    };
    Some(Next::within(scope, with))
}

/// Whether that option is among these: `-n`, `-mn`, `--net`, `--net=FILE`.
fn has(options: &[&str], letter: char, name: &str, valued: &str) -> bool {
    options.iter().any(|word| {
        has_letter(word, letter, valued)
            || word
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// What of the node is there in the namespaces that `nsenter` enters: those of the process 1 are its own.
fn entered(options: &[&str], valued: &str) -> Scope {
    if value(options, "-t --target") == Some("1") {
        return Scope::NODE;
    }
    let is_of_node = |option: &str| value(options, option).is_some_and(|file| file.starts_with("/proc/1/"));
    let enters = |letter, name| {
        has(options, 'a', "--all", valued) || has(options, letter, name, valued) && !is_of_node(name)
    };
    Scope {
        network: !enters('n', "--net"),
        files: !enters('m', "--mount"),
        system: true,
    }
}

/// Where a command begins behind `ip netns exec NAME` or `ip vrf exec NAME`, and what of the node it has there.
fn netns(behind: &[&str]) -> Option<(Scope, usize)> {
    let begins = |whole: &str, word: &str, least| word.len() >= least && whole.starts_with(word);
    let at = behind.windows(2).position(|two| {
        (begins("netns", two[0], 3) || begins("vrf", two[0], 1)) && begins("exec", two[1], 1)
    })?;
    let is_vrf = behind[at].starts_with('v');
    let is_all = behind[..at]
        .iter()
        .any(|word| is_among("-a -al -all --all", word));
    let scope = if is_vrf { Scope::NODE } else { Scope::OTHER_NETWORK };
    Some((scope, at + if is_all { 2 } else { 3 }))
}

/// `machinectl shell [USER@]NAME COMMAND`: `.host` is this node, as is no name.
fn machine(behind: &[&str]) -> Option<Next> {
    let mut operands = operands(behind, "-E -l -n -p --setenv --uid");
    let verb = operands.next()?;
    if behind[verb] != "shell" {
        return None;
    }
    let is_this = operands.next().is_none_or(|at| is_this_host(behind[at]));
    let scope = if is_this { Scope::NODE } else { Scope::ELSEWHERE };
    Some(Next::within(
        scope,
        operands.next().map_or(With::Input, |at| With::Command(at + 1)),
    ))
}

/// `su USER -c TEXT`, `runuser -u USER COMMAND`, `script -c TEXT`.
fn of_user(name: &str, behind: &[&str]) -> With {
    let at = behind
        .iter()
        .position(|word| *word == "--command" || has_letter(word, 'c', "-g -s -u -w"));
    match at {
        Some(at) => With::Text(at + 2),
        None if name == "runuser" && behind.iter().any(|word| is_among("-u --user", word)) => {
            command(behind, 0, "-G -g -u --group --supp-group --user")
        }
        None => With::Input,
    }
}

/// `sh -c TEXT`, `sh FILE`, `sh` alone.
fn shell(behind: &[&str]) -> With {
    let mut operands = operands(behind, "-O -o --init-file --rcfile");
    let first = operands.next();
    let options = &behind[..first.unwrap_or(behind.len())];
    let has = |letter| options.iter().any(|word| has_letter(word, letter, ""));
    match first {
        Some(at) if has('c') => With::Text(at + 1),
        Some(at) if !has('s') && behind[at] != "-" => With::Script(at + 1),
        _ => With::Input,
    }
}

fn ssh(behind: &[&str]) -> Next {
    let node = operands(behind, OF_SSH).next();
    let next = node.map(|at| at + 1).filter(|at| *at < behind.len());
    // A variable may stand for this node.
    let is_this = node.is_some_and(|at| behind[at].contains('$') || is_this_host(behind[at]));
    match next {
        _ if !is_this => Next::within(Scope::ELSEWHERE, With::Nothing),
        Some(at) => Next::here(With::Joined(at + 1)),
        None => Next::here(With::Input),
    }
}

/// Whether a name stands for this node: `root@localhost`, `user@.host`.
fn is_this_host(name: &str) -> bool {
    let host = name.rsplit('@').next().unwrap_or(name);
    let host = host.strip_prefix("ssh://").unwrap_or(host);
    host.is_empty() || host.starts_with("127.") || is_among("localhost ip6-localhost ::1 .host", host)
}

/// Whether all that a command does is done elsewhere.
pub(super) fn is_elsewhere(name: &str, behind: &[&str]) -> bool {
    let mut first = operands(behind, OF_GUESTS).take(FIRST_WORDS);
    let guests = GUESTS.iter().find(|(names, _)| is_among(names, name));
    let is_guest =
        guests.is_some_and(|(_, verbs)| *verbs == "*" || first.any(|at| is_among(verbs, behind[at])));
    let asks = |options| value(own_options(name, behind), options).is_some_and(|host| !is_this_host(host));
    let is_remote = |host: &str| {
        ["ssh://", "tcp://"]
            .iter()
            .any(|begin| host.strip_prefix(begin).is_some_and(|host| !is_this_host(host)))
    };
    let asks_containers = || is_among(CONTAINERS, name) && value(behind, "-H --host").is_some_and(is_remote);
    is_guest || is_among(ASKS_HOSTS, name) && asks(HOSTS) || asks_containers()
}

/// The words of a command up to that which it runs.
fn own_options<'a, 'b>(name: &str, behind: &'a [&'b str]) -> &'a [&'b str] {
    let runner = RUNNERS.iter().find(|(names, ..)| is_among(names, name));
    match runner.map(|(_, others, valued)| command(behind, *others, valued)) {
        Some(With::Command(at)) => &behind[..at - 1],
        _ => behind,
    }
}

/// What of the node packages are changed in, by the options of what changes them.
pub(super) fn root(arguments: &[&str]) -> Scope {
    match value(arguments, ROOTS) {
        Some(root) if root != "/" => Scope::OTHER_ROOT,
        _ => Scope::NODE,
    }
}

fn container(behind: &[&str]) -> Option<Next> {
    let verb = behind.iter().position(|word| IN_CONTAINERS.contains(word))?;
    let inside = &behind[verb + 1..];
    // Watchtower replaces the containers of the node, by its own verbs.
    if inside.iter().any(|word| is_watchtower(word)) {
        return None;
    }
    let is_exec = behind[verb] == "exec";
    let command = operands(inside, OF_CONTAINERS).nth(1);
    let with = match command {
        Some(at) => With::Command(verb + at + 2),
        None => With::Input,
    };
    let own = &inside[..command.map_or(inside.len(), |at| at + 1)];
    // A variable may stand for any option; that of a container to run something in stands for its name.
    if own
        .iter()
        .any(|word| reaches_out(word) || !is_exec && word.contains('$'))
    {
        return Some(Next {
            reaches_out: true,
            ..Next::here(with)
        });
    }
    // That it was made with the network of the node stands elsewhere.
    let scope = if is_exec { Scope::NETWORK } else { Scope::ELSEWHERE };
    Some(Next::within(scope, with))
}

/// What of its arguments a program goes by itself: what is run in a container is no business of `docker`.
pub(super) fn own<'a, 'b>(name: &str, arguments: &'a [&'b str]) -> &'a [&'b str] {
    let verb = || arguments.iter().position(|word| IN_CONTAINERS.contains(word));
    match verb().filter(|_| is_among(CONTAINERS, name)) {
        Some(verb) if !arguments.iter().any(|word| is_watchtower(word)) => &arguments[..=verb],
        _ => arguments,
    }
}

fn is_watchtower(word: &str) -> bool {
    word.contains("watchtower")
}

fn reaches_out(word: &str) -> bool {
    let is_host = word == "host" || word.ends_with("=host");
    is_host || OUT_OF_CONTAINERS.iter().any(|begin| word.starts_with(begin))
}

/// Whether a word gives a variable a value.
pub(super) fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        let name = name.strip_suffix('+').unwrap_or(name);
        name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// Whether that is the name of a program that runs others, and no word that is said of much else.
pub(super) fn is_runner(word: &str) -> bool {
    const WORDS: &str = "builtin command env exec mock nice source time";
    let Some(name) = program(word).filter(|name| !is_among(WORDS, name)) else {
        return false;
    };
    let is_in = |(names, ..): &(&str, usize, &str)| is_among(names, name);
    RUNNERS.iter().any(is_in)
        || GUESTS.iter().any(|(names, _)| is_among(names, name))
        || SHELLS.contains(&name)
        || is_among("autossh machinectl runuser ssh su systemd-nspawn xargs", name)
        || is_among(CONTAINERS, name)
}

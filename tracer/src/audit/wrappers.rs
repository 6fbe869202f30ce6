//! Programs that run another one, which their own command line names: here, on another node, in a container. Pure.

use super::commands::{MOST_WORDS, program};
use super::programs::CONTAINERS;

/// Words of the shell, and options of programs, behind which a command begins.
const BEFORE_COMMANDS: [&str; 17] = [
    "!", "--", "--exec", "-c", "-exec", "-execdir", ".", "command", "do", "elif", "else", "eval", "exec",
    "if", "then", "until", "while",
];

/// Programs that run what stands behind their options.
const WRAPPERS: &str = "busybox cgexec choom chronic doas dumb-init eatmydata env fakeroot firejail ionice linux32 \
    linux64 ltrace nice nohup nsenter numactl parallel pkexec prlimit proxychains proxychains4 run-one runuser script \
    setpriv setsid stdbuf strace sudo systemd-cat systemd-inhibit systemd-run time tini torsocks toybox unbuffer \
    unshare watch xargs";
/// The same behind one more word: a lock, a folder, a priority, a time, a node.
const WRAPPERS_OF_TWO: &str =
    "chroot chrt faketime flock lckdo logsave setarch setuidgid ssh su taskset timeout";
/// What says its words: where a shell is given them it runs them.
const SAYERS: &str = "echo printf";

/// Options of ssh that have a value (ssh(1)).
const OF_SSH: &str = "-B -D -E -F -I -J -L -O -P -Q -R -S -W -b -c -e -i -l -m -o -p -w";
/// What a container is asked for that runs something in it.
const IN_CONTAINERS: [&str; 3] = ["create", "exec", "run"];
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

/// Whether a word is one of these, which stand in one text.
fn is_among(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == word)
}

/// Words between a program that runs another and that other, which are neither options nor values; nothing for what is
/// no such program. Behind it stand these.
fn between(word: &str, behind: &[&str]) -> Option<usize> {
    let name = program(word)?;
    // `ip netns exec NAME`, `ip vrf exec NAME`
    let runs_in = || {
        behind
            .windows(2)
            .any(|two| matches!(two, ["netns" | "net" | "vrf", "exec"]))
    };
    if name == "ip" && runs_in() {
        return Some(3);
    }
    if is_among(WRAPPERS, name) || is_among(SAYERS, name) {
        Some(0)
    } else {
        is_among(WRAPPERS_OF_TWO, name).then_some(1)
    }
}

/// Whether a command may begin right behind this word.
pub(super) fn is_before(word: &str) -> bool {
    BEFORE_COMMANDS.contains(&word) || program(word).is_some_and(|name| is_among(WRAPPERS, name))
}

/// Whether a word gives a variable a value.
pub(super) fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// Whether a command may begin behind these words.
pub(super) fn begins(before: &[&str]) -> bool {
    let is_value = |word: &str| word.contains(['=', '$']) || word.starts_with(|c: char| c.is_ascii_digit());
    before
        .last()
        .is_none_or(|word| BEFORE_COMMANDS.contains(word) || is_value(word))
        || before.iter().enumerate().any(|(place, word)| {
            let Some(most) = between(word, &before[place + 1..]) else {
                return false;
            };
            let mut is_of_option = false;
            let others = before[place + 1..].iter().filter(|word| {
                let is_option = word.starts_with('-');
                // An option may have a value or none: its next word may be either.
                let is_other = !is_option && !is_of_option && !is_value(word);
                is_of_option = is_option;
                is_other
            });
            others.count() <= most
        })
}

/// What of a command is not run on this node, as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Away {
    /// The first of its words that is run there.
    pub(super) from: usize,
    /// The network there may be that of this node.
    pub(super) shares_network: bool,
}

/// Finds where a command goes on elsewhere: behind `ssh NODE`, `docker run`.
pub(super) fn away(words: &[&str]) -> Option<Away> {
    let words = &words[..words.len().min(MOST_WORDS)];
    words.iter().enumerate().find_map(|(place, word)| {
        let name = program(word)?;
        let behind = &words[place + 1..];
        let (more, shares_network) = if name == "ssh" && begins(&words[..place]) {
            (node(behind)? + 1, false)
        } else if is_among(CONTAINERS, name) {
            let verb = behind.iter().position(|word| IN_CONTAINERS.contains(word))?;
            let inside = &behind[verb + 1..];
            if inside.iter().any(|word| reaches_out(word)) {
                return None;
            }
            // That it was made with the network of the node stands elsewhere.
            (verb + 1, behind[verb] == "exec")
        } else {
            return None;
        };
        Some(Away {
            from: place + 1 + more,
            shares_network,
        })
    })
}

/// What of its arguments a program goes by itself: what is run in a container is no business of `docker`.
pub(super) fn own<'a, 'b>(name: &str, arguments: &'a [&'b str]) -> &'a [&'b str] {
    let verb = || arguments.iter().position(|word| IN_CONTAINERS.contains(word));
    match verb().filter(|_| is_among(CONTAINERS, name)) {
        Some(verb) if !arguments.iter().any(|word| is_watchtower(word)) => &arguments[..=verb],
        _ => arguments,
    }
}

/// Watchtower replaces the containers of the node.
fn is_watchtower(word: &str) -> bool {
    word.contains("watchtower")
}

/// Where the name of another node stands behind `ssh`; nothing where it is this one, or a variable has it.
fn node(behind: &[&str]) -> Option<usize> {
    let mut is_value = false;
    let at = behind.iter().position(|word| {
        let is_option = word.starts_with('-') && !is_value;
        let is_node = !is_option && !is_value;
        is_value = is_option && is_among(OF_SSH, word);
        is_node
    })?;
    let name = behind[at].rsplit('@').next().unwrap_or_default();
    let is_this = name.starts_with("127.") || is_among("localhost ip6-localhost ::1", name);
    (!is_this && !name.contains('$')).then_some(at)
}

fn reaches_out(word: &str) -> bool {
    let is_host = word == "host" || word.ends_with("=host");
    is_host
        || word.contains('$')
        || is_watchtower(word)
        || OUT_OF_CONTAINERS.iter().any(|begin| word.starts_with(begin))
}

//! How systemd ends the processes of a unit: systemd.kill(5), and the failure modes of systemd.service(5).

use std::fmt;

use serde::{Deserialize, Serialize};

/// By what systemd goes when it ends a unit. What an older systemd does not tell is as that one does it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ending {
    /// `KillMode`
    pub kill_mode: KillMode,
    /// The signals that it sends.
    pub signals: Signals,
    /// `TimeoutStartFailureMode`: where its start takes too long.
    pub start_failure: FailureMode,
    /// `TimeoutStopFailureMode`: where its stop does.
    pub stop_failure: FailureMode,
    /// Commands of its own that stop it.
    pub commands: Commands,
    /// Its processes that systemd knows by themselves.
    pub processes: Processes,
    /// `Controller` of a scope: that one is asked to stop it, where there is one.
    pub has_controller: bool,
}

/// Signals by which a unit is ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    /// `KillSignal`
    pub stop: Signal,
    /// `RestartKillSignal`: the same where it is stopped to be started again.
    pub restart: Signal,
    /// `WatchdogSignal`: where it gives no sign of life, and where a failure mode is to abort.
    pub abort: Signal,
    /// `FinalKillSignal`: for what is still there afterwards.
    pub last: Signal,
    /// `SendSIGKILL`: whether that last one is sent at all.
    pub sends_last: bool,
}

impl Default for Signals {
    /// As systemd has them (src/core/kill.c, `kill_context_init`).
    fn default() -> Self {
        Self {
            stop: Signal(15),
            restart: Signal(15),
            abort: Signal(6),
            last: Signal(9),
            sends_last: true,
        }
    }
}

/// Whether a unit has commands that are run when it is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// `ExecStop`
    pub stop: bool,
    /// `ExecStopPost`
    pub stop_post: bool,
}

/// Which processes of a service systemd knows by themselves, beside all that are in its cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// `MainPID`
    pub main: bool,
    /// `ControlPID`: a command that starts, reloads or stops it.
    pub control: bool,
}

/// Which processes of a unit get a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KillMode {
    /// All in its cgroup.
    #[default]
    ControlGroup,
    /// The main process, and all others when it has ended.
    Mixed,
    /// The main process alone.
    Process,
    /// None.
    None,
}

impl KillMode {
    /// By systemd's word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::ControlGroup, Self::Mixed, Self::Process, Self::None]
            .into_iter()
            .find(|mode| mode.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::ControlGroup => "control-group",
            Self::Mixed => "mixed",
            Self::Process => "process",
            Self::None => "none",
        }
    }
}

impl fmt::Display for KillMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is done with a service whose start or stop takes too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureMode {
    /// It is stopped as it would be otherwise.
    #[default]
    Terminate,
    /// It is made to dump its core.
    Abort,
    /// It is killed at once.
    Kill,
}

impl FailureMode {
    /// By systemd's word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "terminate" => Some(Self::Terminate),
            "abort" => Some(Self::Abort),
            "kill" => Some(Self::Kill),
            _ => None,
        }
    }
}

/// What systemd does to the whole node (systemd.unit(5), `FailureAction=`), by force or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeAction {
    /// It is started anew.
    Reboot,
    /// The same by another kernel that is loaded already.
    Kexec,
    /// All processes are started anew, and the kernel runs on.
    SoftReboot,
    /// It is switched off.
    PowerOff,
    /// It is stopped, and stays on.
    Halt,
    /// systemd ends, as in a container.
    Exit,
}

impl NodeAction {
    /// By systemd's word (`emergency_action_table`, src/core/emergency-action.c); `None` for `none`, and for what is not known.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        let how = ["-force", "-immediate"];
        let plain = how.iter().find_map(|how| word.strip_suffix(how)).unwrap_or(word);
        match plain {
            "reboot" => Some(Self::Reboot),
            "kexec" => Some(Self::Kexec),
            "soft-reboot" => Some(Self::SoftReboot),
            "poweroff" => Some(Self::PowerOff),
            "halt" => Some(Self::Halt),
            "exit" => Some(Self::Exit),
            _ => None,
        }
    }

    /// What this job does to the node: `reboot.target`, `start queued`.
    #[must_use]
    pub fn of_job(unit: &str, job: &str) -> Option<Self> {
        let is_start = job.split(' ').next() == Some("start");
        let target = unit.strip_suffix(".target").filter(|_| is_start);
        target.and_then(Self::of)
    }
}

impl fmt::Display for NodeAction {
    /// `the node is rebooted`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reboot => "the node is rebooted",
            Self::Kexec => "the node is rebooted by kexec",
            Self::SoftReboot => "all processes of the node are started anew",
            Self::PowerOff => "the node is powered off",
            Self::Halt => "the node is halted",
            Self::Exit => "systemd ends, and all with it",
        })
    }
}

/// A signal by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(pub u32);

impl fmt::Display for Signal {
    /// `SIGTERM`, `SIGRTMIN+3`: as systemd names it (signal(7), x86 and ARM; the C library keeps the first two real-time signals
    /// for itself).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FIRST_REAL_TIME: u32 = 34;
        const NAMES: [&str; 31] = [
            "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
            "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
            "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
        ];
        let name = usize::try_from(self.0)
            .ok()
            .and_then(|number| NAMES.get(number.checked_sub(1)?));
        match (name, self.0.checked_sub(FIRST_REAL_TIME)) {
            (Some(name), _) => write!(f, "SIG{name}"),
            (None, Some(0)) => f.write_str("SIGRTMIN"),
            (None, Some(above)) => write!(f, "SIGRTMIN+{above}"),
            (None, None) => write!(f, "signal {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_names_that_systemd_gives_them() {
        let name = |number| Signal(number).to_string();
        assert_eq!(
            [1, 2, 6, 9, 15, 31].map(name),
            ["SIGHUP", "SIGINT", "SIGABRT", "SIGKILL", "SIGTERM", "SIGSYS"]
        );
        assert_eq!(
            [0, 32, 34, 37].map(name),
            ["signal 0", "signal 32", "SIGRTMIN", "SIGRTMIN+3"]
        );
    }

    #[test]
    fn modes_are_known_by_their_words() {
        for word in ["control-group", "mixed", "process", "none"] {
            assert_eq!(KillMode::of(word).unwrap().to_string(), word);
        }
        assert_eq!(KillMode::of("some"), None);
        assert_eq!(FailureMode::of("abort"), Some(FailureMode::Abort));
        assert_eq!(FailureMode::of("some"), None);
        for word in ["reboot", "reboot-force", "reboot-immediate"] {
            assert_eq!(NodeAction::of(word), Some(NodeAction::Reboot));
        }
        assert_eq!(NodeAction::of("soft-reboot-force"), Some(NodeAction::SoftReboot));
        assert_eq!(NodeAction::of("none"), None);
        let of = |unit| NodeAction::of_job(unit, "start queued");
        assert_eq!(of("poweroff.target"), Some(NodeAction::PowerOff));
        assert_eq!([of("reboot.service"), of("shutdown.target")], [None, None]);
        assert_eq!(NodeAction::of_job("poweroff.target", "stop running"), None);
    }
}

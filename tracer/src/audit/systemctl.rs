//! What systemctl(1), service(8) and their like are asked to do. Pure.

use super::Effect;
use super::programs::{REBOOT_UNITS, REBOOTS, RESTARTS, is_network};

/// What `systemctl` does with these arguments.
pub(super) fn systemctl(arguments: &[&str]) -> Option<(Effect, String)> {
    if arguments.contains(&"daemon-reexec") {
        return Some((Effect::Services, "systemctl daemon-reexec".to_owned()));
    }
    let place = arguments.iter().position(|word| {
        RESTARTS.contains(word)
            || REBOOTS.contains(word)
            || ["disable", "enable", "isolate", "mask"].contains(word)
    })?;
    let verb = arguments[place];
    let after = &arguments[place + 1..];
    if REBOOTS.contains(&verb) {
        return Some((Effect::Reboot, format!("systemctl {verb}")));
    }
    if let Some(unit) = after.iter().find(|unit| REBOOT_UNITS.contains(unit)) {
        return Some((Effect::Reboot, format!("systemctl {verb} {unit}")));
    }
    if verb == "isolate" {
        return Some((Effect::Services, format!("systemctl isolate {}", after.first()?)));
    }
    if !RESTARTS.contains(&verb) && !arguments.contains(&"--now") {
        return None;
    }
    let network = after.iter().find(|unit| is_network(unit));
    // Which one a variable stands for is not known.
    let takes_away = !["reload", "start"].contains(&verb);
    let may_be_service =
        |unit: &str| unit.contains('$') && !NO_SERVICES.iter().any(|kind| unit.ends_with(kind));
    let any = || after.iter().find(|unit| takes_away && may_be_service(unit));
    let (effect, unit) = match network {
        Some(unit) => (Effect::Network, unit),
        None => (Effect::Services, any()?),
    };
    Some((effect, format!("systemctl {verb} {unit}")))
}

/// Units of these kinds run nothing.
const NO_SERVICES: [&str; 5] = [".automount", ".mount", ".path", ".swap", ".timer"];

/// What is done to a service: its name, then what.
pub(super) fn service(arguments: &[&str]) -> Option<(Effect, String)> {
    let [unit, verb, ..] = arguments else { return None };
    (is_network(unit) && RESTARTS.contains(verb)).then(|| (Effect::Network, format!("service {unit} {verb}")))
}

/// By what systemctl starts a unit that does not run.
const STARTS: [&str; 4] = ["isolate", "reload-or-restart", "restart", "start"];

/// Units that a program of that name starts by theirs: `systemctl start a.service`, `service a start`.
pub(super) fn starts(program: &str, arguments: &[&str]) -> Vec<String> {
    let named = |unit: &&&str| !unit.starts_with('-') && !unit.contains(['$', '*', '?', '/', '%']);
    let unit = |unit: &&str| match unit.contains('.') {
        true => (*unit).to_owned(),
        false => format!("{unit}.service"),
    };
    if program == "systemctl" {
        let verb = arguments
            .iter()
            .position(|word| STARTS.contains(word) || *word == "enable" && arguments.contains(&"--now"));
        let units = verb.map_or(&[][..], |verb| &arguments[verb + 1..]);
        return units.iter().filter(named).map(unit).collect();
    }
    let [name, verb, ..] = arguments else {
        return Vec::new();
    };
    let starts = STARTS.contains(verb) && named(&name);
    starts.then(|| unit(name)).into_iter().collect()
}

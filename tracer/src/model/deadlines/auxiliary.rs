//! Mounts, swaps and sockets: a command does each step, and `TimeoutSec=` is the limit of each (`mount_dispatch_timer`,
//! `swap_dispatch_timer`, `socket_dispatch_timer`; systemd src/core).

use super::{Action, Consequence, Deadline, Due, INFINITE, Operation, Phase, Stopping};
use crate::event::UnitState;

/// When the step that one of them is at ends by itself, as [`super::of_state`] tells it of services. A mount or swap that
/// outlives its last signal is taken as it is found then.
pub(super) fn of_state(unit: &Stopping<'_>, state: &UnitState) -> Option<Deadline> {
    let limits = &state.limits;
    let (span, action) = match state.sub.as_str() {
        "mounting" | "mounting-done" | "remounting" | "unmounting" | "activating" | "activating-done"
        | "deactivating" | "start-pre" | "stop-post" => {
            (limits.stop, unit.send(Operation::Terminate, Phase::Final))
        }
        "start-chown" | "start-post" => (limits.stop, Action::Stop),
        "stop-pre" => (limits.stop, unit.send(Operation::Terminate, Phase::Stop)),
        "stop-pre-sigterm" => (limits.stop, unit.last(Phase::Stop)),
        "stop-pre-sigkill" => (limits.stop, unit.give_up(Phase::Stop)),
        "remounting-sigterm" | "unmounting-sigterm" | "deactivating-sigterm" | "final-sigterm" => {
            (limits.stop, unit.last(Phase::Final))
        }
        "remounting-sigkill" | "unmounting-sigkill" | "deactivating-sigkill" | "final-sigkill" => {
            (limits.stop, unit.give_up(Phase::Final))
        }
        "cleaning" => (limits.clean, unit.send(Operation::Kill, Phase::Final)),
        _ => return None,
    };
    if span == INFINITE {
        return Some(Deadline::NoLimit);
    }
    let at = limits.state_changed.saturating_add(span).saturating_mul(1000);
    Some(Deadline::Due(Due {
        from: at,
        to: at,
        action,
        watchdog: None,
        then: limits.failure_action.map(Consequence::Failed),
    }))
}

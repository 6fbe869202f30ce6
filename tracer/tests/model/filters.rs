//! What a filter says where it asks for a unit that is not there.

use tracer::event::{Body, CapabilityState, Seen, SocketState, Unit, UnitState};
use tracer::filter::Filter;
use tracer::ui::words;

use crate::story::*;

/// What is said of `--unit` on a node with some units.
fn said(unit: &str, systemd: Option<CapabilityState>) -> String {
    let mut story = healthy();
    for name in [
        "kubelet.service",
        "kubelet.socket",
        "ssh.service",
        "systemd-networkd.service",
        "systemd-networkd.socket",
    ] {
        story.say(Body::Unit(Box::new(Unit {
            name: name.to_owned(),
            seen: Seen::Found,
            state: Some(UnitState::default()),
        })));
    }
    if let Some(state) = systemd {
        story.capability("systemd", state);
    }
    // Of a unit that is none of the node's systemd, as that of a user's session.
    story.socket(client(40_000), None, SocketState::Established, "curl");
    story.exchange(client(40_000));
    story.tick();
    let filter = Filter {
        unit: Some(unit.to_owned()),
        ..Filter::default()
    };
    words::filter(&filter.report(&diagnosis(&story.events))).unwrap()
}

#[test]
fn a_unit_that_is_not_there_is_said_to_be_so_with_those_that_may_be_meant() {
    let all = Some(CapabilityState::Available);
    let one = "filter --unit kubelt: systemd has loaded no such unit (kubelet.service is like it); hides nothing; \
               the ledger counts everything";
    assert_eq!(said("kubelt", all), one);
    assert!(said("sshd.service", all).contains("(ssh.service is like it)"));
    assert!(said("systemd-netword.socket", all).contains("(systemd-networkd.socket is like it)"));
    let none = said("zzzzzzzzz", all);
    assert!(
        none.contains("no such unit (`systemctl list-units --all` names those that it has)"),
        "{none}"
    );
    // It is said once.
    assert!(!none.contains("is of it"), "{none}");
}

#[test]
fn a_unit_that_is_there_or_may_be_is_not_said_to_be_missing() {
    let all = Some(CapabilityState::Available);
    for unit in [
        "kubelet",
        "kubelet.socket",
        "ssh.service",
        "system.slice",
        "curl.service",
    ] {
        let said = said(unit, all);
        assert!(!said.contains("no such unit"), "{said}");
    }
    for state in [
        None,
        Some(CapabilityState::Partial),
        Some(CapabilityState::Unavailable),
    ] {
        let said = said("kubelt", state);
        assert!(!said.contains("no such unit"), "{said}");
        assert!(said.contains("is of it"), "{said}");
    }
}

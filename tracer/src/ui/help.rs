//! The page of keys and words.

use super::details::{Kind, Line, Page, frame};
use super::view::Showing;
use crate::report::Report;

/// The page, line by line.
#[must_use]
pub fn page(report: &Report, showing: Showing) -> Vec<Line> {
    let mut page = Page::default();
    page.line(
        Kind::Title,
        "tracer: which packets arrive and reach no socket, and why",
    );
    page.section(
        "Keys",
        Kind::Verbatim,
        [
            "q, Ctrl-C   quit; the tracer leaves nothing behind",
            "v, Enter    the verdicts in full: evidence, checks, remedies",
            "t           packets and what changed on the node, on one axis",
            "u           units of systemd, timers, packages",
            "n           the books of each network namespace",
            "Tab         which table the arrows scroll (marked >)",
            "arrows, j k PgUp PgDn Home End   scroll",
            "p, space    pause the screen; counting goes on",
            "?           this page; Esc leaves it",
        ],
    );
    page.section(
        "Where the fault is",
        Kind::Text,
        [
            "DATA PATH: what this node sends is not answered: look outside this machine.",
            "GUEST KERNEL: packets do not get to their sockets, or do not leave: look at rules, routes, addresses, filters, devices.",
            "PROCESS: packets come as far as the process, which does not take them or is gone.",
        ],
    );
    page.section(
        "Ledger",
        Kind::Text,
        [
            "arrived: packets that came in by an uplink. delivered: reached a socket. forwarded: left by a \
         device. answered: used up by the kernel itself. dropped: see Drops. queued: wait for a process to \
         read them, or for a neighbour to answer; per second: by how much the queues grow. unexplained: the rest, never hidden: packets \
         that are on their way, and what no probe saw end. It falls again when such packets arrive \
         somewhere; below 0 more was accounted for than arrived.",
        ],
    );
    page.section(
        "Drops",
        Kind::Text,
        [
            "class: state = the host lost a route, rule, address or neighbour; resource = something is full; \
         policy = someone decided it; protocol, environment = housekeeping, mostly harmless, and last in the \
         table.",
            "sock: the kernel had already found the socket that the packet was for.",
            "way: in = part of the ledger; inner = by another device, or no loss: it had done its work; out = was being sent.",
        ],
    );
    page.section(
        "Counters and queues",
        Kind::Text,
        [
            "Counters that the kernel keeps by itself. books: dropped = no event tells them, they are moved from \
         answered to dropped; no arrival = lost before they arrived, in no column; not sent = this node could not \
         send them; in drops = a drop tells them too; unknown = what they mean for the ledger is not known.",
            "waiting: a socket that nobody reads or accepts from, or a neighbour that does not answer, and for how long.",
        ],
    );
    page.section(
        "Network namespaces",
        Kind::Text,
        [
            "node: its books are those above. pod: its devices are linked to another namespace; what arrives by them is \
         in books of its own. lost: was forwarded to it and did not come.",
        ],
    );
    page.section(
        "Units and timeline",
        Kind::Text,
        [
            "limit: how long until systemd acts on the unit by itself, none where nothing limits it. starts: how often it \
         was started anew since the tracer looks. Columns in which nothing would stand are left out. random: is added to \
         a timer's time, at most. Behind what a timer did is how long that took, and how it ended where that was not well.",
            "In a band of 10 s # is what arrived, - what of it was dropped. by: who did it, with its unit, \
         container, pod and parent, or why that is not known. part: the band is not over, or the tracer was started in it. +5: nothing arrived either in the five bands after it. noticed only then: nobody told the change, it was found at that time and came about before.",
        ],
    );
    page.section(
        "Flows",
        Kind::Text,
        [
            "-> was opened by this node, <- by the peer. resent: retransmissions. starved: how long nothing \
         has reached the socket. in transit: not for an address of this node, so what is not dropped is forwarded; at a listener: \
         what it takes is not counted by flow. ~ marks text that was cut.",
        ],
    );
    frame(&mut page, report, showing);
    page.into_lines()
}

//! Firewalls, IPsec and the table of tracked connections.

use super::*;

#[test]
fn policies_of_ipsec_are_told() {
    let named = Named::new();
    let ask = Command::new("ip")
        .args(["-n", &named.0, "xfrm", "policy"])
        .output();
    if !ask.unwrap().status.success() {
        println!("this kernel has no IPsec");
        return;
    }
    let ends = "src 10.0.0.0/24 dst 10.1.0.0/24";
    named.ip(&format!("xfrm policy add {ends} dir in action block priority 7"));
    let mut listening = Listening::to(&named);
    let found = listening.has_found("IPsec policy in, from 10.0.0.0/24 to 10.1.0.0/24 priority 7");
    assert_eq!(found, Some("block"));
    let tunnel = "tmpl src 192.0.2.1 dst 198.51.100.1 proto esp mode tunnel";
    named.ip(&format!("xfrm policy add {ends} dir out priority 9 {tunnel}"));
    let thing = "IPsec policy out, from 10.0.0.0/24 to 10.1.0.0/24 priority 9";
    let (_, new) = listening.change_of(thing);
    assert_eq!(new.value.as_deref(), Some("esp tunnel 192.0.2.1 -> 198.51.100.1"));
    named.ip(&format!("xfrm policy delete {ends} dir out"));
    let (_, gone) = listening.change_of(thing);
    assert_eq!((&gone.value, gone.seen), (&None, Seen::Told));
    named.ip("xfrm policy flush");
    let first = "IPsec policy in, from 10.0.0.0/24 to 10.1.0.0/24 priority 7";
    assert_eq!(listening.value_of(first), None);
}

#[test]
fn that_the_rules_of_an_older_firewall_are_others_is_seen() {
    let named = Named::new();
    named.exec("iptables-legacy -A INPUT -p tcp --dport 81 -j DROP");
    let mut listening = Listening::to(&named);
    // A rule, three policies, and the end of the table.
    let (entries, first) = (listening.has_found("rules of ip_tables filter").unwrap())
        .split_once(" entries, hash ")
        .map(|(entries, hash)| (entries.to_owned(), hash.to_owned()))
        .unwrap();
    assert_eq!((entries.as_str(), first.len()), ("5", 8));
    assert_eq!(listening.has_found("rules of ip6_tables filter"), None);
    named.exec("iptables-legacy -P INPUT DROP");
    let shut = listening.value_of("rules of ip_tables filter").unwrap();
    assert!(
        shut.starts_with("policy of INPUT drop, 5 entries, hash "),
        "{shut}"
    );
    // By as many rules, where those before stood.
    named.exec("iptables-legacy -R INPUT 1 -p tcp --dport 82 -j DROP");
    let replaced = listening.value_of("rules of ip_tables filter").unwrap();
    assert!(
        replaced.starts_with("policy of INPUT drop, 5 entries, hash ") && replaced != shut,
        "{replaced}"
    );
    named.exec("iptables-legacy -R INPUT 1 -p tcp --dport 81 -j DROP");
    named.exec("iptables-legacy -P INPUT ACCEPT");
    let expected = Some(format!("5 entries, hash {first}"));
    while listening.value_of("rules of ip_tables filter") != expected {}
    // A rule by a module that keeps something of its own in it.
    let limited = "iptables-legacy -R INPUT 1 -m limit --limit 5/min -p tcp --dport 81 -j DROP";
    named.exec(limited);
    let (_, with_limit) = listening.change_of("rules of ip_tables filter");
    named.exec("iptables-legacy -R INPUT 1 -p tcp --dport 81 -j DROP");
    while listening.value_of("rules of ip_tables filter") != expected {}
    named.exec(limited);
    let (_, again) = listening.change_of("rules of ip_tables filter");
    assert_eq!(again.value, with_limit.value);
    named.exec("iptables-legacy -F INPUT");
    let (_, emptied) = listening.change_of("rules of ip_tables filter");
    let emptied = emptied.value.unwrap();
    assert!(
        emptied.starts_with("4 entries that drop nothing, hash "),
        "{emptied}"
    );
    named.exec("ip6tables-legacy -t raw -A PREROUTING -j DROP");
    let (event, new) = listening.change_of("rules of ip6_tables raw");
    assert!(event.at > 0 && new.value.unwrap().starts_with("4 entries, hash "));
    assert_eq!(new.by, None);
    assert_eq!(listening.unseen.find("ip_tables"), None, "{}", listening.unseen);
}

#[test]
fn who_changes_the_rules_of_a_firewall_is_told() {
    let named = Named::new();
    let mut listening = Listening::to(&named);
    let mut change = |command: &str| {
        let pid = named.exec(command);
        let (_, changed) = listening.change_of("rules of nf_tables");
        // `ip netns exec` becomes what it runs.
        let by = changed.by.unwrap();
        assert_eq!((by.pid, by.command.as_str()), (pid, "nft"));
        changed.value.unwrap()
    };
    assert_eq!(
        change("nft add table inet guard"),
        "generation 2, tables: inet guard; table inet guard new"
    );
    assert_eq!(
        change("nft add chain inet guard in { type filter hook input priority 0 ; policy accept ; }"),
        "generation 3, tables: inet guard; table inet guard, chain in with policy accept new"
    );
    // The numbers of what a table has in it are drawn one after another.
    assert_eq!(
        change("nft add rule inet guard in ip saddr 10.1.0.0/20 tcp dport 22 counter drop"),
        "generation 4, tables: inet guard; table inet guard, chain in: \
         rule handle 2 (ipv4 ip saddr 10.1.0.0/20 tcp dport 22 drop) new"
    );
    assert_eq!(
        change("nft chain inet guard in { policy drop ; }"),
        "generation 5, tables: inet guard; table inet guard, chain in: policy drop, was accept"
    );
    assert_eq!(
        change("nft delete rule inet guard in handle 2"),
        "generation 6, tables: inet guard; table inet guard, chain in: \
         rule handle 2 (ipv4 ip saddr 10.1.0.0/20 tcp dport 22 drop) gone"
    );
    assert_eq!(
        change("nft add set inet guard banned { type ipv4_addr ; }"),
        "generation 7, tables: inet guard; table inet guard, set banned new"
    );
    assert_eq!(
        change("nft add element inet guard banned { 192.0.2.1, 192.0.2.2 }"),
        "generation 8, tables: inet guard; table inet guard, set banned: 2 elements new"
    );
    let told =
        change("nft add rule inet guard in ip daddr != @banned meta l4proto tcp ip saddr 10.0.0.0/8 drop");
    assert!(
        told.ends_with("(ipv4 ip daddr not in @banned tcp ip saddr 10.0.0.0/8 drop) new"),
        "{told}"
    );
    let told =
        change("nft add rule inet guard in ip daddr . tcp dport != { 192.0.2.1 . 22, 192.0.2.2 . 23 } drop");
    assert!(
        told.ends_with("(ipv4 tcp ip daddr . dport not in a set drop) new"),
        "{told}"
    );
    assert!(change("nft flush chain inet guard in").ends_with("not in a set drop) gone"));
    assert_eq!(
        change(
            "nft add set inet guard nets { type ipv4_addr ; flags interval ; elements = { 10.0.0.0/8 } ; }"
        ),
        "generation 12, tables: inet guard; table inet guard, set nets new; table inet guard, set nets: 1 element new"
    );
    assert_eq!(
        change("nft flush set inet guard banned"),
        "generation 13, tables: inet guard; table inet guard, set banned: 2 elements gone"
    );
    assert_eq!(
        change("nft delete set inet guard nets"),
        "generation 14, tables: inet guard; table inet guard, set nets gone"
    );
    assert_eq!(
        change("nft delete table inet guard"),
        "generation 15, no tables; table inet guard, set banned gone; table inet guard, chain in gone; table inet guard gone"
    );
}

/// The kernel tells both by the messages of what is new.
#[test]
fn devices_that_a_chain_gets_and_a_table_that_sleeps_are_told_as_that() {
    let named = Named::new();
    let mut listening = Listening::to(&named);
    let mut change = |command: &str| {
        named.exec(command);
        let (_, changed) = listening.change_of("rules of nf_tables");
        let value = changed.value.unwrap();
        value.split_once("; ").map(|(_, did)| did.to_owned()).unwrap()
    };
    let chain = |devices: &str| {
        let hook = format!("type filter hook ingress devices = {{ {devices} }} priority 0");
        format!("nft add chain netdev guard in {{ {hook} ; }}")
    };
    named.ip("link add one type veth peer two");
    change("nft add table netdev guard");
    assert_eq!(
        change(&chain("one")),
        "table netdev guard, chain in with policy accept new"
    );
    assert_eq!(
        change(&chain("two")),
        "table netdev guard, chain in: device two new"
    );
    assert_eq!(
        change("nft add table netdev guard { flags dormant ; }"),
        "table netdev guard: dormant"
    );
    assert_eq!(
        change("nft add table netdev guard"),
        "table netdev guard: not dormant any more"
    );
    assert_eq!(
        change("nft delete chain netdev guard in"),
        "table netdev guard, chain in gone"
    );
}

/// What goes and comes again is judged by its words: of a change that does much all of it is told.
#[test]
fn all_that_a_large_change_did_is_told() {
    let named = Named::new();
    named.exec("nft add table inet guard");
    named.exec("nft add chain inet guard in { type filter hook input priority 0 ; }");
    for port in 1..40 {
        named.exec(&format!("nft add rule inet guard in tcp dport {port} drop"));
    }
    let mut listening = Listening::to(&named);
    named.exec("nft flush chain inet guard in ; add rule inet guard in tcp dport 7 drop");
    let (_, changed) = listening.change_of("rules of nf_tables");
    let value = changed.value.unwrap();
    for port in 1..40 {
        assert!(
            value.contains(&format!("(tcp dport {port} drop) gone")),
            "{value}"
        );
    }
    assert!(value.ends_with("(tcp dport 7 drop) new"), "{value}");
}

/// A change was made by this process. It is short-lived, and may be gone before it could be looked at: then nobody is named, as
/// here nobody remembers those that have ended.
fn is_by(setting: &Setting, pid: u32, command: &str) {
    match &setting.by {
        Some(by) => {
            assert_eq!(by.pid, pid);
            assert!([command, ""].contains(&by.command.as_str()), "{by:?}");
        }
        None => assert_eq!(setting.by_unknown, Some(Unknown::NotFound), "{setting:?}"),
    }
}

#[test]
fn who_deletes_tracked_connections_is_told() {
    let named = Named::new();
    let mut listening = Listening::to(&named);
    let add = |port: u32| {
        named.exec(&format!(
            "conntrack -I -s 10.0.0.1 -d 10.0.0.2 -p tcp --sport {port} --dport 80 --state ESTABLISHED -t 100"
        ));
    };
    (1000..1003).for_each(add);
    let pid = named.exec("conntrack -F");
    // It may take longer than is waited for to tell it in one.
    let mut last = String::new();
    while !last.ends_with("deleted, 3 since tracer looks") {
        let (_, changed) = listening.change_of("connection tracking");
        assert_eq!(changed.seen, Seen::Told);
        is_by(&changed, pid, "conntrack");
        last = changed.value.unwrap();
    }

    add(1004);
    // It asks by a second socket, which has an address that names nobody once it has ended.
    named.exec("conntrack -D -p tcp --sport 1004");
    let (_, changed) = listening.change_of("connection tracking");
    assert_eq!(
        changed.value.as_deref(),
        Some("1 entry deleted, 4 since tracer looks")
    );
}

#[test]
fn what_has_another_name_and_what_counts_is_told() {
    let named = Named::new();
    named.exec("nft add table inet guard");
    named.exec("nft add chain inet guard in");
    named.exec("nft add rule inet guard in ip6 nexthdr icmpv6 accept");
    let mut listening = Listening::to(&named);
    for (command, expected) in [
        ("rename chain inet guard in inn", ", chain inn: renamed, was in"),
        ("add counter inet guard hits", ", counter hits new"),
        ("delete counter inet guard hits", ", counter hits gone"),
        (
            "add quota inet guard most { 10 mbytes ; }",
            ", quota most new or changed",
        ),
        (
            "delete rule inet guard inn handle 2",
            ", chain inn: rule handle 2 (ipv6 icmpv6 accept) gone",
        ),
    ] {
        let pid = named.exec(&format!("nft {command}"));
        let (_, changed) = listening.change_of("rules of nf_tables");
        let value = changed.value.unwrap();
        assert!(
            value.ends_with(&format!("tables: inet guard; table inet guard{expected}")),
            "{command}: {value}"
        );
        assert_eq!(changed.by.unwrap().pid, pid);
    }
}

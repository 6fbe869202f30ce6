//! Sockets and who has them.

use super::*;

/// Sockets of a namespace, as they should be found.
struct Expected<'a> {
    netns: u32,
    found: &'a [Socket],
}

impl Expected<'_> {
    fn check(
        &self,
        socket: &impl AsFd,
        state: SocketState,
        protocol: Protocol,
        (local, local_port): (IpAddr, u16),
        (remote, remote_port): (IpAddr, u16),
    ) {
        let flow = FlowKey {
            netns: self.netns,
            protocol,
            local,
            local_port,
            remote,
            remote_port,
        };
        let same: Vec<&Socket> = self
            .found
            .iter()
            .filter(|found| found.inode == inode(socket))
            .collect();
        let [found] = same[..] else {
            panic!("{flow} once: {same:?}")
        };
        assert_eq!((found.flow, found.state, found.from), (flow, state, None));
        let owner = found
            .owner
            .as_ref()
            .unwrap_or_else(|| panic!("{flow} has no owner"));
        assert_eq!(owner.pid, std::process::id(), "{flow}");
        assert_eq!(
            owner.command,
            fs::read_to_string("/proc/self/comm").unwrap().trim_end()
        );
    }
}

/// Lists the sockets of a namespace, with owners.
fn listed(netns: &Netns) -> Vec<Socket> {
    let mut found = sockets::list(netns).unwrap();
    assert_eq!(found.unread, Vec::<String>::new());
    assert_eq!(found.capability().state, CapabilityState::Available);
    Owners::new().fill(&mut found.sockets, clock::boottime_ns());
    found.sockets
}

#[test]
fn tcp_sockets_are_listed_with_their_owner() {
    let named = Named::new();
    let netns = named.open();
    let connection = |listener: &TcpListener, to: IpAddr| {
        let client = TcpStream::connect((to, listener.local_addr().unwrap().port())).unwrap();
        (listener.accept().unwrap().0, client)
    };
    let (lo4, lo6, any4, any6) = (v4("127.0.0.1"), v6("::1"), v4("0.0.0.0"), v6("::"));
    let (listener, (server, client), dual, (server4, client4), (server6, client6), pending) = netns
        .enter(|| {
            let listener = TcpListener::bind((lo4, 0)).unwrap();
            let pair = connection(&listener, lo4);
            let dual = TcpListener::bind((any6, 0)).unwrap();
            let (pair4, pair6) = (connection(&dual, lo4), connection(&dual, lo6));
            // Left in the queue of the listener.
            let pending = TcpStream::connect((lo6, dual.local_addr().unwrap().port())).unwrap();
            (listener, pair, dual, pair4, pair6, pending)
        })
        .unwrap();
    let found = listed(&netns);
    let expected = Expected {
        netns: netns.inode(),
        found: &found,
    };
    let port = |stream: &TcpStream| stream.local_addr().unwrap().port();
    let tcp = Protocol::Tcp;

    let service = listener.local_addr().unwrap().port();
    expected.check(&listener, Listen, tcp, (lo4, service), (any4, 0));
    expected.check(&client, Established, tcp, (lo4, port(&client)), (lo4, service));
    expected.check(&server, Established, tcp, (lo4, service), (lo4, port(&client)));

    let service = dual.local_addr().unwrap().port();
    expected.check(&dual, Listen, tcp, (any6, service), (any6, 0));
    expected.check(&client4, Established, tcp, (lo4, port(&client4)), (lo4, service));
    expected.check(&server4, Established, tcp, (lo4, service), (lo4, port(&client4)));
    expected.check(&client6, Established, tcp, (lo6, port(&client6)), (lo6, service));
    expected.check(&server6, Established, tcp, (lo6, service), (lo6, port(&client6)));

    // Nobody has accepted the other side yet, so it has no file and no owner.
    let other_side = found
        .iter()
        .find(|socket| socket.flow.remote_port == port(&pending))
        .unwrap();
    assert_eq!(
        (other_side.inode, &other_side.owner, other_side.state),
        (0, &None, Established)
    );

    // Nothing of it is in another namespace.
    let outside = sockets::list(&Netns::current().unwrap()).unwrap();
    assert!(
        outside
            .sockets
            .iter()
            .all(|socket| socket.inode != inode(&client))
    );
}

#[test]
fn sockets_without_connections_are_listed_with_their_owner() {
    const OSPF: SocketProtocol = SocketProtocol::from_raw(NonZeroU32::new(89).unwrap());
    let named = Named::new();
    let netns = named.open();
    let (lo4, lo6, any4, any6) = (v4("127.0.0.1"), v6("::1"), v4("0.0.0.0"), v6("::"));
    let open = |family, kind, protocol| socket(family, kind, Some(protocol)).unwrap();
    let ([udp, connected, dual], [ping, ping6], [raw, raw6, ospf]): (_, _, [OwnedFd; 3]) = netns
        .enter(|| {
            let udp = UdpSocket::bind((any4, 0)).unwrap();
            let connected = UdpSocket::bind((lo6, 0)).unwrap();
            connected.connect((lo6, 9)).unwrap();
            let dual = UdpSocket::bind((any6, 0)).unwrap();
            fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
            let ping = open(AddressFamily::INET, SocketType::DGRAM, ipproto::ICMP);
            bind(&ping, &"127.0.0.1:77".parse::<SocketAddrV4>().unwrap()).unwrap();
            let ping6 = open(AddressFamily::INET6, SocketType::DGRAM, ipproto::ICMPV6);
            bind(&ping6, &"[::1]:78".parse::<SocketAddrV6>().unwrap()).unwrap();
            let raw = open(AddressFamily::INET, SocketType::RAW, ipproto::ICMP);
            let raw6 = open(AddressFamily::INET6, SocketType::RAW, ipproto::ICMPV6);
            let ospf = open(AddressFamily::INET, SocketType::RAW, OSPF);
            ([udp, connected, dual], [ping, ping6], [raw, raw6, ospf])
        })
        .unwrap();
    let found = listed(&netns);
    let expected = Expected {
        netns: netns.inode(),
        found: &found,
    };
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();

    expected.check(&udp, Close, Protocol::Udp, (any4, port(&udp)), (any4, 0));
    expected.check(
        &connected,
        Established,
        Protocol::Udp,
        (lo6, port(&connected)),
        (lo6, 9),
    );
    expected.check(&dual, Close, Protocol::Udp, (any6, port(&dual)), (any6, 0));
    expected.check(&ping, Close, Protocol::Icmp, (lo4, 77), (any4, 0));
    expected.check(&ping6, Close, Protocol::Icmp6, (lo6, 78), (any6, 0));
    expected.check(&raw, Close, Protocol::Icmp, (any4, 0), (any4, 0));
    expected.check(&raw6, Close, Protocol::Icmp6, (any6, 0), (any6, 0));
    expected.check(&ospf, Close, Protocol::Other(89), (any4, 0), (any4, 0));
}

#[test]
fn a_closed_connection_is_listed_in_time_wait_without_owner() {
    let named = Named::new();
    let netns = named.open();
    let ports = netns
        .enter(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let ports = (
                client.local_addr().unwrap().port(),
                listener.local_addr().unwrap().port(),
            );
            drop(client);
            assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
            ports
        })
        .unwrap();
    // The last segments may be on their way for an instant.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = listed(&netns);
        let client = found
            .iter()
            .find(|socket| (socket.flow.local_port, socket.flow.remote_port) == ports);
        match client {
            Some(socket) if socket.state == TimeWait => {
                assert_eq!((socket.inode, &socket.owner), (0, &None));
                break;
            }
            other => assert!(Instant::now() < deadline, "no TIME-WAIT: {other:?}"),
        }
        std::thread::yield_now();
    }
}

//! What waits, and what counters say was lost.

use super::*;

/// What waits in the socket with this inode.
fn waiting(netns: &Netns, inode: u64) -> Option<Queue> {
    let found = sockets::list(netns).unwrap();
    found.queues.into_iter().find(|queue| queue.inode == inode)
}

/// Visits a namespace until a counter has grown by so much, and says by how much the others have.
fn grown(counters: &mut Counters, netns: &Netns, devices: &[Device], name: &str, by: u64) -> Vec<Counter> {
    let deadline = Instant::now() + PATIENCE;
    let mut told: Vec<Counter> = Vec::new();
    loop {
        for counter in counters.visit(netns, devices, false).unwrap() {
            told.retain(|known| known.key != counter.key);
            told.push(counter);
        }
        let found = told.iter().find(|counter| counter.key.name == name);
        if found.is_some_and(|counter| counter.grown >= by) {
            return told;
        }
        assert!(
            Instant::now() < deadline,
            "{name} has not grown by {by}: {told:?}"
        );
        std::thread::yield_now();
    }
}

#[test]
fn a_full_accept_queue_is_seen_by_its_listener_and_by_the_counters() {
    let named = Named::new();
    let netns = named.open();
    let lo = v4("127.0.0.1");
    let mut counters = Counters::default();
    assert_eq!(counters.visit(&netns, &[], false).unwrap(), []);
    let (listener, _accepted) = netns
        .enter(|| {
            let listener = TcpListener::bind((lo, 0)).unwrap();
            listen(&listener, 1).unwrap();
            let to = listener.local_addr().unwrap();
            // One more than its limit.
            (
                listener,
                [TcpStream::connect(to).unwrap(), TcpStream::connect(to).unwrap()],
            )
        })
        .unwrap();
    let queue = waiting(&netns, inode(&listener)).unwrap();
    assert_eq!((queue.state, queue.waiting, queue.limit), (Listen, 2, Some(1)));
    assert_eq!(queue.drops, Some(0));
    assert_eq!(
        counters.visit(&netns, &[], false).unwrap(),
        [],
        "nothing is lost yet"
    );

    let _refused: OwnedFd = netns
        .enter(|| {
            let tcp = Some(ipproto::TCP);
            let client = socket_with(
                AddressFamily::INET,
                SocketType::STREAM,
                SocketFlags::NONBLOCK,
                tcp,
            )
            .unwrap();
            let asked = connect(&client, &listener.local_addr().unwrap());
            assert_eq!(asked, Err(Errno::INPROGRESS));
            client
        })
        .unwrap();
    let told = grown(&mut counters, &netns, &[], "TcpExtListenOverflows", 1);
    assert!(told.iter().all(|counter| counter.key.netns == netns.inode()));
    assert!(told.iter().any(|counter| counter.key.name == "TcpExtListenDrops"));
    assert!(waiting(&netns, inode(&listener)).unwrap().drops > Some(0));

    // The process accepts again.
    listener.accept().unwrap();
    listener.accept().unwrap();
    let full = |queue: Queue| queue.waiting > 1;
    assert!(!waiting(&netns, inode(&listener)).is_some_and(full));
}

#[test]
fn what_nobody_reads_is_seen_with_what_had_no_room() {
    let named = Named::new();
    let netns = named.open();
    let lo = v4("127.0.0.1");
    let mut counters = Counters::default();
    assert_eq!(counters.visit(&netns, &[], false).unwrap(), []);
    let (receiver, sender) = netns
        .enter(|| {
            let receiver = UdpSocket::bind((lo, 0)).unwrap();
            sockopt::set_socket_recv_buffer_size(&receiver, 4096).unwrap();
            let sender = UdpSocket::bind((lo, 0)).unwrap();
            sender.connect(receiver.local_addr().unwrap()).unwrap();
            sender.send(&[0; 100]).unwrap();
            (receiver, sender)
        })
        .unwrap();
    let queue = waiting(&netns, inode(&receiver)).unwrap();
    assert!(queue.waiting >= 100 && queue.limit.is_none());
    assert_eq!(queue.drops, Some(0));
    assert_eq!(waiting(&netns, inode(&sender)), None);
    for _ in 0..100 {
        sender.send(&[0; 1000]).unwrap();
    }
    let told = grown(&mut counters, &netns, &[], "UdpRcvbufErrors", 1);
    let lost = told
        .iter()
        .find(|counter| counter.key.name == "UdpRcvbufErrors")
        .unwrap();
    assert_eq!(lost.key.source, Source::Snmp);
    assert_eq!(
        waiting(&netns, inode(&receiver)).unwrap().drops.map(u64::from),
        Some(lost.grown)
    );
    let mut buffer = [0; 1000];
    receiver.set_nonblocking(true).unwrap();
    while receiver.recv(&mut buffer).is_ok() {}
    assert_eq!(waiting(&netns, inode(&receiver)), None);
}

#[test]
fn what_a_device_loses_is_seen_of_this_device() {
    let (near, far) = (Named::new(), Named::new());
    let (from, to) = (unique(), unique());
    ip(&format!(
        "link add {from} netns {} type veth peer name {to} netns {}",
        near.0, far.0
    ));
    ip(&format!("-n {} address add 10.9.0.1/24 dev {from}", near.0));
    ip(&format!(
        "-n {} link set {to} mtu 576 address 02:00:00:00:00:02 up",
        far.0
    ));
    ip(&format!("-n {} link set {from} up", near.0));
    ip(&format!(
        "-n {} neighbour add 10.9.0.2 lladdr 02:00:00:00:00:02 dev {from}",
        near.0
    ));
    let netns = far.open();
    let devices = devices::list(std::slice::from_ref(&netns), std::slice::from_ref(&to))
        .unwrap()
        .devices;
    let device: Vec<Device> = devices.into_iter().filter(|device| device.name == to).collect();
    let mut counters = Counters::default();
    assert_eq!(counters.visit(&netns, &device, true).unwrap(), []);
    assert_eq!(counters.capability().why, "");
    near.open()
        .enter(|| {
            let sender = UdpSocket::bind((v4("10.9.0.1"), 0)).unwrap();
            for _ in 0..3 {
                // More than the other end takes (`____dev_forward_skb`).
                sender.send_to(&[0; 1000], (v4("10.9.0.2"), 9)).unwrap();
            }
        })
        .unwrap();
    let told = grown(&mut counters, &netns, &device, "rx_dropped", 3);
    let dropped = told
        .iter()
        .find(|counter| counter.key.name == "rx_dropped")
        .unwrap();
    assert_eq!((dropped.grown, dropped.key.device), (3, device[0].index));
    assert_eq!(dropped.key.source, Source::Device);
    // One that is gone counts nothing, and is no fault.
    ip(&format!("-n {} link del {from}", near.0));
    assert_eq!(counters.visit(&netns, &device, false).unwrap(), []);
    assert_eq!(counters.capability().state, CapabilityState::Available);
}

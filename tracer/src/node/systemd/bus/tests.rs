use super::*;

fn sent<B: serde::Serialize + DynamicType>(interface: &str, member: &str, body: &B) -> Option<Signal> {
    let message = Message::signal("/org/freedesktop/systemd1/unit/a_2eservice", interface, member);
    signal(&message.unwrap().build(body).unwrap())
}

fn object(path: &str) -> OwnedObjectPath {
    OwnedObjectPath::try_from(path).unwrap()
}

#[test]
fn signals_are_read() {
    let path = "/org/freedesktop/systemd1/unit/a_2eservice".to_owned();
    assert_eq!(
        sent(MANAGER, "UnitNew", &("a.service", object(&path))),
        Some(Signal::UnitNew(Object {
            name: "a.service".to_owned(),
            path: path.clone()
        }))
    );
    assert_eq!(
        sent(
            MANAGER,
            "JobRemoved",
            &(7u32, object("/"), "a.service", "timeout")
        ),
        Some(Signal::JobRemoved {
            id: 7,
            unit: "a.service".to_owned(),
            result: "timeout".to_owned()
        })
    );
    assert_eq!(
        sent(MANAGER, "JobNew", &(7u32, object("/"), "a.service")),
        Some(Signal::JobNew {
            id: 7,
            unit: "a.service".to_owned()
        })
    );
    assert_eq!(sent(MANAGER, "Reloading", &true), Some(Signal::Reloading(true)));
    let changed = |interface: &str| {
        let none: HashMap<&str, Value<'_>> = HashMap::new();
        sent(
            PROPERTIES,
            "PropertiesChanged",
            &(interface, none, vec!["MainPID"]),
        )
    };
    assert_eq!(
        changed("org.freedesktop.systemd1.Service"),
        Some(Signal::UnitChanged {
            path,
            said: Box::default()
        })
    );
    assert_eq!(changed("org.freedesktop.systemd1.Job"), Some(Signal::JobChanged));
    assert_eq!(changed("org.freedesktop.systemd1.Slice"), None);
    assert_eq!(changed("org.freedesktop.hostname1"), None);
    assert_eq!(
        sent(BUS, "NameOwnerChanged", &(SYSTEMD, ":1.0", "")),
        Some(Signal::Owner(None))
    );
    assert_eq!(sent(BUS, "NameOwnerChanged", &("other", ":1.0", "")), None);
}

#[test]
fn what_is_no_such_signal_is_passed_over() {
    assert_eq!(sent(MANAGER, "UnitNew", &7u32), None);
    assert_eq!(sent(MANAGER, "Reloading", &"yes"), None);
    assert_eq!(sent(MANAGER, "StartupFinished", &()), None);
    assert_eq!(sent("org.example.Other", "UnitNew", &()), None);
    let to_us = Message::signal("/", MANAGER, "Reloading").unwrap();
    let to_us = to_us.destination(":1.5").unwrap().build(&true).unwrap();
    assert_eq!(signal(&to_us), None);
}

/// It answers each call in less time than a call may take.
#[tokio::test]
async fn a_bus_that_is_slow_in_all_is_given_up() {
    let path = std::env::temp_dir().join(format!("tracer-slow-bus-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let bus = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let server = Builder::unix_stream(stream).server(zbus::Guid::generate());
        let connection = server.unwrap().p2p().build().await.unwrap();
        let mut calls = MessageStream::from(&connection);
        while let Some(Ok(call)) = poll_fn(|context| Pin::new(&mut calls).poll_next(context)).await {
            tokio::time::sleep(BRIEF / 3).await;
            connection.reply(&call.header(), &":1.7").await.unwrap();
        }
    });
    let address = Address::Path(path.display().to_string());
    let failure = Bus::connect(&address).await.err();
    bus.abort();
    std::fs::remove_file(&path).unwrap();
    let late = "reaching systemd: no answer in 3 s".to_owned();
    assert_eq!(failure, Some(Failure::Broken(late)));
}

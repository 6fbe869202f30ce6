//! The connection to systemd: its calls, each with a time limit, and its signals.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream;
use tokio::net::UnixStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::timeout;
use zbus::connection::Builder;
use zbus::message::{Body, Message, Type};
use zbus::names::OwnedUniqueName;
use zbus::zvariant::{DynamicType, OwnedObjectPath, Value};
use zbus::{Connection, MessageStream};

use super::address::Address;
use super::names;
use super::private::Private;
use super::properties::{self, INVOCATION, Properties, Said};
use crate::node::clock;

/// A bus that takes longer to answer hangs.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for an answer that takes no work, and for all that it takes to reach systemd by a bus: one that hangs is given up before
/// whoever asks once has lost patience, so that systemd can be asked without it.
const BRIEF: Duration = Duration::from_secs(3);
/// Signals that wait at most. Where there are more, all is listed anew.
const WAITING: usize = 4096;
/// Messages that zbus keeps until they are taken, which is at once.
const QUEUED: usize = 256;

/// The name of systemd on a bus.
pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const OBJECT: &str = "/org/freedesktop/systemd1";
const PEER: &str = "org.freedesktop.DBus.Peer";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The name of the bus itself, and of its interface.
const BUS: &str = "org.freedesktop.DBus";
const BUS_OBJECT: &str = "/org/freedesktop/DBus";

/// What a bus says where the one that is called has left it.
const AWAY: [&str; 3] = ["Error.NoReply", "Error.ServiceUnknown", "Error.NameHasNoOwner"];

/// What systemd says where its answer would have a string in it that is no text (`sd_bus_message_append`: `EINVAL`).
const ODD: &str = "Error.InvalidArgs";

/// Interfaces of which a change of properties matters.
const WATCHED: [&str; 5] = ["Unit", "Service", "Scope", "Timer", "Job"];

/// Why a call has brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The answer is an error, or not what was asked for: the object has gone, or may not be seen.
    #[error("{0}")]
    Refused(String),
    /// The connection is of no use any more.
    #[error("{0}")]
    Broken(String),
}

/// What systemd or the bus tells by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// A unit was loaded.
    UnitNew(Object),
    /// A unit was unloaded.
    UnitRemoved { name: String },
    /// A job was queued.
    JobNew { id: u32, unit: String },
    /// A job has ended.
    JobRemoved { id: u32, unit: String, result: String },
    /// systemd begins to load all units anew, or has done so.
    Reloading(bool),
    /// A unit is not as it was.
    UnitChanged { path: String, said: Box<Said> },
    /// A job is not as it was.
    JobChanged,
    /// Another connection has the name of systemd, or none.
    Owner(Option<String>),
    /// There were more signals than fit.
    Lost,
}

/// A signal, and the boot time in ns when it came.
pub(super) type Heard = (u64, Signal);

/// A unit, and the object that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) path: String,
}

/// A unit as systemd lists it.
pub(super) struct Listed {
    pub(super) object: Object,
    pub(super) active: String,
    pub(super) sub: String,
}

/// All units.
pub(super) struct List {
    pub(super) units: Vec<Listed>,
    /// Kinds of units, by the ends of their names, that systemd does not list, and why.
    pub(super) refused: Vec<(&'static str, String)>,
}

/// A job as systemd lists it.
pub(super) struct ListedJob {
    pub(super) id: u32,
    pub(super) unit: String,
    pub(super) action: String,
    pub(super) state: String,
}

/// The services that serve the bus of the node: `dbus.service` is another name of the second where that is there.
const BUSES: [&str; 2] = ["dbus.service", "dbus-broker.service"];

/// A connection to systemd, by a bus or to itself.
#[derive(Clone, Debug)]
pub(super) struct Bus {
    connection: Connection,
    /// The unique name of systemd, which calls go to: by it nothing is ever started. `None` where systemd is not on the
    /// bus.
    owner: Option<OwnedUniqueName>,
    /// There is no bus between.
    private: bool,
}

impl Bus {
    /// Connects, and listens to signals.
    pub(super) async fn connect(address: &Address) -> Result<(Self, Receiver<Heard>), Failure> {
        // Without a bus between it is systemd that answers, which takes longer.
        let patience = if address.is_private() { PATIENCE } else { BRIEF };
        in_time(patience, "reaching systemd", Self::reach(address)).await
    }

    async fn reach(address: &Address) -> Result<(Self, Receiver<Heard>), Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::Broken(error.to_string());
        let stream = address.connect().map_err(|error| match error.kind() {
            ErrorKind::NotFound => broken(&"it is not there"),
            _ => broken(&error),
        })?;
        let stream = UnixStream::from_std(stream).map_err(|error| broken(&error))?;
        let private = address.is_private();
        let builder = if private {
            Builder::socket(Private(stream)).p2p()
        } else {
            Builder::unix_stream(stream)
        };
        let build = builder.max_queued(QUEUED).build();
        let connection = answer("the handshake", build).await?;
        let (sender, signals) = channel(WAITING);
        // It ends with the connection, or with whoever takes the signals.
        tokio::spawn(listen(MessageStream::from(&connection), sender));
        let mut bus = Self {
            connection,
            owner: None,
            private,
        };
        if !private {
            bus.match_signals().await?;
            bus.find_owner().await?;
        }
        Ok((bus, signals))
    }

    /// Whether systemd is there.
    pub(super) fn has_systemd(&self) -> bool {
        self.private || self.owner.is_some()
    }

    /// That connection is known to have systemd's name.
    pub(super) fn is_owned_by(&self, name: &str) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.as_str() == name)
    }

    /// Another connection has systemd's name.
    pub(super) fn set_owner(&mut self, owner: Option<String>) {
        self.owner = owner.and_then(|name| OwnedUniqueName::try_from(name).ok());
    }

    /// Asks for signals. On a bus none is sent before somebody has.
    pub(super) async fn subscribe(&self) -> Result<(), Failure> {
        match self.call(OBJECT, MANAGER, "Subscribe", &()).await {
            // A connection that has asked before is told so.
            Err(Failure::Refused(why)) if why.contains("AlreadySubscribed") => Ok(()),
            done => done.map(drop),
        }
    }

    /// All units that are loaded, but for those that others only speak of. systemd lists none at all where the description of
    /// one is no text, as that of a mount at such a place: then each kind that is told is asked for by itself.
    pub(super) async fn units(&self) -> Result<List, Failure> {
        let mut list = List {
            units: Vec::new(),
            refused: Vec::new(),
        };
        match self.units_by("ListUnits", &()).await {
            Err(Failure::Refused(why)) if why.contains(ODD) => {}
            units => {
                list.units = units?;
                return Ok(list);
            }
        }
        for kind in names::TOLD {
            let none: [&str; 0] = [];
            let which = (&none[..], &[format!("*.{kind}")][..]);
            match self.units_by("ListUnitsByPatterns", &which).await {
                Ok(units) => list.units.extend(units),
                Err(Failure::Refused(why)) => list.refused.push((kind, why)),
                Err(broken) => return Err(broken),
            }
        }
        Ok(list)
    }

    /// The units that a call lists.
    async fn units_by<B>(&self, method: &str, which: &B) -> Result<Vec<Listed>, Failure>
    where
        B: serde::Serialize + DynamicType,
    {
        // Name, description, load state, active state, sub-state, followed unit, object; job, its type and object.
        type Row<'m> = (
            &'m str,
            &'m str,
            &'m str,
            &'m str,
            &'m str,
            &'m str,
            Path<'m>,
            u32,
            &'m str,
            Path<'m>,
        );
        type Path<'m> = zbus::zvariant::ObjectPath<'m>;
        let reply = self.call(OBJECT, MANAGER, method, which).await?;
        let body = reply.body();
        let rows: Vec<Row<'_>> = read(method, &body)?;
        let is_there = |row: &Row<'_>| !(row.2 == "not-found" && row.3 == "inactive");
        let list = |(name, _, _, active, sub, _, path, ..): Row<'_>| Listed {
            object: Object {
                name: name.to_owned(),
                path: path.to_string(),
            },
            active: active.to_owned(),
            sub: sub.to_owned(),
        };
        Ok(rows.into_iter().filter(is_there).map(list).collect())
    }

    /// Whether one of the services runs that serve the bus of the node.
    pub(super) async fn runs_a_bus(&self) -> Result<bool, Failure> {
        let none: [&str; 0] = [];
        let buses = self
            .units_by("ListUnitsByPatterns", &(&none[..], &BUSES[..]))
            .await?;
        Ok(buses
            .iter()
            .any(|unit| unit.active != "inactive" && unit.active != "failed"))
    }

    /// All jobs.
    pub(super) async fn jobs(&self) -> Result<Vec<ListedJob>, Failure> {
        type Row = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);
        let reply = self.call(OBJECT, MANAGER, "ListJobs", &()).await?;
        let body = reply.body();
        let rows: Vec<Row> = read("ListJobs", &body)?;
        let list = |(id, unit, action, state, ..): Row| ListedJob {
            id,
            unit,
            action,
            state,
        };
        Ok(rows.into_iter().map(list).collect())
    }

    /// All properties of some units, of all their interfaces; to be read by [`properties`]. All are asked for at once, as
    /// each answer takes a while on a busy node.
    pub(super) async fn properties(&self, units: &[Object]) -> Vec<(Object, Result<Message, Failure>)> {
        self.ask_each(units, "GetAll", "").await
    }

    /// The ids of the runs of some units; to be read by [`invocation`]. That costs systemd far less than all properties.
    pub(super) async fn invocations(&self, units: &[Object]) -> Vec<(Object, Result<Message, Failure>)> {
        self.ask_each(units, "Get", (UNIT, INVOCATION)).await
    }

    async fn ask_each<B>(
        &self,
        units: &[Object],
        method: &'static str,
        which: B,
    ) -> Vec<(Object, Result<Message, Failure>)>
    where
        B: serde::Serialize + DynamicType + Copy + Send + Sync + 'static,
    {
        let mut calls = JoinSet::new();
        for unit in units {
            let (bus, unit) = (self.clone(), unit.clone());
            calls.spawn(async move {
                let reply = bus.call(&unit.path, PROPERTIES, method, &which).await;
                (unit, reply)
            });
        }
        calls.join_all().await
    }

    /// Asks for nothing but an answer.
    pub(super) async fn ping(&self) -> Result<(), Failure> {
        self.call_within(BRIEF, (OBJECT, PEER, "Ping"), &())
            .await
            .map(drop)
    }

    async fn call<B>(&self, path: &str, interface: &str, method: &str, body: &B) -> Result<Message, Failure>
    where
        B: serde::Serialize + DynamicType,
    {
        self.call_within(PATIENCE, (path, interface, method), body).await
    }

    async fn call_within<B>(
        &self,
        patience: Duration,
        (path, interface, method): (&str, &str, &str),
        body: &B,
    ) -> Result<Message, Failure>
    where
        B: serde::Serialize + DynamicType,
    {
        let to = self.owner.as_ref();
        let call = self
            .connection
            .call_method(to, path, Some(interface), method, body);
        match in_time(patience, method, answer(method, call)).await {
            Err(Failure::Refused(why)) if AWAY.iter().any(|away| why.contains(away)) => {
                Err(Failure::Broken(why))
            }
            answer => answer,
        }
    }

    /// Lets the bus hand over the signals of systemd that matter.
    async fn match_signals(&self) -> Result<(), Failure> {
        let mut rules = vec![
            format!("type='signal',sender='{SYSTEMD}',interface='{MANAGER}'"),
            format!(
                "type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{SYSTEMD}'"
            ),
        ];
        rules.extend(WATCHED.iter().map(|interface| {
            format!(
                "type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',member='PropertiesChanged',\
                 arg0='{SYSTEMD}.{interface}'"
            )
        }));
        // All at once: a bus that is slow is waited for once.
        let mut calls = JoinSet::new();
        for rule in rules {
            let connection = self.connection.clone();
            calls.spawn(async move {
                let call = connection.call_method(Some(BUS), BUS_OBJECT, Some(BUS), "AddMatch", &rule);
                answer("AddMatch", call).await
            });
        }
        for done in calls.join_all().await {
            done?;
        }
        Ok(())
    }

    async fn find_owner(&mut self) -> Result<(), Failure> {
        let call = self
            .connection
            .call_method(Some(BUS), BUS_OBJECT, Some(BUS), "GetNameOwner", &SYSTEMD);
        match answer("GetNameOwner", call).await {
            Ok(reply) => {
                let owner: String = read("GetNameOwner", &reply.body())?;
                self.set_owner(Some(owner));
                Ok(())
            }
            // Nobody has it.
            Err(Failure::Refused(_)) => Ok(()),
            Err(broken) => Err(broken),
        }
    }
}

/// The properties in a reply.
pub(super) fn properties(body: &Body) -> Result<Properties<'_>, Failure> {
    let all: HashMap<&str, Value<'_>> = read("GetAll", body)?;
    Ok(Properties(all))
}

/// The id of a run in a reply.
pub(super) fn invocation(body: &Body) -> Result<String, Failure> {
    let value: Value<'_> = read("Get", body)?;
    properties::invocation(&value).map_err(|odd| Failure::Refused(odd.to_string()))
}

fn read<'m, T>(call: &str, body: &'m Body) -> Result<T, Failure>
where
    T: zbus::zvariant::DynamicDeserialize<'m>,
{
    body.deserialize()
        .map_err(|error| Failure::Refused(format!("the answer to {call} cannot be read: {error}")))
}

/// What a call has brought.
async fn answer<T>(call: &str, work: impl Future<Output = zbus::Result<T>>) -> Result<T, Failure> {
    work.await.map_err(|error| match error {
        zbus::Error::MethodError(name, why, _) => {
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            Failure::Refused(format!("{call}: {name}{why}"))
        }
        error => Failure::Broken(format!("{call}: {error}")),
    })
}

/// The same of what may take that long at most.
async fn in_time<T>(
    patience: Duration,
    what: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = || Failure::Broken(format!("{what}: no answer in {} s", patience.as_secs()));
    timeout(patience, work).await.unwrap_or_else(|_| Err(late()))
}

/// Takes all messages as they come: zbus reads no answers either while they wait.
async fn listen(mut messages: MessageStream, signals: Sender<Heard>) {
    let mut lost = false;
    loop {
        let next = poll_fn(|context| Pin::new(&mut messages).poll_next(context));
        let message = tokio::select! {
            // Whoever takes them has gone: the connection is to end with it, and not with the next signal.
            () = signals.closed() => return,
            message = next => message,
        };
        let Some(Ok(message)) = message else { return };
        let Some(signal) = signal(&message) else {
            continue;
        };
        let at = clock::boottime_ns();
        if lost && signals.try_send((at, Signal::Lost)).is_ok() {
            lost = false;
        }
        match signals.try_send((at, signal)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => lost = true,
            Err(TrySendError::Closed(_)) => return,
        }
    }
}

/// What a message tells, `None` where that does not matter here.
fn signal(message: &Message) -> Option<Signal> {
    let header = message.header();
    // What is sent to this connection alone may be from anybody: the bus checks the sender of the others.
    if message.message_type() != Type::Signal || header.destination().is_some() {
        return None;
    }
    let body = message.body();
    let path = || header.path().map(ToString::to_string);
    match (header.interface()?.as_str(), header.member()?.as_str()) {
        (MANAGER, "UnitNew") => {
            let (name, path): (String, OwnedObjectPath) = body.deserialize().ok()?;
            let path = path.to_string();
            Some(Signal::UnitNew(Object { name, path }))
        }
        (MANAGER, "UnitRemoved") => {
            let (name, _): (String, OwnedObjectPath) = body.deserialize().ok()?;
            Some(Signal::UnitRemoved { name })
        }
        (MANAGER, "JobNew") => {
            let (id, _, unit): (u32, OwnedObjectPath, String) = body.deserialize().ok()?;
            Some(Signal::JobNew { id, unit })
        }
        (MANAGER, "JobRemoved") => {
            let (id, _, unit, result): (u32, OwnedObjectPath, String, String) = body.deserialize().ok()?;
            Some(Signal::JobRemoved { id, unit, result })
        }
        (MANAGER, "Reloading") => Some(Signal::Reloading(body.deserialize().ok()?)),
        (PROPERTIES, "PropertiesChanged") => {
            let (interface, changed, _): (&str, HashMap<&str, Value<'_>>, Vec<&str>) =
                body.deserialize().ok()?;
            match interface.strip_prefix(SYSTEMD)?.strip_prefix('.')? {
                "Job" => Some(Signal::JobChanged),
                unit if WATCHED.contains(&unit) => Some(Signal::UnitChanged {
                    path: path()?,
                    said: Box::new(Properties(changed).said()),
                }),
                _ => None,
            }
        }
        (BUS, "NameOwnerChanged") => {
            let (name, _, new): (&str, &str, String) = body.deserialize().ok()?;
            (name == SYSTEMD).then(|| Signal::Owner(Some(new).filter(|new| !new.is_empty())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;

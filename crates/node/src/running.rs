//! What a server and a phone have in common: sockets, shards, a media thread and a resolver, all running.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use dialtone_roles::io::Command;
use dialtone_roles::settings::{Listener, Settings};
use dialtone_transport::stream::StreamSettings;
use dialtone_transport::sys::{Poller, TcpListener, TcpOptions, UdpOptions, UdpSocket, raise_open_files};
use dialtone_wire::net::Transport;
use thiserror::Error;

use crate::clock;
use crate::config::Problem;
use crate::counters::{Counters, ShardCounters};
use crate::inbox::{Sender, inbox};
use crate::listen::ListenError;
use crate::media::{self, MediaSettings, MediaThread, Meter, ReportSink};
use crate::resolver::Resolver;
use crate::shard::{DumpPlace, EventSink, INBOX_LEN, Shard, ShardParts, Turn, Word};
use crate::store::{self, JournalCounts, JournalParts, JournalSender, OfOne, OfUser, StoreError};
use crate::tap::Tap;
use crate::users::Users;

/// Room for what waits in the sockets of a server: about ten thousand messages.
const BUFFER_BYTES: usize = 8 * 1024 * 1024;
/// How long the start waits for the first RTP ports.
const READY_TIME: Duration = Duration::from_secs(2);
/// How long the media thread may take to tell what its calls are like: a screen waits for it.
const METERS_TIME: Duration = Duration::from_millis(200);
/// How long a shard may take to tell its counters.
const REPORT_TIME: Duration = Duration::from_secs(1);

/// Why a server or a phone can't start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is nothing to listen on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// An address can't be bound.
    #[error("{}:{address} can't be listened on: {source}{}", transport.token().to_ascii_lowercase(), remedy(source))]
    Bind {
        /// The transport.
        transport: Transport,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The settings file, or the command line with it, has problems.
    #[error("{}", crate::configured::list(.0))]
    Config(Vec<Problem>),
    /// HTTP can't listen there.
    #[error("HTTP can't listen on {address}: {source}{}", remedy(.source))]
    Http {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A domain has a name that no URI can hold.
    #[error("{0:?} is no domain name: expected something like example.com")]
    Domain(String),
    /// More or fewer shards than there can be.
    #[error("there can be 1 to {max} shards, not {asked}")]
    Shards {
        /// How many were asked for.
        asked: u16,
        /// How many there can be.
        max: u16,
    },
    /// The system has no thread, memory or file descriptor left.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has the port: stop it, or choose another with --listen"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges",
        _ => "",
    }
}

/// The most shards of one node.
pub(crate) const SHARDS_MAX: u16 = 64;

/// What runs.
pub(crate) struct NodeParts {
    /// The listeners as asked for: a port may be 0.
    pub(crate) settings: Settings,
    pub(crate) users: Users,
    pub(crate) media: MediaSettings,
    pub(crate) events: EventSink,
    pub(crate) reports: ReportSink,
    pub(crate) tap: Option<Tap>,
    pub(crate) dumps: DumpPlace,
    /// Of each shard.
    pub(crate) streams: StreamSettings,
    pub(crate) turn: Turn,
    /// Where bindings outlive the process.
    pub(crate) journal: Option<JournalParts>,
}

/// What production passes as [`NodeParts::turn`].
pub(crate) const ENGINE_TURN: Turn =
    |engine, now, input, outputs| dialtone_roles::turn(engine, now, input, |output| outputs.push(output));

/// Running threads. Dropping it leaves them running: [`Running::stop`] ends them.
#[derive(Debug)]
pub(crate) struct Running {
    settings: Arc<Settings>,
    shards: Vec<Sender<Word>>,
    media: Sender<media::Word>,
    shard_threads: Vec<JoinHandle<ShardCounters>>,
    media_thread: JoinHandle<media::Counts>,
    /// The store thread, where there is one, and what it counts.
    store: Option<(JoinHandle<()>, Arc<JournalCounts>)>,
}

impl Running {
    /// Binds all sockets, then starts the threads; when one can't be bound, none runs.
    pub(crate) fn start(parts: NodeParts) -> Result<Running, StartError> {
        let mut settings = parts.settings;
        let count = settings.shards;
        if !(1..=SHARDS_MAX).contains(&count) {
            return Err(StartError::Shards { asked: count, max: SHARDS_MAX });
        }
        let mut sockets: Vec<Bound> = (0..count).map(|_| Bound::default()).collect();
        for listener in &mut settings.listeners {
            bind(listener, &mut sockets)?;
        }
        settings.journal = parts.journal.is_some();
        let settings = Arc::new(settings);
        let users = Arc::new(parts.users);
        let resolver = Resolver::start()?;
        let (media, media_thread) = MediaThread::new(parts.media)?;
        let mut pollers = Vec::new();
        let (mut senders, mut inboxes) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let poller = Poller::new()?;
            let (sender, inbox) = inbox(INBOX_LEN, poller.waker());
            senders.push(sender);
            inboxes.push(inbox);
            pollers.push(poller);
        }
        let streams = within_open_files(parts.streams, count);
        let Kept { journal, store, mut restored, mut services } = keep(parts.journal, &settings, &senders)?;
        let (ready, shards_ready) = sync_channel(usize::from(count));
        let mut shards = Vec::new();
        for (number, ((sockets, poller), inbox)) in
            (0..count).zip(sockets.into_iter().zip(pollers).zip(inboxes))
        {
            shards.push(Shard::new(ShardParts {
                number,
                settings: settings.clone(),
                sockets,
                poller,
                inbox,
                shards: senders.clone(),
                media: media.clone(),
                resolver: resolver.clone(),
                journal: journal.clone(),
                restored: std::mem::take(&mut restored[usize::from(number)]),
                services: std::mem::take(&mut services[usize::from(number)]),
                users: users.clone(),
                events: parts.events.clone(),
                tap: parts.tap.clone(),
                dumps: parts.dumps.clone(),
                streams,
                turn: parts.turn,
                ready: ready.clone(),
            })?);
        }
        // The store thread ends with the last shard.
        drop(journal);
        let (owners, reports) = (senders.clone(), parts.reports);
        let media_thread =
            Builder::new().name("media".into()).spawn(move || media_thread.run(&owners, &reports))?;
        let mut shard_threads = Vec::new();
        for (number, shard) in shards.into_iter().enumerate() {
            shard_threads.push(Builder::new().name(format!("shard-{number}")).spawn(move || shard.run())?);
        }
        // A call in the first millisecond must find RTP ports.
        for _ in 0..count {
            if shards_ready.recv_timeout(READY_TIME).is_err() {
                tracing::warn!("the RTP ports are not ready yet: first calls may be refused");
                break;
            }
        }
        Ok(Running { settings, shards: senders, media, shard_threads, media_thread, store })
    }

    /// The settings of the start, with the real addresses. What a reload changes is not in here.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The settings of the start, and the inboxes of all shards, for those who speak with shards from another thread.
    pub(crate) fn shared(&self) -> (Arc<Settings>, Vec<Sender<Word>>) {
        (self.settings.clone(), self.shards.clone())
    }

    /// Gives a command to a shard; false when it has no room for it.
    pub(crate) fn command(&self, shard: u16, command: Command) -> bool {
        self.shards.get(usize::from(shard)).is_some_and(|shard| shard.send(Word::Command(command)).is_ok())
    }

    /// What the audio of the calls that go on is like; `None` when the media thread does not tell in time.
    pub(crate) fn meters(&self) -> Option<Vec<Meter>> {
        let (to, from) = sync_channel(1);
        self.media.send(media::Word::Meters(to)).ok()?;
        from.recv_timeout(METERS_TIME).ok()
    }

    /// Gives new settings to all shards.
    pub(crate) fn configure(&self, settings: &Arc<Settings>) {
        for shard in &self.shards {
            // A shard that is gone needs no settings.
            let _ = shard.send_patiently(Word::Configure(settings.clone()));
        }
    }

    /// What a server that is about to end waits for, in all shards; `None` when one does not tell within a second.
    pub(crate) fn unfinished(&self) -> Option<usize> {
        let asked: Vec<_> = self
            .shards
            .iter()
            .map(|shard| {
                let (to, from) = sync_channel(1);
                shard.send(Word::Unfinished(to)).ok().map(|()| from)
            })
            .collect();
        asked.into_iter().map(|from| from?.recv_timeout(REPORT_TIME).ok()).sum()
    }

    /// Asks the shards for their counters. Those that do not answer within a second are left out.
    pub(crate) fn counters(&self) -> Counters {
        let reports: Vec<ShardCounters> = self
            .shards
            .iter()
            .filter_map(|shard| {
                let (to, from) = sync_channel(1);
                shard.send(Word::Report(to)).ok()?;
                from.recv_timeout(REPORT_TIME).ok()
            })
            .collect();
        Counters::new(&reports, None).with_store(self.store.as_ref().map(|(_, counts)| &**counts))
    }

    /// Ends all threads and gives their last counters.
    pub(crate) fn stop(self) -> Counters {
        for shard in &self.shards {
            // A thread that is gone has ended already.
            let _ = shard.send_patiently(Word::Stop);
        }
        let shards: Vec<ShardCounters> = self
            .shard_threads
            .into_iter()
            .filter_map(|thread| thread.join().inspect_err(|_| tracing::error!("a shard had died")).ok())
            .collect();
        let _ = self.media.send_patiently(media::Word::Stop);
        let media =
            self.media_thread.join().inspect_err(|_| tracing::error!("the media thread had died")).ok();
        let counts = self.store.map(|(thread, counts)| {
            if thread.join().is_err() {
                tracing::error!("the store thread had died");
            }
            counts
        });
        Counters::new(&shards, media.as_ref()).with_store(counts.as_deref())
    }
}

/// Lets connections have half of the files that the process may open, and leaves the others to media and the store.
fn within_open_files(streams: StreamSettings, shards: u16) -> StreamSettings {
    let files = match raise_open_files() {
        Ok(files) => usize::try_from(files).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "how many files may be open is not known");
            return streams;
        }
    };
    let most = files / 2 / usize::from(shards.max(1));
    if most < streams.connections_max {
        tracing::warn!(
            open_files = files,
            connections = most,
            wanted = streams.connections_max,
            "a shard can't have as many connections as it should: raise the limit of open files (ulimit -n, LimitNOFILE=)"
        );
    }
    StreamSettings { connections_max: streams.connections_max.min(most), ..streams }
}

/// What outlives the process: the way to the store thread, the thread, and for each shard the bindings of an earlier
/// life and what its users chose.
struct Kept {
    journal: Option<JournalSender>,
    store: Option<(JoinHandle<()>, Arc<JournalCounts>)>,
    restored: Vec<Vec<Vec<OfOne>>>,
    services: Vec<Vec<Vec<OfUser>>>,
}

fn keep(
    parts: Option<JournalParts>,
    settings: &Arc<Settings>,
    shards: &[Sender<Word>],
) -> Result<Kept, StartError> {
    let Some(mut parts) = parts else {
        let (restored, services) = (vec![Vec::new(); shards.len()], vec![Vec::new(); shards.len()]);
        return Ok(Kept { journal: None, store: None, restored, services });
    };
    let bindings = parts.store.load(&clock::moment())?;
    let counts = Arc::new(JournalCounts::default());
    counts.restored.store(bindings.len() as u64, std::sync::atomic::Ordering::Relaxed);
    let restored = store::divided(settings, bindings);
    let services = store::divided(settings, parts.store.load_services()?);
    let (journal, thread) = store::start(parts, settings.clone(), shards.to_vec(), counts.clone())?;
    Ok(Kept { journal: Some(journal), store: Some((thread, counts)), restored, services })
}

/// The sockets of one shard.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) tcp: Vec<TcpListener>,
}

/// Binds one listener for all shards and writes its real port into it. The system spreads the datagrams and
/// connections among the shards by their addresses.
fn bind(listener: &mut Listener, shards: &mut [Bound]) -> Result<(), StartError> {
    let reuse_port = shards.len() > 1;
    let Listener { transport, address, .. } = listener;
    if reuse_port {
        // Alone first: sockets that share a port would share it with another server of the same user too.
        bind_one(*transport, address, false, &mut Bound::default())?;
    }
    for bound in shards {
        bind_one(*transport, address, reuse_port, bound)?;
    }
    Ok(())
}

fn bind_one(
    transport: Transport,
    address: &mut SocketAddr,
    reuse_port: bool,
    bound: &mut Bound,
) -> Result<(), StartError> {
    let result = match transport {
        Transport::Udp => {
            let options = UdpOptions { reuse_port, receive_bytes: BUFFER_BYTES, send_bytes: BUFFER_BYTES };
            UdpSocket::bind(*address, options).map(|socket| {
                *address = socket.local();
                bound.udp.push(socket);
            })
        }
        Transport::Tcp => {
            let options = TcpOptions { reuse_port, ..TcpOptions::default() };
            TcpListener::bind(*address, options).map(|listener| {
                *address = listener.local();
                bound.tcp.push(listener);
            })
        }
        _ => Err(io::Error::from(io::ErrorKind::Unsupported)),
    };
    result.map_err(|source| StartError::Bind { transport, address: *address, source })
}

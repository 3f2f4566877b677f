//! The composition root: from a configuration to a proxy that serves, and its life until it ends.
//!
//! The only place that knows every part. Two of them run in one process without knowing of each
//! other. Logins run on one runtime, dialling on another, the console and HTTP on a third; queries
//! on the workers.

mod beat;
mod control;
mod ending;
mod files;
mod memory;
mod reload;
mod sockets;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::config::{Config, ConfigErrors, ListenAddr, Source};
use crate::console::{self, Console, View};
use crate::front::Front;
use crate::logs::Logs;
use crate::nodes::ClusterView;
use crate::systemd::{self, Word};
use crate::takeover::{Desk, Neighbours, Station, TakeoverError};
use crate::tenant::Registry;
use crate::tenant::switches::Switches;
use crate::upstream::Connectors;
use crate::upstream::budget::Budget;
use crate::upstream::health::Health;
use crate::worker::{Surroundings, Threads, Workers};

pub use files::Watch;
pub use reload::{Fault, Faults, ReloadError, Reloaded, check_files};

use control::{Control, ReloadCounts, Watched};
use ending::{Ears, Ending};
use reload::{Parts, Reloads};

/// The port in the name of a Unix socket where no TCP listener gives one.
const UNIX_PORT: u16 = 6432;

/// By how much threads of logins are nicer than workers: they get about a third as much time.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 5;

/// Why the proxy does not serve.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The file.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// What the file names.
    #[error(transparent)]
    Unusable(#[from] Faults),
    /// An address.
    #[error("cannot listen on {0}: {1}")]
    Listen(ListenAddr, std::io::Error),
    /// The address for HTTP.
    #[error("cannot serve HTTP on {0}: {1}")]
    Http(SocketAddr, std::io::Error),
    /// The process that serves so far.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// A socket of the service manager.
    #[error("the service manager has passed a socket at {0}, which no listener names")]
    Passed(ListenAddr),
    /// Threads, signals.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// A proxy that serves.
#[derive(Debug)]
pub struct App {
    front: Arc<Front>,
    workers: Workers,
    threads: Mutex<Option<Threads>>,
    connectors: Arc<Connectors>,
    health: Health,
    budget: Budget,
    switches: Switches,
    console: Console,
    config: ArcSwap<Config>,
    reloads: Mutex<Reloads>,
    logs: Option<Logs>,
    reload_counts: ReloadCounts,
    control: Control,
    station: Arc<Station>,
    _logins: Runtime,
    _dialler: Runtime,
}

/// What a proxy has of the process that it runs in, where it is not alone there.
#[derive(Debug, Default)]
pub struct Outside {
    /// Where the configuration comes from; without it there is nothing to read again.
    pub source: Option<Source>,
    /// What changes the log lines; without it their format and level stay.
    pub logs: Option<Logs>,
    /// Listening sockets that the service manager has passed.
    pub sockets: Vec<OwnedFd>,
}

impl App {
    /// Starts serving. Must not be called from an async thread.
    pub fn start(config: Config) -> Result<Self, AppError> {
        Self::start_with(config, Outside::default())
    }

    /// Starts serving, with what a process has only once. Takes over from the process at
    /// `server.takeover`, if there is one.
    pub fn start_with(config: Config, outside: Outside) -> Result<Self, AppError> {
        Self::start_for(None, config, outside)
    }

    /// Likewise; `owner` carries out what the console asks of a whole process.
    fn start_for(
        owner: Option<mpsc::Sender<console::Request>>,
        config: Config,
        outside: Outside,
    ) -> Result<Self, AppError> {
        raise_descriptor_limit(crate::config::descriptors(&config));
        let logins = runtime("login", 2, Thread::Yields)?;
        let dialler = runtime("dial", 1, Thread::Equal)?;
        let control = Control::new()?;
        let around = surroundings(&dialler);
        around.budget.configure(limits(&config));
        let parts = Parts::prepare(&config, &Registry::default(), None)?;
        around.connectors.reload(parts.servers);
        let (workers, threads) = Workers::start(config.server.workers, &around)?;
        let told = workers.clone();
        let tell = move |view: &Arc<ClusterView>| told.cluster_changed(view);
        around.health.subscribe(Box::new(tell));
        around.health.configure(&config.clusters);
        let config = Arc::new(config);
        let neighbours = Neighbours::new(&workers, &around, logins.handle());
        let front = Front::new(parts.settings, Desk(Arc::clone(&neighbours)));
        let console = Console::new(
            console::Around {
                workers: workers.clone(),
                switches: around.switches.clone(),
                budget: around.budget.clone(),
                health: around.health.clone(),
                connectors: Arc::clone(&around.connectors),
                clients: front.clients().clone(),
                owner,
                runtime: control.handle(),
            },
            View {
                config: Arc::clone(&config),
                registry: Arc::clone(&parts.registry),
            },
        );
        let front = Arc::new(front.with_console(console.clone()));
        let opened = sockets::open(&config.server, outside.sockets, logins.handle())?;
        let http = control.open_http(config.server.http, opened.predecessor.is_some())?;
        let path = config.server.takeover.clone();
        let station = Station::new(path, Arc::clone(&front), neighbours, opened.listening);
        let mut app = Self {
            front,
            workers,
            threads: Mutex::new(Some(threads)),
            connectors: around.connectors,
            health: around.health,
            budget: around.budget,
            switches: around.switches,
            console,
            config: ArcSwap::new(config),
            reloads: Mutex::new(Reloads {
                registry: parts.registry,
                source: outside.source,
            }),
            logs: outside.logs,
            reload_counts: ReloadCounts::new(),
            control,
            station,
            _logins: logins,
            _dialler: dialler,
        };
        app.announce(&app.config());
        app.station.serve(opened.predecessor)?;
        if let Some(http) = http {
            app.control.serve_http(http, app.watched());
        }
        Ok(app)
    }

    fn watched(&self) -> Watched {
        Watched {
            front: Arc::clone(&self.front),
            workers: self.workers.clone(),
            budget: self.budget.clone(),
            connectors: Arc::clone(&self.connectors),
            health: self.health.clone(),
            switches: self.switches.clone(),
            standing: self.station.standing(),
            reloads: self.reload_counts.clone(),
            listeners: self.addresses().len(),
        }
    }

    /// Where metrics and health are served, if they are: the port that was picked.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.control.http()
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[ListenAddr] {
        self.station.addresses()
    }

    /// The first TCP address it listens on.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.addresses().iter().find_map(|a| match a {
            ListenAddr::Tcp(address) => Some(*address),
            ListenAddr::Unix(_) => None,
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Clients logged in or logging in.
    pub fn clients(&self) -> usize {
        self.front.clients().taken()
    }

    /// The budgets of the nodes.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// What the operator has switched; whoever changes it tells the workers.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// The workers.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Stops accepting, lets transactions finish for at most `limit`, then closes the rest.
    pub fn drain(&self, limit: Duration) {
        self.station.leave();
        self.workers.drain();
        let Some(threads) = self.lock_threads().take() else {
            return;
        };
        let (done, ended) = std::sync::mpsc::sync_channel(1);
        let joiner = std::thread::spawn(move || {
            threads.join();
            // Nobody may be listening any more.
            let _late = done.send(());
        });
        if ended.recv_timeout(limit).is_err() {
            warn!("drain_timeout is over: closing what is left");
            self.workers.stop();
        }
        let _panicked = joiner.join();
    }

    /// What memory is needed for at the moment.
    fn used(&self) -> memory::Use {
        let reloads = self.reload_counts.now();
        memory::Use {
            clients: self.clients(),
            reloads: reloads.succeeded + reloads.failed,
        }
    }

    /// Closes everything at once.
    pub fn stop(&self) {
        self.workers.stop();
    }

    fn lock_threads(&self) -> std::sync::MutexGuard<'_, Option<Threads>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.station.leave();
        self.workers.stop();
        if let Some(threads) = self.lock_threads().take() {
            threads.join();
        }
        self.station.close();
    }
}

/// Serves until SIGTERM, SIGINT or SHUTDOWN on the console; a second one ends at once, as SIGQUIT does.
/// SIGHUP, RELOAD and a change of a file that the configuration comes from read it again; SIGUSR1 is
/// PAUSE, SIGUSR2 RESUME. `started` is told when clients can connect.
pub fn serve(config: Config, outside: Outside, started: impl FnOnce(&App)) -> Result<(), AppError> {
    memory::limit_heaps();
    let signals = Builder::new_current_thread().enable_all().build()?;
    let (mut ears, owner) = signals.block_on(async { Ears::new() })?;
    let app = Arc::new(App::start_for(Some(owner), config, outside)?);
    let weak = Arc::downgrade(&app);
    let used = move || weak.upgrade().map(|app| app.used()).unwrap_or_default();
    let _until_the_end = signals.spawn(memory::give_back(used));
    started(&app);
    systemd::tell(Word::Ready);
    let watch = Watch::start(&app)?;
    let ending = signals.block_on(until_ended(&app, &mut ears));
    drop(watch);
    info!(how = ?ending, "shutting down");
    systemd::tell(Word::Stopping);
    let hurry = Arc::clone(&app);
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| app.end(ending));
        signals.block_on(async move {
            let ended = async {
                while !draining.is_finished() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::select! {
                // Cancel-safe: only looks.
                () = ended => {}
                // Cancel-safe.
                () = ears.ends.next() => hurry.stop(),
                // What was asked for and not answered is of no use any more.
                _ending = ears.operators.ending(&hurry) => hurry.stop(),
            }
        });
    });
    signals.block_on(app.console.end());
    Ok(())
}

async fn until_ended(app: &Arc<App>, ears: &mut Ears) -> Ending {
    let mut asked = std::pin::pin!(ears.operators.ending(app));
    let mut beat = std::pin::pin!(beat::beat(app));
    loop {
        tokio::select! {
            // Cancel-safe: signals that came are kept.
            _signal = ears.hangup.recv() => {
                let app = Arc::clone(app);
                // It has logged how it went.
                let done = tokio::task::spawn_blocking(move || drop(app.reload_from_source()));
                if done.await.is_err() {
                    error!("the reload did not end; the old configuration stays in force");
                }
            }
            // Cancel-safe: it goes on where it was.
            () = &mut beat => return Ending::AtOnce,
            // Cancel-safe.
            () = ears.ends.next() => return Ending::Orderly(console::Shutdown::Drain),
            // Cancel-safe: it is the same wait all the time.
            ending = &mut asked => return ending,
        }
    }
}

/// What workers need of the rest, all of it new.
fn surroundings(dialler: &Runtime) -> Surroundings {
    let connectors = Arc::<Connectors>::default();
    Surroundings {
        dialler: dialler.handle().clone(),
        health: Health::new(dialler.handle().clone(), Arc::clone(&connectors)),
        connectors,
        budget: Budget::default(),
        epoch: Instant::now(),
        started: SystemTime::now(),
        switches: Switches::default(),
    }
}

fn limits(config: &Config) -> impl Iterator<Item = (crate::types::NodeAddr, usize)> {
    let budgets = config.budgets().into_iter();
    budgets.map(|(node, limit)| (node.clone(), limit))
}

/// How a thread stands to the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// As they do.
    Equal,
    /// They come first where processors are short: a storm of logins must not slow down those who
    /// are logged in.
    Yields,
}

fn runtime(name: &'static str, threads: usize, rank: Thread) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(threads)
        .thread_name(name)
        .enable_all();
    if rank == Thread::Yields {
        builder.on_thread_start(step_back);
    }
    builder.build()
}

/// Lowers the priority of this thread. Elsewhere than on Linux there is but one for the process.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICENESS) {
        warn!(%error, "logins run at the priority of queries");
    }
}

/// Raises the soft limit of descriptors as far as the hard one allows.
fn raise_descriptor_limit(wanted: u64) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let goal = wanted.min(hard);
        if goal > soft {
            setrlimit(Resource::RLIMIT_NOFILE, goal, hard)
        } else {
            Ok(())
        }
    });
    if let Err(error) = raised {
        warn!(%error, "the limit of open descriptors could not be raised");
    }
}

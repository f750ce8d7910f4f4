//! The nodes as processes, and what they say of their cluster.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onrush_grpc::admin::v1::admin_service_client::AdminServiceClient;
use onrush_grpc::admin::v1::{
    AuditRequest, AuditResponse, ChangeMembersRequest, FollowerProgress, GetClusterRequest,
    GetClusterResponse, HandOverRequest, ShardGroup,
};
use onrush_net::client::grpc::Addresses;
use rustix::process::Signal;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint, Uri};

use super::ClusterError;
use super::client::Doors;
use super::disk::{self, SmallDisk};
use super::ground::{Ground, Nets};
use super::proxies::{self, Proxies};
use super::slow::SlowDisk;
use super::wires::Wires;
use crate::cli::ClusterArgs;
use crate::crash::CrashError;
use crate::crash::process::{NodeSetup, Process, Setup, binary};
use crate::random::Random;

/// The nodes that it begins with.
pub(super) const NUMBERS: [u64; 3] = [1, 2, 3];
/// How long anything may take that ends.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
/// Silence after which a follower counts as away.
const SILENT_US: u64 = 500_000;
/// The same where it is to have stopped for good.
const STOPPED_US: u64 = 2_000_000;
/// Where the node stands whose disk may be small.
pub(super) const SMALL: usize = 2;
/// What directories begin with, in front of the number of the process.
const LEFT: &str = "onrush-cluster-";

/// A node, running or not.
pub(super) struct Node {
    pub(super) number: u64,
    setup: Setup,
    process: Option<Process>,
    admin: AdminServiceClient<Channel>,
}

/// The cluster's nodes.
pub(super) struct Nodes {
    pub(super) all: Vec<Node>,
    pub(super) ground: Ground,
    pub(super) wires: Wires,
    /// In front of the nodes, where clients' connections are disturbed.
    pub(super) proxies: Option<Proxies>,
    /// What the third node's data lies on, if its disk is to be full.
    pub(super) small: Option<SmallDisk>,
    /// Numbers that no node had yet.
    spare: VecDeque<u64>,
    /// Where nodes reach each other without relays.
    direct: String,
    shards: u16,
    /// Where the data of empty nodes lies, if not with the others'.
    elsewhere: Option<TempDir>,
    _dir: TempDir,
}

/// How an empty node came in the place of another one: when, since its process was begun.
pub(super) struct TakenPlace {
    /// How much it was sent.
    pub(super) bytes: u64,
    /// Its process was there.
    pub(super) started: Duration,
    /// It belonged to all groups, without a vote.
    pub(super) follows: Duration,
    /// It had the vote in all, and so all that was committed.
    pub(super) votes: Duration,
}

/// Free ports of TCP: nobody else takes them so soon.
fn free_ports() -> Result<[u16; 4], ClusterError> {
    let free = || TcpListener::bind("127.0.0.1:0").map_err(ClusterError::Ports);
    let listeners = [free()?, free()?, free()?, free()?];
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr().map_err(ClusterError::Ports)?.port();
    }
    Ok(ports)
}

/// Where each node listens for the others, those too that come later.
fn peer_ports(replaces: u32) -> Result<Vec<(u64, u16)>, ClusterError> {
    let last = NUMBERS.len() as u64 + u64::from(replaces);
    let free = (1..=last).map(|number| Ok((number, UdpSocket::bind("127.0.0.1:0")?)));
    // All are held until each is taken: they differ.
    let sockets: Result<Vec<(u64, UdpSocket)>, io::Error> = free.collect();
    let port = |(number, socket): &(u64, UdpSocket)| Ok((*number, socket.local_addr()?.port()));
    sockets.and_then(|sockets| sockets.iter().map(port).collect()).map_err(ClusterError::Ports)
}

/// `number=host:port` of each, as nodes are told it.
fn places<'a>(ground: &Ground, ports: impl IntoIterator<Item = &'a (u64, u16)>) -> String {
    let place = |(number, port): &(u64, u16)| format!("{number}={}:{port}", ground.peer_host(*number));
    ports.into_iter().map(place).collect::<Vec<_>>().join(",")
}

/// What a cluster is to stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    /// True if the wires between nodes are disturbed.
    pub(super) disturbed: bool,
    /// True if the connections of clients are.
    pub(super) proxies: bool,
    /// True if the third node's disk is small.
    pub(super) small: bool,
    /// True if nodes stand in network namespaces.
    pub(super) nets: bool,
}

/// Named after this process: what one leaves behind that was killed goes with the next start.
fn directory() -> Result<TempDir, ClusterError> {
    let all = std::env::temp_dir();
    for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(LEFT)?.split('-').next()?.parse().ok());
        // Nobody answers to that number any more.
        let gone = |owner: u32| !Path::new("/proc").join(owner.to_string()).exists();
        if Path::new("/proc/self").exists() && owner.is_some_and(gone) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let own = format!("{LEFT}{}-", std::process::id());
    let made = tempfile::Builder::new().prefix(&own).tempdir();
    Ok(made.map_err(|source| CrashError::Directory { dir: all, source })?)
}

/// How the node at a place is started.
fn setup(
    args: &ClusterArgs,
    dir: &Path,
    (place, number): (usize, u64),
    peers: String,
    (ground, proxies): (&Ground, bool),
) -> Result<Setup, ClusterError> {
    let advertised = if proxies { proxies::host(place) } else { ground.host(place) };
    let words = ground.words().into_iter().chain(["--advertise".to_owned(), advertised]).collect();
    let node = NodeSetup {
        number,
        founders: NUMBERS.map(|number| number.to_string()).join(","),
        peers,
        key: format!("{:064x}", u128::from(args.seed) + 1),
        ports: free_ports()?,
        snapshot_mib: args.snapshot_mib,
        words,
        namespace: ground.namespace(place),
    };
    Ok(Setup {
        binary: binary(args.onrush.as_deref())?,
        dir: dir.join(number.to_string()),
        shards: args.shards,
        host: None,
        engine_token: format!("{:032x}", args.seed),
        node: Some(node),
    })
}

impl Node {
    /// One that does not run yet.
    fn new(number: u64, setup: Setup, host: &str) -> Self {
        let order = setup.node.as_ref().map_or(0, |node| node.ports[1]);
        let endpoint = Endpoint::from(uri(host, order)).timeout(Duration::from_secs(30));
        Self { number, setup, process: None, admin: AdminServiceClient::new(endpoint.connect_lazy()) }
    }

    fn ports(&self) -> [u16; 4] {
        self.setup.node.as_ref().map_or([0; 4], |node| node.ports)
    }
}

/// Of parts that are a URI in any case.
fn uri(host: &str, port: u16) -> Uri {
    let parts = Uri::builder().scheme("http").authority(format!("{host}:{port}")).path_and_query("/");
    parts.build().unwrap_or_default()
}

impl Nodes {
    /// Formats three directories and starts a node on each.
    /// Wires that are to be disturbed lead through relays, unless the kernel disturbs them; the others cost nothing.
    pub(super) async fn found(args: &ClusterArgs, plan: Plan) -> Result<Self, ClusterError> {
        let dir = directory()?;
        let ports = peer_ports(args.replaces + args.damages)?;
        let ground = match plan.nets {
            true => Ground::Nets(Nets::build(NUMBERS.len(), ports.len() as u64)?),
            false => Ground::Open,
        };
        let (first, later) = ports.split_at(NUMBERS.len());
        let wires = Wires::begin(&ground, first, args.seed)?;
        let disturbed = plan.disturbed && !ground.nets().is_some_and(|nets| nets.netem);
        let (mut all, mut small) = (Vec::new(), None);
        for (place, (number, peer_port)) in first.iter().copied().enumerate() {
            // Nodes that come later are reached without relays.
            let peers = match (disturbed, later) {
                (false, _) => places(&ground, &ports),
                (true, []) => wires.peers_of(&ground, number, peer_port),
                (true, later) => {
                    let first = wires.peers_of(&ground, number, peer_port);
                    format!("{first},{}", places(&ground, later))
                }
            };
            let setup = setup(args, dir.path(), (place, number), peers, (&ground, plan.proxies))?;
            if plan.small && place == SMALL {
                small = Some(SmallDisk::mount(&setup.data())?);
            }
            setup.format()?;
            all.push(Node::new(number, setup, &ground.host(place)));
        }
        let proxies = match plan.proxies {
            true => {
                let behind = all.iter().enumerate();
                let behind = behind.map(|(place, node)| (place, ground.host(place), node.ports()));
                Some(Proxies::begin(&behind.collect::<Vec<_>>(), args.seed)?)
            }
            false => None,
        };
        let spare = later.iter().map(|(number, _)| *number).collect();
        let direct = places(&ground, &ports);
        let shards = args.shards;
        let elsewhere = args.spare_dir.as_ref().map(|all| {
            let made = tempfile::Builder::new().prefix(LEFT).tempdir_in(all);
            made.map_err(|source| CrashError::Directory { dir: all.clone(), source })
        });
        let elsewhere = elsewhere.transpose()?;
        let mut nodes =
            Self { all, ground, wires, proxies, small, spare, direct, shards, elsewhere, _dir: dir };
        for at in 0..nodes.all.len() {
            nodes.start(at)?;
        }
        nodes.settle().await?;
        Ok(nodes)
    }

    /// Where clients find the nodes.
    pub(super) fn doors(&self) -> Doors {
        let at = |scheme: &str, service: usize| {
            let place = |(place, node): (usize, &Node)| {
                let host =
                    if self.proxies.is_some() { proxies::host(place) } else { self.ground.host(place) };
                format!("{scheme}{host}:{}", node.ports()[service])
            };
            self.all.iter().enumerate().map(place).collect::<Vec<_>>().join(",")
        };
        let [product, order, payment] = [0, 1, 2].map(|service| at("http://", service));
        let services = Addresses { product, order, payment, ..Addresses::default() };
        Doors { native: at("", 3), services }
    }

    /// Where everything of a node lies.
    pub(super) fn data(&self, at: usize) -> PathBuf {
        self.all[at].setup.data()
    }

    pub(super) fn start(&mut self, at: usize) -> Result<(), ClusterError> {
        let node = &mut self.all[at];
        node.process = Some(node.setup.start()?);
        Ok(())
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, at: usize) -> Result<(), ClusterError> {
        Ok(self.all[at].process.take().map_or(Ok(()), Process::kill)?)
    }

    /// Ends a node in whatever state it is; it may have ended by itself.
    pub(super) fn put_down(&mut self, at: usize) {
        drop(self.all[at].process.take());
    }

    /// A node that does not run has lost its disk: what comes in its place has another number, and nothing. Whose vote it
    /// is to take over; `None` if no number is left.
    pub(super) fn lose(&mut self, at: usize) -> Result<Option<u64>, ClusterError> {
        let Some(number) = self.spare.pop_front() else { return Ok(None) };
        let lost = self.all[at].number;
        let node = &mut self.all[at];
        disk::clear(&node.setup.data())?;
        if let Some(dir) = &self.elsewhere {
            disk::move_to(&dir.path().join(number.to_string()), &node.setup.data())?;
        }
        if let Some(nets) = self.ground.nets() {
            nets.renumber(at, lost, number)?;
        }
        node.number = number;
        if let Some(setup) = &mut node.setup.node {
            (setup.number, setup.peers) = (number, self.direct.clone());
        }
        node.setup.format()?;
        Ok(Some(lost))
    }

    /// Starts the empty node in its place, and gives it the vote of the one that is lost.
    pub(super) async fn take_place(&mut self, at: usize, lost: u64) -> Result<TakenPlace, ClusterError> {
        let number = self.all[at].number;
        let began = Instant::now();
        self.start(at)?;
        let started = began.elapsed();
        self.change("a learner", |voters| (voters.to_vec(), vec![number])).await?;
        let follows = began.elapsed();
        let with = |voters: &[u64]| {
            let stay = voters.iter().copied().filter(|voter| *voter != lost && *voter != number);
            stay.chain([number]).collect()
        };
        self.change("a vote of the new node", |voters| (with(voters), Vec::new())).await?;
        let votes = began.elapsed();
        Ok(TakenPlace { bytes: sent_bytes(&self.all[at].setup.data()), started, follows, votes })
    }

    /// Has the leader change the groups of all shards, one after the other, until it is so.
    async fn change(
        &self,
        what: &'static str,
        next: impl Fn(&[u64]) -> (Vec<u64>, Vec<u64>),
    ) -> Result<(), ClusterError> {
        for shard in 0..self.shards {
            self.change_group((what, shard), &next).await?;
        }
        Ok(())
    }

    async fn change_group(
        &self,
        (what, shard): (&'static str, u16),
        next: impl Fn(&[u64]) -> (Vec<u64>, Vec<u64>),
    ) -> Result<(), ClusterError> {
        wait(what, async || {
            let (leader, groups) = self.groups().await.map_err(|error| error.to_string())?;
            let Some(group) = groups.into_iter().nth(shard.into()) else {
                return Err("no such shard".into());
            };
            let (mut voters, mut learners) = next(&group.voters);
            voters.sort_unstable();
            if (&group.voters, &group.learners) == (&voters, &learners) && group.outgoing.is_empty() {
                return Ok(());
            }
            learners.sort_unstable();
            let asked = ChangeMembersRequest { shard: shard.into(), voters, learners };
            let changed = self.all[leader].admin.clone().change_members(asked).await;
            Err(format!("{group:?}: {changed:?}"))
        })
        .await
    }

    /// SIGTERM, and waits for the end, while whoever else works on this thread goes on: a connection that answers nothing
    /// holds the end up.
    pub(super) async fn end(&mut self, at: usize) -> Result<(), ClusterError> {
        let Some(process) = self.all[at].process.take() else { return Ok(()) };
        let ended = tokio::task::spawn_blocking(|| process.stop()).await;
        Ok(ended.map_err(|error| ClusterError::Runtime(error.into()))??)
    }

    pub(super) fn signal(&self, at: usize, signal: Signal) -> Result<(), ClusterError> {
        Ok(self.all[at].process.as_ref().map_or(Ok(()), |process| process.signal(signal))?)
    }

    /// The disk of a node that runs is slow for as long as this is there.
    pub(super) fn slow_disk(&self, at: usize) -> Result<Option<SlowDisk>, ClusterError> {
        self.all[at].process.as_ref().map(|process| SlowDisk::of(process.id())).transpose()
    }

    /// Flips a bit of the last entry on the disk of a node that does not run.
    pub(super) fn flip_end(&self, at: usize, random: &mut Random) -> Result<(), ClusterError> {
        disk::flip_end(&self.data(at).join("shard-000").join("log"), random)
    }

    /// Waits until a node is of no use any more to one of the groups: it has ended, or one of its shards says nothing.
    pub(super) async fn is_away(&self, at: usize) -> Result<(), ClusterError> {
        wait("a node that has stopped", async || {
            if let Some(small) = &self.small {
                small.top_up().map_err(|error| error.to_string())?;
            }
            let (leader, groups) = self.groups().await.map_err(|error| error.to_string())?;
            let node = self.all[at].number;
            let mut followers = groups.iter().flat_map(|group| &group.followers);
            let away = |follower: &FollowerProgress| follower.node == node && follower.silent_us > STOPPED_US;
            if leader != at && followers.any(away) { Ok(()) } else { Err(format!("{groups:?}")) }
        })
        .await
    }

    pub(super) async fn stop(mut self) -> Result<(), ClusterError> {
        for at in 0..self.all.len() {
            self.end(at).await?;
        }
        Ok(())
    }

    async fn seen(&self, at: usize) -> Option<GetClusterResponse> {
        let mut admin = self.all[at].admin.clone();
        self.all[at].process.as_ref()?;
        let seen = tokio::time::timeout(Duration::from_secs(1), admin.get_cluster(GetClusterRequest {}));
        Some(seen.await.ok()?.ok()?.into_inner())
    }

    /// The node that decides, with the first shard's group as it sees it.
    pub(super) async fn leader(&self) -> Result<(usize, ShardGroup), ClusterError> {
        let (at, mut groups) = self.groups().await?;
        Ok((at, groups.swap_remove(0)))
    }

    /// The node that decides, with all groups as it sees them: of one shard at least.
    async fn groups(&self) -> Result<(usize, Vec<ShardGroup>), ClusterError> {
        wait("a leader", async || {
            for at in 0..self.all.len() {
                let groups = self.seen(at).await.map(|cluster| cluster.groups).unwrap_or_default();
                if !groups.is_empty() && groups.iter().all(|group| group.in_office) {
                    return Ok((at, groups));
                }
            }
            Err("nobody in office".to_owned())
        })
        .await
    }

    /// Waits until all nodes follow one leader and none is far behind it.
    pub(super) async fn settle(&self) -> Result<(), ClusterError> {
        wait("nodes that follow", async || {
            let (leader, groups) = self.groups().await.map_err(|error| error.to_string())?;
            let leader = self.all[leader].number;
            let behind = |group: &ShardGroup, node: u64| {
                let follower = group.followers.iter().find(|follower| follower.node == node);
                follower.is_none_or(|follower| {
                    follower.silent_us > SILENT_US || follower.matched + 64 < group.last
                })
            };
            let others = self.all.iter().map(|node| node.number).filter(|node| *node != leader);
            let away = |node: u64| groups.iter().any(|group| behind(group, node));
            if others.into_iter().any(away) { Err(format!("{groups:?}")) } else { Ok(()) }
        })
        .await
    }

    /// Asks the leader to hand over to another node.
    pub(super) async fn hand_over(&self, at: usize, to: u64) -> bool {
        let mut admin = self.all[at].admin.clone();
        admin.hand_over(HandOverRequest { shard: 0, node: to }).await.is_ok()
    }

    /// Waits until every node has applied the same records, and audits each.
    pub(super) async fn audits(&self) -> Result<Vec<AuditResponse>, ClusterError> {
        wait("nodes with the same records", async || {
            let mut audits = Vec::new();
            for node in &self.all {
                let audit = node.admin.clone().audit(AuditRequest {}).await;
                audits.push(audit.map_err(|status| status.message().to_owned())?.into_inner());
            }
            let same = audits.iter().all(|audit| audit.cut == audits[0].cut);
            if same {
                Ok(audits)
            } else {
                Err(format!("{:?}", audits.iter().map(|audit| &audit.cut).collect::<Vec<_>>()))
            }
        })
        .await
    }
}

/// Bytes of a node's log, up to its last byte, and of its snapshots: what others sent it, if it was empty.
fn sent_bytes(data: &Path) -> u64 {
    let files = |room| std::fs::read_dir(data.join("shard-000").join(room)).into_iter().flatten().flatten();
    let written = |path: PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
    };
    files("log").chain(files("snapshots")).map(|file| written(file.path())).sum()
}

/// Asks until it is so.
pub(super) async fn wait<T>(
    what: &'static str,
    mut ask: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T, ClusterError> {
    let since = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return Ok(found),
            Err(found) if since.elapsed() > PATIENCE => {
                return Err(ClusterError::Waited { what, seconds: PATIENCE.as_secs(), found });
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

//! Nodes that were given certificates: who has none of the cluster's authority is refused before anything is
//! said.

use std::path::{Path, PathBuf};

use onrush_net::peer::{PeerOptions, PeerRefusal, PeerRefused, RefusedBy};
use onrush_net::tls::{Mutual, MutualError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::node::{Node, cluster, options, until};

/// An authority, and files of those that it vouches for.
struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("authority.pem"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
    }

    /// A certificate for a name or an address, and its key.
    fn vouch(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let paths = (self.dir.path().join("node.pem"), self.dir.path().join("node.key"));
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    }

    /// A node that this authority vouches for, and that believes one.
    fn node(&self, number: u64, name: &str, believed: &Path) -> PeerOptions {
        let (certificate, key) = self.vouch(name);
        let mutual = Mutual::read(&certificate, &key, believed).unwrap();
        PeerOptions { tls: Some(mutual), ..options(number) }
    }
}

fn refused_by_tls(refused: &Option<PeerRefused>, by: RefusedBy) -> bool {
    matches!(refused, Some(PeerRefused { by: who, refusal: PeerRefusal::Tls { .. } }) if *who == by)
}

/// Both know the key of the cluster, and the second has something that the first does not take.
fn refuses(first: PeerOptions, second: PeerOptions, why: &str) {
    let (first, second) = (Node::start(first), Node::start(second));
    first.knows([(2, second.address())]);
    second.knows([(1, first.address())]);
    let is_told = |node: &Node| {
        let status = node.peers.status();
        let own = status.peers.values().any(|peer| refused_by_tls(&peer.refused, RefusedBy::Us));
        own || status.stranger.is_some_and(|stranger| matches!(stranger.refusal, PeerRefusal::Tls { .. }))
    };
    until(&format!("the first has refused {why}"), || is_told(&first));
    until(&format!("the second has heard of {why}"), || {
        refused_by_tls(&second.status(1).refused, RefusedBy::Them)
    });
    for (node, other) in [(&first, 2), (&second, 1)] {
        let status = node.status(other);
        assert!(!status.connected && !status.heard && status.advertised.is_none(), "{why}: {status:?}");
    }
}

#[test]
fn nodes_of_one_authority_speak_with_each_other() {
    let authority = Authority::new();
    let nodes = cluster((1..=2).map(|number| authority.node(number, "127.0.0.1", &authority.path())));
    assert!(nodes[0].peers.send(2, vec![1]) && nodes[1].peers.send(1, vec![2]));
    until("both have arrived", || nodes[1].heard(1) == [[1]] && nodes[0].heard(2) == [[2]]);
}

#[test]
fn nodes_of_strange_authorities_are_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let first = |ours: &Authority| ours.node(1, "127.0.0.1", &ours.path());
    refuses(first(&ours), theirs.node(2, "127.0.0.1", &ours.path()), "another authority");
    refuses(first(&ours), options(2), "no certificate of files");
    // It calls, and is heard; called, it is not who stands in its certificate.
    let (first, second) =
        (Node::start(first(&ours)), Node::start(ours.node(2, "elsewhere.example", &ours.path())));
    first.knows([(2, second.address())]);
    second.knows([(1, first.address())]);
    until("it is refused", || refused_by_tls(&first.status(2).refused, RefusedBy::Us));
    assert!(!first.status(2).connected);
}

/// The certificate alone is not enough.
#[test]
fn a_certificate_without_the_key_of_the_cluster_is_refused() {
    let authority = Authority::new();
    let first = Node::start(authority.node(1, "127.0.0.1", &authority.path()));
    let peers = [(1, first.address())].into();
    let second = authority.node(2, "127.0.0.1", &authority.path());
    let second = Node::start(PeerOptions { key: crate::node::key(8), peers, ..second });
    first.knows([(2, second.address())]);
    let is_cluster = |refused: Option<PeerRefused>| {
        refused.is_some_and(|refused| matches!(refused.refusal, PeerRefusal::Cluster { .. }))
    };
    until("both know", || is_cluster(first.status(2).refused) && is_cluster(second.status(1).refused));
    assert!(!first.status(2).heard && !second.status(1).heard);
}

#[test]
fn files_that_are_none_are_refused_by_what_they_were_to_be() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.vouch("127.0.0.1");
    let (_, other) = theirs.vouch("127.0.0.1");
    let refused = |certificate: &Path, key: &Path, authorities: &Path| {
        Mutual::read(certificate, key, authorities).unwrap_err()
    };
    let nowhere = Path::new("nowhere.pem");
    assert!(matches!(refused(nowhere, &key, &ours.path()), MutualError::Identity(_)));
    assert!(matches!(refused(&certificate, &other, &ours.path()), MutualError::Identity(_)));
    assert!(matches!(refused(&certificate, &key, nowhere), MutualError::Trust(_)));
    assert!(matches!(refused(&certificate, &key, &other), MutualError::Trust(_)), "a key is no authority");
}

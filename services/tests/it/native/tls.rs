//! The native protocol over TCP with TLS.

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use onrush_net::client::Shop as Client;
use onrush_net::client::native::{Stream, Transport};
use onrush_net::tls::{ALPN, Trust};
use onrush_proto::Text;
use onrush_proto::frame::{FRAME_BYTES_MAX, Frame, HEADER_BYTES, Hello, Kind};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::quic::{believing, buy};
use crate::binary::{FREE_PORTS, Process, onrush};
use crate::shop::Shop;

fn open(change: impl FnOnce(&mut onrush_services::config::Config)) -> Shop {
    Shop::open_with(|config| {
        config.native.tls = true;
        change(config);
    })
}

#[tokio::test]
async fn something_is_bought_over_tls_by_whoever_believes_the_server() {
    let shop = open(|_| ());
    let address = format!("onrush+tls://localhost:{}", shop.native().port());
    let by_name = Client::connect_with(&address, &believing(Trust::Roots(shop.certificate()))).await.unwrap();
    buy(&by_name, "tea").await;
    let address = format!("onrush+tls://{}", shop.native());
    let pinned = Client::connect_with(&address, &believing(Trust::Pinned(shop.certificate()))).await.unwrap();
    buy(&pinned, "coffee").await;
    // More than any record or buffer holds, both ways.
    let lines = vec![("tea".parse().unwrap(), 1); 10_000];
    assert_eq!(pinned.validate(&lines).await.unwrap().len(), 10_000);
    let other = open(|_| ());
    for trust in [Trust::System, Trust::Roots(other.certificate()), Trust::Pinned(other.certificate())] {
        let error = Client::connect_with(&address, &believing(trust)).await.err().unwrap();
        assert!(error.to_string().contains("expected a server at"), "{error}");
    }
    assert!(shop.client.audit(Default::default()).await.unwrap().ok);
}

#[tokio::test]
async fn many_at_a_time_are_answered_over_tls() {
    let shop = open(|_| ());
    let address = format!("onrush+tls://{}", shop.native());
    let client = Client::connect_with(&address, &believing(Trust::Pinned(shop.certificate()))).await.unwrap();
    let order = buy(&client, "tea").await;
    let asked: Vec<_> = (0..500)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.order(order).await.map(|row| row.customer) })
        })
        .collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Ok(Text::new("ada").unwrap()));
    }
}

/// What is said in the clear is answered by an alert of TLS, and nothing of it is done.
#[tokio::test]
async fn nothing_is_taken_in_the_clear() {
    let shop = open(|_| ());
    let mut stream = TcpStream::connect(shop.native()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut bytes = Vec::new();
    Hello::new("", "a test").write(&mut bytes);
    stream.write_all(&bytes).unwrap();
    let mut heard = Vec::new();
    // The end may come as a reset: something was left unread.
    let _ = stream.read_to_end(&mut heard);
    // A record of kind alert.
    assert!(heard.is_empty() || heard[0] == 21, "{heard:?}");
    let address = format!("onrush://{}", shop.native());
    assert!(Client::connect_with(&address, &believing(Trust::System)).await.is_err());
}

/// What a server says first over TLS to a client that offers these protocols.
fn welcomed(shop: &Shop, alpn: &[&[u8]]) -> std::io::Result<Kind> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(shop.certificate()).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(shop.native())?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, stream);
    let mut bytes = Vec::new();
    Hello::new("", "a test").write(&mut bytes);
    stream.write_all(&bytes)?;
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head)?;
    let length = Frame::length(&head, FRAME_BYTES_MAX).unwrap().unwrap();
    let mut frame = head.to_vec();
    frame.resize(length, 0);
    stream.read_exact(&mut frame[HEADER_BYTES..])?;
    Ok(Frame::read(&frame, FRAME_BYTES_MAX).unwrap().unwrap().0.kind)
}

#[tokio::test]
async fn another_protocol_is_refused_in_the_handshake() {
    let shop = open(|_| ());
    let others: [&[&[u8]]; 3] = [&[b"onrush/2"], &[b"h2", b"http/1.1"], &[b"onrush-peer/1"]];
    for alpn in others {
        let error = welcomed(&shop, alpn).unwrap_err();
        let told = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        let refused = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(told, Some(&refused), "{error}");
    }
    // Who offers none is served, and so is who offers others beside it.
    let ours: [&[&[u8]]; 3] = [&[], &[ALPN], &[b"onrush/2", ALPN]];
    for alpn in ours {
        assert_eq!(welcomed(&shop, alpn).unwrap(), Kind::Welcome);
    }
}

#[tokio::test]
async fn who_does_not_shake_hands_is_ended() {
    let shop = open(|config| config.native.limits.hello = Duration::from_millis(200));
    let mut stream = TcpStream::connect(shop.native()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(stream.read(&mut [0; 64]).unwrap(), 0);
}

/// A Hello that did not come ended the thread of the front, and with it everybody's connection.
#[tokio::test]
async fn who_falls_silent_behind_the_handshake_is_ended_alone() {
    let shop = open(|config| {
        config.native.limits.hello = Duration::from_millis(700);
        config.native.limits.progress = Duration::from_millis(700);
        config.fronts = 1;
    });
    let trust = Trust::Pinned(shop.certificate());
    let transport = Transport::Tls(trust.clone());
    let mut hello = Vec::new();
    Hello::new("", "a test").write(&mut hello);
    let half_a_frame = [&hello[..], &[7; 5]].concat();
    for said in [&[][..], &hello[..20], &half_a_frame] {
        let mut stream = Stream::open(&shop.native().to_string(), &transport).await.unwrap().unwrap();
        let written = poll_fn(|context| stream.poll_write(context, said)).await.unwrap();
        assert_eq!(written, said.len());
        let mut buffer = [0; 4_096];
        while poll_fn(|context| stream.poll_read(context, &mut buffer)).await.is_ok_and(|read| read > 0) {}
    }
    let address = format!("onrush+tls://{}", shop.native());
    let client = Client::connect_with(&address, &believing(trust)).await.unwrap();
    buy(&client, "tea").await;
}

#[tokio::test]
async fn a_server_with_tls_stops_in_good_order() {
    let shop = open(|_| ());
    let address = format!("onrush+tls://{}", shop.native());
    let client = Client::connect_with(&address, &believing(Trust::Pinned(shop.certificate()))).await.unwrap();
    let order = buy(&client, "tea").await;
    let dir = shop.stop().await;
    assert!(client.order(order).await.is_err());
    let shop = Shop::reopen(dir, |config| config.native.tls = true);
    let again = format!("onrush+tls://{}", shop.native());
    let trust = believing(Trust::Pinned(shop.certificate()));
    let client = Client::connect_with(&again, &trust).await.unwrap();
    assert!(client.order(order).await.is_ok(), "the certificate is the same, and so is the order");
}

/// What the binary says of its certificate, and of files that are none.
#[test]
fn a_process_says_where_its_certificate_is_and_which_setting_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let start = |more: &[&str]| {
        let mut command = onrush(&["serve"]);
        command.args(["--data-dir"]).arg(&data).args(FREE_PORTS).args(more);
        command
    };
    let mut process = Process::spawn(start(&["--native-tls"]));
    let certificate = data.join("native-tls.crt");
    let banner = process.banner().to_owned();
    for expected in ["quic     127.0.0.1:", " (TLS)\n", "sha256 ", &certificate.display().to_string()] {
        assert!(banner.contains(expected), "{expected}: {banner}");
    }
    process.signal("-TERM");
    assert_eq!(process.wait(), 0);

    let (own, key) = (certificate.display().to_string(), data.join("native-tls.key").display().to_string());
    let absent = dir.path().join("absent.pem").display().to_string();
    let table: [(&[&str], &str); 4] = [
        (&["--tls-cert", &own], "tls-key (from default): expected a file with the key of tls-cert"),
        (&["--tls-key", &key], "tls-cert (from default): expected a file with the certificate of tls-key"),
        (
            &["--tls-cert", &absent, "--tls-key", &key],
            "tls-cert (TLS_CERT): expected a file that can be read",
        ),
        (
            &["--tls-cert", &own, "--tls-key", &own],
            "tls-key (TLS_KEY): expected a private key in PEM, found none",
        ),
    ];
    for (flags, expected) in table {
        let output = start(flags).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(expected), "{expected}: {errors}");
    }
}

//! Mails by a mail server: a stand-in on loopback that says what a test wants it to say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use onrush_grpc::notification::v1::{ListDeadLettersRequest, PutContactRequest};
use onrush_services::config::{Config, Secret, Service, SmtpOptions, SmtpTls};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::shop::Shop;

/// A mail server that keeps what it takes.
#[derive(Clone, Default)]
struct Peer {
    taken: Arc<Mutex<Vec<String>>>,
    logins: Arc<Mutex<Vec<String>>>,
    /// Answers to the next mails; then all are taken.
    answers: Arc<Mutex<Vec<&'static str>>>,
}

impl Peer {
    async fn listen(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let peer = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let peer = peer.clone();
                // Who hangs up is served no longer.
                tokio::spawn(async move { peer.serve(stream).await.is_ok() });
            }
        });
        port
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        write.write_all(b"220 peer.example.com ESMTP\r\n").await?;
        while let Some(line) = lines.next_line().await? {
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let answer = match verb.as_str() {
                "EHLO" => "250-peer.example.com\r\n250-8BITMIME\r\n250 AUTH PLAIN",
                "AUTH" => {
                    self.logins.lock().unwrap().push(line);
                    "235 welcome"
                }
                "RCPT" => self.answers.lock().unwrap().pop().unwrap_or("250 known"),
                "DATA" => {
                    write.write_all(b"354 go on\r\n").await?;
                    let mut mail = String::new();
                    while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                        mail += &line;
                        mail.push('\n');
                    }
                    self.taken.lock().unwrap().push(mail);
                    "250 taken"
                }
                "QUIT" => return write.write_all(b"221 bye\r\n").await,
                _ => "250 fine",
            };
            write.write_all(format!("{answer}\r\n").as_bytes()).await?;
        }
        Ok(())
    }

    async fn taken(&self, count: usize) -> Vec<String> {
        for _ in 0..3_000 {
            let taken = self.taken.lock().unwrap().clone();
            if taken.len() >= count {
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("expected {count} mails, found {:?}", self.taken.lock().unwrap());
    }
}

fn by_server(port: u16) -> impl FnOnce(&mut Config) {
    move |config| {
        config.services.push((Service::Notification, 0));
        config.notification.from = "Shop <shop@example.com>".into();
        config.smtp = Some(SmtpOptions {
            host: "127.0.0.1".into(),
            port,
            login: Some(("shop".into(), Secret::new("a password"))),
            tls: SmtpTls::None,
            ca_pem: None,
        });
    }
}

async fn shop(peer: &Peer) -> Shop {
    let shop = Shop::open_with(by_server(peer.listen().await));
    shop.stock("tea", 499, 10).await;
    let contact = PutContactRequest {
        customer_id: "ada".into(),
        email: "ada@example.com".into(),
        ..Default::default()
    };
    shop.client.put_contact(contact).await.unwrap();
    shop
}

#[tokio::test]
async fn a_mail_goes_out_once_after_the_server_was_busy_and_had_refused_the_login() {
    let peer = Peer::default();
    // The last one is said first.
    *peer.answers.lock().unwrap() = vec!["535 not today", "451 busy"];
    let shop = shop(&peer).await;
    let order_id = shop.order("", "tea", 1).await.unwrap().order_id;
    let taken = peer.taken(1).await;
    assert!(taken[0].contains(&format!("Subject: Your order {order_id}")), "{}", taken[0]);
    assert!(
        taken[0].contains("From: Shop <shop@example.com>") || taken[0].contains("From: \"Shop\""),
        "{}",
        taken[0]
    );
    assert!(taken[0].contains("To: ada@example.com"), "{}", taken[0]);
    assert!(!peer.logins.lock().unwrap().is_empty());
    // What was paid meanwhile comes after it, and nothing came twice.
    let paid = shop.paid("tea").await;
    let subjects: Vec<String> = peer
        .taken(3)
        .await
        .iter()
        .map(|mail| mail.lines().find(|line| line.starts_with("Subject: ")).unwrap().to_owned())
        .collect();
    for order in [&order_id, &paid] {
        let confirmed = subjects.iter().filter(|subject| **subject == format!("Subject: Your order {order}"));
        assert_eq!(confirmed.count(), 1, "{subjects:?}");
    }
}

#[tokio::test]
async fn a_recipient_that_the_server_does_not_know_is_a_dead_letter_and_nobody_is_told_nowhere() {
    let peer = Peer::default();
    *peer.answers.lock().unwrap() = vec!["550 nobody of that name"];
    let shop = shop(&peer).await;
    shop.order("", "tea", 1).await.unwrap();
    let mut dead = Vec::new();
    for _ in 0..3_000 {
        let found = shop.client.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap();
        dead = found.notifications;
        if !dead.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(dead.len(), 1);
    assert!(dead[0].problem.contains("nobody of that name"), "{:?}", dead[0]);
    // A customer who left no address gets a file, but no mail.
    let order = crate::shop::order("", "bob", &[("tea", 1)]);
    shop.client.create_order(order).await.unwrap();
    shop.order("", "tea", 1).await.unwrap();
    let taken = peer.taken(1).await;
    assert!(taken.iter().all(|mail| mail.contains("To: ada@example.com")), "{taken:?}");
}

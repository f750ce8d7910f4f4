//! A forgotten password: from the wish over the mail to a new one.

use std::path::Path;

use onrush_services::config::{Config, Service};
use serde_json::json;

use super::{Answer, Site, Tokens};
use crate::wait::until;

const NEW: &str = "another horse battery";

pub(super) fn telling(config: &mut Config) {
    config.services.push((Service::Notification, 0));
}

/// Every mail for a new password under a data directory, oldest first.
fn reset_mails(data: &Path) -> Vec<String> {
    let files = std::fs::read_dir(data.join("mail")).into_iter().flatten().flatten();
    let mut paths: Vec<_> = files
        .map(|file| file.path())
        .filter(|path| {
            path.to_string_lossy().contains("password_reset") && path.extension().unwrap() == "eml"
        })
        .collect();
    paths.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

/// The mails, once there are so many.
async fn mails(site: &Site, count: usize) -> Vec<String> {
    let data = site.shop.dir.path().join("data");
    until(&format!("{count} mails"), async || {
        let found = reset_mails(&data);
        if found.len() >= count { Ok(found) } else { Err(found) }
    })
    .await
}

/// The token in a mail, whose lines may be broken by the transfer encoding.
fn token(mail: &str) -> String {
    let text = mail.replace("=\r\n", "").replace("=3D", "=");
    let start = text.find("onrush_pr_").expect("a token");
    text[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect()
}

async fn ask(site: &Site, email: &str) -> Answer {
    site.post("/password-reset", &json!({"email": email})).await
}

async fn confirm(site: &Site, token: &str, password: &str) -> Answer {
    site.post("/password-reset/confirm", &json!({"token": token, "new_password": password})).await
}

/// The whole way to a new password, by the mail that is so many in a row.
pub(super) async fn by_mail(site: &Site, email: &str, count: usize, password: &str) {
    assert_eq!(ask(site, email).await.status, 202);
    let mail = mails(site, count).await.pop().unwrap();
    assert_eq!(confirm(site, &token(&mail), password).await.status, 204);
}

#[tokio::test]
async fn a_mail_gives_a_new_password_once_and_ends_all_logins() {
    let site = Site::open_with(telling);
    let ada = site.somebody("ada@example.com").await;
    assert_eq!(site.get("/profile", &ada.access).await.body["email_verified"], json!(false));
    assert_eq!(ask(&site, "Ada@Example.com").await.status, 202);
    let mail = mails(&site, 1).await.remove(0);
    assert!(
        mail.contains("To: ada@example.com") && mail.contains("Subject: Choose a new password"),
        "{mail}"
    );
    assert!(mail.contains("multipart/alternative") && mail.contains("text/html"), "{mail}");
    assert!(mail.contains("https://shop.example.com/password-reset?token"), "{mail}");
    let token = token(&mail);

    // A weak password uses nothing up.
    confirm(&site, &token, "short").await.assert_refused(400, "WEAK_PASSWORD", Some("new_password"));
    let altered = format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { 'B' } else { 'A' });
    for wrong in ["", "x", &ada.refresh, &altered, &token[..20]] {
        confirm(&site, wrong, NEW).await.assert_refused(401, "INVALID_RESET_TOKEN", Some("token"));
    }
    assert_eq!(confirm(&site, &token, NEW).await.status, 204);
    confirm(&site, &token, NEW).await.assert_refused(401, "INVALID_RESET_TOKEN", Some("token"));
    site.get("/profile", &ada.access).await.assert_refused(401, "INVALID_TOKEN", None);
    let refresh = site.post("/refresh", &json!({"refresh_token": ada.refresh})).await;
    refresh.assert_refused(401, "INVALID_REFRESH_TOKEN", Some("refresh_token"));
    let login = async |password: &str| {
        site.post("/login", &json!({"email": "ada@example.com", "password": password})).await
    };
    login(super::PASSWORD).await.assert_refused(401, "INVALID_CREDENTIALS", None);
    let again = Tokens::of(&login(NEW).await);
    assert_eq!(site.get("/profile", &again.access).await.body["email_verified"], json!(true));
}

#[tokio::test]
async fn only_the_last_mail_counts_and_two_at_once_set_one_password() {
    let site = Site::open_with(telling);
    site.register("ada@example.com").await;
    ask(&site, "ada@example.com").await;
    let first = token(&mails(&site, 1).await[0]);
    ask(&site, "ada@example.com").await;
    let both = mails(&site, 2).await;
    let last = both.iter().map(|mail| token(mail)).find(|token| *token != first).unwrap();
    confirm(&site, &first, NEW).await.assert_refused(401, "INVALID_RESET_TOKEN", Some("token"));
    let (one, two) = tokio::join!(confirm(&site, &last, NEW), confirm(&site, &last, "a third horse battery"));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 401], "{one:?} {two:?}");
}

#[tokio::test]
async fn nobody_learns_whether_an_address_has_an_account_and_no_mailbox_is_flooded() {
    let site = Site::open_with(telling);
    site.register("ada@example.com").await;
    for email in ["ada@example.com", "nobody@example.com"] {
        for _ in 0..3 {
            let answer = ask(&site, email).await;
            assert_eq!((answer.status, &answer.body), (202, &json!(null)), "{answer:?}");
        }
        ask(&site, email).await.assert_refused(429, "TOO_MANY_REQUESTS", None);
    }
    ask(&site, "ada").await.assert_refused(400, "INVALID_EMAIL", Some("email"));
    // Whoever was asked about all the same gets mails; nobody else does.
    for mail in mails(&site, 1).await {
        assert!(mail.contains("To: ada@example.com"), "{mail}");
    }
}

#[tokio::test]
async fn the_page_of_the_link_runs_nothing_and_sets_the_password() {
    let site = Site::open_with(telling);
    site.register("ada@example.com").await;
    ask(&site, "ada@example.com").await;
    let token = token(&mails(&site, 1).await[0]);
    let page = async |token: &str| {
        site.request("GET", "/password-reset").query(&[("token", token)]).send().await.unwrap()
    };
    let shown = page("\"><script>alert(1)</script>").await;
    let header = |name: &str| shown.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (header("x-frame-options").as_str(), header("referrer-policy").as_str()),
        ("DENY", "no-referrer")
    );
    assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
    assert!(!shown.text().await.unwrap().contains("<script"));
    assert!(page(&token).await.text().await.unwrap().contains(&token));
    let submit = async |password: &str| {
        let form = [("token", token.as_str()), ("new_password", password)];
        let answer = site.request("POST", "/password-reset/form").form(&form).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let (status, text) = submit("short").await;
    assert!(status == 400 && text.contains("at least 10 characters"), "{status} {text}");
    assert_eq!(submit(NEW).await.0, 200);
    assert_eq!(submit(NEW).await.0, 401);
}

/// What is not in the log and not in the store cannot be read by any call on them.
#[tokio::test]
async fn no_token_stands_in_the_data_directory_but_in_the_mail() {
    let site = Site::open_with(telling);
    site.register("ada@example.com").await;
    ask(&site, "ada@example.com").await;
    let token = token(&mails(&site, 1).await[0]);
    let secret = token.trim_start_matches("onrush_pr_").to_owned();
    let dir = site.shop.stop().await;
    let mut looked = 0;
    let mut dirs = vec![dir.path().join("data")];
    while let Some(next) = dirs.pop() {
        for entry in std::fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true if path.ends_with("mail") => {}
                true => dirs.push(path),
                false => {
                    let bytes = std::fs::read(&path).unwrap();
                    looked += 1;
                    let found = bytes.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
                    assert!(!found, "{}", path.display());
                }
            }
        }
    }
    assert!(looked > 3, "{looked}");
}

#[tokio::test]
async fn a_mail_that_cannot_be_sent_is_written_anew_and_its_token_is_good() {
    let site = Site::open_with(telling);
    site.register("ada@example.com").await;
    // A file where mails are to go: nothing can be written there.
    let way = site.shop.dir.path().join("data/mail");
    std::fs::write(&way, "in the way").unwrap();
    assert_eq!(ask(&site, "ada@example.com").await.status, 202);
    std::fs::remove_file(way).unwrap();
    let token = token(&mails(&site, 1).await[0]);
    assert_eq!(confirm(&site, &token, NEW).await.status, 204);
}

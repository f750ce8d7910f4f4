//! Secrets of operator and users, looked for in everything that the real binary writes.

use serde_json::{Value, json};

use crate::binary::{FREE_PORTS, Process, onrush};

const OPERATOR: &str = "operator-canary-7d1f0c5e8a9b4c3d";
const SIGNING: &str = "signing-canary-5b0e2f9d1c8a7e6f4d3c2b1a";
const USER: &str = "user-canary-correct-horse";

const ENV: [(&str, &str); 4] = [
    ("ADMIN_EMAIL", "root@example.com"),
    ("ADMIN_PASSWORD", OPERATOR),
    ("JWT_SECRET", SIGNING),
    ("LOG", "debug,onrush_services=trace,onrush_engine=trace"),
];

#[tokio::test]
async fn no_secret_is_in_the_log_or_the_banner() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start_with(dir.path(), &FREE_PORTS, &ENV);
    let address = format!("http://{}", process.address("user"));
    // Read while it writes, so that it never waits for a full pipe.
    let log = process.read_errors();
    let http = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let answer = http.post(format!("{address}{path}")).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default())
    };
    let account = json!({"email": "ada@example.com", "password": USER, "name": "Ada"});
    assert_eq!(post("/register", account).await.0, 201);
    let (status, tokens) = post("/login", json!({"email": "ada@example.com", "password": USER})).await;
    assert_eq!(status, 200, "{tokens}");
    let (access, refresh) =
        (tokens["access_token"].as_str().unwrap(), tokens["refresh_token"].as_str().unwrap());
    let seen = http.get(format!("{address}/profile")).bearer_auth(access).send().await.unwrap();
    assert_eq!(seen.status(), 200);
    let (status, next) = post("/refresh", json!({"refresh_token": refresh})).await;
    assert_eq!(status, 200, "{next}");
    // Used up: this one is warned of.
    assert_eq!(post("/refresh", json!({"refresh_token": refresh})).await.0, 401);
    assert_eq!(
        post("/login", json!({"email": "ada@example.com", "password": format!("{USER}!")})).await.0,
        401
    );
    let (status, admin) = post("/login", json!({"email": "root@example.com", "password": OPERATOR})).await;
    assert_eq!(status, 200, "{admin}");
    // A program's secret, in a call that is refused.
    let program = json!({
        "name": "App", "redirect_uris": ["https://app.example.com/"], "scope": "openid", "confidential": true
    });
    let request = http.post(format!("{address}/oauth2/clients")).json(&program);
    let client = request.bearer_auth(admin["access_token"].as_str().unwrap()).send().await.unwrap();
    let client: Value = client.json().await.unwrap();
    let (id, secret) = (client["client_id"].as_str().unwrap(), client["client_secret"].as_str().unwrap());
    let request = http.post(format!("{address}/oauth2/token")).basic_auth(id, Some(secret));
    let answer =
        request.form(&[("grant_type", "refresh_token"), ("refresh_token", refresh)]).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    process.signal("-TERM");
    tokio::task::spawn_blocking(move || assert_eq!(process.wait(), 0)).await.unwrap();
    let text = log.join().unwrap();
    assert!(text.contains("a token or code came twice"), "{text}");
    let next = next["refresh_token"].as_str().unwrap();
    for secret in [OPERATOR, SIGNING, USER, access, refresh, next, secret] {
        assert!(!text.contains(secret), "the log holds {secret:.20}");
    }
}

#[test]
fn check_config_shows_every_setting_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("admin");
    std::fs::write(&file, format!("{OPERATOR}\n")).unwrap();
    let file = file.to_str().unwrap();
    let env = [("ADMIN_EMAIL", "root@example.com"), ("ADMIN_PASSWORD_FILE", file), ("JWT_SECRET", SIGNING)];
    let output = onrush(&["check-config"]).envs(env).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |name: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("jwt-secret"), "**** environment JWT_SECRET");
    assert_eq!(row("admin-password"), "- default");
    assert_eq!(row("admin-password-file"), format!("{file} environment ADMIN_PASSWORD_FILE"));
    assert_eq!(row("user-port"), "8080 default");
    assert!(!text.contains(SIGNING) && !text.contains(OPERATOR), "{text}");
    // No flag takes a secret: everybody on the machine could read it.
    assert_eq!(onrush(&["serve", "--jwt-secret", SIGNING]).output().unwrap().status.code(), Some(2));
}

//! Settings by the real binary: what `check-config` shows of secrets, and where an address moves a process.

use onrush_grpc::order::v1::ListOrdersRequest;
use onrush_services::config::{MASK, SETTINGS};

use crate::binary::{Process, assert_one_line, client, onrush, stock_up};
use crate::shop::order;

const TOKEN: &str = "a token that the processes of this shop share";

/// What the secrets need beside them to count.
const BESIDE: [(&str, &str); 9] = [
    ("SHIPPING_FROM", "Shop;Main Street 1;Bonn;;53111;DE"),
    ("SMTP_HOST", "mail.example.com"),
    ("SMTP_USER", "shop@example.com"),
    ("TWILIO_SID", "AC00000000000000000000000000000001"),
    ("TWILIO_FROM", "+15005550006"),
    ("OIDC_ISSUER", "https://id.example.com"),
    ("OIDC_CLIENT_ID", "shop"),
    ("ADMIN_EMAIL", "root@example.com"),
    ("REDIS_URL", "redis://:hush@cache"),
];

#[test]
fn check_config_shows_no_secret_wherever_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = || SETTINGS.iter().filter(|setting| setting.secret);
    let value = |name: &str| format!("hush:{name}:0123456789abcdef0123456789abcdef");
    let file = dir.path().join("onrush.toml");
    let keys =
        secrets().map(|secret| format!("{} = \"{}\"\n", secret.name.replace('-', "_"), value(secret.name)));
    std::fs::write(&file, keys.collect::<String>()).unwrap();

    let mut by_env = onrush(&["check-config"]);
    by_env.envs(secrets().map(|secret| (secret.env, value(secret.name))));
    let by_file = onrush(&["check-config", "--config", file.to_str().unwrap()]);
    let mut flags = vec!["check-config".to_owned()];
    for secret in secrets() {
        let path = dir.path().join(secret.name);
        std::fs::write(&path, value(secret.name)).unwrap();
        flags.push(format!("--{}-file={}", secret.name, path.display()));
    }
    let by_flag = onrush(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    for (mut command, origin) in [(by_env, "environment"), (by_file, "file"), (by_flag, "default")] {
        let output = command.envs(BESIDE).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!text.contains("hush"), "{text}");
        for secret in secrets() {
            let row = text.lines().find(|line| line.starts_with(&format!("{} ", secret.name))).unwrap();
            let words: Vec<&str> = row.split_whitespace().skip(1).take(2).collect();
            let shown = if origin == "default" { "-" } else { MASK };
            assert_eq!(words, [shown, origin], "{row}");
        }
        assert!(text.contains("warning: REDIS_URL is set and does nothing"), "{text}");
    }
    // A secret is no flag: everybody on the machine could read it.
    let refused = onrush(&["check-config", "--jwt-secret", &value("jwt-secret")]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[tokio::test]
async fn each_of_the_three_addresses_leads_to_the_engine_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let token = ("ENGINE_TOKEN", TOKEN);
    let start = |name: &str, services: &str, env: &[(&str, &str)]| {
        Process::start_with(
            &dir.path().join(name),
            &["--services", services],
            &[env, &[token, ("PORT", "0")]].concat(),
        )
    };
    let engine = start("engine", "product", &[]);
    let address = engine.address("product");
    let there = client(&|_| address.clone());
    stock_up(&there).await;
    for variable in ["ENGINE_ADDR", "PRODUCT_SERVICE_ADDR", "PAYMENT_SERVICE_ADDR"] {
        let process = start(variable, "order", &[(variable, &*address)]);
        assert!(process.banner().contains(&format!("engine at http://{address}")), "{}", process.banner());
        let here = client(&|_| process.address("order"));
        here.create_order(order(variable, "ada", &[("tea", 1)])).await.unwrap();
        let orders = ListOrdersRequest { customer_id: "ada".into(), ..Default::default() };
        let seen = here.list_orders(orders).await.unwrap().orders.len();
        let audit = there.audit(Default::default()).await.unwrap();
        assert_eq!(seen as u64, audit.orders, "{variable}");
    }
    assert_eq!(there.audit(Default::default()).await.unwrap().units_held, 3);
}

#[tokio::test]
async fn an_address_that_does_not_count_is_said_at_the_start_and_by_check_config() {
    let dir = tempfile::tempdir().unwrap();
    let env = [("PRODUCT_SERVICE_ADDR", "127.0.0.1:1"), ("PRODUCT_GRPC_PORT", "0")];
    let mut process = Process::start_with(dir.path(), &["--services", "product"], &env);
    // Its own address does not send it away: it has an engine, and answers.
    assert!(process.banner().contains("data in"), "{}", process.banner());
    stock_up(&client(&|_| process.address("product"))).await;
    let log = process.read_errors();
    process.signal("-TERM");
    assert_eq!(tokio::task::spawn_blocking(move || process.wait()).await.unwrap(), 0);
    let expected =
        "warning: product-service-addr=127.0.0.1:1 (from environment PRODUCT_SERVICE_ADDR) is passed over";
    let found = log.join().unwrap();
    assert!(found.contains(expected), "{found}");

    let mut check = onrush(&["check-config", "--services", "product"]);
    let output = check.envs(env).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(expected), "{text}");
    let mut torn = onrush(&["serve", "--services", "order", "--data-dir", dir.path().to_str().unwrap()]);
    torn.envs([("PRODUCT_SERVICE_ADDR", "b:2"), ("PAYMENT_SERVICE_ADDR", "c:3"), ("ENGINE_TOKEN", TOKEN)]);
    let expected = "payment-service-addr (from environment PAYMENT_SERVICE_ADDR): expected http://b:2 as product-service-addr";
    assert_one_line(&torn.output().unwrap(), 2, expected);
}

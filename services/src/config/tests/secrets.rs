//! Every secret, by every way in.

use super::*;

/// What a secret needs beside it to count.
fn beside(name: &str) -> &'static [(&'static str, &'static str)] {
    const CARRIER: [(&str, &str); 2] =
        [("SHIPPING_FROM", "Shop;Main Street 1;Bonn;;53111;DE"), ("SHIPPING_API_KEY", "a carrier's key")];
    match name {
        "stripe-webhook-secret" => &[("STRIPE_API_KEY", "a gateway's key")],
        "shipping-api-key" => CARRIER.first_chunk::<1>().unwrap(),
        "shipping-webhook-secret" => &CARRIER,
        "smtp-pass" => &[("SMTP_HOST", "mail.example.com"), ("SMTP_USER", "shop@example.com")],
        "twilio-token" => {
            &[("TWILIO_SID", "AC00000000000000000000000000000001"), ("TWILIO_FROM", "+15005550006")]
        }
        "oidc-client-secret" => &[("OIDC_ISSUER", "https://id.example.com"), ("OIDC_CLIENT_ID", "shop")],
        "admin-password" => &[("ADMIN_EMAIL", "root@example.com")],
        _ => &[],
    }
}

/// One secret, and the setting that names its file.
struct Way {
    secret: &'static Setting,
    file: &'static Setting,
    /// Good enough for each: long, and a pair.
    value: String,
    beside: &'static [(&'static str, &'static str)],
}

impl Way {
    fn all() -> Vec<Self> {
        let secrets = SETTINGS.iter().filter(|setting| setting.secret);
        let way = |secret: &'static Setting| {
            let name = format!("{}-file", secret.name);
            let file = SETTINGS.iter().find(|setting| setting.name == name);
            let file = file.unwrap_or_else(|| panic!("expected a setting {name}"));
            assert_eq!((file.env, file.secret), (&*format!("{}_FILE", secret.env), false));
            let value = format!("hush:{}:{LONG}", secret.name);
            Self { secret, file, value, beside: beside(secret.name) }
        };
        secrets.map(way).collect()
    }

    fn resolve(
        &self,
        flags: &[(&str, &str)],
        env: &[(&str, &str)],
        file: &[(&str, &str)],
    ) -> Result<Resolved, ConfigError> {
        resolve(&Case { flags, env: &[self.beside, env].concat(), file })
    }
}

#[test]
fn every_secret_is_read_from_the_environment_or_from_a_file_and_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let ways = Way::all();
    assert!(ways.len() >= 10, "the list of secrets has become short");
    for way in ways {
        let Way { secret, file, value, .. } = &way;
        let path = dir.path().join(secret.name);
        std::fs::write(&path, format!("{value}\r\n")).unwrap();
        let path = path.to_str().unwrap();
        let plain = way.resolve(&[], &[(secret.env, value)], &[]).unwrap();
        let without = way.resolve(&[], &[], &[]).ok().map(|found| found.config);
        assert_ne!(without.as_ref(), Some(&plain.config), "{} is not read", secret.name);
        let found = [
            ("its own key of the file", way.resolve(&[], &[], &[(secret.name, value)])),
            ("the variable that names a file", way.resolve(&[], &[(file.env, path)], &[])),
            ("the flag that names a file", way.resolve(&[(file.name, path)], &[], &[])),
            ("the key that names a file", way.resolve(&[], &[], &[(file.name, path)])),
        ];
        for (how, resolved) in found.into_iter().chain([("its variable", Ok(plain.clone()))]) {
            let resolved = resolved.unwrap_or_else(|error| panic!("{}, {how}: {error}", secret.name));
            assert!(resolved.config == plain.config, "{}, {how}", secret.name);
            assert!(!format!("{resolved:?}").contains(value), "{}, {how}", secret.name);
            let mut shown = resolved.values.iter().map(Value::shown);
            assert!(shown.all(|shown| !shown.contains(value)), "{}, {how}", secret.name);
        }
    }
}

#[test]
fn a_secret_that_comes_twice_or_from_a_file_that_cannot_be_read_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let [good, empty, long] = ["good", "empty", "long"].map(|name| dir.path().join(name));
    std::fs::write(&good, LONG).unwrap();
    std::fs::write(&empty, "\n").unwrap();
    std::fs::write(&long, "x".repeat(4_097)).unwrap();
    let [good, empty, long] = [&good, &empty, &long].map(|path| path.to_str().unwrap());
    let [none, directory] = ["/none/secret", dir.path().to_str().unwrap()];
    for way in Way::all() {
        let Way { secret, file, value, .. } = &way;
        let both = way.resolve(&[], &[(secret.env, value), (file.env, good)], &[]);
        let both_elsewhere = way.resolve(&[(file.name, good)], &[], &[(secret.name, value)]);
        let from = |path| way.resolve(&[], &[(file.env, path)], &[]);
        let not_both = format!("expected {} or this, not both", secret.name);
        let cases = [
            (both, format!("environment {}", file.env), &*not_both),
            (both_elsewhere, "flag".into(), &not_both),
            (from(none), format!("environment {}", file.env), "expected a file that can be read"),
            (from(directory), format!("environment {}", file.env), "expected a file that can be read"),
            (from(empty), format!("environment {}", file.env), "expected a file with a secret in it"),
            (from(long), format!("environment {}", file.env), "expected a file of at most 4096 bytes"),
        ];
        for (found, origin, expected) in cases {
            let error = found.unwrap_err().to_string();
            let expected = format!("{} (from {origin}): {expected}", file.name);
            assert!(error.starts_with(&expected) && !error.contains(value), "{error}");
        }
    }
}

#[test]
fn who_logs_in_by_a_url_is_not_shown() {
    let shown = |text: &str| {
        let value = Value { name: "stripe-api-base", text: text.into(), origin: Origin::Flag };
        value.shown().into_owned()
    };
    for (text, expected) in [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        ("https://me:hush@api.example.com/v1", "https://****@api.example.com/v1"),
        ("https://token@api.example.com", "https://****@api.example.com"),
        ("https://me:hu/s@h@api.example.com", "https://****@api.example.com"),
        ("Shop <shop@example.com>", "Shop <shop@example.com>"),
    ] {
        assert_eq!(shown(text), expected);
    }
    let env = [("OIDC_ISSUER", "https://me:hush@id.example.com"), ("OIDC_CLIENT_ID", "shop")];
    let error = resolve(&Case { flags: &[], env: &env, file: &[] }).unwrap_err().to_string();
    assert!(error.contains("found \"https://****@id.example.com\""), "{error}");
}

#[test]
fn servers_that_the_engine_replaces_are_named_and_their_addresses_are_not_shown() {
    let table = [
        ("MONGO_URI", "mongodb://root:hunter2@db:27017", "keeps users and products"),
        ("MONGO_DB", "shop-of-hunter2", "keeps users and products"),
        ("POSTGRES_URL", "postgres://shop:hunter2@db/orders", "keeps orders and payments"),
        ("REDIS_URL", "redis://:hunter2@cache:6379/0", "keeps stock and answers reads"),
        ("KAFKA_BROKERS", "hunter2:9092,kafka-2:9092", "is the event stream"),
        ("RABBITMQ_URL", "amqp://guest:hunter2@queue", "hands out work"),
    ];
    let notice = |name: &str, role: &str| format!("{name} is set and does nothing: the engine itself {role}");
    for (name, text, role) in table {
        let resolved = resolve(&Case { flags: &[], env: &[(name, text)], file: &[] }).unwrap();
        assert_eq!(resolved.warnings, [notice(name, role)]);
        assert!(!format!("{resolved:?}").contains("hunter2"), "{resolved:?}");
        assert!(resolve(&Case { flags: &[], env: &[(name, "")], file: &[] }).unwrap().warnings.is_empty());
    }
    let all = table.map(|(name, text, _)| (name, text));
    let resolved = resolve(&Case { flags: &[], env: &all, file: &[] }).unwrap();
    assert_eq!(resolved.warnings, table.map(|(name, _, role)| notice(name, role)));
    assert!(!format!("{resolved:?}").contains("hunter2"), "{resolved:?}");
}

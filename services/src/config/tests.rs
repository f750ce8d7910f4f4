mod places;
mod secrets;

use std::collections::HashMap;

use super::*;

struct Case<'a> {
    flags: &'a [(&'a str, &'a str)],
    env: &'a [(&'a str, &'a str)],
    file: &'a [(&'a str, &'a str)],
}

fn resolve(case: &Case<'_>) -> Result<Resolved, ConfigError> {
    let table = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    let (flags, env, file) = (table(case.flags), table(case.env), table(case.file));
    Sources {
        flag: &|name| flags.get(name).cloned(),
        env: &|name| env.get(name).cloned(),
        file: &|name| file.get(name).cloned(),
    }
    .resolve()
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let flag = ("data-dir", "/flag");
    let env = ("DATA_DIR", "/env");
    let file = ("data-dir", "/file");
    let table: [(&[_], &[_], &[_], &str, Origin); 5] = [
        (&[flag], &[env], &[file], "/flag", Origin::Flag),
        (&[], &[env], &[file], "/env", Origin::Env("DATA_DIR")),
        (&[], &[("DATA_DIR", "")], &[file], "/file", Origin::File),
        (&[], &[], &[file], "/file", Origin::File),
        (&[], &[], &[], "./onrush-data", Origin::Default),
    ];
    for (flags, env, file, text, origin) in table {
        let resolved = resolve(&Case { flags, env, file }).unwrap();
        assert_eq!(resolved.values[0], Value { name: "data-dir", text: text.into(), origin });
        assert_eq!(resolved.config.data_dir, PathBuf::from(text));
    }
}

#[test]
fn a_bare_port_means_the_one_service_of_a_process() {
    let order = |flags: &[(&str, &str)], env: &[(&str, &str)]| {
        let mut flags = flags.to_vec();
        flags.push(("services", "order"));
        resolve(&Case { flags: &flags, env, file: &[] }).unwrap().config.services
    };
    let table: [(&[_], &[_], u16); 6] = [
        (&[], &[], 50052),
        (&[], &[("PORT", "1")], 1),
        (&[], &[("PORT", "1"), ("GRPC_PORT", "2")], 2),
        (&[], &[("GRPC_PORT", "2"), ("ORDER_GRPC_PORT", "3")], 3),
        (&[("order-port", "4")], &[("ORDER_GRPC_PORT", "3")], 4),
        (&[], &[("PRODUCT_GRPC_PORT", "5")], 50052),
    ];
    for (flags, env, port) in table {
        assert_eq!(order(flags, env), [(Service::Order, port)], "{flags:?} {env:?}");
    }
}

#[test]
fn the_native_protocol_has_a_port_or_none() {
    let table: [(&[_], &[_], Option<u16>); 4] = [
        (&[], &[("PORT", "1")], Some(50060)),
        (&[], &[("NATIVE_PORT", "0")], Some(0)),
        (&[("native-port", "7")], &[("NATIVE_PORT", "off")], Some(7)),
        (&[("native-port", "off")], &[], None),
    ];
    for (flags, env, port) in table {
        let config = resolve(&Case { flags, env, file: &[] }).unwrap().config;
        assert_eq!(config.native.port, port, "{flags:?} {env:?}");
    }
    let table: [(&[_], Option<u16>); 5] = [
        (&[], Some(50060)),
        (&[("native-port", "7")], Some(7)),
        (&[("native-port", "off")], None),
        (&[("native-port", "off"), ("native-quic-port", "8")], Some(8)),
        (&[("native-quic-port", "off")], None),
    ];
    for (flags, port) in table {
        let config = resolve(&Case { flags, env: &[], file: &[] }).unwrap().config;
        assert_eq!(config.native.quic_port, port, "{flags:?}");
        assert!(!config.native.tls && config.native.certificate.is_none());
    }
}

#[test]
fn a_certificate_and_its_key_come_together() {
    let files = |flags| {
        let resolved = resolve(&Case { flags, env: &[], file: &[] });
        resolved.map(|found| found.config.native.certificate).map_err(|error| error.to_string())
    };
    let both = CertificateFiles { certificate: "a.crt".into(), key: "a.key".into() };
    assert_eq!(files(&[("tls-cert", "a.crt"), ("tls-key", "a.key")]), Ok(Some(both)));
    let error = files(&[("tls-cert", "a.crt")]).unwrap_err();
    assert!(error.starts_with("tls-key (") && error.contains("expected a file with the key of tls-cert"));
    let error = files(&[("tls-key", "a.key")]).unwrap_err();
    assert!(
        error.starts_with("tls-cert (") && error.contains("expected a file with the certificate of tls-key")
    );
}

#[test]
fn a_bare_port_is_passed_over_aloud_where_several_are_served() {
    let case = Case { flags: &[], env: &[("PORT", "8080"), ("ORDER_GRPC_PORT", "7")], file: &[] };
    let resolved = resolve(&case).unwrap();
    let ports: Vec<u16> = resolved.config.services.iter().map(|(_, port)| *port).collect();
    assert_eq!(ports, [50051, 7, 50053, 8080, 8082, 8083, 50054]);
    assert_eq!(resolved.warnings.len(), 1);
    assert!(resolved.warnings[0].starts_with("PORT=8080 is passed over"), "{:?}", resolved.warnings);
}

#[test]
fn port_is_the_stronger_one_for_a_service_over_http() {
    let env = [("PORT", "1"), ("GRPC_PORT", "2")];
    let resolved = resolve(&Case { flags: &[("services", "user")], env: &env, file: &[] }).unwrap();
    assert_eq!(resolved.config.services, [(Service::User, 1)]);
}

const LONG: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn secrets_come_from_the_environment_or_a_file_and_are_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, format!("{LONG}\n")).unwrap();
    let path = path.to_str().unwrap();
    for env in [[("JWT_SECRET", LONG)], [("JWT_SECRET_FILE", path)]] {
        let resolved = resolve(&Case { flags: &[], env: &env, file: &[] }).unwrap();
        assert_eq!(resolved.config.tokens.secret, Some(Secret::new(LONG)));
        assert!(!format!("{resolved:?}").contains(LONG), "{resolved:?}");
    }
    let admin = [("ADMIN_EMAIL", "Root@example.com"), ("ADMIN_PASSWORD", LONG)];
    let resolved = resolve(&Case { flags: &[], env: &admin, file: &[] }).unwrap();
    assert_eq!(resolved.config.first_admin.as_ref().unwrap().email.as_str(), "root@example.com");
    assert!(!format!("{resolved:?}").contains(LONG), "{resolved:?}");
    let long = "x".repeat(256);
    let table: [(&[_], &str); 7] = [
        (
            &[("JWT_SECRET", "too short")],
            "jwt-secret (from environment JWT_SECRET): expected a secret of at least 32 bytes, found \"****\"",
        ),
        (
            &[("JWT_SECRET", LONG), ("JWT_SECRET_FILE", path)],
            "jwt-secret-file (from environment JWT_SECRET_FILE)",
        ),
        (
            &[("JWT_SECRET_FILE", "/none")],
            "jwt-secret-file (from environment JWT_SECRET_FILE): expected a file",
        ),
        (
            &[("ADMIN_EMAIL", "a@b.example")],
            "admin-email (from environment ADMIN_EMAIL): expected admin-password",
        ),
        (
            &[("ADMIN_PASSWORD", LONG)],
            "admin-password (from environment ADMIN_PASSWORD): expected admin-email",
        ),
        (&[("ADMIN_EMAIL", "root"), ("ADMIN_PASSWORD", LONG)], "admin-email (from environment ADMIN_EMAIL)"),
        (
            &[("JWT_ISSUER", long.as_str())],
            "jwt-issuer (from environment JWT_ISSUER): expected 1 to 255 bytes",
        ),
    ];
    for (env, expected) in table {
        let error = resolve(&Case { flags: &[], env, file: &[] }).unwrap_err().to_string();
        assert!(error.starts_with(expected) && !error.contains(LONG), "{error}");
    }
}

#[test]
fn what_others_can_reach_is_open_by_an_unmistakable_word_only() {
    let access = |listen: &str, access: &str, secret: &str| {
        let env = [("LISTEN_ADDR", listen), ("ACCESS", access), ("JWT_SECRET", secret)];
        let resolved = resolve(&Case { flags: &[], env: &env, file: &[] });
        resolved.map(|found| (found.config.access, found.warnings.len())).map_err(|error| error.to_string())
    };
    let (open, required) = ((Access::Open, 0), (Access::Required, 0));
    for here in ["", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(access(here, "", ""), Ok(open), "{here}");
        assert_eq!(access(here, "", LONG), Ok(required), "{here}");
        assert_eq!(access(here, "open", LONG), Ok(open), "{here}");
        assert_eq!(access(here, "required", ""), Ok(required), "{here}");
    }
    for there in ["0.0.0.0", "::", "10.0.0.1", "192.168.1.2", "::ffff:10.0.0.1"] {
        assert_eq!(access(there, "", ""), Ok(required), "{there}");
        assert_eq!(access(there, "required", ""), Ok(required), "{there}");
        assert_eq!(access(there, "open-to-network", LONG), Ok((Access::Open, 1)), "{there}");
        let error = access(there, "open", "").unwrap_err();
        assert!(error.starts_with("access (from environment ACCESS): expected required"), "{error}");
    }
    let error = access("", "Open", "").unwrap_err();
    assert!(error.contains("expected auto, required, open or open-to-network, found"), "{error}");
}

#[test]
fn wrong_values_name_setting_origin_expected_and_found() {
    let table: [(&[_], &[_], &str); 8] = [
        (
            &[],
            &[("NATIVE_PORT", "none")],
            "native-port (from environment NATIVE_PORT): expected a port, 0 to 65535, or off, found \"none\"",
        ),
        (
            &[("order-port", "70000")],
            &[],
            "order-port (from flag): expected a port, 0 to 65535, found \"70000\"",
        ),
        (
            &[],
            &[("SHARDS", "0")],
            "shards (from environment SHARDS): expected auto or a whole number, 1 to 256, found \"0\"",
        ),
        (&[("listen", "localhost")], &[], "listen (from flag): expected an IP address"),
        (
            &[("services", "order,users")],
            &[],
            "services (from flag): expected product, order, payment, user, shipping, notification",
        ),
        (&[("services", "")], &[], "services (from flag)"),
        (&[("host", "tokio")], &[], "host (from flag): expected inline, thread or glommio"),
        (&[("gateway-faults", "luck=1")], &[], "gateway-faults (from flag): expected faults such as"),
    ];
    for (flags, env, expected) in table {
        let error = resolve(&Case { flags, env, file: &[] }).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_file_takes_texts_numbers_truths_and_lists_and_refuses_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("onrush.toml");
    std::fs::write(
        &path,
        "data_dir = \"/d\"\nshards = 4\naccept_clock = true\nservices = [\"order\", \"payment\"]\n",
    )
    .unwrap();
    let values = read_file(&path).unwrap();
    assert_eq!((values["data-dir"].as_str(), values["shards"].as_str()), ("/d", "4"));
    assert_eq!((values["services"].as_str(), values["accept-clock"].as_str()), ("order,payment", "true"));
    for (text, expected) in [
        ("color = 1", "expected a known setting, found \"color\""),
        ("shards = 1.5", "shards: expected a text, a number, true, false or a list, found a float"),
        ("shards = ", "expected TOML"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = read_file(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(read_file(&dir.path().join("none.toml")).is_err());
}

#[test]
fn a_secret_comes_from_a_file_and_stays_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "hush\n").unwrap();
    let file = ("SHIPPING_API_KEY_FILE", path.to_str().unwrap());
    let from = ("SHIPPING_FROM", "Shop; Main Street 1; Bonn; ; 53111; DE");
    let config = |env: &[(&str, &str)]| resolve(&Case { flags: &[], env, file: &[] });
    let api = config(&[file, from]).unwrap().config.shipping.api.unwrap();
    assert_eq!((api.key.expose(), api.from.city.as_str()), ("hush", "Bonn"));
    assert!(!format!("{api:?}").contains("hush"));
    for (env, expected) in [
        (vec![file], "shipping-from (from default): expected a sender"),
        (
            vec![file, ("SHIPPING_FROM", "Bonn")],
            "shipping-from (from environment SHIPPING_FROM): expected a sender",
        ),
        (
            vec![("CARRIER_FAULTS", "luck=1")],
            "carrier-faults (from environment CARRIER_FAULTS): expected a behaviour",
        ),
        (vec![("UNIT_GRAMS", "0")], "unit-grams (from environment UNIT_GRAMS): expected a whole number"),
    ] {
        let error = config(&env).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_key_chooses_the_gateway_and_routes_are_checked() {
    let config = |env: &[(&str, &str)]| resolve(&Case { flags: &[], env, file: &[] });
    assert!(!config(&[]).unwrap().config.payment.is_real());
    let env = [("STRIPE_API_KEY", "sk_hush"), ("STRIPE_WEBHOOK_SECRET", "whsec_hush")];
    let resolved = config(&env).unwrap();
    let stripe = resolved.config.payment.stripe.as_ref().unwrap();
    assert_eq!((stripe.key.expose(), stripe.base.as_str()), ("sk_hush", "https://api.stripe.com"));
    assert!(!format!("{resolved:?}").contains("hush"), "{resolved:?}");
    let resolved = config(&[("PAYPAL_API_KEY", "client:hush")]).unwrap();
    assert_eq!(resolved.config.payment.paypal.as_ref().unwrap().base, "https://api-m.paypal.com");
    assert!(!format!("{resolved:?}").contains("hush"), "{resolved:?}");
    let error = config(&[("PAYPAL_API_KEY", "hush")]).unwrap_err().to_string();
    assert!(error.ends_with("expected client_id:secret, found \"****\""), "{error}");
    let error = config(&[("PAYMENT_ROUTES", "EUR=bank")]).unwrap_err().to_string();
    assert!(
        error.starts_with("payment-routes (from environment PAYMENT_ROUTES): expected routes"),
        "{error}"
    );
    let back = ("PAYMENT_RETURN_URL", "https://shop.example/orders/{order}");
    let resolved = config(&[env[0], ("PAYPAL_API_KEY", "client:hush"), back]).unwrap().config.payment;
    let urls = [resolved.stripe.unwrap().return_url, resolved.paypal.unwrap().return_url];
    assert_eq!(urls.map(|url| url.unwrap().to_string()), [back.1, back.1]);
    let error = config(&[("PAYMENT_RETURN_URL", "http://shop.example")]).unwrap_err().to_string();
    assert!(error.starts_with("payment-return-url (from environment PAYMENT_RETURN_URL)"), "{error}");
}

#[test]
fn a_mail_server_is_told_who_we_are_and_no_password_in_clear() {
    let host = ("SMTP_HOST", "mail.example.com");
    let login = [("SMTP_USER", "shop@example.com"), ("SMTP_PASS", "a password")];
    let smtp = |env: &[(&str, &str)]| {
        let resolved = resolve(&Case { flags: &[], env, file: &[] });
        resolved
            .map(|found| (found.config.smtp, found.config.notification.from))
            .map_err(|error| error.to_string())
    };
    assert_eq!(smtp(&[]).unwrap().0, None);
    let (options, from) = smtp(&[host, ("MAIL_FROM", "Shop <a@b.example>")]).unwrap();
    let options = options.unwrap();
    assert_eq!((options.port, options.tls, options.login), (587, SmtpTls::StartTls, None));
    assert_eq!(from, "Shop <a@b.example>");
    let (options, from) =
        smtp(&[host, login[0], login[1], ("SMTP_PORT", "465"), ("SMTP_TLS", "tls")]).unwrap();
    assert_eq!(options.map(|options| (options.port, options.tls)), Some((465, SmtpTls::Implicit)));
    assert_eq!(from, "shop@example.com");
    let from = ("MAIL_FROM", "a@b.example");
    let local = ("SMTP_HOST", "127.0.0.1");
    assert!(smtp(&[local, login[0], login[1], ("SMTP_TLS", "none")]).is_ok());
    let refused: [(&[_], &str); 6] = [
        (&[host], "mail-from (from default): expected a sender"),
        (&[host, from, login[0]], "smtp-user (from environment SMTP_USER): expected smtp-pass"),
        (&[host, from, login[1]], "smtp-pass (from environment SMTP_PASS): expected smtp-user"),
        (
            &[host, from, ("SMTP_TLS", "ssl")],
            "smtp-tls (from environment SMTP_TLS): expected tls, starttls or none",
        ),
        (&[host, login[0], login[1], ("SMTP_TLS", "none")], "a password is not sent in clear"),
        (&[host, from, ("SMTP_CA_FILE", "/none.pem")], "smtp-ca-file (from environment SMTP_CA_FILE)"),
    ];
    for (env, expected) in refused {
        let error = smtp(env).unwrap_err();
        assert!(error.contains(expected) && !error.contains("a password\""), "{env:?}: {error}");
    }
}

#[test]
fn a_model_that_does_not_run_is_warned_of() {
    let named = |path: &str, services: &str| {
        let flags = [("services", services)];
        resolve(&Case { flags: &flags, env: &[("ML_MODEL_PATH", path)], file: &[] })
    };
    let warnings = named("/none/model.h5", "recommendation").unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let command = "python3 -m tf2onnx.convert --keras /none/model.h5 --output /none/model.onnx";
    assert!(warnings[0].starts_with("ML is not ready") && warnings[0].contains(command), "{warnings:?}");
    assert!(named("/none/model.h5", "order").unwrap().warnings.is_empty());
    assert!(named("", "recommendation").unwrap().warnings.is_empty());
    let error = named("/none/model.pb", "recommendation").unwrap_err().to_string();
    let expected = "ml-model-path (from environment ML_MODEL_PATH): expected a file that ends in .onnx";
    assert!(error.starts_with(expected), "{error}");
}

/// A script once wrote a number into the name of a variable, which was then passed over.
#[test]
fn variables_have_no_number_in_their_names() {
    for setting in &SETTINGS {
        let plain = setting.env.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        assert!(plain, "{}: {}", setting.name, setting.env);
    }
    let found = resolve(&Case { flags: &[], env: &[("CONNECTIONS_MAX", "7")], file: &[] }).unwrap();
    assert_eq!(found.config.connections_max, 7);
}

#[test]
fn texts_need_an_account_its_token_and_a_sender() {
    let texts = |env: &[(&str, &str)]| {
        let resolved = resolve(&Case { flags: &[], env, file: &[] });
        resolved.map(|found| found.config.twilio).map_err(|error| error.to_string())
    };
    let sid = ("TWILIO_SID", "AC00000000000000000000000000000001");
    let (token, from) = (("TWILIO_TOKEN", "hush"), ("TWILIO_FROM", "+15005550006"));
    assert_eq!(texts(&[]).unwrap(), None);
    assert_eq!(texts(&[from]).unwrap(), None);
    let options = texts(&[sid, token, from]).unwrap().unwrap();
    assert_eq!((options.base.as_str(), options.from.as_str()), ("https://api.twilio.com", "+15005550006"));
    for sender in ["Shop 24", "MG Motor", "MG00000000000000000000000000000001"] {
        assert!(texts(&[sid, token, ("TWILIO_FROM", sender)]).is_ok(), "{sender}");
    }
    let refused: [(&[_], &str); 6] = [
        (&[sid], "twilio-sid (from environment TWILIO_SID): expected twilio-token"),
        (&[token], "twilio-token (from environment TWILIO_TOKEN): expected twilio-sid"),
        (
            &[("TWILIO_SID", "AC/../1"), token, from],
            "twilio-sid (from environment TWILIO_SID): expected an account",
        ),
        (&[sid, token], "twilio-from (from default): expected who texts are from"),
        (&[sid, token, ("TWILIO_FROM", "015005550006")], "twilio-from (from environment TWILIO_FROM)"),
        (&[sid, token, ("TWILIO_FROM", "A name too long")], "twilio-from (from environment TWILIO_FROM)"),
    ];
    for (env, expected) in refused {
        let error = texts(env).unwrap_err();
        assert!(error.contains(expected) && !error.contains("hush"), "{env:?}: {error}");
    }
}

#[test]
fn push_messages_reach_this_machine_only_while_nobody_else_calls() {
    let reach = |env: &[(&str, &str)]| {
        let resolved = resolve(&Case { flags: &[], env, file: &[] });
        resolved.map(|found| found.config.push).map_err(|error| error.to_string())
    };
    let loopback = ("PUSH_REACH", "loopback");
    assert_eq!(reach(&[]), Ok(Reach::Public));
    assert_eq!(reach(&[loopback]), Ok(Reach::Loopback));
    for (env, expected) in [
        (&[("PUSH_REACH", "all")][..], "expected public or loopback"),
        (&[loopback, ("LISTEN_ADDR", "0.0.0.0")], "expected public: others"),
    ] {
        let error = reach(env).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_login_provider_is_named_whole_and_reached_safely() {
    let provider = |env: &[(&str, &str)]| {
        let resolved = resolve(&Case { flags: &[], env, file: &[] });
        resolved.map(|found| found.config.oidc).map_err(|error| error.to_string())
    };
    let (issuer, id) = (("OIDC_ISSUER", "https://id.example.com/shop"), ("OIDC_CLIENT_ID", "shop"));
    let secret = ("OIDC_CLIENT_SECRET", "hush");
    assert_eq!(provider(&[]).unwrap(), None);
    let options = provider(&[issuer, id, secret]).unwrap().unwrap();
    assert_eq!((options.issuer.as_str(), options.client_id.as_str()), (issuer.1, "shop"));
    assert_eq!(options.client_secret.unwrap().expose(), "hush");
    assert_eq!(provider(&[issuer, id]).unwrap().unwrap().client_secret, None);
    assert!(provider(&[("OIDC_ISSUER", "http://127.0.0.1:8080"), id]).is_ok());
    let safe = "oidc-issuer (from environment OIDC_ISSUER): expected https, or http to this machine";
    let refused: [(&[_], &str); 7] = [
        (&[issuer], "oidc-issuer (from environment OIDC_ISSUER): expected oidc-client-id beside it"),
        (&[id], "oidc-client-id (from environment OIDC_CLIENT_ID): expected oidc-issuer beside it"),
        (&[secret], "oidc-client-secret (from environment OIDC_CLIENT_SECRET): expected oidc-issuer"),
        (&[("OIDC_ISSUER", "http://id.example.com"), id], safe),
        (&[("OIDC_ISSUER", "https://id.example.com?tenant=1"), id], safe),
        (&[("OIDC_ISSUER", "https://me:hush@id.example.com"), id, secret], safe),
        (&[("OIDC_ISSUER", "id.example.com"), id], safe),
    ];
    for (env, expected) in refused {
        let error = provider(env).unwrap_err();
        assert!(error.starts_with(expected), "{env:?}: {error}");
    }
}

//! Where the engine is, by three settings that have to agree.

use super::*;

const TOKEN: (&str, &str) = ("ENGINE_TOKEN", LONG);

/// Where a process that serves these finds its engine (nothing: in itself), and what it is warned of.
fn place(services: &str, env: &[(&str, &str)]) -> Result<(String, Vec<String>), String> {
    let env = [env, &[TOKEN]].concat();
    let resolved = resolve(&Case { flags: &[("services", services)], env: &env, file: &[] });
    let resolved = resolved.map_err(|error| error.to_string())?;
    let address = match resolved.config.engine {
        EnginePlace::Here(_) => String::new(),
        EnginePlace::At(address, _) => address.to_string(),
    };
    Ok((address, resolved.warnings))
}

#[test]
fn each_address_alone_moves_a_process_that_does_not_serve_what_it_names() {
    let [engine, product, payment] =
        [("ENGINE_ADDR", "a:1"), ("PRODUCT_SERVICE_ADDR", "a:1"), ("PAYMENT_SERVICE_ADDR", "http://a:1/")];
    let table: [(&str, &[_], &str); 11] = [
        ("order", &[], ""),
        ("order", &[engine], "http://a:1"),
        ("order", &[product], "http://a:1"),
        ("order", &[payment], "http://a:1"),
        ("order", &[engine, product, payment], "http://a:1"),
        ("product", &[engine], "http://a:1"),
        ("product", &[payment], "http://a:1"),
        ("product,order", &[payment], "http://a:1"),
        ("payment", &[product], "http://a:1"),
        ("payment", &[engine, product], "http://a:1"),
        ("product,payment", &[engine], "http://a:1"),
    ];
    for (services, env, expected) in table {
        assert_eq!(place(services, env), Ok((expected.to_owned(), Vec::new())), "{services} {env:?}");
    }
}

#[test]
fn an_address_that_moves_nobody_is_passed_over_aloud() {
    let [engine, product, payment] =
        [("ENGINE_ADDR", "a:1"), ("PRODUCT_SERVICE_ADDR", "b:2"), ("PAYMENT_SERVICE_ADDR", "c:3")];
    let own = |name: &str, service: &str| {
        format!("{name} is passed over: this process serves {service} itself; engine-addr moves it")
    };
    let behind = |name: &str| {
        format!(
            "{name} is passed over: engine-addr (from environment ENGINE_ADDR) says a:1 and has the last word"
        )
    };
    let of_product = "product-service-addr=b:2 (from environment PRODUCT_SERVICE_ADDR)";
    let of_payment = "payment-service-addr=c:3 (from environment PAYMENT_SERVICE_ADDR)";
    let table: [(&str, &[_], &str, Vec<String>); 6] = [
        ("product", &[product], "", vec![own(of_product, "product")]),
        ("payment,order", &[payment], "", vec![own(of_payment, "payment")]),
        ("product", &[product, payment], "http://c:3", vec![own(of_product, "product")]),
        (
            "product,payment",
            &[product, payment],
            "",
            vec![own(of_product, "product"), own(of_payment, "payment")],
        ),
        ("order", &[engine, product, payment], "http://a:1", vec![behind(of_product), behind(of_payment)]),
        (
            "order",
            &[engine, ("PRODUCT_SERVICE_ADDR", "http://a:1"), payment],
            "http://a:1",
            vec![behind(of_payment)],
        ),
    ];
    for (services, env, expected, warnings) in table {
        let (address, found) = place(services, env).unwrap();
        assert_eq!(
            (address.as_str(), found.len()),
            (expected, warnings.len()),
            "{services} {env:?}: {found:?}"
        );
        for (found, expected) in found.iter().zip(&warnings) {
            assert!(found.starts_with(expected), "{found}");
        }
    }
}

/// Two processes may have two engines, and orders of one would not be paid in the other.
#[test]
fn two_addresses_that_differ_are_an_error_that_names_both() {
    let env = [("PRODUCT_SERVICE_ADDR", "b:2"), ("PAYMENT_SERVICE_ADDR", "c:3")];
    let expected = "payment-service-addr (from environment PAYMENT_SERVICE_ADDR): expected http://b:2 as \
                    product-service-addr (from environment PRODUCT_SERVICE_ADDR) says, or engine-addr beside both, \
                    found \"c:3\"";
    assert_eq!(place("order,user", &env), Err(expected.to_owned()));
    for (name, value) in [("ENGINE_ADDR", "nowhere"), ("PRODUCT_SERVICE_ADDR", "http://b"), env[1]] {
        let read = place("order", &[(name, value), ("PAYMENT_SERVICE_ADDR", ":")]);
        let error = read.unwrap_err();
        assert!(error.contains("expected host:port of a process with an engine"), "{error}");
    }
}

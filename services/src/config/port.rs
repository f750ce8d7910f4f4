//! Ports: each service has its own; `GRPC_PORT` and `PORT` mean the one service of a process.

use super::{SETTINGS, Service, Setting};

/// The variables that name no service.
const BARE: [&str; 2] = ["GRPC_PORT", "PORT"];

/// The same for one service, the stronger first.
pub(super) fn bare(service: Service) -> [&'static str; 2] {
    match service {
        Service::Product | Service::Order | Service::Payment | Service::Recommendation => BARE,
        // Mostly spoken to over HTTP.
        Service::User | Service::Shipping | Service::Notification => ["PORT", "GRPC_PORT"],
    }
}

/// The setting of a service's port.
pub(super) fn setting(service: Service) -> &'static Setting {
    let name = match service {
        Service::Product => "product-port",
        Service::Order => "order-port",
        Service::Payment => "payment-port",
        Service::User => "user-port",
        Service::Shipping => "shipping-port",
        Service::Notification => "notification-port",
        Service::Recommendation => "recommendation-port",
    };
    let found = SETTINGS.iter().find(|setting| setting.name == name);
    found.unwrap_or_else(|| unreachable!("no setting is called {name}"))
}

/// A bare port does not say which of several services it means: it is passed over, aloud.
pub(super) fn warnings(services: &[Service], env: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    if services.len() < 2 {
        return Vec::new();
    }
    let names: Vec<&str> = services.iter().map(|service| service.name()).collect();
    let variables: Vec<&str> = services.iter().map(|service| setting(*service).env).collect();
    let set = BARE.into_iter().filter_map(|name| Some((name, env(name).filter(|text| !text.is_empty())?)));
    set.map(|(name, port)| {
        format!(
            "{name}={port} is passed over: it means the one service of a process, and this one serves {}; \
             set {} instead",
            names.join(", "),
            variables.join(", ")
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_finds_its_port() {
        for service in Service::ALL {
            assert_eq!(setting(service).name, format!("{}-port", service.name()));
        }
    }
}

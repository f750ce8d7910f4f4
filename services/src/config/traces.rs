//! Settings of traces.

use reqwest::Url;

use super::{ConfigError, Value, find, parse, plain};
use crate::traces::Collector;

pub(super) fn of(values: &[Value]) -> Result<Option<Collector>, ConfigError> {
    let ratio = parse(find(values, "trace-ratio"), "a share, 0 to 1", |text| {
        plain::<f64>(text).filter(|ratio| (0.0..=1.0).contains(ratio))
    })?;
    let endpoint = find(values, "otlp-endpoint");
    if endpoint.text.is_empty() {
        return Ok(None);
    }
    let endpoint =
        parse(endpoint, "http://host:port of a collector; it is spoken to in the clear", |text| {
            let url: Url = text.parse().ok()?;
            let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
            let whole = url.has_host() && url.port().is_some() && url.path() == "/";
            (url.scheme() == "http" && plain && whole).then(|| text.to_owned())
        })?;
    let service_name = find(values, "service-name").text.clone();
    Ok(Some(Collector { endpoint, ratio, service_name }))
}

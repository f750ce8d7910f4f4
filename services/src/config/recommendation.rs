//! Recommendation's settings.

use super::{Config, ConfigError, Service, Value, parse};
use crate::recommendation::{Ml, ModelFile};

pub(super) fn of(value: &Value) -> Result<Option<ModelFile>, ConfigError> {
    parse(value, "a file that ends in .onnx, or in .h5 with the .onnx beside it", |text| match text {
        "" => Some(None),
        named => ModelFile::named(named).map(Some),
    })
}

/// Who names a model that cannot be used is told why.
pub(super) fn warning(config: &Config) -> Option<String> {
    let file = config.ml_model.as_ref().filter(|_| config.serves(Service::Recommendation))?;
    match Ml::load(Some(file)) {
        Ml::Ready(_) => None,
        Ml::NotReady(why) => Some(format!("ML is not ready: {why}")),
    }
}

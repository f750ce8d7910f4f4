//! The TOML file of `--config`: one key per setting.

use std::collections::HashMap;
use std::path::Path;

use super::{ConfigError, SETTINGS};

/// Most bytes of a configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Values by setting.
pub fn read_file(path: &Path) -> Result<HashMap<&'static str, String>, ConfigError> {
    let wrong = |message: String| ConfigError::File { path: path.into(), message };
    let bytes = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(wrong(format!("expected at most {FILE_BYTES_MAX} bytes, found {bytes}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| wrong(format!("expected TOML, found: {}", error.message())))?;
    let mut values = HashMap::new();
    for (key, value) in table {
        let setting = SETTINGS.iter().find(|setting| setting.name.replace('-', "_") == key);
        let setting = setting.ok_or_else(|| wrong(format!("expected a known setting, found {key:?}")))?;
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(truth) => truth.to_string(),
            toml::Value::Array(items) => {
                let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
                items.ok_or_else(|| wrong(format!("{key}: expected a list of texts")))?.join(",")
            }
            other => {
                let found = other.type_str();
                return Err(wrong(format!(
                    "{key}: expected a text, a number, true, false or a list, found a {found}"
                )));
            }
        };
        values.insert(setting.name, text);
    }
    Ok(values)
}

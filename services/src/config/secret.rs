//! A value that nobody may read by accident.

use std::{fmt, fs};

use super::{ConfigError, Value, find, wrong};

/// Most bytes of a secret.
const SECRET_BYTES_MAX: u64 = 4_096;

/// What a secret looks like wherever it is shown.
pub const MASK: &str = "****";

/// A secret. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text to itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// A secret and the setting that gave it: its own, or the file that holds it.
pub(super) fn read_secret<'a>(
    values: &'a [Value],
    name: &'static str,
) -> Result<Option<(Secret, &'a Value)>, ConfigError> {
    let (value, file) = (find(values, name), find(values, &format!("{name}-file")));
    match (value.text.is_empty(), file.text.is_empty()) {
        (true, true) => Ok(None),
        (false, true) => Ok(Some((Secret::new(&value.text), value))),
        (false, false) => Err(wrong(file, format!("{name} or this, not both"))),
        (true, false) => {
            let bytes = fs::metadata(&file.text)
                .map_err(|error| wrong(file, format!("a file that can be read ({error})")))?;
            if bytes.len() > SECRET_BYTES_MAX {
                return Err(wrong(file, format!("a file of at most {SECRET_BYTES_MAX} bytes")));
            }
            let text = fs::read_to_string(&file.text)
                .map_err(|error| wrong(file, format!("a file that can be read ({error})")))?;
            // Editors and `echo` end a file with a line's end.
            let text = text.trim_end_matches(['\r', '\n']);
            match text.is_empty() {
                true => Err(wrong(file, "a file with a secret in it")),
                false => Ok(Some((Secret::new(text), file))),
            }
        }
    }
}

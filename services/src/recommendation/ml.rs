//! The model that `ML_MODEL_PATH` names.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::model::onnx::{Ranker, RankerError};

/// A model's file. What ends in `.h5` (Keras) stands for the `.onnx` beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelFile(PathBuf);

impl ModelFile {
    /// A file by its name; `None` if that ends in something else.
    pub fn named(path: &str) -> Option<Self> {
        let path = PathBuf::from(path);
        let end = path.extension()?;
        (end == "h5" || end == "onnx").then_some(Self(path))
    }

    /// The ONNX file that is meant.
    pub fn onnx(&self) -> PathBuf {
        self.0.with_extension("onnx")
    }

    /// The command that makes it of a Keras file; `None` if it is one already.
    fn converter(&self) -> Option<String> {
        let onnx = self.onnx();
        let (from, to) = (self.0.display(), onnx.display());
        (self.0 != onnx).then(|| format!("python3 -m tf2onnx.convert --keras {from} --output {to}"))
    }
}

/// The network that `ML_MODEL_PATH` names, or why there is none. It is loaded once, at start.
pub enum Ml {
    /// It scores.
    Ready(Ranker),
    /// There is none.
    NotReady(NotReady),
}

/// Why there is no network.
#[derive(Debug)]
pub enum NotReady {
    /// None was named.
    NotNamed,
    /// The one that was named cannot be used.
    Unusable {
        /// Which.
        file: ModelFile,
        /// What is wrong with it.
        error: RankerError,
    },
}

impl Default for Ml {
    fn default() -> Self {
        Self::NotReady(NotReady::NotNamed)
    }
}

impl Ml {
    /// Loads what is named.
    pub fn load(file: Option<&ModelFile>) -> Self {
        let Some(file) = file else { return Self::NotReady(NotReady::NotNamed) };
        match Ranker::read(&file.onnx()) {
            Ok(ranker) => Self::Ready(ranker),
            Err(error) => Self::NotReady(NotReady::Unusable { file: file.clone(), error }),
        }
    }

    /// The network, if there is one.
    pub fn ranker(&self) -> Option<&Ranker> {
        match self {
            Self::Ready(ranker) => Some(ranker),
            Self::NotReady(_) => None,
        }
    }

    /// How it is, for anybody: without names of files.
    pub fn in_short(&self) -> &'static str {
        match self {
            Self::Ready(_) => "the model that ML_MODEL_PATH names is loaded",
            Self::NotReady(NotReady::NotNamed) => "no model was named by ML_MODEL_PATH",
            Self::NotReady(NotReady::Unusable { error, .. }) => error.in_short(),
        }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNamed => write!(f, "no model was named by ML_MODEL_PATH"),
            Self::Unusable { file, error } => {
                let onnx = file.onnx();
                let is_missing =
                    matches!(error, RankerError::Io(error) if error.kind() == io::ErrorKind::NotFound);
                match is_missing {
                    true => write!(f, "there is no {}", onnx.display()),
                    false => write!(f, "{}: {error}", onnx.display()),
                }?;
                match file.converter() {
                    Some(command) => write!(f, "; {command} makes it"),
                    None => Ok(()),
                }
            }
        }?;
        write!(f, "; recommendations come from history and trends")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keras_file_stands_for_the_onnx_file_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for name in ["model.pb", "model", ".h5", ""] {
            assert_eq!(ModelFile::named(&at(name)), None, "{name}");
        }
        let said = |name: &str| match Ml::load(ModelFile::named(&at(name)).as_ref()) {
            Ml::Ready(_) => panic!("{name} is ready"),
            Ml::NotReady(why) => (why.to_string(), Ml::NotReady(why).in_short()),
        };
        let command = format!("tf2onnx.convert --keras {} --output {}", at("model.h5"), at("model.onnx"));
        let (whole, short) = said("model.h5");
        assert!(whole.starts_with("there is no ") && whole.contains(&command), "{whole}");
        assert!(short.ends_with("no ONNX file of it"), "{short}");
        let (whole, _) = said("model.onnx");
        assert!(whole.starts_with("there is no ") && !whole.contains("convert"), "{whole}");
        std::fs::write(at("model.onnx"), "x").unwrap();
        for name in ["model.h5", "model.onnx"] {
            let (whole, short) = said(name);
            let expected = format!("{}: expected an ONNX file, found ", at("model.onnx"));
            assert!(whole.starts_with(&expected), "{whole}");
            assert_eq!(whole.contains(&command), name == "model.h5", "{whole}");
            assert!(short.ends_with("damaged or no ONNX file"), "{short}");
        }
        std::fs::create_dir(at("other.onnx")).unwrap();
        assert!(said("other.onnx").0.contains("expected a file, found a directory"));
        assert!(Ml::load(None).ranker().is_none());
        assert_eq!(Ml::load(None).in_short(), "no model was named by ML_MODEL_PATH");
    }
}

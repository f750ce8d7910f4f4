//! The model that `ML_MODEL_PATH` names. Nothing here runs one: what is said is what would be needed.

use std::fmt;
use std::path::{Path, PathBuf};

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

/// Why there is no model at work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotReady<'a>(pub Option<&'a ModelFile>);

impl NotReady<'_> {
    /// The same for anybody: without names of files.
    pub fn in_short(&self) -> &'static str {
        match self.0.map(|file| Path::exists(&file.onnx())) {
            None => "no model was named by ML_MODEL_PATH",
            Some(true) => "a model was named and is there, but this version does not run ONNX models",
            Some(false) => "a model was named and there is no ONNX file of it",
        }
    }
}

impl fmt::Display for NotReady<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let served = "recommendations come from history and trends";
        let Some(file) = self.0 else {
            return write!(f, "no model was named by ML_MODEL_PATH; {served}");
        };
        let onnx = file.onnx();
        let there = Path::exists(&onnx);
        match (there, file.converter()) {
            (true, _) => {
                write!(f, "{} is there, but this version does not run ONNX models; ", onnx.display())
            }
            (false, None) => write!(f, "there is no {}; ", onnx.display()),
            (false, Some(command)) => write!(f, "there is no {}, which {command} makes; ", onnx.display()),
        }?;
        write!(f, "{served}")
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
        let keras = ModelFile::named(&at("model.h5")).unwrap();
        let said = NotReady(Some(&keras)).to_string();
        assert!(NotReady(Some(&keras)).in_short().ends_with("no ONNX file of it"));
        let command = format!("tf2onnx.convert --keras {} --output {}", at("model.h5"), at("model.onnx"));
        assert!(said.contains(&command), "{said}");
        let onnx = ModelFile::named(&at("model.onnx")).unwrap();
        let said = NotReady(Some(&onnx)).to_string();
        assert!(said.starts_with("there is no ") && !said.contains("convert"), "{said}");
        std::fs::write(onnx.onnx(), "x").unwrap();
        for file in [&keras, &onnx] {
            let said = NotReady(Some(file)).to_string();
            assert!(said.contains("does not run ONNX models") && !said.contains("convert"), "{said}");
            assert!(NotReady(Some(file)).in_short().contains("does not run"));
        }
    }
}

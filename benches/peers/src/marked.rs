//! The part of a document that a run writes.

use std::fs;
use std::path::{Path, PathBuf};

use onrush_benches::Failure;

const BEGIN: &str = "<!-- peers -->";
const END: &str = "<!-- /peers -->";

/// A document with a part between two marks.
pub(crate) struct Marked {
    path: PathBuf,
}

impl Marked {
    /// Looks for the marks, so that nothing is measured for a document without them.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        split(&fs::read_to_string(path)?)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Writes the part; the rest of the document stays, also what was changed in it meanwhile. It is there whole or not at all.
    pub(crate) fn write(&self, part: &str) -> Result<(), Failure> {
        let text = fs::read_to_string(&self.path)?;
        let (before, behind) = split(&text)?;
        let text = format!("{before}{BEGIN}\n\n{}\n\n{END}{behind}", part.trim());
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let fresh = tempfile::NamedTempFile::new_in(dir)?;
        fs::write(fresh.path(), text)?;
        fs::set_permissions(fresh.path(), fs::metadata(&self.path)?.permissions())?;
        fresh.persist(&self.path)?;
        Ok(())
    }
}

/// What stands in front of the first mark and behind the last.
fn split(text: &str) -> Result<(&str, &str), Failure> {
    let marks = (text.matches(BEGIN).count(), text.matches(END).count());
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    match parts {
        Some(parts) if marks == (1, 1) => Ok(parts),
        _ => Err(Failure::unexpected(format!("one `{BEGIN}` and one `{END}` behind it"), marks)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_between_the_marks_is_replaced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.md");
        fs::write(&path, "# Page\n\n<!-- peers -->\nold\n<!-- /peers -->\n\nend\n").unwrap();
        let marked = Marked::open(&path).unwrap();
        for _ in 0..2 {
            marked.write("new\n").unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text, "# Page\n\n<!-- peers -->\n\nnew\n\n<!-- /peers -->\n\nend\n");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_page_without_its_marks_is_left_alone() {
        for text in [
            "",
            "<!-- peers -->",
            "<!-- /peers --> <!-- peers -->",
            "<!-- peers --><!-- peers --><!-- /peers -->",
        ] {
            let error = split(text).unwrap_err().to_string();
            assert!(error.contains("expected one `<!-- peers -->`"), "{error}");
        }
        assert!(Marked::open(Path::new("/nowhere/page.md")).is_err());
    }
}

//! What the `.proto` files say of their parts.

use std::collections::HashMap;

use prost_reflect::FileDescriptor;

/// Comments by file and path.
#[derive(Default)]
pub(super) struct Comments(HashMap<String, HashMap<Vec<i32>, String>>);

impl Comments {
    /// What stands above the part with this path, on one line.
    pub(super) fn of(&mut self, file: &FileDescriptor, path: &[i32]) -> Option<String> {
        if !self.0.contains_key(file.name()) {
            self.0.insert(file.name().to_owned(), read(file));
        }
        self.0.get(file.name())?.get(path).cloned()
    }
}

fn read(file: &FileDescriptor) -> HashMap<Vec<i32>, String> {
    let source = file.file_descriptor_proto().source_code_info.as_ref();
    let places = source.map(|source| source.location.as_slice()).unwrap_or_default();
    let one_line = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let of_place = places.iter().filter_map(|place| {
        let text = place.leading_comments.as_deref()?.trim();
        Some((place.path.clone(), one_line(text)))
    });
    of_place.collect()
}

//! Redis' protocol, as much of it as is spoken here.

use std::io::Write as _;

use onrush_benches::Failure;

/// Begins a command of so many words.
pub(super) fn head(out: &mut Vec<u8>, words: usize) {
    let _ = write!(out, "*{words}\r\n");
}

/// A word.
pub(super) fn bulk(out: &mut Vec<u8>, word: &[u8]) {
    // A Vec takes all that is written.
    let _ = write!(out, "${}\r\n", word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

/// A word that is a number.
pub(super) fn bulk_number(out: &mut Vec<u8>, number: u64) {
    bulk(out, number.to_string().as_bytes());
}

/// What a reply comes to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Reply {
    /// Values in it that are there: a string that is not nil, the number 1.
    pub(super) good: usize,
    /// All values.
    pub(super) all: usize,
    /// The first error.
    pub(super) error: Option<String>,
}

/// Reads the first reply and its length; `None` while it has not arrived whole.
pub(super) fn reply(bytes: &[u8]) -> Result<Option<(Reply, usize)>, Failure> {
    let mut found = Reply::default();
    let (mut left, mut at) = (1usize, 0);
    while left > 0 {
        let Some(line) = line(&bytes[at..]) else { return Ok(None) };
        let Some((kind, text)) = line.split_first() else {
            return Err(Failure::unexpected("a reply of Redis", "an empty line"));
        };
        at += line.len() + 2;
        left -= 1;
        match kind {
            b'+' => found.value(true),
            b':' => found.value(text == b"1"),
            b'-' => {
                found.value(false);
                found.error.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
            }
            b'$' => match usize::try_from(number(text)?) {
                Ok(length) => {
                    at += length + 2;
                    found.value(true);
                }
                Err(_) => found.value(false),
            },
            b'*' => left += usize::try_from(number(text)?).unwrap_or(0),
            other => return Err(Failure::unexpected("a reply of Redis", *other as char)),
        }
        if at > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some((found, at)))
}

impl Reply {
    fn value(&mut self, good: bool) {
        self.all += 1;
        self.good += usize::from(good);
    }
}

/// What stands in front of the first line end.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&bytes[..end])
}

fn number(text: &[u8]) -> Result<i64, Failure> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Failure::unexpected("a length of Redis", String::from_utf8_lossy(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_once_they_are_whole() {
        let wires: [(&[u8], usize, usize); 6] = [
            (b":1\r\n", 1, 1),
            (b":-2\r\n", 0, 1),
            (b"+OK\r\n", 1, 1),
            (b"$3\r\na\r\n\r\n", 1, 1),
            (b"$-1\r\n", 0, 1),
            (b"*3\r\n:1\r\n:2\r\n$1\r\nx\r\n", 2, 3),
        ];
        for (wire, good, all) in wires {
            let mut more = wire.to_vec();
            more.extend_from_slice(b":1\r\n");
            let (found, length) = reply(&more).unwrap().unwrap();
            assert_eq!((found.good, found.all, found.error, length), (good, all, None, wire.len()));
            for cut in 0..wire.len() {
                assert_eq!(reply(&wire[..cut]).unwrap(), None, "{cut} bytes of {wire:?}");
            }
        }
    }

    #[test]
    fn errors_are_told() {
        let (found, _) = reply(b"-NOSCRIPT none\r\n").unwrap().unwrap();
        assert_eq!((found.good, found.error.as_deref()), (0, Some("NOSCRIPT none")));
        assert!(reply(b"HTTP/1.1\r\n").is_err());
    }

    #[test]
    fn commands_are_arrays_of_words() {
        let mut out = Vec::new();
        head(&mut out, 2);
        bulk(&mut out, b"GET");
        bulk_number(&mut out, 12);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$2\r\n12\r\n");
    }
}

//! The frame that ends a connection: what the other side did wrong.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 2 | code |
//! | 2 | 2 | oldest version that is spoken here |
//! | 4 | 2 | newest one |
//! | 6 | 2 | length of the text |
//! | 8 | | the text, zeros up to a multiple of 8 |

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::header::{Frame, FrameError, Kind, begin, unpad};
use super::{VERSION_MAX, VERSION_MIN};

/// Most bytes of the text.
const TEXT_BYTES_MAX: usize = 1_024;

/// What was wrong.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u16)]
pub enum ErrorCode {
    /// A frame that is none, or that says what it may not say.
    Malformed = 1,
    /// No version that both speak.
    Version = 2,
    /// A token that is not believed, or none where one is needed.
    Unauthenticated = 3,
    /// More commands open than there was credit for.
    Credit = 4,
    /// The server takes no more connections.
    Full = 5,
    /// Nothing was heard for too long, or what was said was not read.
    Slow = 6,
    /// What the sender of this frame did wrong itself.
    Internal = 7,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Version,
        Self::Unauthenticated,
        Self::Credit,
        Self::Full,
        Self::Slow,
        Self::Internal,
    ];
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ErrorBytes {
    code: U16,
    version_min: U16,
    version_max: U16,
    text_length: U16,
}

/// Why the connection ends.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{code:?}: {text} (versions {version_min} to {version_max} are spoken)")]
pub struct ErrorFrame {
    /// What was wrong.
    pub code: ErrorCode,
    /// The oldest version that is spoken over there.
    pub version_min: u16,
    /// The newest one.
    pub version_max: u16,
    /// The field, what was expected, what was found.
    pub text: String,
}

impl ErrorFrame {
    /// An error of this side.
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, version_min: VERSION_MIN, version_max: VERSION_MAX, text: text.into() }
    }

    /// Appends the frame; a text that is too long is cut.
    pub fn write(&self, out: &mut Vec<u8>) {
        let text = &self.text.as_bytes()[..self.text.floor_char_boundary(TEXT_BYTES_MAX)];
        let frame = begin(out, Kind::Error);
        let head = ErrorBytes {
            code: U16::new(self.code as u16),
            version_min: U16::new(self.version_min),
            version_max: U16::new(self.version_max),
            text_length: U16::new(text.len() as u16),
        };
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(text);
        frame.seal(out, 0, 0);
    }

    /// Reads the body of a frame. An unknown code is taken for [`ErrorCode::Internal`], and a text that is
    /// no UTF-8 is mended, within the bound of any text: the connection is over either way.
    pub fn read(frame: &Frame<'_>) -> Result<Self, FrameError> {
        let body = frame.bare(Kind::Error, "Error")?;
        let found = body.len();
        let Ok((head, rest)) = ErrorBytes::ref_from_prefix(body) else {
            return Err(FrameError::BodyLength { field: "body", expected: size_of::<ErrorBytes>(), found });
        };
        let length = usize::from(head.text_length.get());
        if length > TEXT_BYTES_MAX || rest.len() != length.next_multiple_of(8) {
            let expected = length.next_multiple_of(8);
            return Err(FrameError::BodyLength { field: "text", expected, found: rest.len() });
        }
        let padding = FrameError::Field { field: "padding", expected: "zeros behind the text" };
        let mut text = String::from_utf8_lossy(unpad(rest, length).ok_or(padding)?).into_owned();
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        let code = ErrorCode::ALL.into_iter().find(|code| *code as u16 == head.code.get());
        Ok(Self {
            code: code.unwrap_or(ErrorCode::Internal),
            version_min: head.version_min.get(),
            version_max: head.version_max.get(),
            text,
        })
    }
}

impl From<FrameError> for ErrorFrame {
    fn from(error: FrameError) -> Self {
        Self::new(ErrorCode::Malformed, error.to_string())
    }
}

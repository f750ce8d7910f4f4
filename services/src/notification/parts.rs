//! How long a text message is: carriers send it in parts, and each is paid for.

/// Most parts of one text.
pub(super) const PARTS_MAX: usize = 4;

/// The letters that take seven bits (3GPP TS 23.038), besides those of ASCII that are named below.
const SEVEN_BITS: &str = "£¥èéùìòÇØøÅåΔΦΓΛΩΠΨΣΘΞÆæßÉ¤¡ÄÖÑÜ§¿äöñüà";
/// The letters that take twice as much.
const TWICE: &str = "^{}\\[~]|€";
/// What of ASCII is in neither.
const NEITHER: &str = "`\t";

/// Units in a lone part, and in each of several, which begin with a header.
struct Room {
    lone: usize,
    each: usize,
}

const SEPTETS: Room = Room { lone: 160, each: 153 };
/// One letter beyond those makes the whole text UTF-16.
const UTF16: Room = Room { lone: 70, each: 67 };

/// Parts of a text.
pub(super) fn parts(text: &str) -> usize {
    let septets: Option<Vec<usize>> = text.chars().map(septets).collect();
    match septets {
        Some(units) => SEPTETS.parts(&units),
        None => UTF16.parts(&text.chars().map(char::len_utf16).collect::<Vec<_>>()),
    }
}

/// Septets of a letter; `None` if it has none.
fn septets(letter: char) -> Option<usize> {
    if TWICE.contains(letter) {
        return Some(2);
    }
    let plain = letter.is_ascii() && !NEITHER.contains(letter);
    (plain || SEVEN_BITS.contains(letter)).then_some(1)
}

impl Room {
    /// A letter is never cut in two.
    fn parts(&self, units: &[usize]) -> usize {
        if units.iter().sum::<usize>() <= self.lone {
            return 1;
        }
        let (mut parts, mut used) = (1, 0);
        for unit in units {
            if used + unit > self.each {
                (parts, used) = (parts + 1, 0);
            }
            used += unit;
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_as_carriers_do() {
        for (text, expected) in [
            (String::new(), 1),
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("ä".repeat(160), 1),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            // 76 signs of two fill 152 of 153 septets.
            (format!("{}a{}", "€".repeat(76), "€".repeat(76)), 2),
            (format!("{}€", "a".repeat(152) + &"a".repeat(153)), 3),
            ("`".repeat(70), 1),
            ("`".repeat(71), 2),
            (format!("{}ő", "a".repeat(69)), 1),
            (format!("{}ő", "a".repeat(70)), 2),
            ("🛍".repeat(35), 1),
            ("🛍".repeat(36), 2),
            // 33 of two units leave one of 67 unused.
            ("🛍".repeat(67), 3),
        ] {
            assert_eq!(parts(&text), expected, "{} of {:?}", text.chars().count(), text.chars().last());
        }
    }
}

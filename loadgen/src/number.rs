//! Numbers as people read them.

/// 1234567 -> `1,234,567`.
pub(crate) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds in the unit that keeps three digits: `870 ns`, `12.3 us`, `4.56 ms`, `1.20 s`.
pub(crate) fn duration(ns: u64) -> String {
    let scaled = |value: f64, unit: &str| {
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        format!("{value:.digits$} {unit}")
    };
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => scaled(ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => scaled(ns as f64 / 1e6, "ms"),
        _ => scaled(ns as f64 / 1e9, "s"),
    }
}

/// Bytes in the unit that keeps three digits: `870 B`, `12.3 KiB`, `4.56 MiB`, `1.20 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let scaled = |shift: u32, unit: &str| {
        let value = bytes as f64 / (1u64 << shift) as f64;
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        format!("{value:.digits$} {unit}")
    };
    match bytes {
        0..0x400 => format!("{bytes} B"),
        0x400..0x10_0000 => scaled(10, "KiB"),
        0x10_0000..0x4000_0000 => scaled(20, "MiB"),
        _ => scaled(30, "GiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let texts = [0, 999, 1_000, 100_000, -1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "100,000", "-1,234,567"]);
    }

    #[test]
    fn durations_pick_their_unit() {
        let texts = [870, 12_340, 4_560_000, 1_200_000_000, 250_000].map(duration);
        assert_eq!(texts, ["870 ns", "12.3 us", "4.56 ms", "1.20 s", "250 us"]);
    }

    #[test]
    fn sizes_pick_their_unit() {
        let texts = [870, 12_600, 4_781_506, 1_288_490_189, 256 << 20].map(size);
        assert_eq!(texts, ["870 B", "12.3 KiB", "4.56 MiB", "1.20 GiB", "256 MiB"]);
    }
}

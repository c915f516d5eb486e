//! The `Range` header for one range (RFC 9110 §14.1.2). Several ranges at once are answered with
//! the whole file, as the RFC allows.

use std::ops::Range;

/// What a `Range` header asks of a file of some size.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// No usable range: answer 200 with everything.
    Whole,
    /// Answer 206 with these bytes, never empty.
    Part(Range<u64>),
    /// Answer 416.
    Unsatisfiable,
}

/// Reads the header.
#[must_use]
pub fn parse(header: Option<&str>, size: u64) -> Asked {
    let Some(spec) = header.and_then(|value| value.trim().strip_prefix("bytes=")) else { return Asked::Whole };
    let Some((first, last)) = spec.split_once('-').filter(|_| !spec.contains(',')) else { return Asked::Whole };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let range = match (first.trim(), last.trim()) {
        ("", "") => return Asked::Whole,
        ("", suffix) => match number(suffix) {
            Some(length) => size.saturating_sub(length)..size,
            None => return Asked::Whole,
        },
        (start, "") => match number(start) {
            Some(start) => start..size,
            None => return Asked::Whole,
        },
        (start, end) => match (number(start), number(end)) {
            (Some(start), Some(end)) if start <= end => start..end.saturating_add(1).min(size),
            _ => return Asked::Whole,
        },
    };
    if range.start < range.end { Asked::Part(range) } else { Asked::Unsatisfiable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (header, asked) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=5-", Asked::Part(5..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-30", Asked::Part(0..10)),
            ("bytes=2-99", Asked::Part(2..10)),
            ("bytes=10-", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=3-2", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=x-y", Asked::Whole),
            ("lines=0-1", Asked::Whole),
        ] {
            assert_eq!(parse(Some(header), 10), asked, "{header}");
        }
        assert_eq!(parse(None, 10), Asked::Whole);
        assert_eq!(parse(Some("bytes=0-"), 0), Asked::Unsatisfiable);
    }
}

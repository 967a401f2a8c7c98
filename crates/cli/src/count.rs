// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counts on the command line: written as integers are in `.attn` files, `32k` is 32768.

/// Parses a count: digits with `_` between, optionally `k`, `M` or `G` (x 1024, 1024^2, 1024^3; case-sensitive).
pub(crate) fn count(text: &str) -> Result<u64, CountError> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1u64),
    };
    if digits.is_empty()
        || digits
            .split('_')
            .any(|part| part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(CountError::Malformed);
    }
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or(CountError::TooLarge)
}

/// A count that is at least 1.
pub(crate) fn positive(text: &str) -> Result<u64, CountError> {
    match count(text)? {
        0 => Err(CountError::Zero),
        n => Ok(n),
    }
}

/// Most worker threads.
const MAX_THREADS: u64 = attnc::MAX_THREADS as u64;

/// A number of worker threads.
pub(crate) fn threads(text: &str) -> Result<u64, CountError> {
    match positive(text)? {
        n if n > MAX_THREADS => Err(CountError::Threads),
        n => Ok(n),
    }
}

/// Why a text is no count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CountError {
    /// Not digits with an optional suffix.
    #[error("expected a count such as 4096 or 32k (k, M, G: 1024, 1024^2, 1024^3)")]
    Malformed,
    /// Beyond 64 bits.
    #[error("the count does not fit in 64 bits")]
    TooLarge,
    /// 0 where at least 1 is needed.
    #[error("the count must be at least 1")]
    Zero,
    /// More threads than are started.
    #[error("there are at most {MAX_THREADS} threads")]
    Threads,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_as_in_the_language() {
        for (text, value) in [
            ("0", 0),
            ("4096", 4096),
            ("32k", 32768),
            ("1M", 1 << 20),
            ("2G", 2 << 30),
            ("1_000", 1000),
            ("1_0k", 10240),
        ] {
            assert_eq!(count(text), Ok(value), "{text}");
        }
        for text in [
            "", "k", "-1", "1K", "32kb", "1.5k", "_1", "1_", "1__0", "0x10", " 1", "1 k", "+1", "é",
        ] {
            assert_eq!(count(text), Err(CountError::Malformed), "{text}");
        }
        assert_eq!(count("18446744073709551616"), Err(CountError::TooLarge));
        assert_eq!(count("17179869184G"), Err(CountError::TooLarge));
        assert_eq!(positive("0"), Err(CountError::Zero));
        assert_eq!(threads("1k"), Ok(MAX_THREADS));
        assert_eq!(threads("1025"), Err(CountError::Threads));
        assert_eq!(threads("0"), Err(CountError::Zero));
    }
}

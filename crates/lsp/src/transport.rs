// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages on a stream: a header that says how long, then JSON.
//!
//! In: bytes. Out: messages, or garbage by name; after garbage reading goes on at the next header. Lengths are bounded before anything is
//! allocated.

use std::io::{self, BufRead, Read};

use lsp_server::Message;

/// Longest message: files have at most 1 MiB, JSON at most doubles that several times over.
const MAX_BYTES: u64 = 64 << 20;
/// Longest line of a header.
const MAX_HEADER: u64 = 4096;

/// What came.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A message.
    Message(Message),
    /// Something else, and what is wrong with it.
    Garbage(String),
    /// The end of the stream.
    End,
}

/// Reads what comes next.
///
/// # Errors
/// What the system says about the stream.
pub(crate) fn read(input: &mut dyn BufRead) -> io::Result<Incoming> {
    let garbage = |what: &str| Ok(Incoming::Garbage(what.to_owned()));
    let mut length = None;
    loop {
        let mut line = Vec::new();
        let count = input.take(MAX_HEADER).read_until(b'\n', &mut line)?;
        if count == 0 {
            return Ok(Incoming::End);
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            if length.is_some() {
                break;
            }
            // Empty lines between messages do no harm.
            continue;
        }
        let text = String::from_utf8_lossy(line);
        let Some((name, value)) = text.split_once(':') else {
            return garbage("a line that is no header");
        };
        if name.trim().eq_ignore_ascii_case("content-length") {
            match value.trim().parse::<u64>() {
                Ok(n) if n <= MAX_BYTES => length = Some(n),
                Ok(_) => return garbage("a message of more than 64 MiB"),
                Err(_) => return garbage("a Content-Length that is no number"),
            }
        }
    }
    let mut body = Vec::new();
    let wanted = length.unwrap_or(0);
    if input.take(wanted).read_to_end(&mut body)? as u64 != wanted {
        return Ok(Incoming::End);
    }
    match serde_json::from_slice(&body) {
        Ok(message) => Ok(Incoming::Message(message)),
        Err(error) => Ok(Incoming::Garbage(format!("no message: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut bytes: &[u8]) -> Vec<String> {
        let mut list = Vec::new();
        loop {
            match read(&mut bytes).expect("memory can be read") {
                Incoming::Message(Message::Notification(n)) => list.push(n.method),
                Incoming::Message(other) => list.push(format!("{other:?}")),
                Incoming::Garbage(_) => list.push("garbage".to_owned()),
                Incoming::End => return list,
            }
        }
    }

    #[test]
    fn reading_goes_on_after_garbage() {
        let good = "Content-Length: 14\r\n\r\n{\"method\":\"a\"}";
        let other = "content-length:14\nContent-Type: x\n\n{\"method\":\"b\"}";
        for (between, count) in [
            ("", 0),
            ("\r\n\r\n", 0),
            ("garbage\r\n", 1),
            ("Content-Length: 3\r\n\r\n{]}", 1),
            ("Content-Length: 2\r\n\r\n{}", 1),
            ("Content-Length: 99999999999999999999\r\n", 1),
            ("Content-Length: 9999999999999\r\n", 1),
            ("Content-Length: -1\r\n", 1),
            ("Content-Length: 0\r\n\r\n", 1),
        ] {
            let text = format!("{good}{between}{other}");
            let mut expected = vec!["a"];
            expected.extend(vec!["garbage"; count]);
            expected.push("b");
            assert_eq!(all(text.as_bytes()), expected, "{between:?}");
        }
        assert_eq!(all(b"Content-Length: 100\r\n\r\n{}"), [""; 0]);
    }
}

//! As much of HTTP/1.1 as an echo needs: messages with a `Content-Length`, one after the other on a
//! connection that stays open. No chunks, no `Connection: close`.
//!
//! Nothing here reads or writes, so that all servers and the clients share it.

use std::io;

/// A longer head or body ends the connection.
const LONGEST: usize = 64 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A request or a response.
#[derive(Debug, PartialEq)]
pub struct Message {
    /// The request line or the status line.
    pub first_line: String,
    pub body: Vec<u8>,
}

impl Message {
    /// The second word of the first line: a request's path, a response's status.
    pub fn what(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or_default()
    }
}

/// What has come in on a connection and not been taken yet.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
}

impl Inbox {
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it is here.
    pub fn take(&mut self) -> io::Result<Option<Message>> {
        let Some(head) = self.bytes.windows(HEAD_END.len()).position(|four| four == HEAD_END)
        else {
            return if self.bytes.len() > LONGEST { Err(invalid("a long head")) } else { Ok(None) };
        };
        let text =
            std::str::from_utf8(&self.bytes[..head]).map_err(|_| invalid("a strange head"))?;
        let length = content_length(text)?;
        let body = head + HEAD_END.len();
        let end = body + length;
        if self.bytes.len() < end {
            return Ok(None);
        }
        let first_line = text.lines().next().unwrap_or_default().to_owned();
        let message = Message { first_line, body: self.bytes[body..end].to_vec() };
        self.bytes.drain(..end);
        Ok(Some(message))
    }
}

/// What the head says about the length of the body; without a word, there is none.
fn content_length(head: &str) -> io::Result<usize> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let Some((_, length)) = lengths.next() else {
        return Ok(0);
    };
    let length = length.trim().parse().ok().filter(|&length| length <= LONGEST);
    length.ok_or_else(|| invalid("a strange Content-Length"))
}

pub fn request(path: &str, body: &[u8]) -> Vec<u8> {
    message(&format!("POST {path} HTTP/1.1\r\nHost: localhost"), body)
}

pub fn response(status: &str, body: &[u8]) -> Vec<u8> {
    message(&format!("HTTP/1.1 {status}"), body)
}

fn message(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{head}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_any_pieces() {
        let bytes =
            [request("/a", b"one"), request("/b", b""), response("200 OK", b"two")].concat();
        for size in [1, 2, 7, bytes.len()] {
            let mut inbox = Inbox::default();
            let mut messages = Vec::new();
            for piece in bytes.chunks(size) {
                inbox.add(piece);
                while let Some(message) = inbox.take().unwrap() {
                    messages.push(message);
                }
            }
            let whats: Vec<_> = messages.iter().map(Message::what).collect();
            assert_eq!(whats, ["/a", "/b", "200"]);
            assert_eq!(messages[0].body, b"one");
            assert_eq!(messages[2].body, b"two");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let long = "x".repeat(LONGEST + 1);
        for text in ["GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", &long] {
            let mut inbox = Inbox::default();
            inbox.add(text.as_bytes());
            assert_eq!(inbox.take().unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}

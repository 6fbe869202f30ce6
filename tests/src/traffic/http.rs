//! As much of HTTP/1.1 as the traffic needs: `GET /n` and a body of n bytes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::TCP_TIMEOUT;

/// The longest body that a server gives, in bytes.
const LONGEST: usize = 64 << 20;

/// A connection to a server.
#[derive(Debug)]
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, TCP_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TCP_TIMEOUT))?;
        stream.set_write_timeout(Some(TCP_TIMEOUT))?;
        Ok(Self(BufReader::with_capacity(64 << 10, stream)))
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Asks for `length` bytes and reads them. Returns how many there were.
    pub(super) fn get(&mut self, length: usize) -> io::Result<u64> {
        let request = format!("GET /{length} HTTP/1.1\r\nHost: lab\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let head = read_head(&mut self.0)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let body = head
            .iter()
            .find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok())
            .filter(|_| head[0] == "HTTP/1.1 200 OK")
            .ok_or(io::ErrorKind::InvalidData)?;
        let read = io::copy(&mut (&mut self.0).take(body), &mut io::sink())?;
        if read == body {
            Ok(read)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// Answers the requests of a connection until it ends. Calls `answered` after each.
pub(super) fn serve(stream: TcpStream, mut answered: impl FnMut(usize)) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream)? {
        let length = head[0]
            .strip_prefix("GET /")
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .filter(|length| *length <= LONGEST);
        let answer = match length {
            Some(length) => {
                let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
                answer.resize(answer.len() + length, b'.');
                answer
            }
            None => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
        };
        stream.get_mut().write_all(&answer)?;
        answered(length.unwrap_or(0));
    }
    Ok(())
}

/// The lines up to the empty one, at least one; `None` where the peer has closed the connection.
fn read_head(stream: &mut impl BufRead) -> io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.take(8 << 10).read_line(&mut line)? == 0 {
            return if lines.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        match line.trim_end() {
            "" if lines.is_empty() => return Err(io::ErrorKind::InvalidData.into()),
            "" => return Ok(Some(lines)),
            line => lines.push(line.to_owned()),
        }
    }
}

//! HTTP/2 by hand (RFC 9113): frames as no library would send them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Bytes that every peer takes in one frame.
pub const MAX_FRAME: usize = 16_384;
/// Longer than anything takes.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a `RST_STREAM` or `GOAWAY`.
    pub fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that nobody need remember (RFC 7541, section 6.2.2).
pub fn fields(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value] {
            integer(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// An integer with a prefix of seven bits (section 5.1).
fn integer(block: &mut Vec<u8>, number: usize) {
    if number < 127 {
        return block.push(number as u8);
    }
    block.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// A client's connection, by prior knowledge.
pub struct Connection {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    bytes: Vec<u8>,
}

impl Connection {
    /// Connects and says hello.
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[]).await
    }

    /// The same with settings: identifiers and values.
    pub async fn open_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        let hello = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &settings)[..]].concat();
        stream.write_all(&hello).await.unwrap();
        let (reader, writer) = stream.into_split();
        Self { reader, writer, bytes: Vec::new() }
    }

    /// Sends bytes; false if the other end no longer takes them.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = tokio::time::timeout(PATIENCE, self.writer.write_all(bytes)).await;
        sent.expect("the other end neither reads nor closes").is_ok()
    }

    /// Sends a request without a body.
    pub async fn get(&mut self, stream: u32, path: &str) -> bool {
        let block = fields(&request("GET", path));
        self.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)).await
    }

    /// The next frame; none once the connection has ended. Acknowledges settings and pings on the way.
    pub async fn next(&mut self) -> Option<Frame> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("neither a frame nor the end")
    }

    async fn read(&mut self) -> Option<Frame> {
        loop {
            let length = self
                .bytes
                .get(..3)
                .map(|length| usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]));
            if let Some(length) = length.filter(|length| self.bytes.len() >= length + 9) {
                let whole: Vec<u8> = self.bytes.drain(..length + 9).collect();
                let stream = u32::from_be_bytes(whole[5..9].try_into().unwrap()) & 0x7fff_ffff;
                let frame = Frame { kind: whole[3], flags: whole[4], stream, payload: whole[9..].to_vec() };
                if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
                    let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                    let _ = self.writer.write_all(&self::frame(frame.kind, ACK, 0, payload)).await;
                }
                return Some(frame);
            }
            self.reader.read_buf(&mut self.bytes).await.ok().filter(|read| *read > 0)?;
        }
    }

    /// The next frame of one of these kinds; none once the connection has ended.
    pub async fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// Sends `bytes` again and again until the other end closes; reads what comes back if `listening`, and understands
    /// none of it. How many bytes it sent.
    pub async fn flood(self, bytes: &[u8], listening: bool) -> usize {
        let Self { mut reader, mut writer, .. } = self;
        let mut sent = 0;
        let sending = async {
            while writer.write_all(bytes).await.is_ok() {
                sent += bytes.len();
            }
        };
        let reading = async {
            if listening {
                tokio::io::copy(&mut reader, &mut tokio::io::sink()).await.ok();
            } else {
                std::future::pending::<()>().await;
            }
        };
        let ended = async {
            tokio::select! {
                () = sending => {}
                () = reading => {}
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("a flood goes on without end");
        sent
    }

    /// Reads until the other end closes; what it said for good-bye, if anything.
    pub async fn until_closed(&mut self) -> Option<u32> {
        let mut said = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                said = Some(frame.error());
            }
        }
        said
    }
}

/// The pseudo fields of a request.
pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'static str, &'a [u8]); 4] {
    [(":method", method.as_bytes()), (":scheme", b"http"), (":authority", b"localhost"), (":path", path.as_bytes())]
}

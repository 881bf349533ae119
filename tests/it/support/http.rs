//! A small HTTP server that can misbehave. A function maps each request to its response.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `/v2/BoolQ.zip`, with the query.
    pub path: String,
    /// `Range: bytes=N-`.
    pub from: Option<u64>,
    pub if_range: Option<String>,
    pub authorization: Option<String>,
    pub accept_encoding: Option<String>,
    /// How many requests came before it.
    pub number: usize,
}

/// A response.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Closes the connection after this many bytes of the body.
    pub cut_at: Option<usize>,
    /// Waits before each 4096 bytes of the body.
    pub pause: Duration,
    /// Sends no `Content-Length`.
    pub unsized_body: bool,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn cut_at(mut self, bytes: usize) -> Self {
        self.cut_at = Some(bytes);
        self
    }

    /// Returns the response of a well-behaved server: the whole body or the requested range.
    pub fn file(request: &Request, body: &[u8], etag: &str) -> Self {
        let same = request.if_range.as_deref().is_none_or(|e| e == etag);
        match request.from.filter(|_| same) {
            Some(from) if from >= body.len() as u64 => {
                Self::status(416).header("Content-Range", format!("bytes */{}", body.len()))
            }
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
                let rest = body[from as usize..].to_vec();
                Self { status: 206, body: rest, ..Self::default() }.header("Content-Range", range).header("ETag", etag)
            }
            None => Self::ok(body).header("ETag", etag),
        }
    }
}

/// The server. Dropping it stops it.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    log: Arc<Mutex<Vec<Request>>>,
    end: Arc<AtomicBool>,
}

impl Server {
    /// Answers every request by `answer`.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (log, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (answer, their_log, their_end) = (Arc::new(answer), Arc::clone(&log), Arc::clone(&end));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if their_end.load(Ordering::SeqCst) {
                    break;
                }
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&their_log));
                std::thread::spawn(move || stream.map(|s| serve(s, &log, &*answer)));
            }
        });
        Self { url, log, end }
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        // Wakes it from waiting for a connection.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

/// One request a connection.
fn serve(mut stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) {
    let mut request = Request::default();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else { return };
    request.path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    for line in lines.map_while(Result::ok).take_while(|l| !l.is_empty()) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                request.from =
                    value.strip_prefix("bytes=").and_then(|v| v.strip_suffix('-')).and_then(|v| v.parse().ok());
            }
            "if-range" => request.if_range = Some(value.to_owned()),
            "accept-encoding" => request.accept_encoding = Some(value.to_owned()),
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    {
        let mut log = log.lock().unwrap();
        request.number = log.len();
        log.push(request.clone());
    }
    let reply = answer(&request);
    let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", reply.status);
    if !reply.unsized_body && !reply.headers.iter().any(|(n, _)| n == "Content-Length") {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    let body = &reply.body[..reply.cut_at.unwrap_or(reply.body.len()).min(reply.body.len())];
    let _ = stream.write_all((head + "\r\n").as_bytes());
    for chunk in body.chunks(if reply.pause.is_zero() { usize::MAX } else { 4096 }) {
        std::thread::sleep(reply.pause);
        if stream.write_all(chunk).is_err() {
            return;
        }
    }
}

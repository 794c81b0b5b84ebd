//! The program as a process, over loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// A running server, which is killed with the value.
pub struct Server {
    pub process: Child,
    /// Lines of its log that nobody looked at yet.
    log: Receiver<String>,
    /// Where queries go.
    pub address: String,
    /// Where writes go.
    pub write_address: String,
    /// Where Flight SQL is, in `all`.
    pub grpc_address: String,
}

/// An answer, read to its end.
pub struct Answer {
    pub status: u16,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Server {
    /// Starts `quiver all` over the folder on a free port and waits until it is ready.
    pub fn start(data_dir: &Path, flags: &[&str]) -> Self {
        let folder = format!("--data-dir={}", data_dir.display());
        Self::run(&[&["all", &folder][..], flags].concat(), &[], false)
    }

    /// Starts `quiver receive` over the folder.
    pub fn receive(folder: &Path, flags: &[&str]) -> Self {
        let folder = format!("--tsdb.path={}", folder.display());
        let own = ["receive", &folder, "--remote-write.address=127.0.0.1:0", "--label=receiver=\"r\""];
        Self::run(&[&own[..], flags].concat(), &[], true)
    }

    /// Starts the program on free ports, with variables in its environment.
    pub fn run(arguments: &[&str], variables: &[(&str, &str)], writes_apart: bool) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_quiver"))
            .args(arguments)
            .arg("--http-address=127.0.0.1:0")
            .args((arguments.first() == Some(&"all")).then_some("--grpc-address=127.0.0.1:0"))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = lines(process.stderr.take().unwrap());
        let none = String::new;
        let mut server = Self { log, process, address: none(), write_address: none(), grpc_address: none() };
        server.address = server.listening("HTTP");
        server.write_address = if writes_apart { server.listening("HTTP") } else { server.address.clone() };
        if arguments.first() == Some(&"all") {
            server.grpc_address = server.listening("gRPC");
        }
        server.wait_for("msg=ready");
        server
    }

    fn listening(&mut self, protocol: &str) -> String {
        self.wait_for(&format!("listening for {protocol}")).split("address=").nth(1).unwrap().trim().to_owned()
    }

    /// Reads the log up to the line that holds `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        for line in &self.log {
            if line.contains(text) {
                return line;
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        panic!("no {text:?} in\n{seen}");
    }

    /// The lines of the log that nobody looked at yet.
    pub fn log_so_far(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Sends a write, and does not wait for the answer.
    pub fn send(&self, path: &str, headers: &str, body: &[u8]) -> TcpStream {
        send(&self.write_address, &format!("POST {path}"), headers, body)
    }

    /// A write, and the text that is answered.
    pub fn post(&self, path: &str, headers: &str, body: &[u8]) -> String {
        answer(self.send(path, headers, body))
    }

    /// A form posted to where queries go.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        Answer::of(send(&self.address, &format!("POST {path}"), headers, body.as_bytes()))
    }

    /// What the API answers to a form: `data` of a success without warnings.
    pub fn data(&self, path: &str, fields: &[(&str, &str)]) -> serde_json::Value {
        Self::data_of(&self.form(path, fields))
    }

    /// As [`data`](Self::data), to a GET.
    pub fn get(&self, path: &str) -> serde_json::Value {
        Self::data_of(&Answer::of(send(&self.address, &format!("GET {path}"), "", b"")))
    }

    /// `data` of a success without warnings.
    pub fn data_of(answer: &Answer) -> serde_json::Value {
        assert!(answer.head.contains("application/json"), "{}", answer.head);
        let mut json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(json["status"], "success", "{json}");
        assert!(json.get("warnings").is_none(), "{json}");
        json["data"].take()
    }

    /// The value of a metric of its own that has no labels.
    pub fn metric(&self, name: &str) -> f64 {
        let answer = Answer::of(send(&self.address, "GET /metrics", "", b""));
        let text = String::from_utf8(answer.body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    /// The value of an instant query over one series; none where there is no sample.
    pub fn value(&self, query: &str, time: i64) -> Option<String> {
        let data = self.data("/api/v1/query", &[("query", query), ("time", &time.to_string())]);
        Some(data["result"].get(0)?["value"][1].as_str().unwrap().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // gone already where the test killed it
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Answer {
    /// Reads to the end.
    pub fn of(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        // a server that refuses a body without reading it may reset the connection
        let _ = stream.read_to_end(&mut bytes);
        Self::from_bytes(bytes)
    }

    /// Head and body apart.
    pub fn from_bytes(mut bytes: Vec<u8>) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer's head");
        let body = bytes.split_off(end + 4);
        let head = String::from_utf8(bytes).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The lines of a log, read as they come: a program whose log nobody reads would wait for a reader at last.
fn lines(log: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        // ends with the program, or with whoever listens
        let _ = BufReader::new(log).lines().map_while(Result::ok).try_for_each(|line| sender.send(line));
    });
    receiver
}

/// Sends a request of HTTP 1.0, whose answer is neither in chunks nor followed by another.
pub fn send(address: &str, line: &str, headers: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{line} HTTP/1.0\r\nHost: x\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    // a server that refuses a body without reading it may reset the connection
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    stream
}

/// What came until the connection ended; nothing where it broke.
pub fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // a killed server resets the connection
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

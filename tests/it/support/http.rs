//! A client of the proxy's HTTP port, and the numbers of its metrics.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Of the status line.
    pub status: u16,
    /// With lower-case names.
    pub headers: BTreeMap<String, String>,
    /// All that came behind the head.
    pub body: String,
}

impl Response {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1));
        let pairs = lines.filter_map(|l| l.split_once(": "));
        Self {
            status: status.and_then(|s| s.parse().ok()).expect("a status"),
            headers: pairs
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
        }
    }

    /// The JSON of the body.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Of a health page: whether the check of that name holds, and what it says.
    pub fn check(&self, name: &str) -> (bool, String) {
        let json = self.json();
        let checks = json["checks"].as_array().expect("checks");
        let check = checks
            .iter()
            .find(|c| c["name"] == name)
            .expect("the check");
        let detail = check["detail"].as_str().expect("a detail");
        (check["ok"] == true, detail.to_owned())
    }
}

/// Sends bytes and reads until the other side closes.
pub fn exchange(address: SocketAddr, request: &[u8]) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    socket.write_all(request)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Any request without a body.
pub fn request(address: SocketAddr, method: &str, path: &str) -> Response {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: proxy\r\n\r\n");
    Response::parse(&exchange(address, request.as_bytes()).expect("an answer"))
}

/// GET.
pub fn get(address: SocketAddr, path: &str) -> Response {
    request(address, "GET", path)
}

/// The samples of one scrape.
#[derive(Debug)]
pub struct Scrape {
    /// As it came.
    pub text: String,
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    /// Scrapes.
    pub fn of(address: SocketAddr) -> Self {
        let response = get(address, "/metrics");
        assert_eq!(response.status, 200, "{}", response.body);
        let lines = response.body.lines().filter(|l| !l.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            (series.to_owned(), value.parse().expect("a number"))
        };
        let samples = lines.map(sample).collect();
        Self {
            text: response.body,
            samples,
        }
    }

    /// The value of a series, as `name` or `name{label="value"}`.
    pub fn value(&self, series: &str) -> f64 {
        let value = self.samples.get(series).copied();
        value.unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    /// Whole numbers, which most are.
    pub fn count(&self, series: &str) -> u64 {
        let value = self.value(series);
        assert!(value >= 0.0 && value.fract() == 0.0, "{series} {value}");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "asserted above"
        )]
        let count = value as u64;
        count
    }

    /// What the series of a family that are not zero say.
    pub fn present(&self, family: &str) -> Vec<(String, f64)> {
        let start = format!("{family}{{");
        let own = self
            .samples
            .iter()
            .filter(|(s, v)| s.starts_with(&start) && **v != 0.0);
        own.map(|(series, value)| (series[start.len()..series.len() - 1].to_owned(), *value))
            .collect()
    }

    /// The families with their types, in order.
    pub fn families(&self) -> Vec<(String, String)> {
        let lines = self.text.lines().filter_map(|l| l.strip_prefix("# TYPE "));
        let pairs = lines.filter_map(|l| l.split_once(' '));
        pairs
            .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
            .collect()
    }

    /// All samples.
    pub fn samples(&self) -> impl Iterator<Item = (&str, f64)> {
        self.samples
            .iter()
            .map(|(series, value)| (series.as_str(), *value))
    }
}

//! What is answered to which request. Nothing that is served changes anything.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Mutex;

use super::health::{self, Health};
use super::metrics::Metrics;
use super::sources::Sources;
use crate::worker::pulse::Pulse;

/// The pages.
#[derive(Debug)]
pub struct Site {
    sources: Sources,
    metrics: Metrics,
    pulse: Mutex<Pulse>,
}

#[derive(Debug, Clone, Copy)]
enum Page {
    Home,
    Metrics,
    Live,
    Ready,
}

impl Page {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Home),
            "/metrics" => Some(Self::Metrics),
            "/health/live" => Some(Self::Live),
            "/health/ready" => Some(Self::Ready),
            _ => None,
        }
    }
}

/// An answer before it is HTTP.
struct Answer {
    status: StatusCode,
    kind: &'static str,
    body: String,
}

impl Site {
    /// The pages of a proxy.
    pub fn new(sources: Sources) -> Self {
        let pulse = Mutex::new(Pulse::new(sources.workers.clone()));
        Self {
            sources,
            metrics: Metrics::default(),
            pulse,
        }
    }

    /// Answers one request, whose body, if any, is not read.
    pub(super) async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(page) = Page::at(request.uri().path()) else {
            return text(StatusCode::NOT_FOUND, "there is no such page\n").into_response();
        };
        // hyper leaves the body of an answer to HEAD out.
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            let mut response = refused.into_response();
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        self.page(page).await.into_response()
    }

    async fn page(&self, page: Page) -> Answer {
        match page {
            Page::Home => Answer {
                status: StatusCode::OK,
                kind: "text/html; charset=utf-8",
                body: home(),
            },
            Page::Metrics => match self.metrics.page(&self.sources, &self.pulse).await {
                Ok(body) => Answer {
                    status: StatusCode::OK,
                    kind: "text/plain; version=0.0.4; charset=utf-8",
                    body,
                },
                Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}\n")),
            },
            Page::Live => told(&health::live(&self.sources, &self.pulse).await),
            Page::Ready => told(&health::ready(&self.sources, &self.pulse).await),
        }
    }
}

impl Answer {
    fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        response
    }
}

fn text(status: StatusCode, body: &str) -> Answer {
    Answer {
        status,
        kind: "text/plain; charset=utf-8",
        body: body.to_owned(),
    }
}

fn told(health: &Health) -> Answer {
    let status = if health.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = serde_json::to_string_pretty(health).expect("plain strings and bools");
    body.push('\n');
    Answer {
        status,
        kind: "application/json",
        body,
    }
}

fn home() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Tenantry</title>\n\
         <h1>Tenantry {version}</h1>\n<ul>\n\
         <li><a href=\"/metrics\">/metrics</a>: for Prometheus\n\
         <li><a href=\"/health/live\">/health/live</a>: does the process work\n\
         <li><a href=\"/health/ready\">/health/ready</a>: should clients be sent here\n\
         </ul></html>\n"
    )
}

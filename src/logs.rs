//! Log lines: to one writer, as text or JSON, at a level; format and level change at run time.
//!
//! One [`Logs`] belongs to one subscriber. A process has one for standard error; tests may have
//! others beside it.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, dynamic_filter_fn};
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::{Filter, Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// What changes the format and level of log lines.
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    is_json: Arc<AtomicBool>,
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs")
            .field("is_json", &self.is_json)
            .finish_non_exhaustive()
    }
}

impl Logs {
    /// Sends the log lines of this process to standard error.
    ///
    /// # Errors
    /// If they go somewhere already.
    pub fn to_stderr(log: &Log) -> Result<Self, tracing_subscriber::util::TryInitError> {
        let (logs, subscriber) = Self::new(log, std::io::stderr, std::io::stderr().is_terminal());
        subscriber.try_init()?;
        Ok(logs)
    }

    /// A subscriber that writes lines to `writer`, in colours if `ansi` and the format is text.
    pub fn new<W>(
        log: &Log,
        writer: W,
        ansi: bool,
    ) -> (Self, impl Subscriber + Send + Sync + use<W>)
    where
        W: for<'w> MakeWriter<'w> + Clone + Send + Sync + 'static,
    {
        let (first, filter) = reload::Layer::new(filter(log));
        let is_json = Arc::new(AtomicBool::new(log.format == LogFormat::Json));
        // Both formats are always there and one of them is shut: what one has noted of a span
        // cannot be missing for the other.
        let text = layer().with_writer(writer.clone()).with_ansi(ansi);
        let json = layer().json().with_writer(writer);
        let subscriber = Registry::default()
            .with(first)
            .with(text.with_filter(only(&is_json, false)))
            .with(json.with_filter(only(&is_json, true)));
        (Self { filter, is_json }, subscriber)
    }

    /// Applies another format and level, from the next line on.
    pub fn apply(&self, log: &Log) {
        let is_json = log.format == LogFormat::Json;
        self.is_json.store(is_json, Ordering::Relaxed);
        // Fails only when the subscriber has gone: then nobody reads lines any more.
        let _gone = self.filter.reload(filter(log));
    }
}

/// Opens a layer while the format is JSON, or while it is not.
fn only<S: Subscriber>(is_json: &Arc<AtomicBool>, wanted: bool) -> impl Filter<S> + use<S> {
    let is_json = Arc::clone(is_json);
    dynamic_filter_fn(move |_, _| is_json.load(Ordering::Relaxed) == wanted)
}

fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_new(&log.level).expect("the configuration has parsed it")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    use tracing::{debug, info};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> String {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8(std::mem::take(&mut *all)).unwrap()
        }
    }

    fn log(format: LogFormat, level: &str) -> Log {
        Log {
            format,
            level: level.to_owned(),
            slow: std::time::Duration::ZERO,
            statements: crate::config::Statements::Hidden,
        }
    }

    #[test]
    fn format_and_level_change_from_the_next_line_on() {
        let lines = Lines::default();
        let sink = lines.clone();
        let (logs, subscriber) =
            Logs::new(&log(LogFormat::Text, "info"), move || sink.clone(), false);
        let _here = tracing::subscriber::set_default(subscriber);
        info!(port = 1, "one");
        debug!("hidden");
        let text = lines.take();
        assert!(
            text.ends_with("one port=1\n") && text.lines().count() == 1,
            "{text}"
        );
        logs.apply(&log(LogFormat::Json, "debug"));
        debug!(port = 2, "two");
        let json: serde_json::Value = serde_json::from_str(&lines.take()).unwrap();
        assert_eq!(
            (&json["fields"]["message"], &json["fields"]["port"]),
            (&"two".into(), &2.into())
        );
        logs.apply(&log(LogFormat::Text, "off"));
        info!("nothing");
        assert_eq!(lines.take(), "");
    }
}

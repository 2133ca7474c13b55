//! The setup of logging: filter, format, output.

use std::io::{self, IsTerminal, Write};

use kvs_config::raw::LogFormat;
use kvs_config::without_address_secrets;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

/// Crates that log requests, headers or credentials below INFO: those levels of theirs are always off.
const WIRE_CRATES: [&str; 8] =
    ["aws_config", "aws_credential_types", "aws_runtime", "aws_sig", "aws_smithy", "h2", "hyper", "rustls"];

/// The target that warns of a query in AWS_ENDPOINT_URL, and quotes it: always off.
const QUOTES_QUERIES: &str = "aws_smithy_runtime_api::http::request";

/// The crates of this project, to which a bare level applies.
const OWN_CRATES: [&str; 3] = ["kvs_infer", "kvs_mkv", "kvs_sim"];

/// The stream that log lines are written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output: `run`, whose output is its log.
    #[default]
    Stdout,
    /// Standard error: every command that prints something else.
    Stderr,
}

/// An error of starting the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is neither a level nor a list of directives.
    #[error(
        "LOG_LEVEL {level:?}: {reason}; give trace, debug, info, warn or error, or directives such as \
         kvs_infer::detect=debug,info"
    )]
    Level {
        /// The level as it was given.
        level: String,
        /// The reason.
        reason: String,
    },
    /// Logging was started before.
    #[error("logging: {0}")]
    Twice(#[from] TryInitError),
}

/// Installs the process's log subscriber.
///
/// `level` is `trace`..`error`, `off`, or directives (`kvs_infer::detect=debug,info`). A bare level applies to the project's own
/// crates; others log from WARN, and `aws_config` from ERROR, because its warnings dump whole responses and the caller logs the
/// same failure in a sentence. Without a `format`, lines are text on a terminal and JSON elsewhere.
/// Crates that would log credentials log from INFO, whatever `level` says.
///
/// # Errors
/// `level` cannot be parsed, or logging was started before.
pub fn init(level: &str, format: Option<LogFormat>, output: LogOutput) -> Result<(), LogError> {
    let terminal = match output {
        LogOutput::Stdout => io::stdout().is_terminal(),
        LogOutput::Stderr => io::stderr().is_terminal(),
    };
    let writer = match output {
        LogOutput::Stdout => BoxMakeWriter::new(|| WithoutSecrets(io::stdout())),
        LogOutput::Stderr => BoxMakeWriter::new(|| WithoutSecrets(io::stderr())),
    };
    let format = format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json });
    subscriber(level, format, terminal, writer)?.try_init()?;
    Ok(())
}

/// A writer that removes user, password and query from the addresses in each line, since libraries log whole addresses.
struct WithoutSecrets<W>(W);

impl<W: Write> Write for WithoutSecrets<W> {
    /// Writes one whole line per call: the layer never writes a line in parts, so no address is split between two calls.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            // Whole lines are buffered by the layer, so the text never ends within a UTF-8 sequence.
            Ok(text) => self.0.write_all(without_address_secrets(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn subscriber(
    level: &str,
    format: LogFormat,
    color: bool,
    writer: BoxMakeWriter,
) -> Result<impl Subscriber + Send + Sync, LogError> {
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    // `flatten_event` puts the fields at the top level, where log queries expect them.
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.with_ansi(color).boxed(),
    };
    let lines = lines.with_filter(filter_of(level)?).with_filter(no_wire());
    Ok(tracing_subscriber::registry().with(lines))
}

fn filter_of(level: &str) -> Result<EnvFilter, LogError> {
    let bad = |reason: String| LogError::Level { level: level.to_owned(), reason };
    if level.trim().is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    let directives = match level.trim().parse::<LevelFilter>() {
        Ok(bare) => {
            // `min` keeps a bare `off` off for all crates.
            let (others, verbose) = (bare.min(LevelFilter::WARN), bare.min(LevelFilter::ERROR));
            let others = format!("{others},aws_config={verbose}");
            OWN_CRATES.iter().fold(others, |all, own| format!("{all},{own}={bare}"))
        }
        Err(_) if !level.contains(['=', ',']) => return Err(bad("it is not a level".to_owned())),
        Err(_) => level.trim().to_owned(),
    };
    EnvFilter::try_new(directives).map_err(|e| bad(e.to_string()))
}

/// Returns the filter that applies whatever the level: it drops lines that may contain credentials.
fn no_wire() -> FilterFn {
    filter_fn(|metadata| {
        let wire = WIRE_CRATES.iter().any(|name| metadata.target().starts_with(name));
        let has_no_query = metadata.target() != QUOTES_QUERIES;
        has_no_query && (!wire || *metadata.level() <= tracing::Level::INFO)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that are written at `level` while `trace` runs.
    fn written(level: &str, format: LogFormat, trace: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            subscriber(level, format, false, BoxMakeWriter::new(move || WithoutSecrets(writer.clone())))
                .unwrap();
        tracing::subscriber::with_default(subscriber, trace);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_of_json_is_an_object_with_its_fields_at_the_top() {
        let text = written("info", LogFormat::Json, || tracing::info!(camera = "gate", frames = 3, "hello"));
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["message"], "hello");
        assert_eq!(line["camera"], "gate");
        assert_eq!(line["frames"], 3);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn text_lines_have_level_message_and_fields() {
        let text = written("info", LogFormat::Text, || tracing::info!(camera = "gate", "hello"));
        assert!(text.contains(" INFO ") && text.contains("hello camera=\"gate\""), "{text}");
    }

    #[test]
    fn addresses_are_logged_without_their_secrets() {
        let trace = || {
            let (url, quoted) = ("https://u:HUSH@h.test/m?sig=HUSH", "asked \"https://h.test/m?sig=HUSH\"");
            tracing::warn!(target: "reqwest::connect", url, "starting new connection: {quoted}");
        };
        for format in [LogFormat::Json, LogFormat::Text] {
            let text = written("kvs_infer=info,trace", format, trace);
            assert!(text.contains("//...@h.test/m?...") && !text.contains("HUSH"), "{text}");
            let is_json = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            assert_eq!(is_json, format == LogFormat::Json, "{text}");
        }
    }

    #[test]
    fn each_level_has_its_lines() {
        let trace = || {
            tracing::debug!("ours at debug");
            tracing::debug!(target: "aws_smithy_runtime::client", "authorization: secret");
            tracing::warn!(target: "aws_smithy_runtime_api::http::request", query = "x=HUSH", "query specified");
            tracing::info!(target: "other_crate", "theirs at info");
            tracing::warn!(target: "other_crate", "a warning of theirs");
            tracing::warn!(target: "aws_config::imds::region", "Response {{ body: .. }}");
            tracing::error!(target: "aws_config", "an error of aws_config");
        };
        let table: [(&str, &[&str]); 5] = [
            ("info", &["a warning of theirs", "an error of aws_config"]),
            ("debug", &["ours at debug", "a warning of theirs", "an error of aws_config"]),
            ("error", &["an error of aws_config"]),
            ("off", &[]),
            (
                "kvs_infer=debug,trace",
                &[
                    "ours at debug",
                    "theirs at info",
                    "a warning of theirs",
                    "Response { body: .. }",
                    "an error of aws_config",
                ],
            ),
        ];
        for (level, expected) in table {
            let text = written(level, LogFormat::Json, trace);
            let heard: Vec<serde_json::Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let heard: Vec<_> = heard.iter().map(|line| line["message"].as_str().unwrap()).collect();
            assert_eq!(heard, expected, "LOG_LEVEL={level}");
        }
    }

    #[test]
    fn a_wrong_level_is_an_error_with_the_remedy() {
        for level in ["", "loud", "kvs_infer=loud"] {
            let error = filter_of(level).unwrap_err().to_string();
            assert!(error.contains("LOG_LEVEL") && error.contains("trace, debug, info"), "{error}");
        }
    }
}

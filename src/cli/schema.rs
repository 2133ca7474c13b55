//! `schema`: prints the schemas of the files that the program reads and writes, and the table of its metrics.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::{config_schema, event_schema};
use crate::telemetry::{Metric, MetricKind, all_metrics};

/// Prints the JSON Schema of the configuration or of an event, or the table of metrics.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SchemaArgs {
    /// Schema or table to print.
    of: SchemaSubject,
}

/// A schema or table that can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SchemaSubject {
    /// The JSON Schema of cameras.yaml, with which editors complete and check the file
    Config,
    /// The JSON Schema of an event record
    Event,
    /// The metrics on /metrics, as a Markdown table
    Metrics,
}

impl SchemaArgs {
    /// Prints the schema or table.
    ///
    /// # Errors
    /// Standard output is closed.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        print(self.of, &mut io::stdout().lock())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn print(of: SchemaSubject, out: &mut impl Write) -> io::Result<()> {
    match of {
        SchemaSubject::Config => writeln!(out, "{:#}", config_schema()),
        SchemaSubject::Event => writeln!(out, "{:#}", event_schema()),
        SchemaSubject::Metrics => print_metrics(&all_metrics(), out),
    }
}

fn print_metrics(metrics: &[Metric], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "| name | type | labels | meaning |\n| --- | --- | --- | --- |")?;
    for metric in metrics {
        // The words of Prometheus's exposition format.
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let labels = metric.labels.join(", ");
        writeln!(out, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_a_markdown_table() {
        let metric = Metric {
            name: "kvs_infer_frames_total",
            kind: MetricKind::Counter,
            labels: &["camera", "reason"],
            help: "Frames.",
        };
        let mut out = Vec::new();
        print_metrics(&[metric], &mut out).unwrap();
        let row = "| `kvs_infer_frames_total` | counter | camera, reason | Frames. |";
        assert_eq!(String::from_utf8(out).unwrap().lines().last(), Some(row));
    }

    #[test]
    fn schemas_are_json() {
        for (of, title) in
            [(SchemaSubject::Config, "kvs-infer: cameras.yaml"), (SchemaSubject::Event, "Event")]
        {
            let mut out = Vec::new();
            print(of, &mut out).unwrap();
            let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(schema["title"], title);
        }
    }
}

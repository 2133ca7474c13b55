//! How much of the outbox each sink may fill.

use super::start::SinkName;

/// The share of each sink, bytes; together at most `max_bytes`.
///
/// Weighed by what an event costs there: a sink that takes pictures gets eight parts, another one part.
pub(crate) fn shares(sinks: &[SinkName], max_bytes: u64) -> Vec<u64> {
    let parts = |sink: &SinkName| if sink.takes_pictures() { 8 } else { 1 };
    let all: u64 = sinks.iter().map(parts).sum();
    sinks.iter().map(|sink| max_bytes / all.max(1) * parts(sink)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_get_more_and_nobody_gets_more_than_there_is() {
        let kinesis = SinkName::Kinesis("a".into());
        for (sinks, expected) in [
            (vec![], vec![]),
            (vec![kinesis.clone()], vec![1_000]),
            (vec![kinesis.clone(), SinkName::S3], vec![111, 888]),
            (
                vec![SinkName::Local, kinesis, SinkName::DynamoDb("t".into()), SinkName::S3],
                vec![440, 55, 55, 440],
            ),
        ] {
            assert_eq!(shares(&sinks, 1_000), expected, "{sinks:?}");
        }
    }
}

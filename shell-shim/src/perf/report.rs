//! The result of a measurement, for people and for programs.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::endpoint;
use super::messages::Mode;

/// What `stdpkt perf client` measured; `--json` prints exactly this object.
///
/// All keys are always there; those that the mode does not measure are `null`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// `"stream"` or `"rr"`.
    pub mode: Mode,
    /// The server, as it was given to the client.
    pub host: String,
    /// TCP port of the server.
    pub port: u16,
    /// Bytes of each write (stream), or of each request and each response (rr).
    pub bytes: u32,
    /// How long it really took: on the server's clock, from its go-ahead to the end of the
    /// stream (stream); on the client's clock, first request to last response (rr).
    pub seconds: f64,
    /// Payload bytes that the server received (stream).
    pub received_bytes: Option<u64>,
    /// Goodput at the receiver, `received_bytes * 8 / seconds`, in units of 10^9 (stream).
    pub gbit_per_second: Option<f64>,
    /// Completed round trips (rr).
    pub transactions: Option<u64>,
    /// Completed round trips per second (rr).
    pub transactions_per_second: Option<f64>,
    /// How long round trips took, in microseconds (rr).
    pub latency_us: Option<LatencyUs>,
}

/// Percentiles of the round trip time in microseconds, good to three digits; `max` is exact.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatencyUs {
    /// Half of the round trips took at most this.
    pub p50: f64,
    /// 90 % of the round trips took at most this.
    pub p90: f64,
    /// 99 % of the round trips took at most this.
    pub p99: f64,
    /// The slowest round trip.
    pub max: f64,
}

impl Measurement {
    pub(super) fn stream(to: (&str, u16), bytes: u32, received: u64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self {
            received_bytes: Some(received),
            gbit_per_second: Some(rate(received as f64 * 8e-9, seconds)),
            ..Self::empty(Mode::Stream, to, bytes, seconds)
        }
    }

    pub(super) fn rr(
        to: (&str, u16),
        bytes: u32,
        elapsed: Duration,
        latencies: &Latencies,
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        let transactions = latencies.count();
        Self {
            transactions: Some(transactions),
            transactions_per_second: Some(rate(transactions as f64, seconds)),
            latency_us: Some(latencies.summary()),
            ..Self::empty(Mode::RequestResponse, to, bytes, seconds)
        }
    }

    fn empty(mode: Mode, (host, port): (&str, u16), bytes: u32, seconds: f64) -> Self {
        Self {
            mode,
            host: host.to_owned(),
            port,
            bytes,
            seconds,
            received_bytes: None,
            gbit_per_second: None,
            transactions: None,
            transactions_per_second: None,
            latency_us: None,
        }
    }
}

/// `amount / seconds`, and zero rather than infinity (which JSON does not have).
pub(super) fn rate(amount: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { amount / seconds } else { 0.0 }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (to, seconds, bytes) = (endpoint(&self.host, self.port), self.seconds, self.bytes);
        write!(f, "{:<8}", self.mode)?;
        if let (Some(gbit), Some(received)) = (self.gbit_per_second, self.received_bytes) {
            write!(
                f,
                "{gbit:.3} Gbit/s  {received} bytes received by {to} in {seconds:.3} s, {bytes} B a write"
            )?;
        }
        if let (Some(tps), Some(n)) = (self.transactions_per_second, self.transactions) {
            write!(
                f,
                "{tps:.1} transactions/s  {n} with {to} in {seconds:.3} s, {bytes} B each way"
            )?;
        }
        if let Some(LatencyUs { p50, p90, p99, max }) = self.latency_us {
            write!(
                f,
                "\n{:<8}p50 {p50:.1} us  p90 {p90:.1} us  p99 {p99:.1} us  max {max:.1} us",
                "latency"
            )?;
        }
        Ok(())
    }
}

/// Round trip times in bounded memory, however many there are.
pub(super) struct Latencies {
    /// Nanoseconds in `1..=HIGHEST_NS`; slower ones count as `HIGHEST_NS`.
    histogram: Histogram<u64>,
    /// The slowest, exact.
    max_ns: u64,
}

impl Latencies {
    const HIGHEST_NS: u64 = 600 * 1_000_000_000;

    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, Self::HIGHEST_NS, 3)
            .expect("constant bounds: 1 <= 600 s / 2 and 3 digits are valid");
        Self { histogram, max_ns: 0 }
    }

    pub(super) fn record(&mut self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.max_ns = self.max_ns.max(ns);
        self.histogram.saturating_record(ns);
    }

    pub(super) fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub(super) fn summary(&self) -> LatencyUs {
        let us = |ns: u64| ns as f64 / 1000.0;
        // The histogram answers with the upper edge of a bucket; never report beyond the max.
        let at = |quantile| us(self.histogram.value_at_quantile(quantile).min(self.max_ns));
        LatencyUs { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: us(self.max_ns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hundred() -> Latencies {
        let mut latencies = Latencies::new();
        for us in 1..=100 {
            latencies.record(Duration::from_micros(us));
        }
        latencies
    }

    #[test]
    fn percentiles_are_those_of_the_recorded_values_to_three_digits() {
        let LatencyUs { p50, p90, p99, max } = hundred().summary();
        for (got, expected) in [(p50, 50.0), (p90, 90.0), (p99, 99.0)] {
            assert!((got - expected).abs() <= expected / 1000.0, "{got} for {expected}");
        }
        assert_eq!(max, 100.0);
    }

    #[test]
    fn no_percentile_exceeds_the_maximum_and_huge_values_do_not_get_lost() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::from_nanos(123_456_789));
        let LatencyUs { p50, p99, max, .. } = latencies.summary();
        assert_eq!((p50, p99, max), (123_456.789, 123_456.789, 123_456.789));
        latencies.record(Duration::MAX);
        latencies.record(Duration::ZERO);
        assert_eq!(latencies.count(), 3);
        assert_eq!(latencies.summary().max, u64::MAX as f64 / 1000.0);
    }

    #[test]
    fn a_gigabit_is_ten_to_the_nine() {
        let m = Measurement::stream(("h", 1), 9, 1_000_000_000, Duration::from_secs(4));
        assert_eq!(m.gbit_per_second, Some(2.0));
        assert_eq!(
            m.to_string(),
            "stream  2.000 Gbit/s  1000000000 bytes received by h:1 in 4.000 s, 9 B a write"
        );
        let none = Measurement::stream(("h", 1), 9, 1, Duration::ZERO);
        assert_eq!(none.gbit_per_second, Some(0.0));
    }

    #[test]
    fn rr_prints_two_lines_in_transactions_and_microseconds() {
        let m = Measurement::rr(("::1", 5202), 1, Duration::from_secs(2), &hundred());
        let text = m.to_string();
        let (first, second) = text.split_once('\n').unwrap();
        assert_eq!(
            first,
            "rr      50.0 transactions/s  100 with [::1]:5202 in 2.000 s, 1 B each way"
        );
        assert!(second.starts_with("latency p50 50.0 us  p90 "), "{second}");
        assert!(second.ends_with("  max 100.0 us"), "{second}");
    }

    #[test]
    fn json_keys_are_stable_and_read_back() {
        let stream = Measurement::stream(("h", 1), 2, 3, Duration::from_secs(4));
        let rr = Measurement::rr(("h", 1), 2, Duration::from_secs(4), &hundred());
        for (m, mode, nulls) in [(stream, "stream", 3), (rr, "rr", 2)] {
            let text = serde_json::to_string(&m).unwrap();
            assert_eq!(serde_json::from_str::<Measurement>(&text).unwrap(), m);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["mode"], mode);
            let keys = value.as_object().unwrap();
            for key in [
                "host",
                "port",
                "bytes",
                "seconds",
                "received_bytes",
                "gbit_per_second",
                "transactions",
                "transactions_per_second",
                "latency_us",
            ] {
                assert!(keys.contains_key(key), "{key} is missing in {text}");
            }
            assert_eq!(keys.len(), 10, "{text}");
            assert_eq!(keys.values().filter(|v| v.is_null()).count(), nulls, "{text}");
        }
    }
}

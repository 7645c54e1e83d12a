//! Medians, for people as a table and for programs as JSON.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::chain::Outcome;
use super::measure::{Samples, Way};
use crate::perf::Measurement;
use crate::stack::sysctl;

/// All that the demo found; `--json` prints exactly this object.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// Measurements of each kind over each channel.
    pub rounds: u32,
    /// How long each was to take.
    pub seconds: f64,
    /// The NAT chain.
    pub chain: Outcome,
    /// One for each channel.
    pub channels: Vec<Row>,
}

/// Where it ran.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// Release of the kernel.
    pub kernel: String,
    /// Instruction set.
    pub arch: &'static str,
}

/// Medians over the rounds; null where the channel was not measured.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub channel: Way,
    /// Goodput with writes of 64 KiB, in units of 10^9 bits a second.
    pub gbit_per_second: Option<f64>,
    /// That, divided by that of fifo.
    pub gbit_ratio_to_fifo: Option<f64>,
    /// Round trips of one byte each way, one at a time.
    pub round_trips_per_second: Option<f64>,
    /// That, divided by that of fifo.
    pub round_trips_ratio_to_fifo: Option<f64>,
    /// Median of the rounds' median round trip times, in microseconds.
    pub p50_us: Option<f64>,
    /// Median of the rounds' 99th percentiles, in microseconds.
    pub p99_us: Option<f64>,
    /// Why there is nothing.
    pub absent: Option<String>,
    /// Each round's goodput.
    pub stream: Vec<Measurement>,
    /// Each round's round trips.
    pub rr: Vec<Measurement>,
}

/// The middle value, or halfway between the middle two; none of none.
fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(lower + (upper - lower) / 2.0)
}

/// `value / base`, where that is a number.
fn ratio(value: Option<f64>, base: Option<f64>) -> Option<f64> {
    Some(value? / base?).filter(|ratio| ratio.is_finite())
}

impl Row {
    fn new(samples: Samples) -> Row {
        let Samples { way, stream, rr, absent } = samples;
        let latencies = || rr.iter().filter_map(|m| m.latency_us);
        Row {
            channel: way,
            gbit_per_second: median(stream.iter().filter_map(|m| m.gbit_per_second)),
            gbit_ratio_to_fifo: None,
            round_trips_per_second: median(rr.iter().filter_map(|m| m.transactions_per_second)),
            round_trips_ratio_to_fifo: None,
            p50_us: median(latencies().map(|latency| latency.p50)),
            p99_us: median(latencies().map(|latency| latency.p99)),
            absent,
            stream,
            rr,
        }
    }
}

impl Report {
    /// Sums up.
    pub fn new(rounds: u32, seconds: Duration, chain: Outcome, channels: Vec<Samples>) -> Report {
        let mut channels: Vec<Row> = channels.into_iter().map(Row::new).collect();
        let fifo = channels.iter().find(|row| row.channel == Way::Fifo);
        let (gbit, trips) =
            fifo.map_or((None, None), |row| (row.gbit_per_second, row.round_trips_per_second));
        for row in &mut channels {
            row.gbit_ratio_to_fifo = ratio(row.gbit_per_second, gbit);
            row.round_trips_ratio_to_fifo = ratio(row.round_trips_per_second, trips);
        }
        let seconds = seconds.as_secs_f64();
        Report { machine: Machine::this(), rounds, seconds, chain, channels }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "CHANNEL",
            "GBIT/S AT 64 KIB",
            "x FIFO",
            "ROUND TRIPS/S",
            "x FIFO",
            "P50 US",
            "P99 US",
        ]);
        for row in &self.channels {
            let cell = |value: Option<f64>, digits| {
                value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
            };
            table.add_row([
                row.channel.name().to_owned(),
                cell(row.gbit_per_second, 2),
                cell(row.gbit_ratio_to_fifo, 2),
                cell(row.round_trips_per_second, 0),
                cell(row.round_trips_ratio_to_fifo, 2),
                cell(row.p50_us, 1),
                cell(row.p99_us, 1),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.table())?;
        for row in &self.channels {
            if let Some(why) = &row.absent {
                writeln!(f, "{}: {why}", row.channel.name())?;
            }
        }
        let Machine { cores, kernel, arch } = &self.machine;
        let count = |n: usize, one: &str| format!("{n} {one}{}", if n == 1 { "" } else { "s" });
        write!(
            f,
            "{}, Linux {kernel} {arch}; medians of {} of {} s, the channels in turn",
            count(*cores, "core"),
            count(self.rounds as usize, "round"),
            self.seconds
        )
    }
}

impl Machine {
    fn this() -> Machine {
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: sysctl::read("kernel.osrelease").unwrap_or_default(),
            arch: std::env::consts::ARCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(way: Way, gbit: &[f64], trips: &[f64]) -> Samples {
        let parse = |json: String| serde_json::from_str::<Measurement>(&json).unwrap();
        let stream = gbit.iter().map(|gbit| {
            parse(format!(
                r#"{{"mode":"stream","host":"h","port":1,"bytes":65536,"seconds":1,
                "received_bytes":1,"gbit_per_second":{gbit},"transactions":null,
                "transactions_per_second":null,"latency_us":null}}"#
            ))
        });
        let rr = trips.iter().map(|trips| {
            parse(format!(
                r#"{{"mode":"rr","host":"h","port":1,"bytes":1,"seconds":1,
                "received_bytes":null,"gbit_per_second":null,"transactions":9,
                "transactions_per_second":{trips},
                "latency_us":{{"p50":50,"p90":60,"p99":{trips},"max":900}}}}"#
            ))
        });
        Samples { stream: stream.collect(), rr: rr.collect(), ..Samples::new(way) }
    }

    fn report(channels: Vec<Samples>) -> Report {
        Report::new(3, Duration::from_millis(500), Outcome::default(), channels)
    }

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([7.0]), Some(7.0));
        assert_eq!(median([3.0, 1.0]), Some(2.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 9.0, 2.0]), Some(3.0));
    }

    #[test]
    fn no_ratio_to_nothing() {
        assert_eq!(ratio(Some(3.0), Some(2.0)), Some(1.5));
        for (value, base) in
            [(None, Some(1.0)), (Some(1.0), None), (Some(1.0), Some(0.0)), (Some(0.0), Some(0.0))]
        {
            assert_eq!(ratio(value, base), None);
        }
    }

    #[test]
    fn the_table_has_medians_ratios_and_reasons() {
        let mut veth = Samples::new(Way::Veth);
        veth.absent = Some("no right to".to_owned());
        let text = report(vec![
            samples(Way::Shm, &[9.0, 30.0, 12.0], &[150.0, 300.0]),
            samples(Way::Fifo, &[8.0, 6.0, 1.0], &[150.0]),
            veth,
        ])
        .to_string();
        let rows: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["shm", "12.00", "2.00", "225", "1.50", "50.0", "225.0"]);
        assert_eq!(rows[2], ["fifo", "6.00", "1.00", "150", "1.00", "50.0", "150.0"]);
        assert_eq!(rows[3], ["veth", "-", "-", "-", "-", "-", "-"]);
        assert!(text.contains("\nveth: no right to\n"), "{text}");
        assert!(text.ends_with("medians of 3 rounds of 0.5 s, the channels in turn"), "{text}");
    }

    #[test]
    fn json_has_every_key_also_of_what_is_absent() {
        let json = serde_json::to_value(report(vec![Samples::new(Way::Veth)])).unwrap();
        let veth = &json["channels"][0];
        assert_eq!(veth["channel"], "veth");
        for key in ["gbit_per_second", "gbit_ratio_to_fifo", "p99_us", "absent"] {
            assert!(veth.as_object().unwrap().contains_key(key) && veth[key].is_null(), "{key}");
        }
        assert!(json["machine"]["cores"].as_u64() >= Some(1));
        assert!(json["chain"]["replies"].is_null());
    }
}

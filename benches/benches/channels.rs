//! Criterion over the same harness as `channel-report`: streams of frames and
//! round trips, two processes pinned apart and not pinned at all.

use std::path::Path;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use stdpkt_benches::channels;
use stdpkt_benches::harness::frames::{SIZES, Sizes, Source};
use stdpkt_benches::harness::{Kind, Pair, Pin, worker};

const RING: usize = 1 << 20;

fn main() {
    worker::hook(&channels::all());
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let scratch = tempfile::tempdir().expect("a scratch directory");
    for (pin, name) in [(Pin::Apart, "pinned"), (Pin::Free, "unpinned")] {
        for sizes in SIZES {
            let mut group = criterion.benchmark_group(format!("stream/{name}/{sizes}"));
            group.throughput(Throughput::Bytes(mean_len(sizes)));
            for kind in channels::all() {
                stream(&mut group, &kind, sizes, scratch.path(), pin);
            }
            group.finish();
        }
        for sizes in SIZES {
            let mut group = criterion.benchmark_group(format!("round-trip/{name}/{sizes}"));
            for kind in channels::all() {
                round_trip(&mut group, &kind, sizes, scratch.path(), pin);
            }
            group.finish();
        }
    }
    criterion.final_summary();
}

fn mean_len(sizes: Sizes) -> u64 {
    let mut source = Source::new(sizes, false);
    for _ in 0..12 {
        let _ = source.next();
    }
    source.bytes() / 12
}

/// Channels come up, and are checked, only if Criterion's filter wants them.
fn stream(
    group: &mut BenchmarkGroup<'_, WallTime>,
    kind: &Kind,
    sizes: Sizes,
    dir: &Path,
    pin: Pin,
) {
    group.bench_function(BenchmarkId::from_parameter(kind.name), |bencher| {
        let mut pair = Pair::new(kind, sizes, RING, dir, pin).expect("a channel that works");
        bencher.iter_custom(|count| pair.stream(count).expect("frames as sent").elapsed);
    });
}

fn round_trip(
    group: &mut BenchmarkGroup<'_, WallTime>,
    kind: &Kind,
    sizes: Sizes,
    dir: &Path,
    pin: Pin,
) {
    let mut times = hdrhistogram::Histogram::<u64>::new(3).expect("a histogram");
    group.bench_function(BenchmarkId::from_parameter(kind.name), |bencher| {
        let mut pair = Pair::new(kind, sizes, RING, dir, pin).expect("a channel that works");
        bencher.iter_custom(|count| {
            let some = pair.round_trips(count, Duration::ZERO, false).expect("echoes as sent");
            times.add(&some).expect("the same range");
            Duration::from_nanos((some.mean() * count as f64) as u64)
        });
    });
    let at = |part| times.value_at_quantile(part) as f64 / 1e3;
    if times.len() > 1000 {
        let (half, most, nearly_all) = (at(0.5), at(0.99), at(0.999));
        println!("    p50 {half:.2} us, p99 {most:.2} us, p99.9 {nearly_all:.2} us");
    }
}

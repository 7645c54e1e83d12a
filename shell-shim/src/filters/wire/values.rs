//! What the options of `stdpkt wire` take.

use std::time::Duration;

use clap::ValueEnum;

use crate::filters::filter::Direction;

/// Longest delay.
const MAX_DELAY: Duration = Duration::from_secs(3600);
/// Most packets that wait.
const MAX_LIMIT: usize = 1_000_000;

/// A value for both directions, or for one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value<T> {
    only: Option<Direction>,
    value: T,
}

/// What was asked for a direction: for it alone, else for both.
pub fn choose<T: Copy>(values: &[Value<T>], direction: Direction) -> Option<T> {
    let last = |only| values.iter().rev().find(|it| it.only == only).map(|it| it.value);
    last(Some(direction)).or_else(|| last(None))
}

fn value<T>(text: &str, parse: impl Fn(&str) -> Option<T>, form: &str) -> Result<Value<T>, String> {
    let (only, text) = match text.split_once('=') {
        None => (None, text),
        Some((way, text)) => match Direction::from_str(way, false) {
            Ok(direction) => (Some(direction), text),
            Err(_) => {
                return Err("before `=` stands left-to-right or right-to-left".to_owned());
            }
        },
    };
    parse(text).map(|value| Value { only, value }).ok_or_else(|| form.to_owned())
}

/// A number and what comes after it.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    number.parse().ok().map(|number| (number, unit))
}

/// A time, with its unit.
pub fn time(text: &str) -> Result<Value<Duration>, String> {
    let parse = |text: &str| {
        let (number, unit) = number(text)?;
        let seconds = match unit {
            "us" => number / 1e6,
            "ms" => number / 1e3,
            "s" => number,
            _ => return None,
        };
        Duration::try_from_secs_f64(seconds).ok().filter(|it| *it <= MAX_DELAY)
    };
    value(text, parse, "a time has a unit, us, ms or s, and is no longer than 3600s: 20ms")
}

/// A part of all packets, between 0 and 1.
pub fn share(text: &str) -> Result<Value<f64>, String> {
    let parse = |text: &str| match number(text)? {
        (percent, "%") if percent <= 100.0 => Some(percent / 100.0),
        _ => None,
    };
    value(text, parse, "a part of the packets is 0% to 100%: 0.1%")
}

/// Bits in a second.
pub fn rate(text: &str) -> Result<Value<u64>, String> {
    let parse = |text: &str| {
        let (number, unit) = number(text)?;
        let bits = match unit.to_ascii_lowercase().as_str() {
            "bit" => number,
            "kbit" => number * 1e3,
            "mbit" => number * 1e6,
            "gbit" => number * 1e9,
            _ => return None,
        };
        (1.0..=1e13).contains(&bits).then_some(bits as u64)
    };
    value(text, parse, "a rate in a second has a unit, bit, kbit, mbit or gbit: 100mbit")
}

/// How many packets.
pub fn limit(text: &str) -> Result<Value<usize>, String> {
    let parse = |text: &str| text.parse().ok().filter(|it| (1..=MAX_LIMIT).contains(it));
    value(text, parse, "a number of packets, 1 to 1000000")
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: Direction = Direction::LeftToRight;
    const BACK: Direction = Direction::RightToLeft;

    #[test]
    fn values_are_for_both_directions_or_one() {
        let both = time("20ms").unwrap();
        let one = time("right-to-left=1.5s").unwrap();
        for values in [[both, one], [one, both]] {
            assert_eq!(choose(&values, THERE), Some(Duration::from_millis(20)));
            assert_eq!(choose(&values, BACK), Some(Duration::from_millis(1500)));
        }
        assert_eq!(choose(&[one], THERE), None);
        assert_eq!(choose(&[share("100%").unwrap()], BACK), Some(1.0));
        assert_eq!(choose(&[rate("0.5mbit").unwrap()], BACK), Some(500_000));
        assert_eq!(choose(&[rate("100Mbit").unwrap()], BACK), Some(100_000_000));
        assert_eq!(choose(&[limit("7").unwrap()], BACK), Some(7));
    }

    #[test]
    fn what_is_no_value_is_told_what_one_looks_like() {
        for bad in ["", "20", "ms", "-1ms", "1h", "4000s", "1e3s", "1..2s", "20 ms", "left=1s"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        for bad in ["", "1", "0.1", "101%", "-1%", "%", "1%%", "nan%", "up=1%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
        for bad in ["", "100", "0mbit", "100mbps", "100M", "1e99gbit", "99999gbit"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
        for bad in ["", "0", "1000001", "-1", "1k", "1.5"] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}

//! Lines on two logarithmic axes.

use std::fmt::Write;

/// Points joined by a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What the key calls it.
    pub name: String,
    /// Both numbers are positive.
    pub points: Vec<(f64, f64)>,
}

/// Lines to compare.
pub struct Plot<'a> {
    /// Above all.
    pub title: &'a str,
    /// What the horizontal axis shows.
    pub x: &'a str,
    /// What the vertical axis shows.
    pub y: &'a str,
    /// The first are told apart best.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;

/// Told apart by people with any sight (Okabe and Ito), then dashed.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];
const DASHES: [&str; 3] = ["none", "6 3", "2 3"];

impl Plot<'_> {
    /// The drawing, a whole SVG file.
    pub fn svg(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let range = |of: fn(&(f64, f64)) -> f64| {
            let low = points().map(of).fold(f64::INFINITY, f64::min);
            let high = points().map(of).fold(0.0, f64::max);
            if low <= high { (low, high.max(low * 1.01)) } else { (1.0, 10.0) }
        };
        let (x_low, x_high) = range(|point| point.0);
        let (y_low, y_high) = range(|point| point.1);
        let x_at =
            |x: f64| LEFT + (x / x_low).ln() / (x_high / x_low).ln() * (WIDTH - LEFT - RIGHT);
        let y_at = |y: f64| {
            HEIGHT - BOTTOM - (y / y_low).ln() / (y_high / y_low).ln() * (HEIGHT - TOP - BOTTOM)
        };
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}</text>",
            self.title
        )?;
        let mut xs: Vec<f64> = points().map(|point| point.0).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let bottom = HEIGHT - BOTTOM;
        for x in xs {
            let at = x_at(x);
            grid(out, (at, TOP), (at, bottom))?;
            text(out, (at, bottom + 18.0), "middle", &x.to_string())?;
        }
        for y in ticks(y_low, y_high) {
            let at = y_at(y);
            grid(out, (LEFT, at), (WIDTH - RIGHT, at))?;
            text(out, (LEFT - 8.0, at + 4.0), "end", &y.to_string())?;
        }
        text(out, (LEFT + 300.0, HEIGHT - 16.0), "middle", self.x)?;
        text(out, (LEFT - 8.0, TOP - 8.0), "end", self.y)?;
        for (turn, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[turn % COLOURS.len()];
            let dash = DASHES[turn / COLOURS.len() % DASHES.len()];
            let style = format!(
                "fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\""
            );
            let path: Vec<String> = line
                .points
                .iter()
                .map(|&(x, y)| format!("{:.1},{:.1}", x_at(x), y_at(y)))
                .collect();
            writeln!(out, "<polyline points=\"{}\" {style}/>", path.join(" "))?;
            let (x, y) = (WIDTH - RIGHT + 16.0, TOP + 18.0 * turn as f64);
            let key = format!("{x},{y} {},{y}", x + 28.0);
            writeln!(out, "<polyline points=\"{key}\" {style}/>")?;
            text(out, (x + 36.0, y + 4.0), "start", &line.name)?;
        }
        writeln!(out, "</svg>")
    }
}

fn grid(out: &mut String, from: (f64, f64), to: (f64, f64)) -> std::fmt::Result {
    writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#dddddd\"/>",
        from.0, from.1, to.0, to.1
    )
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, text: &str) -> std::fmt::Result {
    writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>",
        at.0, at.1
    )
}

/// 1, 2, 5, 10, 20...
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade)));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_every_line_and_no_stray_number() {
        let line = |name: &str, points| Line { name: name.to_owned(), points };
        let lines = vec![
            line("one", vec![(64.0, 1.0), (1500.0, 30.0)]),
            line("two", vec![(64.0, 2.0)]),
            line("none", vec![]),
        ];
        let svg = Plot { title: "t", x: "x", y: "y", lines }.svg();
        for name in ["one", "two", "none"] {
            assert!(svg.contains(&format!(">{name}</text>")));
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn ticks_lie_within_the_axis() {
        assert_eq!(ticks(0.9, 11.0), [1.0, 2.0, 5.0, 10.0]);
    }
}

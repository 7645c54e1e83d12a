//! `stdpkt ls --watch` on a terminal: redrawn in place, sorted and ended by keys.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use anyhow::{Context, Result};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};

use super::PERIOD;
use super::links::{End, Key, Link};
use super::rates::{Rate, Rates};
use super::report::Report;

/// So many looks back goes a spark line.
const HISTORY: usize = 20;
/// Lines that a page key goes up or down.
const PAGE: isize = 10;
/// Columns that a name has at least, so that on a narrow terminal the rest gives way.
const NAME: u16 = 12;
/// Heights of a spark line's bars, from nothing to all.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// By what the lines are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Name,
    Packets,
    Bits,
    Drops,
    Stalls,
    Fill,
}

impl Sort {
    /// What a key sorts by.
    fn by(key: char) -> Option<Sort> {
        Some(match key {
            'n' => Sort::Name,
            'p' => Sort::Packets,
            'b' => Sort::Bits,
            'd' => Sort::Drops,
            's' => Sort::Stalls,
            'f' => Sort::Fill,
            _ => return None,
        })
    }
}

/// Redraws every second until `q`, Escape or Ctrl-C.
///
/// # Errors
/// Those of `look` and of the terminal.
pub fn run(look: impl Fn() -> Result<Report>) -> Result<()> {
    let mut terminal = ratatui::try_init().context("standard output")?;
    let ended = watch(&mut terminal, look);
    ratatui::restore();
    ended
}

fn watch(terminal: &mut DefaultTerminal, look: impl Fn() -> Result<Report>) -> Result<()> {
    let mut view = View::new();
    loop {
        view.look(look()?);
        let next = Instant::now() + PERIOD;
        loop {
            terminal.draw(|frame| view.draw(frame)).context("standard output")?;
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left).context("standard input")? {
                break;
            }
            if let Event::Key(key) = event::read().context("standard input")?
                && key.kind == KeyEventKind::Press
            {
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                    KeyCode::Char('c') if key.modifiers == KeyModifiers::CONTROL => return Ok(()),
                    KeyCode::Char(key) => view.sort = Sort::by(key).unwrap_or(view.sort),
                    KeyCode::Up => view.scroll(-1),
                    KeyCode::Down => view.scroll(1),
                    KeyCode::PageUp => view.scroll(-PAGE),
                    KeyCode::PageDown => view.scroll(PAGE),
                    _ => {}
                }
            }
        }
    }
}

/// What is on the screen.
struct View {
    report: Option<Report>,
    rates: Rates,
    history: HashMap<Key, VecDeque<f64>>,
    sort: Sort,
    /// Lines above the first that is shown.
    above: usize,
    colours: bool,
}

impl View {
    fn new() -> View {
        View {
            report: None,
            rates: Rates::default(),
            history: HashMap::new(),
            sort: Sort::Name,
            above: 0,
            colours: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    fn look(&mut self, report: Report) {
        self.rates.look(&report.links, Instant::now());
        self.history.retain(|key, _| report.links.iter().any(|link| link.key() == *key));
        for link in &report.links {
            let bits = self.rates.of(link).map_or(0.0, |rate| rate.bits);
            let history = self.history.entry(link.key()).or_default();
            history.push_back(bits);
            if history.len() > HISTORY {
                history.pop_front();
            }
        }
        self.report = Some(report);
    }

    /// Shows lines further down, or up; the last one stays in sight.
    fn scroll(&mut self, lines: isize) {
        let links = self.report.as_ref().map_or(0, |report| report.links.len());
        self.above = self.above.saturating_add_signed(lines).min(links.saturating_sub(1));
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let Some(report) = &self.report else { return };
        let [top, foot] =
            Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
        let bold = Style::default().add_modifier(Modifier::BOLD);
        let head = ["FROM", "TO", "FORM", "PACKETS/S", "BIT/S", "DROPS", "STALLS", "FILL", ""];
        let widths = [
            Constraint::Min(NAME),
            Constraint::Min(NAME),
            Constraint::Length(8),
            Constraint::Length(10),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(8),
            Constraint::Length(5),
            Constraint::Length(HISTORY as u16),
        ];
        let sorted = self.sorted(&report.links);
        let above = self.above.min(sorted.len().saturating_sub(1));
        let rows = sorted.into_iter().skip(above).map(|link| self.row(link));
        frame.render_widget(Table::new(rows, widths).header(Row::new(head).style(bold)), top);
        let functions = report.functions.len();
        let keys = format!(
            "{functions} functions, {} links | sort by n)ame p)ackets b)its d)rops s)talls f)ill | up, down | q)uit",
            report.links.len()
        );
        frame.render_widget(Paragraph::new(keys).style(bold), foot);
    }

    fn sorted<'a>(&self, links: &'a [Link]) -> Vec<&'a Link> {
        let mut sorted: Vec<&Link> = links.iter().collect();
        let rate = |link: &Link| self.rates.of(link).unwrap_or_default();
        sorted.sort_by_key(|link| (name(link.from.as_ref()), name(link.to.as_ref())));
        match self.sort {
            Sort::Name => {}
            // Rates are whole and positive enough to be compared so.
            Sort::Packets => sorted.sort_by_key(|link| Reverse(rate(link).packets as u64)),
            Sort::Bits => sorted.sort_by_key(|link| Reverse(rate(link).bits as u64)),
            Sort::Drops => sorted.sort_by_key(|link| Reverse(link.drops())),
            Sort::Stalls => sorted.sort_by_key(|link| Reverse(link.stalls())),
            Sort::Fill => sorted.sort_by_key(|link| Reverse(fill(link))),
        }
        sorted
    }

    fn row(&self, link: &Link) -> Row<'static> {
        let Rate { packets, bits } = self.rates.of(link).unwrap_or_default();
        let spark = self.history.get(&link.key()).map(spark).unwrap_or_default();
        let right = |text: String| Line::from(text).right_aligned();
        let mut row = Row::new(vec![
            Line::from(name(link.from.as_ref())),
            Line::from(name(link.to.as_ref())),
            Line::from(link.form),
            right(short(packets)),
            right(short(bits)),
            right(link.drops().to_string()),
            right(link.stalls().to_string()),
            right(fill(link).map_or_else(|| "-".to_owned(), |fill| format!("{fill}%"))),
            Line::from(spark),
        ]);
        if self.colours && link.drops() > 0 {
            row = row.style(Style::default().fg(Color::Red));
        } else if self.colours && link.form == "waiting" {
            row = row.style(Style::default().fg(Color::Yellow));
        }
        row
    }
}

fn name(end: Option<&End>) -> String {
    let Some(end) = end else { return "-".to_owned() };
    let interface = end.interface.as_ref().map_or(String::new(), |name| format!(":{name}"));
    format!("{}{interface}", end.called())
}

/// How full a ring is, in percent.
fn fill(link: &Link) -> Option<u64> {
    Some(link.used_bytes? * 100 / link.capacity_bytes?.max(1))
}

/// A number with a suffix.
fn short(number: f64) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut number, mut unit) = (number, 0);
    while number >= 999.5 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{number:.0}"),
        _ => format!("{number:.1}{}", UNITS[unit]),
    }
}

/// A bar for each look, the highest of which is as high as there is.
fn spark(history: &VecDeque<f64>) -> String {
    let most = history.iter().copied().fold(0.0, f64::max);
    let last = (BARS.len() - 1) as f64;
    let bar = |bits: &f64| BARS[if most > 0.0 { (bits / most * last).ceil() as usize } else { 0 }];
    history.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use crate::ls::report::VERSION;

    fn screen(view: &View) -> String {
        screen_of(view, 120)
    }

    fn screen_of(view: &View, columns: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, 6)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content().chunks(columns.into());
        lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>() + "\n").collect()
    }

    #[test]
    fn links_are_sorted_by_what_was_asked_for() {
        let mut view = View::new();
        let mut lossy = Link::of_tests("ring", Some(End::of_tests(1, "z", "right")), None);
        lossy.from.as_mut().unwrap().drops = Some(7);
        let fine = Link::of_tests("ring", Some(End::of_tests(2, "a", "right")), None);
        view.look(Report {
            version: VERSION,
            functions: vec![],
            links: vec![lossy, fine],
            missing: 0,
        });
        let at = |screen: &str, what: &str| screen.find(what).unwrap_or_else(|| panic!("{screen}"));
        let by_name = screen(&view);
        assert!(at(&by_name, "a:right") < at(&by_name, "z:right"), "{by_name}");
        assert!(by_name.contains("q)uit") && by_name.contains("PACKETS/S"), "{by_name}");
        view.sort = Sort::by('d').unwrap();
        let by_drops = screen(&view);
        assert!(at(&by_drops, "z:right") < at(&by_drops, "a:right"), "{by_drops}");
        // Who it is, whatever else has no room.
        for columns in [40, 80] {
            let narrow = screen_of(&view, columns);
            assert!(narrow.contains("z:right") && narrow.contains("a:right"), "{narrow}");
        }
        view.scroll(1);
        let below = screen(&view);
        assert!(!below.contains("z:right") && below.contains("a:right"), "{below}");
        view.scroll(PAGE);
        assert!(screen(&view).contains("a:right"));
        view.scroll(-PAGE);
        assert!(screen(&view).contains("z:right"));
    }

    #[test]
    fn numbers_and_bars_are_short() {
        for (number, text) in [(0.0, "0"), (999.0, "999"), (1000.0, "1.0k"), (2.5e10, "25.0G")] {
            assert_eq!(short(number), text);
        }
        assert_eq!(spark(&VecDeque::from([0.0, 1.0, 8.0])), " ▁█");
        assert_eq!(spark(&VecDeque::from([0.0])), " ");
    }
}

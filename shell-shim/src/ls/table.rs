//! Links as a table.

use comfy_table::{CellAlignment, Table, presets};

use super::links::{End, Link};
use super::rates::Rates;

/// A line for each link; with rates, what passes in a second.
pub fn table(links: &[Link], rates: Option<&Rates>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let mut head = vec!["FROM", "TO", "FORM", "PIPE", "FRAMES", "BYTES", "DROPS", "WAITING"];
    let flows = links.iter().any(|link| link.flows.is_some());
    if flows {
        head.push("FLOWS");
    }
    if rates.is_some() {
        head.extend(["PACKETS/S", "GBIT/S"]);
    }
    table.set_header(head);
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |n| n.to_string());
    for link in links {
        let mut row = vec![
            name(link.from.as_ref()),
            name(link.to.as_ref()),
            link.form.to_owned(),
            link.pipe.clone(),
            number(link.counted(|end| end.frames)),
            number(link.counted(|end| end.bytes)),
            link.drops().to_string(),
            number(link.used_bytes),
        ];
        if flows {
            row.push(link.flows.as_ref().map_or("-".to_owned(), |flows| match flows.takes_new {
                true => flows.now.to_string(),
                false => format!("{}, no new", flows.now),
            }));
        }
        if let Some(rates) = rates {
            let rate = rates.of(link);
            row.push(rate.map_or("-".into(), |rate| format!("{:.0}", rate.packets)));
            row.push(rate.map_or("-".into(), |rate| format!("{:.3}", rate.bits / 1e9)));
        }
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `1234:right fw`, or `1234 cat` of another program.
fn name(end: Option<&End>) -> String {
    let Some(end) = end else { return "-".to_owned() };
    let pid = end.pid.map_or("gone".to_owned(), |pid| pid.to_string());
    let interface = end.interface.as_ref().map_or(String::new(), |name| format!(":{name}"));
    format!("{pid}{interface} {}", end.called()).trim_end().to_owned()
}

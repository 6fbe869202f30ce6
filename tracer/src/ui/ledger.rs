//! The books as a person checks them: `arrived = delivered + forwarded + …`.

use super::format::{compact, count, signed, width};
use crate::report::{Ledger, Rates, Report};

/// What the books are called. Rates are of the last 2 s, see [`crate::model::growth`].
pub const TITLE: &str = "Ledger, in packets; rates of the last 2 s";

/// One column of the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Packets since the start.
    pub total: i128,
    /// Packets per second, rounded such that the columns add up.
    pub rate: String,
}

const NAMES: [&str; 7] = [
    "arrived",
    "delivered",
    "forwarded",
    "answered",
    "dropped",
    "queued",
    "unexplained",
];

/// The columns of a report's books, `arrived` first.
#[must_use]
pub fn columns(report: &Report) -> [Column; 7] {
    let Ledger {
        arrived,
        delivered,
        forwarded,
        answered,
        dropped,
        queued,
        unexplained,
    } = report.ledger;
    let totals = [
        arrived.into(),
        delivered.into(),
        forwarded.into(),
        answered.into(),
        dropped.into(),
        queued.into(),
        unexplained.into(),
    ];
    let rates = balanced(&report.rates);
    std::array::from_fn(|i| Column {
        name: NAMES[i],
        total: totals[i],
        rate: rates[i].clone(),
    })
}

/// The rates as text, rounded such that what is shown adds up: each is at most one step from its true value.
///
/// Queues have no rate of their own: theirs is what the other columns leave, that is how fast they grow.
fn balanced(rates: &Rates) -> [String; 7] {
    let Rates {
        arrived,
        delivered,
        forwarded,
        answered,
        dropped,
        unexplained,
        ..
    } = *rates;
    let queued = arrived - delivered - forwarded - answered - dropped - unexplained;
    let parts = [delivered, forwarded, answered, dropped, queued, unexplained];
    // A tenth is a step where everything is small.
    let scale = if parts.iter().chain([&arrived]).all(|rate| rate.abs() < 10.0) {
        10.0
    } else {
        1.0
    };
    // Differences of floating-point numbers leave dust, which is nobody's packet.
    let parts = parts.map(|rate| (rate * scale * 1e6).round() / 1e6);
    let mut steps = parts.map(|part| part.floor() as i64);
    let mut missing = (arrived * scale).round() as i64 - steps.iter().sum::<i64>();
    let mut order: Vec<usize> = (0..parts.len()).filter(|&i| parts[i].fract() != 0.0).collect();
    let fraction = |i: usize| parts[i] - parts[i].floor();
    order.sort_by(|&a, &b| fraction(b).total_cmp(&fraction(a)));
    for i in order {
        if missing > 0 {
            steps[i] += 1;
            missing -= 1;
        }
    }
    let text = |steps: i64| {
        if scale > 1.0 && steps != 0 {
            format!("{:.1}", steps as f64 / scale)
        } else {
            signed(steps)
        }
    };
    let shown = [
        steps.iter().sum(),
        steps[0],
        steps[1],
        steps[2],
        steps[3],
        steps[4],
        steps[5],
    ];
    shown.map(|steps| format!("{}/s", text(steps)))
}

/// Names, totals and rates side by side in at most `room` columns, `None` where there is no room.
#[must_use]
pub fn across(report: &Report, room: usize) -> Option<[String; 3]> {
    let columns = columns(report);
    let full = columns.each_ref().map(|column| whole(column.total));
    let short = columns.each_ref().map(|column| compact(clamp(column.total)));
    [full, short].into_iter().find_map(|totals| {
        let names = columns.each_ref().map(|column| column.name.to_owned());
        let rates = columns.each_ref().map(|column| column.rate.clone());
        let widths: Vec<usize> = (0..columns.len())
            .map(|i| width(&names[i]).max(width(&totals[i])).max(width(&rates[i])))
            .collect();
        let rows = [names, totals, rates].map(|row| {
            let mut line = String::new();
            for (i, cell) in row.iter().enumerate() {
                line.push_str(["", " = ", " + "][i.min(2)]);
                line.push_str(&" ".repeat(widths[i] - width(cell)));
                line.push_str(cell);
            }
            line
        });
        (width(&rows[0]) <= room).then_some(rows)
    })
}

/// The totals as one sentence.
#[must_use]
pub fn totals(report: &Report) -> String {
    sentence(report, |column| whole(column.total))
}

/// The rates as one sentence.
#[must_use]
pub fn rates(report: &Report) -> String {
    sentence(report, |column| column.rate.clone())
}

fn sentence(report: &Report, number: impl Fn(&Column) -> String) -> String {
    let mut text = String::new();
    for (i, column) in columns(report).iter().enumerate() {
        text.push_str(["", " = ", " + "][i.min(2)]);
        text.push_str(&format!("{} {}", column.name, number(column)));
    }
    text
}

/// The books as a column of sums.
#[must_use]
pub fn down(report: &Report) -> Vec<String> {
    let columns = columns(report);
    let totals = columns.each_ref().map(|column| whole(column.total));
    let total_width = totals
        .iter()
        .map(|total| width(total))
        .max()
        .unwrap_or(0)
        .max("total".len());
    let rate_width = columns
        .iter()
        .map(|column| width(&column.rate))
        .max()
        .unwrap_or(0)
        .max("rate".len());
    let row = |sign: &str, name: &str, total: &str, rate: &str| {
        format!("{sign:1} {name:11}  {total:>total_width$}  {rate:>rate_width$}")
    };
    let mut lines = vec![row("", "", "total", "rate")];
    for (i, column) in columns.iter().enumerate() {
        lines.push(row(
            ["", "=", "+"][i.min(2)],
            column.name,
            &totals[i],
            &column.rate,
        ));
    }
    lines
}

fn clamp(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn whole(number: i128) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!(
        "{sign}{}",
        count(u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    fn shown(rates: &Rates) -> Vec<f64> {
        balanced(rates)
            .iter()
            .map(|text| text.trim_end_matches("/s").replace(',', "").parse().unwrap())
            .collect()
    }

    #[test]
    fn rates_add_up_as_shown_and_stay_within_a_step_of_the_truth() {
        for n in 0..2000_u32 {
            let x = f64::from(n);
            let rates = Rates {
                arrived: x * 0.73 + 4.0,
                delivered: x * 0.31,
                forwarded: x * 0.11 + 0.3,
                answered: 1.0 / 3.0,
                dropped: x * 0.21,
                unexplained: -x * 0.0007,
                ..Rates::default()
            };
            let shown = shown(&rates);
            let sum: f64 = shown[1..].iter().sum();
            assert!((shown[0] - sum).abs() < 1e-6, "{rates:?} {shown:?}");
            let truth = [
                rates.arrived,
                rates.delivered,
                rates.forwarded,
                rates.answered,
                rates.dropped,
            ];
            for (shown, truth) in shown.iter().zip(truth) {
                assert!((shown - truth).abs() <= 1.0, "{rates:?}");
            }
        }
    }

    #[test]
    fn dust_is_no_packet() {
        let rates = Rates {
            arrived: 0.3,
            delivered: 0.1,
            dropped: 0.2,
            ..Rates::default()
        };
        assert_eq!(
            balanced(&rates),
            ["0.3/s", "0.1/s", "0/s", "0/s", "0.2/s", "0/s", "0/s"]
        );
    }

    #[test]
    fn every_size_of_number_fits_80_columns() {
        let mut report = sample::healthy();
        for power in 0..19 {
            report.ledger.arrived = 10_u64.pow(power) * 9;
            report.ledger.delivered = report.ledger.arrived;
            let rows = across(&report, 80).unwrap();
            assert!(rows.iter().all(|row| width(row) <= 80), "{rows:#?}");
        }
        assert!(across(&report, 60).is_none());
    }

    #[test]
    fn a_negative_residual_is_shown() {
        let mut report = sample::healthy();
        report.ledger.unexplained = -5;
        assert!(totals(&report).ends_with("unexplained -5"));
        assert!(down(&report).last().unwrap().contains("-5"));
    }
}

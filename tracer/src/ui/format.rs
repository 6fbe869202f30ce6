//! Numbers, times and text as people read them.

use std::borrow::Cow;

use jiff::Timestamp;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use crate::numbers::thousands as count;

/// `-1,234`
#[must_use]
pub fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", count(number.unsigned_abs()))
}

/// At most seven characters: `12,345` up to there, then `123.5k`, `12.3M`, `1.23G` …
#[must_use]
pub fn compact(number: i64) -> String {
    let magnitude = number.unsigned_abs();
    if magnitude < 100_000 {
        return signed(number);
    }
    let sign = if number < 0 { "-" } else { "" };
    format!(
        "{sign}{}",
        scaled(magnitude as f64, 1000.0, &["", "k", "M", "G", "T", "P", "E"], "")
    )
}

/// Per second: one decimal below ten, `0.4/s`, `12/s`, `1,234/s`. A trickle is never shown as nothing.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second == 0.0 {
        "0/s".to_owned()
    } else if per_second.abs() < 0.05 {
        "<0.1/s".to_owned()
    } else if per_second.abs() < 9.95 {
        format!("{per_second:.1}/s")
    } else {
        format!("{}/s", signed(per_second.round() as i64))
    }
}

/// `512 B`, `1.50 kB`, `15.2 MB`: powers of 1000, as for everything on a wire.
#[must_use]
pub fn bytes(number: f64) -> String {
    scaled(
        number.max(0.0),
        1000.0,
        &["B", "kB", "MB", "GB", "TB", "PB", "EB"],
        " ",
    )
}

/// Three or four significant digits and a unit.
fn scaled(number: f64, step: f64, units: &[&str], space: &str) -> String {
    let mut value = number;
    let mut unit = 0;
    // 999.95 would be shown as 1000.0
    while value >= step - 0.05 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let decimals = match (unit, value) {
        (0, _) => 0,
        (_, value) if value < 9.995 => 2,
        _ => 1,
    };
    format!("{value:.decimals$}{space}{}", units[unit])
}

/// `0.4 s`, `12 s`, `4 min 12 s`, `3 h 5 min`, `2 d 4 h`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "0 s".to_owned();
    }
    if seconds < 9.95 && seconds.fract() != 0.0 {
        return format!("{seconds:.1} s");
    }
    let two = |high: u64, high_unit: &str, low: u64, low_unit: &str| match low {
        0 => format!("{high} {high_unit}"),
        _ => format!("{high} {high_unit} {low} {low_unit}"),
    };
    match seconds.round() as u64 {
        whole @ 0..60 => format!("{whole} s"),
        whole @ 60..3600 => two(whole / 60, "min", whole % 60, "s"),
        whole @ 3600..86400 => two(whole / 3600, "h", whole % 3600 / 60, "min"),
        whole => two(whole / 86400, "d", whole % 86400 / 3600, "h"),
    }
}

/// As [`seconds`], for tables: `0.4s`, `12s`, `4m12s`, `3h05m`, `2d04h`.
#[must_use]
pub fn brief(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "0s".to_owned();
    }
    if seconds < 9.95 && seconds.fract() != 0.0 {
        return format!("{seconds:.1}s");
    }
    match seconds.round() as u64 {
        whole @ 0..60 => format!("{whole}s"),
        whole @ 60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        whole @ 3600..86400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        whole => format!("{}d{:02}h", whole / 86400, whole % 86400 / 3600),
    }
}

/// The time of day of an RFC 3339 time in UTC, `06:14:07`; the text itself where it is none.
#[must_use]
pub fn time_of_day(rfc3339: &str) -> String {
    match rfc3339.parse::<Timestamp>() {
        Ok(time) => {
            let second = time.as_second().rem_euclid(86400);
            format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
        }
        Err(_) => clean(rfc3339).into_owned(),
    }
}

/// As [`time_of_day`], with the day where it is not the day of `reference`.
#[must_use]
pub fn moment(rfc3339: &str, reference: &str) -> String {
    match (day(rfc3339), day(reference)) {
        (Some(day), Some(other)) if day != other => format!("{day} {}", time_of_day(rfc3339)),
        _ => time_of_day(rfc3339),
    }
}

/// `10-11 06:14:07` of an RFC 3339 time in UTC, with its year where that is not the one of `reference`.
#[must_use]
pub fn date_and_time(rfc3339: &str, reference: &str) -> String {
    let (year, date) = (rfc3339.get(..4), rfc3339.get(5..10).unwrap_or_default());
    let year = year.filter(|year| reference.get(..4) != Some(year));
    let year = year.map_or(String::new(), |year| format!("{year}-"));
    format!("{year}{date} {}", time_of_day(rfc3339))
}

/// The day in UTC of an RFC 3339 time, `2023-10-10`.
#[must_use]
pub fn day(rfc3339: &str) -> Option<String> {
    // Timestamps are displayed in UTC, the day first.
    let time = rfc3339.parse::<Timestamp>().ok()?.to_string();
    time.split('T').next().map(str::to_owned)
}

/// Seconds from one RFC 3339 time to another, not below 0; `None` where either is none.
#[must_use]
pub fn seconds_between(from: &str, to: &str) -> Option<f64> {
    let (from, to) = (from.parse::<Timestamp>().ok()?, to.parse::<Timestamp>().ok()?);
    Some((to.as_nanosecond() - from.as_nanosecond()).max(0) as f64 / 1e9)
}

/// `1 packet`, `1,234 packets`.
#[must_use]
pub fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Columns that a text takes on a terminal.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// Control characters shown as `?`: names of processes may hold escape sequences. The arrow of a flow in a
/// sentence is written as in the tables, so that one flow looks alike everywhere, on any terminal.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() || c == '→') {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '→' => cleaned.push_str("->"),
            c if c.is_control() => cleaned.push('?'),
            c => cleaned.push(c),
        }
    }
    Cow::Owned(cleaned)
}

/// At most `columns` wide; what is cut off is marked with `~`.
#[must_use]
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let mut kept = head(text, columns - 1).to_owned();
    kept.push('~');
    kept
}

/// At most `columns` wide, cut in the middle: both ends of a flow or a path tell the most.
#[must_use]
pub fn fit_middle(text: &str, columns: usize) -> String {
    if width(text) <= columns || columns < 5 {
        return fit(text, columns);
    }
    let tail_columns = (columns - 1) / 2;
    let mut tail = text.len();
    let mut used = 0;
    for (index, c) in text.char_indices().rev() {
        used += c.width().unwrap_or(0);
        if used > tail_columns {
            break;
        }
        tail = index;
    }
    format!("{}~{}", head(text, columns - 1 - tail_columns), &text[tail..])
}

/// The longest beginning that is at most `columns` wide.
fn head(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (index, c) in text.char_indices() {
        used += c.width().unwrap_or(0);
        if used > columns {
            return &text[..index];
        }
    }
    text
}

/// Lines of at most `columns`, broken between words; a word that is longer is broken anywhere.
/// Every line has the first one's indentation. Never empty.
#[must_use]
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let text = clean(text);
    let body = text.trim_start_matches(' ');
    let indent = (text.len() - body.len()).min(columns / 2);
    let room = (columns - indent).max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in body.split(' ').filter(|word| !word.is_empty()) {
        let mut rest = word;
        if used > 0 {
            if used + 1 + width(rest) <= room {
                push(&mut lines, " ");
                used += 1;
            } else {
                lines.push(String::new());
                used = 0;
            }
        }
        while width(rest) > room {
            // A wide character on a line of one column cannot be broken further.
            let cut = head(rest, room)
                .len()
                .max(rest.chars().next().map_or(0, char::len_utf8));
            if cut == rest.len() {
                break;
            }
            push(&mut lines, &rest[..cut]);
            lines.push(String::new());
            rest = &rest[cut..];
        }
        push(&mut lines, rest);
        used += width(rest);
    }
    let indent = " ".repeat(indent);
    lines.into_iter().map(|line| format!("{indent}{line}")).collect()
}

fn push(lines: &mut [String], text: &str) {
    if let Some(last) = lines.last_mut() {
        last.push_str(text);
    }
}

/// As [`wrap`]; what goes on of a member of a list, which is indented, stands further in than its beginning.
#[must_use]
pub fn wrap_item(text: &str, columns: usize) -> Vec<String> {
    const FURTHER: &str = "  ";
    if !text.starts_with(FURTHER) || width(text) <= columns || columns < 40 {
        return wrap(text, columns);
    }
    let mut parts = wrap(text, columns - FURTHER.len());
    for part in parts.iter_mut().skip(1) {
        part.insert_str(0, FURTHER);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_another_year_has_it() {
        let told = |now| date_and_time("2025-06-24T14:36:25.000Z", now);
        assert_eq!(told("2025-12-31T23:59:59Z"), "06-24 14:36:25");
        assert_eq!(told("2026-11-28T00:00:00Z"), "2025-06-24 14:36:25");
    }

    #[test]
    fn counts_have_thousands_separators() {
        assert_eq!(
            [0, 999, 1000, 1_234_567, u64::MAX].map(count),
            ["0", "999", "1,000", "1,234,567", "18,446,744,073,709,551,615"]
        );
        assert_eq!(
            [-1_234_567, i64::MIN].map(signed),
            ["-1,234,567", "-9,223,372,036,854,775,808"]
        );
    }

    #[test]
    fn compact_numbers_stay_short() {
        assert_eq!(
            [
                99_999,
                100_000,
                123_456,
                -12_345_678,
                999_960,
                1_234_567_890,
                i64::MAX
            ]
            .map(compact),
            ["99,999", "100.0k", "123.5k", "-12.3M", "1.00M", "1.23G", "9.22E"]
        );
    }

    #[test]
    fn a_trickle_is_not_nothing() {
        assert_eq!(
            [0.0, 0.01, 0.44, 9.96, 1234.5, -3.0, f64::NAN].map(rate),
            ["0/s", "<0.1/s", "0.4/s", "10/s", "1,235/s", "-3.0/s", "0/s"]
        );
    }

    #[test]
    fn bytes_and_seconds_have_units() {
        assert_eq!(
            [0.0, 999.0, 1500.0, 999_960.0, 15.24e6].map(bytes),
            ["0 B", "999 B", "1.50 kB", "1.00 MB", "15.2 MB"]
        );
        assert_eq!(
            [0.4, 12.0, 59.6, 252.0, 11_100.0, 187_200.0].map(seconds),
            ["0.4 s", "12 s", "1 min", "4 min 12 s", "3 h 5 min", "2 d 4 h"]
        );
        assert_eq!(
            [0.4, 12.0, 59.6, 252.0, 11_100.0, 187_200.0].map(brief),
            ["0.4s", "12s", "1m00s", "4m12s", "3h05m", "2d04h"]
        );
    }

    #[test]
    fn times_are_read_and_damage_is_shown() {
        assert_eq!(time_of_day("2023-10-10T06:14:07.412Z"), "06:14:07");
        assert_eq!(time_of_day("2023-10-10T08:14:07+02:00"), "06:14:07");
        assert_eq!(time_of_day("soon\x1b"), "soon?");
        assert_eq!(moment("2023-10-10T06:14:07Z", "2023-10-10T23:00:00Z"), "06:14:07");
        assert_eq!(
            moment("2023-10-10T23:14:07-02:00", "2023-10-10T23:59:00Z"),
            "2023-10-11 01:14:07"
        );
        assert_eq!(moment("", "2023-10-10T23:59:00Z"), "");
        assert_eq!(
            seconds_between("2023-10-10T06:14:07.5Z", "2023-10-10T06:14:19Z"),
            Some(11.5)
        );
        assert_eq!(
            seconds_between("2023-10-10T06:14:19Z", "2023-10-10T06:14:07Z"),
            Some(0.0)
        );
        assert_eq!(seconds_between("", "2023-10-10T06:14:07Z"), None);
    }

    #[test]
    fn text_is_cut_to_its_columns() {
        assert_eq!(fit("ip_forward", 10), "ip_forward");
        assert_eq!(fit("ip_forward", 6), "ip_fo~");
        assert_eq!(fit("日本語", 4), "日~");
        assert_eq!(
            fit_middle("10.10.0.2:40000 -> 192.0.2.10:443", 15),
            "10.10.0~.10:443"
        );
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn wrapped_text_keeps_its_indentation_and_loses_no_word() {
        assert_eq!(wrap("  ab cd efghij", 6), ["  ab", "  cd", "  efgh", "  ij"]);
        assert_eq!(wrap("ab cd", 5), ["ab cd"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("日本", 1), ["日", "本"]);
    }

    #[test]
    fn no_escape_sequence_gets_through() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a?[2Jb?c");
    }
}

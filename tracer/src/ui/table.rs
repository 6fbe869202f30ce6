//! Columns that fit in a given width.

use super::format::{clean, fit, fit_middle, width};

/// How a column is set, and what it gives up where there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, cut at its end down to this width.
    Text(usize),
    /// Text, cut in its middle down to this width.
    Ends(usize),
    /// A place in the kernel: told without its offset where that has no room, then cut as text.
    Place(usize),
    /// A number: to the right, never cut.
    Number,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    title: &'static str,
    kind: Kind,
    rank: u8,
}

impl Column {
    /// A column of this title. Where there is no room, the highest `rank` goes first, 0 never;
    /// one of at least [`LUXURY`] goes before any text is cut.
    #[must_use]
    pub fn new(title: &'static str, kind: Kind, rank: u8) -> Self {
        Self { title, kind, rank }
    }
}

/// Rows under titles.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A [`Table`] set in a given width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// The titles.
    pub header: String,
    /// The rows.
    pub rows: Vec<String>,
    /// Titles of the columns that had no room.
    pub left_out: Vec<&'static str>,
}

/// Columns of this rank and above are shown only where nothing else has to give way for them.
pub const LUXURY: u8 = 6;

const GAP: usize = 2;

impl Table {
    /// An empty table of these columns.
    #[must_use]
    pub fn new(columns: Vec<Column>) -> Self {
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row; a cell that is missing is empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| clean(&cell).into_owned()).collect());
    }

    /// The table in at most `room` columns; `usize::MAX` for as wide as it gets.
    #[must_use]
    pub fn set(&self, room: usize) -> Set {
        let natural: Vec<usize> = self.natural_widths();
        let least = |index: usize| match self.columns[index].kind {
            Kind::Text(least) | Kind::Ends(least) | Kind::Place(least) => {
                natural[index].min(least.max(width(self.columns[index].title)))
            }
            Kind::Number => natural[index],
        };
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let total = |shown: &[usize], of: &dyn Fn(usize) -> usize| {
            shown.iter().map(|&index| of(index)).sum::<usize>() + GAP * shown.len().saturating_sub(1)
        };
        let mut left_out = Vec::new();
        loop {
            let tight = total(&shown, &least) > room;
            if !tight && total(&shown, &|index| natural[index]) <= room {
                break;
            }
            let from = if tight { 1 } else { LUXURY };
            let Some(worst) = shown
                .iter()
                .copied()
                .filter(|&i| self.columns[i].rank >= from)
                .max_by_key(|&i| self.columns[i].rank)
            else {
                break;
            };
            shown.retain(|&index| index != worst);
            left_out.push(self.columns[worst].title);
        }
        let mut widths = natural.clone();
        let mut excess = total(&shown, &|index| natural[index]).saturating_sub(room);
        while excess > 0 {
            // The widest gives first, one column of the screen at a time.
            let Some(&widest) = shown
                .iter()
                .filter(|&&index| widths[index] > least(index))
                .max_by_key(|&&index| widths[index])
            else {
                break;
            };
            widths[widest] -= 1;
            excess -= 1;
        }
        Set {
            header: self.line(&shown, &widths, |index| self.columns[index].title),
            rows: self
                .rows
                .iter()
                .map(|row| self.line(&shown, &widths, |index| row.get(index).map_or("", String::as_str)))
                .collect(),
            left_out,
        }
    }

    fn natural_widths(&self) -> Vec<usize> {
        self.columns
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let cells = self
                    .rows
                    .iter()
                    .filter_map(|row| row.get(index))
                    .map(|cell| width(cell));
                cells.chain([width(column.title)]).max().unwrap_or(0)
            })
            .collect()
    }

    fn line<'a>(&self, shown: &[usize], widths: &[usize], cell: impl Fn(usize) -> &'a str) -> String {
        let mut line = String::new();
        for (position, &index) in shown.iter().enumerate() {
            if position > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            let text = match self.columns[index].kind {
                Kind::Ends(_) => fit_middle(cell(index), widths[index]),
                Kind::Place(_) => fit_place(cell(index), widths[index]),
                Kind::Text(_) | Kind::Number => fit(cell(index), widths[index]),
            };
            let space = " ".repeat(widths[index].saturating_sub(width(&text)));
            match self.columns[index].kind {
                Kind::Number => {
                    line.push_str(&space);
                    line.push_str(&text);
                }
                Kind::Text(_) | Kind::Ends(_) | Kind::Place(_) => {
                    line.push_str(&text);
                    line.push_str(&space);
                }
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// `ip_forward+0x1c4`, `ip_forward`, `ip_for~`: what fits.
fn fit_place(place: &str, columns: usize) -> String {
    match place.split_once('+') {
        Some((symbol, _)) if width(place) > columns => fit(symbol, columns),
        _ => fit(place, columns),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(vec![
            Column::new("reason", Kind::Text(6), 0),
            Column::new("packets", Kind::Number, 0),
            Column::new("device", Kind::Text(6), 1),
        ]);
        table.row(["NOT_SPECIFIED", "1,234", "eth0"].map(str::to_owned));
        table.row(["NO_SOCKET", "7", "eth0"].map(str::to_owned));
        table
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let set = table().set(usize::MAX);
        assert_eq!(set.header, "reason         packets  device");
        assert_eq!(
            set.rows,
            ["NOT_SPECIFIED    1,234  eth0", "NO_SOCKET            7  eth0"]
        );
        assert!(set.left_out.is_empty());
    }

    #[test]
    fn text_gives_way_before_columns_do() {
        let set = table().set(26);
        assert_eq!(set.rows[0], "NOT_SPEC~    1,234  eth0");
        assert!(set.left_out.is_empty());
        let set = table().set(20);
        assert_eq!(set.rows[0], "NOT_SPECIF~    1,234");
        assert_eq!(set.left_out, ["device"]);
    }

    #[test]
    fn a_place_loses_its_offset_first() {
        assert_eq!(
            [16, 15, 10, 7].map(|columns| fit_place("ip_forward+0x1c4", columns)),
            ["ip_forward+0x1c4", "ip_forward", "ip_forward", "ip_for~"]
        );
    }

    #[test]
    fn numbers_are_never_cut() {
        let set = table().set(3);
        assert_eq!(set.rows[0], "NOT_S~    1,234");
    }
}

//! Variables that units give to what they run.
//!
//! Source: systemd.exec(5), "Environment"; systemd.service(5), "Command lines".

use std::collections::BTreeMap;

use super::files::Files;
use super::unit_file::UnitFile;

/// Bytes that a command line grows to by its variables, at most.
const MOST: usize = 1 << 16;

/// Values by the names of variables.
pub(super) type Variables = BTreeMap<String, String>;

/// Reads the variables of a unit, those of its files last, which count more. `expand` knows its specifiers.
pub(super) fn read(files: &mut Files, unit: &UnitFile, expand: impl Fn(&str) -> String) -> Variables {
    let mut variables = Variables::new();
    for line in unit.all("Service", "Environment") {
        variables.extend(words(&expand(line)).iter().filter_map(|word| assignment(word)));
    }
    for path in unit.all("Service", "EnvironmentFile") {
        let text = files
            .text(&expand(path.trim_start_matches('-')))
            .unwrap_or_default();
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with(['#', ';']));
        variables.extend(lines.filter_map(assignment).map(|(name, value)| {
            let value = value.trim().trim_matches(['"', '\'']).to_owned();
            (name, value)
        }));
    }
    variables
}

/// Puts into a command line what its variables stand for. Those of a shell that it runs (`$$X`) are the same.
pub(super) fn fill(line: &str, variables: &Variables) -> String {
    let line = line.replace("$$", "$");
    let (mut filled, mut rest) = (String::new(), line.as_str());
    while let Some((before, behind)) = rest.split_once('$') {
        filled.push_str(before);
        let is_in_braces = behind.starts_with('{');
        let begin = usize::from(is_in_braces);
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = behind[begin..]
            .find(|c| !is_of_name(c))
            .unwrap_or(behind.len() - begin);
        let end = begin + length;
        let is_whole = !is_in_braces || behind[end..].starts_with('}');
        match variables.get(&behind[begin..end]) {
            Some(value) if is_whole && filled.len() + value.len() <= MOST => {
                filled.push_str(value);
                rest = &behind[end + begin..];
            }
            _ => {
                filled.push('$');
                rest = behind;
            }
        }
    }
    filled + rest
}

fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    Some((name.trim().to_owned(), value.to_owned()))
}

/// The words of a line, without their quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c.is_ascii_whitespace() => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_where_they_are_known() {
        let variables = [("A", "apt-get -y"), ("B", "upgrade")];
        let variables = variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        for (line, filled) in [
            ("sh -c \"$A ${B}\"", "sh -c \"apt-get -y upgrade\""),
            ("sh -c '$$A x'", "sh -c 'apt-get -y x'"),
            ("$AB ${A ${A:-x} $C $", "$AB ${A ${A:-x} $C $"),
        ] {
            assert_eq!(fill(line, &variables), filled, "{line}");
        }
        let many = "$A".repeat(1 << 16);
        assert!(fill(&many, &variables).len() < 4 * MOST);
        assert_eq!(words("\"A=b c\" D=e"), ["A=b c", "D=e"]);
    }
}

//! Names that somebody may have meant.

/// Names that are told, at most.
const MOST: usize = 4;

/// Of these names, those that are most like `wanted`, the nearest first; none where none is like it.
pub fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut near: Vec<(usize, &str)> = names
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, name)| *distance <= wanted.len().max(2) / 2 || first(name) == first(wanted))
        .collect();
    // The sort is stable.
    near.sort_by_key(|(distance, _)| *distance);
    near.truncate(MOST);
    near.into_iter().map(|(_, name)| name).collect()
}

/// The word before the first hyphen.
fn first(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}

/// Bytes that must be changed, put in or left out to make one of the other (Levenshtein's distance).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (place, b) in row[1..].iter_mut().zip(other.bytes()) {
            let above = *place;
            left = (diagonal + usize::from(a != b)).min(above + 1).min(left + 1);
            diagonal = above;
            *place = left;
        }
        row[0] = i + 1;
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_of_two_names() {
        for (one, other, wanted) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("rp-filter", "rpfilter", 1),
        ] {
            assert_eq!(distance(one, other), wanted, "{one} {other}");
            assert_eq!(distance(other, one), wanted, "{other} {one}");
        }
    }

    #[test]
    fn a_misspelt_name_finds_what_is_like_it() {
        let names = [
            "healthy",
            "rp-filter",
            "nft-output",
            "nft-input",
            "incident",
            "pod-silent",
        ];
        let near = |wanted| nearest(wanted, names.into_iter());
        assert_eq!(near("incidnet"), ["incident"]);
        assert_eq!(near("rpfilter"), ["rp-filter"]);
        let mut alike = near("nft-policy");
        alike.sort_unstable();
        assert_eq!(alike, ["nft-input", "nft-output"]);
        assert!(near("zzzzzzzz").is_empty());
    }
}

//! Names that somebody may have meant.

use strsim::levenshtein;

/// Names that are told, at most.
const MOST: usize = 4;

/// Of these names, those that are most like `wanted`, the nearest first; none where none is like it.
pub fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut near: Vec<(usize, &str)> = names
        .map(|name| (levenshtein(wanted, name), name))
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

#[cfg(test)]
mod tests {
    use super::*;

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

//! Which known name somebody meant: the smallest number of slips between two words.

/// Names longer than this are compared with nothing.
const NAME_BYTES_MAX: usize = 64;

/// Finds the candidate with the fewest slips to `name`: at most one for each three characters. Of several the first.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (slips(&name.to_ascii_lowercase(), candidate), candidate))
        .filter(|(slips, candidate)| *slips <= 1.max(candidate.chars().count().min(name.chars().count()) / 3))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// The distance of two words: characters added, left out, mistaken, or swapped with their neighbour (the restricted
/// Damerau-Levenshtein distance).
fn slips(one: &str, two: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let two: Vec<char> = two.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in two.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == two[j - 1] && one[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(one.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_count_added_missing_mistaken_and_swapped_characters() {
        for (one, two, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("listen", "lsiten", 1),
            ("drain", "brian", 2),
            ("t1", "t1", 0),
        ] {
            assert_eq!(slips(one, two), expected, "{one} {two}");
            assert_eq!(slips(two, one), expected, "{two} {one}");
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let names = ["listen", "public", "expires_min", "expires_max"];
        assert_eq!(nearest("lissen", names), Some("listen"));
        assert_eq!(nearest("Public", names), Some("public"));
        assert_eq!(nearest("expire_min", names), Some("expires_min"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest("x", names), None);
        assert_eq!(nearest(&"listen".repeat(1000), names), None);
    }
}

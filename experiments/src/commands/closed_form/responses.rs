//! The one prompt, and everything that can be said to it.

/// The token that ends a response, and begins the prompt.
pub const END: u32 = 0;
/// The one prompt.
pub const PROMPT: [u32; 2] = [END, 1];

/// Every response of at most `longest` tokens: those that end, and those that run out of tokens.
pub fn responses(vocabulary: u32, longest: usize) -> Vec<Vec<u32>> {
    let (mut open, mut closed) = (vec![Vec::new()], Vec::new());
    for _ in 0..longest {
        let grown = open
            .iter()
            .flat_map(|begun: &Vec<u32>| (0..vocabulary).map(move |token| [begun, &[token][..]].concat()));
        let (ended, going): (Vec<_>, Vec<_>) = grown.partition(|response| response.last() == Some(&END));
        closed.extend(ended);
        open = going;
    }
    closed.extend(open);
    closed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::responses;

    #[test]
    fn the_list_is_complete_and_names_nothing_twice() {
        // Of 3 tokens, one ends: 1 + 2 + 4 * 3 responses.
        let listed = responses(3, 3);
        assert_eq!(listed.len(), 15);
        assert_eq!(listed.iter().collect::<BTreeSet<_>>().len(), 15);
        for response in &listed {
            let end = response.iter().position(|&token| token == 0);
            assert!(end.map_or(response.len() == 3, |end| end + 1 == response.len()), "{response:?}");
        }
        // A uniform policy says each with probability 3^-length.
        let mass: f64 = listed.iter().map(|response| 3f64.powi(-(response.len() as i32))).sum();
        assert!((mass - 1.0).abs() < 1e-12, "{mass}");
    }
}

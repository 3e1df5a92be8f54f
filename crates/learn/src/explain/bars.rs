//! How values are spread.

/// Values counted in ranges of equal width: `counts[i]` from `edges[i]` up to but not `edges[i + 1]`, the last range with its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    pub edges: Vec<f64>,
    pub counts: Vec<u64>,
}

/// Of finite values; `None` for none, and where their range does not fit into 64 bits. Equal values get a range of width 1 around
/// them.
pub fn bars(values: &[f64], n_bars: usize) -> Option<Bars> {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if low == high { (low - 0.5, high + 0.5) } else { (low, high) };
    let width = (high - low) / n_bars as f64;
    if n_bars == 0 || !(width.is_finite() && width > 0.0) {
        return None;
    }
    let edge = |at: usize| if at == n_bars { high } else { low + width * at as f64 };
    let edges: Vec<f64> = (0..=n_bars).map(edge).collect();
    let mut counts = vec![0; n_bars];
    for value in values {
        // The range that begins last at or below it.
        let at = edges.partition_point(|edge| edge <= value).clamp(1, n_bars);
        counts[at - 1] += 1;
    }
    Some(Bars { edges, counts })
}

#[cfg(test)]
mod tests {
    use super::*;

    // numpy.histogram (2.3) of the same values with bins=4, 5 and 2.
    #[test]
    fn counts_are_those_of_numpy() {
        let check = |values: &[f64], n_bars, edges: &[f64], counts: &[u64]| {
            let found = bars(values, n_bars).expect("a range");
            assert!(found.edges.iter().zip(edges).all(|(found, edge)| (found - edge).abs() < 1e-12), "{found:?}");
            assert_eq!((found.edges.len(), found.counts.as_slice()), (edges.len(), counts));
        };
        check(&[1.0, 2.0, 2.0, 3.5, 5.0], 4, &[1.0, 2.0, 3.0, 4.0, 5.0], &[1, 2, 1, 1]);
        check(&[-0.3, 0.1, 0.7, 0.7, 1.2], 5, &[-0.3, 0.0, 0.3, 0.6, 0.9, 1.2], &[1, 1, 0, 2, 1]);
        check(&[7.0, 7.0], 2, &[6.5, 7.0, 7.5], &[0, 2]);
    }

    #[test]
    fn what_has_no_range_has_no_bars() {
        assert_eq!(bars(&[], 4), None);
        assert_eq!(bars(&[1.0], 0), None);
        assert_eq!(bars(&[-f64::MAX, f64::MAX], 4), None);
        assert_eq!(bars(&[1e300, 1e300], 4), None, "a width that rounding loses");
    }
}

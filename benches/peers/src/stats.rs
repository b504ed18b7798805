//! Medians and quartiles.

/// The value that half of `values` are below of; NaN if there is none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 1, 2)
}

/// The lower and the upper quartile.
pub fn quartiles(values: &[f64]) -> [f64; 2] {
    [quantile(values, 1, 4), quantile(values, 3, 4)]
}

fn quantile(values: &[f64], part: usize, of: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * part + of / 2) / of).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{median, quartiles};

    #[test]
    fn of_five() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!((median(&values), quartiles(&values)), (3.0, [2.0, 4.0]));
    }

    #[test]
    fn of_none() {
        assert!(median(&[]).is_nan());
    }
}

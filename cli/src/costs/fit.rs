//! What each part of the work costs, from how long several kinds of work took, and how well that tells their times.

/// The costs, none below 0, that make the sums of `parts` times costs come closest to the times, by the squares of their relative
/// errors. A part that nothing has keeps the cost that it has in `start`.
pub fn fit<const N: usize>(work: &[([f64; N], f64)], start: [f64; N]) -> [f64; N] {
    const SWEEPS: usize = 50_000;
    // Everything in units of the time that it took.
    let rows: Vec<[f64; N]> = (work.iter())
        .map(|(parts, time)| parts.map(|part| part / time))
        .collect();
    let squares: [f64; N] = std::array::from_fn(|j| rows.iter().map(|row| row[j] * row[j]).sum());
    let mut costs = start;
    let mut errors: Vec<f64> = rows.iter().map(|row| 1.0 - dot(row, &costs)).collect();
    // One cost after another gets the best value for what the others are, again and again.
    for _ in 0..SWEEPS {
        for j in (0..N).filter(|&j| squares[j] > 0.0) {
            let slope: f64 = rows
                .iter()
                .zip(&errors)
                .map(|(row, error)| row[j] * error)
                .sum();
            let better = (costs[j] + slope / squares[j]).max(0.0);
            let step = better - costs[j];
            costs[j] = better;
            for (row, error) in rows.iter().zip(&mut errors) {
                *error -= row[j] * step;
            }
        }
    }
    costs
}

/// The sum of products.
pub fn dot<const N: usize>(parts: &[f64; N], costs: &[f64; N]) -> f64 {
    parts
        .iter()
        .zip(costs)
        .map(|(part, cost)| part * cost)
        .sum()
}

/// Spearman's rank correlation: 1 if both lists have the same order, -1 if one has the reverse of the other.
pub fn rank_correlation(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

/// The place of each value in ascending order, from 0. Equal values share the mean of their places.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal as f64 - 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_found_again_in_the_times_that_they_make() {
        let costs = [14_000.0, 700.0, 2.5, 0.0];
        let work: Vec<([f64; 4], f64)> = (1..20)
            .map(|i| {
                let parts = [1.0, f64::from(i * i % 17), f64::from(i * 37 % 1009), 0.0];
                (parts, dot(&parts, &costs))
            })
            .collect();
        let found = fit(&work, [1.0, 1.0, 1.0, 42.0]);
        for (found, cost) in found.iter().zip(&costs[..3]) {
            assert!((found / cost - 1.0).abs() < 1e-3, "{found} for {cost}");
        }
        assert_eq!(found[3], 42.0, "nothing tells what it costs");
    }

    #[test]
    fn a_cost_is_never_below_0() {
        let work = [([1.0, 1.0], 10.0), ([1.0, 2.0], 8.0), ([1.0, 3.0], 6.0)];
        assert_eq!(fit(&work, [1.0, 1.0])[1], 0.0);
    }

    #[test]
    fn orders_are_compared_by_rank_and_not_by_size() {
        let a = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(rank_correlation(&a, &[1.0, 10.0, 11.0, 1e9]), 1.0);
        assert_eq!(rank_correlation(&a, &[4.0, 3.0, 2.0, 1.0]), -1.0);
        let swapped = rank_correlation(&a, &[1.0, 3.0, 2.0, 4.0]);
        assert!((swapped - 0.8).abs() < 1e-12, "{swapped}");
        let tied = rank_correlation(&[1.0, 1.0, 2.0], &[5.0, 5.0, 6.0]);
        assert!((tied - 1.0).abs() < 1e-12, "{tied}");
    }
}

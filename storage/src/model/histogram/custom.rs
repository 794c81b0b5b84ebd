//! Custom buckets whose bounds differ: both histograms are brought to the bounds that they share.

use super::bounds::upper_bound;
use super::kahan::{Compensated, Population};
use super::spans::SideBuilder;
use super::{CUSTOM_BUCKETS_SCHEMA, FloatHistogram};

/// Whether both have custom buckets, and other bounds.
pub(super) fn bounds_differ(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    a.uses_custom_buckets() && a.custom_values != b.custom_values
}

/// The bounds that both lists, which ascend, have.
pub(super) fn shared_bounds(a: &[f64], b: &[f64]) -> Vec<f64> {
    let (mut i, mut j) = (0, 0);
    let mut shared = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x == y {
            shared.push(*x);
            i += 1;
            j += 1;
        } else if x < y {
            i += 1;
        } else {
            j += 1;
        }
    }
    shared
}

/// Adds buckets, which have `bounds`, to the cells between the `shared` bounds; the last cell reaches to +Inf.
fn add_to_cells(
    cells: &mut [Compensated],
    side: impl Iterator<Item = (i64, Compensated)>,
    bounds: &[f64],
    shared: &[f64],
) {
    for (index, population) in side {
        let upper = upper_bound(index, CUSTOM_BUCKETS_SCHEMA, bounds);
        if let Some(cell) = cells.get_mut(shared.partition_point(|bound| *bound < upper)) {
            cell.merge(population);
        }
    }
}

/// The populations of `ours`, which has the bounds of `a`, and of `b` times `sign`, in the bounds that both have.
pub(super) fn combine(
    ours: impl Iterator<Item = (i64, Compensated)>,
    a: &FloatHistogram,
    b: &FloatHistogram,
    sign: f64,
) -> (Vec<f64>, SideBuilder<Compensated>) {
    let shared = shared_bounds(&a.custom_values, &b.custom_values);
    let mut cells = vec![Compensated::default(); shared.len() + 1];
    add_to_cells(&mut cells, ours, &a.custom_values, &shared);
    let theirs = b.positive_side().map(|(index, n)| (index, Compensated::from(sign * n)));
    add_to_cells(&mut cells, theirs, &b.custom_values, &shared);
    let mut side = SideBuilder::with_capacity(cells.len());
    side.extend((0..).zip(cells).filter(|(_, cell)| !cell.is_empty()));
    (shared, side)
}

/// Whether any bucket of `current` has fewer observations than `previous`, both brought to their shared bounds.
pub(super) fn any_fell(current: &FloatHistogram, previous: &FloatHistogram) -> bool {
    let shared = shared_bounds(&current.custom_values, &previous.custom_values);
    let cells = |h: &FloatHistogram| {
        let mut cells = vec![0.0; shared.len() + 1];
        for (index, population) in h.positive_side() {
            let upper = upper_bound(index, CUSTOM_BUCKETS_SCHEMA, &h.custom_values);
            if let Some(cell) = cells.get_mut(shared.partition_point(|bound| *bound < upper)) {
                *cell += population;
            }
        }
        cells
    };
    cells(current).iter().zip(cells(previous)).any(|(now, before)| *now < before)
}

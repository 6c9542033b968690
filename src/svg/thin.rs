//! Curves with more points than a picture has columns of pixels, reduced to what can be seen.

/// At most three points for each of `columns` equal parts of the steps: the least value, the largest, and one that is no
/// number, in their order. So no peak is lost and no gap is closed. The first and the last point stay.
///
/// `points` are in order of steps.
pub(super) fn thin(points: &[(u64, f64)], columns: usize) -> Vec<(u64, f64)> {
    if points.len() <= 2 * columns {
        return points.to_vec();
    }
    let mut kept = Vec::with_capacity(3 * columns + 2);
    kept.extend(points.first());
    for part in parts(points, columns, |point| point.0) {
        let numbers = || part.iter().enumerate().filter(|(_, point)| point.1.is_finite());
        let least = numbers().min_by(|one, other| one.1.1.total_cmp(&other.1.1));
        let largest = numbers().max_by(|one, other| one.1.1.total_cmp(&other.1.1));
        let gap = part.iter().enumerate().find(|(_, point)| !point.1.is_finite());
        let mut places: Vec<usize> =
            [least, largest, gap].into_iter().flatten().map(|(place, _)| place).collect();
        places.sort_unstable();
        kept.extend(places.into_iter().map(|place| part[place]));
    }
    kept.extend(points.last());
    kept.dedup_by_key(|point| point.0);
    kept
}

/// One value for each of `columns` equal parts of the steps: the least of the low ones, and the largest of the high ones.
pub(super) fn thin_band(band: &[(u64, f64, f64)], columns: usize) -> Vec<(u64, f64, f64)> {
    if band.len() <= columns {
        return band.to_vec();
    }
    let widest = |part: &[(u64, f64, f64)]| {
        let start = (part[0].0, f64::INFINITY, f64::NEG_INFINITY);
        part.iter().fold(start, |(step, low, high), point| (step, low.min(point.1), high.max(point.2)))
    };
    let last = band.last().map(|&(step, low, high)| (step, low, high));
    let mut kept: Vec<(u64, f64, f64)> = parts(band, columns, |point| point.0).map(widest).collect();
    kept.extend(last);
    kept.dedup_by_key(|point| point.0);
    kept
}

/// Points in `columns` equal parts of the steps that they cover; parts without any are left out.
fn parts<T>(points: &[T], columns: usize, step: impl Fn(&T) -> u64 + Copy) -> impl Iterator<Item = &[T]> {
    let (first, last) = match (points.first(), points.last()) {
        (Some(first), Some(last)) => (step(first), step(last)),
        _ => (0, 0),
    };
    let width = (last.saturating_sub(first) as f64 / columns.max(1) as f64).max(1.0);
    let column = move |point: &T| ((step(point) - first) as f64 / width) as u64;
    points.chunk_by(move |one, other| column(one) == column(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_and_gaps_survive() {
        let mut points: Vec<(u64, f64)> = (0..100_000).map(|step| (step, 1.0)).collect();
        points[54_321].1 = 9.0;
        points[54_322].1 = -9.0;
        points[70_001].1 = f64::NAN;
        let kept = thin(&points, 400);
        assert!(kept.len() <= 1202, "{}", kept.len());
        assert!(kept.is_sorted_by(|one, next| one.0 < next.0), "in order, each step once");
        for step in [0, 54_321, 54_322, 99_999] {
            assert!(kept.contains(&points[step as usize]), "step {step}");
        }
        assert!(kept.iter().any(|point| point.0 == 70_001 && point.1.is_nan()));
    }

    #[test]
    fn few_points_stay_as_they_are() {
        let points = [(0, 0.5), (1_000_000, 0.25)];
        assert_eq!(thin(&points, 10), points);
        assert!(thin(&[], 10).is_empty());
        let crowded = vec![(u64::MAX, 1.0); 50];
        assert_eq!(thin(&crowded, 10), [(u64::MAX, 1.0)]);
    }

    #[test]
    fn a_band_keeps_its_extremes() {
        let mut band: Vec<(u64, f64, f64)> = (0..5_000).map(|step| (step, 0.4, 0.6)).collect();
        band[1_234] = (1_234, 0.1, 0.9);
        let kept = thin_band(&band, 100);
        assert!(kept.len() <= 101, "{}", kept.len());
        assert!(kept.iter().any(|&(_, low, high)| (low, high) == (0.1, 0.9)));
        assert_eq!(kept.last(), band.last());
    }
}

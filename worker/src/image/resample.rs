//! Resizing, equal in every bit to Pillow's `Image.resize`: its filters and their support, its weights of 22 bits, its order
//! of passes (that of version 13) and its rounding.
//!
//! No crate is equal to it: docs/decisions/0015-resizing-of-our-own.md.

use std::f64::consts::PI;

use headstart::model::Resample;

use super::Levels;

/// Bits behind the point of a weight: what 32 bits leave for a level (8) and for sums beyond 1 and below 0 (2).
const FRACTION: u32 = 32 - 8 - 2;

/// An image of another height and width.
pub(super) fn resize(image: Levels, [height, width]: [usize; 2], resample: Resample) -> Levels {
    if [height, width] == [image.height, image.width] {
        return image;
    }
    let filter = match resample {
        Resample::Nearest => return nearest(&image, [height, width]),
        Resample::Box => Filter { reach: 0.5, weight: square },
        Resample::Bilinear => Filter { reach: 1.0, weight: triangle },
        Resample::Hamming => Filter { reach: 1.0, weight: hamming },
        Resample::Bicubic => Filter { reach: 2.0, weight: cubic },
        Resample::Lanczos => Filter { reach: 3.0, weight: lanczos },
    };
    // Columns first where that saves twice as many rows as columns. The order matters, because values are rounded
    // between the passes.
    let lost = |from: usize, to: usize| from as i64 - to as i64;
    let rows_lost = lost(image.height, height);
    if rows_lost > 0 && rows_lost > 2 * lost(image.width, width) {
        return along_rows(along_columns(image, height, &filter), width, &filter);
    }
    along_columns(along_rows(image, width, &filter), height, &filter)
}

/// The level of the pixel in which the middle of each new pixel lies.
fn nearest(image: &Levels, [height, width]: [usize; 2]) -> Levels {
    let places = |from: usize, to: usize| -> Vec<usize> {
        let step = from as f64 / to as f64;
        // Steps are added up, so that their rounding errors are those of the reference.
        let mut place = step * 0.5;
        let next = |_| {
            let here = place as usize;
            place += step;
            here.min(from - 1)
        };
        (0..to).map(next).collect()
    };
    let (rows, columns, channels) =
        (places(image.height, height), places(image.width, width), image.channels);
    let mut values = Vec::with_capacity(height * width * channels);
    for row in rows {
        let row = &image.values[row * image.width * channels..][..image.width * channels];
        columns.iter().for_each(|column| values.extend_from_slice(&row[column * channels..][..channels]));
    }
    Levels { height, width, channels, values }
}

/// A filter of interpolation, which is zero beyond `reach`.
struct Filter {
    reach: f64,
    weight: fn(f64) -> f64,
}

/// One for the pixels covered.
fn square(x: f64) -> f64 {
    if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

fn hamming(x: f64) -> f64 {
    let x = x.abs();
    if x == 0.0 {
        1.0
    } else if x < 1.0 {
        libm::sin(x * PI) / (x * PI) * (0.54 + 0.46 * libm::cos(x * PI))
    } else {
        0.0
    }
}

/// Keys' cubic convolution with a = -1/2.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { libm::sin(x * PI) / (x * PI) };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

/// What one new pixel is made of: weights of neighbouring old pixels, from `first` on.
struct Window {
    first: usize,
    weights: Vec<i32>,
}

/// The windows of a side that goes from some pixels to others.
fn windows(from: usize, to: usize, filter: &Filter) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    // When an image shrinks, the filter is stretched over all pixels that become one.
    let stretch = scale.max(1.0);
    let reach = filter.reach * stretch;
    let window = |place: usize| {
        let centre = (place as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        let distance = |old: usize| (old as f64 - centre + 0.5) * (1.0 / stretch);
        let weights: Vec<f64> = (first..end).map(|old| (filter.weight)(distance(old))).collect();
        let sum: f64 = weights.iter().fold(0.0, |sum, weight| sum + weight);
        let whole = |weight: f64| {
            let weight = if sum == 0.0 { weight } else { weight / sum } * f64::from(1 << FRACTION);
            (weight + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
        };
        Window { first, weights: weights.into_iter().map(whole).collect() }
    };
    (0..to).map(window).collect()
}

/// A sum of levels with weights, rounded and clipped.
fn level(sum: i32) -> u8 {
    (sum >> FRACTION).clamp(0, 255) as u8
}

/// What sums begin with, so that cutting them off rounds.
const HALF: i32 = 1 << (FRACTION - 1);

/// Every row gets this many pixels.
fn along_rows(image: Levels, width: usize, filter: &Filter) -> Levels {
    match image.channels {
        _ if width == image.width => image,
        1 => Levels { width, values: rows::<1>(&image, width, filter), ..image },
        _ => Levels { width, values: rows::<3>(&image, width, filter), ..image },
    }
}

fn rows<const CHANNELS: usize>(image: &Levels, width: usize, filter: &Filter) -> Vec<u8> {
    let windows = windows(image.width, width, filter);
    let mut values = Vec::with_capacity(image.height * width * CHANNELS);
    for row in image.values.as_chunks::<CHANNELS>().0.chunks_exact(image.width) {
        for Window { first, weights } in &windows {
            let mut sums = [HALF; CHANNELS];
            for (old, weight) in row[*first..].iter().zip(weights) {
                for (sum, &level) in sums.iter_mut().zip(old) {
                    *sum += i32::from(level) * weight;
                }
            }
            values.extend(sums.map(level));
        }
    }
    values
}

/// Every column gets this many pixels.
fn along_columns(image: Levels, height: usize, filter: &Filter) -> Levels {
    if height == image.height {
        return image;
    }
    let length = image.width * image.channels;
    let mut values = Vec::with_capacity(height * length);
    let mut sums = vec![0; length];
    for Window { first, weights } in windows(image.height, height, filter) {
        sums.fill(HALF);
        for (row, weight) in image.values[first * length..].chunks_exact(length).zip(weights) {
            for (sum, &level) in sums.iter_mut().zip(row) {
                *sum += i32::from(level) * weight;
            }
        }
        values.extend(sums.iter().copied().map(level));
    }
    Levels { height, values, ..image }
}

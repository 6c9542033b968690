//! The size that images are resized or cropped to.

use std::fmt;

use serde_json::{Value, json};

use super::super::ModelError;
use super::super::keys::{Keys, wrong};

/// Longest side that an image is resized or cropped to, in pixels.
const LONGEST: u64 = 1 << 14;

/// The size that images are resized to, as the keys of `size` define it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This height and width, whatever the image's proportions.
    Exact([u32; 2]),
    /// The shorter side gets `edge` pixels, fewer if the longer one would have more than `longest`.
    Shortest {
        /// `shortest_edge`.
        edge: u32,
        /// `longest_edge`.
        longest: Option<u32>,
    },
    /// The largest size within this height and width.
    Within([u32; 2]),
}

impl Target {
    /// Reads `size`: an object, a list of height and width, or one number, which is a square's side where `square` and the
    /// shorter edge otherwise.
    pub(super) fn read(size: &Value, square: bool) -> Result<Target, ModelError> {
        let Value::Object(object) = size else {
            return Ok(match (size, number_or_pair("size", size)?) {
                (Value::Number(_), [edge, _]) if !square => Target::Shortest { edge, longest: None },
                (_, sides) => Target::Exact(sides),
            });
        };
        let keys = Keys::new(size)?;
        let mut names: Vec<&str> =
            object.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        match names.as_slice() {
            ["height", "width"] => Ok(Target::Exact([side(&keys, "height")?, side(&keys, "width")?])),
            ["shortest_edge"] => Ok(Target::Shortest { edge: side(&keys, "shortest_edge")?, longest: None }),
            ["longest_edge", "shortest_edge"] => Ok(Target::Shortest {
                edge: side(&keys, "shortest_edge")?,
                longest: Some(side(&keys, "longest_edge")?),
            }),
            ["max_height", "max_width"] => {
                Ok(Target::Within([side(&keys, "max_height")?, side(&keys, "max_width")?]))
            }
            _ => {
                let expected =
                    "height and width, shortest_edge (with longest_edge), or max_height and max_width";
                Err(wrong("size", expected, size))
            }
        }
    }

    /// Height and width that an image of this height and width gets. Rounds as transformers does, which may yield a side
    /// of 0 for an image that is far longer than wide.
    pub fn of(&self, image: [u32; 2]) -> [u64; 2] {
        let [height, width] = image.map(u64::from);
        match *self {
            Target::Exact(sides) => sides.map(u64::from),
            Target::Shortest { edge, longest: None } => {
                let edge = u64::from(edge);
                let longer = |long: u64, short: u64| ((edge * long) as f64 / short as f64) as u64;
                if width <= height { [longer(height, width), edge] } else { [edge, longer(width, height)] }
            }
            Target::Shortest { edge, longest: Some(longest) } => {
                with_longest([height, width], edge.into(), longest.into())
            }
            Target::Within(most) => {
                let sides = [height as f64, width as f64];
                let scale = (f64::from(most[0]) / sides[0]).min(f64::from(most[1]) / sides[1]);
                sides.map(|side| (side * scale) as u64)
            }
        }
    }

    /// Whether some image gets this height and width.
    pub(super) fn may_be(&self, size: [u32; 2]) -> bool {
        let [short, long] = [size[0].min(size[1]), size[0].max(size[1])];
        match *self {
            Target::Exact(sides) => sides == size,
            Target::Shortest { edge, longest: None } => short == edge,
            Target::Shortest { edge, longest: Some(longest) } => short <= edge && long <= longest.max(edge),
            Target::Within([height, width]) => size[0] <= height && size[1] <= width,
        }
    }
}

/// The shorter side gets `edge` pixels, unless the longer one would have more than `longest`.
fn with_longest([height, width]: [u64; 2], edge: u64, longest: u64) -> [u64; 2] {
    let [short, long] = [height.min(width) as f64, height.max(width) as f64];
    // The shorter side before it is rounded, where the longer one decides.
    let limited = (long / short * edge as f64 > longest as f64).then(|| longest as f64 * short / long);
    let edge = limited.map_or(edge, |short| short.round_ties_even() as u64);
    if height.min(width) == edge {
        return [height, width];
    }
    let longer = |long: u64, short: u64| match limited {
        Some(edge) => (edge * long as f64 / short as f64) as u64,
        None => ((edge * long) as f64 / short as f64) as u64,
    };
    if width < height { [longer(height, width), edge] } else { [edge, longer(width, height)] }
}

/// `crop_size`: an object, a list of height and width, or a square's side.
pub(super) fn crop(keys: &Keys<'_>, default: Option<[u32; 2]>) -> Result<[u32; 2], ModelError> {
    match (keys.get("crop_size"), default) {
        (None, Some(default)) => Ok(default),
        (None, None) => Err(ModelError::Missing { key: "crop_size" }),
        (Some(size @ Value::Object(_)), _) => {
            let keys = Keys::new(size)?;
            Ok([side(&keys, "height")?, side(&keys, "width")?])
        }
        (Some(size), _) => number_or_pair("crop_size", size),
    }
}

fn number_or_pair(key: &'static str, value: &Value) -> Result<[u32; 2], ModelError> {
    let wrapped = json!({ key: value });
    let sides = Keys::new(&wrapped)?.pair(key)?;
    if sides.iter().any(|&side| side > LONGEST) {
        return Err(wrong(key, format!("at most {LONGEST} pixels"), value));
    }
    Ok(sides.map(|side| side as u32))
}

fn side(keys: &Keys<'_>, key: &'static str) -> Result<u32, ModelError> {
    let side = keys.size(key)?;
    if side > LONGEST {
        return Err(wrong(key, format!("at most {LONGEST} pixels"), &side.into()));
    }
    Ok(side as u32)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Exact([height, width]) => write!(f, "{height} × {width}"),
            Target::Shortest { edge, longest: None } => write!(f, "a shorter side of {edge}"),
            Target::Shortest { edge, longest: Some(longest) } => {
                write!(f, "a shorter side of {edge} and a longer one of at most {longest}")
            }
            Target::Within([height, width]) => write!(f, "at most {height} × {width}"),
        }
    }
}

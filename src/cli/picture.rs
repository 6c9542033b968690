//! Pictures as files: SVG, or PNG where the name ends so. PNGs have fonts of their own, so they look the same on every machine.

use std::sync::Arc;

use bytes::Bytes;
use headstart::exit::Exit;
use headstart::store::{Location, StoreError};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// Roboto, of the characters of European languages; others are empty boxes.
const FONTS: [&[u8]; 2] = [
    include_bytes!("../../third_party/roboto/Roboto-Regular.ttf"),
    include_bytes!("../../third_party/roboto/Roboto-Bold.ttf"),
];
const FAMILY: &str = "Roboto";
/// Pixels of a PNG for one of its SVG, each way.
const SCALE: f32 = 2.0;
/// Largest side of a PNG, in pixels.
const LARGEST_SIDE: f32 = 20_000.0;

/// Why a picture could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum PictureError {
    /// Too tall or wide for pixels.
    #[error(
        "{path}: a picture of {width} by {height} pixels is too large for PNG: write FILE.svg, or show fewer runs"
    )]
    TooLarge {
        /// Where it was to be written.
        path: String,
        width: f32,
        height: f32,
    },
    /// Our own SVG cannot be drawn.
    #[error("{path}: the picture cannot be drawn: {reason}; write FILE.svg, and report this")]
    Drawing {
        /// Where it was to be written.
        path: String,
        reason: String,
    },
    /// Storage.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PictureError {
    /// The exit code of a process that fails with this.
    pub(super) fn exit(&self) -> Exit {
        match self {
            PictureError::TooLarge { .. } => Exit::Usage,
            PictureError::Drawing { .. } => Exit::Internal,
            PictureError::Store(error) => error.exit(),
        }
    }
}

/// Writes a picture to a path or URL.
pub(super) async fn write(path: &str, svg: String) -> Result<(), PictureError> {
    let bytes = match path.to_ascii_lowercase().ends_with(".png") {
        true => Bytes::from(png(path, &svg)?),
        false => Bytes::from(svg),
    };
    Ok(Location::parse(path)?.write(bytes).await?)
}

/// Draws an SVG picture of ours as a PNG.
fn png(path: &str, svg: &str) -> Result<Vec<u8>, PictureError> {
    let failed = |reason: String| PictureError::Drawing { path: path.to_owned(), reason };
    let mut fonts = fontdb::Database::new();
    for font in FONTS {
        fonts.load_font_source(fontdb::Source::Binary(Arc::new(font)));
    }
    fonts.set_sans_serif_family(FAMILY);
    let options = Options { font_family: FAMILY.to_owned(), fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|error| failed(error.to_string()))?;
    let (width, height) = (tree.size().width() * SCALE, tree.size().height() * SCALE);
    if width.max(height) > LARGEST_SIDE {
        return Err(PictureError::TooLarge { path: path.to_owned(), width, height });
    }
    let mut pixels = Pixmap::new(width.ceil() as u32, height.ceil() as u32)
        .ok_or_else(|| failed(format!("{width} by {height} pixels")))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use headstart::svg;

    use super::*;

    /// A page with nothing but a text on it.
    fn page(text: &str) -> String {
        let mut page = svg::page((200.0, 100.0), "");
        svg::text(&mut page, 20.0, 60.0, "", text);
        page + "</svg>\n"
    }

    fn dark(svg: &str) -> usize {
        let pixels = Pixmap::decode_png(&png("p.png", svg).unwrap()).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (400, 200));
        pixels.pixels().iter().filter(|pixel| pixel.red() < 128).count()
    }

    #[test]
    fn texts_are_drawn_without_any_font_of_the_machine() {
        assert_eq!(dark(&page("")), 0);
        let regular = dark(&page("accuracy 83.1 % – “Ж α”"));
        assert!(regular > 300, "{regular}");
        let bold = dark(&page("<tspan font-weight=\"bold\">accuracy 83.1 % – “Ж α”</tspan>"));
        assert!(bold > regular * 11 / 10, "{bold} {regular}");
    }

    #[test]
    fn equal_pictures_are_equal_bytes_and_odd_ones_are_refused() {
        assert_eq!(png("p", &page("a")).unwrap(), png("p", &page("a")).unwrap());
        let tall = page("").replace("100", "1000000");
        assert!(matches!(png("p", &tall), Err(PictureError::TooLarge { .. })));
        assert!(matches!(png("p", "<svg"), Err(PictureError::Drawing { .. })));
    }
}

//! What a file says beside its pixels: the orientation of its camera, in EXIF or XMP, as Pillow's `getexif` finds it, and the
//! colour that stands for transparency.

use std::io::Read;

use flate2::read::ZlibDecoder;

/// Bytes of metadata that are unpacked at most.
const UNPACKED: u64 = 1 << 20;
/// EXIF's tag of the orientation.
const ORIENTATION: u16 = 0x0112;

/// EXIF orientation of a JPEG, PNG or WebP file, 1 to 8, if it has one.
pub(super) fn orientation(file: &[u8]) -> Option<u8> {
    let Metadata { exif, xmp } = match file {
        [0xff, 0xd8, ..] => jpeg(file),
        [0x89, b'P', b'N', b'G', ..] => png(file),
        [b'R', b'I', b'F', b'F', ..] => webp(file),
        _ => return None,
    };
    // A value that means nothing still hides what XMP says.
    exif.and_then(|exif| in_exif(&exif)).or_else(|| in_xmp(&xmp?)).filter(|value| (1..=8).contains(value))
}

#[derive(Default)]
struct Metadata {
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
}

/// A part of a JPEG file (ITU T.81, B.1).
pub(super) enum Segment<'a> {
    /// A marker and what it holds.
    Marker(u8, &'a [u8]),
    /// The marker that ends the image.
    End,
}

/// The segments of a JPEG file up to its end marker. Those of images within its metadata are not seen, nor is what follows
/// the end: a second picture, or a maker's notes.
pub(super) fn segments(file: &[u8]) -> impl Iterator<Item = Segment<'_>> {
    let (mut rest, mut ended) = (file.get(2..).unwrap_or_default(), false);
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        // Between markers stand compressed pixels, in which 0xff is followed by zero or a restart marker.
        let starts = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 1 | 0xd0..=0xd8 | 0xff);
        let at = rest.windows(2).position(starts)?;
        let (marker, after) = (rest[at + 1], &rest[at + 2..]);
        if marker == 0xd9 {
            ended = true;
            return Some(Segment::End);
        }
        let length = usize::from(u16::from_be_bytes(*after.first_chunk()?)).max(2);
        rest = after.get(length..)?;
        Some(Segment::Marker(marker, &after[2..length]))
    })
}

fn jpeg(file: &[u8]) -> Metadata {
    const EXIF: &[u8] = b"Exif\0\0";
    let mut found = Metadata::default();
    for segment in segments(file) {
        match segment {
            Segment::Marker(0xe1, content) => {
                if let Some(part) = content.strip_prefix(EXIF) {
                    found.exif.get_or_insert_default().extend_from_slice(part);
                } else if let Some(text) = content.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
                    found.xmp = Some(text.to_vec());
                }
            }
            // Pixels begin.
            Segment::Marker(0xda, _) | Segment::End => break,
            Segment::Marker(..) => {}
        }
    }
    found
}

/// Kind and content of a PNG file's whole chunks, checksums left out.
pub(super) fn png_chunks(file: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = file.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (kind, after) = after.split_first_chunk()?;
        let (content, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = after.get(4..)?;
        Some((*kind, content))
    })
}

fn png(file: &[u8]) -> Metadata {
    let (mut found, mut raw) = (Metadata::default(), None);
    for (kind, content) in png_chunks(file) {
        match &kind {
            b"IEND" => break,
            b"eXIf" => found.exif = Some(content.to_vec()),
            b"tEXt" | b"zTXt" | b"iTXt" => match png_text(kind, content) {
                Some((b"Raw profile type exif", text)) => raw = raw_profile(&text),
                Some((b"XML:com.adobe.xmp", text)) => found.xmp = Some(text),
                _ => {}
            },
            _ => {}
        }
    }
    found.exif = found.exif.or(raw);
    found
}

/// Keyword and text of a text chunk, unpacked.
fn png_text(kind: [u8; 4], content: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let cut = |bytes: &'_ [u8]| bytes.iter().position(|&byte| byte == 0);
    let end = cut(content)?;
    let (keyword, after) = (&content[..end], &content[end + 1..]);
    let (packed, text) = match &kind {
        b"tEXt" => (false, after),
        b"zTXt" => (true, after.get(1..)?),
        // A flag, a method, a language, a translated keyword.
        _ => {
            let language = after.get(2..)?;
            let translated = &language[cut(language)? + 1..];
            (after[0] != 0, &translated[cut(translated)? + 1..])
        }
    };
    if !packed {
        return Some((keyword, text.to_vec()));
    }
    let mut unpacked = Vec::new();
    ZlibDecoder::new(text).take(UNPACKED).read_to_end(&mut unpacked).ok()?;
    Some((keyword, unpacked))
}

/// EXIF as ImageMagick writes it into a text: a name, a length, and lines of hexadecimal digits.
fn raw_profile(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.split(|&byte| byte == b'\n').skip(3);
    let digits: Vec<u8> = lines.flatten().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.as_chunks::<2>().0.iter();
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// Bits a channel and kind of colours of a PNG file: 0 grey, 2 colours, 3 a palette, 4 and 6 with alpha.
pub(super) fn png_colours(file: &[u8]) -> Option<[u8; 2]> {
    match png_chunks(file).next()? {
        (kind, header) if &kind == b"IHDR" => header.get(8..10)?.first_chunk().copied(),
        _ => None,
    }
}

/// The one colour of a PNG file that stands for transparency, if there is one, as Pillow understands it.
pub(super) fn transparent_colour(file: &[u8]) -> Option<[u8; 3]> {
    let [0x89, b'P', b'N', b'G', ..] = file else { return None };
    let chunk = |wanted| png_chunks(file).find(|(kind, _)| kind == wanted).map(|(_, content)| content);
    let transparency = chunk(b"tRNS")?;
    let values = transparency.as_chunks::<2>().0;
    match png_colours(file)? {
        // Of these levels it knows black alone.
        [1, 0] => (*values.first()? == [0, 0]).then_some([0; 3]),
        [16, 0] => (values.first()?[1] == 0).then_some([0; 3]),
        [_, 0] => Some([values.first()?[1]; 3]),
        [_, 2] => Some(values.first_chunk::<3>()?.map(|value| value[1])),
        [_, 3] => {
            let place = transparency.iter().position(|&alpha| alpha == 0)?;
            let opaque = |alphas: &[u8]| alphas.iter().all(|&alpha| alpha == 255);
            let one = opaque(&transparency[..place]) && opaque(&transparency[place + 1..]);
            chunk(b"PLTE").filter(|_| one)?.as_chunks().0.get(place).copied()
        }
        _ => None,
    }
}

fn webp(file: &[u8]) -> Metadata {
    let mut found = Metadata::default();
    let mut rest = file.get(12..).unwrap_or_default();
    while let Some((kind, after)) = rest.split_first_chunk::<4>()
        && let Some((length, after)) = after.split_first_chunk()
        && let length = u32::from_le_bytes(*length) as usize
        && let Some((content, after)) = after.split_at_checked(length)
    {
        match kind {
            b"EXIF" => found.exif = Some(content.to_vec()),
            b"XMP " => found.xmp = Some(content.to_vec()),
            _ => {}
        }
        rest = after.get(length % 2..).unwrap_or_default();
    }
    found
}

/// The orientation in EXIF, which is a TIFF file's first directory.
fn in_exif(mut exif: &[u8]) -> Option<u8> {
    while let Some(rest) = exif.strip_prefix(b"Exif\0\0") {
        exif = rest;
    }
    let little = match exif.first_chunk()? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |bytes: [u8; 2]| if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
    let long = |bytes: [u8; 4]| if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
    let directory = exif.get(long(*exif.get(4..)?.first_chunk()?) as usize..)?;
    let (count, entries) = directory.split_first_chunk()?;
    let entries = entries.as_chunks::<12>().0.iter().take(short(*count).into());
    let value = |entry: &[u8; 12]| {
        let [tag @ .., _, _, _, _, _, _, _, _, _, _] = *entry;
        let [_, _, kind @ .., _, _, _, _, _, _, _, _] = *entry;
        let [_, _, _, _, count @ .., _, _, _, _] = *entry;
        let [_, _, _, _, _, _, _, _, value @ ..] = *entry;
        let value = match short(kind) {
            _ if short(tag) != ORIENTATION || long(count) != 1 => return None,
            // Whole numbers of two and four bytes, without sign and with one.
            3 | 8 => short([value[0], value[1]]).into(),
            4 | 9 => long(value),
            _ => return None,
        };
        Some(value.try_into().unwrap_or(u8::MAX))
    };
    entries.filter_map(value).next_back()
}

/// The first digit that XMP gives as `tiff:Orientation`, as an attribute or an element.
fn in_xmp(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    xmp.windows(NAME.len()).enumerate().filter(|(_, name)| *name == NAME).find_map(|(at, _)| {
        let after = &xmp[at + NAME.len()..];
        let value = after.strip_prefix(b"=\"").or(after.strip_prefix(b">"))?;
        value.first().filter(|byte| byte.is_ascii_digit()).map(|digit| digit - b'0')
    })
}

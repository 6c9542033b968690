//! Keys that are no paths, in the listings of buckets: `a//b`, `a/./b`, names with control characters.
//!
//! The client refuses a whole page of a listing for one of them, matched or not. So they are given names that it accepts
//! while the answer passes by, and [`original`] gives the key back. A key that ends in a slash is no file, but a directory
//! as consoles make them, and left out.

use std::borrow::Cow;

/// Begins the substitute of a key: a code point without a meaning of its own.
const MARK: char = '\u{f8ff}';
/// Elements of listings, and where their key stands: those of S3 and Google, then Azure's.
const ELEMENTS: [(&str, &str, &str, Holds); 4] = [
    ("<Contents>", "</Contents>", "Key", Holds::Object),
    ("<CommonPrefixes>", "</CommonPrefixes>", "Prefix", Holds::Directory),
    ("<Blob>", "</Blob>", "Name", Holds::Object),
    ("<BlobPrefix>", "</BlobPrefix>", "Name", Holds::Directory),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Object,
    Directory,
}

/// The key that a listed path stands for; `None` for a path that is the key itself.
pub(super) fn original(path: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut rest = path.strip_prefix(MARK)?;
    while let Some((before, after)) = rest.split_once(MARK) {
        decoded.push_str(before);
        let (code, after) = after.split_once(';')?;
        decoded.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
        rest = after;
    }
    decoded.push_str(rest);
    Some(decoded)
}

/// A path that stands for a key which is none; `None` where the key is a path.
fn substitute(key: &str) -> Option<String> {
    let is_part =
        |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|sign: char| sign.is_ascii_control());
    if key.split('/').all(is_part) && !key.starts_with(MARK) {
        return None;
    }
    let mut path = String::from(MARK);
    for sign in key.chars() {
        match sign {
            '/' | MARK => path.push_str(&format!("{MARK}{:x};", u32::from(sign))),
            sign if sign.is_ascii_control() => path.push_str(&format!("{MARK}{:x};", u32::from(sign))),
            sign => path.push(sign),
        }
    }
    Some(path)
}

/// A listing as the client can read it.
pub(super) fn readable(xml: &str) -> Cow<'_, str> {
    ELEMENTS.iter().fold(Cow::Borrowed(xml), |xml, &(open, close, field, holds)| {
        if !xml.contains(open) {
            return xml;
        }
        let (mut out, mut rest) = (String::with_capacity(xml.len()), &*xml);
        while let Some(start) = rest.find(open) {
            let Some(length) = rest[start..].find(close) else { break };
            let (element, after) = rest[start..].split_at(length + close.len());
            out.push_str(&rest[..start]);
            out.push_str(&element_with_path(element, field, holds).unwrap_or(Cow::Borrowed(element)));
            rest = after;
        }
        out.push_str(rest);
        Cow::Owned(out)
    })
}

/// An element whose key is a path, or nothing for a directory in a file's place; `None` for an element without a key.
fn element_with_path<'a>(element: &'a str, field: &str, holds: Holds) -> Option<Cow<'a, str>> {
    let tag = element.find(&format!("<{field}"))?;
    let start = tag + element[tag..].find('>')? + 1;
    let end = start + element[start..].find(&format!("</{field}>"))?;
    let key = unescaped(&element[start..end]);
    let key = match (key.strip_suffix('/'), holds) {
        (Some(_), Holds::Object) => return Some(Cow::Borrowed("")),
        (Some(directory), Holds::Directory) => directory,
        (None, _) => &key,
    };
    Some(match substitute(key) {
        None => Cow::Borrowed(element),
        Some(path) => Cow::Owned([&element[..start], &escaped(&path), &element[end..]].concat()),
    })
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let decoded = after.split_once(';').and_then(|(name, after)| Some((entity(name)?, after)));
        match decoded {
            Some((sign, after)) => {
                plain.push(sign);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let code = name.strip_prefix('#')?;
            let number = match code.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => code.parse(),
            };
            char::from_u32(number.ok()?)
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use object_store::path::Path;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_odd_key_gets_a_path_and_comes_back() {
        for key in ["a//b", "/a", "a/./b", "..", "a\nb", "\u{f8ff}", "a//\u{f8ff}2f;", "", "ä//%2F&<"] {
            let path = substitute(key).unwrap();
            assert_eq!(Path::parse(&path).unwrap().as_ref(), path);
            assert_eq!(original(&path).as_deref(), Some(key));
        }
        for key in ["a/b", "a b%2e/.x", "a\u{f8ff}", "ü"] {
            assert_eq!((substitute(key), original(key)), (None, None), "{key}");
        }
        assert_eq!(original("\u{f8ff}x\u{f8ff}zz;"), None, "not one of ours");
    }

    /// The keys of a listing as the client reads them.
    fn keys(xml: &str) -> Vec<String> {
        let elements = xml.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
        elements.map(|(key, _)| unescaped(key)).collect()
    }

    proptest! {
        #[test]
        fn every_listing_has_paths_only_and_loses_no_key(expected in prop::collection::vec("(?s)[/.]?.{1,8}", 0..6)) {
            let entry = |key: &String| format!("<Contents><Key>{}</Key><Size>1</Size></Contents>", escaped(key));
            let read = keys(&readable(&expected.iter().map(entry).collect::<String>()));
            for path in &read {
                let parsed = Path::parse(path).unwrap();
                prop_assert_eq!(parsed.as_ref(), path);
            }
            let found: Vec<String> = read.into_iter().map(|path| original(&path).unwrap_or(path)).collect();
            let files: Vec<String> = expected.into_iter().filter(|key| !key.ends_with('/')).collect();
            prop_assert_eq!(found, files);
        }

        #[test]
        fn no_answer_is_too_odd(parts in prop::collection::vec(piece(), 0..12)) {
            let xml = parts.concat();
            prop_assert!(readable(&xml).len() <= 8 * xml.len() + 8);
        }
    }

    /// Pieces that listings are made of, whole or not.
    fn piece() -> impl Strategy<Value = String> {
        let tags = ["<Contents>", "</Contents>", "<Key>", "</Key>", "<Blob>", "</Blob>", "<Name>", "</Name>"];
        prop_oneof![prop::sample::select(tags.to_vec()).prop_map(str::to_owned), "[a-z./&;#\n\u{f8ff}]{0,6}"]
    }

    #[test]
    fn listings_keep_what_is_in_order() {
        let xml = "<Contents><Key>a/b&amp;c.jsonl</Key><Size>1</Size></Contents><Contents><Key>dir/</Key></Contents>\
                   <Contents><Key>a//&#x62;</Key></Contents><CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>";
        let read = readable(xml);
        assert!(read.contains("<Key>a/b&amp;c.jsonl</Key><Size>1</Size>"), "{read}");
        assert!(!read.contains("dir"), "{read}");
        assert!(read.contains("<Key>\u{f8ff}a\u{f8ff}2f;\u{f8ff}2f;b</Key>"), "{read}");
        assert!(read.contains("<Prefix>a/</Prefix>"), "{read}");
        let azure = "<Blobs><Blob><Name>x//y</Name></Blob><BlobPrefix><Name>x//</Name></BlobPrefix></Blobs>";
        let read = readable(azure);
        assert!(read.contains("<Name>\u{f8ff}x\u{f8ff}2f;\u{f8ff}2f;y</Name>"), "{read}");
        assert!(read.contains("<Name>\u{f8ff}x\u{f8ff}2f;</Name>"), "{read}");
        for broken in [
            "",
            "<Contents>",
            "<Contents><Key></Contents>",
            "<Contents></Contents>",
            "&&;<Contents><Key>&</Key></Contents>",
        ] {
            assert_eq!(readable(broken), broken);
        }
    }
}

//! Detects stand-ins for files that were never downloaded: pointers of Git LFS and git-annex, pages of web servers.

/// Bytes of a file that [`stand_in`] needs to see.
pub const STAND_IN: u64 = 256;

/// What a file is instead of what its name says, and what to do, by its first bytes; `None` for any other content.
pub fn stand_in(first: &[u8]) -> Option<&'static str> {
    let first = &first[..first.len().min(STAND_IN as usize)];
    let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
    let lower = text.to_ascii_lowercase();
    let begins = |starts: &[&str]| starts.iter().any(|start| lower.starts_with(start.as_bytes()));
    // The specification, and the two names that it had before.
    if begins(&[
        "version https://git-lfs.github.com/spec/",
        "version https://hawser.github.com/spec/",
        "version http://git-media.io/v/",
    ]) {
        return Some("a Git LFS pointer, not the file: git lfs pull");
    }
    if begins(&["/annex/objects/"]) {
        return Some("a git-annex pointer, not the file: git annex get");
    }
    // As a checkout without links writes them, and archives that keep none.
    if first.len() < STAND_IN as usize && begins(&["../"]) && !text.trim_ascii_end().contains(&b'\n') {
        return Some(
            "the text of a link, not the file: the copy was made without links; copy it again with them",
        );
    }
    if begins(&["<!doctype html", "<html"]) {
        return Some(
            "an HTML page, not the file: what a web server answered was saved in its place; download it again",
        );
    }
    if begins(&["<?xml"]) && lower.windows(7).any(|part| part == b"<error>") {
        return Some(
            "an error message of a server, not the file: it was saved in its place; download it again",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_files_place_is_told_by_its_first_bytes() {
        let cases: [(&[u8], &str); 8] = [
            (b"../../blobs/2", "the text of a link"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
            (b"version https://hawser.github.com/spec/v1\n", "git lfs pull"),
            (b"version http://git-media.io/v/2\n", "git lfs pull"),
            (b"/annex/objects/SHA256E-s1--00.safetensors\n", "git annex get"),
            (b"\n<!DOCTYPE HTML><html>", "HTML page"),
            (b"\xef\xbb\xbf<html lang=en>", "HTML page"),
            (b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code>", "error message"),
        ];
        for (bytes, expected) in cases {
            let found = stand_in(bytes).unwrap_or_default();
            assert!(found.contains(expected), "{}: {found}", String::from_utf8_lossy(bytes));
        }
        let others: [&[u8]; 8] = [
            b"",
            b"../a,label\nb,c\n",
            b"version,text\n",
            b"{\"text\": \"<html>\"}",
            b"<b>,label\n",
            b"\x89PNG",
            b"<?xml?><svg/>",
            b"version ",
        ];
        for bytes in others {
            assert_eq!(stand_in(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }
}

//! Two texts as the bytes of one row, for rows that do not lie in a file of their own kind: the length of the first text
//! in four bytes, little end first, then both.

/// The bytes of a pair.
pub(super) fn join(text: &[u8], pair: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a Parquet page is smaller than 4 GiB");
    [&length.to_le_bytes(), text, pair].concat()
}

/// Both texts of a pair; `None` when these bytes are none.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, texts) = bytes.split_first_chunk::<4>()?;
    texts.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_comes_apart_as_it_was_joined() {
        assert_eq!(split(&join(b"one", b"two")), Some((b"one".as_slice(), b"two".as_slice())));
        assert_eq!(split(&join(b"", b"")), Some((b"".as_slice(), b"".as_slice())));
        assert_eq!(split(b"\x04\0\0\0abc"), None);
        assert_eq!(split(b"\0\0"), None);
    }
}

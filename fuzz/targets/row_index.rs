//! A row index as it comes over the wire.
#![no_main]

use headstart::data::RowIndex;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = RowIndex::decode(bytes, 3) else { return };
    for row in 0..index.len() {
        let place = index.row(row).expect("a row of the index");
        let end = place.offset.checked_add(u64::from(place.length)).expect("rows end");
        assert!(end <= index.files()[place.file].content_size() && place.label < 3);
    }
    assert!(index.row(index.len()).is_err());
    assert_eq!(RowIndex::decode(&index.encode(), 3).expect("it survives the wire"), index);
});

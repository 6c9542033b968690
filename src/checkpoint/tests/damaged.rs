//! Files that nobody should write: each is refused, named, before anything of a claimed size is allocated.

use super::super::{Checkpoint, CheckpointError, HeaderProblem};
use super::{SINGLE, directory, file, load, open, parameter, tensor, with_length};
use crate::exit::Exit;
use crate::store::Location;

async fn header_problem(bytes: &[u8]) -> HeaderProblem {
    match open(bytes).await {
        Err(error @ CheckpointError::Header { .. }) => {
            assert_eq!(error.exit(), Exit::Checkpoint);
            assert!(error.to_string().contains("model.safetensors"), "{error}");
            let CheckpointError::Header { problem, .. } = error else { unreachable!() };
            problem
        }
        other => panic!("expected a refused header, got {other:?}"),
    }
}

macro_rules! bad_headers {
    ($($case:ident: $bytes:expr => $problem:pat,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let problem = header_problem(&$bytes).await;
                assert!(matches!(problem, $problem), "{problem:?}");
            }
        )*
    };
}

bad_headers! {
    an_empty_file: [] => HeaderProblem::TooShort(0),
    seven_bytes: [0; 7] => HeaderProblem::TooShort(7),
    the_largest_header_length: with_length(u64::MAX) => HeaderProblem::TooLong(u64::MAX),
    a_header_just_over_the_limit: with_length((16 << 20) + 1) => HeaderProblem::TooLong(_),
    a_header_beyond_the_file: with_length(9) => HeaderProblem::BeyondFile { header: 9, file: 16 },
    a_header_that_is_not_json: file("{nonsense", 0) => HeaderProblem::Json(_),
    a_header_that_begins_with_a_space: file(" {}", 0) => HeaderProblem::Json(_),
    a_header_that_is_an_array: file("[]", 0) => HeaderProblem::Json(_),
    a_header_nested_too_deep: file(&format!("{{\"a\":{}", "[".repeat(100_000)), 0) => HeaderProblem::Json(_),
    a_negative_dimension: file(&format!("{{{}}}", tensor("a", "F32", "[-1]", 0, 4)), 4) => HeaderProblem::Json(_),
    an_unknown_type: file(&format!("{{{}}}", tensor("a", "F128", "[1]", 0, 16)), 16)
        => HeaderProblem::UnknownDtype { .. },
    an_overlap: file(&format!("{{{},{}}}", tensor("a", "F32", "[2]", 0, 8), tensor("b", "F32", "[2]", 4, 12)), 12)
        => HeaderProblem::Overlap(_),
    the_same_bytes_twice: file(&format!("{{{},{}}}", tensor("a", "F32", "[1]", 0, 4), tensor("b", "F32", "[1]", 0, 4)), 4)
        => HeaderProblem::Overlap(_),
    a_gap: file(&format!("{{{},{}}}", tensor("a", "F32", "[1]", 0, 4), tensor("b", "F32", "[1]", 8, 12)), 12)
        => HeaderProblem::Gap(_),
    a_gap_before_the_first: file(&format!("{{{}}}", tensor("a", "F32", "[1]", 4, 8)), 8) => HeaderProblem::Gap(_),
    trailing_bytes: file(&format!("{{{}}}", tensor("a", "F32", "[1]", 0, 4)), 5) => HeaderProblem::Trailing(1),
    data_without_tensors: file("{}", 3) => HeaderProblem::Trailing(3),
    truncated_data: file(&format!("{{{}}}", tensor("a", "F32", "[2]", 0, 8)), 7)
        => HeaderProblem::Truncated { found: 7, expected: 8 },
    offsets_backwards: file(&format!("{{{}}}", tensor("a", "F32", "[1]", 4, 0)), 4) => HeaderProblem::Backwards(_),
    a_shape_larger_than_its_bytes: file(&format!("{{{}}}", tensor("a", "F32", "[2]", 0, 4)), 4)
        => HeaderProblem::Size { found: 4, expected: 8, .. },
    two_to_the_61_elements: file(&format!("{{{}}}", tensor("a", "F32", "[2305843009213693952]", 0, 4)), 4)
        => HeaderProblem::ShapeOverflow(_),
    a_product_that_wraps_to_zero: file(&format!("{{{}}}", tensor("a", "F32", "[4294967296,4294967296]", 0, 0)), 0)
        => HeaderProblem::ShapeOverflow(_),
    no_rows_of_two_to_the_63: file(&format!("{{{}}}", tensor("a", "F32", "[0,9223372036854775808]", 0, 0)), 0)
        => HeaderProblem::ShapeOverflow(_),
    one_name_twice: file(&format!("{{{},{}}}", tensor("a", "F32", "[1]", 0, 4), tensor("a", "F32", "[1]", 4, 8)), 8)
        => HeaderProblem::Duplicate(_),
    more_tensors_than_any_model: file(&format!("{{{}}}", (0..100_001).map(|name| tensor(&name.to_string(), "U8", "[0]", 0, 0))
        .collect::<Vec<_>>().join(",")), 0) => HeaderProblem::TooManyTensors(100_001),
}

#[tokio::test]
async fn pickles_are_named_under_any_name() {
    let zip = [b"PK\x03\x04".as_slice(), &[0xff; 60]].concat();
    let pickle = [b"\x80\x02\x8a\x0a".as_slice(), &[0xff; 60]].concat();
    for weights in [&zip, &pickle] {
        assert!(matches!(open(weights).await, Err(CheckpointError::Pickle { .. })));
        let torch_only = directory(&[("pytorch_model.bin", weights)]).await;
        let error = Checkpoint::open(&torch_only).await.unwrap_err();
        assert!(error.to_string().contains("safe_serialization=True"), "{error}");
        assert_eq!(error.exit(), Exit::Checkpoint);
    }
}

#[tokio::test]
async fn directories_without_their_files_are_named() {
    let error = Checkpoint::open(&Location::memory("empty")).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Missing { wanted: "config.json", .. }), "{error}");
    let error = Checkpoint::open(&directory(&[]).await).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Missing { wanted: "model.safetensors", .. }), "{error}");
    for config in [b"[]".as_slice(), b"{", b"\xff", &vec![b' '; (16 << 20) + 1]] {
        let error = Checkpoint::config_only(&directory(&[("config.json", config)]).await).await.unwrap_err();
        assert!(matches!(error, CheckpointError::Json { .. }), "{error}");
        assert_eq!(error.exit(), Exit::Checkpoint);
    }
}

#[tokio::test]
async fn an_index_may_name_tensors_that_are_nowhere_if_nobody_needs_them() {
    let index = br#"{"weight_map":{"scale":"one.safetensors","x":"one.safetensors"}}"#;
    let files = [("model.safetensors.index.json", index.as_slice()), ("one.safetensors", SINGLE)];
    let checkpoint = Checkpoint::open(&directory(&files).await).await.unwrap();
    checkpoint.resolve(&[parameter("scale", &[], false)], "bert", false).unwrap();
    let table = [parameter("scale", &[], false), parameter("bert.x", &[1], true)];
    let error = checkpoint.resolve(&table, "bert", false).unwrap_err();
    assert!(matches!(&error, CheckpointError::Misplaced { tensor, .. } if tensor == "x"), "{error}");
    assert_eq!(error.exit(), Exit::Checkpoint);
}

#[tokio::test]
async fn shard_indexes_that_lie_are_refused() {
    let index = |map: &str| format!("{{\"metadata\":{{}},\"weight_map\":{map}}}").into_bytes();
    let open = async |map: &str| {
        let index = index(map);
        let files = [("model.safetensors.index.json", index.as_slice()), ("one.safetensors", SINGLE)];
        Checkpoint::open(&directory(&files).await).await.unwrap_err()
    };
    let error = open("{\"scale\":\"one.safetensors\",\"x\":\"two.safetensors\"}").await;
    assert!(
        matches!(&error, CheckpointError::MissingShard { shard, .. } if shard == "two.safetensors"),
        "{error}"
    );
    let error = open("{\"scale\":\"../one.safetensors\"}").await;
    assert!(error.to_string().contains("../one.safetensors"), "{error}");
    assert_eq!(error.exit(), Exit::Checkpoint);
    assert!(matches!(open("[1]").await, CheckpointError::Json { .. }));
}

#[tokio::test]
async fn weights_that_are_not_numbers_are_named() {
    for (bad, shown) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let mut bytes = file(&format!("{{{}}}", tensor("w", "F32", "[3]", 0, 12)), 12);
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&bad.to_le_bytes());
        let error = load(&open(&bytes).await.unwrap(), &[parameter("w", &[3], false)]).await.unwrap_err();
        assert_eq!(error.to_string(), format!("tensor \"w\" holds {shown} at element 2"));
    }
}

#[tokio::test]
async fn weights_of_another_kind_or_shape_are_refused() {
    for dtype in ["F64", "I64"] {
        let checkpoint = open(&file(&format!("{{{}}}", tensor("w", dtype, "[1]", 0, 8)), 8)).await.unwrap();
        let error = checkpoint.resolve(&[parameter("w", &[1], true)], "bert", false).unwrap_err();
        assert!(matches!(&error, CheckpointError::Dtype { tensor, .. } if tensor == "w"), "{error}");
    }
    let checkpoint = open(&file(&format!("{{{}}}", tensor("w", "F32", "[1]", 0, 4)), 4)).await.unwrap();
    let error = checkpoint.resolve(&[parameter("w", &[4096, 4096], false)], "bert", false).unwrap_err();
    let expected = CheckpointError::Shape { tensor: "w".into(), found: vec![1], expected: vec![4096, 4096] };
    assert_eq!(error, expected);
    let error = checkpoint.resolve(&[parameter("other", &[1], false)], "bert", false).unwrap_err();
    assert!(matches!(error, CheckpointError::NothingFits { tensors: 1, .. }), "{error}");
}

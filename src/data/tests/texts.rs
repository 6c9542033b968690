//! Files of texts as other tools write them: odd names, delimiters, arrays, pairs, and labels that are none.

use super::super::{DataError, Format, index_in};
use super::formats::{cached, gzip};
use super::{TEXTS, dataset, pairs, stored};
use crate::exit::Exit;
use crate::run_file::Dataset;

/// The rows of a file, and what was found of it.
async fn read(
    name: &str,
    content: &[u8],
    pair: Option<&str>,
) -> Result<(Format, Vec<(u32, String)>), DataError> {
    let stores = stored(&[(name, content)]).await;
    let data =
        Dataset { text_pair_column: pair.map(str::to_owned), ..dataset(format!("memory://data/{name}")) };
    let (index, _) = index_in(&stores, &[data], TEXTS, None).await?;
    let format = index.files()[0].format;
    Ok((format, cached(&stores, index).await))
}

async fn refused(name: &str, content: &[u8]) -> String {
    let error = read(name, content, None).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Data);
    error.to_string()
}

const JSONL: &str = "{\"text\": \"one\", \"label\": 1}\n{\"text\": \"two\", \"label\": 0}\n";

#[tokio::test]
async fn content_decides_whatever_the_name() {
    let csv = "text,label\none,1\ntwo,0\n";
    let array =
        "\u{feff}[\n  {\"text\": \"one\",\n   \"label\": 1},\n  {\"text\": \"two\", \"label\": 0}\n]\n";
    let objects = "{\n  \"text\": \"one\",\n  \"label\": 1\n}\n{\n  \"text\": \"two\",\n  \"label\": 0\n}\n";
    for (format, content, names) in [
        (Format::Jsonl, JSONL, ["t", "t.txt", "t.csv", "t.data", "t.JSONL"]),
        (Format::Csv, csv, ["t", "t.txt", "t.json", "t.tsv", "T.CSV"]),
        (Format::Json, array, ["t", "t.json", "t.jsonl", "t.txt", "t.csv"]),
        (Format::Json, objects, ["t", "t.json", "t.jsonl", "t.txt", "t.csv"]),
    ] {
        let expected = (format, pairs(&[(1, "one"), (0, "two")]));
        for name in names {
            assert_eq!(read(name, content.as_bytes(), None).await.unwrap(), expected, "{name}: {content}");
            let packed = gzip(content.as_bytes());
            assert_eq!(read(&format!("{name}.gz"), &packed, None).await.unwrap(), expected, "{name}.gz");
            assert_eq!(read("5f3c1a", &packed, None).await.unwrap(), expected, "by content alone");
        }
    }
}

#[tokio::test]
async fn delimiters_are_found_by_the_columns() {
    for delimiter in [",", ";", "\t", "|"] {
        let rows = ["id", "text", "label"].join(delimiter);
        let row = |id: &str, text: &str, label: &str| [id, text, label].join(delimiter);
        let content = format!(
            "\u{feff}{rows}\r\n{}\r\n{}\r\n",
            row("1", "\"one,;\t| \"\"a\"\"\r\nb\"", "1.0"),
            row("2", "two", "0")
        );
        let expected = pairs(&[(1, "one,;\t| \"a\"\r\nb"), (0, "two")]);
        assert_eq!(read("t.csv", content.as_bytes(), None).await.unwrap().1, expected, "{delimiter:?}");
        let named = format!("sep={delimiter}\r\n{}", content.trim_start_matches('\u{feff}'));
        assert_eq!(read("t.csv", named.as_bytes(), None).await.unwrap().1, expected, "sep={delimiter:?}");
    }
    let error = refused("t.csv", b"sentence;labels\na;1\nb;0\n").await;
    assert!(
        error.contains(
            "t.csv:1: no column \"text\"; the columns are \"sentence\", \"labels\"; set text_column: sentence"
        ),
        "{error}"
    );
    let error = refused("t.jsonl", b"{\"text\": \"a\", \"labels\": 1}\n").await;
    assert!(error.contains("no column \"label\"") && error.contains("; set label_column: labels"), "{error}");
}

#[tokio::test]
async fn columns_within_objects_are_named_by_their_path() {
    let content = "{\"translation\": {\"en\": \"one\", \"de\": \"eins\"}, \"label\": 1}\n\
                   {\"translation\": {\"en\": \"two\", \"de\": \"zwei\"}, \"label\": 0}\n";
    let stores = stored(&[("t.jsonl", content.as_bytes())]).await;
    let data = |text: &str, pair: &str| Dataset {
        text_column: text.into(),
        text_pair_column: Some(pair.into()),
        ..dataset("memory://data/t.jsonl")
    };
    let (index, _) =
        index_in(&stores, &[data("translation.en", "translation.de")], TEXTS, None).await.unwrap();
    assert_eq!(cached(&stores, index).await, pairs(&[(1, "one | eins"), (0, "two | zwei")]));
    let error =
        index_in(&stores, &[data("translation.en", "translation.fr")], TEXTS, None).await.unwrap_err();
    assert!(error.to_string().contains("t.jsonl:1: no column \"translation.fr\""), "{error}");
}

#[tokio::test]
async fn pairs_are_read_from_every_format() {
    let jsonl = "{\"text\": \"one\", \"pair\": \"eins\", \"label\": 1}\n{\"pair\": \"zwei\", \"text\": \"two\", \"label\": 0}\n";
    let csv = "pair,text,label\neins,one,1\n\"zwei\",two,0\n";
    let array = format!("[{}]", jsonl.trim_end().replace('\n', ","));
    for (name, content) in [("t.jsonl", jsonl), ("t.csv", csv), ("t.json", &array)] {
        let expected = pairs(&[(1, "one | eins"), (0, "two | zwei")]);
        assert_eq!(read(name, content.as_bytes(), Some("pair")).await.unwrap().1, expected, "{name}");
        assert_eq!(
            read(name, &gzip(content.as_bytes()), Some("pair")).await.unwrap().1,
            expected,
            "packed {name}"
        );
    }
    for (name, content, says) in [
        ("t.jsonl", "{\"text\": \"a\", \"pair\": null, \"label\": 1}", "t.jsonl:1: column \"pair\" is null"),
        ("t.jsonl", "{\"text\": \"a\", \"pair\": \"\", \"label\": 1}", "t.jsonl:1: column \"pair\" is empty"),
        ("t.jsonl", "{\"text\": \"a\", \"pair\": 5, \"label\": 1}", "t.jsonl:1: column \"pair\" is a number"),
        (
            "t.jsonl",
            "{\"text\": \"a\", \"sentence2\": \"b\", \"label\": 1}",
            "; set text_pair_column: sentence2",
        ),
        ("t.csv", "text,pair,label\na,b,1\na,,0\n", "t.csv:3: column \"pair\" is empty"),
        ("t.csv", "text,hypothesis,label\na,b,1\n", "; set text_pair_column: hypothesis"),
    ] {
        let error = read(name, content.as_bytes(), Some("pair")).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn labels_that_are_none_are_refused_with_their_row() {
    for (label, says) in [
        ("-1", "the label -1 in column \"label\" is negative"),
        ("-100", "the label -100 in column \"label\" is negative"),
        ("-1.0", "the label -1 in column \"label\" is negative"),
        ("1.5", "regression is not supported yet"),
    ] {
        let jsonl = format!("{JSONL}{{\"text\": \"x\", \"label\": {label}}}\n");
        let csv = format!("text,label\na,0\nb,1\nx,{label}\n");
        for (name, content, line) in [("t.jsonl", jsonl, 3), ("t.csv", csv, 4)] {
            let error = refused(name, content.as_bytes()).await;
            assert!(error.contains(&format!("{name}:{line}: ")) && error.contains(says), "{error}");
        }
    }
    for (row, says) in [
        ("x,", "column \"label\" is empty"),
        ("x,nan", "the label nan in column \"label\" means that there is none"),
    ] {
        let error = refused("t.csv", format!("text,label\na,0.0\nb,1.0\n{row}\n").as_bytes()).await;
        assert!(error.contains("t.csv:4: ") && error.contains(says), "{error}");
    }
    let error = refused("t.jsonl", b"{\"text\": \"a\", \"label\": [0, 1]}\n").await;
    assert!(error.contains("column \"label\" is an array"), "{error}");
    // Who lists them means them.
    let content = "{\"text\": \"a\", \"label\": -1}\n{\"text\": \"b\", \"label\": 0}\n{\"text\": \"c\", \"label\": 1.5}\n";
    let given = ["-1", "0", "1.5"].map(str::to_owned);
    let stores = stored(&[("t.jsonl", content.as_bytes())]).await;
    let datasets = [dataset("memory://data/t.jsonl")];
    let (index, _) = index_in(&stores, &datasets, TEXTS, Some(&given)).await.unwrap();
    assert_eq!(index.labels(), [0, 1, 2]);
}

#[tokio::test]
async fn files_of_other_programs_are_named_with_the_cure() {
    let utf16: Vec<u8> = "text,label\na,b\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked = [b"\xff\xfe".as_slice(), &utf16].concat();
    let swapped: Vec<u8> = "\u{feff}text,label\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (name, content, says) in [
        ("t.csv", marked.as_slice(), "iconv -f UTF-16"),
        ("t.csv", &utf16, "iconv -f UTF-16"),
        ("t.jsonl", &swapped, "iconv -f UTF-16"),
        ("t.csv", b"PK\x03\x04\x14\0", "save the sheet as CSV"),
        ("t", b"ARROW1\0\0", "convert it to Parquet or JSONL"),
        ("t.jsonl", b"BZh91AY&SY", "compress it with gzip or zstd"),
        ("t.jsonl", b"\xff\xd8\xff\xe0\0\x10JFIF\0", "task: image-classification"),
        ("t.pkl", b"\x80\x04\x95", "Python pickle"),
        ("t.txt", b"Some lines\nof prose\n", "does not name the columns \"text\", \"label\""),
        (
            "t.json",
            b"{\n \"version\": 1,\n \"data\": [{\"text\": \"a\"}]\n}",
            "no column \"text\"; the columns are \"data\", \"version\"",
        ),
        ("t.json", b"[{\"text\": \"a\", \"label\": 1}, 5]", "t.json:1: not a JSON object"),
        ("t.json", b"[{\"text\": \"a\", \"label\": 1}", "the file ends within the array"),
    ] {
        let error = refused(name, content).await;
        assert!(error.contains(&format!("memory://data/{name}")) && error.contains(says), "{error}");
    }
}

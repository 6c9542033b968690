"""Writes the Parquet files of every kind of column beside it, as pyarrow and Hugging Face's datasets write them.

Run by hand, with `$(scripts/python-env.sh src/data/testdata/requirements.txt) src/data/testdata/make_kinds.py`; the files
are committed, so that tests need neither package."""

import datetime
import decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Value

here = Path(__file__).parent


def save(name, table, **options):
    pq.write_table(table, here / f"{name}.parquet", compression="zstd", **options)


# One column a kind of label, all of the same three rows.
integers = {
    kind: pa.array([2, 0, top], getattr(pa, kind)())
    for kind, top in [
        ("int8", 127),
        ("int16", 32767),
        ("int32", 2**31 - 1),
        ("int64", 2**63 - 1),
        ("uint8", 255),
        ("uint16", 65535),
        ("uint32", 2**32 - 1),
        ("uint64", 2**64 - 1),
    ]
}
days = [datetime.date(2020, 1, day) for day in (1, 2, 3)]
times = [datetime.datetime(2020, 1, day) for day in (1, 2, 3)]
decimals = [decimal.Decimal(text) for text in ("1.00", "0.00", "2.00")]
labels = {
    **integers,
    "float16": pa.array([1, 0, 2], pa.float16()),
    "float32": pa.array([1, 0, 2], pa.float32()),
    "float64": pa.array([1, 0, 2], pa.float64()),
    "fraction": pa.array([1, 0, 1.5], pa.float64()),
    "missing": pa.array([1, 0, None], pa.float64()),
    "nan": pa.array([1, 0, float("nan")], pa.float64()),
    "bool": pa.array([True, False, True]),
    "string": pa.array(["b", "a", "c"]),
    "large_string": pa.array(["b", "a", "c"], pa.large_string()),
    "string_view": pa.array(["b", "a", "c"], pa.string_view()),
    "dictionary": pa.array(["b", "a", "c"]).dictionary_encode(),
    "binary": pa.array([b"b", b"a", b"c"]),
    "fixed": pa.array([b"bb", b"aa", b"cc"], pa.binary(2)),
    "date": pa.array(days),
    "timestamp": pa.array(times, pa.timestamp("us")),
    "time": pa.array([1, 2, 3], pa.time64("us")),
    "decimal": pa.array(decimals, pa.decimal128(5, 2)),
    "decimal_long": pa.array(decimals, pa.decimal128(30, 2)),
    "null": pa.nulls(3),
    "list": pa.array([[1], [0, 1], [2]]),
    "struct": pa.array([{"en": "b", "n": 1}, {"en": "a", "n": 2}, {"en": "c", "n": 3}]),
}
save("kinds", pa.table({"text": ["one", "two", "three"], "pair": ["eins", "zwei", "drei"], **labels}))
# As writers of old files do it: the older form of types only.
save("kinds_old", pa.table({"text": ["one", "two", "three"], **integers}), version="1.0")
save("pair_null", pa.table({"text": ["one", "two"], "pair": ["eins", None], "label": [0, 1]}))
# The second texts are in other pages than the first.
rows = range(600)
pairs = {
    "text": [str(row) for row in rows],
    "pair": [f"{row} {'x' * 30}" for row in rows],
    "label": pa.array([row % 3 for row in rows], pa.uint16()),
}
save("pairs_pages", pa.table(pairs), data_page_size=500, use_dictionary=False, row_group_size=250, write_batch_size=10)


def classes(names, rows):
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"text": [f"row {row}" for row in rows], "label": rows}, features=features)


classes(["zebra", "ant", "cow"], [0, 2, 0]).to_parquet(here / "classes.parquet")
classes(["cow", "ant", "zebra"], [0, 1, 2]).to_parquet(here / "classes_order.parquet")
classes(["zebra", "ant"], [0, 1]).to_parquet(here / "classes_other.parquet")
classes(["zebra", "ant", "cow"], [0, -1, 1]).to_parquet(here / "classes_none.parquet")
# The names in the Arrow schema alone, which is in Base64: beside it, the key is another one.
content = (here / "classes.parquet").read_bytes()
(here / "classes_arrow.parquet").write_bytes(content.replace(b"huggingface", b"something x"))

"""Writes the Parquet files beside it, as pyarrow and Hugging Face's datasets write them.

Run by hand, with `$(scripts/python-env.sh src/data/testdata/requirements.txt) src/data/testdata/make.py`; the files are
committed, so that tests need neither package."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Picture

here = Path(__file__).parent
texts = ["größe", "plain", "said \"hi\",\nthere", "plain", "last", "a longer text " * 4, "x", "plain", "y", "z"]
labels = ["net", "web", "net", "web", "net", "admin", "web", "net", "admin", "web"]
table = pa.table({"id": list(range(10)), "text": texts, "label": labels})
for codec in ["none", "snappy", "gzip", "zstd", "lz4"]:
    pq.write_table(table, here / f"texts_{codec}.parquet", compression=codec, row_group_size=4)
pq.write_table(table, here / "texts_v2.parquet", data_page_version="2.0", use_dictionary=False, version="2.6")
pq.write_table(
    table.set_column(1, "text", pa.array(texts[:9] + [None])), here / "texts_null.parquet", row_group_size=4
)
numbers = pa.table({"text": texts, "label": pa.array([3, 1, -7, 1, 3, 1, 1, 3, 3, 1], pa.int32())})
pq.write_table(numbers, here / "texts_int.parquet")
pq.write_table(
    numbers,
    here / "texts_delta.parquet",
    column_encoding={"text": "DELTA_BYTE_ARRAY", "label": "PLAIN"},
    use_dictionary=False,
)


def picture(kind, shade):
    data = io.BytesIO()
    Picture.new("RGB", (8, 8), (shade, 2 * shade, 255 - shade)).save(data, kind)
    return data.getvalue()


images = Dataset.from_dict(
    {
        "image": [
            {"bytes": picture(kind, shade), "path": f"{shade}.{kind.lower()}"}
            for kind, shade in [("PNG", 10), ("JPEG", 30), ("PNG", 50), ("PNG", 70)]
        ],
        "label": [1, 0, 1, 2],
    },
    features=Features({"image": Image(), "label": ClassLabel(names=["cat", "ant", "bee"])}),
)
images.to_parquet(here / "images_hf.parquet")

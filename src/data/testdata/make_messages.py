"""Writes the Parquet files of conversations beside it, as pyarrow and Hugging Face's datasets write them.

Run by hand, as make.py."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.table import InMemoryTable

here = Path(__file__).parent
call = {"id": "c1", "function": {"name": "look_up", "arguments": '{"city": "Köln"}'}}
rows = [
    {
        "id": 1,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "größe?"},
            {"role": "assistant", "content": "42"},
        ],
        "flags": {"strict": True, "scores": [0.5, None, 1.0]},
    },
    {
        "id": 2,
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [call, {**call, "id": "c2"}]},
            {"role": "tool", "content": "", "tool_call_id": "c1"},
            {"role": "assistant", "content": "Fine.", "train": False},
        ],
        "flags": {"strict": None, "scores": []},
    },
    {"id": 3, "messages": [], "flags": None},
    {"id": 4, "messages": None, "flags": {"strict": False, "scores": None}},
    {"id": 5, "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "flags": None},
]
text = pa.string()
message = pa.struct(
    [
        ("role", text),
        ("content", text),
        ("tool_calls", pa.list_(pa.struct([("id", text), ("function", pa.struct([("name", text), ("arguments", text)]))]))),
        ("tool_call_id", text),
        ("train", pa.bool_()),
    ]
)
schema = pa.schema(
    [
        ("id", pa.int64()),
        ("messages", pa.list_(message)),
        ("chat_template_kwargs", pa.struct([("strict", pa.bool_()), ("scores", pa.list_(pa.float32()))])),
        ("created", pa.timestamp("ms")),
        ("tools", pa.large_list(pa.map_(text, pa.int32()))),
    ]
)
columns = [
    [row["id"] for row in rows],
    [row["messages"] for row in rows],
    [row["flags"] for row in rows],
    [1_700_000_000_000 + row["id"] for row in rows],
    [[[("a", 1), ("b", None)], []], None, [], [None, [("c", -3)]], None],
]
arrays = [pa.array(column, kind.type) for column, kind in zip(columns, schema)]
table = pa.Table.from_arrays(arrays, schema=schema)
pq.write_table(table, here / "messages.parquet", row_group_size=3, compression="snappy")
pq.write_table(
    table, here / "messages_v2.parquet", data_page_version="2.0", use_dictionary=False, compression="zstd", data_page_size=16
)
pq.write_table(table, here / "messages_old.parquet", use_compliant_nested_type=False, compression="gzip", write_page_index=True)
conversations = pa.table({"messages": [row["messages"] for row in rows[:2]]})
Dataset(InMemoryTable(conversations), fingerprint="messages").to_parquet(here / "messages_hf.parquet")
pq.write_table(
    pa.table({"prompt": ["p", "q"], "completion": ["c", "d"], "created": pa.array([1, 2], pa.date32())}),
    here / "prompts.parquet",
)
pq.write_table(pa.table({"messages": pa.array([1, 2], pa.date32())}), here / "messages_dates.parquet")

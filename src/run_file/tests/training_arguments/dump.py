"""Writes the defaults of transformers' TrainingArguments beside this file: python dump.py, once for each version.

`VERSION.yaml` is what `yaml.dump(arguments.to_dict())` gives, and `VERSION-text.yaml` has every value as `str` shows it,
as experiment trackers export it. `5.23.0.yaml` was made with transformers 5.23.0, and so on.
"""

import dataclasses
import pathlib

import transformers
import yaml

here = pathlib.Path(__file__).parent
arguments = transformers.TrainingArguments(output_dir="out/run")
values = arguments.to_dict()
if "logging_dir" in values:
    # It names this machine and the time.
    arguments.logging_dir = values["logging_dir"] = "out/run/runs/Jan01_00-00-00_host"
text = {field.name: str(getattr(arguments, field.name)) for field in dataclasses.fields(arguments)}
for name, content in ((transformers.__version__, values), (f"{transformers.__version__}-text", text)):
    with open(here / f"{name}.yaml", "w") as file:
        file.write(f"# TrainingArguments of transformers {transformers.__version__}, made by dump.py.\n")
        yaml.dump(content, file, sort_keys=False)

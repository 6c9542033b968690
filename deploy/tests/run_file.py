"""Is the run file in the ConfigMap one that `headstart` accepts? Judged by the schema that it prints."""
import functools
import json
import re
import subprocess

import jsonschema
import yaml

from manifests import called, of_kind, pods

MOUNT = "/etc/headstart"


class Loader(yaml.SafeLoader):
    """YAML 1.2, where 1e-4 is a number."""


Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))


@functools.lru_cache(maxsize=None)
def schema():
    printed = subprocess.run(["headstart", "schema"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed)


def problems(documents):
    maps = {document["metadata"]["name"]: document for document in of_kind(documents, "ConfigMap")}
    for name, pod in pods(documents):
        for path in (argument for c in pod["spec"]["containers"] for argument in c.get("args", [])):
            if path.startswith(f"{MOUNT}/"):
                yield from of_argument(name, pod, path, maps)


def of_argument(name, pod, path, maps):
    mounts = [m["name"] for c in pod["spec"]["containers"] for m in c.get("volumeMounts", []) if m["mountPath"] == MOUNT]
    volumes = {volume["name"]: volume.get("configMap", {}).get("name") for volume in pod["spec"].get("volumes", [])}
    source = maps.get(volumes.get(mounts[0])) if mounts else None
    key = path.removeprefix(f"{MOUNT}/")
    if source is None or key not in source.get("data", {}):
        yield f"{name}: {path} is in no ConfigMap"
        return
    try:
        jsonschema.validate(yaml.load(source["data"][key], Loader), schema())
    except (yaml.YAMLError, jsonschema.ValidationError) as error:
        said = getattr(error, "message", str(error)).splitlines()[0]
        yield f"{called(source)}: {key}: {said}"

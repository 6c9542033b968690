#!/usr/bin/env python3
"""pods.py OUT_DIR <manifests: what `podman kube play` takes, from what a cluster takes.

podman plays pods, not Jobs. A Job becomes the pods that the Job controller would make of it: its template, once for every
index. Only these things change:

- A pod's name is its Job's, followed by the index where there are several.
- Volumes of type emptyDir get the pod's name: podman makes them volumes that all pods would share.
- A Secret becomes a file for `podman secret create`, because podman 4 cannot read the ones that it stores itself.

Writes OUT_DIR/POD.yaml, each with the ConfigMaps it mounts, and OUT_DIR/SECRET.json.
"""
import copy
import json
import pathlib
import sys

import yaml


def of_job(job):
    """The pods of a Job, as its controller makes them."""
    spec = job["spec"]
    indexed = spec.get("completionMode") == "Indexed"
    for index in range(spec.get("parallelism", 1)):
        pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(spec["template"])}
        name = f"{job['metadata']['name']}-{index}" if indexed else job["metadata"]["name"]
        pod.setdefault("metadata", {})["name"] = name
        if indexed:
            for container in pod["spec"]["containers"]:
                container.setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
        yield pod


def with_own_volumes(pod):
    """The pod with its name before those of its emptyDir volumes."""
    pod = copy.deepcopy(pod)
    volumes = pod["spec"].get("volumes", [])
    renamed = {v["name"]: f"{pod['metadata']['name']}-{v['name']}" for v in volumes if "emptyDir" in v}
    mounts = [mount for container in pod["spec"]["containers"] for mount in container.get("volumeMounts", [])]
    for named in [*volumes, *mounts]:
        named["name"] = renamed.get(named["name"], named["name"])
    return pod


def pods(documents):
    """All pods that a cluster would run."""
    for document in documents:
        if document["kind"] == "Pod":
            yield with_own_volumes(document)
        elif document["kind"] == "Job":
            if document["spec"].get("completionMode") != "Indexed" and document["spec"].get("parallelism", 1) != 1:
                raise ValueError(f"Job/{document['metadata']['name']}: several pods, but not Indexed: they have no names")
            yield from map(with_own_volumes, of_job(document))


def config_maps(pod, documents):
    """The ConfigMaps that a pod mounts."""
    wanted = {volume["configMap"]["name"] for volume in pod["spec"].get("volumes", []) if "configMap" in volume}
    return [d for d in documents if d["kind"] == "ConfigMap" and d["metadata"]["name"] in wanted]


def files(documents):
    """Yields (name, text) of every file to write."""
    for pod in pods(documents):
        yield f"{pod['metadata']['name']}.yaml", yaml.safe_dump_all([*config_maps(pod, documents), pod], sort_keys=False)
    for document in documents:
        if document["kind"] == "Secret":
            yield f"{document['metadata']['name']}.json", json.dumps(document["data"])


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files(list(yaml.safe_load_all(sys.stdin))):
        (out / name).write_text(text)


if __name__ == "__main__":
    main()

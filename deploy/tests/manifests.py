"""Rendered manifests: how to get them, and how to walk through them."""
import os
import pathlib
import subprocess

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parent.parent
# Kinds that make pods, and where their pod template is.
TEMPLATES = {"Pod": (), "Job": ("spec", "template")}


def folders():
    """The base and every overlay."""
    return [DEPLOY / "base", *sorted(path.parent for path in DEPLOY.glob("overlays/*/kustomization.yaml"))]


def render(folder):
    """The documents of a folder, as `kubectl kustomize` prints them."""
    kubectl = os.environ.get("KUBECTL", "kubectl")
    text = subprocess.run([kubectl, "kustomize", str(folder)], check=True, stdout=subprocess.PIPE, text=True).stdout
    return list(yaml.safe_load_all(text))


def called(document):
    """How a document is named in messages: Job/headstart-worker."""
    return f"{document['kind']}/{document['metadata']['name']}"


def of_kind(documents, *kinds):
    return [document for document in documents if document["kind"] in kinds]


def names(documents, kind):
    return {document["metadata"]["name"] for document in of_kind(documents, kind)}


def template(document):
    """The part of a document that has a pod's metadata and spec."""
    found = document
    for key in TEMPLATES[document["kind"]]:
        found = found[key]
    return found


def pods(documents):
    """Yields (name for messages, pod template) of every document that makes pods."""
    for document in of_kind(documents, *TEMPLATES):
        yield called(document), template(document)


def containers(pod):
    return [*pod["spec"].get("initContainers", []), *pod["spec"].get("containers", [])]

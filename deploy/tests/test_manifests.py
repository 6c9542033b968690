#!/usr/bin/env python3
"""The manifests are sound, and every kind of error planted in them is found."""
import copy
import re
import unittest

import references
import run_file
import schema
import security
from manifests import DEPLOY, folders, of_kind, render, template

EXAMPLE = DEPLOY / "overlays/example"
CHECKS = (schema, security, references, run_file)


def problems(documents):
    return [problem for check in CHECKS for problem in check.problems(documents)]


def first(documents, kind, part=""):
    """The document of a kind whose name contains `part`."""
    return next(d for d in of_kind(documents, kind) if part in d["metadata"]["name"])


def container(documents, part):
    return template(first(documents, "Job", part))["spec"]["containers"][0]


def pod_spec(documents, part):
    return template(first(documents, "Job", part))["spec"]


def rename(mapping, old, new):
    mapping[new] = mapping.pop(old)


def edit(mapping, **values):
    mapping.update(values)


def edit_run_file(documents, old, new):
    data = first(documents, "ConfigMap")["data"]
    assert old in data["run.yaml"]
    data["run.yaml"] = data["run.yaml"].replace(old, new)


# (kind, what is planted, how, what must be said about it)
PLANTED = [
    ("Job", "a misspelt field", lambda d: rename(first(d, "Job", "worker")["spec"], "parallelism", "paralellism"),
     "Job/headstart-worker: Kubernetes 1.31: spec: Additional properties are not allowed ('paralellism'"),
    ("Job", "a misspelt field, newer version", lambda d: rename(first(d, "Job", "worker")["spec"], "parallelism", "paralellism"),
     "Job/headstart-worker: Kubernetes 1.35: spec: Additional properties are not allowed ('paralellism'"),
    ("Job", "a wrong type", lambda d: edit(first(d, "Job", "worker")["spec"], parallelism="four"),
     "'four' is not of type"),
    ("Job", "a misspelt field in a container", lambda d: rename(container(d, "worker"), "args", "arg"), "('arg' was unexpected)"),
    ("Job", "another API version", lambda d: edit(first(d, "Job", "worker"), apiVersion="batch/v1beta9"), "Couldn't find schema"),
    ("Job", "no securityContext", lambda d: container(d, "worker").pop("securityContext"),
     "Job/headstart-worker: container worker: allowPrivilegeEscalation is not false"),
    ("Job", "no securityContext of the pod", lambda d: pod_spec(d, "coordinator").pop("securityContext"),
     "container coordinator: runAsNonRoot is not true"),
    ("Job", "a writable root", lambda d: edit(container(d, "worker")["securityContext"], readOnlyRootFilesystem=False),
     "container worker: readOnlyRootFilesystem is not true"),
    ("Job", "root", lambda d: edit(pod_spec(d, "worker")["securityContext"], runAsUser=0), "runAsUser is 0"),
    ("Job", "no seccomp profile", lambda d: pod_spec(d, "worker")["securityContext"].pop("seccompProfile"),
     "seccompProfile is not RuntimeDefault"),
    ("Job", "a capability", lambda d: edit(container(d, "worker")["securityContext"]["capabilities"], add=["SYS_ADMIN"]),
     "capabilities are added"),
    ("Job", "capabilities kept", lambda d: edit(container(d, "worker")["securityContext"], capabilities={}),
     "capabilities do not drop ALL"),
    ("Job", "a privileged container", lambda d: edit(container(d, "worker")["securityContext"], privileged=True), "privileged is set"),
    ("Job", "a folder of the host", lambda d: pod_spec(d, "worker")["volumes"].append({"name": "h", "hostPath": {"path": "/"}}),
     "volume h is a hostPath"),
    ("Job", "the host's network", lambda d: edit(pod_spec(d, "worker"), hostNetwork=True), "hostNetwork is set"),
    ("Job", "a port of the host", lambda d: edit(container(d, "coordinator")["ports"][0], hostPort=7070), "hostPort 7070 is set"),
    ("Job", "no limit", lambda d: container(d, "worker")["resources"]["limits"].pop("memory"), "resources.limits.memory is missing"),
    ("Job", "a token", lambda d: pod_spec(d, "worker").pop("automountServiceAccountToken"), "automountServiceAccountToken is not false"),
    ("Job", "no grace period", lambda d: pod_spec(d, "worker").pop("terminationGracePeriodSeconds"), "terminationGracePeriodSeconds is missing"),
    ("Job", "an image without a tag", lambda d: edit(container(d, "worker"), image="headstart-worker"), "has no fixed tag"),
    ("Job", "no readinessProbe", lambda d: container(d, "coordinator").pop("readinessProbe"), "no readinessProbe"),
    ("Job", "a probe of another port", lambda d: edit(container(d, "coordinator")["livenessProbe"]["grpc"], port=7071),
     "livenessProbe asks port 7071, which is not declared"),
    ("Job", "an admin port that is not declared", lambda d: container(d, "coordinator")["ports"].pop(),
     "container coordinator: --admin takes 0.0.0.0:9090, whose port is not declared"),
    ("Job", "Prometheus sent elsewhere",
     lambda d: edit(template(first(d, "Job", "coordinator"))["metadata"]["annotations"], **{"prometheus.io/port": "9091"}),
     "prometheus.io/port is 9091, which no container declares"),
    ("Job", "a number as an annotation",
     lambda d: edit(template(first(d, "Job", "coordinator"))["metadata"]["annotations"], **{"prometheus.io/port": 9090}),
     "9090 is not of type"),
    ("Job", "an account that is not there", lambda d: edit(pod_spec(d, "worker"), serviceAccountName="nobody"),
     "there is no ServiceAccount nobody"),
    ("Job", "another address", lambda d: edit(container(d, "worker"), args=["--coordinator", "http://coordinator:7070"]),
     "no Service answers at http://coordinator:7070"),
    ("Job", "another port in the address", lambda d: edit(container(d, "worker"), args=["http://headstart-coordinator:7071"]),
     "no Service answers at http://headstart-coordinator:7071"),
    ("Job", "a volume that is not there", lambda d: pod_spec(d, "worker")["volumes"].clear(), "mounts a volume tmp that is not there"),
    ("Job", "too few completions", lambda d: edit(first(d, "Job", "worker")["spec"], completions=1), "completions is 1"),
    ("Job", "restarts in place", lambda d: edit(pod_spec(d, "worker"), restartPolicy="OnFailure"), "podFailurePolicy needs restartPolicy Never"),
    ("Job", "rules for another container", lambda d: edit(container(d, "worker"), name="main"), "names a container worker that is not there"),
    ("Job", "a secret that must be there", lambda d: container(d, "worker")["envFrom"][0]["secretRef"].pop("optional"),
     "there is no Secret headstart-storage"),
    ("Service", "a misspelt field", lambda d: rename(first(d, "Service")["spec"], "selector", "selectors"), "('selectors' was unexpected)"),
    ("Service", "a wrong type", lambda d: edit(first(d, "Service")["spec"]["ports"][0], port="7070"), "'7070' is not of type"),
    ("Service", "another selector", lambda d: edit(first(d, "Service")["spec"]["selector"], **{"app.kubernetes.io/component": "leader"}),
     "Service/headstart-coordinator: its selector matches 0 pod templates"),
    ("Service", "too wide a selector", lambda d: first(d, "Service")["spec"]["selector"].pop("app.kubernetes.io/component"),
     "its selector matches 2 pod templates"),
    ("Service", "another port", lambda d: edit(first(d, "Service")["spec"]["ports"][0], targetPort="http"), "its pods have no port http"),
    ("Service", "it twice", lambda d: d.append(copy.deepcopy(first(d, "Service"))), "there are two of it"),
    ("ConfigMap", "a misspelt field", lambda d: rename(first(d, "ConfigMap"), "data", "date"), "('date' was unexpected)"),
    ("ConfigMap", "a wrong type", lambda d: edit(first(d, "ConfigMap")["data"], seed=42), "42 is not of type"),
    ("ConfigMap", "another name", lambda d: edit(first(d, "ConfigMap")["metadata"], name="run"), "there is no ConfigMap headstart-run-"),
    ("ConfigMap", "another key", lambda d: rename(first(d, "ConfigMap")["data"], "run.yaml", "job.yaml"),
     "/etc/headstart/run.yaml is in no ConfigMap"),
    ("ConfigMap", "a misspelt run file key", lambda d: edit_run_file(d, "learning_rate", "learing_rate"), "('learing_rate' was unexpected)"),
    ("ServiceAccount", "a misspelt field", lambda d: edit(first(d, "ServiceAccount"), automountToken=False), "('automountToken' was unexpected)"),
    ("ServiceAccount", "a wrong type", lambda d: edit(first(d, "ServiceAccount"), automountServiceAccountToken="no"), "'no' is not of type"),
    ("ServiceAccount", "a token", lambda d: first(d, "ServiceAccount").pop("automountServiceAccountToken"),
     "ServiceAccount/headstart-coordinator: automountServiceAccountToken is not false"),
    ("ServiceAccount", "another name", lambda d: edit(first(d, "ServiceAccount", "worker")["metadata"], name="w"),
     "there is no ServiceAccount headstart-worker"),
    ("NetworkPolicy", "a misspelt field", lambda d: rename(first(d, "NetworkPolicy")["spec"], "ingress", "ingres"), "('ingres' was unexpected)"),
    ("NetworkPolicy", "a wrong type", lambda d: edit(first(d, "NetworkPolicy")["spec"], policyTypes="Ingress"), "'Ingress' is not of type"),
    ("NetworkPolicy", "another selector",
     lambda d: edit(first(d, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"], **{"app.kubernetes.io/component": "leader"}),
     "its podSelector matches no pod template"),
    ("NetworkPolicy", "strangers let in",
     lambda d: edit(first(d, "NetworkPolicy")["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"], x="y"),
     "it lets in pods that do not exist"),
    ("NetworkPolicy", "no admin port", lambda d: container(d, "coordinator")["ports"].pop(), "its pods have no port admin"),
    ("NetworkPolicy", "another port", lambda d: edit(first(d, "NetworkPolicy")["spec"]["ingress"][0]["ports"][0], port=80), "its pods have no port 80"),
    ("Namespace", "a misspelt field", lambda d: rename(first(d, "Namespace")["metadata"], "labels", "lables"), "('lables' was unexpected)"),
    ("Namespace", "a wrong type", lambda d: edit(first(d, "Namespace")["metadata"], labels=["restricted"]), "is not of type"),
    ("Namespace", "another name", lambda d: edit(first(d, "Namespace")["metadata"], name="other"), "Namespace/other: nothing lives in it"),
    ("Namespace", "an object elsewhere", lambda d: edit(first(d, "Service")["metadata"], namespace="other"),
     "objects lie in several namespaces: headstart, other"),
]


class Manifests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rendered = {folder.name: render(folder) for folder in folders()}

    def test_they_are_sound(self):
        for name, documents in self.rendered.items():
            with self.subTest(name):
                self.assertEqual(problems(documents), [])

    def test_every_planted_error_is_found(self):
        for kind, what, plant, said in PLANTED:
            with self.subTest(f"{kind}: {what}"):
                documents = copy.deepcopy(self.rendered["example"])
                plant(documents)
                found = problems(documents)
                self.assertTrue(any(said in problem for problem in found), found)

    def test_errors_are_planted_in_every_kind(self):
        kinds = {document["kind"] for document in self.rendered["example"]}
        self.assertEqual(kinds, {kind for kind, *_ in PLANTED})

    def test_an_overlay_sets_run_file_images_and_workers(self):
        documents = self.rendered["example"]
        self.assertEqual(first(documents, "Job", "worker")["spec"]["parallelism"], 4)
        self.assertIn("five_to_nine", first(documents, "ConfigMap")["data"]["run.yaml"])
        for part in ("coordinator", "worker"):
            self.assertEqual(container(documents, part)["image"], f"registry.example.com/headstart-{part}:0.1.0")

    def test_images_have_the_version_of_the_programs(self):
        version = re.search(r'^version = "(.*)"$', (DEPLOY.parent / "Cargo.toml").read_text(), re.MULTILINE).group(1)
        for part in ("coordinator", "worker"):
            self.assertEqual(container(self.rendered["base"], part)["image"], f"headstart-{part}:{version}")


if __name__ == "__main__":
    unittest.main()

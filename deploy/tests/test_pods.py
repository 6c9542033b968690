#!/usr/bin/env python3
"""What `make e2e` plays is what a cluster would run: a Job's template, unchanged but for names."""
import json
import sys
import unittest

import yaml

from manifests import DEPLOY, of_kind, render

sys.path.insert(0, str(DEPLOY / "e2e"))
import pods  # noqa: E402


class Pods(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.documents = render(DEPLOY / "overlays/e2e")
        cls.written = {}
        for name, text in pods.files(cls.documents):
            assert name not in cls.written, name
            cls.written[name] = text

    def played(self, pod):
        return list(yaml.safe_load_all(self.written[f"{pod}.yaml"]))

    def template(self, job):
        return next(d for d in of_kind(self.documents, "Job") if d["metadata"]["name"] == job)["spec"]["template"]

    def test_there_is_a_pod_for_every_index(self):
        expected = {"headstart-coordinator.yaml", "headstart-s3.yaml"} | {f"headstart-worker-{i}.yaml" for i in range(3)}
        self.assertEqual({name for name in self.written if name.endswith(".yaml")}, expected)

    def test_the_coordinator_has_the_name_that_its_service_has(self):
        services = {d["metadata"]["name"] for d in of_kind(self.documents, "Service")}
        self.assertEqual(services, {"headstart-coordinator", "headstart-s3"})
        self.assertTrue(all(f"{name}.yaml" in self.written for name in services))

    def test_a_worker_differs_from_its_template_in_names_and_index_only(self):
        template = self.template("headstart-worker")
        for index in range(3):
            (pod,) = self.played(f"headstart-worker-{index}")
            container = pod["spec"]["containers"][0]
            self.assertEqual(container.pop("env"), [{"name": "JOB_COMPLETION_INDEX", "value": str(index)}])
            self.assertEqual(pod["spec"]["volumes"][0]["name"], f"headstart-worker-{index}-tmp")
            self.assertEqual(pod["metadata"]["labels"], template["metadata"]["labels"])
            pod["spec"]["volumes"][0]["name"] = container["volumeMounts"][0]["name"] = "tmp"
            self.assertEqual(pod["spec"], template["spec"])

    def test_the_coordinator_keeps_its_spec_and_brings_the_run_file(self):
        config, pod = self.played("headstart-coordinator")
        self.assertEqual(config, of_kind(self.documents, "ConfigMap")[0])
        spec = self.template("headstart-coordinator")["spec"]
        self.assertEqual(pod["spec"]["securityContext"], spec["securityContext"])
        self.assertEqual([v["name"] for v in pod["spec"]["volumes"]], ["run", "headstart-coordinator-tmp"])
        own, theirs = pod["spec"]["containers"][0], spec["containers"][0]
        self.assertEqual({**own, "volumeMounts": None}, {**theirs, "volumeMounts": None})

    def test_a_secret_becomes_what_podman_reads(self):
        (secret,) = of_kind(self.documents, "Secret")
        self.assertEqual(json.loads(self.written[f"{secret['metadata']['name']}.json"]), secret["data"])

    def test_the_templates_are_not_changed(self):
        self.assertEqual(self.documents, render(DEPLOY / "overlays/e2e"))

    def test_a_job_whose_pods_would_share_a_name_is_refused(self):
        job = {"kind": "Job", "metadata": {"name": "j"}, "spec": {"parallelism": 2, "template": {"spec": {}}}}
        with self.assertRaisesRegex(ValueError, "Job/j: several pods, but not Indexed"):
            list(pods.pods([job]))


if __name__ == "__main__":
    unittest.main()

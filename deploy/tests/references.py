"""Does everything that one manifest says about another hold?"""
import json
import re

from manifests import called, containers, names, of_kind, pods

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
LISTENERS = ("--listen", "--admin")


def problems(documents):
    yield from twice(documents)
    for service in of_kind(documents, "Service"):
        yield from of_service(service, documents)
    for policy in of_kind(documents, "NetworkPolicy"):
        yield from of_policy(policy, documents)
    for name, pod in pods(documents):
        for problem in of_pod(pod, documents):
            yield f"{name}: {problem}"
    for job in of_kind(documents, "Job"):
        yield from of_job(job)
    yield from of_namespaces(documents)


def selected(selector, documents):
    """The pods whose labels a selector names. An empty one names all."""
    wanted = selector.items()
    return [pod for _, pod in pods(documents) if wanted <= pod["metadata"].get("labels", {}).items()]


def ports_of(pod_or_container):
    """Names and numbers of the TCP ports that are declared."""
    found = containers(pod_or_container) if "spec" in pod_or_container else [pod_or_container]
    declared = [port for container in found for port in container.get("ports", [])]
    return {port["containerPort"] for port in declared} | {port["name"] for port in declared if "name" in port}


def twice(documents):
    seen = set()
    for document in documents:
        if called(document) in seen:
            yield f"{called(document)}: there are two of it"
        seen.add(called(document))


def of_service(service, documents):
    spec = service["spec"]
    chosen = selected(spec.get("selector", {}), documents)
    if len(chosen) != 1:
        yield f"{called(service)}: its selector matches {len(chosen)} pod templates, expected 1"
    for port in spec.get("ports", []):
        target = port.get("targetPort", port["port"])
        if not all(target in ports_of(pod) for pod in chosen):
            yield f"{called(service)}: its pods have no port {target}"


def of_policy(policy, documents):
    spec = policy["spec"]
    chosen = selected(spec["podSelector"].get("matchLabels", {}), documents)
    if not chosen:
        yield f"{called(policy)}: its podSelector matches no pod template"
    for rule in spec.get("ingress", []):
        for peer in rule.get("from", []):
            if "podSelector" in peer and not selected(peer["podSelector"].get("matchLabels", {}), documents):
                yield f"{called(policy)}: it lets in pods that do not exist"
        for port in rule.get("ports", []):
            if not all(port["port"] in ports_of(pod) for pod in chosen):
                yield f"{called(policy)}: its pods have no port {port['port']}"


def of_pod(pod, documents):
    spec = pod["spec"]
    yield from of_scrape(pod)
    account = spec.get("serviceAccountName", "default")
    if account != "default" and account not in names(documents, "ServiceAccount"):
        yield f"there is no ServiceAccount {account}"
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for volume in spec.get("volumes", []):
        for kind, key in (("configMap", "name"), ("secret", "secretName")):
            if kind in volume:
                yield from of_source(kind, volume[kind], volume[kind].get(key), documents)
    for container in containers(pod):
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"container {container['name']} mounts a volume {mount['name']} that is not there"
        for source in container.get("envFrom", []):
            for kind, key in (("configMap", "configMapRef"), ("secret", "secretRef")):
                if key in source:
                    yield from of_source(kind, source[key], source[key].get("name"), documents)
        yield from of_probes(container)
        yield from of_listeners(container)
        yield from of_addresses(container, documents)


def of_source(kind, source, name, documents):
    """A ConfigMap or Secret must be there, unless it is optional."""
    kind = {"configMap": "ConfigMap", "secret": "Secret"}[kind]
    found = [document for document in of_kind(documents, kind) if document["metadata"]["name"] == name]
    if not found and not source.get("optional"):
        yield f"there is no {kind} {name}"
    for item in source.get("items", []):
        if found and item["key"] not in found[0].get("data", {}):
            yield f"{kind} {name} has no {item['key']}"


def of_probes(container):
    for key in PROBES:
        for kind in ("grpc", "tcpSocket", "httpGet"):
            port = container.get(key, {}).get(kind, {}).get("port")
            if port is not None and port not in ports_of(container):
                yield f"container {container['name']}: {key} asks port {port}, which is not declared"


def of_listeners(container):
    """What a program is told to listen on is declared."""
    args = container.get("args", [])
    for flag, value in zip(args, args[1:]):
        if flag in LISTENERS and int(value.rpartition(":")[2]) not in ports_of(container):
            yield f"container {container['name']}: {flag} takes {value}, whose port is not declared"


def of_scrape(pod):
    """Prometheus is sent to a port that is declared."""
    annotations = pod.get("metadata", {}).get("annotations", {})
    port = annotations.get("prometheus.io/port")
    if annotations.get("prometheus.io/scrape") == "true" and (port is None or int(port) not in ports_of(pod)):
        yield f"prometheus.io/port is {port}, which no container declares"


def of_addresses(container, documents):
    """http://NAME:PORT in an argument or a variable is a Service of ours, unless NAME has a dot."""
    services = {
        service["metadata"]["name"]: {port["port"] for port in service["spec"]["ports"]}
        for service in of_kind(documents, "Service")
    }
    said = json.dumps([container.get("args", []), container.get("env", [])])
    for name, port in re.findall(r"http://([a-z0-9-]+):(\d+)", said):
        if int(port) not in services.get(name, ()):
            yield f"container {container['name']}: no Service answers at http://{name}:{port}"


def of_job(job):
    """Exit code rules name their container; an indexed job of workers runs all of them at once."""
    spec = job["spec"]
    pod_containers = {container["name"] for container in containers(spec["template"])}
    for rule in spec.get("podFailurePolicy", {}).get("rules", []):
        name = rule.get("onExitCodes", {}).get("containerName")
        if name is not None and name not in pod_containers:
            yield f"{called(job)}: podFailurePolicy names a container {name} that is not there"
    if "podFailurePolicy" in spec and spec["template"]["spec"].get("restartPolicy") != "Never":
        yield f"{called(job)}: podFailurePolicy needs restartPolicy Never"
    if spec.get("completionMode") == "Indexed" and spec.get("parallelism") != spec.get("completions"):
        yield f"{called(job)}: parallelism is {spec.get('parallelism')}, but completions is {spec.get('completions')}"
    if "backoffLimitPerIndex" in spec and spec.get("completionMode") != "Indexed":
        yield f"{called(job)}: backoffLimitPerIndex needs completionMode Indexed"


def of_namespaces(documents):
    """All objects live in one namespace, and it is theirs where one is made."""
    used = {d["metadata"].get("namespace") for d in documents if d["kind"] != "Namespace"}
    if len(used) > 1:
        yield f"objects lie in several namespaces: {', '.join(sorted(str(name) for name in used))}"
    for name in names(documents, "Namespace") - used:
        yield f"Namespace/{name}: nothing lives in it"

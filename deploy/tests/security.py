"""Pod Security Standards, profile "restricted", and what we ask beyond it.

The rules are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/.
"""
from manifests import containers, of_kind, called, pods

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SECCOMP = {"RuntimeDefault", "Localhost"}
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}
SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
HANDLERS = ("startupProbe", "readinessProbe", "livenessProbe")


def problems(documents):
    for account in of_kind(documents, "ServiceAccount"):
        if account.get("automountServiceAccountToken") is not False:
            yield f"{called(account)}: automountServiceAccountToken is not false"
    for name, pod in pods(documents):
        spec = pod["spec"]
        for problem in [*of_pod(spec), *ours_of_pod(spec)]:
            yield f"{name}: {problem}"
        for container in containers(pod):
            for problem in [*of_container(container, spec), *ours_of_container(container)]:
                yield f"{name}: container {container['name']}: {problem}"


def of_pod(spec):
    """Restricted, for what a pod says about all its containers."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield f"{key} is set"
    for volume in spec.get("volumes", []):
        kinds = set(volume) - {"name"}
        if not kinds <= VOLUMES:
            yield f"volume {volume['name']} is a {', '.join(sorted(kinds - VOLUMES))}"
    context = spec.get("securityContext", {})
    for sysctl in context.get("sysctls", []):
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']} is not allowed"
    yield from of_context(context)


def of_context(context):
    """Restricted, for what a pod and a container say alike."""
    if context.get("runAsUser") == 0:
        yield "runAsUser is 0"
    if context.get("windowsOptions", {}).get("hostProcess"):
        yield "hostProcess is set"
    selinux = context.get("seLinuxOptions", {})
    if selinux.get("type", "") not in SELINUX or selinux.get("user") or selinux.get("role"):
        yield "seLinuxOptions are not allowed"
    if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") == "Unconfined":
        yield "appArmorProfile is Unconfined"


def of_container(container, spec):
    """Restricted, for one container; the pod's settings stand where it has none of its own."""
    own, pod = container.get("securityContext", {}), spec.get("securityContext", {})
    yield from of_context(own)
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot is not true"
    seccomp = own.get("seccompProfile", pod.get("seccompProfile", {}))
    if seccomp.get("type") not in SECCOMP:
        yield "seccompProfile is not RuntimeDefault"
    if own.get("privileged"):
        yield "privileged is set"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if "ALL" not in own.get("capabilities", {}).get("drop", []):
        yield "capabilities do not drop ALL"
    if set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities are added"
    if own.get("procMount", "Default") != "Default":
        yield "procMount is not Default"
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield f"hostPort {port['hostPort']} is set"
    handlers = [container.get(key, {}) for key in HANDLERS] + list(container.get("lifecycle", {}).values())
    for handler in handlers:
        if any(handler.get(kind, {}).get("host") for kind in ("httpGet", "tcpSocket")):
            yield "a probe or a lifecycle handler names a host"


def ours_of_pod(spec):
    if spec.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken is not false"
    if not spec.get("securityContext", {}).get("runAsUser"):
        yield "runAsUser is missing"
    if "terminationGracePeriodSeconds" not in spec:
        yield "terminationGracePeriodSeconds is missing"


def ours_of_container(container):
    if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem is not true"
    for key in ("requests", "limits"):
        for resource in ("cpu", "memory"):
            if resource not in container.get("resources", {}).get(key, {}):
                yield f"resources.{key}.{resource} is missing"
    if container.get("ports") and "readinessProbe" not in container:
        yield "it has a port, but no readinessProbe"
    name, _, tag = container["image"].rpartition(":")
    if "@" not in container["image"] and (not name or "/" in tag or tag == "latest"):
        yield f"image {container['image']} has no fixed tag"

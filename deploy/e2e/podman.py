"""podman, as far as `make e2e` needs it."""
import json
import pathlib
import subprocess

NETWORK = "headstart-e2e"


class PodmanError(Exception):
    """A podman command failed; the message is podman's."""


def podman(*arguments, timeout=120):
    """Runs podman and returns what it prints."""
    done = subprocess.run(["podman", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    if done.returncode != 0:
        raise PodmanError(f"podman {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def main_container(pod):
    """A pod's container. The manifests have one container a pod; podman adds the pod's name before its own."""
    members = json.loads(podman("pod", "inspect", pod))["Containers"]
    (name,) = [member["Name"] for member in members if member["Name"].startswith(f"{pod}-")]
    return name


def inspect(container):
    return json.loads(podman("container", "inspect", container))[0]


def address(pod):
    """The pod's own address, which its infra container holds."""
    infra = json.loads(podman("pod", "inspect", pod))["InfraContainerID"]
    return inspect(infra)["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]


def play(file, *options):
    podman("kube", "play", "--network", NETWORK, *options, str(file))


def remove_pod(pod):
    """Removes a pod at once, and its volumes."""
    podman("pod", "rm", "--force", "--time", "0", pod)
    for volume in podman("volume", "ls", "--quiet").split():
        if volume.startswith(f"{pod}-"):
            podman("volume", "rm", "--force", volume)


def clear():
    """Removes all pods, volumes, secrets and networks. The storage is e2e's own, so all of them are e2e's."""
    podman("pod", "rm", "--all", "--force", "--time", "0")
    podman("volume", "rm", "--all", "--force")
    for secret in podman("secret", "ls", "--format", "{{.ID}}").split():
        podman("secret", "rm", secret)
    podman("network", "rm", "--force", NETWORK)


def create_secrets(folder):
    for file in sorted(pathlib.Path(folder).glob("*.json")):
        podman("secret", "create", file.stem, str(file))


def logs(container):
    done = subprocess.run(["podman", "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def of_process(container, name):
    """A file of the kernel about the container's first process."""
    return pathlib.Path(f"/proc/{inspect(container)['State']['Pid']}/{name}").read_text()


def status_of_process(container):
    return dict(line.split(":\t", 1) for line in of_process(container, "status").splitlines())


def handles(container, signal):
    """Has the first process a handler for this signal? Without one it ignores it."""
    return bool(int(status_of_process(container)["SigCgt"], 16) >> (signal - 1) & 1)


def confinement(container):
    """How the container's first process is confined."""
    status = status_of_process(container)
    mounts = [line.split() for line in of_process(container, "mountinfo").splitlines()]
    (root,) = [mount for mount in mounts if mount[4] == "/"]
    return {
        "user": int(status["Uid"].split()[0]),
        "root": root[5].split(",")[0],
        "capabilities": int(status["CapBnd"], 16) | int(status["CapEff"], 16),
        "no new privileges": status["NoNewPrivs"],
        "seccomp": status["Seccomp"],
    }

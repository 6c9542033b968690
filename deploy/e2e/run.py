#!/usr/bin/env python3
"""The manifests' pods, played by podman, train from s3:// to s3://; a worker and the coordinator are killed; the weights
are a laptop's.

Wants headstart on PATH, KUBECTL, and the images that e2e.sh builds. Leaves nothing behind but runs/e2e.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import yaml

import podman
from podman import main_container, play
from s3 import BUCKET, Store

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples/digits"
WORK = ROOT / "runs/e2e"
PODS = WORK / "pods"
OVERLAY = ROOT / "deploy/overlays/e2e"
OUTPUT = "runs/five_to_nine"
COORDINATOR, S3 = "headstart-coordinator", "headstart-s3"
WORKERS = [f"headstart-worker-{index}" for index in range(3)]
VICTIM = WORKERS[1]
# Seconds: for one thing to happen, and for the whole run.
PATIENCE = 120
RUN_PATIENCE = 600
TERMINATED = 143


class Failed(Exception):
    """What did not happen, in words."""


def say(text):
    print(f"[{time.monotonic() - STARTED:4.0f} s] {text}", flush=True)


def until(what, question, patience=PATIENCE):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + patience
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise Failed(f"waited {patience} s for this: {what}")
        time.sleep(0.2)


def headstart(*arguments, environment=None):
    """Runs headstart here; its output is shown only if it fails."""
    done = subprocess.run(
        ["headstart", *map(str, arguments)], env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=RUN_PATIENCE,
    )
    if done.returncode != 0:
        raise Failed(f"headstart {arguments[0]} ended with exit code {done.returncode}:\n{done.stdout}")


def status():
    """What the coordinator says about its run; None while nobody answers."""
    url = f"http://{podman.address(COORDINATOR)}:7070"
    done = subprocess.run(["headstart", "status", "--json", "--coordinator", url], capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return json.loads(done.stdout)
    state = podman.inspect(main_container(COORDINATOR))["State"]
    if state["Status"] == "exited":
        raise Failed(f"the coordinator ended with exit code {state['ExitCode']}")
    return None


def admin(path):
    """The answer of the coordinator's admin port, as (HTTP status, text)."""
    try:
        with urllib.request.urlopen(f"http://{podman.address(COORDINATOR)}:9090{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def check_admin():
    """The admin port answers as it should while the run trains."""
    for path in ("/healthz", "/readyz"):
        if admin(path) != (200, "ok\n"):
            raise Failed(f"{path} answers {admin(path)}, expected 200 and ok")
    code, metrics = admin("/metrics")
    if code != 200 or "\nheadstart_step " not in metrics:
        raise Failed(f"/metrics answers {code} without headstart_step:\n{metrics[:500]}")
    say(f"the admin port answers: healthy, ready, {len(metrics.splitlines())} lines of metrics")


def delivered(answer):
    """Shards by worker name, of the workers that have a session. A name ends in a process id."""
    return {worker["name"].split()[0]: worker["shards"] for worker in answer["workers"]}


def render():
    """The manifests as pods for podman, in PODS."""
    with open(WORK / "manifests.yaml", "w") as out:
        subprocess.run([os.environ["KUBECTL"], "kustomize", str(OVERLAY)], check=True, stdout=out)
    with open(WORK / "manifests.yaml") as manifests:
        subprocess.run([sys.executable, str(ROOT / "deploy/e2e/pods.py"), str(PODS)], check=True, stdin=manifests)


def head_start():
    """Data, and a short training here that gives the checkpoint to start from."""
    if not (DIGITS / "data").is_dir():
        subprocess.run([sys.executable, str(DIGITS / "prepare.py")], check=True, stdout=subprocess.DEVNULL)
    output = WORK / "zero_to_four"
    sets = [f"output_dir={output}", "max_steps=60", "warmup_steps=6", "eval_strategy=no"]
    headstart("train", DIGITS / "pretrain.yaml", *(part for key in sets for part in ("--set", key)))
    return output / "final"


def start_store(checkpoint):
    play(PODS / f"{S3}.yaml")
    store = Store(podman.address(S3))
    store.make_bucket(PATIENCE)
    images = store.upload(DIGITS / "data/five_to_nine", "digits/five_to_nine")
    files = store.upload(checkpoint, "models/zero_to_four")
    say(f"uploaded {images} images and a checkpoint of {files} files to s3://{BUCKET} at {store.environment['AWS_ENDPOINT_URL']}")
    return store


def check_confinement():
    """Non-root, a read-only root and no capabilities: asked of the kernel, not of podman."""
    expected = {"user": 65532, "root": "ro", "capabilities": 0, "no new privileges": "1", "seccomp": "2"}
    for pod in [COORDINATOR, S3, *WORKERS]:
        found = podman.confinement(main_container(pod))
        if found != expected:
            raise Failed(f"{pod} runs with {found}, expected {expected}")
    say("every container runs as user 65532 with a read-only root, no capabilities, seccomp and no new privileges")


def train(store):
    """The run, with a worker and the coordinator killed in the middle of it and played again. Returns the hash of its weights."""
    for pod in [*WORKERS, COORDINATOR]:
        play(PODS / f"{pod}.yaml")
    addresses = {pod: podman.address(pod) for pod in [S3, COORDINATOR, *WORKERS]}
    if len(set(addresses.values())) != len(addresses):
        raise Failed(f"pods share addresses: {addresses}")
    say("playing " + ", ".join(f"{pod} at {where}" for pod, where in addresses.items()))
    check_confinement()

    def all_at_work():
        answer = status()
        return answer and len([count for count in delivered(answer).values() if count > 0]) == len(WORKERS) and answer
    answer = until("all workers have delivered shards", all_at_work)
    say(f"step {answer['step']} of {answer['total_steps']}: shards delivered: {delivered(answer)}")
    check_admin()

    quarter = answer["total_steps"] // 4
    answer = until(f"step {quarter}", lambda: (found := status()) and found["step"] >= quarter and found, RUN_PATIENCE)
    podman.podman("kill", "--signal", "KILL", main_container(VICTIM))
    killed_at = answer["step"]
    say(f"step {killed_at}: killed {VICTIM} with SIGKILL")
    answer = until("the coordinator lost the worker", lambda: (found := status()) and VICTIM not in delivered(found) and found)
    answer = until("the run goes on", lambda: (found := status()) and found["step"] > answer["step"] + 10 and found)
    say(f"step {answer['step']}: the run goes on with {len(answer['workers'])} workers")
    play(PODS / f"{VICTIM}.yaml", "--replace")
    answer = until(f"{VICTIM} is back at work", lambda: (found := status()) and delivered(found).get(VICTIM) and found)
    say(f"step {answer['step']}: {VICTIM} was played again, as the Job controller would, and is back at work")

    podman.podman("kill", "--signal", "KILL", main_container(COORDINATOR))
    say(f"step {answer['step']}: killed the coordinator with SIGKILL")
    play(PODS / f"{COORDINATOR}.yaml", "--replace")
    answer = until("the next coordinator goes on", lambda: (found := status()) and found["step"] > answer["step"] and found)
    if "taken over" not in podman.logs(main_container(COORDINATOR)):
        raise Failed("the next coordinator did not take the run over")
    say(f"step {answer['step']}: the next coordinator took the run over, and {len(answer['workers'])} workers found it")

    for pod in [COORDINATOR, *WORKERS]:
        code = podman.podman("wait", main_container(pod), timeout=RUN_PATIENCE)
        if code != "0":
            raise Failed(f"{pod} ended with exit code {code}, expected 0")
    workers = json.loads(store.read(f"{OUTPUT}/final/workers.json"))["workers"]
    say(f"finished; shards by worker: {[worker['shards'] for worker in workers]}; all ended with exit code 0")
    return hashlib.sha256(store.read(f"{OUTPUT}/final/model.safetensors")).hexdigest()


def on_a_laptop(store):
    """The same run file here, with one worker. Returns the hash of its weights."""
    output = WORK / "laptop"
    headstart("train", OVERLAY / "run.yaml", "--workers", "1", "--set", f"output_dir={output}", environment=store.environment)
    say("trained with one worker on the host")
    return hashlib.sha256((output / "final/model.safetensors").read_bytes()).hexdigest()


def stop(pod, grace):
    """SIGTERM, as a cluster sends it. Returns the seconds it took; SIGKILL at the end of the grace period is a failure."""
    began = time.monotonic()
    podman.podman("stop", "--time", str(grace), main_container(pod), timeout=grace + PATIENCE)
    took = time.monotonic() - began
    code = podman.inspect(main_container(pod))["State"]["ExitCode"]
    if code != TERMINATED:
        raise Failed(f"{pod} ended with exit code {code} after SIGTERM, expected {TERMINATED}")
    return took


def grace_of(pod):
    *_, played = yaml.safe_load_all((PODS / f"{pod}.yaml").read_text())
    return played["spec"]["terminationGracePeriodSeconds"]


def terminate(store):
    """SIGTERM in the middle of training, and while the coordinator waits for a storage that does not answer."""
    for pod in [COORDINATOR, *WORKERS]:
        podman.remove_pod(pod)
    store.remove(OUTPUT)
    for pod in [WORKERS[0], COORDINATOR]:
        play(PODS / f"{pod}.yaml")
    until("training", lambda: (found := status()) and found["step"] > 0)
    took = stop(COORDINATOR, grace_of(COORDINATOR))
    kept = {key.split("/")[2] for key in store.keys(f"{OUTPUT}/checkpoint-")}
    if len(kept) != 1:
        raise Failed(f"SIGTERM left checkpoints {sorted(kept)}, expected one")
    say(f"SIGTERM in training: the coordinator wrote {kept.pop()} and ended with exit code 143 in {took:.1f} s")

    podman.remove_pod(COORDINATOR)
    podman.podman("pause", main_container(S3))
    try:
        play(PODS / f"{COORDINATOR}.yaml")
        until("the coordinator handles SIGTERM", lambda: podman.handles(main_container(COORDINATOR), signal.SIGTERM))
        took = stop(COORDINATOR, grace_of(COORDINATOR))
    finally:
        podman.podman("unpause", main_container(S3))
    say(f"SIGTERM while storage does not answer: it ended with exit code 143 in {took:.1f} s")


def story():
    checkpoint = head_start()
    render()
    podman.podman("network", "create", podman.NETWORK)
    podman.create_secrets(PODS)
    store = start_store(checkpoint)
    played, laptop = train(store), on_a_laptop(store)
    print(f"{played}  model.safetensors, three workers in containers, one killed, and the coordinator")
    print(f"{laptop}  model.safetensors, one worker on the host", flush=True)
    if played != laptop:
        raise Failed("the weights differ")
    say("the same weights, bit for bit")
    terminate(store)


def keep_logs():
    """Saves what the containers said, for whoever looks into a failure."""
    for pod in [COORDINATOR, S3, *WORKERS]:
        with contextlib.suppress(podman.PodmanError, ValueError):
            (WORK / f"{pod}.log").write_text(podman.logs(main_container(pod)))


def main():
    # Whatever ends this process, it cleans up first.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(f"headstart: {signal.Signals(received).name}"))
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    podman.clear()
    try:
        story()
    except (Failed, podman.PodmanError, subprocess.SubprocessError) as error:
        keep_logs()
        sys.exit(f"headstart: {error}\nThe containers' logs: {WORK.relative_to(ROOT)}/*.log")
    except KeyboardInterrupt:
        sys.exit("headstart: interrupted")
    finally:
        podman.clear()
    say("cleaned up")


STARTED = time.monotonic()
if __name__ == "__main__":
    main()

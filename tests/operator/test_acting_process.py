"""The operator as a process: its command line, how it ends, and what it says when it cannot begin."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

import cellwall
from cellwall_operator import settings
from cellwall_operator.api import LEASES, SERVICES
from cellwall_operator.settings import Settings, parse

from .acting_world import until
from .api_double import ApiDouble, serving


def test_without_arguments_it_fits_a_deployment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("cellwall-system\n")
    monkeypatch.setattr(settings, "NAMESPACE_FILE", tmp_path / "namespace")
    monkeypatch.setattr("socket.gethostname", lambda: "cellwall-7d4f-x")
    assert parse([]) == Settings(
        services_image=f"cellwall/services:{cellwall.__version__}",
        lease_namespace="cellwall-system",
        identity="cellwall-7d4f-x",
    )


def test_every_setting_can_be_said() -> None:
    line = (
        "--services-image i --pull-policy Never --namespaces a,b, --no-leader-election --lease-namespace ln"
        " --lease-name l --identity me --kubeconfig f --kube-context c --host h --metrics-port 1 --resync-seconds 2"
        " --log-level debug"
    )
    assert parse(line.split()) == Settings(
        services_image="i",
        pull_policy="Never",
        namespaces=("a", "b"),
        leader_election=False,
        lease_namespace="ln",
        lease_name="l",
        identity="me",
        kubeconfig="f",
        kube_context="c",
        host="h",
        metrics_port=1,
        resync_s=2.0,
        log_level="debug",
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("--resync-seconds 0", "it must be in 0..3600"),
        ("--pull-policy always", "invalid choice"),
        ("--metrics-port http", "invalid int"),
        ("--namespace a b", "unrecognized arguments"),
    ],
)
def test_what_is_wrong_is_said(wrong: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(wrong.split())
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    page = capsys.readouterr().out
    for part in ("--kube-context kind-cellwall", "part-of=cellwall", "kubectl get metadataservices -A"):
        assert part in page


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cellwall_operator", *arguments, stderr=asyncio.subprocess.PIPE
    )


async def test_an_unknown_context_is_one_line(tmp_path: Path) -> None:
    process = await start("--kubeconfig", str(tmp_path / "none"), "--kube-context", "kind-nowhere")
    _, said = await process.communicate()
    assert process.returncode == 3
    assert said.decode().startswith("cellwall-operator: kubeconfig: ") and said.count(b"\n") == 1


async def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    async with serving(ApiDouble()) as double:
        process = await start("--kubeconfig", kubeconfig(tmp_path, double), "--metrics-port", double.url.split(":")[-1])
        _, said = await process.communicate()
    assert process.returncode == 3
    assert b"--metrics-port" in said and said.count(b"\n") == 1


def kubeconfig(folder: Path, double: ApiDouble) -> str:
    file = folder / "config"
    file.write_text(
        "{apiVersion: v1, kind: Config, current-context: d, contexts: [{name: d, context: {cluster: d, user: d}}],"
        f" clusters: [{{name: d, cluster: {{server: '{double.url}'}}}}], users: [{{name: d, user: {{}}}}]}}"
    )
    return str(file)


async def test_a_signal_ends_it_and_the_lease_is_anybodys(tmp_path: Path, unused_tcp_port: int) -> None:
    async with serving(ApiDouble()) as double:
        double.seed(SERVICES, "n", "w", spec={})
        process = await start(
            *("--kubeconfig", kubeconfig(tmp_path, double), "--identity", "one"),
            *("--host", "127.0.0.1", "--metrics-port", str(unused_tcp_port)),
        )
        try:
            await until(lambda: "status" in double.get(SERVICES, "n", "w"))  # that it has no fleet
            lease = double.get(LEASES, "default", "cellwall-operator")
            assert lease["spec"]["holderIdentity"] == "one"
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                _, said = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, said.decode()
        assert b"Traceback" not in said
        assert double.get(LEASES, "default", "cellwall-operator")["spec"]["holderIdentity"] == ""

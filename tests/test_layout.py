"""The repository keeps its own rules: names that shadow nothing, versions and links that agree, modules of
one page, and chance only where it stands written why."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import cellwall

ROOT = Path(__file__).parent.parent
SOURCE_ROOTS = ("core/src", "services/src", "experiments/src", "operator/src")
TOP_LEVEL = ("charts", "cluster", "core", "experiments", "loadtests", "operator", "services", "tests")
LINES_MAX = 300


def modules(*folders: str) -> list[Path]:
    """Python files below these folders, as paths from the repository's root."""
    return sorted(path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tree(module: Path) -> ast.Module:
    return ast.parse((ROOT / module).read_text(), str(module))


def imports(module: Path) -> Iterator[str]:
    """Full names of absolute imports, also of those for typing only."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("folder", TOP_LEVEL)
def test_no_top_level_folder_is_a_package(folder: str) -> None:
    """`operator/` as a package shadows the standard library, and only where nothing has loaded that before."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_operator_is_the_standard_one_where_the_repository_is_the_working_folder() -> None:
    code = "import operator; print(operator.__spec__.origin)"
    # -c puts the working folder first on the path; -S keeps site packages from importing operator earlier
    shown = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert Path(shown.stdout.strip()).is_relative_to(sysconfig.get_path("stdlib"))


@pytest.mark.parametrize("folder", ("loadtests", *SOURCE_ROOTS))
def test_nothing_on_a_search_path_shadows_the_standard_library(folder: str) -> None:
    """Locust and `kopf run` put these folders first on the path: queue.py here breaks imports far away."""
    if (ROOT / folder).is_dir():
        names = {path.stem for path in (ROOT / folder).iterdir()}
        assert not names & set(sys.stdlib_module_names)


# ---------------------------------------------------------------- what users read


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    newest = re.search(
        r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert newest is not None
    assert project["version"] == newest[1] == cellwall.__version__


@pytest.mark.parametrize("page", sorted(path.name for path in ROOT.glob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / page).read_text())
    missing = [link for link in links if "://" not in link and not (ROOT / link).exists()]
    assert missing == []


def test_the_readme_begins_with_two_commands_and_names_no_target_that_is_none() -> None:
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert [line.split("#")[0].strip() for line in blocks[0].splitlines()] == ["make demo", "make test"]
    named = set(re.findall(r"^make ([a-z-]+)", "".join(blocks), re.MULTILINE)) | set(
        re.findall(r"`make ([a-z-]+)", readme)
    )
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert named <= targets


def test_every_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    assert phony == set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))


def test_ci_is_what_a_user_does() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text().splitlines() if not line.startswith("#")]
    called = [line for line in lines if re.match(r"\s*make\b", line)]
    assert called == ['make test-local 2>&1 | tee "$log" || status=$?']
    assert not any(re.search(r"\b(apt|apt-get|pip|uv|curl|wget)\b", line) for line in lines)


# ---------------------------------------------------------------- modules

SOURCES = modules(*SOURCE_ROOTS)


@pytest.mark.parametrize("module", SOURCES, ids=str)
def test_a_module_says_what_it_decides_in_one_page(module: Path) -> None:
    assert ast.get_docstring(tree(module)), "no docstring"
    lines = len((ROOT / module).read_text().splitlines())
    assert lines <= LINES_MAX, f"{lines} lines"


@pytest.mark.parametrize("module", modules("core/src"), ids=str)
def test_the_core_needs_nothing_but_msgspec(module: Path) -> None:
    """The import contracts name what is forbidden; this names all that is allowed."""
    foreign = {name.split(".")[0] for name in imports(module)} - set(sys.stdlib_module_names)
    assert foreign <= {"msgspec", "cellwall"}


@pytest.mark.parametrize("module", modules("loadtests"), ids=str)
def test_customers_know_only_the_core(module: Path) -> None:
    assert not {name.split(".")[0] for name in imports(module)} & {"cellwall_services", "cellwall_lab"}


# ---------------------------------------------------------------- nothing fails by coin

# Rule 1 of honesty: no request fails by random draw. Who may draw, or hand on a generator, and what for.
# A module that is not here may not touch chance at all; write the reason before you add one.
CHANCE = {
    "core/src/cellwall/arrivals.py": "when customers' requests are due, and for which key",
    "core/src/cellwall/placement.py": "membership sizes, homes of tables, servers of a spread cut; before a run",
    "core/src/cellwall/renewal.py": "retry waits, jitter of the period, slots of a re-entry",
    "services/src/cellwall_services/metadata/loader.py": "seeds the placement that fills the store; before a run",
    "services/src/cellwall_services/storage/agents.py": "hands a server's generator to renewal.step and entry",
    "services/src/cellwall_services/storage/server.py": "holds a server's generator, seeded by its name",
}
GENERATORS = {"random", "secrets", "uuid", "numpy.random"}
HANDED_ON = {"rng", "_rng", "rng_for"}
DRAWS = {
    *("choice", "choices", "expovariate", "gauss", "getrandbits", "getrandom", "randbelow", "randint", "random"),
    *("randrange", "shuffle", "uniform", "urandom"),  # not "sample": that is also what a metric is made of
}


def touches_chance(module: Path) -> set[str]:
    """Every name by which the module could draw: an imported generator, or one handed to it."""
    found = {name for name in imports(module) if name in GENERATORS}
    for node in ast.walk(tree(module)):
        name = {ast.Name: "id", ast.Attribute: "attr", ast.arg: "arg", ast.alias: "name", ast.keyword: "arg"}.get(
            type(node)
        )
        if name is not None and getattr(node, name) in HANDED_ON | DRAWS:
            found.add(getattr(node, name))
    return found


@pytest.mark.parametrize("module", modules("core/src", "services/src"), ids=str)
def test_only_modules_with_a_reason_touch_chance(module: Path) -> None:
    if str(module) not in CHANCE:
        assert touches_chance(module) == set()


@pytest.mark.parametrize("module", CHANCE)
def test_no_reason_outlives_its_module(module: str) -> None:
    assert touches_chance(Path(module))


def test_a_generator_is_seeded_where_it_is_made() -> None:
    """Random() without a seed, or a draw from the module's own generator, could not be repeated."""
    unseeded = []
    for module in modules("core/src", "services/src", "experiments/src", "loadtests"):
        for node in ast.walk(tree(module)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in ("Random", "random.Random"):
                ok = bool(node.args)
            else:
                ok = not re.fullmatch(r"random\.[a-z]\w*", called)
            if not ok:
                unseeded.append(f"{module}:{node.lineno}: {called}")
    assert unseeded == []

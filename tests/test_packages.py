"""The house's own rules: what is exported, what an import pulls in, who may import whom."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gemini2_core", "langchain_gemini2", "llama_index_gemini2")

# Lower floors first; a module imports from its own floor or one before it.
FLOORS = (
    ("gemini2_core.errors",),
    ("gemini2_core.model",),
    ("gemini2_core.content",),
    ("gemini2_core.embedding",),
    ("gemini2_core.index",),
    ("gemini2_core.corpus",),
    ("gemini2_core.emulator",),
    ("gemini2_core",),
    ("gemini2_core.cli", "langchain_gemini2", "llama_index_gemini2"),
)

HEAVY = (
    "PIL",
    "av",
    "google.genai",
    "lxml",
    "pandas",
    "pypdf",
    "pypdfium2",
    "qdrant_client",
    "qdrant_edge",
    "starlette",
    "tqdm",
    "uvicorn",
)
FRAMEWORKS = ("langchain", "langchain_core", "llama_index")
ALIEN = {
    "gemini2_core": (*HEAVY, *FRAMEWORKS, "langchain_gemini2", "llama_index_gemini2"),
    "langchain_gemini2": ("google.genai", "llama_index", "llama_index_gemini2"),
    # llama-index-core itself imports Pillow and tqdm.
    "llama_index_gemini2": ("google.genai", "langchain", "langchain_core", "langchain_gemini2"),
}


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {_name(p): p for package in PACKAGES for p in sorted((ROOT / package).rglob("*.py"))}
PUBLIC = sorted(m for m in SOURCES if not any(p.startswith("_") for p in m.split(".")))


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _floor(module: str) -> int:
    """Where a module lives: the longest name in FLOORS that holds it."""
    homes = [(len(p), n) for n, floor in enumerate(FLOORS) for p in floor if _within(module, p)]
    return max(homes)[1]


def _imports(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Every absolute import as (module, for types only), inside functions too."""
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in guarded
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                target = submodule if submodule in SOURCES else node.module
                yield target, id(node) in guarded


def _defined(tree: ast.Module) -> Iterator[str]:
    """The public names that a module binds itself, imports left out."""
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (t.id for t in targets if isinstance(t, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_ships_its_type_marker(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("module", PUBLIC)
def test_all_names_exactly_what_a_module_gives(module: str) -> None:
    loaded: ModuleType = importlib.import_module(module)
    names: list[str] = loaded.__all__
    assert len(names) == len(set(names)), "a name twice"
    missing = [name for name in names if not hasattr(loaded, name)]
    assert missing == []
    if SOURCES[module].name == "__init__.py":
        given = {
            alias.asname or alias.name
            for node in _tree(module).body
            if isinstance(node, ast.ImportFrom) and node.module != "__future__"
            for alias in node.names
        }
    else:
        given = set()
    given |= set(_defined(_tree(module)))
    assert {name for name in given if not name.startswith("_")} == set(names) - {"__version__"}


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_is_told_in_one_sentence(module: str) -> None:
    text = ast.get_docstring(_tree(module))
    assert text, "no docstring"
    assert re.fullmatch(r"[^\n]+(\n[^\n]+)?\.", text), "more than one short paragraph"
    assert re.search(r"[.!?]\s+[A-Z]", text) is None, "more than one sentence"


@pytest.mark.parametrize("module", SOURCES)
def test_imports_lead_downward(module: str) -> None:
    upward = [
        target
        for target, types_only in _imports(_tree(module))
        if target in SOURCES and not types_only and _floor(target) > _floor(module)
    ]
    assert upward == []


@pytest.mark.parametrize("module", SOURCES)
def test_an_adapter_knows_the_core_and_never_its_neighbour(module: str) -> None:
    own = module.split(".")[0]
    strangers = {
        "gemini2_core": (*FRAMEWORKS, "langchain_gemini2", "llama_index_gemini2"),
        "langchain_gemini2": ("llama_index", "llama_index_gemini2"),
        "llama_index_gemini2": ("langchain", "langchain_core", "langchain_gemini2"),
    }[own]
    found = [
        target
        for target, types_only in _imports(_tree(module))
        if not types_only and any(_within(target, stranger) for stranger in strangers)
    ]
    assert found == []


@pytest.mark.parametrize("package", PACKAGES)
def test_an_import_brings_nothing_it_need_not(package: str) -> None:
    """Each in a process of its own, where nothing else has been imported."""
    code = f"import sys, {package}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    aliens = [name for name in loaded if name in ALIEN[package]]
    assert aliens == []


def test_every_extra_that_an_error_names_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    everything = re.search(r"\[([a-z,-]+)\]", project["optional-dependencies"]["all"][0])
    assert everything is not None
    assert set(everything[1].split(",")) == extras - {"all"}
    named = {
        ast.literal_eval(keyword.value)
        for module in SOURCES
        for node in ast.walk(_tree(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("MissingExtraError")
        for keyword in node.keywords
        if keyword.arg == "extra"
    }
    assert named <= extras

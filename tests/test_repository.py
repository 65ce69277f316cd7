"""The repository tests itself: layers, imports, sizes, links, configs, versions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mogao.config import JointTask, RunConfig, SweepConfig, load
from mogao.errors import ConfigError
from mogao.pipeline import load_generation

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mogao"

# Lowest first; a module may import its own layer and those below it. A longer name wins.
LAYERS = (
    ("mogao", "mogao.errors", "mogao.config", "mogao.sequence", "mogao.files", "mogao.provenance"),
    ("mogao.tokenizer", "mogao.tokenizer_files", "mogao.tokenizer_foreign",
     "mogao.tokenizer_words", "mogao.data"),
    ("mogao.packing",),
    ("mogao.model", "mogao.flow", "mogao.loss"),
    ("mogao.sampling", "mogao.pipeline"),
    ("mogao.evaluation",),
    ("mogao.training",),
    ("mogao.render", "mogao.serving", "mogao.plan", "mogao.convert",
     "mogao.bench", "mogao.bridges", "mogao.sweep"),
    ("mogao.cli", "mogao.commands", "mogao.__main__"),
)  # fmt: skip
CORE = (
    "sequence.py", "packing/layout.py", "packing/mask.py", "packing/positions.py", "model/rope.py",
    "model/attention.py", "model/block.py", "model/embed.py", "model/transformer.py",
)  # fmt: skip
CORE_LINES = 1800
FILE_LINES = 400
FUNCTION_LINES = 60

TEXT_SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json", ".cfg", ""}


def committed_files() -> list[Path]:
    """Files that are or would be committed, without deleted ones."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [path for path in committed_files() if path.suffix == ".py"]


def package_files() -> list[Path]:
    return [path for path in python_files() if PACKAGE in path.parents]


def text_files() -> list[Path]:
    """Files written by people; licence texts of others are not ours to change."""
    return [
        path
        for path in committed_files()
        if path.suffix in TEXT_SUFFIXES
        and path.name not in {"LICENSE", "NOTICE"}
        and (ROOT / "licenses") not in path.parents
        and PACKAGE / "checkpoints" not in path.parents
        and path.stat().st_size < 1_000_000
    ]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(module: str) -> int:
    """The layer of the longest prefix of a module's name that has one."""
    homes = {name: number for number, names in enumerate(LAYERS) for name in names}
    parts = module.split(".")
    prefixes = [".".join(parts[:length]) for length in range(len(parts), 1, -1)]
    for prefix in prefixes:
        if prefix in homes:
            return homes[prefix]
    assert module == "mogao", f"{module} has no layer; add it to LAYERS"
    return homes["mogao"]


def imported_modules(path: Path) -> set[str]:
    """Modules of the package that a file imports anywhere, but not under TYPE_CHECKING."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if _is_module(name) else node.module for name in inner)
    return {name for name in found if name.split(".")[0] == "mogao"}


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", package_files(), ids=module_name)
def test_imports_point_downward_only(path: Path) -> None:
    own = layer(module_name(path))
    upward = sorted(name for name in imported_modules(path) if layer(name) > own)
    assert not upward, f"{module_name(path)} imports from higher layers: {upward}"


def loaded_after(statement: str, *names: str) -> set[str]:
    """Which of the named modules are loaded after a statement in a fresh interpreter."""
    probe = f"import sys\n{statement}\nprint(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()) if done.stdout.strip() else set()


@pytest.mark.parametrize(
    "module", ["mogao", "mogao.cli", "mogao.config", "mogao.sequence", "mogao.errors"]
)
def test_light_modules_import_no_torch(module: str) -> None:
    assert not loaded_after(f"import {module}", "torch", "transformers", "diffusers")


def test_help_imports_neither_torch_nor_pydantic() -> None:
    statement = (
        "from mogao.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0"
    )
    assert not loaded_after(statement, "torch", "pydantic", "numpy", "rich.console")


def test_public_names_load() -> None:
    import mogao

    assert {name for name in mogao.__all__ if getattr(mogao, name, None) is None} == set()
    assert set(mogao.__all__) <= set(dir(mogao))


def test_unknown_public_name_is_an_attribute_error() -> None:
    import mogao

    with pytest.raises(AttributeError, match="Mogaoo"):
        mogao.Mogaoo  # noqa: B018


def module_statements(path: Path) -> list[ast.stmt]:
    """Statements that run at import and do more than define or import names."""
    allowed = (
        ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
        ast.Assign, ast.AnnAssign, getattr(ast, "TypeAlias", ast.Assign),
    )  # fmt: skip
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        node
        for node in tree.body
        if not isinstance(node, allowed)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and not (isinstance(node, ast.If) and _is_guard(node))
        and not _registers_verbs(node)
    ]


def _is_guard(node: ast.If) -> bool:
    return "TYPE_CHECKING" in ast.dump(node.test) or "__main__" in ast.dump(node.test)


def _registers_verbs(node: ast.stmt) -> bool:
    return "app.add_typer" in ast.unparse(node)


@pytest.mark.parametrize("path", package_files(), ids=module_name)
def test_importing_only_defines_names(path: Path) -> None:
    assert not [ast.unparse(node) for node in module_statements(path)]


def test_core_fits_in_an_afternoon() -> None:
    lines = {name: _num_lines(PACKAGE / name) for name in CORE}
    assert sum(lines.values()) <= CORE_LINES, lines


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    assert _num_lines(path) < FILE_LINES
    tree = ast.parse(path.read_text(encoding="utf-8"))
    long = {
        node.name: _body_lines(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _body_lines(node) >= FUNCTION_LINES
    }
    assert not long


def _num_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_pickle_and_no_code_from_checkpoints() -> None:
    modules = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    calls = {"eval", "exec", "torch.load", "np.load", "numpy.load"}
    found = []
    for path in package_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names if alias.name in modules]
            elif isinstance(node, ast.ImportFrom):
                found += [node.module] if node.module in modules else []
            elif isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                remote = any(
                    keyword.arg == "trust_remote_code" and ast.unparse(keyword.value) != "False"
                    for keyword in node.keywords
                )
                found += [f"{path.name}: {name}"] if name in calls or remote else []
    assert not found


def test_no_global_randomness() -> None:
    forbidden = re.compile(
        r"(torch\.manual_seed|np\.random\.(seed|rand|randn|randint|choice|shuffle|normal|uniform)"
        r"|(?<![\w.])random\.(seed|random|randint|choice|shuffle|uniform|sample|gauss))\("
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in package_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if forbidden.search(line)
    ]
    assert not found


def test_written_files_are_ascii() -> None:
    foreign = {
        str(path.relative_to(ROOT)): sorted(set(re.findall(r"[^\x00-\x7f]", text)))
        for path in text_files()
        if path.suffix != ".json" and not (text := path.read_text(encoding="utf-8")).isascii()
    }
    assert not foreign


def test_no_machine_paths_and_no_registry_hosts() -> None:
    roots = "work|opt|tmp|root|home|Users"
    hosts = "|".join(
        [r"pypi\.(org|python)", r"files\.pythonhosted", r"download\.pytorch",
         r"registry\.npmjs", r"deb\.debian", "index" + "-url"]
    )  # fmt: skip
    pattern = re.compile(rf"(?<![\w.:/~)\]}}$-])/({roots})/|{hosts}")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in text_files()
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]
    assert not found


def markdown_files() -> list[Path]:
    return [path for path in text_files() if path.suffix == ".md"]


@pytest.mark.parametrize("path", markdown_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_resolve(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    links = re.findall(r"\]\(([^()\s]+)\)", text)
    local = [link.partition("#")[0] for link in links if "://" not in link]
    missing = [link for link in local if link and not (path.parent / link).exists()]
    assert not missing


def config_files() -> list[Path]:
    return sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", config_files(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_config_loads(path: Path) -> None:
    if not path.name.startswith("sweep"):
        load(RunConfig, path)
        return
    sweep = load(SweepConfig, path)
    for overrides in sweep.arms.values():
        for name in (sweep.base, *sweep.stages):
            load(RunConfig, path.parent / name, overrides=[*sweep.overrides, *overrides])


def test_changelog_names_the_version() -> None:
    import mogao

    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[(\d[^\]]*)\]", changelog, flags=re.MULTILINE)[0]
    assert newest == mogao.__version__


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(item for extra in extras for item in extra)]
    names = {re.split(r"[<>=\[ ]", item)[0].lower().replace("-", "_") for item in wanted}
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].lower().replace("-", "_") for line in lines}
    assert names <= pinned, sorted(names - pinned)


def test_fine_tuning_keeps_the_flow_shift_of_its_model() -> None:
    config = load(RunConfig, ROOT / "configs/finetune.yaml")
    assert isinstance(config.task, JointTask)
    assert config.task.init_from == "nano"
    assert config.task.flow.shift == load_generation("nano").image.shift


def test_only_joint_runs_can_be_told_to_compile() -> None:
    path = ROOT / "configs/nano/vision.yaml"
    with pytest.raises(ConfigError, match="vision"):
        load(RunConfig, path, overrides=["compile=on"])
    assert load(RunConfig, path, overrides=["compile=off"]).compile == "off"

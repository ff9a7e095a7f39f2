"""What the documentation shows works: its code runs, its commands parse, its scenario is run as a reader would."""

import ast
import dataclasses
import inspect
import re
import shlex
import textwrap
import types
from pathlib import Path

import pytest

import gfsim
from gfsim.workbench.arguments import parse_command, parse_run
from gfsim.workbench.cli import main
from gfsim.workbench.discovery import find, load_scenario

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("tutorials/*.md"))]
BLOCK = re.compile(r"^```(\w+)?(?: title=\"([^\"\n]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCENARIO = DOCS / "tutorials/scenario.md"


@dataclasses.dataclass
class Block:
    language: str
    title: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1] or "", found[2] or "", found[3], text[: found.start()].count("\n") + 2)
        for found in BLOCK.finditer(text)
    ]


def commands(page: Path) -> list[str]:
    shown = [block.text for block in blocks(page) if block.language in ("", "sh")]
    lines = [line.strip() for text in shown for line in text.splitlines()]
    # Two blanks and more set a remark apart from the command.
    return [re.split(r"\s{2,}", line)[0] for line in lines if line.startswith("gfsim ")]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict = {"__name__": "page"}
    for block in blocks(page):
        if block.language == "python" and not block.title:
            # Line numbers of a traceback are those of the page.
            exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_parse(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extract(SCENARIO)
    for command in commands(page):
        name, *arguments = shlex.split(command)[1:]
        if name == "run" and (tmp_path / arguments[0]).is_file():
            parse_run(arguments[0], load_scenario(find(arguments[0])), arguments[1:])
        elif "my_file.py" not in arguments:
            parse_command([name, *arguments])


def extract(page: Path) -> None:
    for block in blocks(page):
        if block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")


@pytest.mark.slow
def test_the_tutorials_scenario_runs_as_a_reader_would_run_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    extract(SCENARIO)
    assert sum(len(path.read_text().splitlines()) for path in tmp_path.glob("*.py")) < 60
    for command in commands(SCENARIO):
        assert main(shlex.split(command)[1:]) == 0, capsys.readouterr()
    assert (tmp_path / "figures-out/imbalance.pdf").is_file()
    # Its control can fail: steps ten times shorter drift too little for it.
    assert main(["run", "imbalance.py", "--step-size", "0.0001", "--out", "short"]) == 1
    assert "1 of 2 claims hold" in capsys.readouterr().out


def scenario_pages() -> tuple[set[str], set[str]]:
    """The scenarios that have a page, and all of them."""
    pages = {path.stem for path in (DOCS / "scenarios").glob("*.md")}
    return pages, {path.stem.replace("_", "-") for path in (ROOT / "scenarios").glob("*.py")}


def test_every_page_of_a_scenario_is_listed_and_has_its_figure():
    pages, scenarios = scenario_pages()
    assert pages
    assert pages <= scenarios
    listed = (ROOT / "mkdocs.yml").read_text()
    assert all(f"scenarios/{name}.md" in listed for name in pages)
    assert all((DOCS / "gallery" / f"{name}.png").stat().st_size <= 300_000 for name in pages)


@pytest.mark.verify
def test_every_scenario_has_its_page():
    """Pages are written by `make figures`, from records at default size."""
    pages, scenarios = scenario_pages()
    assert pages == scenarios


def namespaces() -> dict[str, types.ModuleType]:
    public = [getattr(gfsim, name) for name in gfsim.__all__]
    return {module.__name__: module for module in public if inspect.ismodule(module)}


def exported(module: types.ModuleType) -> list[str]:
    """Names that a package re-exports as themselves, or that a module defines."""
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    again = [a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names if a.asname == a.name]
    own = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return [name for name in again or own if not name.startswith("_")]


PUBLIC = {name: getattr(gfsim, name) for name in gfsim.__all__ if name != "__version__"}
PUBLIC |= {
    f"{path}.{name}": getattr(module, name) for path, module in namespaces().items() for name in exported(module)
}
OBJECTS = {name: value for name, value in PUBLIC.items() if callable(value)}


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_public_names_are_documented(name):
    value = OBJECTS[name]
    text = inspect.getdoc(value) or ""
    assert text, f"{name} has no docstring"
    assert not text.startswith(f"{value.__name__}("), f"{name} has only the docstring that its dataclass makes"
    if not inspect.isclass(value) and parameters(value) >= 3:
        assert "\n" in text, f"{name} takes several arguments, which one line cannot describe"
    if raises(value):
        assert re.search(r"[Rr]aise[sd]|refuse", text), f"{name} raises and does not say so"


def parameters(value) -> int:
    try:
        return len(inspect.signature(value).parameters)
    except ValueError:
        return 0


def raises(value) -> bool:
    """Whether the function itself, or the class's own constructor, holds a raise statement."""
    makers = ("__init__", "__post_init__", "__check_init__")
    functions = [vars(value).get(name) for name in makers] if inspect.isclass(value) else [value]
    for function in map(inspect.unwrap, filter(None, functions)):
        # What a dataclass makes has no source, and raises nothing of its own.
        if hasattr(function, "__code__") and Path(function.__code__.co_filename).is_file():
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
            if any(isinstance(node, ast.Raise) for node in ast.walk(tree)):
                return True
    return False


def test_the_reference_holds_every_public_name():
    shown = {line.rsplit(".", 1)[-1] for page in DOCS.glob("api/*.md") for line in page.read_text().splitlines()}
    missing = {name for name in OBJECTS if name.rsplit(".", 1)[-1] not in shown}
    helpers = {"simulation.events.AnyOf", "simulation.events.as_tuple", "simulation.events.values"}
    helpers.add("problems.losses.log_softplus_minus")
    assert missing <= {f"gfsim.{name}" for name in helpers}

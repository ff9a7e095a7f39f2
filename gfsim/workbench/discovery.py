"""Where scenarios and figures lie, and what their files say, read without running them."""

import ast
import dataclasses
import difflib
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from gfsim.workbench.scenario import Scenario

_PACKAGE = Path(__file__).resolve().parents[1]
# How names of modules begin that were loaded from a path.
_LOADED = "_gfsim_"


@dataclasses.dataclass(frozen=True)
class Listing:
    """A scenario as its file describes it."""

    name: str
    path: Path
    docstring: str
    defect: str = ""
    """Why the file defines no scenario that could be run, as far as its syntax tells."""

    @property
    def claim(self) -> str:
        """The docstring's first sentence, or its first paragraph where no sentence ends."""
        paragraph = " ".join(self.docstring.strip().split("\n\n")[0].split())
        sentence = re.match(r"(.+?[.!?])(?=\s|$)", paragraph)
        return sentence.group(1) if sentence else paragraph


def folders() -> list[Path]:
    """Where names are looked up: ./scenarios, then the installed copy (in a clone, the clone's own)."""
    installed = _PACKAGE / "_scenarios"
    if not installed.is_dir():
        installed = _PACKAGE.parent / "scenarios"
    return list(dict.fromkeys(folder.resolve() for folder in (Path("scenarios"), installed) if folder.is_dir()))


def listings() -> list[Listing]:
    """Every scenario that can be run by name, in alphabetical order."""
    found: dict[str, Listing] = {}
    for folder in folders():
        for path in folder.glob("*.py"):
            name = name_of(path)
            if not path.stem.startswith("_") and name not in found:
                found[name] = listing_of(path)
    return [found[name] for name in sorted(found)]


def find(scenario: str) -> Listing:
    """The scenario of that name, or the one in the file of that path.

    Raises `ValueError` where there is none.
    """
    path = Path(scenario)
    if path.suffix == ".py":
        if not path.is_file():
            raise ValueError(f"scenario must be a name or an existing .py file, was {scenario!r}")
        return listing_of(path.resolve())
    known = listings()
    for listing in known:
        if listing.name == scenario:
            return listing
    names = [listing.name for listing in known]
    close = difflib.get_close_matches(scenario, names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise ValueError(
        f"scenario must be one of {', '.join(names) or '(none found)'}, or a .py file, was {scenario!r}{hint}"
    )


def name_of(path: Path) -> str:
    return path.stem.replace("_", "-")


def readable(listing: Listing) -> Listing:
    """The listing. Raises `ValueError` where its file defines no scenario."""
    if listing.defect:
        raise ValueError(f"{listing.path} must define a scenario, was {listing.defect}")
    return listing


def listing_of(path: Path) -> Listing:
    """The scenario in `path` with its docstring, read from the syntax tree; the defect, where it has none."""
    name = name_of(path)
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, OSError) as error:
        defect = f"unreadable: {one_line(error)}"
        return Listing(name, path, f"({defect})", defect)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(_is_scenario(base) for base in node.bases):
            return Listing(name, path, ast.get_docstring(node) or "(no docstring)")
    return Listing(name, path, "(defines no scenario)", "without one")


def _is_scenario(base: ast.expr) -> bool:
    name = base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
    return name == "Scenario"


def load_scenario(listing: Listing) -> type[Scenario]:
    """The scenario class that the file defines.

    Raises `ValueError` where the file cannot be imported or does not define exactly one scenario.
    """
    return scenario_in(load_module(listing.path, "scenario"), listing.path)


def scenario_in(module: ModuleType, path: Path) -> type[Scenario]:
    """The one scenario class that `module`, whose source is `path`, defines.

    Raises `ValueError` where there is none, or another one too.
    """
    classes = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Scenario) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise ValueError(f"{path} must define exactly one subclass of gfsim.Scenario, was {len(classes)}")
    (scenario,) = classes
    missing = ", ".join(sorted(scenario.__abstractmethods__))
    if missing:
        raise ValueError(f"{scenario.__name__} in {path} must define simulate and claims, was without {missing}")
    if "__dataclass_fields__" not in vars(scenario):
        raise ValueError(
            f"{scenario.__name__} in {path} must be decorated with @dataclasses.dataclass(frozen=True,"
            " kw_only=True), was a plain class"
        )
    return scenario


def figure_file(scenario: Path) -> Path | None:
    """`<stem>_figure.py` beside the scenario, or `<stem>.py` in the figures folder beside its folder."""
    copy = "_figures" if scenario.parent.name == "_scenarios" else "figures"
    candidates = (
        scenario.with_name(f"{scenario.stem}_figure.py"),
        scenario.parent.parent / copy / scenario.name,
    )
    return next((path for path in candidates if path.is_file()), None)


def is_loaded(namespace: Mapping[str, Any]) -> bool:
    """Whether these are the globals of a scenario's or figure's file."""
    return str(namespace.get("__name__", "")).startswith(_LOADED)


class _Uncached(SourceFileLoader):
    """Reads the source every time: Python trusts bytecode of the same second and length, though the text was edited."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_module(path: Path, kind: str) -> ModuleType:
    """The module in `path`, which holds a `kind` (a scenario, a figure, a problem), run once.

    Raises `ValueError` with the reason where it cannot be imported.
    """
    if path.suffix != ".py":
        raise ValueError(f"file must be a Python module, was {path}")
    name = f"{_LOADED}{kind}_{path.stem}"
    loader = _Uncached(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and tyro look their module up by name.
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ValueError(f"{path} must import, was stopped by {type(error).__name__}: {one_line(error)}") from error
    return module


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

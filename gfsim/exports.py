"""Names of a package that are loaded when they are first used [PEP 562]."""

import ast
import importlib.util
import sys
from collections.abc import Callable


def exports(package: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of the package that is being imported.

    Its names are those imported in its `if TYPE_CHECKING:` block: type checkers and this function share one list. Its
    own modules are loaded by their names, too.
    """
    module_of = modules_of(package)
    own = [name for name in ("__version__",) if hasattr(sys.modules[package], name)]
    names = own + sorted(module_of)

    def load(name: str) -> object:
        module = module_of.get(name, package)
        if module == package:
            if importlib.util.find_spec(f"{package}.{name}") is None:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            value = importlib.import_module(f"{package}.{name}")
        else:
            value = getattr(importlib.import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: names, names


def modules_of(package: str) -> dict[str, str]:
    """Where each of the names that the package exports is defined; the package itself for its own modules."""
    spec = sys.modules[package].__spec__
    assert spec is not None
    assert spec.loader is not None
    source = spec.loader.get_source(package)  # pyright: ignore[reportAttributeAccessIssue]
    block = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    )
    return {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }

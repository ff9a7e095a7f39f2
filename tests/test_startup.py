"""Nothing heavy is loaded before it is needed; asserted on modules, not on seconds."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import gfsim
from gfsim.exports import modules_of

HEAVY = ("jax", "jaxlib", "diffrax", "equinox", "numpy", "scipy", "sklearn", "xarray", "matplotlib", "netCDF4", "optax")


def heavy_modules_after(statement: str) -> list[str]:
    program = f"import sys\n{statement}\nprint([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return names_in(done.stderr)


def names_in(text: str) -> list[str]:
    return [name.strip("' ") for name in text.strip().strip("[]").split(",") if name.strip()]


def test_import_loads_nothing_heavy():
    assert heavy_modules_after("import gfsim; dir(gfsim)") == []


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "--help"], ["cite", "--help"]])
def test_command_line_answers_without_jax(arguments):
    statement = f"""
from gfsim.workbench.cli import main
try:
    assert main({arguments}) == 0
except SystemExit as stop:
    assert stop.code in (0, None)
"""
    assert heavy_modules_after(statement) == []


def test_a_solve_needs_neither_optax_nor_what_draws_and_stores():
    loaded = heavy_modules_after("import gfsim as gf; gf.Problem, gf.GradientFlow, gf.simulate, gf.networks, gf.losses")
    assert not {"optax", "matplotlib", "xarray", "netCDF4", "sklearn"} & set(loaded)


@pytest.mark.parametrize("file", sorted(Path("figures").glob("*.py")), ids=lambda file: file.stem)
def test_a_figure_is_drawn_without_jax(file):
    loaded = heavy_modules_after(f"import runpy; runpy.run_path({str(file)!r})")
    assert "jax" not in loaded
    assert "matplotlib" in loaded


def test_heavy_modules_are_seen():
    assert heavy_modules_after("import gfsim; gfsim.Problem") != []


@pytest.mark.parametrize("name", sorted(set(gfsim.__all__) - {"__version__"}))
def test_every_exported_name_exists(name):
    exported = getattr(gfsim, name)
    module = modules_of("gfsim")[name]
    if module == "gfsim":
        assert exported is importlib.import_module(f"gfsim.{name}")
    else:
        assert exported is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("package", ["gfsim", "gfsim.portraits", "gfsim.verification"])
def test_no_name_loaded_late_is_that_of_a_module(package):
    # Whoever imports the module first would find it in place of what the package exports.
    importlib.import_module(package)
    clashes = [
        name
        for name, module in modules_of(package).items()
        if module != package and importlib.util.find_spec(f"{package}.{name}") is not None
    ]
    assert clashes == []


@pytest.mark.parametrize("package", ["gfsim", "gfsim.portraits", "gfsim.verification"])
def test_modules_are_loaded_by_their_names(package):
    folder = Path(importlib.import_module(package).__file__).parent
    names = sorted(file.stem for file in folder.glob("*.py") if not file.stem.startswith("_"))
    statement = f"import {package}; {'; '.join(f'{package}.{name}' for name in names)}"
    subprocess.run([sys.executable, "-c", statement], check=True)


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        gfsim.nonsense

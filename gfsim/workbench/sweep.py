"""Which runs a sweep consists of: a grid over fields, random samples, and seeds."""

import ast
import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import re
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from gfsim.workbench.scenario import Scenario
from gfsim.workbench.software import software

# Runs beyond which a sweep is begun only with --yes.
LARGE = 10_000
# What a record and JAX's keys can hold.
LARGEST_SEED = 2**63 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """The runs asked for: every combination of grid, samples and seeds."""

    grid: tuple[str, ...] = ()
    """FIELD=VALUE,VALUE,… for any number of the scenario's fields; a value with commas goes in parentheses."""
    seeds: str | None = None
    """FIRST:END, the seeds from FIRST up to but without END (default: the scenario's own)."""
    sample: tuple[str, ...] = ()
    """FIELD=LOW:HIGH, drawn uniformly at random, or FIELD=LOW:HIGH:log, uniformly in the logarithm."""
    samples: int = 0
    """How many points are drawn; the first ones stay the same when more are asked for."""
    sample_seed: int = 0
    """Seed of what is drawn."""
    yes: bool = False
    """Begin even if the runs are more than ten thousand."""


def configurations(base: Scenario, request: Request) -> list[Scenario]:
    """Every configuration of the sweep, seeds running fastest; two equal ones count once.

    Raises `ValueError` for an unknown field, a value of the wrong type, an empty or an unconfirmed enormous sweep, and
    what the scenario itself refuses.
    """
    axes = {field: _values(base, field, text) for field, text in _assignments("grid", request.grid)}
    ranges = {field: _range(base, field, text) for field, text in _assignments("sample", request.sample)}
    seeds = _seeds(request.seeds)
    if bool(ranges) != (request.samples > 0):
        raise ValueError(f"samples must be positive with --sample and 0 without, was {request.samples}")
    if request.sample_seed < 0:
        raise ValueError(f"sample-seed must be at least 0, was {request.sample_seed}")
    named = [*axes, *ranges, *(["seed"] if request.seeds else [])]
    if not named:
        raise ValueError("sweep must vary something with --grid, --sample or --seeds, was given none of them")
    if twice := sorted({field for field in named if named.count(field) > 1}):
        raise ValueError(f"every field must be swept in one way, was {', '.join(twice)} in two")
    count = math.prod(len(values) for values in axes.values()) * max(1, request.samples)
    count *= len(seeds) if seeds is not None else 1
    if count > LARGE and not request.yes:
        raise ValueError(f"sweep of more than {LARGE} runs must be confirmed with --yes, was of {count}")
    drawn = list(_draws(ranges, request)) or [{}]
    members = [{"seed": seed} for seed in seeds] if seeds is not None else [{}]
    combinations = itertools.product(itertools.product(*axes.values()), drawn, members)
    found = (dataclasses.replace(base, **dict(zip(axes, point, strict=True)), **a, **b) for point, a, b in combinations)
    return list({described(scenario): scenario for scenario in found}.values())


def described(scenario: Scenario) -> str:
    """The configuration as JSON, the same text for the same configuration."""
    return json.dumps(dataclasses.asdict(scenario), default=str, sort_keys=True)


def code_of(source: str) -> str:
    """A hash of what computes a run: the scenario's file, gfsim's own, and the versions beneath."""
    return hashlib.sha256(f"{json.dumps(software())}\n{source}".encode()).hexdigest()[:24]


def identity(code: str, configuration: str) -> str:
    """The name of one run: a hash of what computes it and of its configuration."""
    return hashlib.sha256(f"{code}\n{configuration}".encode()).hexdigest()[:24]


def _assignments(option: str, texts: Iterable[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        field, equals, values = text.partition("=")
        if not (field and equals and values):
            raise ValueError(f"--{option} must be FIELD=VALUES, was {text!r}")
        if field in (name for name, _ in pairs):
            raise ValueError(f"every field must be swept in one way, was {field} in two")
        pairs.append((field, values))
    return pairs


def _kind(base: Scenario, field: str) -> Any:
    kinds = typing.get_type_hints(type(base))
    names = [entry.name for entry in dataclasses.fields(base)]
    if field not in names:
        raise ValueError(f"field must be one of {', '.join(names)}, was {field!r}")
    return kinds[field]


def _values(base: Scenario, field: str, text: str) -> list[Any]:
    kind = _kind(base, field)
    # Commas between values, but not those inside a value's own parentheses.
    return [_read(field, kind, value) for value in re.split(r",(?![^(\[]*[)\]])", text)]


def _read(field: str, kind: Any, text: str) -> Any:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        value = {"true": True, "false": False, "none": None}.get(text.lower(), text)
    # Where it is no such value, it is the text itself that may be wanted: 1 and none are names too.
    for meant in (value, text):
        with contextlib.suppress(TypeError):
            return _fitted(meant, kind)
    name = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
    raise ValueError(f"{field} must be {name}, was {text!r}")


def _fitted(value: Any, kind: Any) -> Any:
    """`value` as the annotation `kind` wants it. Raises TypeError where it is something else."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        for part in parts:
            try:
                return _fitted(value, part)
            except TypeError:
                continue
    elif origin is typing.Literal:
        if value in parts:
            return value
    elif origin is tuple and isinstance(value, (tuple, list)):
        kinds = parts[:1] * len(value) if parts[1:] == (...,) else parts
        if len(kinds) == len(value):
            return tuple(_fitted(entry, part) for entry, part in zip(value, kinds, strict=True))
    elif kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise TypeError


def _seeds(text: str | None) -> range | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None or not int(found[1]) < int(found[2]) <= LARGEST_SEED:
        raise ValueError(f"seeds must be FIRST:END with 0 <= FIRST < END <= {LARGEST_SEED}, was {text!r}")
    return range(int(found[1]), int(found[2]))


def _range(base: Scenario, field: str, text: str) -> tuple[float, float, bool, bool]:
    """Low, high, whether the logarithm is uniform, and whether whole numbers are wanted (both ends included)."""
    kinds = {_kind(base, field), *typing.get_args(_kind(base, field))}
    if not kinds & {int, float}:
        raise ValueError(f"a sampled field must be a number, was {field!r}")
    whole = float not in kinds
    parts = text.split(":")
    try:
        low, high = (int(part) if whole else float(part) for part in parts[:2])
    except ValueError:
        low = high = math.nan
    logarithmic = parts[2:] == ["log"]
    if not (
        low < high and math.isfinite(high - low) and (logarithmic or not parts[2:]) and (low > 0 or not logarithmic)
    ):
        raise ValueError(f"--sample must be FIELD=LOW:HIGH or FIELD=LOW:HIGH:log with LOW < HIGH, was {field}={text}")
    return low, high, logarithmic, whole


def _draws(ranges: dict[str, tuple[float, float, bool, bool]], request: Request) -> Iterable[dict[str, Any]]:
    import numpy as np

    # Row by row, so that more samples begin with the same ones.
    for row in np.random.default_rng(request.sample_seed).random((request.samples, len(ranges))):
        yield {field: _drawn(*limits, u) for (field, limits), u in zip(ranges.items(), row, strict=True)}


def _drawn(low: float, high: float, logarithmic: bool, whole: bool, u: float) -> float | int:
    if whole:
        high = high + 1
    value = low * (high / low) ** u if logarithmic else low + (high - low) * u
    return min(int(value), int(high) - 1) if whole else float(value)


def chunks(runs: Sequence[Any], keys: Sequence[Any], size: int) -> list[list[Any]]:
    """Consecutive `runs` of one key, at most `size` of them at a time."""
    groups: dict[Any, list[Any]] = {}
    for run, key in zip(runs, keys, strict=True):
        groups.setdefault(key, []).append(run)
    return [group[k : k + size] for group in groups.values() for k in range(0, len(group), size)]

"""One scenario from configuration to verdicts: solve, save, check, confirm."""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gfsim.workbench.record import load_record, provenance, save_record
from gfsim.workbench.scenario import Scenario, claims_of, solved
from gfsim.workbench.table import Verdict

if TYPE_CHECKING:
    import xarray

    from gfsim.verification.claims import Claim


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run left: its record (read back from the file), the verdicts, and the seconds the solve took."""

    record: "xarray.Dataset"
    verdicts: list[Verdict]
    seconds: float

    @property
    def outcome(self) -> str | None:
        """The record's attribute `outcome`; None where the scenario states none."""
        outcome = self.record.attrs.get("outcome")
        return None if outcome is None else str(outcome)

    @property
    def holds(self) -> bool:
        return all(verdict.holds for verdict in self.verdicts)


def run_scenario(name: str, scenario: Scenario, path: Path, confirm: bool = False) -> Run:
    """Solves `scenario`, saves its record to `path`, and checks its claims on what the file holds.

    Checkpoints of its solves lie in `<record>.unfinished`, in a folder for each configuration, until its record is
    written: an interrupted run resumes.

    With `confirm` it solves once more at rtol/10: a claim then holds only if its measured value moved by less than
    a third of what the claim allows.

    Raises `ValueError` where the scenario states no claim, two claims of one name, or other claims when confirmed;
    TypeError where it returns something else than a data set and claims.
    """
    # JAX is imported by now; --help and list never come here.
    from gfsim.simulation.checkpoint import checkpoints_in

    described = provenance(name, scenario)
    configuration = hashlib.sha256(str(described["configuration"]).encode()).hexdigest()
    unfinished = path.with_suffix(".unfinished") / configuration[:16]
    start = time.perf_counter()
    with checkpoints_in(unfinished):
        dataset = solved(scenario)
    seconds = time.perf_counter() - start
    save_record(dataset, path, described)
    shutil.rmtree(unfinished, ignore_errors=True)
    # What other configurations left there stays.
    with contextlib.suppress(OSError):
        unfinished.parent.rmdir()
    record = load_record(path)
    claims = claims_of(scenario, record)
    if not claims:
        raise ValueError(f"claims of {name} must be at least one, was an empty list")
    verdicts = [Verdict(claim) for claim in claims]
    if confirm:
        verdicts = _confirmed(name, scenario, claims)
    # Once more, now that they are known: who reads the record needs neither the scenario's file nor JAX for them.
    written = json.dumps([verdict.to_json() for verdict in verdicts], allow_nan=False)
    save_record(dataset, path, {**described, "claims": written})
    return Run(record.assign_attrs(claims=written), verdicts, seconds)


def _confirmed(name: str, scenario: Scenario, claims: "list[Claim]") -> list[Verdict]:
    scenario.announce(f"confirming at rtol = {scenario.rtol / 10:g}")
    tighter = dataclasses.replace(scenario, rtol=scenario.rtol / 10)
    confirmations = {claim.name: claim for claim in claims_of(tighter, solved(tighter))}
    missing = [claim.name for claim in claims if claim.name not in confirmations]
    if missing:
        raise ValueError(f"claims of {name} must not depend on rtol, was without {missing} at rtol/10")
    return [Verdict(claim, confirmations[claim.name]) for claim in claims]

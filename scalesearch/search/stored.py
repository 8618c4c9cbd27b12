"""What every folder with a ledger shows: a run, and the search of a base."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from scalesearch.search.ledger import Ledger
from scalesearch.search.plan import Plan
from scalesearch.search.plan import from_dict as plan_from_dict
from scalesearch.search.records import TrialRecord
from scalesearch.spec.errors import RunError


class Stored:
    """A folder's ledger and its facts. `what` it is, in the message of one that has not begun: then RunError."""

    def __init__(self, folder: Path, ledger: Ledger, fresh: bool, what: str) -> None:
        self.folder = folder
        self.fresh = fresh  # whether this process has just done work for it
        self.ledger = ledger
        self.facts = ledger.facts()
        if "settings" not in self.facts:
            raise RunError(f"{folder}: the {what} has not started; give its `scalesearch run` command again")

    @property
    def plan(self) -> Plan | None:
        return plan_from_dict(self.facts["plan"]) if "plan" in self.facts else None

    @property
    def finished(self) -> str | None:
        """How it ended, or None while it has not."""
        finished: str | None = self.facts.get("finished")
        return finished

    @cached_property
    def trials(self) -> list[TrialRecord]:
        return [record for record in self.ledger.records() if record.status != "waiting"]

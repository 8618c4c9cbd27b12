"""What a measured network is called, by the parts that it plays in a run."""

from __future__ import annotations

from scalesearch.search.records import TrialRecord

LABELLED = ("base", "family", "reference", "candidate", "budget")  # which role names a network that has several


def label_of(record: TrialRecord) -> str:
    if record.role == "base":
        return "B0"
    if record.role == "family":
        return str(record.attributes["member"])
    if record.role == "reference":
        return f"{record.attributes['member']} by the paper's coefficients"
    if record.role == "budget":
        return f"another split of {record.attributes['member']}'s budget"
    return ", ".join(record.attributes["anchors"]) or "candidate"

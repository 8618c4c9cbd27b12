"""Faults put into the table of a recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def set_in(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(table: dict[str, Any]) -> None:
        target: Any = table
        for key in keys[:-1]:
            target = target[key]
        target[keys[-1]] = value

    return edit

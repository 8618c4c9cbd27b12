"""Settings that a person wrote: `key=value` on the command line, and TOML files like those of experiments/."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from scalesearch.spec.errors import SettingsError
from scalesearch.spec.settings import RULES


def read_assignment(text: str) -> tuple[str, Any]:
    """`key=value` from the command line. Raises SettingsError for an unknown key or a value of the wrong kind."""
    key, equals, value = text.partition("=")
    key = key.strip().replace("-", "_")
    if not equals:
        raise SettingsError(f"--set {text}: must be key=value; keys are {', '.join(RULES)}")
    if key not in RULES:
        close = difflib.get_close_matches(key, RULES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"keys are {', '.join(RULES)}"
        raise SettingsError(f"--set {text}: there is no setting {key!r}; {hint}")
    if value.strip().lower() == "none":
        return key, None
    try:
        return key, RULES[key].read(value.strip())
    except (ValueError, KeyError):
        raise SettingsError(f"--set {text}: {key} must be {RULES[key].text}, got {value!r}") from None


def read_settings_file(path: Path) -> dict[str, Any]:
    """The settings in a TOML file, like those of experiments/. Raises SettingsError, with the file and the key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--settings {path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise SettingsError(f"--settings {path}: is not TOML: {error}") from None
    settings = {}
    for key, value in table.items():
        try:
            # As on the command line: FLOPs and durations may be text.
            _, settings[key] = read_assignment(f"{key}={value}") if isinstance(value, str) else (key, value)
        except SettingsError as error:
            raise SettingsError(f"{path}: {str(error).removeprefix('--set ')}") from None
        if key not in RULES or not RULES[key].holds(settings[key]):
            rule = f"must be {RULES[key].text}, got {value!r}" if key in RULES else "there is no such setting"
            raise SettingsError(f"{path}: {key}: {rule}")
    return settings

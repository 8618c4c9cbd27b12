"""Settings that a person wrote: `key=value` on the command line, and TOML files like those of experiments/."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalesearch.spec.errors import SettingsError
from scalesearch.spec.rules import Rule, unknown_key
from scalesearch.spec.settings import RULES, option


def read_assignment(text: str, rules: Mapping[str, Rule] = RULES) -> tuple[str, Any]:
    """`key=value` from the command line. Raises SettingsError for an unknown key or a value of the wrong kind."""
    key, equals, value = text.partition("=")
    key = key.strip().replace("-", "_")
    if not equals:
        raise SettingsError(f"--set {text}: must be key=value; keys are {', '.join(rules)}")
    if key not in rules:
        raise SettingsError(f"--set {text}: there is no setting {key!r}; {unknown_key(key, rules, 'keys')}")
    if value.strip().lower() == "none":
        return key, None
    try:
        return key, rules[key].read(value.strip())
    except (ValueError, KeyError):
        raise SettingsError(f"--set {text}: {key} must be {rules[key].text}, got {value!r}") from None


def read_assignments(texts: Sequence[str], options: Collection[str], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """All `--set`s of a command line. Raises SettingsError with every fault; what has an option of its own is one."""
    given, faults = {}, []
    for text in texts:
        try:
            key, value = read_assignment(text, rules)
        except SettingsError as error:
            faults.append(str(error))
            continue
        if key in options:
            faults.append(f"--set {text}: has an option of its own, {option(key)}")
        given[key] = value
    if faults:
        raise SettingsError("\n".join(faults))
    return given


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

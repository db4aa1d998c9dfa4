"""How a dashboard in Grafana differs from the file, in words: by panels, and in each by the keys of its JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_OF_GRAFANA: Final = ("id", "version", "iteration")
"""What Grafana itself writes into a dashboard."""

_MOST: Final = 8
_LONGEST: Final = 40
_NOTHING: Final = object()
_LOGIN: Final = re.compile(r"//[^/@\s\"]+@")
"""The user and password that a URL may carry."""


def own(dashboard: Mapping[str, Any]) -> dict[str, Any]:
    """``dashboard`` without what Grafana itself writes into it."""
    return {key: value for key, value in dashboard.items() if key not in _OF_GRAFANA}


def between(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What becomes of ``there`` when it becomes ``wanted``, a line each; none where they are the same.

    Panels are matched by their ids, within rows too. A line begins with ``+`` (comes), ``-`` (goes) or ``~`` (changes).
    """
    before, after = own(there), own(wanted)
    lines = [f"~ {each}" for each in _keys(_without_panels(before), _without_panels(after))]
    old, new = _panels(before), _panels(after)
    lines += [f"+ panel {_title(panel)}" for key, panel in new.items() if key not in old]
    for key, panel in new.items():
        if key in old and (changes := _keys(_without_panels(old[key]), _without_panels(panel))):
            lines.append(f"~ panel {_title(panel)}: {', '.join(changes)}")
    lines += [f"- panel {_title(panel)}" for key, panel in old.items() if key not in new]
    if not lines and before != after:
        lines.append("~ the order of panels")
    return lines


def _panels(dashboard: Mapping[str, Any]) -> dict[Any, Mapping[str, Any]]:
    found: dict[Any, Mapping[str, Any]] = {}
    for panel in dashboard.get("panels") or ():
        for each in (panel, *(panel.get("panels") or ())):
            found[each.get("id", each.get("title"))] = each
    return found


def _without_panels(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key != "panels"}


def _title(panel: Mapping[str, Any]) -> str:
    return json.dumps(panel.get("title") or f"without a title ({panel.get('type')})", ensure_ascii=False)


def _keys(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The keys that differ, with their values where those are short."""
    found = [path + _values(old, new) for path, old, new in _paths(there, wanted, "")]
    more = len(found) - _MOST
    return [*found[:_MOST], f"and {more} more"] if more > 0 else found


def _paths(there: Any, wanted: Any, at: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in sorted({*there, *wanted}):
            yield from _paths(
                there.get(key, _NOTHING), wanted.get(key, _NOTHING), f"{at}.{key}" if at else str(key)
            )
    elif isinstance(there, list) and isinstance(wanted, list):
        yield from _of_lists(there, wanted, at)
    elif type(there) is not type(wanted) or there != wanted:
        # 1 and 1.0 are the same in JSON, true and 1 are not.
        numbers = (int, float)
        if not (type(there) in numbers and type(wanted) in numbers and there == wanted):
            yield at, there, wanted


def _of_lists(there: Sequence[Any], wanted: Sequence[Any], at: str) -> Iterator[tuple[str, Any, Any]]:
    if len(there) != len(wanted):
        yield at, there, wanted
        return
    for number, (old, new) in enumerate(zip(there, wanted, strict=True)):
        name = new.get("name", number) if isinstance(new, dict) else number
        yield from _paths(old, new, f"{at}[{name}]")


def _values(old: Any, new: Any) -> str:
    if old is _NOTHING:
        return f" is new: {text}" if (text := _short(new)) else " is new"
    if new is _NOTHING:
        return " goes"
    texts = [_short(old), _short(new)]
    return f" {texts[0]} → {texts[1]}" if all(texts) else ""


def _short(value: Any) -> str:
    text = _LOGIN.sub("//[hidden]@", json.dumps(value, ensure_ascii=False))
    return text if len(text) <= _LONGEST else ""


def of_keys(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The keys of ``wanted`` that ``there`` has otherwise, with their values where those are short; what it has besides does not count."""
    return _keys({key: there[key] for key in wanted if key in there}, wanted)

"""What a panel calls the fields of its frames, and what its transformations leave of them: enough to see that a name refers to something.

Read out of ``packages/grafana-data`` (``field/fieldState.ts`` and ``transformations/transformers``) of Grafana 9.4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tests.grafana.frames import Field, Frame

Names = list[list[str]]
"""The names of the fields of each frame."""


_IN_LINKS: Final = re.compile(r"\$\{__data\.fields\.(\w+)")
_LABELS: Final = re.compile(r"\$\{__field\.labels\.(\w+)")


class NoSuchField(Exception):
    """A transformation names a field that does not come."""


def names_of(frames: Sequence[Frame]) -> Names:
    """What a panel calls the fields of each frame, before anything is renamed."""
    labels = {label for frame in frames for field in frame.fields for label in field.labels}
    single = next(iter(labels)) if len(labels) == 1 else None
    differ = len({frame.name for frame in frames}) > 1

    def called(field: Field, frame: Frame) -> str:
        if field.type == "time" and not field.labels:
            return field.name
        parts = [frame.name] if differ and frame.name else []
        parts += [field.name] if field.name != "Value" else []
        if single is None and field.labels:
            parts.append("{" + ", ".join(f'{label}="{value}"' for label, value in field.labels.items()) + "}")
        elif single is not None and single in field.labels:
            parts.append(field.labels[single])
        return " ".join(parts) or field.name

    return [[called(field, frame) for field in frame.fields] for frame in frames]


def fields_needed(panel: Mapping[str, Any]) -> set[str]:
    """The fields that a panel names where it says what they are, what is drawn of them, and where a row leads."""
    overrides = panel.get("fieldConfig", {}).get("overrides", ())
    # A colour may be of a series that is not always there.
    named = {
        override["matcher"]["options"]
        for override in overrides
        if override["matcher"]["id"] == "byName"
        and any(each["id"] in ("unit", "displayName") for each in override["properties"])
    }
    x = panel.get("options", {}).get("xField")
    return named | ({x} if x else set()) | set(_IN_LINKS.findall(json.dumps(panel.get("fieldConfig", {}))))


def labels_needed(panel: Mapping[str, Any]) -> set[str]:
    """The labels that a panel names its series after."""
    return set(_LABELS.findall(json.dumps(panel.get("fieldConfig", {}))))


def transformed(frames: Sequence[Frame], transformations: Sequence[Mapping[str, Any]]) -> Names:
    """The names of the fields that a panel shows after its transformations.

    Raises:
        NoSuchField: one refers to a field that does not come.
        KeyError: one of a kind that is not known here.
    """
    if not transformations:
        # A field is found by either name.
        named = [[field.name for field in frame.fields] for frame in frames]
        return [[*shown, *own] for shown, own in zip(names_of(frames), named, strict=True)]
    names = [[field.name for field in frame.fields] for frame in frames]
    labels = {label: None for frame in frames for field in frame.fields for label in field.labels}
    for transformation in transformations:
        if transformation.get("disabled"):
            continue
        names = _KNOWN[transformation["id"]](names, transformation["options"], list(labels))
    return names


def _need(names: Names, *wanted: str) -> None:
    known = {name for frame in names for name in frame}
    for name in wanted:
        if name not in known:
            raise NoSuchField(f"{name} is none of {sorted(known)}")


def _organize(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    excluded = {name for name, out in options.get("excludeByName", {}).items() if out}
    renamed: Mapping[str, str] = options.get("renameByName", {})
    order: Mapping[str, int] = options.get("indexByName", {})
    _need(names, *excluded, *renamed, *order)
    return [
        [
            renamed.get(name) or name
            for name in sorted(frame, key=lambda n: order.get(n, 0))
            if name not in excluded
        ]
        for frame in names
    ]


def _merge(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    return [list(dict.fromkeys(name for frame in names for name in frame))]


def _join(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    by = options.get("byField")
    if by:
        for frame in names:
            _need([frame], by)
    return _merge(names, options, labels)


def _filter_names(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    wanted = options.get("include", {}).get("names")
    if wanted is None:
        raise KeyError("filterFieldsByName by a pattern is not known here")
    _need(names, *wanted)
    return [[name for name in frame if name in wanted] for frame in names]


def _calculate(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    binary = options.get("binary", {})
    if options.get("mode") == "binary":
        _need(
            names,
            *(side for side in (binary["left"], binary["right"]) if not side.replace(".", "").isdigit()),
        )
    else:
        _need(names, *options.get("reduce", {}).get("include", ()))
    made = [options["alias"]]
    return [made if options.get("replaceFields") else [*frame, *made] for frame in names]


def _sort(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    _need(names, *(by["field"] for by in options.get("sort", ())))
    return names


def _filter_values(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    _need(names, *(each["fieldName"] for each in options.get("filters", ())))
    return names


def _group(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    fields: Mapping[str, Any] = options["fields"]
    used = {name: found for name, found in fields.items() if found.get("operation")}
    _need(names, *used)
    keys = [name for name, found in used.items() if found["operation"] == "groupby"]
    made = [f"{name} ({how})" for name, found in used.items() for how in found.get("aggregations", ())]
    return [[*keys, *made] for _ in names]


def _labels_to_fields(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    kept = options.get("keepLabels")
    if kept is not None:
        _need([labels], *kept)
    value = options.get("valueLabel")
    if value:
        _need([labels], value)
    shown = [label for label in (labels if kept is None else kept) if label != value]
    return [[frame[0], *shown, *frame[1:]] for frame in names]


def _partition(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    _need(names, *options.get("fields", ()))
    return names


def _convert(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    _need(names, *(each["targetField"] for each in options.get("conversions", ())))
    return names


def _reduce(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    titles = {
        "lastNotNull": "Last *",
        "sum": "Total",
        "mean": "Mean",
        "max": "Max",
        "last": "Last",
        "count": "Count",
    }
    return [["Field", *(titles[each] for each in options["reducers"])]]


def _as_it_is(names: Names, options: Mapping[str, Any], labels: list[str]) -> Names:
    return names


_KNOWN: Final[Mapping[str, Callable[[Names, Mapping[str, Any], list[str]], Names]]] = {
    "organize": _organize,
    "merge": _merge,
    "joinByField": _join,
    "seriesToColumns": _join,
    "filterFieldsByName": _filter_names,
    "filterByValue": _filter_values,
    "calculateField": _calculate,
    "sortBy": _sort,
    "groupBy": _group,
    "labelsToFields": _labels_to_fields,
    "partitionByValues": _partition,
    "convertFieldType": _convert,
    "reduce": _reduce,
    "limit": _as_it_is,
    "prepareTimeSeries": _as_it_is,
}

"""What a query brings to a panel: frames of fields, as Grafana makes them of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """A column: ``type`` is time, string, number or boolean."""

    name: str
    type: str
    labels: Mapping[str, str] = field(default_factory=dict)
    values: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """A table of fields of one length; ``ref`` is the id of the query that it answers."""

    fields: Sequence[Field]
    ref: str = "A"
    name: str = ""

    def __len__(self) -> int:
        return len(self.fields[0].values) if self.fields else 0

    def field(self, name: str) -> Field:
        """The field of that name.

        Raises:
            KeyError: there is none.
        """
        for found in self.fields:
            if found.name == name:
                return found
        raise KeyError(f"{name} is none of {[found.name for found in self.fields]}")


def rows(frames: Sequence[Frame]) -> int:
    """How many rows they have together."""
    return sum(len(frame) for frame in frames)

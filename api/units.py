"""Units of fields, as the OpenAPI document says them."""

from __future__ import annotations

from pydantic.config import JsonDict


def unit(name: str) -> JsonDict:
    """For ``json_schema_extra`` of a field that is measured in ``name``, such as ``s`` or ``share`` (0–1)."""
    return {"unit": name}

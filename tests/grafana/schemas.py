"""What Grafana reads of provisioning files, as JSON schemas: from its own types, nothing beside them, at every version from 9.4 on."""

from __future__ import annotations

from typing import Any, Final


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


_TEXT: Final = {"type": "string", "minLength": 1}
_FLAG: Final = {"type": "boolean"}
_COUNT: Final = {"type": "integer", "minimum": 1}
_UID: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$"}

_SOURCE: Final = _closed(
    ["name", "uid", "type", "access", "url"],
    name=_TEXT,
    uid=_UID,
    type={"enum": ["influxdb", "postgres"]},
    access={"const": "proxy"},
    orgId=_COUNT,
    url=_TEXT,
    user=_TEXT,
    database=_TEXT,
    basicAuth=_FLAG,
    basicAuthUser=_TEXT,
    withCredentials=_FLAG,
    isDefault=_FLAG,
    editable=_FLAG,
    version=_COUNT,
    jsonData={"type": "object"},
    secureJsonData={"type": "object", "additionalProperties": _TEXT},
)
_OF_TYPE: Final = {
    "influxdb": _closed(
        ["version", "organization", "defaultBucket"],
        version={"const": "Flux"},
        organization=_TEXT,
        defaultBucket=_TEXT,
        timeInterval={"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
        httpMode={"enum": ["GET", "POST"]},
        maxSeries=_COUNT,
        tlsSkipVerify=_FLAG,
    ),
    "postgres": _closed(
        ["database", "sslmode"],
        database=_TEXT,
        sslmode=_TEXT,
        postgresVersion={"enum": [903, 904, 905, 906, 1000, 1100, 1200, 1300, 1400, 1500]},
        timescaledb=_FLAG,
        maxOpenConns=_COUNT,
        maxIdleConns=_COUNT,
        connMaxLifetime=_COUNT,
    ),
}

DATA_SOURCES: Final[dict[str, Any]] = _closed(
    ["apiVersion", "datasources"],
    apiVersion={"const": 1},
    datasources={
        "type": "array",
        "minItems": 1,
        "items": {
            "allOf": [
                _SOURCE,
                *(
                    {
                        "if": {"properties": {"type": {"const": kind}}},
                        "then": {"properties": {"jsonData": json_data}},
                    }
                    for kind, json_data in _OF_TYPE.items()
                ),
            ]
        },
    },
    deleteDatasources={"type": "array", "items": _closed(["name"], name=_TEXT, orgId=_COUNT)},
)

DASHBOARDS: Final[dict[str, Any]] = _closed(
    ["apiVersion", "providers"],
    apiVersion={"const": 1},
    providers={
        "type": "array",
        "minItems": 1,
        "items": _closed(
            ["name", "type", "options"],
            name=_TEXT,
            orgId=_COUNT,
            folder=_TEXT,
            folderUid=_UID,
            type={"const": "file"},
            disableDeletion=_FLAG,
            allowUiUpdates=_FLAG,
            editable=_FLAG,
            updateIntervalSeconds={"type": "integer", "minimum": 10},
            options=_closed(["path"], path=_TEXT, foldersFromFilesStructure=_FLAG),
        ),
    },
)

"""A stand-in for the far end of the wire, so that the demo's own figures can be compared with what arrived."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

Trouble = Literal["busy", "limited", "cut", "lost", "refused", "first item rejected"]


@dataclass(frozen=True)
class Delivery:
    """One request as it came in."""

    path: str
    key: str | None
    content_type: str | None
    authorization: str | None
    body: bytes


class Receiver:
    """Answers 202 and keeps what it took: a body once per Idempotency-Key. `troubles` befall the first requests, one each.

    busy: 503 with Retry-After; limited: 429; cut: the connection ends before the batch is taken; lost: it ends after; refused:
    422; first item rejected: 202, the rest taken.
    """

    def __init__(self, troubles: Iterable[Trouble] = ()) -> None:
        self.deliveries: list[Delivery] = []
        self.events: list[dict[str, Any]] = []
        self.conflicts = 0
        self._troubles = list(troubles)
        self._taken: dict[str, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        header = request.headers.get
        key = header("idempotency-key")
        self.deliveries.append(
            Delivery(request.url.path, key, header("content-type"), header("authorization"), body)
        )
        trouble = self._troubles.pop(0) if self._troubles else None
        match trouble:
            case "busy":
                return await JSONResponse({}, 503, {"Retry-After": "0"})(scope, receive, send)
            case "limited":
                return await JSONResponse({}, 429)(scope, receive, send)
            case "refused":
                return await JSONResponse({"title": "no item is good"}, 422)(scope, receive, send)
            case "cut":
                return await self._hang_up(send)

        known = self._taken.get(key) if key else None
        if known is not None and known != body:
            self.conflicts += 1
            return await JSONResponse({}, 409)(scope, receive, send)
        batch = json.loads(body)
        batch = batch if isinstance(batch, list) else [batch]
        rejected = (
            [{"index": 0, "field": "value", "reason": "test"}] if trouble == "first item rejected" else []
        )
        if known is None:
            self.events += batch[len(rejected) :]
            if key:
                self._taken[key] = body
        if trouble == "lost":
            return await self._hang_up(send)
        duplicates = len(batch) if known is not None else 0
        answer = {
            "accepted": len(batch) - len(rejected) - duplicates,
            "duplicates": duplicates,
            "rejected": rejected,
        }
        return await JSONResponse(answer, 202)(scope, receive, send)

    async def _hang_up(self, send: Send) -> None:
        # The server ends the connection of an answer shorter than it said it would be.
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"9")]})

    def of(self, metric: str, session_id: str | None = None) -> list[dict[str, Any]]:
        """Values of the events of one metric, in the order they were taken."""
        return [
            event["value"]
            for event in self.events
            if event["metric"] == metric and session_id in (None, event["session_id"])
        ]

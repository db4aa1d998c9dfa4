"""Blocking calls of the stores, made in threads and waited for only so long: no route hangs with a store that does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from scrapewatch.problems import StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")


class Patience:
    """Calls of one store, with threads of their own, so that one that hangs does not hold up the others.

    Args:
        name: of the store, for people.
        seconds: how long a caller waits.
        threads: calls at once; more wait for their turn within the same time.
        asking: entered for each call, with the name of its function.
    """

    def __init__(
        self,
        name: str,
        *,
        seconds: float = 5.0,
        threads: int = 16,
        asking: Callable[[str], AbstractContextManager[None]] = lambda _: nullcontext(),
    ) -> None:
        self._name = name
        self._asking = asking
        self._seconds = seconds
        self._limiter = CapacityLimiter(threads)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``function`` returns, from a thread.

        Raises:
            StoreUnavailable: it did not answer in time; its thread is left to end by itself.
        """
        try:
            with self._asking(_name(function)), anyio.fail_after(self._seconds):
                return await to_thread.run_sync(
                    partial(function, *args, **kwargs), abandon_on_cancel=True, limiter=self._limiter
                )
        except TimeoutError as error:
            raise StoreUnavailable(
                f"{self._name} did not answer within {self._seconds:g} s; try again",
                retry_after=self._seconds,
            ) from error


def _name(function: Callable[..., object]) -> str:
    name = getattr(function, "__name__", "")
    return name if name.isidentifier() else "other"  # what has no name of its own, such as a lambda

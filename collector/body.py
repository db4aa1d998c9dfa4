"""A request's body: which types and encodings are taken, and how an encoded one is unpacked without trusting it."""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

from collector.ingest import MalformedBody
from scrapewatch.problems import InvalidInput

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CONTENT_TYPES: Final[Mapping[str, bool]] = {
    "": False,
    "application/json": False,
    "text/plain": False,
    "text/json": False,
    "application/x-ndjson": True,
    "application/ndjson": True,
    "application/jsonl": True,
}
"""The media types that are taken, and whether a body of that type has an event a line; JSON is assumed where none is given."""

ENCODINGS: Final = ("gzip", "deflate", "zstd")
"""The content encodings that are taken, one at a time."""

MOST_FRAMES: Final = 1_000
"""Members of gzip or frames of zstd that one body may be made of."""

_CHUNK: Final = (
    65_536  # fed at once: what follows a frame is copied, so a body of tiny frames costs this much for each
)
_PIECE: Final = 1_048_576  # unpacked at once

_TYPES_IN_WORDS: Final = "application/json (or text/plain) or, with an event a line, application/x-ndjson"
_ENCODINGS_IN_WORDS: Final = "gzip, deflate or zstd"


class BodyTooLarge(InvalidInput):
    """The body, or what it unpacks to, is larger than allowed."""


class UnsupportedBody(InvalidInput):
    """The body has a type or an encoding that is not taken."""


@lru_cache(256)
def has_lines(content_type: bytes) -> bool:
    """Whether a body of ``content_type`` (the header's value) has an event a line.

    Raises:
        UnsupportedBody: the type is not taken; says which, and what is taken.
    """
    media_type = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    try:
        return CONTENT_TYPES[media_type]
    except KeyError:
        raise UnsupportedBody(f"{_shown(media_type)} is not taken; send {_TYPES_IN_WORDS}") from None


@lru_cache(256)
def encoding_of(content_encoding: bytes) -> str:
    """The encoding that ``content_encoding`` (the header's value) names: one of :data:`ENCODINGS`, or "" for none.

    Raises:
        UnsupportedBody: it is not taken, or there are several.
    """
    name = content_encoding.strip().lower().decode("latin-1").removeprefix("x-")
    if name in ("", "identity"):
        return ""
    if name not in ENCODINGS:
        raise UnsupportedBody(
            f"the encoding {_shown(name)} is not taken; send {_ENCODINGS_IN_WORDS}, or none of them"
        )
    return name


def _shown(name: str) -> str:
    """``name`` as an answer may repeat it: what a media type or encoding can be made of, and not much of it."""
    return re.sub(r"[^a-z0-9!#$&^_.+/, -]", "?", name)[:60]


def most_unpacked(size: int, encoding: str, most: int) -> int:
    """How many bytes a body of ``size`` bytes can unpack to when ``most`` are allowed."""
    if encoding == "zstd":
        return most
    # DEFLATE's longest match is 258 bytes for two bits: https://www.zlib.net/zlib_tech.html, "Maximum Expansion Factor".
    return min(most, size * 1032 + 1032)


def unpack(body: bytes, encoding: str, most: int) -> bytes:
    """``body`` without its ``encoding``, one of :data:`ENCODINGS`; never unpacks more than ``most`` bytes.

    Several members of gzip or frames of zstd are one body.

    Raises:
        BodyTooLarge: it unpacks to more than ``most`` bytes.
        MalformedBody: it is not in that encoding, is cut off, or has more than :data:`MOST_FRAMES` frames.
    """
    found: list[bytes] = []
    size = 0
    position = 0
    view = memoryview(body)
    unpacker = _unpacker(encoding, body, most)
    frames = 1
    try:
        while not unpacker.eof or position < len(body):
            if unpacker.eof:
                if encoding == "deflate":
                    raise MalformedBody("something follows the deflated body")
                if frames == MOST_FRAMES:
                    raise MalformedBody(
                        f"the body has more than {MOST_FRAMES:,} {encoding} frames; use fewer"
                    )
                frames += 1
                unpacker = _unpacker(encoding, body, most)
            chunk = view[position : position + _CHUNK] if unpacker.needs_input else b""
            if unpacker.needs_input and not chunk:
                raise MalformedBody(f"the {encoding} body is cut off")
            piece = unpacker.decompress(chunk, min(_PIECE, most + 1 - size))
            position += len(chunk)
            if unpacker.eof:
                position -= len(unpacker.unused_data)
            size += len(piece)
            if size > most:
                raise BodyTooLarge(f"the body unpacks to more than {most:,} bytes; send fewer events at once")
            found.append(piece)
    except (zlib.error, zstd.ZstdError) as error:
        raise MalformedBody(
            f"the body cannot be unpacked as {encoding}, as its Content-Encoding says"
        ) from error
    return found[0] if len(found) == 1 else b"".join(found)


class _Unpacker(Protocol):
    """What unpacks one frame, as in the standard library's ``bz2`` and ``compression.zstd``."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: Any, max_length: int = -1) -> bytes: ...


class _Zlib:
    """zlib's decompressor with the interface of the others."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail and not self._full

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: Any, max_length: int = -1) -> bytes:
        piece = self._inner.decompress(data or self._inner.unconsumed_tail, max_length)
        # All input may be taken and output still be waiting inside.
        self._full = len(piece) == max_length
        return piece


def _unpacker(encoding: str, body: bytes, most: int) -> _Unpacker:
    if encoding == "zstd":
        # A window larger than any body may be is asked for by bombs only: it would be memory taken for nothing.
        window = max(most.bit_length(), 23)  # 8 MiB, which all must take: RFC 9659
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: min(window, 31)})
    if encoding == "gzip":
        return _Zlib(zlib.MAX_WBITS | 16)
    # "deflate" is the zlib format, but what sends it bare is taken, too: RFC 9110, 8.4.1.2.
    bare = len(body) < 2 or body[0] & 0x0F != 8 or (body[0] << 8 | body[1]) % 31 != 0
    return _Zlib(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS)

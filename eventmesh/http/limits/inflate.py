"""Decompresses bodies, as long as they do not grow too much.

Compressed, 6 MiB of zeros are 6 KB: whoever may send one may send thousands at once. Real JSON
shrinks to a tenth at the least.
"""

from __future__ import annotations

import zlib
from typing import Final, Protocol

CODINGS: Final = ("gzip", "deflate", "identity")
"""The content codings that are accepted (RFC 9110, section 8.4.1)."""

MAX_RATIO: Final = 20
"""How many times larger a body may become."""

FREE_BYTES: Final = 64 * 1024
"""Bytes that a body may have whatever its ratio is: small ones of one letter shrink most."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


class TooDense(ValueError):
    """A body grows more than MAX_RATIO times."""


class Undecodable(ValueError):
    """A body is not of the coding that it is declared to be of, or has more behind its end."""


class _Decoder(Protocol):
    """What `zlib.decompressobj` makes."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Inflater:
    """Decompresses one body, piece by piece."""

    __slots__ = ("_decoder", "_gzip", "_read", "_written")

    def __init__(self, coding: str) -> None:
        """`coding` is "gzip" or "deflate"."""
        self._gzip = coding == "gzip"
        self._decoder: _Decoder | None = None
        self._read = 0
        self._written = 0

    def feed(self, piece: bytes) -> bytes:
        """Decompress a piece, which is not empty. Raises TooDense or Undecodable."""
        if self._decoder is None:
            self._decoder = zlib.decompressobj(self._window(piece[0]))
        elif self._decoder.eof:
            raise Undecodable("there is more behind its end")
        self._read += len(piece)
        left = max(FREE_BYTES, MAX_RATIO * self._read) - self._written
        try:
            inflated = self._decoder.decompress(piece, left + 1)
        except zlib.error as error:
            raise Undecodable(str(error)) from None
        if len(inflated) > left:
            raise TooDense(f"{self._read:,} bytes become more than {self._written + left:,}")
        if self._decoder.unused_data:
            # Members one after the other (RFC 1952, section 2.2) are of files, and slow to decode.
            raise Undecodable("there is more behind its end")
        self._written += len(inflated)
        return inflated

    def finish(self) -> None:
        """Check that all of it came. Raises Undecodable."""
        if self._decoder is not None and not self._decoder.eof:
            raise Undecodable("its end is missing")

    def _window(self, first: int) -> int:
        if self._gzip:
            return _GZIP
        # "deflate" is in zlib's format (RFC 1950: method 8), but some leave its header out.
        return _ZLIB if first & 0x0F == 8 else _RAW  # noqa: PLR2004

"""Bytes that sort like the values they stand for, and the bounds of what begins with given bytes.

Decides encodings only; which values are allowed is `keys`. Invariant I10: equal values have equal bytes,
different values different bytes, and bytes compare as the values do: numbers numerically, the rest by bytes.
"""

from __future__ import annotations

from decimal import Decimal

_NEGATIVE, _ZERO, _POSITIVE = b"\x00", b"\x01", b"\x02"
_EXPONENT_MIN = -130  # of the protocol's numbers; the largest is 125, so that an exponent fits into one byte
_FLIPPED = bytes(255 - byte for byte in range(256))

END = b"\x00\x00"  # after an escaped value: below everything that a longer value goes on with


def number(canonical: str) -> bytes:
    """A number in its canonical spelling: sign, exponent, then two digits a byte, from 1 to 100.

    A negative number has the bytes of its magnitude flipped, and 255 at the end, above all of them: -1.5 < -1.
    """
    value = Decimal(canonical)
    if not value:
        return _ZERO
    figures = "".join(map(str, value.as_tuple().digits)).rstrip("0")
    pairs = [int(figures[at : at + 2].ljust(2, "0")) + 1 for at in range(0, len(figures), 2)]
    magnitude = bytes([value.adjusted() - _EXPONENT_MIN, *pairs])
    return _POSITIVE + magnitude if value > 0 else _NEGATIVE + magnitude.translate(_FLIPPED) + b"\xff"


def escape(value: bytes) -> bytes:
    """The value's bytes so that `END` cannot be among them; the order stays, and so does what begins with what."""
    return value.replace(b"\x00", b"\x00\xff")


def beyond(prefix: bytes) -> bytes:
    """The lowest bytes above everything that begins with ``prefix``; b"" if there are none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b""

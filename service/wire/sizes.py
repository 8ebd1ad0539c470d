"""The size of a message besides its image, checked before the message is parsed."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

__all__ = ["MAX_FIELDS", "MAX_OTHER_BYTES", "is_small"]

MAX_OTHER_BYTES = 1_000_000
"""Bytes of a message besides its image: 64 prompts and as many to leave out take half of it."""

MAX_FIELDS = 10_000
"""Fields of a message, in all levels that are checked."""

_FIXED = {1: 8, 5: 4}  # bytes of the value of a field, by its wire type
_GROUPS = {3, 4}
_VARINT, _BYTES = 0, 2


def is_small(data: bytes, kind: Descriptor) -> bool:
    """Return whether a serialized message is small besides its image.

    The parser makes an object of each field: 32 MB of empty points would take gigabytes, and minutes to convert.
    At each level, the largest field may be a message, which is checked in turn, or the bytes of the image; all others
    count.

    Parameters
    ----------
    data
        The serialized message.
    kind
        Its type.

    Raises
    ------
    DecodeError
        It is malformed.
    """
    start, end, others, fields = 0, len(data), 0, 0
    level: Descriptor | None = kind
    while level is not None:
        number, largest = 0, (start, start)
        position = start
        while position < end:
            field, value, following = _read_field(data, position, end)
            fields += 1
            if following - value > largest[1] - largest[0]:
                number, largest = field, (value, following)
            position = following
            if others + position - start - (largest[1] - largest[0]) > MAX_OTHER_BYTES or fields > MAX_FIELDS:
                return False
        others += end - start - (largest[1] - largest[0])
        found = level.fields_by_number.get(number)
        if found is None or (found.message_type is None and found.type != FieldDescriptor.TYPE_BYTES):
            others += largest[1] - largest[0]
        level = None if found is None else found.message_type
        start, end = largest
    return others <= MAX_OTHER_BYTES


def _read_field(data: bytes, position: int, end: int) -> tuple[int, int, int]:
    """Return the number of a field, where its value starts (past a length), and where the next field starts."""
    tag, position = _read_varint(data, position, end)
    kind, value = tag & 7, position
    if kind == _VARINT:
        _, following = _read_varint(data, position, end)
    elif kind == _BYTES:
        size, value = _read_varint(data, position, end)
        following = value + size
    elif kind in _GROUPS:
        following = position
    elif kind in _FIXED:
        following = position + _FIXED[kind]
    else:
        raise DecodeError
    if following > end:
        raise DecodeError
    return tag >> 3, value, following


def _read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, position
    raise DecodeError

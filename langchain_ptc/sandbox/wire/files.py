"""Names of files that cross the sandbox: relative, and harmless on every system that they are saved on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from langchain_ptc.wording import cut

MAX_NAME_CHARS, _MAX_PART_BYTES = 500, 255
_REFUSED = re.compile(
    '[\x00-\x1f\x7f-\x9f\\\\:<>"|?*\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]'
)
"""What Windows does not take, controls, marks that turn the direction of text, surrogates."""
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE
)


def is_file_name(name: object) -> bool:
    """Whether a file of this name can be saved below a folder, and nowhere else, on any system."""
    if type(name) is not str or not 0 < len(name) <= MAX_NAME_CHARS or _REFUSED.search(name):
        return False
    return all(
        part
        and part[-1] not in ". "
        and part[0] != " "
        and len(part.encode()) <= _MAX_PART_BYTES
        and not _DEVICE.fullmatch(part)
        for part in name.split("/")
    )


def folders_of(name: str) -> set[str]:
    """Return the folders that a file of this name is in."""
    return {name[:at] for at, char in enumerate(name) if char == "/"}


def checked_files(files: Mapping[str, bytes] | None, room: int) -> dict[str, bytes] | None:
    """Return the files that code is given; None if it has no folder, and so `room` for none.

    Raises:
        TypeError: A content is not bytes.
        ValueError: There is no folder, the files do not fit, or a name is not that of a file, or that of a folder
            of another.
    """
    if not room:
        if files:
            raise ValueError("code gets files only with files=True, and this sandbox has none")
        return None
    given = dict(files or {})
    for name, data in given.items():
        if not is_file_name(name):
            raise ValueError(
                f"files: {cut(repr(name), 100)} cannot be the name of a file: use a relative path with "
                "'/', such as 'data/orders.csv'"
            )
        if type(data) is not bytes:
            raise TypeError(
                f"files: the content of {name!r} must be bytes, got {type(data).__name__}"
            )
    if both := set().union(*map(folders_of, given)) & given.keys():
        raise ValueError(f"files: {min(both)!r} cannot be a file and the folder of another")
    if (size := sum(map(len, given.values()))) > room:
        raise ValueError(f"files: {size:,} bytes do not fit into a folder of {room:,} (files=...)")
    return given

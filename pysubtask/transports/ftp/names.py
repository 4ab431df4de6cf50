"""Remote names on their way into a command, and back."""

from __future__ import annotations

from pysubtask.errors import RemoteUnsupported

__all__ = ["decode_name", "encode_path"]


def encode_path(path: str) -> bytes:
    """The bytes of a path, fit to stand in a command.

    A name that is not UTF-8 goes out byte for byte as it is (PEP 383).

    Raises:
        RemoteUnsupported: it holds what no FTP command can carry: a line end (which would begin
            another command), NUL, or the byte 0xFF (which Telnet, below FTP, takes for a command).
    """
    try:
        raw = path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raw = b"\0"
    for bad, words in (
        (b"\r", "a line end"),
        (b"\n", "a line end"),
        (b"\0", "a NUL character"),
        (b"\xff", "the byte 0xFF"),
    ):
        if bad in raw:
            raise RemoteUnsupported(
                f"FTP can't carry a name with {words}",
                operation="name",
                path=path,
                hint="rename the file, or give the watch another name by 'as'",
            )
    # servers skip blanks before an argument
    return b"./" + raw if raw.startswith((b" ", b"\t")) else raw


def decode_name(raw: bytes) -> str:
    """A name that the server sent."""
    return raw.decode("utf-8", "surrogateescape")

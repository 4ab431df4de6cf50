"""The toy server: ``python -m pysubtask_shelf.server FOLDER [PORT]`` (this machine only).

No login, no encryption: whoever reaches the port can read and write the folder.
"""

from __future__ import annotations

import errno
import json
import os
import socketserver
import stat
import sys
from typing import Any

from pysubtask_shelf import DEFAULT_PORT

__all__ = ["ShelfServer"]

_REFUSALS = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.EEXIST: "exists",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    errno.EROFS: "denied",
    errno.ENOSPC: "full",
}


class ShelfServer(socketserver.ThreadingTCPServer):
    """``with ShelfServer(folder) as server: server.serve_forever()``; port 0: a free one."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: str, port: int = 0) -> None:
        self.folder = os.path.abspath(folder)
        super().__init__(("127.0.0.1", port), _Connection)

    def carry_out(self, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """One request; ``OSError`` and ``ValueError`` are refusals."""
        path = self._local(request["path"])
        match request["do"]:
            case "hello":
                return {"shelf": 1}, b""
            case "stat":
                return {"stat": _facts(os.stat(path))}, b""
            case "write":
                flags = os.O_WRONLY | (os.O_CREAT if request["create"] else 0)
                fd = os.open(path, flags, 0o666)
                try:
                    while data:
                        written = os.pwrite(fd, data, request["offset"])
                        request["offset"] += written
                        data = data[written:]
                finally:
                    os.close(fd)
            case "sync":
                if os.path.exists(path):
                    fd = os.open(path, os.O_RDONLY)
                    try:
                        os.fsync(fd)
                    finally:
                        os.close(fd)
            case "read":
                with open(path, "rb") as file:
                    file.seek(request["offset"])
                    return {}, file.read(min(request["length"], 1 << 24))
            case "rename":
                target = self._local(request["target"])
                if os.path.lexists(target) and not request["replace"]:
                    raise FileExistsError(errno.EEXIST, "there is such a file", target)
                os.replace(path, target)
            case "remove":
                os.unlink(path)
            case "make_dir":
                if not os.path.isdir(path):
                    os.mkdir(path)
            case "list":
                with os.scandir(path) as entries:
                    return {"names": {entry.name: _facts(entry.stat()) for entry in entries}}, b""
            case other:
                raise ValueError(f"no such request: {other}")
        return {}, b""

    def _local(self, path: str) -> str:
        if ".." in path.split("/"):
            raise PermissionError(errno.EACCES, "outside of the folder", path)
        return os.path.join(self.folder, path.lstrip("/"))


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        assert isinstance(self.server, ShelfServer)
        while line := self.rfile.readline(1 << 20):
            try:
                request = json.loads(line)
                data = self.rfile.read(request["bytes"])
                if len(data) < request["bytes"]:
                    return  # the connection broke in the middle: nothing is done
                answer, found = self.server.carry_out(request, data)
            except OSError as error:
                kind = _REFUSALS.get(error.errno or 0, "other")
                answer, found = {"refused": kind, "text": error.strerror or str(error)}, b""
            except (ValueError, KeyError) as error:
                answer, found = {"refused": "other", "text": str(error)}, b""
            head = json.dumps({**answer, "bytes": len(found)}).encode("ascii")
            self.wfile.write(head + b"\n" + found)


def _facts(st: os.stat_result) -> list[Any]:
    return [st.st_size, st.st_mtime, stat.S_ISDIR(st.st_mode)]


if __name__ == "__main__":
    with ShelfServer(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else DEFAULT_PORT) as server:
        print(f"shelf://127.0.0.1:{server.server_address[1]}/", flush=True)
        server.serve_forever()

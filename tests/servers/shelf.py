"""The example's toy server, and the example itself as if it were installed."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import sys
import tempfile
import threading
import tomllib
from types import TracebackType
from typing import Any, Self

__all__ = ["EXAMPLE", "ShelfServer", "install"]

EXAMPLE = pathlib.Path(__file__).parent.parent.parent / "examples" / "pysubtask_shelf"


def install(folder: pathlib.Path) -> None:
    """Put into ``folder``, and at the front of ``sys.path``, what an installation of the example
    leaves there: its metadata with the entry points of its ``pyproject.toml``, and the package."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]
    name, version = project["name"], project["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for entry in (str(EXAMPLE), str(folder)):
        if entry not in sys.path:
            sys.path.insert(0, entry)


class ShelfServer:
    """``with ShelfServer() as server:``, on a thread, a port that the kernel picks.

    Attributes:
        host, port: where it listens.
        root: the folder that it serves.
    """

    host = "127.0.0.1"

    def __enter__(self) -> Self:
        self._installed = tempfile.TemporaryDirectory(prefix="pysubtask-shelf-")
        base = pathlib.Path(self._installed.name)
        install(base / "site")
        self.root = base / "root"
        self.root.mkdir()
        self.port = 0
        self.start()
        return self

    def start(self) -> None:
        """Start it; again on the same port after :meth:`stop`."""
        from pysubtask_shelf.server import ShelfServer as Server

        self._server: Any = Server(str(self.root), self.port)
        self.port = self._server.server_address[1]
        self._connections = _noted(self._server)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        """Nobody listens any more, and all connections are shut."""
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.hide()
        self._installed.cleanup()

    def show(self) -> None:
        """The example looks installed, as it does from the start."""
        install(pathlib.Path(self._installed.name) / "site")

    def hide(self) -> None:
        """It does not any more; the server goes on."""
        for entry in (str(EXAMPLE), str(pathlib.Path(self._installed.name) / "site")):
            if entry in sys.path:
                sys.path.remove(entry)

    @property
    def url(self) -> str:
        """Of the folder that it serves, ending in a slash."""
        return f"shelf://{self.host}:{self.port}/"

    def new_folder(self) -> tuple[str, pathlib.Path]:
        """A fresh folder: as the server and as this machine name it."""
        path = pathlib.Path(tempfile.mkdtemp(dir=self.root))
        return f"/{path.name}", path


def _noted(server: Any) -> list[socket.socket]:
    """The connections that a server takes from now on."""
    taken: list[socket.socket] = []
    accept = server.get_request

    def get_request() -> Any:
        found = accept()
        taken.append(found[0])
        return found

    server.get_request = get_request
    return taken

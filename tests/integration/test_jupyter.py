"""A TaskMaster in a notebook: no ``__main__`` file, output streams that are none, kernels that are
restarted at any time."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.integration.promises import is_running, wait_until

pytestmark = [
    # theirs, not ours: asyncio policies, tornado, zmq
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform == "win32", reason="asks the system for processes"),
]

START = """
import logging, pathlib, sys
from pysubtask import SettingsError, TaskMaster
from pysubtask.base import BaseSubtask, BaseTaskMaster
assert not hasattr(sys.modules["__main__"], "__file__")
master = TaskMaster([{file!r}], to={to!r}, orphan_secs=1, log_to_console=True)
master.start()
print(master.status().pid)
"""
DELIVER = """
with open({file!r}, "ab") as file:
    _ = file.write({data!r})
print(master.notify(0), master.flush(30))
"""
OWN = """
class Count(BaseSubtask):
    def process_notify(self, path):
        pass
try:
    BaseTaskMaster([{file!r}], subtask=Count)
except SettingsError as error:
    print(error)
"""


class Notebook:
    """One that is open, with its kernel."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(self, source: str) -> str:
        """What the cell printed on its standard output.

        Raises:
            CellExecutionError: what the cell raised.
        """
        from nbformat import v4

        cell = v4.new_code_cell(source)
        number = len(self._client.nb.cells)
        self._client.nb.cells.append(cell)
        self._client.execute_cell(cell, number)
        return "".join(
            output.text for output in cell.outputs if output.get("name") == "stdout"
        ).strip()

    def restart(self, now: bool) -> None:
        """Restart the kernel; ``now``: without asking it."""
        from nbclient.util import run_sync

        run_sync(self._client.km.restart_kernel)(now=now)
        run_sync(self._client.kc.wait_for_ready)(timeout=60)


@pytest.fixture
def notebook(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    for name in ("nbclient", "ipykernel"):
        if find_spec(name) is None:
            words = f"not installed: {name}"
            if os.environ.get("PYSUBTASK_REQUIRE_SERVERS") == "1":
                pytest.fail(words)
            pytest.skip(words)
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    client = NotebookClient(
        nbformat.v4.new_notebook(), timeout=60, resources={"metadata": {"path": str(tmp_path)}}
    )
    with client.setup_kernel():
        yield Notebook(client)


def test_a_notebook_and_restarts_of_its_kernel(notebook: Notebook, tmp_path: pathlib.Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    file, arrived = tmp_path / "data" / "a.csv", tmp_path / "out" / "a.csv"
    names = {"file": str(file), "to": f"file://{tmp_path}/out"}
    for number, now in enumerate((False, True)):
        pid = int(notebook.run(START.format(**names)))
        cell = DELIVER.format(data=b"%d\n" % number, **names)
        assert notebook.run(cell) == "True True"
        assert arrived.read_bytes() == file.read_bytes()
        if number == 0:
            assert "__main__" in notebook.run(OWN.format(**names))
        assert is_running(pid)
        notebook.restart(now)
        wait_until(lambda pid=pid: not is_running(pid), 15, "the subtask leaves")  # type: ignore[misc]
    assert arrived.read_bytes() == b"0\n1\n"

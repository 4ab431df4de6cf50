"""A start: where the logs go, what is handed over to the subtask, and who supervises it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from pysubtask.handover import Handover, Source
from pysubtask.master._log import open_log
from pysubtask.master._process import Supervisor
from pysubtask.master._state import Place, log_file
from pysubtask.secret import Secret
from pysubtask.settings import Settings
from pysubtask.signals import StateLayout
from pysubtask.urls import Destination
from pysubtask.version import __version__
from pysubtask.watch import Watch

__all__ = ["Launch"]


@dataclass(frozen=True, slots=True)
class Launch:
    """What is settled when a master starts its subtask."""

    extension: str
    settings: Settings
    watches: list[Watch]
    sources: list[Source]
    destination: Destination | None
    layout: StateLayout
    place: Place
    home: str
    """Folder of the first entry of the watch list."""
    work_dir: str
    subtask: str | None
    """``module:Class`` of a subtask of the user's own."""
    log_tag: str = ""
    """A part of the logs' names, where the plain names are another master's."""

    def beside(self, others: Iterable[Launch]) -> Launch:
        """The same, with logs of its own: two processes can't rotate one file. If another master of
        this program writes a log of the same name, ours bear the name of our state folder, too."""
        ours = self.log_file("subtask")
        if any(ours[0] is not None and other.log_file("subtask") == ours for other in others):
            return replace(self, log_tag=os.path.basename(self.layout.state_dir))
        return self

    def log_file(self, side: Literal["taskmaster", "subtask"]) -> tuple[str | None, str]:
        """Folder (None: no file) and name of the log of one side."""
        folder, name = log_file(
            self.settings, side, self.extension, self.home, self.work_dir, self.place
        )
        if self.log_tag:
            stem, dot, rest = name.partition(".")
            name = f"{stem}.{self.log_tag}{dot}{rest}"
        return folder, name

    def open_log(self, label: str) -> logging.Logger:
        """The master's log, with its first lines in it; ``label``: the class that writes it."""
        folder, name = self.log_file("taskmaster")
        log = open_log(
            f"{self.extension}.{label}",
            path=os.path.join(folder, name) if folder is not None else None,
            level=self.settings.log_level,
            max_bytes=self.settings.log_max_bytes,
            backup_count=self.settings.log_backup_count,
            to_console=self.settings.log_to_console,
        )
        to = f" to {self.destination}" if self.destination is not None else ""
        log.info("HELLO! pysubtask %s, %d watches%s", __version__, len(self.watches), to)
        if self.place.instead_of:
            log.warning(
                "state is kept in %s, for %s can't be used: %s",
                self.place.folder,
                self.place.instead_of,
                self.place.why,
            )
        return log

    def new_supervisor(
        self,
        command: list[str],
        log: logging.Logger,
        *,
        precleanup_old_files: bool,
        blank_marks: list[int | None],
    ) -> Supervisor:
        """Runs ``command`` and hands over to it, not started yet."""
        secrets = _secrets(self.settings)
        for source in self.sources:
            secrets += _secrets(source.settings)
        if self.destination is not None:
            secrets += [self.destination.password] if self.destination.password else []
        return Supervisor(
            command=command,
            make_line=lambda token: self._handover(
                token, precleanup_old_files, blank_marks
            ).to_line(),
            layout=self.layout,
            settings=self.settings,
            log=log,
            cwd=self.work_dir,
            secrets=tuple(secrets),
        )

    def _handover(
        self, token: str, precleanup_old_files: bool, blank_marks: list[int | None]
    ) -> Handover:
        log_dir, log_name = self.log_file("subtask")
        return Handover(
            extension=self.extension,
            settings=self.settings,
            watches=self.watches,
            sources=self.sources,
            home_dir=self.home,
            destination=self.destination,
            state_dir=self.layout.state_dir,
            log_dir=log_dir,
            log_name=log_name,
            work_dir=self.work_dir,
            precleanup_old_files=precleanup_old_files,
            blank_marks=blank_marks,
            parent_pid=os.getpid(),
            token=token,
            sys_path=[
                os.path.abspath(os.path.join(self.work_dir, entry))
                for entry in sys.path
                if isinstance(entry, str)
            ],
            subtask=self.subtask,
        )


def _secrets(settings: Settings) -> list[Secret]:
    values = (getattr(settings, name) for name in settings.__struct_fields__)
    return [value for value in values if isinstance(value, Secret)]

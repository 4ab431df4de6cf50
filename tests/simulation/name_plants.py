"""Planted bugs in who has which name, in heartbeats, in appending, in taking a folder over."""

from __future__ import annotations

from tests.simulation.planting import Plant, one

__all__ = ["NAME_KNOWN", "NAME_PLANTS", "NAME_WORLDS"]

NAME_PLANTS: dict[str, Plant] = {
    "same-name-sent": one(
        "a file is sent under a name that another one has",
        "subtask.delivery.names",
        "Names.look",
        "if are_one and not self._gives_up(other, entry):",
        "if False:",
    ),
    "name-untried": one(
        "names that only look different are taken for two without asking",
        "subtask.delivery.names",
        "Names._are_one",
        "return self._tried.get(todo, todo)",
        "return False",
    ),
    "name-given-up-early": one(
        "a file that is gone for a moment loses its name",
        "subtask.delivery.names",
        "Names._is_away",
        "return now - since >= _GONE_SECS",
        "return True",
    ),
    "name-given-up-owing": one(
        "a file that is gone loses its name, whatever is owed of it",
        "subtask.delivery.names",
        "Names._owes_nothing",
        "return not owes and entry.path not in self._ledger.unverified",
        "return True",
    ),
    "name-never-free": one(
        "a name stays with the first file for good",
        "subtask.delivery.names",
        "Names._gives_up",
        "given_up = False\n",
        "return False; given_up = False\n",
    ),
    "trial-left": one(
        "the file by which it was tried whether names are one stays there",
        "subtask.delivery.nametrial",
        "NameTrial._try",
        "(removed,) = yield from flight(Remove(ours))",
        "removed = None",
    ),
    "beat-owes-nothing": one(
        "heartbeats always say that nothing is owed",
        "subtask.report",
        "Report.backlog",
        "return self._ledger.owed_bytes, oldest, error",
        "return 0, None, error",
    ),
    "beat-in-place": one(
        "a heartbeat is written into the file that is there",
        "subtask.delivery.courier",
        "Courier.beat",
        "requests = (Write(temp, 0, text, create=True), Finish(temp))",
        "temp = target; requests = (Write(temp, 0, text, create=True), Finish(temp))",
    ),
    "no-goodbye": one(
        "the last heartbeat of a clean stop is one like the others",
        "subtask.transfer",
        "TransferSubtask._say_goodbye",
        "self.beat(goodbye=True)",
        "self.beat()",
    ),
    "beat-for-a-file": one(
        "a heartbeat on its way takes the place of a file",
        "subtask.delivery.delivery",
        "Delivery._is_full",
        "return engine.jobs - self._beating >= self._max_jobs",
        "return engine.jobs >= self._max_jobs",
    ),
    "half-beat-sent": one(
        "a heartbeat that a killed process left half-written is taken for data",
        "suffixes",
        "has_own_suffix",
        'return _TEMPORARY.sub("", name).endswith(OWN_SUFFIXES)',
        "return name.endswith(OWN_SUFFIXES)",
    ),
    "appended-at-once": one(
        "after a break APPE goes on at the size that is seen",
        "transports.ftp.appending",
        "Appending._check_quiet",
        "if path in self._quiet.settled or not self._quiet.secs:",
        "if True:",
    ),
    "still-before-the-break": one(
        "what held still before an APPE broke is appended to at once",
        "transports.ftp.appending",
        "Appending.unsettle",
        "self._quiet.seen.pop(path, None)",
        "pass",
    ),
    "lock-not-asked": one(
        "a child does not wait for the one that has the state folder",
        "subtask.shell.lock",
        "StateLock.acquire",
        "if self._lock.acquire():",
        "if self._lock.acquire() or True:",
    ),
    "holder-not-ended": one(
        "a holder that does not leave is waited for, and given up",
        "subtask.shell.lock",
        "StateLock.acquire",
        "self._kill_holder()",
        "pass",
    ),
    "stop-file-left": one(
        "what was said to the holder before is said to the next one, too",
        "subtask.shell.lock",
        "StateLock._settle_in",
        "if not ours:",
        "if False:",
    ),
}

NAME_WORLDS = {
    "same-name-sent": "names",
    "name-untried": "names",
    "name-given-up-early": "names",
    "name-given-up-owing": "names",
    "name-never-free": "names",
    "trial-left": "names",
    "beat-owes-nothing": "beats",
    "beat-in-place": "beats",
    "no-goodbye": "beats",
    "beat-for-a-file": "beats",
    "half-beat-sent": "beats",
    "appended-at-once": "appending",
    "still-before-the-break": "appending",
    "lock-not-asked": "masters",
    "holder-not-ended": "masters",
    "stop-file-left": "masters",
}

NAME_KNOWN: dict[str, int] = {
    "same-name-sent": 11_000_000_001,
    "name-untried": 11_000_000_001,
    "name-given-up-early": 11_000_000_001,
    "name-given-up-owing": 11_000_000_034,
    "name-never-free": 11_000_000_001,
    "trial-left": 11_000_000_001,
    "beat-owes-nothing": 12_000_000_000,
    "beat-in-place": 12_000_000_000,
    "no-goodbye": 12_000_000_000,
    "beat-for-a-file": 12_000_000_029,
    "half-beat-sent": 12_000_000_228,
    "appended-at-once": 13_000_000_077,
    "still-before-the-break": 13_000_001_828,
    "lock-not-asked": 14_000_000_000,
    "holder-not-ended": 14_000_000_001,
    "stop-file-left": 14_000_000_010,
}

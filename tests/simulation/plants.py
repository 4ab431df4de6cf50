"""Planted bugs: each is a small change to the real code that the simulator must find."""

from __future__ import annotations

from tests.simulation.fetching_plants import FETCHING_KNOWN, FETCHING_PLANTS
from tests.simulation.name_plants import NAME_KNOWN, NAME_PLANTS, NAME_WORLDS
from tests.simulation.planting import Edit, Plant, StalePlant, one
from tests.simulation.realm_plants import REALM_KNOWN, REALM_PLANTS, REALM_WORLDS
from tests.simulation.status_plants import STATUS_KNOWN, STATUS_PLANTS, STATUS_WORLDS

__all__ = ["KNOWN", "PLANTS", "WORLDS", "Plant", "StalePlant"]

_PRINT_IGNORED = Edit(
    "core.prints",
    "continue_whole",
    "if end == before.size and state.hexdigest() != before.digest:",
    "if False:",
)

PLANTS: dict[str, Plant] = {
    **REALM_PLANTS,
    **NAME_PLANTS,
    **FETCHING_PLANTS,
    **STATUS_PLANTS,
    "early-acknowledgement": one(
        "an append counts as delivered when it is handed over, not when the server says so",
        "subtask.delivery.courier",
        "Courier._append",
        "write = Write(name, offset - todo.base, data)",
        "write = Write(name, offset - todo.base, data); "
        "self._session.record(path, version.number, offset + size, todo.base, None)",
    ),
    "touch-served-unread": Plant(
        "the touch is noted as served, for good, before the file has been looked at, and a new "
        "process looks only at what was not served",
        (
            Edit(
                "subtask.intake.looks",
                "Looks._serve",
                "outcome = self._look(target, touch, final)",
                "touch and self._ledger.update(target.path, lambda e: __import__('dataclasses')"
                ".replace(e, served=touch.stamp), remote=target.remote_path); "
                "touch and self._ledger.journal.sync(); "
                "outcome = self._look(target, touch, final)",
            ),
            Edit(
                "subtask.intake.intake",
                "Intake._compare",
                "if entry.versions and differs(entry, st):",
                "if False:",
            ),
            Edit(
                "subtask.intake.touches",
                "Touches.check",
                "if stamp == BLANK and not missed:",
                "known = self._looks._ledger.get(target.path)\n"
                "    if stamp == BLANK and not missed or known and known.served == stamp:",
            ),
        ),
    ),
    "size-trusted-alone": Plant(
        "a file that is not smaller than before is taken to have grown",
        (
            Edit(
                "subtask.store.sources",
                "is_same_content",
                "kept = version.print",
                "kept = version.print; return handle.stat().size >= version.size",
            ),
            _PRINT_IGNORED,
        ),
    ),
    "inode-alone": Plant(
        "the same inode number is taken for the same file",
        (
            Edit(
                "subtask.store.sources",
                "is_same_content",
                "kept = version.print",
                "kept = version.print; return handle.stat().ino == version.identity.ino",
            ),
            Edit(
                "subtask.intake.snapshot",
                "_may_continue",
                "if st.size < previous.size:",
                "if st.size < previous.size or st.ino != previous.identity.ino:",
            ),
            _PRINT_IGNORED,
        ),
    ),
    "rename-before-close": one(
        "the temporary file is renamed without waiting for the writes and the close",
        "subtask.delivery.upload",
        "Uploads._send_small",
        "results = yield from flight(whole, finish, *look)\n    if",
        "yield engine.Send(whole); yield engine.Send(finish); results = [None]\n    if",
    ),
    "no-second-look": one(
        "a touch that came within one tick of the look is taken as served",
        "subtask.intake.looks",
        "Looks._plan_second_look",
        "wait: float | None = None",
        "return",
    ),
    "piece-removed-early": one(
        "outbox pieces go before the record that lets go of them is on the disk",
        "subtask.store.ledger",
        "Ledger.update",
        "self.journal.after_sync(lambda: self.outbox.discard(names))",
        "self.outbox.discard(names)",
    ),
    "resume-at-size": one(
        "an upload goes on at the remote size, also on a server with parallel workers",
        "subtask.delivery.upload",
        "Uploads._resume_point",
        "end = upload.base + remote_size",
        "return upload.base + remote_size",
    ),
    "swap-forgotten": one(
        "the journal lets go of the upload before the new file has its name",
        "subtask.delivery.placing",
        "Placing._swap",
        'self.note(path, replace(upload, stage="swapping"))',
        "self._session.ledger.update(path, lambda e: replace(e, upload=None), must=False)",
    ),
    "temp-name-reused": one(
        "all uploads use one temporary name",
        "subtask.delivery.upload",
        "Uploads._temp_name",
        "{self._session.hooks.token_hex()}",
        "0123456789abcdef",
    ),
    "growing-version-skipped": one(
        "a growing file's last bytes are dropped for a newer version that does not begin with them",
        "subtask.store.ledger",
        "drop_superseded",
        "return version.growing and version.size > 0",
        "return False",
    ),
    "checked-by-handle": one(
        "an append is confirmed by the open handle, wherever its file has gone",
        "subtask.delivery.courier",
        "Courier._append",
        "written, st = yield from flight(write, Stat(name))",
        "written, st = yield from flight(write, Stat(name, by_handle=True))",
    ),
    "digest-unchecked": one(
        "an outbox piece is believed after a loss of power",
        "subtask.store.reader",
        "VersionReader._handle",
        "elif not self._outbox.is_own(piece.name) and not",
        "elif False and not",
    ),
    "journal-unsynced": one(
        "the journal is never brought to the disk",
        "subtask.store.recordlog",
        "RecordLog._sync_file",
        "self._file.sync()",
        "pass",
    ),
    "torn-read": one(
        "a file is taken as it was read, whether or not it stood still meanwhile",
        "subtask.intake.snapshot",
        "Snapshots._begin_with",
        'if growth != "append":',
        "if False:",
    ),
    "first-contact-blind": one(
        "a file that was there before us is taken for a part of ours by its size",
        "core.plan",
        "_first_contact",
        "if may_be_prefix and can.readable and remote.ours is None:",
        "remote = __import__('dataclasses').replace(remote, ours=True)\n    if False:",
    ),
    "rename-not-followed": one(
        "what a rotated file gained since the last look is not read any more",
        "subtask.intake.snapshot",
        "Snapshots._finish",
        "if previous is None",
        "return\n    if previous is None",
    ),
    "notify-removed-unread": Plant(
        "a clean stop begins with removing all .notify files, and one that is gone is no touch",
        (
            Edit(
                "subtask.transfer",
                "TransferSubtask.stop",
                "done = self.request_flush()",
                "self.intake.remove_served_touches(); done = self.request_flush()",
            ),
            Edit(
                "subtask.intake.target",
                "remove_served",
                "if read_stamp(disk, target) != served:",
                "if False:",
            ),
            Edit(
                "subtask.intake.intake",
                "Intake.remove_served_touches",
                "if target.is_calm and target.touch_seen == entry.served:",
                "if True:",
            ),
            Edit(
                "subtask.intake.target",
                "read_touch",
                "return None, None",
                "return BLANK, None",
            ),
        ),
    ),
    "copy-unsynced": one(
        "the journal relies on outbox pieces that are not on the disk yet",
        "subtask.store.outbox",
        "Outbox._sync",
        "names = list(self._dirty)",
        "names: list[str] = []",
    ),
    "hole-trusted": one(
        "after a break the end of a temporary file vouches for all of it",
        "subtask.delivery.upload",
        "Uploads._resume_point",
        "start = max(upload.base, upload.acked - READ_BACK_BYTES)",
        "start = max(upload.base, end - READ_BACK_BYTES)",
    ),
    "known-kept": one(
        "what one connection knew of the remote files is believed over the next",
        "subtask.transfer",
        "TransferSubtask._make_courier",
        "self.allowance,",
        "self.allowance, known=self.__dict__.setdefault('_known', {}),",
    ),
    "old-handle-held": one(
        "the handle that is held stays the one of the first look, whatever file came in its place",
        "subtask.store.sources",
        "Sources.hold",
        "if not self._hold:",
        "if not self._hold or key in self._held:",
    ),
    "ours-of-another-version": one(
        "what was compared with one version is believed of the next",
        "subtask.delivery.courier",
        "Courier.deliver",
        "remote = replace(remote, ours=None, untold=False, past_telling=False)",
        "pass",
    ),
    "short-write-believed": one(
        "a file takes its place though the server has only a part of what it acknowledged",
        "subtask.delivery.placing",
        "Placing._check_size",
        "if st.size >= size:",
        "if True:",
    ),
    "short-write-hidden": one(
        "only the size at the end is asked for, which a later write has made right again",
        "subtask.delivery.pump",
        "Pump.run",
        "asks_each_time = can.short_writes and",
        "asks_each_time = False and",
    ),
    "leftovers-stay": one(
        "temporary files that the journal lost with the power stay at the destination",
        "subtask.delivery.temps",
        "Temps.purge",
        "if name.startswith(ours) and temp not in known and not is_beat(name):",
        "if False:",
    ),
    "crash-unnoticed": one(
        "a loss of power is taken for a clean end",
        "subtask.store.recordlog",
        "RecordLog.open",
        'header.get("boot") != self._boot_id',
        "False",
    ),
    "not-settled": one(
        "a file in a watched folder is taken while it is being copied there",
        "subtask.intake.folders",
        "Folders._consider",
        "if complete or target.is_complete:",
        "if True:",
    ),
    "comparison-ignored": one(
        "what is not ours at the destination is continued all the same",
        "core.plan",
        "_continue",
        "if remote.ours is False:",
        "if False:",
    ),
    "size-unchecked": one(
        "an append counts whatever size the file then has at the destination",
        "subtask.delivery.courier",
        "Courier._append",
        "if st.size != expected:",
        "if False:",
    ),
    "look-not-repeated": one(
        "a look that failed is not tried again",
        "subtask.intake.looks",
        "Looks._digest",
        "self.schedule(target, now + wait)\n        return\n    target.failures = 0",
        "return\n    target.failures = 0",
    ),
    "upload-restarted": one(
        "an upload that was broken off begins again from nothing",
        "subtask.delivery.upload",
        "Uploads.resume",
        "start = yield from self._resume_point(path, entry, version, upload, st.size)",
        "start = None",
    ),
    "move-forgotten": one(
        "what moved inside a file is copied on the server from where it stands now",
        "core.delta",
        "_Search.run",
        "yield Kept(run_at, at, run_at - shift)",
        "yield Kept(run_at, at, run_at)",
    ),
    "signature-unchecked": Plant(
        "what was sent before a file last changed is believed to be there, without reading it back",
        (
            Edit(
                "subtask.store.signatures",
                "Signatures.begin",
                "self._disk.write_whole(self._file(path, number), line)",
                "self._disk.write_whole(self._file(path, number), line + (self._read_file(path, "
                "number - 1).partition(b'\\n')[2] if number > 1 else b''))",
            ),
            Edit(
                "subtask.delivery.reuse",
                "Reuse._look",
                "if isinstance(found, RemoteError) or not signature.matches(number, found):",
                "if False:",
            ),
        ),
    ),
    "append-from-zero": one(
        "an append writes the whole file again",
        "core.plan",
        "_append",
        "return Append(start, version.size, base, longer)",
        "return Append(base, version.size, base, longer)",
    ),
    "flush-at-once": one(
        "flush() is done when everything is noted, not when it is delivered",
        "subtask.transfer",
        "TransferSubtask.request_flush",
        "return not goals",
        "return True",
    ),
}

WORLDS = {
    "short-write-believed": "short",
    "short-write-hidden": "short",
    **REALM_WORLDS,
    **NAME_WORLDS,
    **STATUS_WORLDS,
    **dict.fromkeys(FETCHING_PLANTS, "fetching"),
    "piece-removed-early": "trickle",
    "resume-at-size": "bulk",
    "touch-served-unread": "outage",
    "swap-forgotten": "deaths",
    "digest-unchecked": "outage",
    "journal-unsynced": "outage",
    "torn-read": "chase",
    "notify-removed-unread": "stops",
    "copy-unsynced": "outage",
    "hole-trusted": "bulk",
    "known-kept": "hands",
    "old-handle-held": "copies",
    "not-settled": "drops",
    "comparison-ignored": "hands",
    "size-unchecked": "hands",
    "upload-restarted": "bulk",
    "signature-unchecked": "edits",
    "move-forgotten": "edits",
}
"""The focus (:mod:`tests.simulation.focus`) or the realm (:mod:`tests.simulation.realms`) whose
histories are tried for a bug that ordinary ones seldom show, or the story that is swept
(``sweep:append``); the others are looked for in any."""

KNOWN: dict[str, int] = {
    **REALM_KNOWN,
    **NAME_KNOWN,
    **FETCHING_KNOWN,
    **STATUS_KNOWN,
    "early-acknowledgement": 0,
    "touch-served-unread": 8189,
    "size-trusted-alone": 0,
    "inode-alone": 0,
    "rename-before-close": 0,
    "no-second-look": 4,
    "piece-removed-early": 7621,
    "resume-at-size": 661,
    "swap-forgotten": 2217,
    "temp-name-reused": 2,
    "growing-version-skipped": 9,
    "checked-by-handle": 553,
    "digest-unchecked": 3349,
    "journal-unsynced": 137,
    "torn-read": 1377,
    "first-contact-blind": 45,
    "rename-not-followed": 107,
    "notify-removed-unread": 7301,
    "copy-unsynced": 225,
    "hole-trusted": 661,
    "known-kept": 685,
    "old-handle-held": 7105,
    "ours-of-another-version": 23,
    "leftovers-stay": 50,
    "short-write-believed": 18_000_000_001,
    "short-write-hidden": 18_000_001_765,
    "crash-unnoticed": 50,
    "not-settled": 561,
    "comparison-ignored": 1521,
    "size-unchecked": 69,
    "look-not-repeated": 12,
    "upload-restarted": 617,
    "move-forgotten": 169,
    "signature-unchecked": 3733,
    "append-from-zero": 1,
    "flush-at-once": 0,
}
"""A seed that showed each bug when the table in ``docs/simulation.md`` was made. A change of the
child's calls may make another one necessary: ``--plants`` tells which."""

"""Planted bugs that show only in worlds of a certain kind, or at one certain call."""

from __future__ import annotations

from tests.simulation.planting import Edit, Plant, one

__all__ = ["REALM_KNOWN", "REALM_PLANTS", "REALM_WORLDS"]

_CACHE_COUNTED = (
    Edit("subtask.delivery.pump", "Pump._certain", "if not every:", "if True:"),
    Edit(
        "subtask.delivery.upload",
        "Uploads._resume_point",
        "cached = self._session.can.synced_every_bytes > 0",
        "cached = False",
    ),
)

REALM_PLANTS: dict[str, Plant] = {
    "folder-unsynced": one(
        "appends to a file in a mounted folder are left to the system, which writes them back in "
        "any order",
        "transports.folder",
        "FolderTransport.write",
        "sync=bool(data) and not is_temp",
        "sync=False",
    ),
    "folder-temp-unsynced": one(
        "a file in a folder is renamed into place before its data are on the disk",
        "transports.folder",
        "FolderTransport.finish",
        "if sync or _is_temp(path):",
        "if False:",
    ),
    "folder-cache-counted": Plant(
        "an upload to a mount goes on behind what only a cache had, which was refused late",
        _CACHE_COUNTED,
    ),
    "resumed-unsynced": Plant(
        "what was written before a break is renamed into place without being synced",
        (
            *_CACHE_COUNTED,
            Edit(
                "subtask.delivery.upload",
                "Uploads.resume",
                "start = min(start, max(upload.base, upload.size - 1))",
                "pass",
            ),
        ),
    ),
    "rest-replaced": one(
        "what a loss of power left at the destination only is kept only if the file here is "
        "shorter when it is looked at",
        "subtask.intake.suspects",
        "Suspects.may_have_lost_its_end",
        "return not is_rewritten and not is_elsewhere",
        "return False",
    ),
    "rest-kept-by-nobody": one(
        "what a version was to keep is forgotten when a newer version takes its place",
        "core.model",
        "Entry.sets_aside",
        "shown < doubt <= number",
        "shown < doubt == number",
    ),
    "rest-kept-again": Plant(
        "each version that waited sets aside the one before it, which is ours",
        (
            Edit("core.model", "Entry.sets_aside", "shown < doubt <= number", "doubt <= number"),
            Edit(
                "subtask.store.ledger",
                "record_delivery",
                "if number > delivered.version",
                "if number",
            ),
        ),
    ),
    "rest-kept-for-one": one(
        "what a second loss of power took is forgotten when the version after the first arrives",
        "subtask.store.ledger",
        "record_delivery",
        "if number > delivered.version",
        "if min(doubts) > delivered.version",
    ),
    "ours-set-aside": one(
        "each new version sets the one before it aside",
        "core.plan",
        "plan",
        "set_aside=set_aside and isinstance(remote, Present)",
        "set_aside=isinstance(remote, Present)",
    ),
    "in-place-by-its-size": one(
        "after a loss of power what has the size of a version whose bytes are lost passes for it",
        "subtask.delivery.placing",
        "Placing._may_be_another",
        "if self._session.policy.unclean_boot:",
        "if False:",
    ),
    "in-place-unread": one(
        "what the server does not show for a moment passes for the version that was to come, if it "
        "has its size",
        "subtask.delivery.placing",
        "Placing._may_be_another",
        "return done.mtime is None or st.mtime is None or done.mtime == st.mtime",
        "return False",
    ),
    "answers-forgotten": one(
        "what was answered while the next request had to wait is sent again after a break",
        "subtask.delivery.pump",
        "Pump.run",
        "if not self._has_arrived(answers, ticket, asked, reached):",
        "if True:",
    ),
    "copy-left": one(
        "a copy that came to nothing stays in the outbox",
        "subtask.intake.snapshot",
        "Snapshots._discard",
        "self._ledger.outbox.discard(p.name for p in pieces if p.name is not None)",
        "pass",
    ),
    "written-behind-anything": one(
        "what is owed is written behind a content that cannot be compared any more",
        "core.plan",
        "_continue",
        "if remote.past_telling and remote.size == expected and touched:",
        "if False:",
    ),
    "echo-believed": one(
        "an answer that comes twice is taken for that of the next request",
        "transports.sftp.wire",
        "Wire.receive",
        "call = self._pending.pop(reply.request_id, None)",
        "call = self._pending.pop(reply.request_id, None) or "
        "self._pending.pop(next(iter(self._pending), -1), None)",
    ),
    "answers-by-order": one(
        "answers are matched with requests by their order",
        "transports.sftp.wire",
        "Wire.receive",
        "call = self._pending.pop(reply.request_id, None)",
        "call = self._pending.pop(next(iter(self._pending), -1), None)",
    ),
    "budget-ignored": one(
        "the bytes of a day's budget are counted, and spent all the same",
        "subtask.delivery.allowance",
        "Allowance.go_on",
        "if not self.has_bytes:",
        "if False:",
    ),
    "budget-for-looking": Plant(
        "a budget that looking has used up ends the delivery, which has to look again",
        (
            Edit(
                "subtask.delivery.courier",
                "Courier._step",
                "self._session.allowance.admit(has_paid=looked)",
                "self._session.allowance.admit()",
            ),
        ),
    ),
    "rate-ignored": one(
        "the limit of bytes a second is not kept",
        "subtask.delivery.allowance",
        "Allowance.ready_at",
        "return now if self._rate is None else self._rate.ready_at(size, now)",
        "return now",
    ),
    "half-line-shown": one(
        "half a line is published at once",
        "subtask.delivery.lines",
        "LineHold.limit",
        "end = _last_line_end(start, version.size, read_at)",
        "end = version.size",
    ),
    "line-cut": one(
        "what needs several requests is cut inside of lines",
        "subtask.delivery.lines",
        "LineHold.cut",
        'return data[: data.rfind(b"\\n") + 1] or data',
        "return data",
    ),
    "others-purged": one(
        "temporary files of other clients are removed with our own",
        "subtask.delivery.temps",
        "Temps.purge",
        "if name.startswith(ours) and temp not in known and not is_beat(name):",
        "if name.startswith(TEMP_PREFIX) and temp not in known:",
    ),
    "other-master-missed": one(
        "a touch that another master has served and taken away is missed",
        "subtask.intake.touches",
        "Touches.check",
        "missed = made_anew or (target.saw_touch and target.touch_seen not in (None, BLANK))",
        "missed = False",
    ),
    "held-stops-others": one(
        "while one file is refused, nothing else is delivered",
        "subtask.delivery.delivery",
        "Delivery._dispatch",
        "assert self._courier is not None",
        "assert self._courier is not None\n    "
        "while self.errors and self._queue:\n        self._queue.take(smallest=False)",
    ),
    "segment-overlaps": one(
        "a segment begins one byte before the end of the last",
        "core.plan",
        "_next_segment",
        "return replace(_send(version, can, base=delivered.size), segment=True)",
        "return replace(_send(version, can, base=max(0, delivered.size - 1)), segment=True)",
    ),
    "segments-mixed": one(
        "a new version goes on in the folder of the old one",
        "core.plan",
        "_next_segment",
        "return replace(_send(version, can, set_aside=True), segment=True)",
        "return replace(_send(version, can), segment=True)",
    ),
    "rotated-replaced": one(
        "a rotated file is replaced by the new one all the same",
        "subtask.delivery.keeping",
        "Keeping._rotated_name",
        'return dict(entry.rotated).get(done.version, "")',
        'return ""',
    ),
    "rotated-over-another": Plant(
        "a rotated file is put over one that has the name already",
        (
            Edit(
                "subtask.delivery.keeping",
                "Keeping._keep_rotated",
                "if isinstance(there, RemoteStat):",
                "if False:",
            ),
            Edit(
                "subtask.delivery.keeping",
                "Keeping._keep_rotated",
                "yield from call(Rename(name, aside))",
                "yield from call(Rename(name, aside, self._session.can.atomic_replace))",
            ),
        ),
    ),
    "rotated-name-unwritten": one(
        "the name for a rotated file is not in the journal",
        "core.model",
        "entry_from_json",
        'rotated=tuple((number, _text(name)) for number, name in record.get("k", ())),',
        "rotated=(),",
    ),
    "rotation-forgotten": one(
        "only a file that is shorter than before counts as rotated",
        "subtask.intake.rotation",
        "Rotations.kept_as",
        'if not (moved or shrunk or growth == "append"):',
        "if not shrunk:",
    ),
}

REALM_WORLDS = {
    "folder-unsynced": "folder",
    "folder-temp-unsynced": "folder",
    "folder-cache-counted": "folder",
    "resumed-unsynced": "folder",
    "written-behind-anything": "sweep:edit",
    "echo-believed": "unsteady",
    "budget-ignored": "budgets",
    "budget-for-looking": "budgets",
    "rate-ignored": "budgets",
    "half-line-shown": "options",
    "line-cut": "options",
    "others-purged": "options",
    "other-master-missed": "options",
    "held-stops-others": "stuck",
    "segment-overlaps": "segments",
    "segments-mixed": "segments",
    "rotated-replaced": "rotated",
    "rotated-over-another": "rotated",
    "rotated-name-unwritten": "rotated",
    "rotation-forgotten": "rotated",
}
"""Where each is looked for (:data:`tests.simulation.plants.WORLDS`)."""

REALM_KNOWN: dict[str, int] = {
    "rest-replaced": 90,
    "rest-kept-by-nobody": 14_300_445,
    "copy-left": 1,
    "answers-forgotten": 8_014_380_409,
    "rest-kept-again": 17_014_321_197,
    "rest-kept-for-one": 17_015_042_440,
    "ours-set-aside": 0,
    "in-place-by-its-size": 7_014_441_523,
    "in-place-unread": 5_015_308_975,
    "folder-unsynced": 6_000_000_003,
    "folder-temp-unsynced": 6_000_000_241,
    "folder-cache-counted": 6_000_000_006,
    "resumed-unsynced": 6_000_000_006,
    "written-behind-anything": 7604,
    "echo-believed": 5_000_000_138,
    "answers-by-order": 2,
    "budget-ignored": 8_000_000_053,
    "budget-for-looking": 8_000_000_000,
    "rate-ignored": 8_000_000_001,
    "half-line-shown": 7_000_000_003,
    "line-cut": 7_000_000_056,
    "others-purged": 7_000_000_040,
    "other-master-missed": 7_000_000_297,
    "held-stops-others": 10_000_000_004,
    "segment-overlaps": 9_000_000_000,
    "segments-mixed": 9_000_000_000,
    "rotated-replaced": 15_000_000_001,
    "rotated-over-another": 15_000_000_001,
    "rotated-name-unwritten": 15_000_000_006,
    "rotation-forgotten": 15_000_000_001,
}
"""As in :data:`tests.simulation.plants.KNOWN`; of a story that is swept, the number of the case."""

"""The emulator refuses what the service's documentation says it refuses; the SDK asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pysubtask.secret import Secret
from pysubtask.transports.dropbox.account import Account
from pysubtask.transports.dropbox.refusals import tags_of
from tests.servers.dropbox import DropboxServer

MIB = 1 << 20


@pytest.fixture
def sdk(dropbox: DropboxServer) -> Any:
    account = Account(
        refresh_token=Secret(dropbox.refresh_token),
        app_key=dropbox.app_key,
        ca_file=dropbox.ca_file,
    )
    yield account.client()
    account.disconnect()


@pytest.fixture
def folder(dropbox: DropboxServer) -> str:
    return dropbox.new_folder()[0]


def refusal(call: Callable[[], Any]) -> list[str]:
    """The tags of the error with which a call ends."""
    from dropbox.exceptions import ApiError

    with pytest.raises(ApiError) as caught:
        call()
    return tags_of(caught.value.error)


def test_sessions(sdk: Any, folder: str, dropbox: DropboxServer) -> None:
    from dropbox.files import CommitInfo, UploadSessionCursor, UploadSessionFinishArg

    def cursor(offset: int) -> Any:
        return UploadSessionCursor(name, offset)

    name = sdk.files_upload_session_start(b"abc").session_id
    append, finish = sdk.files_upload_session_append_v2, sdk.files_upload_session_finish
    commit = CommitInfo(f"{folder}/a")
    assert refusal(lambda: append(b"x", cursor(2))) == ["incorrect_offset"]
    assert refusal(lambda: finish(b"", cursor(4), commit)) == ["lookup_failed", "incorrect_offset"]
    append(b"def", cursor(3))
    batch = sdk.files_upload_session_finish_batch_v2
    (entry,) = batch([UploadSessionFinishArg(cursor(6), commit)]).entries
    assert tags_of(entry.get_failure()) == ["lookup_failed", "not_closed"]
    append(b"", cursor(6), close=True)
    assert refusal(lambda: append(b"x", cursor(6))) == ["closed"]
    (entry,) = batch([UploadSessionFinishArg(cursor(6), commit)]).entries
    assert entry.get_success().size == 6
    assert refusal(lambda: finish(b"", cursor(6), commit)) == ["lookup_failed", "closed"]
    name = sdk.files_upload_session_start(b"").session_id
    dropbox.account.lose_sessions()
    assert refusal(lambda: append(b"x", cursor(0))) == ["not_found"]


def test_a_refused_commit_keeps_what_it_brought(
    sdk: Any, folder: str, dropbox: DropboxServer
) -> None:
    """``UploadSessionFinishError.path``: "retry with empty data body and updated offset"."""
    from dropbox.files import CommitInfo, UploadSessionCursor

    name = sdk.files_upload_session_start(b"abc").session_id
    commit = CommitInfo(f"{folder}/a")
    dropbox.account.space_bytes = dropbox.account.used_bytes + 5
    cursor = UploadSessionCursor(name, 3)
    finish = sdk.files_upload_session_finish
    assert refusal(lambda: finish(b"def", cursor, commit)) == ["path", "insufficient_space"]
    dropbox.account.space_bytes = None
    assert finish(b"", UploadSessionCursor(name, 6), commit).size == 6


def test_commits(sdk: Any, folder: str, dropbox: DropboxServer) -> None:
    from dropbox.files import WriteMode

    path = f"{folder}/a"
    first = sdk.files_upload(b"one", path)
    assert sdk.files_upload(b"one", path).rev == first.rev  # the same content is no write
    strict = {"strict_conflict": True}
    assert refusal(lambda: sdk.files_upload(b"one", path, **strict)) == ["path", "conflict", "file"]
    assert refusal(lambda: sdk.files_upload(b"two", path)) == ["path", "conflict", "file"]
    assert sdk.files_upload(b"two", path.upper(), mode=WriteMode.overwrite).path_display == path
    assert refusal(lambda: sdk.files_upload(b"x", folder))[:2] == ["path", "conflict"]
    below = refusal(lambda: sdk.files_upload(b"x", f"{path}/b"))
    assert below == ["path", "conflict", "file_ancestor"]
    assert refusal(lambda: sdk.files_upload(b"x", f"{folder}/desktop.ini"))[1] == "disallowed_name"
    assert refusal(lambda: sdk.files_upload(b"x", f"{folder}/a\\b"))[1] == "malformed_path"
    wrong = {"content_hash": "0" * 64}
    assert refusal(lambda: sdk.files_upload(b"x", path, **wrong)) == ["content_hash_mismatch"]
    assert (dropbox.root / path[1:]).read_bytes() == b"two"


def test_folders(sdk: Any, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.servers.dropbox.PAGE_ENTRIES", 2)
    for name in "abcde":
        sdk.files_upload(name.encode(), f"{folder}/box/{name}")
    page = sdk.files_list_folder(f"{folder}/box")
    names = []
    while True:
        names += [entry.name for entry in page.entries]
        if not page.has_more:
            break
        page = sdk.files_list_folder_continue(page.cursor)
    assert names == list("abcde")
    move = sdk.files_move_v2
    both = f"{folder}/box/a", f"{folder}/box/b"
    assert refusal(lambda: move(*both)) == ["to", "conflict", "file"]
    move(f"{folder}/box", f"{folder}/old")
    missing = refusal(lambda: sdk.files_get_metadata(f"{folder}/box/a"))
    assert missing == ["path", "not_found"]
    assert sdk.files_get_metadata(f"{folder}/old/A").name == "a"
    sdk.files_delete_v2(f"{folder}/old")
    assert refusal(lambda: sdk.files_list_folder(f"{folder}/old")) == ["path", "not_found"]


def test_a_cursor_tells_what_has_changed(sdk: Any, folder: str, dropbox: DropboxServer) -> None:
    for name in "ab":
        sdk.files_upload(name.encode(), f"{folder}/{name}")
    cursor = sdk.files_list_folder(folder).cursor
    assert sdk.files_list_folder_continue(cursor).entries == []
    dropbox.account.put(f"{folder}/a", b"other")
    dropbox.account.put(f"{folder}/below/c", b"not in it")
    sdk.files_delete_v2(f"{folder}/b")
    news = sdk.files_list_folder_continue(cursor)
    kinds = [(type(entry).__name__, entry.name) for entry in news.entries]
    assert kinds == [("DeletedMetadata", "b"), ("FileMetadata", "a"), ("FolderMetadata", "below")]
    assert sdk.files_list_folder_continue(news.cursor).entries == []
    sdk.files_delete_v2(folder)
    gone = refusal(lambda: sdk.files_list_folder_continue(news.cursor))
    assert gone == ["path", "not_found"]
    dropbox.reset_cursors()
    assert refusal(lambda: sdk.files_list_folder_continue(news.cursor)) == ["reset"]


def test_a_longpoll_ends_with_a_change(sdk: Any, folder: str, dropbox: DropboxServer) -> None:
    from dropbox.exceptions import BadInputError

    cursor = sdk.files_list_folder(folder).cursor
    dropbox.expire_tokens()  # it needs none
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sdk.files_list_folder_longpoll, cursor, 30)
        deadline = time.monotonic() + 10
        while not dropbox.longpolls:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        dropbox.account.put(f"{folder}/below/c", b"1")  # makes the folder "below"
        answer = waiting.result(10)
    assert (answer.changes, answer.backoff) == (True, None)
    dropbox.longpoll_secs, dropbox.backoff_secs = 0.1, 7
    cursor = sdk.files_list_folder(folder).cursor
    dropbox.account.put(f"{folder}/below/d", b"deeper than the folder itself")
    answer = sdk.files_list_folder_longpoll(cursor)
    assert (answer.changes, answer.backoff) == (False, 7)
    sdk.files_list_folder_longpoll(cursor)
    assert dropbox.came_early == 1
    for wrong in (29, 481):
        given = {"cursor": cursor, "timeout": wrong}
        with pytest.raises(BadInputError):
            sdk.request_json_object(
                "notify", "files/list_folder/longpoll", "rpc", given, "noauth", None
            )
    dropbox.reset_cursors()
    assert refusal(lambda: sdk.files_list_folder_longpoll(cursor)) == ["reset"]


def test_more_than_it_takes_is_bad_input(sdk: Any) -> None:
    from dropbox.exceptions import BadInputError

    sdk.check_and_refresh_access_token()
    with pytest.raises(BadInputError):
        sdk.request_json_object(
            "api", "files/upload_session/start_batch", "rpc", {"num_sessions": 1001}, "user", None
        )


def test_two_commits_at_a_time_come_into_each_others_way(
    sdk: Any, folder: str, dropbox: DropboxServer
) -> None:
    from dropbox.exceptions import RateLimitError

    sdk.check_and_refresh_access_token()
    dropbox.commit_secs = 0.5
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(sdk.files_upload, b"1", f"{folder}/{n}") for n in range(2)]
        errors = [found for one in both if (found := one.exception(10)) is not None]
    assert len(errors) == 1
    assert isinstance(errors[0], RateLimitError)
    assert tags_of(errors[0].error.reason) == ["too_many_write_operations"]

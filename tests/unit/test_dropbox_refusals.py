"""What Dropbox says, in our words: what may pass by itself and what never does."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from pysubtask.errors import (
    AskedToWait,
    HostKeyRefused,
    LinkError,
    LinkLost,
    LoginRefused,
    PysubtaskError,
    RemoteDenied,
    RemoteError,
    RemoteExists,
    RemoteFull,
    RemoteNotFound,
)
from pysubtask.transports.dropbox.refusals import correct_offset, refusals, refused, tags_of

files = pytest.importorskip("dropbox.files")
auth = pytest.importorskip("dropbox.auth")
exceptions = pytest.importorskip("dropbox.exceptions")
requests = pytest.importorskip("requests")
Failed = files.UploadWriteFailed
_SDK = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "dropbox"}


@pytest.fixture(autouse=True)
def _the_same_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others import it anew, to lead it elsewhere; its classes are then others, too."""
    for name, module in _SDK.items():
        monkeypatch.setitem(sys.modules, name, module)


def converted(error: Exception) -> PysubtaskError:
    with pytest.raises(PysubtaskError) as caught, refusals("send", "/a.csv"):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


WRITES: list[tuple[str, type[RemoteError], bool]] = [
    ("insufficient_space", RemoteFull, False),
    ("team_folder_insufficient_space", RemoteFull, False),
    ("member_folder_insufficient_space", RemoteFull, False),
    ("upload_traffic_limit_reached", RemoteFull, False),
    ("no_write_permission", RemoteDenied, False),
    ("access_restricted", RemoteDenied, False),
    ("operation_suppressed", RemoteDenied, False),
    ("team_folder", RemoteDenied, False),
    ("disallowed_name", RemoteError, False),
    ("too_many_write_operations", RemoteError, True),
    ("other", RemoteError, True),
]


@pytest.mark.parametrize(("tag", "kind", "retryable"), WRITES)
def test_a_refused_write(tag: str, kind: type[RemoteError], retryable: bool) -> None:
    """However it is wrapped: by upload, by finish, by move, by create_folder."""
    write = getattr(files.WriteError, tag)
    for union in (
        files.UploadError.path(Failed(write, "id")),
        files.UploadSessionFinishError.path(write),
        files.RelocationError.to(write),
        files.CreateFolderError.path(write),
    ):
        error = converted(exceptions.ApiError("request", union, None, None))
        assert type(error) is kind, union
        assert error.retryable is retryable
        assert (error.operation, error.path) == ("send", "/a.csv")
        assert tag == "other" or tag not in str(error)  # words, not tags
        assert type(refused(union, "send", "/a.csv")) is kind


@pytest.mark.parametrize(
    ("union", "kind", "words"),
    [
        (files.WriteError.conflict(files.WriteConflictError.folder), RemoteExists, "a folder of"),
        (files.WriteError.conflict(files.WriteConflictError.file), RemoteExists, "something of"),
        (
            files.WriteError.conflict(files.WriteConflictError.file_ancestor),
            RemoteExists,
            "where its folder should be",
        ),
        (files.WriteError.malformed_path(None), RemoteError, "can't have a file of this name"),
        (files.GetMetadataError.path(files.LookupError.not_found), RemoteNotFound, "not there"),
        (files.GetMetadataError.path(files.LookupError.locked), RemoteDenied, "locked"),
        (files.ListFolderError.path(files.LookupError.not_folder), RemoteNotFound, "no folder"),
        (files.UploadSessionAppendError.not_found, RemoteNotFound, "not there"),
        (files.UploadSessionAppendError.closed, RemoteNotFound, "has ended"),
        (files.UploadSessionAppendError.content_hash_mismatch, RemoteError, "damaged"),
        (
            files.UploadSessionFinishError.lookup_failed(files.UploadSessionLookupError.closed),
            RemoteNotFound,
            "has ended",
        ),
    ],
)
def test_other_refusals(union: Any, kind: type[RemoteError], words: str) -> None:
    error = refused(union, "send", "/a.csv")
    assert type(error) is kind
    assert words in str(error)


def test_the_right_offset_is_found_wherever_it_is() -> None:
    offset = files.UploadSessionOffsetError(4711)
    append = files.UploadSessionAppendError.incorrect_offset(offset)
    lookup = files.UploadSessionLookupError.incorrect_offset(offset)
    assert correct_offset(append) == 4711
    assert correct_offset(files.UploadSessionFinishError.lookup_failed(lookup)) == 4711
    assert correct_offset(files.UploadSessionAppendError.closed) is None
    assert tags_of(append) == ["incorrect_offset"]


def test_waiting_is_as_long_as_dropbox_says() -> None:
    reason = auth.RateLimitReason.too_many_write_operations
    told = auth.RateLimitError(reason=reason, retry_after=17)
    error = converted(exceptions.RateLimitError("request", told, 17))
    assert isinstance(error, AskedToWait)
    assert error.wait_secs == 17
    assert "too many write operations" in str(error)
    error = converted(exceptions.RateLimitError("request", None, None))
    assert isinstance(error, AskedToWait)
    assert error.wait_secs == 5
    assert "too many requests" in str(error)


@pytest.mark.parametrize(
    ("union", "words"),
    [
        (auth.AuthError.invalid_access_token, "revoked"),
        (auth.AuthError.expired_access_token, "has expired"),
        (auth.AuthError.user_suspended, "suspended"),
        (
            auth.AuthError.missing_scope(auth.TokenScopeError("files.content.write")),
            "files.content.write",
        ),
        (auth.AuthError.other, "refused the login"),
    ],
)
def test_refused_logins(union: Any, words: str) -> None:
    refusal = exceptions.AuthError("request", union)
    refusal.body = "secret body"  # from 12.2.4 on it comes with it
    error = converted(refusal)
    assert type(error) is LoginRefused
    assert words in str(error)
    assert "secret body" not in str(error)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (exceptions.InternalServerError("r", 503, "body"), LinkLost, "answered 503"),
        (exceptions.HttpError("r", 413, "body"), LinkLost, "answered 413"),
        (exceptions.BadInputError("r", "body"), RemoteError, "can't read the request"),
        (requests.exceptions.ReadTimeout("https://host"), LinkLost, "no answer in time"),
        (requests.exceptions.ConnectionError("https://host"), LinkLost, "the connection broke"),
        (
            requests.exceptions.ConnectionError(OSError(111, "Connection refused")),
            LinkLost,
            "Connection refused",
        ),
        (
            requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"),
            HostKeyRefused,
            "certificate does not check",
        ),
        (requests.exceptions.SSLError("EOF occurred"), LinkLost, "the connection broke"),
        (AssertionError("Expected content-type"), LinkLost, "is not Dropbox's"),
        (ValueError("no JSON"), LinkLost, "is not Dropbox's"),
    ],
)
def test_trouble_on_the_way(error: Exception, kind: type[PysubtaskError], words: str) -> None:
    found = converted(error)
    assert type(found) is kind
    assert words in str(found)
    assert "https://" not in str(found)
    assert found.retryable is isinstance(found, LinkError)


def test_a_mistake_of_ours_is_not_hidden() -> None:
    with pytest.raises(TypeError), refusals("send", "/a.csv"):
        raise TypeError("expected request_binary as binary type")


def test_a_connection_that_can_not_be_made_is_told_as_that() -> None:
    """As requests and urllib3 wrap it: the cause is at the bottom, and in no argument."""
    below = pytest.importorskip("urllib3").exceptions
    inner = below.NewConnectionError(None, "Failed to establish a new connection")
    inner.__cause__ = ConnectionRefusedError(111, "Connection refused")
    error = requests.exceptions.ConnectionError(below.MaxRetryError(None, "/x", inner))
    assert "no connection (Connection refused)" in str(converted(error))

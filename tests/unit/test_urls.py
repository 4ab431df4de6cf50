"""Destination URLs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysubtask.errors import SettingsError
from pysubtask.settings import Secret
from pysubtask.urls import Destination, extension_of, make_destination, parse_url


@pytest.mark.parametrize(
    ("url", "path", "absolute"),
    [
        ("sftp://h/abs/path", "/abs/path", True),
        ("sftp://h/abs/path/", "/abs/path", True),
        ("sftp://h//abs//./path", "/abs/path", True),
        ("sftp://h/", "/", True),
        ("sftp://h", "", False),
        ("sftp://h/~", "", False),
        ("sftp://h/~/", "", False),
        ("sftp://h/~/in/box", "in/box", False),
        ("sftp://h/%7Eother", "/~other", True),
        ("sftp://h/a%20b%23", "/a b#", True),
        ("sftp://h/%FF", "/\udcff", True),
        ("ftp://h/in/box", "in/box", False),
        ("ftp://h", "", False),
        ("ftp://h/%2Fabs", "/abs", True),
        ("ftp://h//abs", "/abs", True),
        ("SFTP://h/x", "/x", True),
        ("file:///mnt/share/", "/mnt/share", True),
        ("file://localhost/mnt", "/mnt", True),
    ],
)
def test_paths(url: str, path: str, absolute: bool) -> None:
    found = parse_url(url)
    assert (found.path, found.absolute) == (path, absolute)


def test_parts() -> None:
    found = parse_url("sftp://ed%40ge:p%3Aw%2F@collector.example:2222/in")
    assert found == Destination(
        scheme="sftp", user="ed@ge", password=Secret("p:w/"), host="collector.example",
        port=2222, path="/in", absolute=True,
    )  # fmt: skip
    assert parse_url("sftp://edge@[::1]:23/x").host == "::1"
    assert parse_url("sftp://[fe80::1%25eth0]/x").host == "fe80::1%eth0"
    assert parse_url("sftp://edge@h/x").password is None
    assert parse_url("sftp://edge:@h/x").password == Secret("")
    assert parse_url("sftp://h/x").port == 22
    assert parse_url("ftp://h/x").port == 21
    assert parse_url("sftp://edge:a@b:c@h/x").password == Secret("a@b:c")


def test_as_text_it_shows_everything_but_the_password() -> None:
    for url in (
        "sftp://edge@collector:2222/in",
        "sftp://collector/~/in/box",
        "sftp://collector",
        "sftp://edge@[::1]/in",
        "ftp://collector/%2Fabs",
        "ftp://collector/in",
        "file:///mnt/share",
        "dropbox:///in/box%20%25",
        "sftp://collector/a%20b%25",
    ):
        assert parse_url(str(parse_url(url))) == parse_url(url)
        assert str(parse_url(url)).rstrip("/") == url
    found = parse_url("sftp://edge:hunter2@collector/in")
    assert "hunter2" not in str(found) + repr(found)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "URL"),
        ("/mnt/share", "file:///mnt/share"),
        ("edge@host:folder", "sftp://user@host/~/folder"),
        ("host/folder", "sftp://user@host/folder"),
        ("gopher://host/x", "no scheme"),
        ("sftp:///x", "names no host"),
        ("sftp://h:0/x", "port"),
        ("sftp://h:99999/x", "port"),
        ("sftp://h:²/x", "port"),
        ("sftp://[::1/x", "[ ]"),
        ("sftp://h/~bob/x", "another user"),
        ("sftp://edge:@a/secret@h/x", "two ways"),
        ("sftp://h/x?y", "%3F"),
        ("sftp://h/x#y", "%23"),
        ("sftp://h/x%0Ay", "control"),
        ("sftp://h\n/x", "control"),
        ("sftp://a b/x", "host name"),
        ("file://server/share", "three slashes"),
        ("file://", "no folder"),
        ("sftp://edge:pass/word@h/x", "read in two ways"),
        ("sftp://edge:@pass/word@h/x", "read in two ways"),
        ("sftp://edge:pw@h/with@sign", "write @ as %40"),
    ],
)
def test_mistakes(url: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_url(url)
    assert words in str(caught.value)


@given(st.text("abc:/@#?%[] \n", max_size=12))
def test_no_mistake_shows_the_password(noise: str) -> None:
    for url in (f"sftp://edge:hunter2{noise}", f"sftp://edge:{noise}hunter2@h:x/",
                f"xftp://edge:hunter2{noise}@h", f"sftp://e:hunter2@h{noise}"):  # fmt: skip
        try:
            shown = repr(parse_url(url))
        except SettingsError as error:
            shown = str(error)
        assert "hunter2" not in shown


def test_what_this_version_can_not_do_is_refused_with_what_it_can() -> None:
    assert extension_of("sftp") == "ftp"
    assert extension_of("file") == "folder"
    assert extension_of("ftp") == extension_of("ftps") == "ftp"
    assert extension_of("dropbox") == "dropbox"
    for scheme in ("s3", "smb"):
        with pytest.raises(SettingsError, match=r"sftp://, ftp://, ftps://, dropbox://, file://"):
            extension_of(scheme)


def test_joining() -> None:
    assert parse_url("sftp://h/in").join("", "a.csv") == "/in/a.csv"
    assert parse_url("sftp://h/").join("a.csv") == "/a.csv"
    assert parse_url("sftp://h").join("sub", "a.csv") == "sub/a.csv"
    assert parse_url("sftp://h").join() == ""


def test_from_parts() -> None:
    made = make_destination("sftp", user="edge", password=None, host="h", port=None, path="in/box")
    assert made == parse_url("sftp://edge@h/~/in/box")
    with pytest.raises(SettingsError, match="line end"):
        make_destination("sftp", user="e", password=Secret("a\nb"), host="h", port=1, path="")

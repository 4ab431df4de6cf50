"""Host keys: ``known_hosts`` in all spellings, pinned fingerprints, the words of refusal."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from pysubtask.errors import HostKeyRefused, SettingsError
from pysubtask.settings import Settings
from pysubtask.transports.sftp.hostkeys import KnownHosts, PinnedKeys, fingerprint, policy_for
from pysubtask.trust import ServerKey, judge

KEY, OTHER = b"\0\0\0\x0bssh-ed25519 key one", b"\0\0\0\x0bssh-ed25519 key two"


def line(names: str, key: bytes = KEY, kind: str = "ssh-ed25519") -> str:
    return f"{names} {kind} {base64.b64encode(key).decode()} a comment\n"


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def known(tmp_path: Path, *lines: str) -> KnownHosts:
    path = tmp_path / "known_hosts"
    path.write_text("".join(lines))
    return KnownHosts([str(path), str(tmp_path / "missing")])


@pytest.mark.parametrize(
    "names",
    [
        "edge.example",
        "EDGE.example",
        "10.0.0.1,edge.example",
        "*.example",
        "edge?example",
        "!other.example,*.example",
        hashed("edge.example"),
    ],
)
def test_known(tmp_path: Path, names: str) -> None:
    known(tmp_path, "# a comment\n", "\n", "nonsense\n", line(names)).check(
        "edge.example", 22, "ssh-ed25519", KEY
    )


@pytest.mark.parametrize(
    "names",
    [
        "edge",
        "edge.example.org",
        "!edge.example,*.example",
        "[edge.example]:2222",
        hashed("other.example"),
        "|1|x",
        "[e]dge.example",
    ],
)
def test_unknown(tmp_path: Path, names: str) -> None:
    with pytest.raises(HostKeyRefused, match="host key unknown") as caught:
        known(tmp_path, line(names)).check("edge.example", 22, "ssh-ed25519", KEY)
    assert fingerprint(KEY) in str(caught.value)
    assert "known_hosts" in str(caught.value)


def test_a_port_has_its_own_entry_or_the_hosts(tmp_path: Path) -> None:
    known(tmp_path, line("[edge]:2222")).check("edge", 2222, "ssh-ed25519", KEY)
    known(tmp_path, line(hashed("[edge]:2222"))).check("edge", 2222, "ssh-ed25519", KEY)
    known(tmp_path, line("edge")).check("edge", 2222, "ssh-ed25519", KEY)
    with pytest.raises(HostKeyRefused, match="changed"):
        known(tmp_path, line("edge"), line("[edge]:2222", OTHER)).check(
            "edge", 2222, "ssh-ed25519", KEY
        )


def test_changed_says_what_was_known_and_where(tmp_path: Path) -> None:
    with pytest.raises(HostKeyRefused, match="host key changed") as caught:
        known(tmp_path, "\n", line("edge", OTHER)).check("edge", 22, "ssh-ed25519", KEY)
    words = str(caught.value)
    assert fingerprint(KEY) in words
    assert fingerprint(OTHER) in words
    assert "known_hosts:2" in words


def test_a_key_of_another_type_is_a_change(tmp_path: Path) -> None:
    with pytest.raises(HostKeyRefused, match="changed"):
        known(tmp_path, line("edge", OTHER, "ssh-rsa")).check("edge", 22, "ssh-ed25519", KEY)


def test_a_revoked_key_is_refused_even_if_it_is_listed(tmp_path: Path) -> None:
    policy = known(tmp_path, line("edge"), line("@revoked *"))
    with pytest.raises(HostKeyRefused, match="revoked"):
        policy.check("edge", 22, "ssh-ed25519", KEY)


@pytest.mark.parametrize(
    ("lines", "judgement", "reason"),
    [
        ([], "unknown", "unknown"),
        ([line("unknown.example", OTHER)], "changed", "changed"),
        ([line("unknown.example"), line("@revoked *")], "refused", "revoked"),
        ([line("unknown.example")], "known", None),
    ],
)
def test_a_judgement_does_not_hang_on_words(
    tmp_path: Path, lines: list[str], judgement: str, reason: str | None
) -> None:
    """Nor on the host's name, which is in them."""
    known(tmp_path, *lines)
    settings = Settings(known_hosts=str(tmp_path / "known_hosts"))
    told, refusal = judge(ServerKey("unknown.example", 22, "ssh-ed25519", KEY), settings)
    assert (told, refusal and refusal.reason) == (judgement, reason)


def test_a_certificate_authority_does_not_count(tmp_path: Path) -> None:
    with pytest.raises(HostKeyRefused, match="unknown"):
        known(tmp_path, line("@cert-authority *")).check("edge", 22, "ssh-ed25519", KEY)


def test_known_types_are_offered_first(tmp_path: Path) -> None:
    policy = known(tmp_path, line("edge", KEY, "ssh-rsa"), line("other"))
    (offered,) = policy.algorithms("edge", 22)
    assert offered[:2] == ["rsa-sha2-512", "rsa-sha2-256"]
    assert "ssh-ed25519" in offered
    assert len(offered) == len(set(offered)) == 6


def test_pinned() -> None:
    policy = PinnedKeys([fingerprint(OTHER), fingerprint(KEY) + "="])
    policy.check("edge", 22, "ssh-ed25519", KEY)
    policy.check("edge", 22, "ssh-ed25519", OTHER)
    with pytest.raises(HostKeyRefused, match="host key changed") as caught:
        policy.check("edge", 22, "ssh-ed25519", b"third")
    assert fingerprint(b"third") in str(caught.value)


def test_pinned_tries_each_type_and_remembers_what_was_right() -> None:
    policy = PinnedKeys([fingerprint(KEY)])
    attempts = policy.algorithms("edge", 22)
    assert [attempt[0] for attempt in attempts] == [
        "ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512",
    ]  # fmt: skip
    policy.check("edge", 22, "ssh-rsa", KEY)
    assert policy.algorithms("edge", 22)[0][0] == "rsa-sha2-512"


@pytest.mark.parametrize(
    "text", ["", "SHA256:", "MD5:aa:bb", "SHA256:short", "SHA256:" + "!" * 43, "A" * 43]
)
def test_no_fingerprint(text: str) -> None:
    with pytest.raises(SettingsError, match="no fingerprint"):
        PinnedKeys([text])


def test_settings_choose_the_policy(tmp_path: Path) -> None:
    assert isinstance(policy_for(fingerprint(KEY), str(tmp_path)), PinnedKeys)
    assert isinstance(policy_for([fingerprint(KEY)], None), PinnedKeys)
    assert isinstance(policy_for(None, None), KnownHosts)
    assert isinstance(policy_for([], None), KnownHosts)


def test_an_unreadable_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(HostKeyRefused, match="can't be read"):
        KnownHosts([str(tmp_path)]).check("edge", 22, "ssh-ed25519", KEY)

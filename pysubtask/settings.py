"""Every setting of pysubtask: its name, unit, default, limits and meaning, in one place.

:class:`Settings` is the one definition. Names are snake_case with their unit at the end. The
spelling of version 1 (``TimerIntervalSecs``, ``DeadTimeMilli``, ``UseSFTP``) is accepted wherever
settings are given; :mod:`pysubtask.config` reads it, applies the precedence and reports mistakes.
:mod:`pysubtask.defaults_config` shows everything section by section.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from pysubtask.secret import Secret

__all__ = ["SECTIONS", "Secret", "Settings", "describe", "from_wire", "to_wire"]

SECTIONS = ("base", "burst_mode", "ftp", "dropbox", "folder", "own")
"""Names of the sections of a configuration; each extension reads its own, then ``base``."""

_MIB = 1 << 20


def _about(section: str, description: str, **limits: Any) -> Any:
    """The description and the limits (``ge``, ``le``, ``gt``) of one setting.

    ``section`` says where :mod:`~pysubtask.defaults_config` shows it: ``base`` (any extension),
    ``burst_mode``, ``link`` (any extension with a server), ``ftp``, ``dropbox`` or ``folder``.
    """
    return msgspec.Meta(description=description, extra={"section": section}, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of one master and its subtask. Made by :func:`pysubtask.config.build`."""

    # --- the subtask and its process
    timer_interval_secs: Annotated[
        float,
        _about(
            "base",
            "Seconds between two looks at everything that is watched; file-system events are "
            "served at once, the timer catches what they miss. process_interval() is called then.",
            ge=0.02,
            le=3600,
        ),
    ] = 2.0
    subtask_description: Annotated[
        str | None, _about("base", "What the subtask calls itself in its log.")
    ] = None
    restart: Annotated[
        bool, _about("base", "Start the subtask again when it ends without having been asked to.")
    ] = True
    watchdog_secs: Annotated[
        float,
        _about(
            "base",
            "A subtask that gives no sign of life for so many seconds is killed (and restarted). "
            "0: never.",
            ge=0,
            le=86_400,
        ),
    ] = 60.0
    stop_timeout_secs: Annotated[
        float,
        _about(
            "base",
            "Seconds that a graceful stop may take for delivering; then the subtask is killed.",
            ge=0,
            le=3600,
        ),
    ] = 10.0
    orphan_secs: Annotated[
        float,
        _about(
            "base",
            "Seconds that a subtask goes on delivering after the program died.",
            ge=0,
            le=3600,
        ),
    ] = 10.0
    python: Annotated[
        str | None,
        _about("base", "The Python interpreter that runs the subtask. None: the program's own."),
    ] = None

    # --- folders and logs
    bak_to_folder: Annotated[
        str,
        _about(
            "base",
            "State folder (journal, outbox, lock), below the folder of the first watch; absolute "
            "allowed. Each extension has its own, such as upload/ftp.",
        ),
    ] = "upload/base"
    log_to_folder: Annotated[
        str | None,
        _about(
            "base",
            "Folder of the logs, below the folder of the first watch; absolute allowed. "
            "None: no log files.",
        ),
    ] = "logs"
    master_log_file_name: Annotated[
        str | None,
        _about("base", "Name of the master's log. None: such as ftp_taskmaster.log.txt."),
    ] = None
    subtask_log_file_name: Annotated[
        str | None, _about("base", "Name of the subtask's log. None: such as ftp_subtask.log.txt.")
    ] = None
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], _about("base", "The least level logged.")
    ] = "INFO"
    log_to_console: Annotated[
        bool, _about("base", "Also write the log to the standard error of the program.")
    ] = False
    log_max_bytes: Annotated[
        int, _about("base", "Bytes after which a log is rotated.", ge=4096, le=1 << 40)
    ] = _MIB
    log_backup_count: Annotated[
        int, _about("base", "Rotated logs that are kept.", ge=0, le=1000)
    ] = 3

    # --- old files
    archive_to_folder: Annotated[
        str | None,
        _about(
            "base",
            "Where start(precleanup_old_files=True) moves old files: below the folder that they "
            "lie in, or an absolute path on the same disk. None: they stay.",
        ),
    ] = "archive"
    archive_after_days_old: Annotated[
        float,
        _about("base", "Days since the last change after which a file is old.", ge=0, le=36_500),
    ] = 3.0

    # --- heartbeat (with its allowance of a quarter a promise of 30 days, the most a monitor takes)
    heartbeat_interval_secs: Annotated[
        float, _about("base", "Seconds between two heartbeats. 0: none.", ge=0, le=2_073_600)
    ] = 0.0
    heartbeat_name: Annotated[
        str | None, _about("base", "Name of the heartbeat file. None: the computer's host name.")
    ] = None

    # --- bursts
    burst_rule: Annotated[
        Literal["calls", "bytes", "auto"],
        _about(
            "burst_mode",
            '`"calls"`: the rule of the next three settings. `"bytes"`: data waits while more is '
            "to be expected soon, until `burst_full_bytes` wait or `max_delay_secs` are over. "
            '`"auto"`: the better one, `"bytes"`.',
        ),
    ] = "calls"
    burst_start_trigger_milli: Annotated[
        int,
        _about(
            "burst_mode",
            "Milliseconds: two notifies that are closer than this look like a burst.",
            ge=0,
            le=3_600_000,
        ),
    ] = 1000
    burst_start_trigger_count: Annotated[
        int,
        _about("burst_mode", "So many of them in a row start a burst.", ge=1, le=1_000_000),
    ] = 2
    burst_expire_milli: Annotated[
        int,
        _about(
            "burst_mode",
            "Milliseconds after which data held back by a burst are sent, burst or not.",
            ge=0,
            le=86_400_000,
        ),
    ] = 5000
    burst_full_bytes: Annotated[
        int,
        _about(
            "burst_mode",
            '`burst_rule="bytes"`: so many new bytes of a file are not kept back.',
            ge=1,
        ),
    ] = 32_768
    max_delay_secs: Annotated[
        float,
        _about(
            "burst_mode",
            '`burst_rule="bytes"`: no byte is kept back for longer.',
            ge=0,
            le=86_400,
        ),
    ] = 5.0

    # --- looking at files
    settle_secs: Annotated[
        float,
        _about(
            "base",
            "A file in a watched folder that nobody notified is complete after so many seconds "
            "without change.",
            ge=0,
            le=86_400,
        ),
    ] = 1.0
    settle_max_secs: Annotated[
        float,
        _about(
            "base",
            "A rewritten file that never holds still is sent all the same after so many seconds.",
            ge=0,
            le=86_400,
        ),
    ] = 10.0
    line_wait_secs: Annotated[
        float,
        _about(
            "base",
            'With records="lines": an unfinished last line is sent after so many seconds.',
            ge=0,
            le=86_400,
        ),
    ] = 5.0
    verify_up_to_bytes: Annotated[
        int,
        _about(
            "base",
            'With growth="auto": files up to this size are compared whole at each snapshot, '
            "bigger ones by samples.",
            ge=0,
        ),
    ] = 16 * _MIB

    # --- the local disk
    sync_secs: Annotated[
        float,
        _about("base", "Seconds of work that a loss of power may undo.", ge=0, le=3600),
    ] = 5.0
    outbox_max_bytes: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        _about(
            "base",
            "Bytes that copies of undelivered data may take. None: a quarter of what is free at "
            "the start.",
        ),
    ] = None
    keep_free_bytes: Annotated[
        int, _about("base", "Bytes of the disk that are left free for the program.", ge=0)
    ] = 256 * _MIB

    # --- what is at the destination
    on_remote_gone: Annotated[
        Literal["resend", "continue"],
        _about(
            "link",
            "A delivered file that vanished at the destination: send it whole again, or start a "
            "new one with the first byte not yet delivered (consumers that take files away).",
        ),
    ] = "resend"
    on_first_contact: Annotated[
        Literal["keep", "replace"],
        _about(
            "link",
            "A foreign file under our name: keep it under another name first, or replace it.",
        ),
    ] = "keep"

    rotated_as: Annotated[
        str | None,
        _about(
            "link",
            "Keep what was delivered of a declared file that is rotated under a name of its own, "
            "such as `{stem}-{time}{ext}` or `{local}`. None: the new file replaces it.",
        ),
    ] = None

    # --- the link
    dead_time_milli: Annotated[
        int,
        _about(
            "link",
            "Milliseconds without data after which the connection is closed until there are more.",
            ge=0,
            le=86_400_000,
        ),
    ] = 180_000
    retry_tries: Annotated[
        int, _about("link", "Tries in a row before the long wait.", ge=1, le=1_000_000)
    ] = 5
    retry_short_wait_secs: Annotated[
        float, _about("link", "Seconds between two tries.", ge=0, le=86_400)
    ] = 3.0
    retry_long_wait_secs: Annotated[
        float, _about("link", "Seconds before the next series of tries.", ge=0, le=86_400)
    ] = 30.0
    retry_growth: Annotated[
        float,
        _about("link", "Each long wait is so many times the one before it.", ge=1, le=10),
    ] = 1.0
    retry_max_wait_secs: Annotated[
        float, _about("link", "The longest wait that growth may reach, seconds.", ge=1, le=86_400)
    ] = 900.0
    retry_jitter: Annotated[
        float,
        _about(
            "link",
            "Waits are lengthened by a random part of up to this fraction (0.5: up to half), so "
            "that many clients do not return at once.",
            ge=0,
            le=1,
        ),
    ] = 0.0
    connect_timeout_secs: Annotated[
        float, _about("link", "Seconds for the TCP connection.", gt=0, le=600)
    ] = 8.0
    login_timeout_secs: Annotated[
        float,
        _about("link", "Seconds for each of key exchange, login and session.", gt=0, le=600),
    ] = 30.0
    reply_timeout_secs: Annotated[
        float,
        _about("link", "Seconds without any answer after which a link is dead.", gt=0, le=3600),
    ] = 30.0
    pull_interval_secs: Annotated[
        float,
        _about("link", "Seconds between two looks at what is fetched.", ge=0.05, le=86_400),
    ] = 10.0
    pull_max_interval_secs: Annotated[
        float,
        _about("link", "The same at most, when nothing has been new for a while.", ge=0.05),
    ] = 60.0
    max_bytes_per_day: Annotated[
        Annotated[int, msgspec.Meta(ge=1024)] | None,
        _about(
            "link",
            "A budget of bytes over the link, spread over the day: no 24 hours see more. "
            "Heartbeats always go.",
        ),
    ] = None
    max_transactions_per_day: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        _about("link", "A budget of deliveries, likewise. What waits meanwhile goes together."),
    ] = None
    max_rate_bytes_per_sec: Annotated[
        Annotated[int, msgspec.Meta(ge=1024)] | None,
        _about("link", "Bytes a second over the link at most, on average."),
    ] = None
    compress: Annotated[
        bool | Literal["auto"],
        _about(
            "link",
            "Compress what goes over SSH. auto: on links that are slow or far away, unless the "
            "data do not shrink.",
        ),
    ] = "auto"
    keepalive_secs: Annotated[
        float, _about("link", "Seconds between signs of life while idle. 0: none.", ge=0, le=3600)
    ] = 30.0

    # --- S/FTP
    host: Annotated[str | None, _about("ftp", "The server's name or address.")] = None
    host_port: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=65_535)] | None,
        _about("ftp", "The server's port. None (or -1): the usual one."),
    ] = None
    host_path: Annotated[
        str,
        _about("ftp", "Folder at the server; without a leading / it is below the login folder."),
    ] = ""
    use_sftp: Annotated[bool, _about("ftp", "SFTP (True) or FTP (False).")] = True
    ftp_tls: Annotated[
        Literal["off", "explicit", "implicit"],
        _about(
            "ftp",
            'TLS for FTP: "off" is plain FTP, which anybody on the way can read; "explicit" asks '
            'for it before the login, "implicit" begins with it (port 990). ftp:// means "off", '
            'ftps:// "explicit", or "implicit" with port 990.',
        ),
    ] = "off"
    username: Annotated[
        str | None,
        _about("ftp", "Who logs in. None: the user that runs the program; FTP: anonymous."),
    ] = None
    password: Annotated[Secret | None, _about("ftp", "The password; kept out of sight.")] = None
    key_file: Annotated[
        str | None, _about("ftp", "A private key file. None: the agent and the default keys.")
    ] = None
    key_passphrase: Annotated[
        Secret | None, _about("ftp", "The passphrase of key_file; kept out of sight.")
    ] = None
    known_hosts: Annotated[
        str | None, _about("ftp", "File of known host keys. None: ~/.ssh/known_hosts.")
    ] = None
    host_key: Annotated[
        tuple[str, ...],
        _about(
            "ftp",
            'The server\'s host key as "SHA256:…" (as ssh-keygen -lf prints it), or a list of '
            "them; known_hosts is not asked then.",
        ),
    ] = ()
    ssh_command: Annotated[
        str | None,
        _about(
            "ftp",
            "The system's ssh program instead of the built-in SSH client, split as a shell splits "
            'words: "ssh -o BatchMode=yes -J gateway". Port, -s, user@host and sftp are added.',
        ),
    ] = None
    ca_file: Annotated[
        str | None, _about("ftp", "Certificates to trust (PEM). None: the system's.")
    ] = None

    # --- Dropbox
    dropbox_refresh_token: Annotated[
        Secret | None,
        _about(
            "dropbox",
            "What pysubtask.dropbox.login() gives: good until it is revoked; kept out of sight.",
        ),
    ] = None
    dropbox_app_key: Annotated[
        str | None,
        _about(
            "dropbox", "The app's key, as the App Console shows it; goes with the refresh token."
        ),
    ] = None
    dropbox_access_token: Annotated[
        Secret | None,
        _about(
            "dropbox",
            "A short-lived token (some 4 hours) instead of a refresh token, for trials; may also "
            "stand in the URL as a password. Kept out of sight.",
        ),
    ] = None
    segments: Annotated[
        bool,
        _about(
            "dropbox",
            'A file with growth="append" becomes a folder name.d, with one file for each delivery, '
            "so that nothing is sent twice.",
        ),
    ] = False

    # --- a folder
    folder_mount: Annotated[
        Literal["auto", "required", "ignored"],
        _about(
            "folder",
            "file:// on a mount (a share, a stick): auto marks it at the first contact by a file "
            ".pysubtask-destination, and never writes into the bare mount point when it is gone; "
            '"required" refuses a folder on the root file system from the first contact on; '
            '"ignored" takes what is there.',
        ),
    ] = "auto"


def describe() -> list[tuple[str, str, Any, str]]:
    """``(name, section, default, description)`` of every setting, in order of definition."""
    rows = []
    hints = get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        meta = hints[field.name].__metadata__[0]
        rows.append((field.name, meta.extra["section"], field.default, meta.description))
    return rows


def to_wire(settings: Settings) -> dict[str, Any]:
    """Plain values for the hand-over to the child. Secrets are in the clear: pipe only."""
    plain: dict[str, Any] = {}
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        plain[name] = value.reveal() if isinstance(value, Secret) else value
    return plain


def from_wire(plain: dict[str, Any]) -> Settings:
    """The settings from plain values.

    Raises:
        msgspec.ValidationError: a value has the wrong type or is outside its limits. Its message
            never holds the value.
    """
    return msgspec.convert(plain, Settings, dec_hook=_decode_secret)


def _decode_secret(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str | Secret):
        return Secret(value)
    raise TypeError(f"must be text, not {type(value).__name__}")

"""Settings of ``demo.py``, in the spelling of the first pysubtask.

As it is, the demo delivers to an SFTP server of its own, on this machine. To see it deliver to
yours, fill in ``ftp.Host`` and the lines below it (or leave this file alone and call
``python demo.py --to sftp://user@host/folder``).

A setting that is left out has its default; ``python -m pysubtask.defaults_config`` lists them all.
"""

from __future__ import annotations


class base:  # noqa: N801  (the section names of the first version)
    """What every subtask has."""

    TimerIntervalSecs = 2  # look at everything this often, should a file-system event be missed
    LogToFolder = "."  # logs lie beside the data files: logs/ftp_subtask.log.txt
    LogLevel = "INFO"  # DEBUG also logs each piece that is delivered


class burst_mode:  # noqa: N801
    """When notifies come faster than they are worth sending (files with ``burstmode``)."""

    start_trigger_milli = 1000  # notifies closer than this …
    start_trigger_count = 2  # … and so many of them in a row begin a burst
    expire_milli = 5000  # data wait at most this long


class ftp:  # noqa: N801
    """The server."""

    Host = None  # "collector.example"; None: the demo's own server
    HostPort = 22
    HostPath = "pysubtask-demo"  # below the login folder; with a leading / from the root
    UseSFTP = True  # False: FTP, with TLS if FtpTls says so
    FtpTls = "explicit"  # "implicit" (port 990); "off": anybody on the way can read everything
    Username = None  # None: the user that runs the demo
    Password = None  # None: the SSH agent and your default keys
    KeyFile = None  # "~/.ssh/id_ed25519"
    HostKey = None  # "SHA256:…"; None: the key must be in ~/.ssh/known_hosts
    DeadTimeMilli = 180_000  # close the connection after so much idle time
    OnRemoteGone = "resend"  # "continue" where a consumer takes the files away

"""A program that watches a folder by watchdog and sends by paramiko; it is started, not imported.

python _watch_and_put.py HOST PORT USER KEY FOLDER REMOTE_FOLDER
"""

from __future__ import annotations

import os
import queue
import socket
import sys

import paramiko
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer


class Closed(FileSystemEventHandler):
    """Puts the names of files that were closed after writing into a queue."""

    def __init__(self, names: queue.Queue[str]) -> None:
        self.names = names

    def on_closed(self, event: FileSystemEvent) -> None:
        self.names.put(os.fsdecode(event.src_path))


def main() -> None:
    host, port, user, key, folder, remote = sys.argv[1:]
    sock = socket.create_connection((host, int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(sock)
    transport.connect(username=user, pkey=paramiko.Ed25519Key.from_private_key_file(key))
    sftp = paramiko.SFTPClient.from_transport(transport)
    assert sftp is not None
    names: queue.Queue[str] = queue.Queue()
    observer = Observer()
    observer.schedule(Closed(names), folder)
    observer.start()
    while True:
        path = names.get()
        sftp.put(path, f"{remote}/{os.path.basename(path)}", confirm=False)


if __name__ == "__main__":
    main()

"""What a program would write that sends files by paramiko or asyncssh. Not imported: it is started.

python _put.py LIBRARY file|folder HOST PORT USER KEY KNOWN_HOSTS SOURCE TARGET
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import socket
import sys

CIPHER = "aes128-gcm@openssh.com"
AT_A_TIME = 64


def by_paramiko(what: str, host: str, port: int, user: str, key: str, known: str, *ends: str):
    import paramiko

    source, target = ends
    sock = socket.create_connection((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(sock)
    transport.get_security_options().ciphers = (CIPHER,)
    keys = paramiko.HostKeys(known)
    entry = keys.lookup(f"[{host}]:{port}")
    assert entry is not None
    transport.connect(
        hostkey=next(iter(entry.values())),
        username=user,
        pkey=paramiko.Ed25519Key.from_private_key_file(key),
    )
    sftp = paramiko.SFTPClient.from_transport(transport)
    assert sftp is not None
    if what == "file":
        sftp.put(source, target, confirm=False)
    else:
        for name in os.listdir(source):
            sftp.put(os.path.join(source, name), f"{target}/{name}", confirm=False)
    transport.close()


async def by_asyncssh(what: str, host: str, port: int, user: str, key: str, known: str, *ends: str):
    import asyncssh

    source, target = ends
    async with (
        asyncssh.connect(
            host,
            port,
            username=user,
            client_keys=[key],
            known_hosts=known,
            encryption_algs=[CIPHER],
            config=None,
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):
        if what == "file":
            await sftp.put(source, target)
            return
        some = asyncio.Semaphore(AT_A_TIME)

        async def one(name: str) -> None:
            async with some, sftp.open(f"{target}/{name}", "wb") as file:
                await file.write(pathlib.Path(source, name).read_bytes())

        await asyncio.gather(*(one(name) for name in os.listdir(source)))


def main() -> None:
    library, what, host, port, *rest = sys.argv[1:]
    if library == "paramiko":
        by_paramiko(what, host, int(port), *rest)
    else:
        asyncio.run(by_asyncssh(what, host, int(port), *rest))


if __name__ == "__main__":
    main()

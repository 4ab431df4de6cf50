"""The process of :class:`tests.servers.ftp.Pyftpd`: ``python pyftpd_main.py given.json``."""

from __future__ import annotations

import json
import logging
import pathlib
import sys
import warnings


def main() -> None:
    """Serve until killed."""
    warnings.simplefilter("ignore")
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
    from pyftpdlib.servers import FTPServer

    path = pathlib.Path(sys.argv[1])
    given = json.loads(path.read_text())
    logging.basicConfig(level=logging.INFO)
    authorizer = DummyAuthorizer()
    password = (path.parent / "password").read_text()
    authorizer.add_user(given["user"], password, given["root"], perm="elradfmwMT")
    attributes = {name: json.loads(text) for name, text in given["handler"].items()}
    without = set(given["without"])
    if "STAT" in without:  # what the library does with it goes beyond its table of commands
        without.remove("STAT")
        attributes["ftp_STAT"] = lambda self, *_: self.respond("502 Not implemented.")
    attributes["proto_cmds"] = {
        name: more for name, more in FTPHandler.proto_cmds.items() if name not in without
    }
    base: type = FTPHandler
    if given["tls"] != "off":
        base = TLS_FTPHandler
        attributes.update(
            proto_cmds={**TLS_FTPHandler.proto_cmds, **attributes["proto_cmds"]},
            certfile=given["certificate"],
            keyfile=given["key"],
            tls_control_required=True,
            tls_data_required=True,
        )
    handler = type("Handler", (base,), {**attributes, "authorizer": authorizer})
    handler.auth_failed_timeout = 0.05
    if given["tls"] == "implicit":

        class Implicit(handler):  # type: ignore[misc, valid-type]
            def handle(self) -> None:
                self.secure_connection(self.ssl_context)

            def handle_ssl_established(self) -> None:
                super().handle()

        handler = Implicit
    FTPServer((given["host"], given["port"]), handler).serve_forever()


if __name__ == "__main__":
    main()

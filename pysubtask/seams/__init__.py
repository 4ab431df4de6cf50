"""Where the outside world begins for the child: its clock and its disk.

The network's seams are :mod:`pysubtask.transports.contract` and, below the SFTP client,
:mod:`pysubtask.transports.sftp.channel`. The simulator replaces all of them.
"""

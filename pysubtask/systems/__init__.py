"""What differs from one operating system to another, one small module each.

* :mod:`~pysubtask.systems.windows`: files that others may rename, drives, processes without window;
* :mod:`~pysubtask.systems.macos`: syncing for real, types of mounts;
* :mod:`~pysubtask.systems.processes`: how programs are started and ended, on each of them;
* :mod:`~pysubtask.systems.frozen`: programs packed by PyInstaller and the like.

Nothing here imports anything heavy, and everything can be called on any system with the
system's own modules replaced: that is how it is tested.
"""

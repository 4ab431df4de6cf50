"""The child process: :mod:`shell` keeps it alive, :mod:`intake` looks and takes snapshots,
:mod:`store` remembers, :mod:`delivery` sends."""

"""The version of this package: the one place where it is written."""

__version__ = "2.0.0.dev0"

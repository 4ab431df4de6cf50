"""Sending: the connection's life, many files' jobs over it, one file's way to the destination."""

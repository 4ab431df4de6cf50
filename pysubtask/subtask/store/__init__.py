"""What is owed, on disk: journal, outbox, and the watched files as sources of bytes."""

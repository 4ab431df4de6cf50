"""The docs' examples, run as they stand there."""

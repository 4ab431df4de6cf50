"""Measurements, each by one command: ``python -m benchmarks.<name>``."""

"""Seeded histories of fetching: the real code, a disk that loses power, a server that changes.

``python -m tests.simulation_pull --seeds 1000``; a failing history prints its seed.
"""

"""Does anything grow? Many lives, and very many notifies: ``python -m tests.endurance``."""

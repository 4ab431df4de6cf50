"""Looking: which file is looked at when, and what a look notes. Never waits for the network."""

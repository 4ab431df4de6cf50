"""The host program's side: light, and free of any transfer library."""

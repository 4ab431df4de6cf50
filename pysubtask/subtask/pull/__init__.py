"""What comes the other way: files of a server that are fetched and put in place."""

"""What is handed out: built, looked into, installed where nothing else is, and used there."""

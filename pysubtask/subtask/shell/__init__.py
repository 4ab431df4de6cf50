"""The process around the work: start, lock, life line, events, questions, logs, main loop."""

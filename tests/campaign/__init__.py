"""Random kills of everything that can be killed, against a real server, with a reader that judges.

``python -m tests.campaign --kills 300``; :mod:`tests.campaign.campaign` says what is done.
"""

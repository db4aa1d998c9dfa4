"""Jobs: the sessions that run, wait or just failed, and how far they are."""

"""Performance: how fast, how well and how cleanly was scraped, against the time before."""

"""The questions over HTTP: what ``scrapewatch ask`` and analysts' tools ask."""

"""A crawl to look at on a machine that scrapes nothing yet: a generated job site and an orchestrator that crawls it."""

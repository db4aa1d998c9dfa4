"""scrapewatch: monitoring for scraping teams.

The kernel (event types, registry of measurements, questions, ports, settings) and what a scraper installs (the client). Importing
this package, or :mod:`scrapewatch.client`, pulls in nothing but the standard library.
"""

__version__ = "0.1.0"

"""Composition: the one place where rooms are put together, and the command line.

:mod:`stack.stores` opens the stores that the settings name, :mod:`stack.serve` makes one server of the parts (:mod:`stack.parts`) that it
is to serve, :mod:`stack.cli` is the command ``scrapewatch``, :mod:`stack.scrapy_log` reads real Scrapy logs, :mod:`stack.demo` is a crawl
to look at.
"""

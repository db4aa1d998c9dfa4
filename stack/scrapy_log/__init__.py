"""Scrapy logs as input: from lines to runs (`parse`), from runs to scrapewatch events (`events`), with names for sites (`sites`)."""

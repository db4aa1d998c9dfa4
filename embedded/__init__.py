"""The embedded store: a SeriesStore on DuckDB, in one file, with nothing to install."""

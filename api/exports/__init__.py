"""Exports: selected figures and records as a file, at once or repeated."""

"""Alerts: what rules found, who saw to it, and when nobody is to be told."""

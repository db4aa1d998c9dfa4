"""Credentials over HTTP: keys and tenants, tokens for who shows a key, and signing in with a browser."""

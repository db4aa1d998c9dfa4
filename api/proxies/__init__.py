"""Proxies: how each provider and each proxy does."""

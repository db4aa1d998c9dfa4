"""The dashboard: everything at a glance in one answer."""

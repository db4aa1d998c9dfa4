"""The machine that the API runs on, in all its parts."""

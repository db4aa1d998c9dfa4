"""Sessions: listed, in detail, and their figures by interval."""

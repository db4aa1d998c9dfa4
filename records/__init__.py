"""The records: sessions, site executions, postings and error groups in SQLite or PostgreSQL."""

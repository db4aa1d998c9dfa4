"""The collector: makes events durable, folds them into points and record changes, and hands those to the stores.

The way of one event: :mod:`collector.app` (HTTP) → :mod:`collector.ingest` (validate) → :mod:`collector.spool` (durable, 202) →
:mod:`collector.fold` (pure) → :mod:`collector.forward` (numbered flushes to both stores) → :mod:`collector.roller` (rollups).
"""

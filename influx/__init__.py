"""The store of points on InfluxDB 2: lines out, questions in Flux, buckets and tokens."""

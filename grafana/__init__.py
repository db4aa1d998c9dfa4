"""Grafana: its dashboards as code (:mod:`grafana.build`), and what Grafana reads of this repository, in folders beside it."""

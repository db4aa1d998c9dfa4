"""The dashboards as code: flat lists of named panels become the JSON that Grafana reads.

A dashboard is a module in :mod:`grafana.build.dashboards` with one ``DASHBOARD``, a list of :class:`~grafana.build.panels.Panel`. What a
panel asks is a question of :mod:`scrapewatch.questions`, a source of :mod:`influx.panels`, or a file of SQL in ``records/panels``: units,
names and meanings come from there. ``make dashboards`` writes ``grafana/dashboards/*.json``, ``make check`` fails where they differ.
The files work from Grafana 9.4 on: classic JSON, core panels only.
"""

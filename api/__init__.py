"""The API: what scrapewatch knows, over HTTP, WebSockets and the live page. Composed by :func:`api.app.build_router`."""

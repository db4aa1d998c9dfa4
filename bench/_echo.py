"""The least that an answer can cost here: FastAPI, a query parameter in, JSON out. Served by uvicorn."""

from __future__ import annotations

from fastapi import FastAPI

app = FastAPI()


@app.get("/echo")
async def echo(text: str = "") -> dict[str, str]:
    """What was said."""
    return {"text": text}

"""The part of Grafana's HTTP API that the product uses, as Grafana 9.4 speaks it: statuses and bodies were taken down from one."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

TOKEN = "glsa_good"
EDITOR = "glsa_editor"
REVOKED = "glsa_revoked"
PASSWORD = "admin of it"

_FOR_ADMINS = {
    "datasources": "datasources:create",
    "org": "orgs.preferences:write",
    "serviceaccounts": "serviceaccounts:create",
}


class GrafanaApi:
    """A Grafana with nothing in it. ``requests`` are what it was asked to change, by method and path."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("").rstrip("/")
        self.health: dict[str, Any] = {"commit": "unknown", "database": "ok", "version": "9.4.3"}
        self.folders: dict[str, dict[str, Any]] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.silent: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.folder_of: dict[str, str] = {}
        self.provisioned: set[str] = set()
        self.messages: dict[str, list[str]] = {}
        self.preferences: dict[str, Any] = {"theme": "dark"}
        self.accounts: dict[int, dict[str, Any]] = {}
        self.tokens: dict[int, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.stored: Callable[[dict[str, Any]], dict[str, Any]] = copy.deepcopy
        """What becomes of a dashboard that is saved: newer versions bring it to a form of their own."""
        self.wrapped = False
        """Whether the versions of a dashboard stand within an object, as in newer Grafana."""
        self._ids = 0
        server.expect_request(re.compile("/.*")).respond_with_handler(self._answer)

    def save_by_hand(self, uid: str, **changes: Any) -> None:
        """What somebody does on the pages of Grafana."""
        self._save(uid, self.dashboards[uid] | changes, "")

    def _save(self, uid: str, dashboard: dict[str, Any], message: str) -> None:
        version = self.dashboards.get(uid, {}).get("version", 0) + 1
        number = self.dashboards[uid]["id"] if uid in self.dashboards else self._id()
        self.dashboards[uid] = {**self.stored(dashboard), "id": number, "version": version}
        self.messages.setdefault(uid, []).append(message)

    def _id(self) -> int:
        self._ids += 1
        return self._ids

    def _answer(self, request: Request) -> Response:
        if request.path == "/api/health":
            return _json(self.health)
        role = self._role(request)
        if role is None:
            if request.authorization is not None and request.authorization.token == REVOKED:
                return _json({"message": "invalid API key", "traceID": ""}, 500)
            return _json({"message": "invalid API key", "traceID": ""}, 401)
        if request.method != "GET":
            self.requests.append((request.method, request.path))
        needed = _FOR_ADMINS.get(request.path.split("/")[2])
        if role == "Editor" and request.method != "GET" and needed is not None:
            text = f"You'll need additional permissions to perform this action. Permissions needed: {needed}"
            return _json({"accessErrorId": "ACE0", "message": text, "title": "Access denied"}, 403)
        body = request.get_json(silent=True) or {}
        for method, path, handle in (
            ("GET", r"/api/folders/([\w-]+)", self._get_folder),
            ("POST", "/api/folders", self._add_folder),
            ("PUT", r"/api/folders/([\w-]+)", self._change_folder),
            ("GET", "/api/datasources", self._list_sources),
            ("POST", "/api/datasources", self._add_source),
            ("GET", r"/api/datasources/uid/([\w-]+)", self._get_source),
            ("GET", r"/api/datasources/uid/([\w-]+)/health", self._check_source),
            ("PUT", r"/api/datasources/uid/([\w-]+)", self._change_source),
            ("DELETE", r"/api/datasources/uid/([\w-]+)", self._drop_source),
            ("GET", r"/api/dashboards/uid/([\w-]+)", self._get_dashboard),
            ("DELETE", r"/api/dashboards/uid/([\w-]+)", self._drop_dashboard),
            ("GET", r"/api/dashboards/uid/([\w-]+)/versions", self._versions),
            ("POST", "/api/dashboards/db", self._save_dashboard),
            ("GET", "/api/search", self._search),
            ("GET", "/api/org/preferences", self._get_preferences),
            ("PATCH", "/api/org/preferences", self._change_preferences),
            ("GET", "/api/serviceaccounts/search", self._search_accounts),
            ("POST", "/api/serviceaccounts", self._add_account),
            ("GET", r"/api/serviceaccounts/(\d+)/tokens", self._list_tokens),
            ("POST", r"/api/serviceaccounts/(\d+)/tokens", self._add_token),
            ("DELETE", r"/api/serviceaccounts/(\d+)/tokens/(\d+)", self._drop_token),
        ):
            found = re.fullmatch(path, request.path)
            if method == request.method and found is not None:
                return handle(request, body, *found.groups())
        return _json({"message": "Not found"}, 404)

    def _role(self, request: Request) -> str | None:
        given = request.authorization
        if given is None:
            return None
        if given.type == "basic":
            return "Admin" if (given.username, given.password) == ("admin", PASSWORD) else None
        return {TOKEN: "Admin", EDITOR: "Editor"}.get(given.token or "")

    def _get_folder(self, _: Request, __: Any, uid: str) -> Response:
        if uid not in self.folders:
            return _json({"message": "folder not found", "status": "not-found"}, 404)
        return _json(self.folders[uid])

    def _add_folder(self, _: Request, body: Any) -> Response:
        if body["title"] in {folder["title"] for folder in self.folders.values()}:
            return _json(
                {"message": "a folder or dashboard in the general folder with the same name already exists"},
                409,
            )
        self.folders[body["uid"]] = {"id": self._id(), **body, "version": 1}
        return _json(self.folders[body["uid"]])

    def _change_folder(self, _: Request, body: Any, uid: str) -> Response:
        folder = self.folders[uid]
        if body.get("version") != folder["version"]:
            return _json(
                {"message": "the folder has been changed by someone else", "status": "version-mismatch"}, 412
            )
        folder |= {"title": body["title"], "version": folder["version"] + 1}
        return _json(folder)

    def _list_sources(self, _: Request, __: Any) -> Response:
        return _json(list(self.sources.values()))

    def _get_source(self, _: Request, __: Any, uid: str) -> Response:
        if uid not in self.sources:
            return _json({"message": "Data source not found"}, 404)
        fields = dict.fromkeys(self.secrets.get(uid, {}), True)
        return _json({**self.sources[uid], "secureJsonFields": fields})

    def _check_source(self, _: Request, __: Any, uid: str) -> Response:
        if uid in self.silent:
            return _json({"message": self.silent[uid], "status": "ERROR"}, 400)
        return _json({"message": "it works", "status": "OK"})

    def _add_source(self, _: Request, body: Any) -> Response:
        if body["name"] in {source["name"] for source in self.sources.values()}:
            return _json({"message": "data source with the same name already exists"}, 409)
        uid = body["uid"]
        self.secrets[uid] = body.pop("secureJsonData", {})
        self.sources[uid] = {
            "user": "",
            "database": "",
            "readOnly": False,
            **body,
            "id": self._id(),
            "version": 1,
        }
        return _json({"message": "Datasource added", "id": self.sources[uid]["id"], "name": body["name"]})

    def _change_source(self, _: Request, body: Any, uid: str) -> Response:
        there = self.sources[uid]
        if there["readOnly"]:
            return _json({"message": "Cannot update read-only data source"}, 403)
        if body.get("version") != there["version"]:
            return _json(
                {
                    "message": "Datasource has already been updated by someone else. Please reload and try again"
                },
                409,
            )
        self.secrets.setdefault(uid, {}).update(body.pop("secureJsonData", {}))
        body.pop("secureJsonFields", None)
        self.sources[uid] = {**there, **body, "version": there["version"] + 1}
        return _json({"message": "Datasource updated", "id": there["id"], "name": body["name"]})

    def _drop_source(self, _: Request, __: Any, uid: str) -> Response:
        return _json({"message": "Data source deleted", "id": self.sources.pop(uid)["id"]})

    def _get_dashboard(self, _: Request, __: Any, uid: str) -> Response:
        if uid not in self.dashboards:
            return _json({"message": "Dashboard not found"}, 404)
        folder = self.folder_of[uid]
        about = {
            "folderUid": folder,
            "folderTitle": self.folders[folder]["title"] if folder else "General",
            "provisioned": uid in self.provisioned,
            "version": self.dashboards[uid]["version"],
        }
        return _json({"dashboard": self.dashboards[uid], "meta": about})

    def _save_dashboard(self, _: Request, body: Any) -> Response:
        dashboard = body["dashboard"]
        uid, folder = dashboard["uid"], body.get("folderUid", "")
        if folder and folder not in self.folders:
            return _json({"message": "Folder not found"}, 400)
        if uid in self.provisioned:
            return _json({"message": "Cannot save provisioned dashboard"}, 400)
        there = self.dashboards.get(uid)
        if there is None:
            titles = {
                found["title"] for key, found in self.dashboards.items() if self.folder_of[key] == folder
            }
            if dashboard["title"] in titles:
                said = "A dashboard with the same name in the folder already exists"
                return _json({"message": said, "status": "name-exists"}, 412)
        elif dashboard.get("version") != there["version"]:
            said = "The dashboard has been changed by someone else"
            return _json({"message": said, "status": "version-mismatch"}, 412)
        self.folder_of[uid] = folder
        self._save(uid, dashboard, body.get("message", ""))
        return _json({"status": "success", "uid": uid, "version": self.dashboards[uid]["version"]})

    def _drop_dashboard(self, _: Request, __: Any, uid: str) -> Response:
        title = self.dashboards.pop(uid)["title"]
        return _json({"message": f"Dashboard {title} deleted", "title": title})

    def _versions(self, _: Request, __: Any, uid: str) -> Response:
        found = [{"message": message} for message in reversed(self.messages[uid])]
        return _json({"versions": found} if self.wrapped else found)

    def _search(self, request: Request, _: Any) -> Response:
        limit, page = int(request.args["limit"]), int(request.args["page"])
        found = [
            {"uid": uid, "title": dashboard["title"], "type": "dash-db"}
            | ({"folderUid": self.folder_of[uid]} if self.folder_of[uid] else {})
            for uid, dashboard in self.dashboards.items()
        ]
        return _json(found[(page - 1) * limit : page * limit])

    def _get_preferences(self, _: Request, __: Any) -> Response:
        return _json(self.preferences)

    def _change_preferences(self, _: Request, body: Any) -> Response:
        self.preferences |= body
        return _json({"message": "Preferences updated"})

    def _search_accounts(self, request: Request, _: Any) -> Response:
        found = [account for account in self.accounts.values() if request.args["query"] in account["name"]]
        return _json({"totalCount": len(found), "serviceAccounts": found, "page": 1, "perPage": 1000})

    def _add_account(self, _: Request, body: Any) -> Response:
        number = self._id()
        self.accounts[number] = {"id": number, **body}
        return _json(self.accounts[number], 201)

    def _list_tokens(self, _: Request, __: Any, account: str) -> Response:
        return _json([token for token in self.tokens.values() if token["account"] == int(account)])

    def _add_token(self, _: Request, body: Any, account: str) -> Response:
        number = self._id()
        self.tokens[number] = {"id": number, "name": body["name"], "account": int(account)}
        return _json({"id": number, "name": body["name"], "key": f"glsa_{number}"})

    def _drop_token(self, _: Request, __: Any, ___: str, number: str) -> Response:
        del self.tokens[int(number)]
        return _json({"message": "Service account token deleted"})


def _json(body: Any, status: int = 200) -> Response:
    return Response(json.dumps(body), status, content_type="application/json; charset=UTF-8")

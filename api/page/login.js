// Signing in where keys exist: the key is posted once, and what stands for it is a cookie that no script can read.
"use strict";

{
  const dialog = document.getElementById("sign-in");
  const form = dialog.querySelector("form");
  const wrong = dialog.querySelector(".wrong");
  const out = document.getElementById("sign-out");
  const connection = document.getElementById("connection");

  async function check() {
    const answer = await fetch("/login").catch(() => null);
    if (answer === null) return; // nobody there: the page itself says so
    if (answer.status === 401) {
      if (!dialog.open) dialog.showModal();
    } else if (answer.ok) {
      out.hidden = (await answer.json()).name === "local";
    }
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    wrong.textContent = "";
    const body = JSON.stringify({ key: form.elements.key.value.trim() });
    const answer = await fetch("/login", { method: "POST", headers: { "Content-Type": "application/json" }, body }).catch(() => null);
    if (answer?.ok) {
      const who = await answer.json();
      if (who.scopes.includes("monitoring:read") || who.scopes.includes("admin:*")) {
        form.reset();
        location.reload();
        return;
      }
      wrong.textContent = "This key may not read: it needs the scope monitoring:read.";
      await fetch("/logout", { method: "POST" }).catch(() => null);
      return;
    }
    const problem = answer === null ? null : await answer.json().catch(() => null);
    wrong.textContent = problem?.detail ?? "That did not work; try again.";
  });

  // Without a key there is nothing behind it to go back to.
  dialog.addEventListener("cancel", (event) => event.preventDefault());

  out.addEventListener("click", async (event) => {
    event.preventDefault();
    await fetch("/logout", { method: "POST" }).catch(() => null);
    location.reload();
  });

  // A connection that breaks may have done so because the key was revoked, or the 12 hours of a sign-in are over.
  new MutationObserver(() => {
    if (connection.dataset.state !== "live") check();
  }).observe(connection, { attributeFilter: ["data-state"] });
  check();
}

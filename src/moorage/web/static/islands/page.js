// What every page has: copying, asking before what cannot be undone, a key that leads to the search, and headings of
// columns beside each cell, for screens so narrow that a table stands on end.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1500);
});

// A form that is on its way is not sent a second time; a page that comes back out of the browser's memory sends anew.
document.addEventListener("submit", (event) => {
  const form = event.target;
  const question = form.dataset.confirm;
  if ("sent" in form.dataset || (question && !window.confirm(question))) event.preventDefault();
  else if (form.getAttribute("method") === "post" && !form.hasAttribute("hx-post")) {
    form.dataset.sent = "";
    // An answer that is a file leaves the page where it is.
    setTimeout(() => delete form.dataset.sent, 5000);
  }
});

addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// What was typed before the sign-in ended goes on to its form by itself.
document.querySelector("form[data-go-on]")?.requestSubmit();

// What is told at the top of the page, in the place of what was told there before.
function tell(content) {
  const words = { className: "note", textContent: content };
  const note = typeof content === "string" ? Object.assign(document.createElement("p"), words) : content;
  note.classList.add("told");
  note.setAttribute("role", "alert");
  document.querySelector("main .told")?.remove();
  document.querySelector("main").prepend(note);
  note.scrollIntoView({ block: "nearest" });
}

// The sign-in has ended. A page with something to type in stays as it is.
function signedOut() {
  const main = document.querySelector("main");
  const door = `/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`;
  if (!main.querySelector('form[method="post"] :is(input:not([type="hidden"]), select, textarea)')) location.assign(door);
  else if (!main.querySelector(".signed-out")) {
    const note = document.createElement("p");
    note.className = "note signed-out";
    note.setAttribute("role", "alert");
    const link = Object.assign(document.createElement("a"), { href: door, target: "_blank", textContent: "Sign in in a new tab" });
    note.append("Your sign-in has ended. What you typed stays here. ", link, " and go on.");
    main.prepend(note);
  }
}

// What somebody did, and not what the page asks for by itself, which it will ask for again.
const isAct = ({ requestConfig: { verb, triggeringEvent } }) => verb !== "get" || Boolean(triggeringEvent?.isTrusted);

document.addEventListener("htmx:responseError", ({ detail }) => {
  const { status, responseText } = detail.xhr;
  if (status === 401) signedOut();
  else if (isAct(detail)) {
    // Made by our own templates, where every value is escaped.
    const said = document.createRange().createContextualFragment(responseText);
    tell(said.querySelector(".problem, .note") ?? `This was not done: the hub answered ${status}.`);
  }
});

document.addEventListener("htmx:sendError", ({ detail }) => {
  if (isAct(detail)) tell("The hub did not answer, so nobody knows whether this was done. Try again.");
});

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.successful && isAct(detail)) document.querySelector("main .told")?.remove();
});

// A stream that is refused does not say why: the sign-in may have ended.
document.addEventListener("htmx:sseError", async ({ detail: { source } }) => {
  if (source.readyState !== EventSource.CLOSED) return;
  const answer = await fetch(source.url, { method: "HEAD", headers: { "hx-request": "true" } }).catch(() => null);
  if (answer?.status === 401) signedOut();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select")) return;
  const field = document.querySelector('[data-key="/"]');
  if (!field) return;
  event.preventDefault();
  field.focus();
});

function labelCells(root) {
  for (const table of root.querySelectorAll("table")) {
    const headings = [...table.querySelectorAll(":scope > thead th")].map((heading) => heading.textContent.replace(/[↑↓]/, "").trim());
    for (const row of table.querySelectorAll(":scope > tbody > tr")) {
      [...row.cells].forEach((cell, column) => {
        if (cell.tagName === "TD" && headings[column] && !cell.dataset.label) cell.dataset.label = headings[column];
      });
    }
  }
}

labelCells(document);
document.addEventListener("htmx:load", (event) => labelCells(event.target.closest("table")?.parentElement ?? event.target));

const openMenus = () => document.querySelectorAll(".bar details[open]");

document.addEventListener("click", (event) => {
  for (const menu of openMenus()) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of openMenus()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

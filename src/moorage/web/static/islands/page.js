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

// A part of the page was asked for, and the sign-in has ended. A page with something to type in stays as it is.
document.addEventListener("htmx:responseError", (event) => {
  if (event.detail.xhr.status !== 401) return;
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

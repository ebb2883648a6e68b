// A page that is told of what comes: it keeps no more rows than it can show, and says when it hears nothing.

const rows = document.getElementById("rows");
const status = document.querySelector(".live");

rows.addEventListener("htmx:afterSettle", () => {
  while (rows.rows.length > Number(rows.dataset.most)) rows.deleteRow(-1);
});

// A stream that is opened anew, and not by the browser alone, goes on where this one ended.
rows.addEventListener("htmx:sseMessage", ({ detail: { lastEventId } }) => {
  const stream = rows.closest("[sse-connect]");
  const address = new URL(stream.getAttribute("sse-connect"), location.href);
  if (lastEventId) address.searchParams.set("from", lastEventId);
  stream.setAttribute("sse-connect", address.pathname + address.search);
});

document.body.addEventListener("htmx:sseError", () => {
  status.classList.add("lost");
  status.textContent = "Not connected; trying again";
});

document.body.addEventListener("htmx:sseOpen", () => {
  status.classList.remove("lost");
  status.textContent = "Live";
});

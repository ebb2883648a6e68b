// Tiles of a dashboard that are moved and resized with the mouse or a finger; the buttons of a tile do the same.
// Where a tile comes to lie is decided by the server, which answers with the whole board.

const GAP = 12;
// The style sheet that came with the page tells of places that were left since; styles of elements are not allowed.
const sheet = new CSSStyleSheet();
document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];

function settle(held = {}) {
  const rules = [...document.querySelectorAll("#board .tile[data-x]")].map((tile) => {
    const { x, y, width, height } = held[tile.id] ?? tile.dataset;
    return `#${CSS.escape(tile.id)} { grid-area: ${Number(y) + 1} / ${Number(x) + 1} / span ${height} / span ${width}; }`;
  });
  sheet.replaceSync(`@media (min-width: 60rem) { ${rules.join(" ")} }`);
}

function cells(board) {
  const width = (board.clientWidth + GAP) / 12;
  const row = parseFloat(getComputedStyle(board).gridAutoRows) + GAP;
  return { width, row };
}

function begin(event) {
  const handle = event.target.closest(".grip, .corner");
  const tile = handle?.closest(".tile");
  const board = document.getElementById("board");
  if (!tile || event.button !== 0 || matchMedia("(max-width: 60rem)").matches) return;
  event.preventDefault();
  const resizes = handle.classList.contains("corner");
  const from = { x: event.clientX, y: event.clientY };
  const place = Object.fromEntries(["x", "y", "width", "height"].map((name) => [name, Number(tile.dataset[name])]));
  const size = cells(board);
  let now = { ...place };
  tile.classList.add("held");
  handle.setPointerCapture(event.pointerId);

  const move = (moved) => {
    const across = Math.round((moved.clientX - from.x) / size.width);
    const down = Math.round((moved.clientY - from.y) / size.row);
    now = resizes
      ? { ...place, width: Math.min(12 - place.x, Math.max(1, place.width + across)), height: Math.min(12, Math.max(1, place.height + down)) }
      : { ...place, x: Math.min(12 - place.width, Math.max(0, place.x + across)), y: Math.max(0, place.y + down) };
    settle({ [tile.id]: now });
  };
  const ends = new AbortController();
  const end = (ended) => {
    ends.abort();
    tile.classList.remove("held");
    if (ended.type === "pointercancel" || JSON.stringify(now) === JSON.stringify(place)) {
      settle();
      return;
    }
    // What did not arrive lies where it lay, and so does what was refused (below).
    htmx.ajax("POST", tile.dataset.place, { target: "#board", swap: "outerHTML", values: now }).catch(() => settle());
  };
  handle.addEventListener("pointermove", move, ends);
  handle.addEventListener("pointerup", end, ends);
  handle.addEventListener("pointercancel", end, ends);
}

document.addEventListener("pointerdown", begin);
document.body.addEventListener("htmx:afterSettle", () => settle());
document.body.addEventListener("htmx:responseError", () => settle());

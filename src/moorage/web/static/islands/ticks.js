// A box takes others with it when it is ticked, and falls with any of them (contract/central.md USR-7).

for (const group of document.querySelectorAll("[data-ticks]")) {
  const boxes = new Map([...group.querySelectorAll("input")].map((box) => [box.name.slice("may:".length), box]));
  const takes = (box) => box.dataset.takes.split(" ").filter(Boolean);
  group.addEventListener("change", ({ target }) => {
    if (target.checked) {
      for (const name of takes(target)) if (boxes.has(name)) boxes.get(name).checked = true;
      return;
    }
    const name = target.name.slice("may:".length);
    for (const box of boxes.values()) if (takes(box).includes(name)) box.checked = false;
  });
}

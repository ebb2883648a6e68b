// The list of devices: selecting a page of them, saying how many are selected, and no act by Enter in a field.

function tell(form) {
  const boxes = [...form.querySelectorAll('[name="device"]')];
  const count = boxes.filter((box) => box.checked).length;
  const every = form.querySelector('[name="every"]');
  form.querySelector(".picked").textContent = every?.checked ? "All that match" : `${count} selected`;
  const page = form.querySelector("#pick-page");
  page.checked = count > 0 && count === boxes.length;
  page.indeterminate = count > 0 && count < boxes.length;
}

document.addEventListener("change", (event) => {
  const form = event.target.closest(".picking");
  if (!form) return;
  if (event.target.id === "pick-page") {
    for (const box of form.querySelectorAll('[name="device"]')) box.checked = event.target.checked;
  }
  tell(form);
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches(".picking input")) event.preventDefault();
});

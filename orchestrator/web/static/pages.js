// What a page does beyond htmx: it copies, prints, and keeps an open menu open over swaps. Without
// it, everything is there and can be reached.
"use strict";

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) print();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(from.textContent);
    button.querySelector("[role=status]").textContent = document.body.dataset.copied;
  } catch {
    getSelection().selectAllChildren(from);
    button.querySelector("[role=status]").textContent = document.body.dataset.selected;
  }
});

// A part of a page that changes leaves alone what the owner has opened, ticked and typed.
addEventListener("DOMContentLoaded", () => {
  Idiomorph.defaults.ignoreActiveValue = true;
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) =>
    !(name === "open" && element.matches("details")) &&
    !((name === "checked" || name === "value") && element.matches("input:not([type=hidden]), textarea"));
});

// A log that is followed keeps its last lines, and lets the others go.
document.addEventListener("htmx:sseMessage", (event) => {
  const lines = event.target.closest("[data-most]");
  while (lines && lines.children.length > lines.dataset.most) lines.firstElementChild.remove();
});

// Keeps pages up to date without a reload, and makes them usable by keyboard. Every page works without it.
"use strict";

const EVERY_MS = 4000;
let tag = null;

// Replace the parts of the page that may change (data-live), but none that somebody is using.
async function refresh() {
  if (document.hidden || !document.querySelector("[data-live]")) return;
  const note = document.getElementById("freshness");
  let text;
  try {
    const answer = await fetch(location.href, { headers: tag ? { "if-none-match": tag } : {} });
    if (answer.status === 304) return;
    if (!answer.ok) throw new Error(String(answer.status));
    tag = answer.headers.get("etag");
    text = await answer.text();
  } catch {
    if (note) note.textContent = "not up to date: the dashboard does not answer";
    return;
  }
  const next = new DOMParser().parseFromString(text, "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const newer = next.getElementById(part.id);
    const inUse = part.contains(document.activeElement) || [...part.querySelectorAll("input[type=text], textarea")].some((field) => field.value !== field.defaultValue);
    if (newer && !inUse) {
      const place = chosenPlace(part);
      part.replaceWith(newer);
      if (place >= 0) choose(items()[place], false);
    }
  }
  const newerNote = next.getElementById("freshness");
  if (note && newerNote) note.textContent = newerNote.textContent;
}

const items = () => [...document.querySelectorAll("[data-item]")];
const chosenPlace = (part) => items().findIndex((item) => part.contains(item) && "chosen" in item.dataset);

function choose(item, scroll = true) {
  for (const other of items()) delete other.dataset.chosen;
  if (!item) return;
  item.dataset.chosen = "";
  if (scroll) item.scrollIntoView({ block: "nearest" });
}

function step(by) {
  const all = items();
  const place = all.findIndex((item) => "chosen" in item.dataset);
  choose(all[Math.max(0, Math.min(all.length - 1, place < 0 ? 0 : place + by))]);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.activeElement?.blur?.();
  const typing = event.target.closest?.("input, textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const chosen = document.querySelector("[data-chosen]");
  if (event.key === "/") {
    const search = document.querySelector("input[type=search]");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  } else if (event.key === "j" || event.key === "ArrowDown" && chosen) {
    event.preventDefault(); step(1);
  } else if (event.key === "k" || event.key === "ArrowUp" && chosen) {
    event.preventDefault(); step(-1);
  } else if (event.key === "Enter" && chosen && event.target === document.body) {
    chosen.querySelector("a")?.click();
  } else if (chosen) {
    // An action's key opens its reason; Enter in the reason sends it.
    const button = chosen.querySelector(`button[data-key="${CSS.escape(event.key)}"]`);
    if (!button) return;
    event.preventDefault();
    const form = button.form;
    for (const other of form.querySelectorAll("button[data-key]")) other.type = other === button ? "submit" : "button";
    form.querySelector("input[name=reason]").focus();
  }
});

// Enter in a reason sends the action that was chosen by its key; a click on a button always sends that button's.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-key]");
  if (button) button.type = "submit";
}, true);

setInterval(refresh, EVERY_MS);
